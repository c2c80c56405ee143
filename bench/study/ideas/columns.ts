// What a column has of its own: a mean that is subtracted, a sign, an offset of its magnitudes, a table chosen by them.

import { lengthIn, paid } from '../lengths.ts';
import type { Sample } from '../samples.ts';
import { centred, columnMoments, quantiles, type Symbols, sourceOf, symbolsOf } from '../symbols.ts';
import type { Chapter, Idea } from './idea.ts';
import { ONE_TABLE } from './tables.ts';

/** Values without what their columns have of their own. */
interface Taken {
  readonly values: Int32Array;
  /** Of the constants of a column. */
  readonly bits: number;
  /** By what a column's table is chosen. */
  readonly key: Float64Array;
}

/** How far columns lean: mean / deviation. */
function leanOf(symbols: Symbols): Float64Array {
  const { means, deviations } = columnMoments(symbols);
  return means.map((mean, j) => mean / (deviations[j] || 1));
}

const nothing = (symbols: Symbols): Taken => ({ values: symbols.values, bits: 0, key: leanOf(symbols) });

const mean = (symbols: Symbols): Taken => ({
  values: centred(symbols),
  bits: symbols.bits,
  key: columnMoments(symbols).deviations,
});

function sign(symbols: Symbols): Taken {
  const { values, columns } = symbols;
  const positive = new Float64Array(columns);
  values.forEach((value, at) => {
    positive[at % columns] += value < 0 ? -1 : 1;
  });
  // Of a float, -1 - v is v with the other sign.
  const turned = values.map((value, at) => (positive[at % columns] < 0 ? -1 - value : value));
  return { values: turned, bits: 1, key: leanOf(symbols).map(Math.abs) };
}

/** Magnitudes of floats are logarithms: less an offset they are those of columns of one scale. */
function signAndOffset(symbols: Symbols, sample: Sample): Taken | undefined {
  if (sourceOf(sample).dtype.kind !== 'float') return undefined;
  const { values, key } = sign(symbols);
  const { columns, bits } = symbols;
  const sums = new Float64Array(columns);
  values.forEach((value, at) => {
    sums[at % columns] += value < 0 ? -1 - value : value;
  });
  const offsets = sums.map((sum) => Math.round(sum / symbols.rows));
  const least = Math.min(...offsets);
  const size = 2 ** (bits - 1);
  const lowered = values.map((value, at) => {
    const offset = offsets[at % columns] - least;
    return value < 0 ? -1 - ((-1 - value - offset) & (size - 1)) : (value - offset) & (size - 1);
  });
  return { values: lowered, bits, key };
}

/** How large the values of each row are on average. */
function sizesOfRows({ rows, columns }: Symbols, values: Int32Array): Float64Array {
  const sizes = new Float64Array(rows);
  values.forEach((value, at) => {
    sizes[Math.floor(at / columns)] += Math.abs(value);
  });
  return sizes;
}

/** What is taken off columns, and tables beside it: chosen by the column, or by how large a row is then. */
function taking(
  name: string,
  gpu: string,
  take: (symbols: Symbols, sample: Sample) => Taken | undefined,
  tables = 1,
  by: 'column' | 'row' = 'column',
): Idea {
  const bits = (sample: Sample): number | undefined => {
    const symbols = symbolsOf(sample);
    const taken = take(symbols, sample);
    if (taken === undefined) return undefined;
    const { rows, columns, rawBits } = symbols;
    const bin = quantiles(by === 'column' ? taken.key : sizesOfRows(symbols, taken.values), tables);
    const binOf = by === 'column' ? (at: number) => bin[at % columns] : (at: number) => bin[Math.floor(at / columns)];
    const coded = lengthIn(paid(sample.share), taken.values, tables, binOf);
    const selectors = (by === 'column' ? sample.share * columns : rows) * Math.log2(tables);
    return coded + selectors + sample.share * columns * taken.bits + symbols.values.length * rawBits;
  };
  return { name, gpu, bits };
}

const byMean = (tables: number): Idea =>
  taking(`${tables} tables by mean / deviation of the column`, 'a constant of the lane, more tables', nothing, tables);

export const CONSTANTS = [
  taking('minus the mean of the column', 'a constant of the lane, an addition', mean),
  taking('the sign is against that of the column', 'a constant of the lane, an exclusive or', sign),
];
/** Of as many tables as the format has. */
export const FEW_BY_MEAN = [byMean(2), byMean(4)];
/** What the format has, with the tables that it has beside it. */
export const CONSTANTS_AND_TABLES = [
  taking('minus the mean, 4 tables by deviation', 'an addition, four tables', mean, 4),
  taking('minus the mean, 4 classes of rows', 'an addition, a selector of the row, four tables', mean, 4, 'row'),
  taking('the sign so, 4 tables by mean / deviation', 'an exclusive or, four tables', sign, 4),
];

export const COLUMN: Chapter = {
  title: 'Constants of columns, estimated',
  base: ONE_TABLE,
  ideas: [
    ...CONSTANTS,
    ...FEW_BY_MEAN,
    byMean(16),
    ...CONSTANTS_AND_TABLES,
    ...[1, 4, 16].map((tables) =>
      taking(
        `the sign so, magnitudes less an offset${tables === 1 ? '' : `, ${tables} tables`}`,
        'two constants of the lane, an exclusive or, an addition',
        signAndOffset,
        tables,
      ),
    ),
  ],
};
