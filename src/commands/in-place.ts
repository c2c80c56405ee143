// Where there is no room for a second copy: checkpoints are replaced one by one, each when what replaces it is on the disk and
// has been verified. A run that is interrupted leaves some of them done; the same command goes on with the others.

import { rmSync } from 'node:fs';
import { link, rename, rm, stat } from 'node:fs/promises';
import type { Entry } from '../files/directory.ts';
import { FileError, fileErrorOf } from '../files/errors.ts';
import type { Placing } from '../files/output.ts';
import { holdTemporary, leftovers, letGo, temporaryName } from '../files/temporary.ts';
import type { Done, FileReport } from './report.ts';
import { directoryReport, type Plan, type Transformation, tidy } from './transform.ts';
import type { Work } from './work.ts';

/** For an output that replaces its input. */
export function placingInPlace({ checkFinished }: Transformation, work: Work): Placing {
  return { force: true, verify: (path, sha256) => checkFinished(path, sha256, work) };
}

/** @throws FileError, of the first checkpoint that cannot be replaced; those before it are */
export async function directoryInPlace(
  { input, entries, checkpoints, arrangement }: Plan,
  transformation: Transformation,
  open: () => Promise<Work>,
): Promise<Done> {
  const { added, nameOf } = arrangement;
  if (added.length > 0 || entries.some(({ name }) => nameOf(name) !== name))
    throw new FileError(input, 'has files that get other names: that cannot be done in place');
  const work = await open();
  const files: FileReport[] = [];
  let bytesAfter = entries.reduce((sum, { size }) => sum + size, 0);
  let linked = 0;
  for (const { name, path, size } of checkpoints) {
    if (await finishLink(path, entries)) {
      linked++;
      bytesAfter -= size;
      continue;
    }
    const others = entries.filter(({ kind, target }) => kind === 'alias' && target === name).map((alias) => alias.path);
    for (const each of [path, ...others]) await tidy(each, transformation.onNotice);
    const links = new Links(others);
    const placing = placingInPlace(transformation, work);
    const verify: Placing['verify'] = async (made, sha256) => {
      await placing.verify?.(made, sha256);
      await links.make(made);
    };
    try {
      const report = await transformation.transformFile(path, path, { ...placing, verify }, work);
      await links.place();
      files.push(report);
      bytesAfter += (size === report.bytesBefore ? report.bytesAfter : report.bytesBefore) - size;
    } finally {
      await links.remove();
    }
  }
  const kept = entries.filter((entry) => entry.kind === 'checkpoint' && !checkpoints.includes(entry)).length + linked;
  return { files, filesCopied: 0, filesKept: kept, directory: directoryReport(entries, bytesAfter) };
}

/** The other names of a file that is replaced. They are there, under temporary names, before the file has its own. */
class Links {
  private readonly made: (readonly [temporary: string, path: string])[] = [];

  constructor(private readonly paths: readonly string[]) {}

  async make(file: string): Promise<void> {
    for (const path of this.paths) {
      const temporary = temporaryName(path);
      holdTemporary(temporary, () => rmSync(temporary, { force: true }) as undefined);
      this.made.push([temporary, path]);
      await link(file, temporary).catch((error) => {
        throw fileErrorOf(path, error);
      });
    }
  }

  async place(): Promise<void> {
    for (const [temporary, path] of this.made)
      await rename(temporary, path).catch((error) => {
        throw fileErrorOf(path, error);
      });
  }

  async remove(): Promise<void> {
    for (const [temporary] of this.made) {
      await rm(temporary, { force: true });
      letGo(temporary);
    }
  }
}

/**
 * Gives a file its place where a run was killed after another name of it had been replaced: then what replaces it lies
 * beside it. Not if the file has changed since: what a rename changes last has its time.
 *
 * @returns whether it was so
 */
async function finishLink(path: string, entries: readonly Entry[]): Promise<boolean> {
  for (const { path: temporary, purpose, writer, isFile } of await leftovers(path)) {
    if (purpose !== 'tmp' || writer !== 'killed' || !isFile) continue;
    const [old, made] = await Promise.all([stat(path, { bigint: true }), stat(temporary, { bigint: true })]);
    if (old.ctimeNs > made.ctimeNs) continue;
    for (const entry of entries) {
      if (entry.kind !== 'checkpoint' || entry.path === path) continue;
      const { dev, ino } = await stat(entry.path, { bigint: true });
      if (dev !== made.dev || ino !== made.ino) continue;
      await rename(temporary, path);
      return true;
    }
  }
  return false;
}
