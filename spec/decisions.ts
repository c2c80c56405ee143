// What an encoder decides, and by what rule (FORMAT.md, annex A). All of it is integer arithmetic, and ties go to what
// comes first, so that another implementation that counts alike writes the same bytes.

import { BitWriter } from './bits.ts';
import { BF16, type Split } from './elements.ts';
import { codingCost, MAX_SLOTS, MIN_PROBABILITY_BITS, maxProbabilityBits, normalise, type TableSet, writeTable } from './frequency.ts';
import { type Layout, TILE_ROWS } from './layout.ts';
import { BIT, xlog2x } from './logarithm.ts';
import { BINADES, MAX_START, type Window } from './pairs.ts';
import { PREDICTORS, type Predictor } from './prediction.ts';
import { BINS, type Counts, LEVELS, level, type StatisticsRequest, SURVEY_RAW, type Statistics, type Survey, WINDOW_SHIFT } from './statistics.ts';
import { type Coding, Mode, outlierBytes, type Wish } from './tile.ts';

/** small: fewest bytes. fast: fewest steps of a decoder, for weights that are decoded again and again. */
export type Profile = 'small' | 'fast';
export type ClassChoice = 'none' | 'rows2' | 'columns2' | 'rows4' | 'columns4' | 'mixed';
/** How a plane is coded: RAW, RANS with this predictor, or PAIRS. */
export type ModeChoice = 'raw' | Predictor | 'pairs';

/** What is left out, the encoder chooses. */
export interface EncodeOptions {
  readonly profile?: Profile;
  /** H, rows of a tile: 32, 64, 128 (the default) or 256. */
  readonly tileRows?: (typeof TILE_ROWS)[number];
  /** Columns of the matrix view. */
  readonly columns?: number;
  /** Bits of each plane. */
  readonly split?: Split;
  /** The mode of each plane, for every tile. */
  readonly modes?: readonly ModeChoice[];
  /** N of every table. */
  readonly probabilityBits?: number;
  readonly classes?: ClassChoice;
  /** Whether columns have offsets in PAIRS. */
  readonly columnOffsets?: boolean;
}

/** All an encoder needs to code a tile. */
export interface Plan {
  readonly coding: Coding;
  /** Surveyed choices, tile by tile and plane by plane; and the mode of plane 0 where there are pairs. */
  readonly choices: Uint8Array;
  readonly fits: Uint8Array;
  readonly forced: readonly ModeChoice[] | undefined;
}

/** @throws RangeError for options that the format does not have for this dtype */
export function checkOptions(layout: Layout, options: EncodeOptions): void {
  const { dtype } = layout;
  const split = options.split ?? dtype.splits[0];
  if (!dtype.splits.some((candidate) => candidate.join() === split.join()))
    throw new RangeError(`${dtype.name} cannot be split as ${split.join(' + ')}`);
  if (options.modes !== undefined) {
    const planes = options.split?.length ?? dtype.splits[0].length;
    if (options.modes.length !== planes) throw new RangeError(`${options.modes.length} modes for ${planes} planes`);
    options.modes.forEach((mode, p) => {
      const predicted = mode !== 'raw' && mode !== 'none' && mode !== 'pairs';
      if (predicted && split[p] !== 8) throw new RangeError(`a plane of ${split[p]} bits is not predicted`);
      if (mode === 'pairs' && (dtype !== BF16 || split[0] !== 8 || p > 0))
        throw new RangeError('PAIRS is for plane 0 of BF16 as 8 + 8');
    });
  }
  const bits = options.probabilityBits;
  if (bits !== undefined && !(bits >= MIN_PROBABILITY_BITS && bits <= maxProbabilityBits(Math.max(...split))))
    throw new RangeError(`probability bits must be from ${MIN_PROBABILITY_BITS} to ${maxProbabilityBits(Math.max(...split))}`);
}

/**
 * The passes of an encoder over a tensor. Each value yielded asks for statistics, gathered from all slices and added
 * up; the last one returned is the plan by which tiles are coded.
 */
