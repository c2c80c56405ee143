// What an encoder counts (FORMAT.md, annex A). Each pass looks at slices on their own, in any order and on any
// thread; what they found is added up. All sums are exact.

import { cutPlane, type Dtype, isNibbles, type Split, zeroSymbol } from './elements.ts';
import { type Layout, readTile, type Slice, TILE_COLUMNS, type Tile, tileAt, viewWords } from './layout.ts';
import { BIT, entropyCost } from './logarithm.ts';
import { ANY_CODE, codesOf, pairsAcross, type Window, windowStarts } from './pairs.ts';
import { countResiduals, PREDICTORS, residualsOf } from './prediction.ts';
import { isConstant, Mode } from './tile.ts';

/** Row bins and column bins of a joint histogram. */
export const ROW_BINS = 8;
export const COLUMN_BINS = 16;
/** Levels of rows and columns are below this. */
export const LEVELS = 2 ** 14;
/** What a level counts: sixteenths of a magnitude. */
const LEVEL_STEPS = 16;

/** What the survey says of a plane of a tile: a predictor's index, or RAW. */
export const SURVEY_RAW = 7;

/** First pass: how large rows and columns are, and what prediction would do. */
export interface SurveyRequest {
  readonly kind: 'survey';
  /** Splits to try, in order. */
  readonly splits: readonly Split[];
  /** For planes after the first: code them only where that saves more than this fraction, in 256ths. */
  readonly minimumSaving: number;
}

/** Second pass, where PAIRS with windows are wanted: exponents less their column's offset. */
export interface WindowRequest {
  readonly kind: 'window';
  readonly offsets: Uint8Array;
  /** Surveyed predictors of all tiles; those that are predicted do not count. */
  readonly choices: Uint8Array;
}

/** Last pass: symbols by row bin and column bin. */
export interface CountRequest {
  readonly kind: 'count';
  readonly split: Split;
  /** Surveyed predictors, tile by tile and plane by plane. */
  readonly choices: Uint8Array;
  /** Without tables yet: base and offsets. */
  readonly pairs: Window | undefined;
  /** Whether modes are forced: constant planes count too, and PAIRS is tried on every tile. */
  readonly forced: boolean;
  /** The bin of each row and of each column (of each two columns if there are pairs); undefined: all in bin 0. */
  readonly rowBins: Uint8Array | undefined;
  readonly columnBins: Uint8Array | undefined;
}

export type StatisticsRequest = SurveyRequest | WindowRequest | CountRequest;

export interface Survey {
  /** Mean magnitude of each row's non-zero elements, below LEVELS. */
  readonly rowLevels: Uint16Array;
  /** Sum of magnitudes, and number of non-zero elements, of each column. */
  readonly columnSums: Float64Array;
  readonly columnCounts: Float64Array;
  /** For each split: predictor or SURVEY_RAW, tile by tile and plane by plane; and the estimated cost of it all. */
  readonly choices: readonly Uint8Array[];
  readonly costs: Float64Array;
}

export interface Counts {
  /** For each plane: [(rowBin x COLUMN_BINS + columnBin) x 2^bits + symbol] of its RANS tiles. */
  readonly planes: readonly Float64Array[];
  /** The same for the pairs of PAIRS tiles. */
  readonly pairs: Float64Array | undefined;
  /** The mode of plane 0 of each tile if there are pairs: PAIRS where it fits. */
  readonly fits: Uint8Array;
}

export type Statistics = Survey | Float64Array | Counts;

/** Exponents less offsets are counted from -15. */
export const WINDOW_SHIFT = 15;

/** Calls `visit` with each tile of a slice, its words in a buffer that is used again. */
export function forEachTile(
  layout: Layout,
  slice: Slice,
  visit: (tile: Tile, index: number, words: Uint32Array) => void,
): void {
  const view = viewWords(slice.bytes, layout.dtype.wordBits);
  const first = slice.firstBand * layout.tilesAcross;
  const buffer = new Uint32Array(layout.tileRows * TILE_COLUMNS);
  for (let index = first; index < first + slice.bandCount * layout.tilesAcross; index++) {
    const tile = tileAt(layout, index);
    const words = buffer.subarray(0, tile.height * tile.width);
    readTile(layout, tile, view, slice.firstBand * layout.tileRows, words);
    visit(tile, index, words);
  }
}

// ------------------------------------------------------------------------------------------------------- survey

