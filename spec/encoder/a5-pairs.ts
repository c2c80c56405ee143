// FORMAT.md, annex A.5: the windows of PAIRS, and the pairs of a tile.

import type { Tile } from '../decoder/2-matrix.ts';
import { allowsPairs, isNibbles } from '../decoder/3-planes.ts';
import { CODES, MAX_START, startsOf, type Windows } from '../decoder/6.3-pairs.ts';
import { type Source, tilesOf, wordsOfTile } from './a2-layout.ts';
import type { Survey } from './a3-survey.ts';
import type { EncodeOptions } from './options.ts';
import { cutPlanes } from './planes.ts';

/** Levels in a binade of BF16: four magnitudes of 16 levels. */
export const BINADE = 64;
/** Offsets must lower the variance of column levels, in squared binades and times the rows, by more than this. */
const OFFSETS_WORTH = 20;

/** The windows of a tensor; undefined where PAIRS are not wanted. */
export function chooseWindows(
  source: Source,
  { split, choices }: Survey,
  columnLevels: Uint16Array,
  options: EncodeOptions,
): Windows | undefined {
  const isWanted = options.modes === undefined ? options.profile === 'fast' : options.modes[0] === 'pairs';
  if (!isWanted || !allowsPairs(source.dtype, split)) return undefined;
  if (isNibbles(split)) return { base: 0, offsets: undefined };
  if (source.words.length === 0) return undefined;
  const offsets = chooseOffsets(columnLevels, source.matrix.rows, options.columnOffsets);
  return { base: chooseBase(source, { split, choices }, offsets), offsets };
}

/**
 * Offsets that bring the columns' mean exponents together, or undefined where columns are too much alike to pay for
 * 4 bits each. The grid of whole binades is laid where columns straddle its lines least.
 */
export function chooseOffsets(
  levels: ArrayLike<number>,
  rows: number,
  wanted: boolean | undefined,
): Uint8Array | undefined {
  if (wanted === false) return undefined;
  const values = Array.from(levels);
  const median = values.toSorted((a, b) => a - b)[values.length >> 1];
  const spread = (numbers: readonly number[]): number => {
    const mean = Math.floor(numbers.reduce((sum, value) => sum + value, 0) / numbers.length);
    return Math.floor(numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / numbers.length);
  };
  let best: number[] = [];
  let bestSpread = Number.POSITIVE_INFINITY;
  for (let phase = 0; phase < BINADE; phase += BINADE / 8) {
    const start = median - (BINADE * CODES) / 2 - phase;
    const offsets = values.map((value) => Math.min(CODES - 1, Math.max(0, Math.floor((value - start) / BINADE))));
    const left = spread(values.map((value, j) => value - BINADE * offsets[j]));
    if (left < bestSpread) {
      best = offsets;
      bestSpread = left;
    }
  }
  const gain = (spread(values) - bestSpread) * rows;
  if (wanted === undefined && gain <= OFFSETS_WORTH * BINADE * BINADE) return undefined;
  const lowest = best.reduce((low, offset) => Math.min(low, offset), CODES);
  return Uint8Array.from(best, (offset) => offset - lowest);
}

/** The base with the most exponents in the windows, among tiles that are not predicted. */
function chooseBase(source: Source, { split, choices }: Survey, offsets: Uint8Array | undefined): number {
  // Exponents less their offset, from -15 on.
  const counts = new Float64Array(256 + CODES - 1);
  tilesOf(source).forEach((tile, index) => {
    if (choices[index][0] !== 0) return;
    const [exponents] = cutPlanes(source.dtype, split, wordsOfTile(source, tile));
    const shifts = startsOf({ base: 0, offsets }, tile);
    for (let at = 0; at < exponents.length; at++) counts[exponents[at] - shifts[at % tile.width] + CODES - 1]++;
  });
  const highest = MAX_START - (offsets?.reduce((high, offset) => Math.max(high, offset), 0) ?? 0);
  let best = 0;
  let bestInside = -1;
  for (let base = 0; base <= highest; base++) {
    const inside = counts.slice(base + CODES - 1, base + 2 * CODES - 1).reduce((sum, count) => sum + count, 0);
    if (inside > bestInside) {
      best = base;
      bestInside = inside;
    }
  }
  return best;
}

/** Stands for the code of a symbol outside its window: whatever it is coded as, the element is an outlier. */
export const OUTSIDE = CODES;

/** Codes of plane 0 of a tile, two for each pair; a right column that does not exist repeats the left code. */
export function codesOf(symbols: Uint16Array, starts: Uint8Array, { height, width }: Tile): Uint8Array {
  const even = 2 * Math.ceil(width / 2);
  const codes = new Uint8Array(height * even);
  for (let i = 0; i < height; i++)
    for (let j = 0; j < even; j++) {
      const column = Math.min(j, width - 1);
      const code = symbols[i * width + column] - starts[column];
      codes[i * even + j] = code >= 0 && code < CODES ? code : OUTSIDE;
    }
  return codes;
}
