// FORMAT.md, annex A.4: how large the elements of each row and column are.

import type { Dtype } from '../decoder/3-planes.ts';
import { type Source, tilesOf, wordsOfTile } from './a2-layout.ts';

/** Levels are below this. */
export const LEVELS = 2 ** 14;

export interface Levels {
  readonly rows: Uint16Array;
  readonly columns: Uint16Array;
}

/** An element's magnitude: of a float the top ten bits below the sign, of an integer its distance from 128. */
function magnitudeOf(dtype: Dtype): (word: number) => number {
  if (dtype.kind === 'float') {
    const mask = 2 ** (dtype.wordBits - 1) - 1;
    const shift = Math.max(0, dtype.wordBits - 11);
    return (word) => (word & mask) >>> shift;
  }
  const flip = dtype.kind === 'signed' ? 0x80 : 0;
  return (word) => Math.abs((word ^ flip) - 128);
}

/** Sixteenths of the mean magnitude of all elements that have one. Zeros say nothing about scale and do not count. */
export function levelsOf(source: Source): Levels {
  const { rows, columns } = source.matrix;
  const magnitude = magnitudeOf(source.dtype);
  const [rowSums, rowCounts] = [new Float64Array(rows), new Float64Array(rows)];
  const [columnSums, columnCounts] = [new Float64Array(columns), new Float64Array(columns)];
  for (const tile of tilesOf(source)) {
    const words = wordsOfTile(source, tile);
    for (let i = 0, at = 0; i < tile.height; i++)
      for (let j = 0; j < tile.width; j++, at++) {
        const value = magnitude(words[at]);
        if (value === 0) continue;
        rowSums[tile.row + i] += value;
        rowCounts[tile.row + i]++;
        columnSums[tile.column + j] += value;
        columnCounts[tile.column + j]++;
      }
  }
  const levels = (sums: Float64Array, counts: Float64Array): Uint16Array =>
    Uint16Array.from(sums, (sum, i) => (counts[i] === 0 ? 0 : Math.floor((16 * sum) / counts[i])));
  return { rows: levels(rowSums, rowCounts), columns: levels(columnSums, columnCounts) };
}

/** Puts each level into one of `bins` bins of about equally many, in order; equal levels share a bin. */
export function quantileBins(levels: ArrayLike<number>, bins: number): Uint8Array {
  const counts = new Float64Array(LEVELS);
  for (let i = 0; i < levels.length; i++) counts[levels[i]]++;
  const binOf = new Uint8Array(LEVELS);
  let below = 0;
  for (let level = 0; level < LEVELS; level++) {
    binOf[level] = Math.floor((bins * (below + Math.floor(counts[level] / 2))) / levels.length);
    below += counts[level];
  }
  return Uint8Array.from(levels, (level) => binOf[level]);
}