function surveySlice(layout: Layout, slice: Slice, request: SurveyRequest): Survey {
  const { dtype, columns } = layout;
  const firstRow = slice.firstBand * layout.tileRows;
  const rows = Math.min(layout.rows - firstRow, slice.bandCount * layout.tileRows);
  const firstTile = slice.firstBand * layout.tilesAcross;
  const tileCount = slice.bandCount * layout.tilesAcross;
  const rowSums = new Float64Array(rows);
  const rowCounts = new Float64Array(rows);
  const columnSums = new Uint32Array(columns);
  const columnCounts = new Uint32Array(columns).fill(rows);
  const choices = request.splits.map((split) => new Uint8Array(tileCount * split.length));
  const costs = new Float64Array(request.splits.length);
  forEachTile(layout, slice, (tile, index, words) => {
    measure(dtype, tile, words, tile.row - firstRow, rowSums, rowCounts, columnSums, columnCounts);
    const sample = sampleRows(tile, words);
    request.splits.forEach((split, s) => {
      for (let p = 0; p < split.length; p++) {
        const choice = choosePredictor(sample, dtype, split, p, minimumSaving(split, p, request));
        choices[s][(index - firstTile) * split.length + p] = choice.predictor;
        costs[s] += choice.cost;
      }
    });
  });
  const rowLevels = Uint16Array.from(rowSums, (sum, i) => level(sum, rowCounts[i]));
  return {
    rowLevels,
    columnSums: Float64Array.from(columnSums),
    columnCounts: Float64Array.from(columnCounts),
    choices,
    costs,
  };
}

/** How many 256ths of a plane coding must save, or it is RAW; of plane 1 of 4 + 4, all. */
function minimumSaving(split: Split, plane: number, request: SurveyRequest): number {
  if (plane === 0) return 1;
  return isNibbles(split) ? 256 : request.minimumSaving;
}

/** The level of a row or column; 0 where all of it is zero. */
export function level(sum: number, count: number): number {
  return count === 0 ? 0 : Math.floor((LEVEL_STEPS * sum) / count);
}

/**
 * Adds the magnitudes of a tile's words to its rows and columns: of a float the top ten bits below the sign, of an
 * integer the distance from 128 once a signed one has its top bit flipped. Zeros say nothing about scale and do not count.
 */
function measure(
  dtype: Dtype,
  tile: Tile,
  words: Uint32Array,
  firstRow: number,
  rowSums: Float64Array,
  rowCounts: Float64Array,
  columnSums: Uint32Array,
  columnCounts: Uint32Array,
): void {
  const isFloat = dtype.kind === 'float';
  const mask = isFloat ? 2 ** (dtype.wordBits - 1) - 1 : 255;
  const shift = isFloat ? Math.max(0, dtype.wordBits - 11) : 0;
  const flip = dtype.kind === 'signed' ? 0x80 : 0;
  const centre = isFloat ? 0 : 128;
  for (let i = 0, at = 0; i < tile.height; i++) {
    let sum = 0;
    let zeros = 0;
    for (let j = 0, column = tile.column; j < tile.width; j++, column++, at++) {
      const magnitude = Math.abs((((words[at] ^ flip) & mask) >>> shift) - centre);
      sum += magnitude;
      columnSums[column] += magnitude;
      if (magnitude === 0) {
        zeros++;
        columnCounts[column]--;
      }
    }
    rowSums[firstRow + i] += sum;
    rowCounts[firstRow + i] += tile.width - zeros;
  }
}

/** Prediction is tried on about so many rows of a tile. */
const SAMPLED_ROWS = 8;

/** Words of some rows of a tile, each with the row above it before it. */
interface Sample {
  readonly words: Uint32Array;
  readonly width: number;
  /** Whether the first row is the tile's first, so that what stands before it is nothing. */
  readonly atTop: boolean;
}

/** One row of every `step`; which one differs, lest the sample fall in step with a pattern of the tensor. */
function sampleRows({ height, width }: Tile, words: Uint32Array): Sample {
  const step = Math.max(1, Math.floor(height / SAMPLED_ROWS));
  const rows = Math.floor(height / step);
  const sample = new Uint32Array(2 * rows * width);
  for (let k = 0; k < rows; k++) {
    const i = step * k + ((5 * k + 3) % step);
    const to = 2 * k * width;
    if (i > 0) sample.set(words.subarray((i - 1) * width, (i + 1) * width), to);
    else sample.set(words.subarray(0, width), to + width);
  }
  return { words: sample, width, atTop: 3 % step === 0 };
}

/** Half a bit in nats: an entropy estimated from counts is low by so much for each symbol seen but one (Miller 1955). */
const BIAS = 2955;

/**
 * Which predictor codes a plane of a tile best, from a sample of its rows: another than NONE if it saves more than
 * 1/32 and 64 bits; RAW if even so less than `minimumSaving` 256ths are saved.
 */
