// FORMAT.md, annex A.7: the ways to tell classes of rows and columns apart that are worth pricing.

import { LEVELS } from '../decoder/3.2-base.ts';
import { entropyCost, xlog2x } from './a1-logarithm.ts';
import { COLUMN_BINS, type Joint, ROW_BINS } from './a6-counts.ts';
import type { ClassChoice } from './options.ts';

/** The class bits of each row bin and column bin, or the class of each level; undefined where all are 0. */
export interface ClassMap {
  readonly classes: number;
  readonly rows: Uint8Array | undefined;
  readonly columns: Uint8Array | undefined;
  /** Against a base. */
  readonly levels: Uint8Array | undefined;
}

export const ONE_CLASS: ClassMap = { classes: 1, rows: undefined, columns: undefined, levels: undefined };

/** The part of a joint histogram that is not zero: counts[bin x symbols.length + s] of symbols[s]. */
export interface Condensed {
  readonly symbols: readonly number[];
  readonly bins: number;
  readonly counts: Float64Array;
}

/** Leaves out the symbols that do not occur: most of 1024, usually. */
export function condense(joint: Joint, bits: number): Condensed {
  const alphabet = 2 ** bits;
  const seen = new Uint8Array(alphabet);
  for (let at = 0; at < joint.length; at++) if (joint[at] > 0) seen[at % alphabet] = 1;
  const symbols = Array.from(seen.keys()).filter((symbol) => seen[symbol] === 1);
  const bins = joint.length / alphabet;
  const counts = new Float64Array(bins * symbols.length);
  for (let bin = 0, at = 0; bin < bins; bin++)
    for (const symbol of symbols) counts[at++] = joint[bin * alphabet + symbol];
  return { symbols, bins, counts };
}

/** Adds counts up: those of a bin go to the histogram that `indexOf(row bin, column bin)` names. */
function addUp(
  { symbols, bins, counts }: Condensed,
  histograms: number,
  indexOf: (row: number, column: number) => number,
): Float64Array[] {
  const sums = Array.from({ length: histograms }, () => new Float64Array(symbols.length));
  for (let bin = 0; bin < bins; bin++) {
    const sum = sums[indexOf(Math.floor(bin / COLUMN_BINS), bin % COLUMN_BINS)];
    for (let s = 0, from = bin * sum.length; s < sum.length; s++) sum[s] += counts[from + s];
  }
  return sums;
}

/** For each class, the counts of all symbols of `bits` bits. */
export function countsOfClasses(condensed: Condensed, bits: number, map: ClassMap): Float64Array[] {
  const sums = addUp(condensed, map.classes, (row, column) =>
    map.levels ? map.levels[row * COLUMN_BINS + column] : (map.rows?.[row] ?? 0) | (map.columns?.[column] ?? 0),
  );
  return sums.map((sum) => {
    const counts = new Float64Array(2 ** bits);
    condensed.symbols.forEach((symbol, s) => {
      counts[symbol] = sum[s];
    });
    return counts;
  });
}

interface Group {
  readonly bins: readonly number[];
  readonly counts: Float64Array;
  readonly total: number;
  readonly cost: number;
}

function groupOf(bins: readonly number[], counts: Float64Array): Group {
  return { bins, counts, total: counts.reduce((sum, count) => sum + count, 0), cost: entropyCost(counts) };
}

/** What the union of two groups costs more than they do apart. */
function increase(a: Group, b: Group): number {
  let sum = 0;
  for (let s = 0; s < a.counts.length; s++) sum += xlog2x(a.counts[s] + b.counts[s]);
  return xlog2x(a.total + b.total) - sum - a.cost - b.cost;
}

/**
 * Joins bins, each time the two whose union costs least more than they do apart, until `target` are left.
 *
 * @param reach how many groups further the other one may be
 * @returns the class of each bin; classes are numbered in the order of their first bin, empty bins are in class 0
 */
export function joinBins(histograms: readonly Float64Array[], target: number, reach = Infinity): Uint8Array {
  const groups = histograms.map((counts, bin) => groupOf([bin], counts)).filter(({ total }) => total > 0);
  // increases[b][a], a < b
  const between = (a: number, b: number): number => (b - a > reach ? Infinity : increase(groups[a], groups[b]));
  const increases = groups.map((_, b) => Array.from({ length: b }, (__, a) => between(a, b)));
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
    increases[first] = Array.from({ length: first }, (_, other) => between(other, first));
    for (let later = first + 1; later < groups.length; later++) increases[later][first] = between(first, later);
  }
  const classes = new Uint8Array(histograms.length);
  groups.forEach(({ bins }, index) => {
    for (const bin of bins) classes[bin] = index;
  });
  return classes;
}

/** The candidates, in order, or the one that is wanted. */
export function classMaps(condensed: Condensed, wanted: ClassChoice | undefined): ClassMap[] {
  if (condensed.bins === LEVELS) return levelMaps(condensed);
  if (condensed.bins === 1) return [ONE_CLASS];
  const rowBins = addUp(condensed, ROW_BINS, (row) => row);
  const columnBins = addUp(condensed, COLUMN_BINS, (_, column) => column);
  const two = { rows: joinBins(rowBins, 2), columns: joinBins(columnBins, 2) };
  const all: Record<ClassChoice, ClassMap> = {
    none: ONE_CLASS,
    rows2: { ...ONE_CLASS, classes: 2, rows: two.rows },
    columns2: { ...ONE_CLASS, classes: 2, columns: two.columns },
    rows4: { ...ONE_CLASS, classes: 4, rows: joinBins(rowBins, 4) },
    columns4: { ...ONE_CLASS, classes: 4, columns: joinBins(columnBins, 4) },
    mixed: { ...ONE_CLASS, classes: 4, rows: two.rows, columns: two.columns.map((bit) => 2 * bit) },
  };
  return wanted === undefined ? Object.values(all) : [all[wanted]];
}

/** The candidates against a base (A.11): one class, and 2, 4 and 8 runs of levels. */
function levelMaps(condensed: Condensed): ClassMap[] {
  const bins = addUp(condensed, LEVELS, (row, column) => row * COLUMN_BINS + column);
  const counted = bins.filter((counts) => counts.some((count) => count > 0)).length;
  const numbers = [2, 4, 8].filter((classes) => classes <= counted);
  return [ONE_CLASS, ...numbers.map((classes) => ({ ...ONE_CLASS, classes, levels: joinBins(bins, classes, 1) }))];
}
