// A directory of shards, as checkpoints are published: what is in it, which names lead to the same file, and whether all of
// it is there. In a Hugging Face cache the names that people know are links, in snapshots/, to files in blobs/.

import { lstat, readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, normalize, resolve, sep } from 'node:path';
import { FileError, fileErrorOf, UncheckedError } from './errors.ts';
import { isCheckpointName, isWeightsName } from './names.ts';

/** @throws FileError where there is nothing under this path */
export async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (stats) => stats.isDirectory(),
    (error) => {
      throw fileErrorOf(path, error);
    },
  );
}

/**
 * A checkpoint is what has such a name, or what a link of such a name leads to; weights are those of other formats. A
 * link leads to what is in the directory, too; an alias is one more name of a file that is listed before.
 */
export type Kind = 'directory' | 'checkpoint' | 'weights' | 'other' | 'link' | 'alias';

export interface Entry {
  /** From the top of the directory. */
  readonly name: string;
  readonly path: string;
  readonly kind: Kind;
  /** Bytes on the disk that no other entry has. */
  readonly size: number;
  /** When a file was changed last (ctime), in nanoseconds; 0 of what is none. */
  readonly changed: bigint;
  /** What a link says, or the name of the file that an alias is; empty otherwise. */
  readonly target: string;
}

export interface Listing {
  /** Directories before what is in them. */
  readonly entries: readonly Entry[];
  /** What cannot be read, or is missing, in the order in which it was found. */
  readonly problems: readonly FileError[];
}

/**
 * Lists a directory and all below it.
 *
 * @param followLinks take what links lead to, if they lead out of the directory, for what is in it; otherwise, such a link
 *   is a problem
 * @throws FileError where no checkpoint is there
 */
export async function listDirectory(root: string, followLinks = false): Promise<Listing> {
  const entries: Entry[] = [];
  const problems: FileError[] = [];
  /** The names of files, by what the system knows them by. */
  const files = new Map<string, number>();
  const top = await realpath(root).catch((error) => {
    throw fileErrorOf(root, error);
  });
  /** Of links that stay, what they lead to. */
  const leads: { readonly name: string; readonly key: string }[] = [];

  const visit = async (path: string, name: string, above: readonly string[]): Promise<void> => {
    const real = await realpath(path);
    if (above.includes(real)) throw new FileError(path, 'leads back to a directory that it is in');
    for (const child of (await readdir(path)).sort()) {
      const at = { name: join(name, child), path: join(path, child) };
      await add(at, [...above, real]).catch((error) => problems.push(fileErrorOf(at.path, error)));
    }
  };

  const add = async (at: Pick<Entry, 'name' | 'path'>, above: readonly string[]): Promise<void> => {
    const isLink = (await lstat(at.path)).isSymbolicLink();
    const target = isLink ? await readlink(at.path) : '';
    const stats = await stat(at.path, { bigint: true }).catch((error) => {
      if (isLink && error.code === 'ENOENT')
        throw new UncheckedError(at.path, `is a link to ${target}, which is missing`);
      throw error;
    });
    const key = `${stats.dev} ${stats.ino}`;
    const isInner = isLink && (await staysIn(top, at, target));
    if (isLink && !isInner && !followLinks)
      throw new UncheckedError(at.path, `leads out of the directory, to ${target}; --follow-links follows it`);
    if (isInner) {
      leads.push({ name: at.name, key });
      entries.push({ ...at, kind: 'link', size: 0, changed: 0n, target });
    } else if (stats.isDirectory()) {
      entries.push({ ...at, kind: 'directory', size: 0, changed: 0n, target: '' });
      await visit(at.path, at.name, above);
    } else if (stats.isFile()) {
      const first = files.get(key);
      if (first === undefined) files.set(key, entries.length);
      const size = first === undefined ? Number(stats.size) : 0;
      const kind = first === undefined ? kindOf(at.name) : 'alias';
      const of = first === undefined ? '' : entries[first].name;
      entries.push({ ...at, kind, size, changed: stats.ctimeNs, target: of });
      if (first !== undefined) leads.push({ name: at.name, key });
    } else throw new FileError(at.path, 'is neither a file nor a directory');
  };

  await visit(root, '', []).catch((error) => {
    throw fileErrorOf(root, error);
  });
  for (const { name, key } of leads) {
    const number = files.get(key);
    if (number !== undefined && entries[number].kind === 'other')
      entries[number] = { ...entries[number], kind: kindOf(name) };
  }
  for (const entry of entries)
    if (entry.kind !== 'directory' && entry.name.endsWith('.index.json'))
      problems.push(...(await missingIn(entry, entries, problems)));
  if (entries.every(({ kind }) => kind !== 'checkpoint') && problems.length === 0)
    throw new FileError(root, 'holds no .safetensors file');
  return { entries, problems };
}

function kindOf(name: string): Kind {
  return isCheckpointName(name) ? 'checkpoint' : isWeightsName(name) ? 'weights' : 'other';
}

/** Whether a link leads to what is in the directory, and would in a copy of it. */
async function staysIn(top: string, { name, path }: Pick<Entry, 'name' | 'path'>, target: string): Promise<boolean> {
  if (isAbsolute(target)) return false;
  const lexical = normalize(join(dirname(name), target));
  return !`${lexical}${sep}`.startsWith(`..${sep}`) && `${await realpath(path)}${sep}`.startsWith(`${top}${sep}`);
}

/** An index maps each tensor to the shard that holds it, a file beside the index. */
async function missingIn(
  index: Entry,
  entries: readonly Entry[],
  known: readonly FileError[],
): Promise<readonly FileError[]> {
  let parsed: { weight_map?: Record<string, unknown> } | null;
  try {
    parsed = JSON.parse(await readFile(index.path, 'utf8'));
  } catch (error) {
    return [
      error instanceof SyntaxError ? new FileError(index.path, 'is not valid JSON') : fileErrorOf(index.path, error),
    ];
  }
  const missing: FileError[] = [];
  for (const shard of new Set(Object.values(parsed?.weight_map ?? {}))) {
    // Checkpoints of other formats may be there in part only: they are not ours.
    if (typeof shard !== 'string' || !isCheckpointName(shard)) continue;
    const name = normalize(join(dirname(index.name), shard));
    const path = join(dirname(index.path), shard);
    if (!entries.some((entry) => entry.name === name) && !known.some((problem) => problem.path === path))
      missing.push(new UncheckedError(path, `is missing; ${basename(index.name)} names it`));
  }
  return missing;
}

/** @throws FileError where one of two directories would be in the other */
export async function checkApart(input: string, output: string): Promise<void> {
  const from = (await realpath(input)) + sep;
  const parent = await realpath(dirname(resolve(output))).catch((error) => {
    throw fileErrorOf(output, error);
  });
  const to = join(parent, basename(resolve(output))) + sep;
  if (to === from) throw new FileError(output, 'is the input itself');
  if (to.startsWith(from)) throw new FileError(output, 'would be in the input');
  if (from.startsWith(to)) throw new FileError(output, 'holds the input');
}
