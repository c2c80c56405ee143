// Prediction (FORMAT.md, section 5): a symbol of 8 bits is replaced by its difference from what its neighbours say.

/** The index is the code in a tile's metadata. */
export const PREDICTORS = ['none', 'left', 'top', 'avg', 'planar'] as const;
export type Predictor = (typeof PREDICTORS)[number];

/**
 * What each predictor expects of a symbol, from L (left), T (above) and D (above the left).
 * A neighbour outside the tile has the symbol of the value zero.
 */
function predict(predictor: number, left: number, top: number, diagonal: number): number {
  switch (predictor) {
    case 1:
      return left;
    case 2:
      return top;
    case 3:
      return (left + top) >> 1;
    case 4:
      return left + top - diagonal;
    default:
      return 0;
  }
}

/** Residuals, modulo 256, of a tile's symbols. */
export function residualsOf(
  symbols: Uint16Array,
  height: number,
  width: number,
  predictor: number,
  zero: number,
  residuals: Uint16Array,
): void {
  for (let i = 0, at = 0; i < height; i++)
    for (let j = 0; j < width; j++, at++) {
      const left = j > 0 ? symbols[at - 1] : zero;
      const top = i > 0 ? symbols[at - width] : zero;
      const diagonal = j > 0 && i > 0 ? symbols[at - width - 1] : zero;
      residuals[at] = (symbols[at] - predict(predictor, left, top, diagonal)) & 0xff;
    }
}

/**
 * Counts the residuals of every predictor in one row: counts[256 x predictor + residual].
 *
 * @param above where the row above begins in `symbols`, -1 if there is none
 */
export function countResiduals(
  symbols: Uint16Array,
  above: number,
  row: number,
  width: number,
  zero: number,
  counts: Uint32Array,
): void {
  let left = zero;
  let diagonal = zero;
  for (let j = 0; j < width; j++) {
    const symbol = symbols[row + j];
    const top = above < 0 ? zero : symbols[above + j];
    counts[symbol]++;
    counts[256 + ((symbol - left) & 0xff)]++;
    counts[512 + ((symbol - top) & 0xff)]++;
    counts[768 + ((symbol - ((left + top) >> 1)) & 0xff)]++;
    counts[1024 + ((symbol - left - top + diagonal) & 0xff)]++;
    left = symbol;
    diagonal = top;
  }
}

/** Turns a tile's residuals back into symbols, in place. */
export function reconstruct(
  symbols: Uint16Array,
  height: number,
  width: number,
  predictor: number,
  zero: number,
): void {
  for (let i = 0, at = 0; i < height; i++)
    for (let j = 0; j < width; j++, at++) {
      const left = j > 0 ? symbols[at - 1] : zero;
      const top = i > 0 ? symbols[at - width] : zero;
      const diagonal = j > 0 && i > 0 ? symbols[at - width - 1] : zero;
      symbols[at] = (symbols[at] + predict(predictor, left, top, diagonal)) & 0xff;
    }
}
