// FORMAT.md, annex A.10: whether columns have values, and which; with that, the survey.

import { tileAt, type WordArray } from '../decoder/2-matrix.ts';
import { areWide, columnValueBits, swapSign } from '../decoder/3.1-columns.ts';
import type { Dtype, Split } from '../decoder/3-planes.ts';
import { BIT } from './a1-logarithm.ts';
import type { Source } from './a2-layout.ts';
import { rowStep, type Survey, survey } from './a3-survey.ts';
import { type EncodeOptions, profileFor, splitsFor, splitsWithValues } from './options.ts';

/** So many rows tell what a column is like, or all. */
const SAMPLED_ROWS = 1024;
/** Columns must lean by more than this on average, in steps of I8, or in sixteenths of all signs. */
const MINIMUM_LEAN = 4;
/** They must save more than one part of so many: of fewer in fast, since 10 + 6 takes a decoder longer than PAIRS. */
const PARTS = 128;
const PARTS_IN_FAST = 32;
/** Surveys do not know what classes give, which is more where columns differ in scale: so magnitudes have to save more. */
const WIDE_MARGINS = 2;
/** What a sign counts. */
const SIGN = 16;

/** Fewer rows do not tell an upper quantile well enough. */
const ROWS_OF_QUANTILES = 512;
/** Quantiles are rounded down to a multiple of this: of BF16, to sixteenths of a binade. */
const GRAIN = 8;

/** Decides on column values, for which a tensor is surveyed up to three times. The source that comes back has coded words. */
export function surveyColumns(source: Source, options: EncodeOptions): { source: Source; surveyed: Survey } {
  const { dtype } = source;
  const surveyed = survey(source, splitsFor(dtype, options), options);
  const plain = { source, surveyed, price: surveyed.cost };
  const splits = splitsWithValues(dtype, options);
  const { columnValues: wanted = options.modes === undefined ? undefined : false } = options;
  if (wanted === false || splits.length === 0) return plain;
  const rows = sampledRows(source);
  const leans = leansOf(source, rows);
  if (rows.length === 0 || (wanted === undefined && !areLeaning(leans, rows.length))) return plain;
  const values = valuesOf(dtype, leans, rows.length);
  const mayWiden = wanted === 'wide' || (wanted === undefined && rows.length >= ROWS_OF_QUANTILES);
  const wide = dtype.kind === 'float' && mayWiden ? widen(values, source, rows) : values;
  const proposed = areWide(dtype, wide) ? [values, wide] : [values];
  const parts = profileFor(dtype, options) === 'small' ? PARTS : PARTS_IN_FAST;
  const candidates = proposed.slice(wanted === undefined ? 0 : -1).map((columnValues) => {
    const coded = codeWords(source, splits[0], columnValues);
    const found = survey(coded, splits, options);
    const bits = columnValues.length * columnValueBits(dtype, areWide(dtype, columnValues));
    // One of so many rows is surveyed, and as much of the values counts.
    const share = Math.floor((bits * BIT) / rowStep(tileAt(source.matrix, 0).height));
    const margin = (areWide(dtype, columnValues) ? WIDE_MARGINS : 1) * Math.floor(found.cost / parts);
    return { source: coded, surveyed: found, price: found.cost + margin + share };
  });
  if (wanted !== undefined) return candidates[0];
  return [plain, ...candidates].reduce((best, candidate) => (candidate.price < best.price ? candidate : best));
}

/** The words of the rows that tell what columns are like: of whole ones, one of every so many. */
function sampledRows({ matrix, words }: Source): WordArray[] {
  const whole = Math.floor(matrix.words / matrix.columns);
  const step = Math.max(1, Math.floor(whole / SAMPLED_ROWS));
  const first = (k: number): number => k * step * matrix.columns;
  return Array.from({ length: Math.floor(whole / step) }, (_, k) =>
    words.subarray(first(k), first(k) + matrix.columns),
  );
}

function leansOf({ dtype, matrix }: Source, rows: readonly WordArray[]): Float64Array {
  const sizeOf = (word: number): number =>
    dtype.kind === 'float' ? SIGN - 2 * SIGN * (word >>> (dtype.wordBits - 1)) : (word << 24) >> 24;
  const leans = new Float64Array(matrix.columns);
  for (const row of rows) for (let j = 0; j < leans.length; j++) leans[j] += sizeOf(row[j]);
  return leans;
}

function areLeaning(leans: Float64Array, rows: number): boolean {
  const all = leans.reduce((sum, lean) => sum + Math.abs(lean), 0);
  return all > MINIMUM_LEAN * rows * leans.length;
}

/** The value of each column: of floats the sign alone. */
function valuesOf(dtype: Dtype, leans: Float64Array, rows: number): Uint16Array {
  return Uint16Array.from(leans, (lean) =>
    dtype.kind === 'float' ? Number(lean < 0) << 15 : Math.floor((2 * lean + rows) / (2 * rows)) & 255,
  );
}

/** Values of floats with magnitudes, which bring an upper quantile of each column to where the highest of all is. */
function widen(signs: Uint16Array, { matrix }: Source, rows: readonly WordArray[]): Uint16Array {
  const quantiles = Array.from({ length: matrix.columns }, (_, j) => {
    const magnitudes = Uint16Array.from(rows, (row) => row[j] & 0x7fff).sort();
    const quantile = magnitudes[Math.floor((7 * rows.length) / 8)];
    return quantile - (quantile % GRAIN);
  });
  const highest = quantiles.reduce((most, quantile) => Math.max(most, quantile), 0);
  return signs.map((sign, j) => sign + quantiles[j] - highest);
}

/** The tensor with coded words. */
function codeWords(source: Source, split: Split, values: Uint16Array): Source {
  const { dtype, matrix, words } = source;
  const coded = words.map((word, at) => encodeWord(word, values[at % matrix.columns], dtype, split));
  return { ...source, words: coded, columnValues: values };
}

/** What `decodeWord` makes the word of. */
function encodeWord(word: number, value: number, dtype: Dtype, split: Split): number {
  if (dtype.kind === 'signed') return word - value;
  return swapSign((word - value) & 0xffff, dtype, split);
}
