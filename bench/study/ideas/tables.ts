// Tables: one, or more than the format has: of 1 to 16 classes, of a tile, shared by tensors.

import { joinBins } from '../../../spec/encoder/a7-classes.ts';
import { countIn, lengthIn, paid } from '../lengths.ts';
import { roleOf, type Sample } from '../samples.ts';
import { binsOf, symbolsOf } from '../symbols.ts';
import type { Chapter, Idea } from './idea.ts';

const BINS = 16;
const TILE = 128;

/** Bits with one table for all elements. */
export function withOneTable(sample: Sample): number {
  const { values, rawBits } = symbolsOf(sample);
  return lengthIn(paid(sample.share), values) + values.length * rawBits;
}

export const ONE_TABLE: Idea = { name: 'one table', gpu: '', bits: withOneTable };

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
  return coded + rows * Math.log2(ofRows) + sample.share * columns * Math.log2(ofColumns) + values.length * rawBits;
}

const classesOf = (rows: number, columns: number, name: string, gpu: string): Idea => ({
  name,
  gpu,
  bits: (sample) => classes(sample, rows, columns),
});

const ofRows = (n: number): Idea => classesOf(n, 1, `${n} classes of rows`, `a selector of the row, ${n} tables`);
const ofColumns = (n: number): Idea =>
  classesOf(1, n, `${n} classes of columns`, `a constant of the lane, ${n} tables`);

/** Those that the format has. */
export const FEW_CLASSES = [
  ...[2, 4].map(ofRows),
  ...[2, 4].map(ofColumns),
  classesOf(2, 2, '2 x 2 classes', 'four tables'),
];

const tableOfTile: Idea = {
  name: 'a table for each tile of 128 x 128',
  gpu: 'every warp builds a table of its own: no shared memory holds them',
  bits: (sample) => {
    const { values, rawBits, columns } = symbolsOf(sample);
    const across = Math.ceil(columns / TILE);
    const tiles = across * Math.ceil(sample.rows / TILE);
    const tileOf = (at: number): number => Math.floor(at / columns / TILE) * across + Math.floor((at % columns) / TILE);
    return lengthIn(paid(), values, tiles, tileOf) + values.length * rawBits;
  },
};

/** All tensors of a role, each with its part of what they take together. */
export const SHARED: Idea = {
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
    return (lengthIn(paid(sample.share), together) * values.length) / together.length + values.length * rawBits;
  },
};

export const TABLES: Chapter = {
  title: 'Tables, estimated',
  base: ONE_TABLE,
  ideas: [
    ...FEW_CLASSES,
    ...[8, 16].map(ofRows),
    ...[8, 16].map(ofColumns),
    classesOf(4, 4, '4 x 4 classes', '16 tables: more than shared memory holds at N = 12'),
    tableOfTile,
    SHARED,
  ],
};