export function* decide(layout: Layout, options: EncodeOptions): Generator<StatisticsRequest, Plan, Statistics> {
  const { dtype } = layout;
  const profile = options.profile ?? 'small';
  const splits = options.split !== undefined ? [options.split] : splitsToTry(dtype.splits, profile, options.modes);
  const survey = (yield { kind: 'survey', splits, minimumSaving: MINIMUM_SAVING[profile] }) as Survey;
  // The second split has to win by 1/32: estimates are that good.
  const [firstCost, secondCost] = survey.costs;
  const chosen = splits.length > 1 && secondCost + Math.floor(secondCost / 32) < firstCost ? 1 : 0;
  const split = splits[chosen];
  const choices = applyForced(survey.choices[chosen], split.length, options.modes);

  const wantsPairs = dtype === BF16 && split[0] === 8 && (options.modes === undefined ? profile === 'fast' : options.modes[0] === 'pairs');
  const columnLevels = Array.from(survey.columnSums, (sum, j) => level(sum, survey.columnCounts[j]));
  let window: Window | undefined;
  if (wantsPairs && layout.words > 0) {
    const offsets = chooseOffsets(columnLevels, layout.rows, options.columnOffsets);
    const exponents = (yield { kind: 'window', offsets: offsets ?? new Uint8Array(layout.columns), choices }) as Float64Array;
    window = { base: chooseBase(exponents, offsets), offsets };
  }

  const bins = binRowsAndColumns(layout, survey.rowLevels, columnLevels, window, options.classes);
  const forcePairs = options.modes?.[0] === 'pairs';
  const counts = (yield { kind: 'count', split, choices, pairs: window, forcePairs, ...bins }) as Counts;
  const coding = chooseTables(layout, split, choices, window, bins, counts, options);
  return { coding, choices, fits: counts.fits, forced: options.modes };
}

/** A plane after the first is coded only if that saves so many 256ths of it: fast decoders would rather copy bits. */
const MINIMUM_SAVING: Record<Profile, number> = { small: 1, fast: 16 };

function splitsToTry(splits: readonly Split[], profile: Profile, modes: readonly ModeChoice[] | undefined): readonly Split[] {
  const predicted = (split: Split): boolean => modes?.every((mode, p) => split[p] === 8 || mode === 'raw' || mode === 'none') ?? true;
  if (splits.length === 1 || modes === undefined) return profile === 'fast' ? splits.slice(-1) : splits;
  return [(profile === 'small' && predicted(splits[0]) ? splits[0] : splits.at(-1)) as Split];
}

/** The survey's choices, but for forced modes. */
function applyForced(surveyed: Uint8Array, planes: number, modes: readonly ModeChoice[] | undefined): Uint8Array {
  if (modes === undefined) return surveyed;
  const codes = modes.map((mode) => (mode === 'raw' ? SURVEY_RAW : mode === 'pairs' ? 0 : PREDICTORS.indexOf(mode)));
  return surveyed.map((_, i) => codes[i % planes]);
}

/** How the planes of a tile are to be coded. */
export function wishesFor(plan: Plan, index: number): Wish[] {
  const { split, pairs } = plan.coding;
  return split.map((_, p): Wish => {
    const choice = plan.choices[index * split.length + p];
    const forced = plan.forced !== undefined;
    if (choice === SURVEY_RAW) return { mode: Mode.RAW, predictor: 0, forced };
    if (p === 0 && pairs !== undefined && plan.fits[index] === Mode.PAIRS) return { mode: Mode.PAIRS, predictor: 0, forced };
    return { mode: Mode.RANS, predictor: choice, forced };
  });
}

// ------------------------------------------------------------------------------------------------------- window

/** Levels in a binade of BF16: four magnitudes of 16 levels. */
const BINADE = 64;
/** Offsets must lower the variance of column levels, in squared binades and times the rows, by more than this. */
const OFFSETS_WORTH = 20;

/**
 * Offsets that bring the columns' mean exponents together, or undefined where columns are too much alike to pay for
 * 4 bits each. The grid of whole binades is laid where columns straddle its lines least.
 */
