// FORMAT.md, section 3.1: words as the planes have them differ from the tensor's by what their column says.

import { bitsBelowSign, type Dtype, type Split } from './3-planes.ts';

/** Whether columns may have values: in I8, in F16, and in BF16 as 10 + 6. */
export function allowsColumnValues(dtype: Dtype, split: Split): boolean {
  return dtype.name === 'I8' || dtype.name === 'F16' || (dtype.name === 'BF16' && split[0] === 10);
}

/** Bits of the value of a column, the first ones of a word. @param wide whether there is flag 64 */
export function columnValueBits(dtype: Dtype, wide: boolean): 1 | 8 | 16 {
  if (dtype.kind !== 'float') return 8;
  return wide ? 16 : 1;
}

/** Whether values of columns have more than a sign. */
export function areWide(dtype: Dtype, values: Uint16Array | undefined): boolean {
  return dtype.kind === 'float' && values !== undefined && values.some((value) => (value & 0x7fff) !== 0);
}

/** Exchanges the sign of a float with the bit that is the lowest of plane 0. */
export function swapSign(word: number, dtype: Dtype, split: Split): number {
  const low = bitsBelowSign(dtype, split);
  const top = dtype.wordBits - 1;
  const differs = ((word >>> top) ^ (word >>> low)) & 1;
  return word ^ (differs << top) ^ (differs << low);
}

/** The tensor's word of a coded word in a column with this value, which is a word itself. */
export function decodeWord(word: number, value: number, dtype: Dtype, split: Split): number {
  if (dtype.kind === 'signed') return (word + value) & 255;
  return (swapSign(word, dtype, split) + value) & 0xffff;
}