function choosePredictor(
  { words, width, atTop }: Sample,
  dtype: Dtype,
  split: Split,
  plane: number,
  minimumSaving: number,
): { predictor: number; cost: number } {
  const symbols = new Uint16Array(words.length);
  cutPlane(words, dtype, split, plane, symbols);
  const predictable = split[plane] === 8;
  const predictors = predictable ? PREDICTORS.length : 1;
  const alphabet = 2 ** split[plane];
  const counts = new Uint32Array(predictors * alphabet);
  const zero = zeroSymbol(dtype);
  for (let row = width; row < words.length; row += 2 * width) {
    if (predictable) countResiduals(symbols, atTop && row === width ? -1 : row - width, row, width, zero, counts);
    else for (let j = row; j < row + width; j++) counts[symbols[j]]++;
  }
  const costs: number[] = [];
  for (let from = 0; from < counts.length; from += alphabet) {
    let seen = 0;
    for (let s = from; s < from + alphabet; s++) if (counts[s] > 0) seen++;
    costs.push(entropyCost(counts, from, from + alphabet) + (seen - 1) * BIAS);
  }
  let best = 0;
  for (let predictor = 1; predictor < predictors; predictor++) if (costs[predictor] < costs[best]) best = predictor;
  if (costs[best] + Math.floor(costs[0] / 32) + 64 * BIT >= costs[0]) best = 0;
  const raw = (words.length / 2) * split[plane] * BIT;
  if (costs[best] * 256 > raw * (256 - minimumSaving)) return { predictor: SURVEY_RAW, cost: raw };
  return { predictor: best, cost: costs[best] };
}

// ------------------------------------------------------------------------------------------------------- window

function windowSlice(layout: Layout, slice: Slice, { offsets, choices }: WindowRequest): Float64Array {
  const counts = new Float64Array(256 + WINDOW_SHIFT);
  forEachTile(layout, slice, (tile, index, words) => {
    if (choices[2 * index] !== 0) return;
    for (let i = 0, at = 0; i < tile.height; i++)
      for (let j = 0; j < tile.width; j++, at++)
        counts[((words[at] >>> 7) & 0xff) - offsets[tile.column + j] + WINDOW_SHIFT]++;
  });
  return counts;
}

// ------------------------------------------------------------------------------------------------------- counts

/** A tile is coded as PAIRS if at most this share of its elements, or 4, lie outside the window. */
const OUTSIDE_SHIFT = 9;

function countSlice(layout: Layout, slice: Slice, request: CountRequest): Counts {
  const { split, choices, pairs, rowBins, columnBins } = request;
  const { dtype } = layout;
  const jointBins = rowBins === undefined ? 1 : ROW_BINS * COLUMN_BINS;
  const counters = split.map((bits) => new Uint32Array(jointBins << bits));
  const pairCounters = new Uint32Array(pairs === undefined ? 0 : jointBins << 8);
  const firstTile = slice.firstBand * layout.tilesAcross;
  const fits = new Uint8Array(slice.bandCount * layout.tilesAcross).fill(Mode.RANS);
  const symbolBuffer = new Uint16Array(layout.tileRows * TILE_COLUMNS);
  const residuals = new Uint16Array(layout.tileRows * TILE_COLUMNS);
  forEachTile(layout, slice, (tile, index, words) => {
    const { height, width } = tile;
    const symbols = symbolBuffer.subarray(0, words.length);
    const tileRowBins = rowBins?.subarray(tile.row, tile.row + height);
    for (let p = 0; p < split.length; p++) {
      const choice = choices[index * split.length + p];
      if (choice === SURVEY_RAW) continue;
      cutPlane(words, dtype, split, p, symbols);
      if (!request.forced && isConstant(symbols)) continue;
      if (p === 0 && pairs !== undefined && choice === 0) {
        const coded = pairsOf(pairs, tile, symbols);
        const limit = request.forced ? words.length : Math.max(4, words.length >> OUTSIDE_SHIFT);
        if (coded.outside <= limit) {
          fits[index - firstTile] = Mode.PAIRS;
          const bins = columnBins?.subarray(tile.column / 2);
          addCounts(coded.pairs, height, pairsAcross(width), 8, tileRowBins, bins, pairCounters);
          continue;
        }
      }
      const coded = choice === 0 ? symbols : residuals;
      if (choice > 0) residualsOf(symbols, height, width, choice, zeroSymbol(dtype), residuals);
      // Beside pairs, plane 0 has one table and no classes.
      const binned = pairs === undefined ? columnBins?.subarray(tile.column) : binsOfColumns(columnBins, tile);
      addCounts(
        coded,
        height,
        width,
        split[p],
        p === 0 && pairs !== undefined ? undefined : tileRowBins,
        binned,
        counters[p],
      );
    }
  });
  return {
    planes: counters.map((counts) => Float64Array.from(counts)),
    pairs: pairs === undefined ? undefined : Float64Array.from(pairCounters),
    fits,
  };
}

