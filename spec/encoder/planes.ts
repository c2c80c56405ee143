// FORMAT.md, sections 3 and 5, for an encoder: words into planes, symbols into residuals.

import { bitsBelowSign, type Dtype, type Split } from '../decoder/3-planes.ts';
import { predict } from '../decoder/5-prediction.ts';

/** The planes of words: the symbols of each. */
export function cutPlanes(dtype: Dtype, split: Split, words: Uint32Array): Uint16Array[] {
  const moved = words.slice();
  if (dtype.kind === 'signed') for (let i = 0; i < moved.length; i++) moved[i] ^= 0x80;
  if (dtype.kind === 'float') {
    const top = dtype.wordBits - 1;
    const below = bitsBelowSign(dtype, split);
    const [magnitude, low] = [2 ** top - 1, 2 ** below - 1];
    for (let i = 0; i < moved.length; i++) {
      const word = words[i];
      moved[i] = (((word & magnitude) >>> below) << (below + 1)) | ((word >>> top) << below) | (word & low);
    }
  }
  let shift = dtype.wordBits;
  return split.map((bits) => {
    shift -= bits;
    const mask = 2 ** bits - 1;
    const symbols = new Uint16Array(words.length);
    for (let i = 0; i < symbols.length; i++) symbols[i] = (moved[i] >>> shift) & mask;
    return symbols;
  });
}

/** Whether there is one symbol only. */
export function isConstant(symbols: Uint16Array): boolean {
  return symbols.every((symbol) => symbol === symbols[0]);
}

/** The residual of the symbol in row i and column j of a tile. */
export function residual(
  predictor: number,
  symbols: Uint16Array,
  width: number,
  i: number,
  j: number,
  zero: number,
): number {
  return (symbols[i * width + j] - predict(predictor, symbols, width, i, j, zero)) & 255;
}

/** The residuals of a tile's symbols; without prediction, the symbols themselves. */
export function residualsOf(predictor: number, symbols: Uint16Array, width: number, zero: number): Uint16Array {
  if (predictor === 0) return symbols;
  const residuals = new Uint16Array(symbols.length);
  for (let i = 0, at = 0; at < symbols.length; i++)
    for (let j = 0; j < width; j++, at++) residuals[at] = residual(predictor, symbols, width, i, j, zero);
  return residuals;
}
