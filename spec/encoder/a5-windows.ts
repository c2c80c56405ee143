// FORMAT.md, annex A.5: the windows of PAIRS or DIRECT, and which tiles fit them.

import type { Tile } from '../decoder/2-matrix.ts';
import { allowsDirect, allowsPairs, type Dtype, isNibbles, type Split } from '../decoder/3-planes.ts';
import { align, Mode } from '../decoder/4-metadata.ts';
import { CODES, MAX_START, startsOf, type Windows } from '../decoder/6.3-pairs.ts';
import { outlierBytes } from '../decoder/6.4-outliers.ts';
import { blocksBytes } from '../decoder/6.5-direct.ts';
import { rawBytes } from '../decoder/7-raw.ts';
import { type Source, tilesOf, wordsOfTile } from './a2-layout.ts';
import { RAW, type Survey } from './a3-survey.ts';
import { type EncodeOptions, profileFor } from './options.ts';
import { cutPlanes, isConstant } from './planes.ts';

/** Levels in a binade of BF16: four magnitudes of 16 levels. */
export const BINADE = 64;
/** Offsets must lower the variance of column levels, in squared binades and times the rows, by more than this. */
const OFFSETS_WORTH = 20;

/** A tile has at most this many outliers. */
export const MAX_OUTLIERS = 255;

/** The modes that have windows. */
type WindowMode = typeof Mode.PAIRS | typeof Mode.DIRECT;

/** The windows of a tensor, and the mode for which they are. */
export interface WindowsOfMode extends Windows {
  readonly mode: WindowMode;
}

/** Of PAIRS and DIRECT the one that is forced, or that the profile prefers, if the split has it. */
function modeOfWindows(dtype: Dtype, split: Split, options: EncodeOptions): WindowMode | undefined {
  const profile = profileFor(dtype, options);
  const wanted = options.modes?.[0] ?? (profile === 'fast' || isNibbles(split) ? 'pairs' : profile);
  if (wanted === 'pairs' && allowsPairs(dtype, split)) return Mode.PAIRS;
  if (wanted === 'direct' && allowsDirect(dtype, split)) return Mode.DIRECT;
  return undefined;
}

/** The windows of a tensor; undefined where neither PAIRS nor DIRECT is wanted. */
export function chooseWindows(
  source: Source,
  { split, choices }: Survey,
  columnLevels: Uint16Array,
  options: EncodeOptions,
): WindowsOfMode | undefined {
  const mode = modeOfWindows(source.dtype, split, options);
  if (mode === undefined) return undefined;
  if (isNibbles(split)) return { mode, base: 0, offsets: undefined };
  if (source.words.length === 0) return undefined;
  const offsets = chooseOffsets(columnLevels, source.matrix.rows, options.columnOffsets);
  return { mode, base: chooseBase(source, { split, choices }, offsets), offsets };
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
function chooseBase(
  source: Source,
  { split, choices }: Pick<Survey, 'split' | 'choices'>,
  offsets: Uint8Array | undefined,
): number {
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

/** Codes of plane 0 of a tile, row by row. */
export function codesOf(symbols: Uint16Array, starts: Uint8Array): Uint8Array {
  return Uint8Array.from(symbols, (symbol, at) => {
    const code = symbol - starts[at % starts.length];
    return code >= 0 && code < CODES ? code : OUTSIDE;
  });
}

/** The same, two for each pair; a right column that does not exist repeats the left code. */
export function pairCodesOf(symbols: Uint16Array, starts: Uint8Array): Uint8Array {
  const codes = codesOf(symbols, starts);
  const width = starts.length;
  const even = 2 * Math.ceil(width / 2);
  return Uint8Array.from({ length: (codes.length / width) * even }, (_, at) => {
    const row = Math.floor(at / even);
    return codes[row * width + Math.min(at % even, width - 1)];
  });
}

function countOutside(codes: Uint8Array): number {
  return codes.reduce((sum, code) => sum + (code === OUTSIDE ? 1 : 0), 0);
}

/** How a plane of a tile is to be coded; if RANS or PAIRS, where that is smaller than RAW and possible. */
export interface Wish {
  readonly mode: number;
  readonly predictor: number;
}

const wish = (mode: number, predictor = 0): Wish => ({ mode, predictor });

/**
 * How the planes of each tile are to be coded: as the survey says, but PAIRS or DIRECT where plane 0 fits the windows.
 *
 * @param forced whether modes are: constant planes are coded too then, and what is too large
 */
export function wishesOf(
  source: Source,
  { split, choices }: Survey,
  windows: WindowsOfMode | undefined,
  forced: boolean,
): readonly (readonly Wish[])[] {
  return tilesOf(source).map((tile, index) => {
    const surveyed = choices[index].map((choice) => (choice === RAW ? wish(Mode.RAW) : wish(Mode.RANS, choice)));
    if (windows === undefined || choices[index][0] !== 0) return surveyed;
    const [symbols] = cutPlanes(source.dtype, split, wordsOfTile(source, tile));
    if (!forced && isConstant(symbols)) return surveyed;
    const starts = startsOf(windows, tile);
    if (windows.mode === Mode.PAIRS)
      return fitsPairs(symbols, starts, forced) ? [wish(Mode.PAIRS), ...surveyed.slice(1)] : surveyed;
    if (fitsDirect(source, tile, symbols, starts, forced)) return split.map(() => wish(Mode.DIRECT));
    return forced ? split.map(() => wish(Mode.RAW)) : surveyed;
  });
}

/**
 * At most one in 512 of its elements, or 4, may lie outside the windows; if PAIRS are forced, as many as there are (a
 * column that does not exist counts, too, as the left one).
 */
function fitsPairs(symbols: Uint16Array, starts: Uint8Array, forced: boolean): boolean {
  const most = forced ? symbols.length : Math.max(4, symbols.length >> 9);
  return countOutside(pairCodesOf(symbols, starts)) <= most;
}

/** Whoever lies outside is an outlier; with all of them DIRECT must be smaller than RAW, unless it is forced. */
function fitsDirect({ dtype }: Source, tile: Tile, symbols: Uint16Array, starts: Uint8Array, forced: boolean): boolean {
  const outside = countOutside(codesOf(symbols, starts));
  const size = blocksBytes(tile) + align(outside * outlierBytes(dtype));
  return outside <= MAX_OUTLIERS && (forced || size < 2 * align(rawBytes(tile, 8, false)));
}