export function chooseOffsets(levels: readonly number[], rows: number, wanted: boolean | undefined): Uint8Array | undefined {
  if (wanted === false) return undefined;
  const median = [...levels].sort((a, b) => a - b)[levels.length >> 1];
  const spread = (values: readonly number[]): number => {
    const mean = Math.floor(values.reduce((sum, value) => sum + value, 0) / values.length);
    return Math.floor(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  };
  let best: number[] = [];
  let bestSpread = Number.POSITIVE_INFINITY;
  for (let phase = 0; phase < BINADE; phase += BINADE / 8) {
    const start = median - (BINADE * BINADES) / 2 - phase;
    const offsets = levels.map((value) => Math.min(BINADES - 1, Math.max(0, Math.floor((value - start) / BINADE))));
    const left = spread(levels.map((value, j) => value - BINADE * offsets[j]));
    if (left < bestSpread) {
      best = offsets;
      bestSpread = left;
    }
  }
  const gain = (spread(levels) - bestSpread) * rows;
  if (wanted === undefined && gain <= OFFSETS_WORTH * BINADE * BINADE) return undefined;
  const lowest = best.reduce((low, offset) => Math.min(low, offset), BINADES);
  return Uint8Array.from(best, (offset) => offset - lowest);
}

/** The base with the most exponents in the window. */
function chooseBase(exponents: Float64Array, offsets: Uint8Array | undefined): number {
  const highest = MAX_START - (offsets?.reduce((high, offset) => Math.max(high, offset), 0) ?? 0);
  let best = 0;
  let bestInside = -1;
  for (let base = 0; base <= highest; base++) {
    let inside = 0;
    for (let code = 0; code < BINADES; code++) inside += exponents[base + code + WINDOW_SHIFT];
    if (inside > bestInside) {
      best = base;
      bestInside = inside;
    }
  }
  return best;
}

// --------------------------------------------------------------------------------------------------------- bins

/** Smaller tensors have one class: selectors and tables would cost more than they save. */
const CLASSES_FROM_WORDS = 2 ** 14;

interface Bins {
  readonly rowBins: Uint8Array | undefined;
  readonly columnBins: Uint8Array | undefined;
}

/** Puts each value into one of `bins` bins of about equally many, in order; equal values share a bin. */
export function quantileBins(levels: ArrayLike<number>, bins: number): Uint8Array {
  const counts = new Float64Array(LEVELS);
  for (let i = 0; i < levels.length; i++) counts[levels[i]]++;
  const binOf = new Uint8Array(LEVELS);
  let before = 0;
  for (let value = 0; value < LEVELS; value++) {
    binOf[value] = Math.floor((bins * (before + Math.floor(counts[value] / 2))) / levels.length);
    before += counts[value];
  }
  return Uint8Array.from({ length: levels.length }, (_, i) => binOf[levels[i]]);
}

function binRowsAndColumns(
  layout: Layout,
  rowLevels: Uint16Array,
  columnLevels: readonly number[],
  window: Window | undefined,
  classes: ClassChoice | undefined,
): Bins {
  if (layout.words === 0 || classes === 'none' || (classes === undefined && layout.words < CLASSES_FROM_WORDS))
    return { rowBins: undefined, columnBins: undefined };
  const rowBins = quantileBins(rowLevels, BINS);
  if (window === undefined) return { rowBins, columnBins: quantileBins(columnLevels, BINS) };
  // The two columns of a pair side by side: quarters of what is left of their levels, 4 x 4 bins.
  const { offsets } = window;
  const left = columnLevels.map((value, j) => Math.max(0, value - BINADE * (offsets?.[j] ?? 0) + BINADE * BINADES) % LEVELS);
  const quarters = quantileBins(left, 4);
  const columnBins = Uint8Array.from(
    { length: Math.ceil(layout.columns / 2) },
    (_, q) => 4 * quarters[2 * q] + (quarters[2 * q + 1] ?? quarters[2 * q]),
  );
  return { rowBins, columnBins };
}

// ------------------------------------------------------------------------------------------------------ classes

/** Adds joint counts up by class: `classOf(rowBin, columnBin)`. */
function byClass(joint: Float64Array, symbols: number, classes: number, classOf: (row: number, column: number) => number): Float64Array[] {
  const sums = Array.from({ length: classes }, () => new Float64Array(symbols));
  for (let bin = 0; bin * symbols < joint.length; bin++) {
    const sum = sums[classOf(Math.floor(bin / BINS), bin % BINS)];
    for (let s = 0; s < symbols; s++) sum[s] += joint[bin * symbols + s];
  }
  return sums;
}

/**
 * Joins bins, each time the two whose union costs least more than they do apart, until `target` are left.
 *
 * @returns the class of each bin; classes are numbered in the order of their first bin, empty bins are in class 0
 */
export function joinBins(histograms: readonly Float64Array[], target: number): Uint8Array {
  const cost = (counts: Float64Array): number => {
    let total = 0;
    let sum = 0;
    for (let s = 0; s < counts.length; s++) {
      total += counts[s];
      sum += xlog2x(counts[s]);
    }
    return xlog2x(total) - sum;
  };
  const union = (a: Float64Array, b: Float64Array): Float64Array => a.map((count, s) => count + b[s]);
  let groups = histograms
    .map((counts, bin) => ({ bins: [bin], counts, cost: cost(counts) }))
    .filter(({ counts }) => counts.some((count) => count > 0));
  const increases = new Map<string, number>();
  const increase = (a: (typeof groups)[number], b: (typeof groups)[number]): number => {
    const key = `${a.bins}|${b.bins}`;
    let value = increases.get(key);
    if (value === undefined) {
      value = cost(union(a.counts, b.counts)) - a.cost - b.cost;
      increases.set(key, value);
    }
    return value;
  };
  while (groups.length > target) {
    let best = [0, 1];
    for (let a = 0; a < groups.length; a++)
      for (let b = a + 1; b < groups.length; b++)
        if (increase(groups[a], groups[b]) < increase(groups[best[0]], groups[best[1]])) best = [a, b];
    const [a, b] = best.map((index) => groups[index]);
    const counts = union(a.counts, b.counts);
    const joined = { bins: [...a.bins, ...b.bins], counts, cost: cost(counts) };
    groups = groups.map((group) => (group === a ? joined : group)).filter((group) => group !== b);
  }
  const classes = new Uint8Array(histograms.length);
  groups.forEach(({ bins }, index) => {
    for (const bin of bins) classes[bin] = index;
  });
  return classes;
}

/** A way to tell classes apart: the class bits of each row bin and column bin. */
interface ClassMap {
  readonly classes: number;
  readonly rows: Uint8Array | undefined;
  readonly columns: Uint8Array | undefined;
}

const ONE_CLASS: ClassMap = { classes: 1, rows: undefined, columns: undefined };

function classMaps(joint: Float64Array, symbols: number, wanted: ClassChoice | undefined): ClassMap[] {
  if (joint.length === symbols || wanted === 'none') return [ONE_CLASS];
  const rowBins = byClass(joint, symbols, BINS, (row) => row);
  const columnBins = byClass(joint, symbols, BINS, (_, column) => column);
  const two = { rows: joinBins(rowBins, 2), columns: joinBins(columnBins, 2) };
  const all: Record<ClassChoice, () => ClassMap> = {
    none: () => ONE_CLASS,
    rows2: () => ({ classes: 2, rows: two.rows, columns: undefined }),
    columns2: () => ({ classes: 2, rows: undefined, columns: two.columns }),
    rows4: () => ({ classes: 4, rows: joinBins(rowBins, 4), columns: undefined }),
    columns4: () => ({ classes: 4, rows: undefined, columns: joinBins(columnBins, 4) }),
    mixed: () => ({ classes: 4, rows: two.rows, columns: two.columns.map((bit) => 2 * bit) }),
  };
  return wanted === undefined ? Object.values(all).map((map) => map()) : [all[wanted]()];
}

// ------------------------------------------------------------------------------------------------------- tables

/** Tables for some classes of counts, and what they cost together with what they code, in units. */
interface PricedTables {
  readonly tables: TableSet;
  readonly cost: number;
}

function priceTables(counts: readonly Float64Array[], symbolBits: number, probabilityBits: number, outlierBits: number): PricedTables | undefined {
  const frequencies: Uint16Array[] = [];
  const filled = counts.find((table) => table.some((count) => count > 0)) as Float64Array;
  const writer = new BitWriter();
  let cost = 0;
  for (const table of counts) {
    // An empty class copies the first that is not.
    const source = table.some((count) => count > 0) ? table : filled;
    const normalised = normalise(source, probabilityBits, outlierBits > 0);
    if (normalised === undefined) return undefined;
    frequencies.push(normalised);
    writeTable(writer, symbolBits, normalised);
    cost += codingCost(table, normalised, probabilityBits, outlierBits);
  }
  return { tables: { symbolBits, probabilityBits, frequencies }, cost: cost + writer.length * BIT };
}

/** The cheapest tables for these counts with at most `slots` slots. */
function bestTables(
  counts: readonly Float64Array[],
  symbolBits: number,
  slots: number,
  outlierBits: number,
  wanted: number | undefined,
): PricedTables | undefined {
  let best: PricedTables | undefined;
  const from = wanted ?? MIN_PROBABILITY_BITS;
  const to = wanted ?? maxProbabilityBits(symbolBits);
  for (let probabilityBits = to; probabilityBits >= from; probabilityBits--) {
    if (counts.length * 2 ** probabilityBits > slots) continue;
    const priced = priceTables(counts, symbolBits, probabilityBits, outlierBits);
    if (priced !== undefined && (best === undefined || priced.cost < best.cost)) best = priced;
  }
  return best;
}

/** Chooses classes by what they save in the leading plane, and tables for every plane that is worth coding. */
function chooseTables(
  layout: Layout,
  split: Split,
  choices: Uint8Array,
  window: Window | undefined,
  bins: Bins,
  counts: Counts,
  options: EncodeOptions,
): Coding {
  const none: Coding = { layout, split, tables: split.map(() => undefined), pairs: undefined, classes: 1, rowSelectors: undefined, columnSelectors: undefined };
  const isEmpty = (histogram: Float64Array | undefined): boolean => histogram === undefined || histogram.every((count) => count === 0);
  const usesPairs = !isEmpty(counts.pairs);
  const selectorColumns = window === undefined ? layout.columns : Math.ceil(layout.columns / 2);
  const fullTable = (bits: number): number => 2 ** (options.probabilityBits ?? maxProbabilityBits(bits));
  /** What has to be coded, the leading one first: PAIRS, if any, before plane 0's other tiles. */
  const jobs = [
    ...(usesPairs ? [{ plane: -1, bits: 8, joint: counts.pairs as Float64Array }] : []),
    ...split.map((bits, plane) => ({ plane, bits, joint: counts.planes[plane] })).filter(({ joint }) => !isEmpty(joint)),
  ];
  if (jobs.length === 0) return none;
  // Outliers need a plane 0 without prediction.
  const predicted = choices.some((choice, i) => i % split.length === 0 && choice > 0 && choice !== SURVEY_RAW);
  const tables: (TableSet | undefined)[] = split.map(() => undefined);
  let pairTables: TableSet | undefined;
  let map = ONE_CLASS;
  let slots = MAX_SLOTS;
  jobs.forEach(({ plane, bits, joint }, job) => {
    const reserved = jobs.slice(job + 1).reduce((sum, later) => sum + fullTable(later.bits), 0);
    const outlierBits = plane < 0 || (plane === 0 && !predicted) ? 8 * outlierBytes(layout.dtype) : 0;
    const plainOnly = plane === 0 && usesPairs;
    const maps = job === 0 ? classMaps(joint, 2 ** bits, options.classes) : plainOnly || map.classes === 1 ? [ONE_CLASS] : [ONE_CLASS, map];
    let best: PricedTables | undefined;
    let bestMap = ONE_CLASS;
    for (const candidate of maps) {
      const { classes, rows, columns } = candidate;
      const histograms = byClass(plainOnly ? joint.slice(0, 2 ** bits) : joint, 2 ** bits, classes, (row, column) => (rows?.[row] ?? 0) | (columns?.[column] ?? 0));
      const priced = bestTables(histograms, bits, slots - reserved, outlierBits, options.probabilityBits);
      if (priced === undefined) continue;
      const selectors = job > 0 ? 0 : ((rows ? layout.rows : 0) + (columns ? selectorColumns : 0)) * Math.log2(classes);
      const cost = priced.cost + selectors * BIT;
      if (best === undefined || cost < best.cost) {
        best = { tables: priced.tables, cost };
        bestMap = candidate;
      }
    }
    const total = joint.reduce((sum, count) => sum + count, 0);
    if (best === undefined || (options.modes === undefined && plane >= 0 && best.cost >= total * bits * BIT)) return;
    if (plane < 0) pairTables = best.tables;
    else tables[plane] = best.tables;
    if (job === 0) map = bestMap;
    slots -= best.tables.frequencies.length * 2 ** best.tables.probabilityBits;
  });
  const { rows, columns } = map;
  return {
    layout,
    split,
    tables,
    pairs: pairTables && window && { tables: pairTables, ...window },
    classes: map.classes,
    rowSelectors: rows && bins.rowBins?.map((bin) => rows[bin]),
    columnSelectors: columns && bins.columnBins?.map((bin) => columns[bin]),
  };
}
