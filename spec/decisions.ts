// What an encoder decides, and by what rule (FORMAT.md, annex A). All of it is integer arithmetic, and ties go to what
// comes first, so that another implementation that counts alike writes the same bytes.

import { BitWriter } from './bits.ts';
import { allowsPairs, type Dtype, isNibbles, type Split } from './elements.ts';
import {
  codingCost,
  MAX_SLOTS,
  MIN_PROBABILITY_BITS,
  maxProbabilityBits,
  normalise,
  type TableSet,
  writeTable,
} from './frequency.ts';
import type { Layout, TILE_ROWS } from './layout.ts';
import { BIT, entropyCost, xlog2x } from './logarithm.ts';
import { BINADES, MAX_START, type Window } from './pairs.ts';
import { PREDICTORS, type Predictor } from './prediction.ts';
import {
  COLUMN_BINS,
  type Counts,
  LEVELS,
  level,
  ROW_BINS,
  type Statistics,
  type StatisticsRequest,
  SURVEY_RAW,
  type Survey,
  WINDOW_SHIFT,
} from './statistics.ts';
import { type Coding, Mode, outlierBytes, type Wish } from './tile.ts';

/** small: fewest bytes. fast: fewest steps of a decoder, for weights that are decoded again and again. */
export type Profile = 'small' | 'fast';
export type ClassChoice = 'none' | 'rows2' | 'columns2' | 'rows4' | 'columns4' | 'mixed';
/** How a plane is coded: RAW, RANS with this predictor, or PAIRS. */
export type ModeChoice = 'raw' | Predictor | 'pairs';

