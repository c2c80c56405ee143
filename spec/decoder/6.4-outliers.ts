// FORMAT.md, section 6.4: elements that are not what their planes say.

import { FormatError } from '../errors.ts';
import { TILE_COLUMNS, type Tile, type WordArray } from './2-matrix.ts';
import type { Dtype } from './3-planes.ts';

/** Bytes of an outlier: position and word in one u32, or in two. */
export function outlierBytes(dtype: Dtype): number {
  return dtype.wordBits === 32 ? 8 : 4;
}

/**
 * Writes a tile's outliers over its words, height x width.
 *
 * @param entries the outliers as they are stored
 * @param at where they begin in the stream, for errors
 * @throws FormatError
 */
export function writeOutliers(words: Uint32Array, dtype: Dtype, tile: Tile, entries: WordArray, at: number): void {
  const isLong = dtype.wordBits === 32;
  let previous = -1;
  for (let e = 0; e < entries.length; e += isLong ? 2 : 1) {
    const position = isLong ? entries[e] : entries[e] & 0xffff;
    const word = isLong ? entries[e + 1] : entries[e] >>> 16;
    const row = Math.floor(position / TILE_COLUMNS);
    const column = position % TILE_COLUMNS;
    if (position <= previous || row >= tile.height || column >= tile.width || word >= 2 ** dtype.wordBits)
      throw new FormatError('tile.outliers', at + 4 * e, `position ${position}, word ${word}: not rising, or outside`);
    words[row * tile.width + column] = word;
    previous = position;
  }
}
