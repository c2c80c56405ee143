// What a column has of its own: a mean that is subtracted, a sign, a table chosen by them.

import { lengthIn, paid } from '../lengths.ts';
import { centred, columnMoments, quantiles, symbolsOf } from '../symbols.ts';
import type { Chapter, Idea } from './idea.ts';
import { ONE_TABLE } from './tables.ts';

const minusMean: Idea = {
  name: 'minus the mean of the column',
  gpu: 'a constant of the lane, an addition',
  bits: (sample) => {
    const symbols = symbolsOf(sample);
    const constants = sample.share * symbols.columns * symbols.bits;
    return lengthIn(paid(sample.share), centred(symbols)) + constants + symbols.values.length * symbols.rawBits;
  },
};

const byMean = (bins: number): Idea => ({
  name: `${bins} tables by mean / deviation of the column`,
  gpu: 'a constant of the lane, more tables',
  bits: (sample) => {
    const symbols = symbolsOf(sample);
    const { means, deviations } = columnMoments(symbols);
    const bin = quantiles(
      means.map((mean, j) => mean / (deviations[j] || 1)),
      bins,
    );
    const coded = lengthIn(paid(sample.share), symbols.values, bins, (at) => bin[at % symbols.columns]);
    return coded + sample.share * symbols.columns * Math.log2(bins) + symbols.values.length * symbols.rawBits;
  },
});

const signOfMean: Idea = {
  name: 'the sign is against that of the column',
  gpu: 'a constant of the lane, an exclusive or',
  bits: (sample) => {
    const symbols = symbolsOf(sample);
    const { values, columns } = symbols;
    const positive = new Float64Array(columns);
    values.forEach((value, at) => {
      positive[at % columns] += value < 0 ? -1 : 1;
    });
    // Of a float, -1 - v is v with the other sign.
    const turned = values.map((value, at) => (positive[at % columns] < 0 ? -1 - value : value));
    return lengthIn(paid(sample.share), turned) + sample.share * columns + symbols.values.length * symbols.rawBits;
  },
};

export const CONSTANTS = [minusMean, signOfMean];
/** Of as many tables as the format has. */
export const FEW_BY_MEAN = [byMean(2), byMean(4)];

export const COLUMN: Chapter = {
  title: 'Constants of columns, estimated',
  base: ONE_TABLE,
  ideas: [...CONSTANTS, ...FEW_BY_MEAN, byMean(16)],
};
