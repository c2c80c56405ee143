// FORMAT.md, section 6.3: PAIRS codes plane 0 two columns at a time, by the windows that DIRECT has, too.

import type { Tile, WordArray } from './2-matrix.ts';

/** A code has 4 bits: a window holds so many symbols of plane 0. */
export const CODES = 16;

/** No window begins above this, so that no symbol is above 255. */
export const MAX_START = 256 - CODES;

/** Where the windows of columns begin: at `base` + their offset. */
export interface Windows {
  readonly base: number;
  /** 0 to 15 for each column; undefined where all are 0. */
  readonly offsets: WordArray | undefined;
}

/** The start of each column of a tile. */
export function startsOf({ base, offsets }: Windows, { column, width }: Tile): Uint8Array {
  return Uint8Array.from({ length: width }, (_, j) => base + (offsets?.[column + j] ?? 0));
}

/** Symbols of plane 0, height x width, from pairs, height x ceil(width / 2). */
export function splitPairs(pairs: Uint16Array, starts: Uint8Array, { height, width }: Tile): Uint16Array {
  const symbols = new Uint16Array(height * width);
  const across = Math.ceil(width / 2);
  for (let i = 0; i < height; i++)
    for (let j = 0; j < width; j++) {
      const pair = pairs[i * across + (j >> 1)];
      symbols[i * width + j] = starts[j] + (j % 2 === 0 ? pair & 15 : pair >> 4);
    }
  return symbols;
}