/** What is left out, the encoder chooses. */
export interface EncodeOptions {
  readonly profile?: Profile;
  /** H, rows of a tile: 8, 16, 32, 64, 128 (the default) or 256. */
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

/** Whether every plane of this split can be coded so. */
function allows(dtype: Dtype, split: Split, modes: readonly ModeChoice[]): boolean {
  return (
    modes.length === split.length &&
    modes.every((mode, p) => {
      if (mode === 'pairs') return p === 0 && allowsPairs(dtype, split);
      return mode === 'raw' || mode === 'none' || split[p] === 8;
    })
  );
}

/** The splits that the options leave to choose from, in the order in which they are tried. */
function splitsFor(dtype: Dtype, { profile, split, modes }: EncodeOptions): readonly Split[] {
  const named = dtype.splits.filter((candidate) => split === undefined || candidate.join() === split.join());
  const preferred = profile === 'fast' ? named.toReversed() : named;
  // With forced modes there is nothing to compare: the first split that has them.
  if (modes !== undefined) return preferred.filter((candidate) => allows(dtype, candidate, modes)).slice(0, 1);
  // What cannot win is not tried: 4 + 4 in small, 10 + 6 in fast.
  const comparesAll = (dtype.wordBits === 8) === (profile === 'fast');
  return comparesAll ? preferred : preferred.slice(0, 1);
}

/** @throws RangeError for options that the format does not have for this dtype */
export function checkOptions(dtype: Dtype, options: EncodeOptions): void {
  const { split, modes, probabilityBits } = options;
  const splits = splitsFor(dtype, options);
  if (splits.length === 0)
    throw new RangeError(
      `${dtype.name} cannot be coded as ${split?.join(' + ') ?? 'any split'}${modes ? ` in modes ${modes.join(', ')}` : ''}`,
    );
  const most = Math.min(...splits.flat().map(maxProbabilityBits));
  if (probabilityBits !== undefined && !(probabilityBits >= MIN_PROBABILITY_BITS && probabilityBits <= most))
    throw new RangeError(`probability bits must be from ${MIN_PROBABILITY_BITS} to ${most}, not ${probabilityBits}`);
}

/**
 * The passes of an encoder over a tensor. Each value yielded asks for statistics, gathered from all slices and added
 * up; the last one returned is the plan by which tiles are coded.
 */
export function* decide(layout: Layout, options: EncodeOptions): Generator<StatisticsRequest, Plan, Statistics> {
  const { dtype } = layout;
  const profile = options.profile ?? 'small';
  const splits = splitsFor(dtype, options);
  const survey = (yield { kind: 'survey', splits, minimumSaving: MINIMUM_SAVING[profile] }) as Survey;
  // The second split has to win by 1/32: estimates are that good, and 4 + 4, which halves a decoder's steps, may cost it.
  const [firstCost, secondCost] = survey.costs;
  const chosen = splits.length > 1 && secondCost + Math.floor(secondCost / 32) < firstCost ? 1 : 0;
  const split = splits[chosen];
  const choices = applyForced(survey.choices[chosen], split.length, options.modes);

  const wantsPairs =
    allowsPairs(dtype, split) && (options.modes === undefined ? profile === 'fast' : options.modes[0] === 'pairs');
  const columnLevels = Array.from(survey.columnSums, (sum, j) => level(sum, survey.columnCounts[j]));
  let window: Window | undefined;
  if (wantsPairs && isNibbles(split)) window = { base: 0, offsets: undefined };
  else if (wantsPairs && layout.words > 0) {
    const offsets = chooseOffsets(columnLevels, layout.rows, options.columnOffsets);
    const exponents = (yield {
      kind: 'window',
      offsets: offsets ?? new Uint8Array(layout.columns),
      choices,
    }) as Float64Array;
    window = { base: chooseBase(exponents, offsets), offsets };
  }

  const bins = binRowsAndColumns(layout, survey.rowLevels, columnLevels, window, options.classes);
  const counts = (yield {
    kind: 'count',
    split,
    choices,
    pairs: window,
    forced: options.modes !== undefined,
    ...bins,
  }) as Counts;
  const coding = chooseTables(layout, split, choices, window, bins, counts, options);
  return { coding, choices, fits: counts.fits, forced: options.modes };
}

/** A plane after the first is coded only if that saves so many 256ths of it: fast decoders would rather copy bits. */
const MINIMUM_SAVING: Record<Profile, number> = { small: 1, fast: 16 };

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
    if (p === 0 && pairs !== undefined && plan.fits[index] === Mode.PAIRS)
      return { mode: Mode.PAIRS, predictor: 0, forced };
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
export function chooseOffsets(
  levels: readonly number[],
  rows: number,
  wanted: boolean | undefined,
): Uint8Array | undefined {
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
  const rowBins = quantileBins(rowLevels, ROW_BINS);
  if (window === undefined) return { rowBins, columnBins: quantileBins(columnLevels, COLUMN_BINS) };
  // The two columns of a pair side by side: quarters of what is left of their levels, 4 x 4 bins.
  const { offsets } = window;
  const left = columnLevels.map(
    (value, j) => Math.max(0, value - BINADE * (offsets?.[j] ?? 0) + BINADE * BINADES) % LEVELS,
  );
  const quarters = quantileBins(left, 4);
  const columnBins = Uint8Array.from(
    { length: Math.ceil(layout.columns / 2) },
    (_, q) => 4 * quarters[2 * q] + (quarters[2 * q + 1] ?? quarters[2 * q]),
  );
  return { rowBins, columnBins };
}

// ------------------------------------------------------------------------------------------------------ classes

/** Joint counts of the symbols that occur: [bin x symbols.length + i] for symbols[i], bin = rowBin x COLUMN_BINS + columnBin. */
interface Joint {
  readonly symbols: readonly number[];
  readonly bins: number;
  readonly counts: Float64Array;
}

/** Leaves out the symbols that do not occur: most of 1024, usually. */
function condense(joint: Float64Array, bits: number): Joint {
  const alphabet = 2 ** bits;
  const bins = joint.length / alphabet;
  const seen = new Uint8Array(alphabet);
  for (let at = 0; at < joint.length; at++) if (joint[at] > 0) seen[at & (alphabet - 1)] = 1;
  const symbols = Array.from(seen.keys()).filter((symbol) => seen[symbol] === 1);
  const counts = new Float64Array(bins * symbols.length);
  for (let bin = 0, at = 0; bin < bins; bin++)
    for (let i = 0; i < symbols.length; i++) counts[at++] = joint[bin * alphabet + symbols[i]];
  return { symbols, bins, counts };
}

/** Adds joint counts up: those of a bin go to the histogram that `indexOf(rowBin, columnBin)` names. */
function addUp(joint: Joint, histograms: number, indexOf: (row: number, column: number) => number): Float64Array[] {
  const length = joint.symbols.length;
  const sums = Array.from({ length: histograms }, () => new Float64Array(length));
  for (let bin = 0; bin < joint.bins; bin++) {
    const sum = sums[indexOf(Math.floor(bin / COLUMN_BINS), bin % COLUMN_BINS)];
    for (let i = 0, from = bin * length; i < length; i++, from++) sum[i] += joint.counts[from];
  }
  return sums;
}

interface Group {
  readonly bins: readonly number[];
  readonly counts: Float64Array;
  readonly total: number;
  readonly cost: number;
}

/** What the union of two groups costs more than they do apart. */
function increase(a: Group, b: Group): number {
  let sum = 0;
  for (let s = 0; s < a.counts.length; s++) sum += xlog2x(a.counts[s] + b.counts[s]);
  return xlog2x(a.total + b.total) - sum - a.cost - b.cost;
}

function groupOf(bins: readonly number[], counts: Float64Array): Group {
  return { bins, counts, total: counts.reduce((sum, count) => sum + count, 0), cost: entropyCost(counts) };
}

/**
 * Joins bins, each time the two whose union costs least more than they do apart, until `target` are left.
 *
 * @returns the class of each bin; classes are numbered in the order of their first bin, empty bins are in class 0
 */
export function joinBins(histograms: readonly Float64Array[], target: number): Uint8Array {
  const groups = histograms.map((counts, bin) => groupOf([bin], counts)).filter(({ total }) => total > 0);
  // increases[b][a], a < b
  const increases = groups.map((b, at) => groups.slice(0, at).map((a) => increase(a, b)));
  while (groups.length > target) {
    let [first, second] = [0, 1];
    for (let a = 0; a < groups.length; a++)
      for (let b = a + 1; b < groups.length; b++)
        if (increases[b][a] < increases[second][first]) [first, second] = [a, b];
    const [a, b] = [groups[first], groups[second]];
    groups[first] = groupOf(
      [...a.bins, ...b.bins],
      a.counts.map((count, s) => count + b.counts[s]),
    );
    groups.splice(second, 1);
    increases.splice(second, 1);
    for (const row of increases) row.splice(second, 1);
    increases[first] = groups.slice(0, first).map((other) => increase(other, groups[first]));
    for (let later = first + 1; later < groups.length; later++)
      increases[later][first] = increase(groups[first], groups[later]);
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

/** The ways to tell classes apart that are worth pricing. */
function classMaps(joint: Joint, wanted: ClassChoice | undefined): ClassMap[] {
  if (joint.bins === 1 || wanted === 'none') return [ONE_CLASS];
  const rowBins = addUp(joint, ROW_BINS, (row) => row);
  const columnBins = addUp(joint, COLUMN_BINS, (_, column) => column);
  const two = { rows: joinBins(rowBins, 2), columns: joinBins(columnBins, 2) };
  const all: Record<ClassChoice, ClassMap> = {
    none: ONE_CLASS,
    rows2: { classes: 2, rows: two.rows, columns: undefined },
    columns2: { classes: 2, rows: undefined, columns: two.columns },
    rows4: { classes: 4, rows: joinBins(rowBins, 4), columns: undefined },
    columns4: { classes: 4, rows: undefined, columns: joinBins(columnBins, 4) },
    mixed: { classes: 4, rows: two.rows, columns: two.columns.map((bit) => 2 * bit) },
  };
  return wanted === undefined ? Object.values(all) : [all[wanted]];
}

// ------------------------------------------------------------------------------------------------------- tables

/** Tables for some classes of counts, and what they cost together with what they code, in units. */
interface PricedTables {
  readonly tables: TableSet;
  readonly cost: number;
}

function priceTables(
  counts: readonly Float64Array[],
  symbolBits: number,
  probabilityBits: number,
  outlierBits: number,
): PricedTables | undefined {
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

/** Counts of the symbols that occur, among all symbols. */
function spreadOut(counts: Float64Array, symbols: readonly number[], bits: number): Float64Array {
  const all = new Float64Array(2 ** bits);
  symbols.forEach((symbol, i) => {
    all[symbol] = counts[i];
  });
  return all;
}

/** The largest N with which so many tables fit into `slots`, from `wanted` or all. */
function largestBits(tables: number, symbolBits: number, slots: number, wanted: number | undefined): number {
  let probabilityBits = wanted ?? maxProbabilityBits(symbolBits);
  while (wanted === undefined && tables * 2 ** probabilityBits > slots) probabilityBits--;
  return probabilityBits;
}

/** Coarser tables than `finest`, if they are cheaper: a small tensor pays for every bit of its tables. */
function bestTables(finest: PricedTables, counts: readonly Float64Array[], outlierBits: number): PricedTables {
  const { symbolBits, probabilityBits } = finest.tables;
  let best = finest;
  for (let bits = probabilityBits - 1; bits >= MIN_PROBABILITY_BITS; bits--) {
    const priced = priceTables(counts, symbolBits, bits, outlierBits);
    if (priced !== undefined && priced.cost < best.cost) best = priced;
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
  const none: Coding = {
    layout,
    split,
    tables: split.map(() => undefined),
    pairs: undefined,
    classes: 1,
    rowSelectors: undefined,
    columnSelectors: undefined,
  };
  const isEmpty = (histogram: Float64Array | undefined): boolean =>
    histogram === undefined || histogram.every((count) => count === 0);
  const usesPairs = !isEmpty(counts.pairs);
  const selectorColumns = window === undefined ? layout.columns : Math.ceil(layout.columns / 2);
  const fullTable = (bits: number): number => 2 ** (options.probabilityBits ?? maxProbabilityBits(bits));
  /** What has to be coded, the leading one first: PAIRS, if any, before plane 0's other tiles. */
  const jobs = [
    ...(usesPairs ? [{ plane: -1, bits: 8, joint: counts.pairs as Float64Array }] : []),
    ...split
      .map((bits, plane) => ({ plane, bits, joint: counts.planes[plane] }))
      .filter(({ joint }) => !isEmpty(joint)),
  ];
  if (jobs.length === 0) return none;
  // Outliers need a plane 0 without prediction.
  const predicted = choices.some((choice, i) => i % split.length === 0 && choice > 0 && choice !== SURVEY_RAW);
  const tables: (TableSet | undefined)[] = split.map(() => undefined);
  let pairTables: TableSet | undefined;
  let map = ONE_CLASS;
  let slots = MAX_SLOTS;
  jobs.forEach(({ plane, bits, joint }, job) => {
    const condensed = condense(joint, bits);
    const reserved = jobs.slice(job + 1).reduce((sum, later) => sum + fullTable(later.bits), 0);
    const outlierBits = plane < 0 || (plane === 0 && !predicted) ? 8 * outlierBytes(layout.dtype) : 0;
    // Beside pairs, plane 0 has one table.
    const one = map.classes === 1 || (plane === 0 && usesPairs);
    const maps = job === 0 ? classMaps(condensed, options.classes) : one ? [ONE_CLASS] : [ONE_CLASS, map];
    let best: (PricedTables & { counts: Float64Array[]; map: ClassMap; total: number }) | undefined;
    for (const candidate of maps) {
      const { classes, rows, columns } = candidate;
      const sums = addUp(condensed, classes, (row, column) => (rows?.[row] ?? 0) | (columns?.[column] ?? 0));
      const classCounts = sums.map((sum) => spreadOut(sum, condensed.symbols, bits));
      const finest = largestBits(classes, bits, slots - reserved, options.probabilityBits);
      const priced = priceTables(classCounts, bits, finest, outlierBits);
      if (priced === undefined) continue;
      const selectors = job > 0 ? 0 : ((rows ? layout.rows : 0) + (columns ? selectorColumns : 0)) * Math.log2(classes);
      const total = priced.cost + selectors * BIT;
      if (best === undefined || total < best.total) best = { ...priced, counts: classCounts, map: candidate, total };
    }
    const count = condensed.counts.reduce((sum, each) => sum + each, 0);
    if (best === undefined || (options.modes === undefined && plane >= 0 && best.total >= count * bits * BIT)) return;
    const { tables: chosen } =
      options.probabilityBits === undefined ? bestTables(best, best.counts, outlierBits) : best;
    if (plane < 0) pairTables = chosen;
    else tables[plane] = chosen;
    if (job === 0) map = best.map;
    slots -= chosen.frequencies.length * 2 ** chosen.probabilityBits;
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
