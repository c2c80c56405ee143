// FORMAT.md, annex A.8: frequency tables, their price, and by it the classes and N.

import { type Header, MAX_SLOTS } from '../decoder/1-front.ts';
import { baseCrc } from '../decoder/3.2-base.ts';
import { Mode } from '../decoder/4-metadata.ts';
import { MIN_PROBABILITY_BITS, maxProbabilityBits, PAIR_BITS, type TableSet, tableOf } from '../decoder/6.1-tables.ts';
import { outlierBytes } from '../decoder/6.4-outliers.ts';
import { BIT, log2Units } from './a1-logarithm.ts';
import type { Source } from './a2-layout.ts';
import type { Survey } from './a3-survey.ts';
import type { WindowsOfMode, Wish } from './a5-windows.ts';
import type { Bins, Counts } from './a6-counts.ts';
import { type ClassMap, type Condensed, classMaps, condense, countsOfClasses, ONE_CLASS } from './a7-classes.ts';
import { BitWriter, writeFrequencies } from './front.ts';
import type { EncodeOptions } from './options.ts';

/**
 * Frequencies that add up to 2^probabilityBits, by Webster's method with at least one slot for each symbol kept: the
 * next slot goes to, or comes from, the symbol where count / (2 x frequency +- 1) says that it matters most or least.
 *
 * @param dropRare leave out symbols that are cheaper as outliers
 * @returns undefined where nothing was counted or the symbols do not fit
 */
export function normalise(
  counts: ArrayLike<number>,
  probabilityBits: number,
  dropRare: boolean,
): Uint16Array | undefined {
  const slots = 2 ** probabilityBits;
  const frequencies = new Uint16Array(counts.length);
  let all = 0;
  for (let s = 0; s < counts.length; s++) all += counts[s];
  const kept: number[] = [];
  let total = 0;
  for (let s = 0; s < counts.length; s++)
    if (counts[s] > 0 && !(dropRare && counts[s] * slots * 16 < all)) {
      kept.push(s);
      total += counts[s];
    }
  if (kept.length === 0 || kept.length > slots) return undefined;
  if (kept.length === 1) {
    // No frequency may be 2^N: a neighbour gets the last slot.
    frequencies[kept[0]] = slots - 1;
    frequencies[kept[0] ^ 1] = 1;
    return frequencies;
  }
  let missing = slots;
  for (const s of kept) {
    frequencies[s] = Math.max(1, Math.floor((2 * counts[s] * slots + total) / (2 * total)));
    missing -= frequencies[s];
  }
  for (; missing > 0; missing--) {
    let best = kept[0];
    for (const s of kept)
      if (counts[s] * (2 * frequencies[best] + 1) > counts[best] * (2 * frequencies[s] + 1)) best = s;
    frequencies[best]++;
  }
  for (; missing < 0; missing++) {
    let best = -1;
    for (const s of kept)
      if (
        frequencies[s] > 1 &&
        (best < 0 || counts[s] * (2 * frequencies[best] - 1) < counts[best] * (2 * frequencies[s] - 1))
      )
        best = s;
    frequencies[best]--;
  }
  return frequencies;
}

/** Something that is to be coded: PAIRS (plane -1), or a plane. */
interface Job {
  readonly plane: number;
  readonly bits: number;
  readonly counts: Condensed;
  /** Bits of an outlier; 0 where outliers are not allowed. */
  readonly outlierBits: number;
}

/** Tables for each class of counts, and what they cost together with what they code, in units. */
interface PricedTables {
  readonly probabilityBits: number;
  readonly tables: readonly Uint16Array[];
  readonly cost: number;
}

/** Undefined where the symbols do not fit. */
function priceTables(
  counts: readonly Float64Array[],
  { bits, outlierBits }: Job,
  probabilityBits: number,
): PricedTables | undefined {
  const isEmpty = (table: Float64Array): boolean => table.every((count) => count === 0);
  const filled = counts.find((table) => !isEmpty(table)) as Float64Array;
  const writer = new BitWriter();
  const tables: Uint16Array[] = [];
  let cost = 0;
  for (const table of counts) {
    // An empty class copies the first that is not.
    const frequencies = normalise(isEmpty(table) ? filled : table, probabilityBits, outlierBits > 0);
    if (frequencies === undefined) return undefined;
    tables.push(frequencies);
    writeFrequencies(writer, bits, frequencies);
    for (let s = 0; s < table.length; s++) {
      const price = frequencies[s] > 0 ? probabilityBits * BIT - log2Units(frequencies[s]) : outlierBits * BIT;
      cost += table[s] * price;
    }
  }
  return { probabilityBits, tables, cost: cost + writer.length * BIT };
}

/** The largest N with which the tables of so many classes fit into `slots`. */
function largestBits(classes: number, bits: number, slots: number): number {
  let probabilityBits = maxProbabilityBits(bits);
  while (classes * 2 ** probabilityBits > slots) probabilityBits--;
  return probabilityBits;
}

