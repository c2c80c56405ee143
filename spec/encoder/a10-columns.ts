// FORMAT.md, annex A.10: whether columns have values, and which; with that, the survey.

import { tileAt } from '../decoder/2-matrix.ts';
import { columnValueBits, swapSign } from '../decoder/3.1-columns.ts';
import type { Split } from '../decoder/3-planes.ts';
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
/** What a sign counts. */
const SIGN = 16;

/** Decides on column values, for which a tensor is surveyed once or twice. The source that comes back has coded words. */
export function surveyColumns(source: Source, options: EncodeOptions): { source: Source; surveyed: Survey } {
  const { dtype } = source;
  const plain = { source, surveyed: survey(source, splitsFor(dtype, options), options) };
  const splits = splitsWithValues(dtype, options);
  const { columnValues: wanted = options.modes === undefined ? undefined : false } = options;
  if (wanted === false || splits.length === 0) return plain;
  const columnValues = valuesOf(source, wanted === true);
  if (columnValues === undefined) return plain;
  const coded = codeWords(source, splits[0], columnValues);
  const surveyed = survey(coded, splits, options);
  const bits = columnValues.length * columnValueBits(dtype);
  // One of so many rows is surveyed, and as much of the values counts.
  const price = Math.floor((bits * BIT) / rowStep(tileAt(source.matrix, 0).height));
  const parts = profileFor(dtype, options) === 'small' ? PARTS : PARTS_IN_FAST;
  const margin = Math.floor(surveyed.cost / parts);
  const cost = surveyed.cost + margin + price;
  return wanted === true || cost < plain.surveyed.cost ? { source: coded, surveyed } : plain;
}

/** The value of each column; undefined where there is no whole row, or, unless they are forced, columns do not lean. */
function valuesOf({ dtype, matrix, words }: Source, forced: boolean): Uint8Array | undefined {
  const { columns } = matrix;
  const whole = Math.floor(matrix.words / columns);
  const step = Math.max(1, Math.floor(whole / SAMPLED_ROWS));
  const rows = Math.floor(whole / step);
  if (rows === 0) return undefined;
  const isFloat = dtype.kind === 'float';
  const sizeOf = (word: number): number =>
    isFloat ? SIGN - 2 * SIGN * (word >>> (dtype.wordBits - 1)) : (word << 24) >> 24;
  const leans = new Float64Array(columns);
  for (let k = 0; k < rows; k++) for (let j = 0; j < columns; j++) leans[j] += sizeOf(words[k * step * columns + j]);
  const all = leans.reduce((sum, lean) => sum + Math.abs(lean), 0);
  if (!forced && all <= MINIMUM_LEAN * rows * columns) return undefined;
  return Uint8Array.from(leans, (lean) =>
    isFloat ? Number(lean < 0) : Math.floor((2 * lean + rows) / (2 * rows)) & 255,
  );
}

/** The tensor with coded words. */
function codeWords(source: Source, split: Split, values: Uint8Array): Source {
  const { dtype, matrix, words } = source;
  const top = dtype.wordBits - 1;
  const coded = words.map((word, at) => {
    const value = values[at % matrix.columns];
    return dtype.kind === 'signed' ? word - value : swapSign(word ^ (value << top), dtype, split);
  });
  return { ...source, words: coded, columnValues: values };
}
