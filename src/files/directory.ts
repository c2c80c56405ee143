// A directory of shards, as checkpoints are published: what is in it, and whether all of it is there.

import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, normalize, resolve, sep } from 'node:path';
import { FileError, fileErrorOf } from './errors.ts';

export interface Entry {
  /** From the top of the directory. */
  readonly name: string;
  readonly path: string;
  readonly kind: 'directory' | 'checkpoint' | 'other';
  /** Bytes; 0 for a directory. */
  readonly size: number;
}

/**
 * Lists a directory and all below it, directories before what is in them. Symbolic links stand for what they lead to:
 * a snapshot in a Hugging Face cache is made of them.
 *
 * @throws FileError where something is neither a file nor a directory, no checkpoint is there, or one of those that an
 *   index names is not
 */
export async function listDirectory(root: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  const visit = async (path: string, name: string, above: readonly string[]): Promise<void> => {
    const real = await realpath(path);
    if (above.includes(real)) throw new FileError(path, 'leads back to a directory that it is in');
    for (const child of (await readdir(path)).sort()) {
      const childPath = join(path, child);
      const stats = await stat(childPath).catch((error) => {
        throw fileErrorOf(childPath, error);
      });
      const at = { name: join(name, child), path: childPath };
      if (stats.isDirectory()) {
        entries.push({ ...at, kind: 'directory', size: 0 });
        await visit(childPath, at.name, [...above, real]);
      } else if (stats.isFile()) {
        entries.push({ ...at, kind: child.endsWith('.safetensors') ? 'checkpoint' : 'other', size: stats.size });
      } else throw new FileError(childPath, 'is neither a file nor a directory');
    }
  };
  try {
    await visit(root, '', []);
  } catch (error) {
    throw fileErrorOf(root, error);
  }
  if (entries.every(({ kind }) => kind !== 'checkpoint')) throw new FileError(root, 'holds no .safetensors file');
  for (const entry of entries) if (entry.name.endsWith('.index.json')) await checkIndex(entry, entries);
  return entries;
}

/** An index maps each tensor to the shard that holds it, a file beside the index. */
async function checkIndex(index: Entry, entries: readonly Entry[]): Promise<void> {
  let parsed: { weight_map?: Record<string, unknown> } | null;
  try {
    parsed = JSON.parse(await readFile(index.path, 'utf8'));
  } catch (error) {
    throw error instanceof SyntaxError
      ? new FileError(index.path, 'is not valid JSON')
      : fileErrorOf(index.path, error);
  }
  for (const shard of new Set(Object.values(parsed?.weight_map ?? {}))) {
    // Checkpoints of other formats may be there in part only: they are not ours.
    if (typeof shard !== 'string' || !shard.endsWith('.safetensors')) continue;
    const name = normalize(join(dirname(index.name), shard));
    if (!entries.some((entry) => entry.name === name))
      throw new FileError(index.path, `${shard}, which it names, is missing`);
  }
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