/** Coarser tables than `finest`, if they are cheaper: a small tensor pays for every bit of its tables. */
function coarser(finest: PricedTables, counts: readonly Float64Array[], job: Job): PricedTables {
  let best = finest;
  for (let bits = finest.probabilityBits - 1; bits >= MIN_PROBABILITY_BITS; bits--) {
    const priced = priceTables(counts, job, bits);
    if (priced !== undefined && priced.cost < best.cost) best = priced;
  }
  return best;
}

/** Chooses classes by what they save in the leading job, and tables for every plane that is worth coding. */
export function chooseTables(
  { dtype, shape, matrix, columnValues, base }: Source,
  { split, choices }: Pick<Survey, 'split' | 'choices'>,
  windows: WindowsOfMode | undefined,
  wishes: readonly (readonly Wish[])[],
  bins: Bins | undefined,
  counts: Counts,
  options: EncodeOptions,
): Header {
  const wantedBits = options.probabilityBits;
  const outlierBits = 8 * outlierBytes(dtype);
  const isPredicted = choices.some(([choice]) => choice > 0);
  const jobs: Job[] = [
    { plane: -1, bits: PAIR_BITS, counts: condense(counts.pairs, PAIR_BITS), outlierBits },
    ...split.map((bits, plane) => ({
      ...{ plane, bits, counts: condense(counts.planes[plane], bits) },
      outlierBits: plane === 0 && !isPredicted ? outlierBits : 0,
    })),
  ].filter((job) => job.counts.symbols.length > 0);
  const selected = Math.ceil(matrix.columns / (windows?.mode === Mode.PAIRS ? 2 : 1));
  const tables: (TableSet | undefined)[] = split.map(() => undefined);
  let pairs: TableSet | undefined;
  let map = ONE_CLASS;
  let slots = MAX_SLOTS;
  jobs.forEach((job, index) => {
    const { plane, bits, counts: condensed } = job;
    const reserved = jobs
      .slice(index + 1)
      .reduce((sum, later) => sum + 2 ** (wantedBits ?? maxProbabilityBits(later.bits)), 0);
    // Plane 0 beside pairs, which has one bin, takes the first.
    const maps = index === 0 ? classMaps(condensed, options.classes) : [ONE_CLASS, map];
    let best: (PricedTables & { counts: Float64Array[]; map: ClassMap; total: number }) | undefined;
    for (const candidate of maps) {
      const classCounts = countsOfClasses(condensed, bits, candidate);
      // However many are wanted, no more than fit.
      const finest = Math.min(wantedBits ?? Infinity, largestBits(candidate.classes, bits, slots - reserved));
      const priced = priceTables(classCounts, job, finest);
      if (priced === undefined) continue;
      const selecting = (candidate.rows ? matrix.rows : 0) + (candidate.columns ? selected : 0);
      const firstLevels = candidate.levels ? candidate.classes - 1 : 0;
      const selectors = index === 0 ? (selecting * Math.log2(candidate.classes) + 8 * firstLevels) * BIT : 0;
      const total = priced.cost + selectors;
      if (best === undefined || total < best.total) best = { ...priced, counts: classCounts, map: candidate, total };
    }
    const count = condensed.counts.reduce((sum, each) => sum + each, 0);
    const isWorthless = best !== undefined && plane >= 0 && best.total >= count * bits * BIT;
    if (best === undefined || (options.modes === undefined && isWorthless)) return;
    const chosen = wantedBits === undefined ? coarser(best, best.counts, job) : best;
    const { probabilityBits } = chosen;
    const set: TableSet = { symbolBits: bits, probabilityBits, tables: chosen.tables.map(tableOf) };
    if (plane < 0) pairs = set;
    else tables[plane] = set;
    if (index === 0) map = best.map;
    slots -= set.tables.length * 2 ** probabilityBits;
  });
  const { rows, columns, levels } = map;
  // A level that did not count is in class 0.
  const firstLevels = Array.from({ length: levels ? map.classes - 1 : 0 }, (_, c) => levels?.indexOf(c + 1) as number);
  const hasDirect = wishes.some(([{ mode }]) => mode === Mode.DIRECT);
  const isWindowed = pairs !== undefined || hasDirect;
  const columnsEach = pairs === undefined ? 1 : 2;
  // Where windows were wanted and no tile is in PAIRS, bins are of two columns and selectors of one.
  const columnSelectors = new Uint8Array(Math.ceil(matrix.columns / columnsEach));
  if (columns && bins)
    bins.columns.forEach((bin, j) => {
      columnSelectors[j] = columns[bin];
    });
  const selectors = {
    classes: map.classes,
    rows: rows && bins?.rows.map((bin) => rows[bin]),
    columns: columns && columnSelectors,
    columnsEach,
  } as const;
  return {
    ...{ dtype, shape, matrix, split, tables, pairs, hasDirect },
    windows: windows && isWindowed ? windows : { base: 0, offsets: undefined },
    ...{ columnValues, selectors },
    base: base && { crc: baseCrc(dtype, matrix, base), firstLevels },
  };
}
