// PAIRS (FORMAT.md, section 6.3): one rANS symbol holds the plane 0 of two neighbouring columns.
//
// Almost all exponents of a BF16 tensor lie in a window of 16 binades, so an exponent is start[column] + code with a
// code of 4 bits, and two codes are one symbol: left + 16 x right. That halves the number of rANS steps. Where plane 0
// has 4 bits itself, its symbols are the codes: all windows start at 0.

import type { TableSet } from './frequency.ts';

/** Binades in a window. */
export const BINADES = 16;
/** The highest start of a window, so that no exponent passes 255. */
export const MAX_START = 256 - BINADES;

/** Where the windows of a tensor's columns are. */
export interface Window {
  /** The start of every column's window, before its offset. */
  readonly base: number;
  /** 0 to 15 for each column, added to the base; undefined where there are none. */
  readonly offsets: Uint8Array | undefined;
}

/** How a tensor's plane 0 is coded in pairs. */
export interface PairCoding extends Window {
  readonly tables: TableSet;
}

/** The starts of the windows of a tile's columns. */
export function windowStarts({ base, offsets }: Window, column: number, width: number): Uint8Array {
  const starts = new Uint8Array(width).fill(base);
  if (offsets !== undefined) for (let j = 0; j < width; j++) starts[j] += offsets[column + j];
  return starts;
}

export function pairsAcross(width: number): number {
  return Math.ceil(width / 2);
}

/** The code of a symbol outside the window, for which any code will do: the element is an outlier anyway. */
export const ANY_CODE = BINADES;

/** Codes of a tile's symbols, ANY_CODE outside the window; a right column that does not exist repeats the left code. */
export function codesOf(
  symbols: Uint16Array,
  height: number,
  width: number,
  starts: Uint8Array,
  codes: Uint8Array,
): void {
  const even = 2 * pairsAcross(width);
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      const code = symbols[i * width + j] - starts[j];
      codes[i * even + j] = code >= 0 && code < BINADES ? code : ANY_CODE;
    }
    if (even > width) codes[i * even + width] = codes[i * even + width - 1];
  }
}

/** Turns a tile's pairs back into symbols of plane 0; the code of a right column that does not exist is ignored. */
export function expandPairs(
  pairs: Uint16Array,
  height: number,
  width: number,
  starts: Uint8Array,
  symbols: Uint16Array,
): void {
  const across = pairsAcross(width);
  for (let i = 0; i < height; i++)
    for (let j = 0; j < width; j++) {
      const pair = pairs[i * across + (j >>> 1)];
      symbols[i * width + j] = starts[j] + (j & 1 ? pair >>> 4 : pair & 15);
    }
}

/**
 * For each pair of codes, the symbol that stands for it in a table: itself if it has a slot, else, of those that have
 * one, the symbol with the fewest wrong codes, then the highest frequency, then the lowest number.
 * Index: left + 17 x right.
 */
export function substitutePairs(frequencies: Uint16Array): Uint8Array {
  const side = BINADES + 1;
  const substitutes = new Uint8Array(side * side);
  for (let right = 0; right < side; right++)
    for (let left = 0; left < side; left++) {
      let best = -1;
      let bestWrong = 3;
      for (let symbol = 0; symbol < frequencies.length; symbol++) {
        if (frequencies[symbol] === 0) continue;
        const wrong = ((symbol & 15) === left ? 0 : 1) + (symbol >>> 4 === right ? 0 : 1);
        if (wrong < bestWrong || (wrong === bestWrong && frequencies[symbol] > frequencies[best])) {
          best = symbol;
          bestWrong = wrong;
        }
      }
      substitutes[left + side * right] = best;
    }
  return substitutes;
}
