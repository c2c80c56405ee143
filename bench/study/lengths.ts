// How many bits symbols take: the study's two estimators, of counts.
//
// A *paid* length can be reached by a static coder: the entropy, and for each distinct symbol but the first half the
// logarithm of how many symbols there are, which is what a table of the best precision takes (Rissanen 1984); a sample
// pays its part of the tensor's table. A *bound* is what no coder with this knowledge gets below: the entropy, raised by
// the half nat for each distinct symbol but the first by which counts of a sample understate it (Miller 1955).

import { BIT, entropyCost } from '../../spec/encoder/a1-logarithm.ts';

export type Estimator = (counts: ArrayLike<number>) => number;

const HALF_NAT = Math.LOG2E / 2;

function withEach(counts: ArrayLike<number>, eachOf: (total: number) => number): number {
  let total = 0;
  let distinct = 0;
  for (let s = 0; s < counts.length; s++) {
    total += counts[s];
    if (counts[s] > 0) distinct++;
  }
  return total === 0 ? 0 : entropyCost(counts) / BIT + (distinct - 1) * eachOf(total);
}

/** Bits of the symbols counted, and of their part of the table: they are this share of what the table is for. */
export const paid =
  (share = 1): Estimator =>
  (counts) =>
    withEach(counts, (total) => (share * Math.log2(total / share)) / 2);

/** Bits of the symbols counted for a coder that knows their distribution. */
export const bound: Estimator = (counts) => withEach(counts, () => HALF_NAT);

/** Counts of values in each of so many contexts; the lowest value counted is 0 in each. */
export function countIn(
  values: ArrayLike<number>,
  contexts: number,
  contextOf: (index: number) => number,
): Float64Array[] {
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let at = 0; at < values.length; at++) {
    if (values[at] < least) least = values[at];
    if (values[at] > most) most = values[at];
  }
  const counts = Array.from({ length: contexts }, () => new Float64Array(Math.max(0, most - least + 1)));
  for (let at = 0; at < values.length; at++) counts[contextOf(at)][values[at] - least]++;
  return counts;
}

/** Bits of values whose contexts have a table each. */
export function lengthIn(
  estimator: Estimator,
  values: ArrayLike<number>,
  contexts = 1,
  contextOf: (index: number) => number = () => 0,
): number {
  return countIn(values, contexts, contextOf).reduce((sum, counts) => sum + estimator(counts), 0);
}