function binsOfColumns(pairBins: Uint8Array | undefined, tile: Tile): Uint8Array | undefined {
  return pairBins && Uint8Array.from({ length: tile.width }, (_, j) => pairBins[(tile.column + j) >>> 1]);
}

/** The pairs of a tile as they will be counted: where a code is outside the window, the other one of the pair stands for it. */
function pairsOf(pairs: Window, tile: Tile, symbols: Uint16Array): { pairs: Uint16Array; outside: number } {
  const { height, width } = tile;
  const across = pairsAcross(width);
  const codes = new Uint8Array(height * 2 * across);
  codesOf(symbols, height, width, windowStarts(pairs, tile.column, width), codes);
  const coded = new Uint16Array(height * across);
  let outside = 0;
  for (let i = 0; i < coded.length; i++) {
    const left = codes[2 * i];
    const right = codes[2 * i + 1];
    if (left === ANY_CODE) outside++;
    if (right === ANY_CODE) outside++;
    const first = left === ANY_CODE ? (right === ANY_CODE ? 0 : right) : left;
    coded[i] = first + 16 * (right === ANY_CODE ? first : right);
  }
  return { pairs: coded, outside };
}

function addCounts(
  symbols: Uint16Array,
  height: number,
  width: number,
  bits: number,
  rowBins: Uint8Array | undefined,
  columnBins: Uint8Array | undefined,
  counters: Uint32Array,
): void {
  if (rowBins === undefined || columnBins === undefined) {
    for (let i = 0; i < height * width; i++) counters[symbols[i]]++;
    return;
  }
  for (let i = 0, at = 0; i < height; i++) {
    const rowBase = rowBins[i] * COLUMN_BINS;
    for (let j = 0; j < width; j++, at++) counters[((rowBase + columnBins[j]) << bits) | symbols[at]]++;
  }
}

// ----------------------------------------------------------------------------------------------------- together

/** What a request asks for, of one slice. */
export function gather(layout: Layout, slice: Slice, request: StatisticsRequest): Statistics {
  switch (request.kind) {
    case 'survey':
      return surveySlice(layout, slice, request);
    case 'window':
      return windowSlice(layout, slice, request);
    case 'count':
      return countSlice(layout, slice, request);
  }
}

/** Adds up what `gather` found in the slices of a tensor, which may come in any order. */
export class Total<T extends Statistics> {
  private total: T | undefined;

  constructor(private readonly layout: Layout) {}

  add(firstBand: number, found: T): void {
    this.total = this.total === undefined ? this.allocate(found) : this.total;
    this.merge(firstBand, found);
  }

  get value(): T {
    return this.total as T;
  }

  private allocate(found: T): T {
    const { rows, tileCount, tilesAcross } = this.layout;
    if (found instanceof Float64Array) return new Float64Array(found.length) as T;
    if ('fits' in found)
      return {
        planes: found.planes.map((counts) => new Float64Array(counts.length)),
        pairs: found.pairs && new Float64Array(found.pairs.length),
        fits: new Uint8Array(tileCount),
      } satisfies Counts as unknown as T;
    const tiles = Math.ceil(found.rowLevels.length / this.layout.tileRows) * tilesAcross;
    return {
      rowLevels: new Uint16Array(rows),
      columnSums: new Float64Array(found.columnSums.length),
      columnCounts: new Float64Array(found.columnCounts.length),
      choices: found.choices.map((choices) => new Uint8Array((choices.length / tiles) * tileCount)),
      costs: new Float64Array(found.costs.length),
    } satisfies Survey as unknown as T;
  }

  private merge(firstBand: number, found: T): void {
    const firstTile = firstBand * this.layout.tilesAcross;
    const total = this.total as Statistics;
    if (found instanceof Float64Array) addTo(total as Float64Array, found);
    else if ('fits' in found) {
      const counts = total as Counts;
      for (const [p, plane] of found.planes.entries()) addTo(counts.planes[p], plane);
      if (counts.pairs && found.pairs) addTo(counts.pairs, found.pairs);
      counts.fits.set(found.fits, firstTile);
    } else {
      const survey = total as Survey;
      survey.rowLevels.set(found.rowLevels, firstBand * this.layout.tileRows);
      addTo(survey.columnSums, found.columnSums);
      addTo(survey.columnCounts, found.columnCounts);
      addTo(survey.costs, found.costs);
      found.choices.forEach((choices, s) => {
        const planes = survey.choices[s].length / this.layout.tileCount;
        survey.choices[s].set(choices, firstTile * planes);
      });
    }
  }
}

function addTo(total: Float64Array, found: Float64Array): void {
  for (let i = 0; i < total.length; i++) total[i] += found[i];
}
