// FORMAT.md, section 5: a predicted plane codes what its symbols differ by from what their neighbours say.

/**
 * What a predictor says of the symbol in row i and column j of a tile, not reduced modulo 256.
 *
 * @param symbols row by row; those above, and to the left, of row i and column j are looked at
 * @param zero the zero symbol, which neighbours outside the tile have
 */
export function predict(
  predictor: number,
  symbols: Uint16Array,
  width: number,
  i: number,
  j: number,
  zero: number,
): number {
  const at = i * width + j;
  const left = j > 0 ? symbols[at - 1] : zero;
  const top = i > 0 ? symbols[at - width] : zero;
  const diagonal = i > 0 && j > 0 ? symbols[at - width - 1] : zero;
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

/** Turns a tile's residuals, row by row, into symbols, in place. */
export function undoPrediction(predictor: number, symbols: Uint16Array, width: number, zero: number): void {
  for (let i = 0, at = 0; at < symbols.length; i++)
    for (let j = 0; j < width; j++, at++)
      symbols[at] = (symbols[at] + predict(predictor, symbols, width, i, j, zero)) & 255;
}
