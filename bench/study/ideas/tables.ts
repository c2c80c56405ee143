// More tables than the format has: of 1 to 16 classes, of a tile, shared by tensors; and of columns that have a mean.

import { joinBins } from '../../../spec/encoder/a7-classes.ts';
import { countIn, lengthIn, paid } from '../lengths.ts';
import { roleOf, type Sample } from '../samples.ts';
import { binsOf, centred, columnMoments, quantiles, symbolsOf } from '../symbols.ts';
import type { Chapter, Idea } from './idea.ts';

const BINS = 16;
const TILE = 128;

const perWeight = (sample: Sample, bits: number): number => sample.rows * sample.columns * bits;

/** One table for all elements. */
export const ONE_TABLE: Idea = {
  name: 'one table',
  gpu: '',
  bits: (sample) => {
    const { values, rawBits } = symbolsOf(sample);
    return lengthIn(paid(sample.share), values) + perWeight(sample, rawBits);
  },
};

/** Bits with a table for each of the joined bins of rows and of columns, selectors paid for. */
function classes(sample: Sample, ofRows: number, ofColumns: number): number {
  const { values, rawBits, rows, columns } = symbolsOf(sample);
  const bins = binsOf(sample, BINS);
  const join = (of: number, binOf: (at: number) => number): Uint8Array =>
    of === 1 ? new Uint8Array(BINS) : joinBins(countIn(values, BINS, binOf), of);
  const rowClass = join(ofRows, (at) => bins.rows[Math.floor(at / columns)]);
  const columnClass = join(ofColumns, (at) => bins.columns[at % columns]);
  const coded = lengthIn(
    paid(sample.share),
    values,
    ofRows * ofColumns,
    (at) => rowClass[bins.rows[Math.floor(at / columns)]] * ofColumns + columnClass[bins.columns[at % columns]],
  );
  return coded + rows * Math.log2(ofRows) + sample.share * columns * Math.log2(ofColumns) + perWeight(sample, rawBits);
}

const classesOf = (rows: number, columns: number, name: string, gpu: string): Idea => ({
  name,
  gpu,
  bits: (sample) => classes(sample, rows, columns),
});

const OFTEN = [2, 4, 8, 16];

const tableOfTile: Idea = {
  name: 'a table for each tile of 128 x 128',
  gpu: 'every warp builds a table of its own: no shared memory holds them',
  bits: (sample) => {
    const { values, rawBits, columns } = symbolsOf(sample);
    const across = Math.ceil(columns / TILE);
    const tiles = across * Math.ceil(sample.rows / TILE);
    const tileOf = (at: number): number => Math.floor(at / columns / TILE) * across + Math.floor((at % columns) / TILE);
    return lengthIn(paid(), values, tiles, tileOf) + perWeight(sample, rawBits);
  },
};

/** All tensors of a role, each with its part of what they take together. */
const shared: Idea = {
  name: 'one table for the same matrix of all layers',
  gpu: 'nothing, or less: fewer tables to copy',
  bits: (sample, all) => {
    const alike = all.filter(({ name, dtype }) => roleOf(name) === roleOf(sample.name) && dtype === sample.dtype);
    if (alike.length < 2) return undefined;
    const parts = alike.map((each) => symbolsOf(each).values);
    const together = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
    let end = 0;
    for (const part of parts) {
      together.set(part, end);
      end += part.length;
    }
    const { values, rawBits } = symbolsOf(sample);
    return (lengthIn(paid(sample.share), together) * values.length) / together.length + perWeight(sample, rawBits);
  },
};

export const TABLES: Chapter = {
  title: 'Tables, estimated',
  base: ONE_TABLE,
  ideas: [
    ...OFTEN.map((n) => classesOf(n, 1, `${n} classes of rows`, `a selector of the row, ${n} tables`)),
    ...OFTEN.map((n) => classesOf(1, n, `${n} classes of columns`, `a constant of the lane, ${n} tables`)),
    classesOf(2, 2, '2 x 2 classes', 'four tables'),
    classesOf(4, 4, '4 x 4 classes', '16 tables: more than shared memory holds at N = 12'),
    tableOfTile,
    shared,
  ],
};

/** Bits of a column's constant. */
const CONSTANT_BITS = 8;

const minusMean: Idea = {
  name: 'minus the mean of the column',
  gpu: 'a constant of the lane, an addition',
  bits: (sample) => {
    const symbols = symbolsOf(sample);
    const constants = sample.share * symbols.columns * (sample.dtype === 'I8' ? CONSTANT_BITS : 12);
    return lengthIn(paid(sample.share), centred(symbols)) + constants + perWeight(sample, symbols.rawBits);
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
    return coded + sample.share * symbols.columns * Math.log2(bins) + perWeight(sample, symbols.rawBits);
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
    return lengthIn(paid(sample.share), turned) + sample.share * columns + perWeight(sample, symbols.rawBits);
  },
};

export const COLUMN: Chapter = {
  title: 'Constants of columns, estimated',
  base: ONE_TABLE,
  ideas: [minusMean, signOfMean, byMean(2), byMean(4), byMean(16)],
};
