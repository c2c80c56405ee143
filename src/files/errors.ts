// The errors of the product: which file, and what is wrong with it, in one line.

import { getSystemErrorMap } from 'node:util';

/** A file that cannot be read, written or understood. `message` is "PATH: problem". */
export class FileError extends Error {
  override readonly name = 'FileError';

  constructor(
    readonly path: string,
    readonly problem: string,
  ) {
    super(`${path}: ${problem}`);
  }
}

/** A file that is not there, or was not looked into: nobody knows of anything that is wrong with it. */
export class UncheckedError extends FileError {}

/** Several files, of which the first one's problem is the message. `report` is what could be done nevertheless. */
export class FilesError extends FileError {
  constructor(
    readonly problems: readonly FileError[],
    readonly report?: object,
  ) {
    super(problems[0].path, problems[0].problem);
  }
}

/** @throws FilesError, or the one problem itself; none: nothing */
export function throwProblems(problems: readonly FileError[], report?: object): void {
  if (problems.length > 1 || (problems.length > 0 && report !== undefined)) throw new FilesError(problems, report);
  if (problems.length > 0) throw problems[0];
}

/** What `cause` says of one item of a batch, by its number. */
export class ItemError extends Error {
  override readonly name = 'ItemError';

  constructor(
    readonly item: number,
    override readonly cause: unknown,
  ) {
    super(problemOf(cause));
  }
}

/** Works on all items of a batch at the same time, and ends when all have. @throws ItemError, of the first that failed */
export async function eachItem<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results = await Promise.allSettled(items.map(work));
  return results.map((result, number) => {
    if (result.status === 'rejected') throw new ItemError(number, result.reason);
    return result.value;
  });
}

/** A FileError for whatever was thrown while working on `path`; one that names a file already is left as it is. */
export function fileErrorOf(path: string, error: unknown): FileError {
  if (error instanceof FileError) return error;
  return new FileError(path, problemOf(error));
}

/** What is wrong, in one line: the system's words for an error of the system, else the error's own. */
export function problemOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { errno } = error as NodeJS.ErrnoException;
  const known = errno === undefined ? undefined : getSystemErrorMap().get(errno);
  return known === undefined ? error.message.replaceAll('\n', ' ') : known[1];
}
