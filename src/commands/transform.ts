// One checkpoint is made of another, or a directory of another. A directory's job that is interrupted leaves what it has
// finished, and the same job goes on from there.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exchange } from '../engine/native.ts';
import { checkApart, type Entry, listDirectory } from '../files/directory.ts';
import { FileError, throwProblems } from '../files/errors.ts';
import { OutputDirectory, type Placing } from '../files/output.ts';
import { leftovers } from '../files/temporary.ts';
import type { Arrangement } from './arrangement.ts';
import type { DirectoryReport, Done, FileReport } from './report.ts';
import type { Work } from './work.ts';

/** Says something of a path that is no failure. */
export type OnNotice = (path: string, what: string) => void;

/** What is done with every checkpoint, and with the other files of a directory. */
export interface Transformation {
  /** All that the bytes of the output depend on, but the input. */
  readonly job: object;
  readonly force: boolean;
  readonly followLinks: boolean;
  readonly onNotice: OnNotice;
  /** Whether a checkpoint is to be transformed; the others of a directory are copied. @throws FileError */
  concerns(path: string): Promise<boolean>;
  /** Is called with those that are, before anything is written. @throws FileError */
  check(paths: readonly string[]): Promise<void>;
  transformFile(from: string, to: string, placing: Placing, work: Work): Promise<FileReport>;
  /** @param sha256 of the original @throws FileError where a file is not what it was made to be */
  checkFinished(path: string, sha256: string, work: Work): Promise<void>;
  arrange(entries: readonly Entry[]): Promise<Arrangement>;
}

/** Names what killed runs left beside an output, and removes what nobody can go on from. */
export async function tidy(output: string, onNotice: OnNotice): Promise<void> {
  for (const { path, purpose, writer, isFile } of await leftovers(output)) {
    if (purpose === 'old') onNotice(path, `is what ${output} was before: a run was killed while it replaced it`);
    else if (writer === 'alive') onNotice(path, 'is being written by another run');
    else if (writer === 'killed' && isFile) {
      await rm(path, { force: true });
      onNotice(path, 'was left by a run that was killed; it is removed');
    } else
      onNotice(
        path,
        `was left by a run that was killed${writer === 'elsewhere' ? ', or goes on elsewhere' : ''}; codecllm clean ${output} removes it`,
      );
  }
}

/** A directory that is to be transformed, when it is known that all of it is there. */
export interface Plan {
  readonly input: string;
  readonly entries: readonly Entry[];
  /** Of those, what is to be transformed. */
  readonly checkpoints: readonly Entry[];
  readonly arrangement: Arrangement;
}

/** @throws FilesError, FileError: everything that is missing or wrong */
export async function planDirectory(input: string, transformation: Transformation): Promise<Plan> {
  const { entries, problems } = await listDirectory(input, transformation.followLinks);
  const found = [...problems];
  const checkpoints: Entry[] = [];
  for (const entry of entries)
    if (entry.kind === 'checkpoint')
      await transformation.concerns(entry.path).then(
        (concerns) => concerns && checkpoints.push(entry),
        (error) => found.push(error),
      );
  throwProblems(found);
  await transformation.check(checkpoints.map(({ path }) => path));
  return { input, entries, checkpoints, arrangement: await transformation.arrange(entries) };
}

/** Makes a directory of another. @param open makes an engine, in place of the one before, which an error may have closed */
export async function transformDirectory(
  { input, entries, checkpoints, arrangement }: Plan,
  output: string,
  transformation: Transformation,
  open: () => Promise<Work>,
): Promise<Done> {
  await checkApart(input, output);
  const { force, job, onNotice } = transformation;
  const { nameOf, added, textOf } = arrangement;
  const names = [...entries.flatMap(({ name }) => nameOf(name) ?? []), ...added];
  const directory = await OutputDirectory.create<FileReport>(output, force, job, names, exchange);
  await tidy(output, onNotice);
  if (directory.finished.size > 0)
    onNotice(
      output,
      `goes on where a run was interrupted: ${directory.finished.size} of ${checkpoints.length} checkpoints are finished`,
    );
  try {
    const files: FileReport[] = [];
    let bytesAfter = 0;
    let work = await open();
    const transformed = async (entry: Entry, name: string): Promise<FileReport> => {
      const [to, final] = [join(directory.files, name), join(output, name)];
      const { size } = entry;
      const changed = `${entry.changed}`;
      const before = directory.finished.get(name);
      if (before?.size === size && before.changed === changed)
        try {
          await transformation.checkFinished(to, before.report.sha256, work);
          return { ...before.report, input: entry.path, output: final };
        } catch (error) {
          if (!(error instanceof FileError)) throw error;
          onNotice(final, `is made anew: what an interrupted run had finished ${error.problem}`);
          work = await open();
        }
      const report = await transformation.transformFile(entry.path, to, { force: true }, work);
      await directory.note({ name, size, changed, report });
      return { ...report, output: final };
    };
    await directory.makeDirectory(input, '');
    const concerned = new Set(checkpoints);
    const copied: Entry[] = [];
    for (const entry of entries) {
      const name = nameOf(entry.name);
      if (name === undefined) continue;
      if (entry.kind === 'directory') await directory.makeDirectory(entry.path, name);
      else if (entry.kind === 'link') await directory.link(entry.target, name);
      else if (entry.kind === 'alias') await directory.alias(nameOf(entry.target) ?? entry.target, name);
      else if (concerned.has(entry)) {
        const report = await transformed(entry, name);
        files.push(report);
        bytesAfter += entry.size === report.bytesBefore ? report.bytesAfter : report.bytesBefore;
      } else {
        await directory.copy(entry.path, name);
        copied.push(entry);
        bytesAfter += entry.size;
      }
    }
    for (const name of added) bytesAfter += await directory.write(name, textOf(name, files));
    await directory.commit();
    return {
      files,
      filesCopied: copied.length,
      filesKept: copied.filter(({ kind }) => kind === 'checkpoint').length,
      directory: directoryReport(entries, bytesAfter),
    };
  } catch (error) {
    const kept = directory.abandon();
    if (kept !== undefined) onNotice(output, kept);
    throw directory.finalError(error);
  }
}

/** @param bytesAfter of all that is in the output */
export function directoryReport(entries: readonly Entry[], bytesAfter: number): DirectoryReport {
  const sum = (of: readonly Entry[]): number => of.reduce((total, { size }) => total + size, 0);
  const others = entries.filter(({ kind }) => kind === 'weights');
  const otherWeightsBytes = sum(others);
  return { bytesBefore: sum(entries), bytesAfter, otherWeights: others.length, otherWeightsBytes };
}
