// FORMAT.md, section 3.2: a tensor given another one, its base. What is coded are differences, in the order of values.

import { type Matrix, type Tile, tileAt, type WordArray } from './2-matrix.ts';
import type { Dtype } from './3-planes.ts';
import { crc32, tileCheck } from './8-checks.ts';

/** Levels are below this. */
export const LEVELS = 256;

/** What a Header says of the base. */
export interface BaseHeader {
  /** The base's CRC. */
  readonly crc: number;
  /** The first level of each class but the first. */
  readonly firstLevels: readonly number[];
}

/** The words of a base in a tile; those that a short last row lacks are zero. */
export function baseTile({ columns }: Matrix, words: WordArray, tile: Tile): Uint32Array {
  const taken = new Uint32Array(tile.height * tile.width);
  for (let i = 0; i < tile.height; i++) {
    const from = (tile.row + i) * columns + tile.column;
    taken.set(words.subarray(from, from + tile.width), i * tile.width);
  }
  return taken;
}

/** @param words of the base */
export function baseCrc({ wordBits }: Dtype, matrix: Matrix, words: WordArray): number {
  const checks = Uint32Array.from({ length: matrix.tileCount }, (_, index) => {
    const tile = tileAt(matrix, index);
    return tileCheck(baseTile(matrix, words, tile), tile, wordBits, new Uint32Array());
  });
  return crc32(new Uint8Array(checks.buffer));
}

/** Words by order: values of floats rise with it. `wordOf` undoes `orderOf`. */
function orderOf({ kind, wordBits }: Dtype, word: number): number {
  const top = 2 ** (wordBits - 1);
  if (kind !== 'float') return word;
  return word >= top ? 2 * top - 1 - word : word + top;
}

function wordOf({ kind, wordBits }: Dtype, order: number): number {
  const top = 2 ** (wordBits - 1);
  if (kind !== 'float') return order;
  return order >= top ? order - top : 2 * top - 1 - order;
}

/** The difference that leads from a word of the base to `word`. */
export function differenceOf(dtype: Dtype, base: number, word: number): number {
  const modulus = 2 ** dtype.wordBits;
  const d = (orderOf(dtype, word) - orderOf(dtype, base) + modulus) % modulus;
  return d < modulus / 2 ? 2 * d : 2 * (modulus - d) - 1;
}

/** The word to which a difference leads. */
export function wordAfter(dtype: Dtype, base: number, difference: number): number {
  const modulus = 2 ** dtype.wordBits;
  const d = difference % 2 === 0 ? difference / 2 : modulus - (difference + 1) / 2;
  return wordOf(dtype, (orderOf(dtype, base) + d) % modulus);
}

/** The words of which these are the planes, lowest byte first. */
export function joinDifferences(dtype: Dtype, planes: readonly Uint16Array[], base: Uint32Array): Uint32Array {
  return base.map((word, at) =>
    wordAfter(
      dtype,
      word,
      planes.reduce((sum, symbols, p) => sum + symbols[at] * 256 ** p, 0),
    ),
  );
}

/** The level of a word of the base. */
export function levelOf({ kind, wordBits }: Dtype, word: number): number {
  if (kind !== 'float') return word;
  return (word & (2 ** (wordBits - 1) - 1)) >>> Math.max(0, wordBits - 9);
}

/** The class of each element of a tile. */
export function classesOf(dtype: Dtype, { firstLevels }: BaseHeader, base: Uint32Array): Uint8Array {
  return Uint8Array.from(base, (word) => firstLevels.filter((first) => levelOf(dtype, word) >= first).length);
}
