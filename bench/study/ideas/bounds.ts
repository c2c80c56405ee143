// What is left: how few bits an element takes for one who knows the distribution given what is around it.

import { bound, lengthIn } from '../lengths.ts';
import { layerOf, roleOf, type Sample } from '../samples.ts';
import { binsOf, columnMoments, quantiles, symbolsOf } from '../symbols.ts';
import type { Chapter, Idea } from './idea.ts';

/** A context with fewer elements than this on average would be taken to know more than it does. */
const LEARNED = 1024;

/** An element's context in the sample: a number below `contexts`. */
type Contexts = (sample: Sample, all: readonly Sample[]) => ((at: number) => number) | undefined;

const given = (name: string, many: number | 'one for each column', contextsOf: Contexts): Idea => ({
  name,
  gpu: 'a bound',
  bits: (sample, all) => {
    const contextOf = contextsOf(sample, all);
    if (contextOf === undefined) return undefined;
    const { values, rawBits } = symbolsOf(sample);
    const contexts = typeof many === 'number' ? many : sample.columns;
    if (values.length < contexts * LEARNED) return undefined;
    return lengthIn(bound, values, contexts, contextOf) + values.length * rawBits;
  },
});

const rowAndColumn =
  (bins: number): Contexts =>
  (sample) => {
    const { columns } = sample;
    const of = binsOf(sample, bins);
    return (at) => of.rows[Math.floor(at / columns)] * bins + of.columns[at % columns];
  };

const column: Contexts =
  ({ columns }) =>
  (at) =>
    at % columns;

const meanOfColumn: Contexts = (sample) => {
  const { means, deviations } = columnMoments(symbolsOf(sample));
  const mean = quantiles(means, 8);
  const deviation = quantiles(deviations, 8);
  return (at) => mean[at % sample.columns] * 8 + deviation[at % sample.columns];
};

/** Eighths of the values, coarse enough to be learned and fine enough to tell sign and size. */
const eighths = (sample: Sample): Uint8Array => {
  const { values } = symbolsOf(sample);
  const every = values.filter((_, at) => at % 61 === 0);
  const sorted = every.sort();
  const cuts = Array.from({ length: 7 }, (_, k) => sorted[Math.floor(((k + 1) * sorted.length) / 8)]);
  return Uint8Array.from(values, (value) => cuts.filter((cut) => cut <= value).length);
};

const neighbours: Contexts = (sample) => {
  const { columns } = sample;
  const near = eighths(sample);
  return (at) => (at % columns > 0 ? near[at - 1] : 0) * 8 + (at >= columns ? near[at - columns] : 0);
};

const layerBefore: Contexts = (sample, all) => {
  const before = all.find(
    ({ name, rows, columns }) =>
      roleOf(name) === roleOf(sample.name) &&
      layerOf(name) === layerOf(sample.name) - 1 &&
      rows === sample.rows &&
      columns === sample.columns,
  );
  const near = before && eighths(before);
  return near && ((at) => near[at]);
};

export const BOUNDS: Chapter = {
  title: 'What is left: bounds',
  base: given('order 0', 1, () => () => 0),
  ideas: [
    given('given size of row and column, 4 x 4', 16, rowAndColumn(4)),
    given('given size of row and column, 8 x 8', 64, rowAndColumn(8)),
    given('given mean and deviation of the column, 8 x 8', 64, meanOfColumn),
    given('given the column itself', 'one for each column', column),
    given('given the neighbours left and above, 8 x 8', 64, neighbours),
    given('given the element of the layer before, 8', 8, layerBefore),
  ],
};
