// What the estimators count: an element's order among the values of its dtype, as far as it is worth knowing.

import { layOut, type Source } from '../../spec/encoder/a2-layout.ts';
import { levelsOf, quantileBins } from '../../spec/encoder/a4-levels.ts';
import type { Sample } from './samples.ts';

/** Bits of a float that are counted: sign, exponent and the first three of the fraction of BF16. Those below are noise. */
const FLOAT_BITS = 12;

export interface Symbols {
  readonly rows: number;
  readonly columns: number;
  /** Row by row. Negative numbers come before positive ones. */
  readonly values: Int32Array;
  /** Bits of a value, and of an element those that are stored as they are. */
  readonly bits: number;
  readonly rawBits: number;
}

const sources = new WeakMap<Sample, Source>();

/** The sample as the encoder sees it, in rows and columns of its own. */
export function sourceOf(sample: Sample): Source {
  const { data, dtype, rows, columns } = sample;
  const source = sources.get(sample) ?? layOut(data, dtype, [rows, columns], { columns });
  sources.set(sample, source);
  return source;
}

const known = new WeakMap<Sample, Symbols>();

export function symbolsOf(sample: Sample): Symbols {
  const before = known.get(sample);
  if (before) return before;
  const { rows, columns } = sample;
  const { dtype, words } = sourceOf(sample);
  const bits = Math.min(FLOAT_BITS, dtype.wordBits);
  const sign = 2 ** (bits - 1);
  const rawBits = dtype.wordBits - bits;
  const values = Int32Array.from(words, (word) => {
    const top = word >>> rawBits;
    if (dtype.kind === 'float') return top & sign ? sign - 1 - top : top;
    return dtype.kind === 'signed' ? (top ^ 0x80) - 0x80 : top;
  });
  const symbols = { rows, columns, values, bits, rawBits };
  known.set(sample, symbols);
  return symbols;
}

/** The bin of each row and of each column by how large its elements are, of `bins` about equally full ones. */
export function binsOf(sample: Sample, bins: number): { rows: Uint8Array; columns: Uint8Array } {
  const levels = levelsOf(sourceOf(sample));
  return { rows: quantileBins(levels.rows, bins), columns: quantileBins(levels.columns, bins) };
}

/** Mean and deviation of each column. */
export function columnMoments({ rows, columns, values }: Symbols): { means: Float64Array; deviations: Float64Array } {
  const means = new Float64Array(columns);
  const squares = new Float64Array(columns);
  for (let at = 0; at < values.length; at++) {
    means[at % columns] += values[at] / rows;
    squares[at % columns] += values[at] ** 2 / rows;
  }
  const deviations = squares.map((square, j) => Math.sqrt(Math.max(0, square - means[j] ** 2)));
  return { means, deviations };
}

/** The values less the rounded mean of their column. */
export function centred(symbols: Symbols): Int32Array {
  const { means } = columnMoments(symbols);
  return symbols.values.map((value, at) => value - Math.round(means[at % symbols.columns]));
}

/** The bin of each number among `bins` that hold about equally many; equal numbers share one. */
export function quantiles(numbers: ArrayLike<number>, bins: number): Uint8Array {
  const sorted = Float64Array.from(numbers).sort();
  const cuts = Array.from({ length: bins - 1 }, (_, k) => sorted[Math.floor(((k + 1) * sorted.length) / bins)]);
  return Uint8Array.from(numbers, (number) => cuts.filter((cut) => cut <= number).length);
}
