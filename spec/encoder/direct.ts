// FORMAT.md, section 6.5, for an encoder: the inverse of the decoder's 6.5-direct.ts.

import type { Tile } from '../decoder/2-matrix.ts';
import { blocksBytes, placesOf } from '../decoder/6.5-direct.ts';

/** Packs a tile's codes and its symbols of plane 1, both row by row, into blocks. */
export function packBlocks(codes: Uint8Array, symbols: Uint16Array, tile: Pick<Tile, 'height' | 'width'>): Uint8Array {
  const blocks = new Uint8Array(blocksBytes(tile));
  for (const { row, column, codeByte, codeShift, symbolByte } of placesOf(tile)) {
    if (row >= tile.height || column >= tile.width) continue;
    const at = row * tile.width + column;
    blocks[codeByte] |= codes[at] << codeShift;
    blocks[symbolByte] = symbols[at];
  }
  return blocks;
}
