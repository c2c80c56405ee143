// Tensors that have the same dtype, shape and bytes as one before them, in their own file (tied weights, most often) or in
// one of the same folder. Of those that differ, few get as far as being compared.

import { createHash } from 'node:crypto';
import { byPlace, FIXED_BYTES, PART_BYTES, samplePlaces, type TensorEntry } from '../../spec/index.ts';
import type { InputFile } from '../files/input.ts';
import type { Safetensors } from '../format/safetensors.ts';
import type { Bases } from './bases.ts';

const PIECE_BYTES = 2 ** 20;

/** A tensor of a file that is not compressed, by its number in the header. */
export interface Located {
  readonly path: string;
  readonly tensor: number;
  readonly position: number;
}

export interface Copies {
  /** By the number of each copy in the header, rising, the number of the tensor of the same file that it is a copy of. */
  readonly within: ReadonlyMap<number, number>;
  /** By the number of each tensor that has an equal one in a file before, but none in its own, the first of those. */
  readonly elsewhere: ReadonlyMap<number, Located>;
}

/** The tensors of the files of a folder, as far as they have been looked at. */
export class Folder {
  private readonly seen = new Map<string, Located[]>();

  /** Compares the tensors of a checkpoint with each other and with those of the files before it. */
  async copiesIn(checkpoint: Safetensors, bases: Bases): Promise<Copies> {
    const { file, header, dataStart } = checkpoint;
    const fileOf = async (path: string): Promise<InputFile> =>
      path === file.path ? file : (await bases.open(path)).file;
    const numbers = new Map(header.tensors.map((tensor, number) => [tensor, number]));
    const within: [number, number][] = [];
    const elsewhere = new Map<number, Located>();
    for (const tensor of byPlace(header.tensors)) {
      const bytes = tensor.end - tensor.start;
      if (bytes <= FIXED_BYTES) continue;
      const number = numbers.get(tensor) as number;
      const found = { path: file.path, tensor: number, position: dataStart + tensor.start };
      const key = keyOf(tensor, await sampleOf(file, found.position, bytes));
      const alike = this.seen.get(key) ?? [];
      const isEqual = async ({ path, position }: Located): Promise<boolean> =>
        areEqual(await fileOf(path), position, file, found.position, bytes);
      const own = await first(
        alike.filter(({ path }) => path === file.path),
        isEqual,
      );
      if (own !== undefined) {
        within.push([number, own.tensor]);
        continue;
      }
      const other = await first(
        alike.filter(({ path }) => path !== file.path),
        isEqual,
      );
      if (other !== undefined) elsewhere.set(number, other);
      this.seen.set(key, [...alike, found]);
    }
    return { within: new Map(within.sort(([a], [b]) => a - b)), elsewhere };
  }
}

/** The sample of a tensor (FORMAT.md, A.12). @param position of the tensor in the file */
export async function sampleOf(file: InputFile, position: number, bytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (const at of samplePlaces(bytes)) parts.push(await file.read(position + at, PART_BYTES));
  return Buffer.concat(parts);
}

function keyOf({ dtype, shape }: TensorEntry, sample: Uint8Array): string {
  return `${dtype} ${shape} ${createHash('sha256').update(sample).digest('base64')}`;
}

async function first<Item>(items: readonly Item[], is: (item: Item) => Promise<boolean>): Promise<Item | undefined> {
  for (const item of items) if (await is(item)) return item;
  return undefined;
}

async function areEqual(a: InputFile, aAt: number, b: InputFile, bAt: number, bytes: number): Promise<boolean> {
  for (let at = 0; at < bytes; at += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, bytes - at);
    const [left, right] = await Promise.all([a.read(aAt + at, length), b.read(bAt + at, length)]);
    if (Buffer.compare(left, right) !== 0) return false;
  }
  return true;
}
