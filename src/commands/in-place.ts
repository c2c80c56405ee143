// Where there is no room for a second copy: checkpoints are replaced one by one, each when what replaces it is on the disk and
// has been verified. A run that is interrupted leaves some of them done; the same command goes on with the others.

import { link, rename } from 'node:fs/promises';
import { FileError, fileErrorOf } from '../files/errors.ts';
import type { Placing } from '../files/output.ts';
import { temporaryName } from '../files/temporary.ts';
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
  for (const { name, path, size } of checkpoints) {
    await tidy(path, transformation.onNotice);
    const report = await transformation.transformFile(path, path, placingInPlace(transformation, work), work);
    for (const alias of entries) if (alias.kind === 'alias' && alias.target === name) await linkAgain(path, alias.path);
    files.push(report);
    bytesAfter += (size === report.bytesBefore ? report.bytesAfter : report.bytesBefore) - size;
  }
  const kept = entries.filter((entry) => entry.kind === 'checkpoint' && !checkpoints.includes(entry)).length;
  return { files, filesCopied: 0, filesKept: kept, directory: directoryReport(entries, bytesAfter) };
}

/** Makes a name one more of a file. */
async function linkAgain(of: string, path: string): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await link(of, temporary);
    await rename(temporary, path);
  } catch (error) {
    throw fileErrorOf(path, error);
  }
}
