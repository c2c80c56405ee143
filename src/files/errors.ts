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
