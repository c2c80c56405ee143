// FORMAT.md, section 6.5: DIRECT, both planes as they are, in the order in which the matrix units of a GPU take them.

import type { Tile } from './2-matrix.ts';

const STRIP_ROWS = 16;
const BLOCK_COLUMNS = 64;
const BLOCK_BYTES = 1536;
/** Each of the three parts of a block: codes, then symbols of plane 1 twice. */
const PART_BYTES = 512;

type Size = Pick<Tile, 'height' | 'width'>;

/** An element of a tile's blocks, which the tile need not have, and where it lies in them. */
export interface Place {
  /** In the tile. */
  readonly row: number;
  readonly column: number;
  /** The byte that has its code, and the code's lowest bit there. */
  readonly codeByte: number;
  readonly codeShift: number;
  /** The byte that is its symbol of plane 1. */
  readonly symbolByte: number;
}

/** Bytes of a tile's blocks. */
export function blocksBytes({ height, width }: Size): number {
  return Math.ceil(height / STRIP_ROWS) * Math.ceil(width / BLOCK_COLUMNS) * BLOCK_BYTES;
}

/** All elements of a tile's blocks: by strip, block, lane, fragment, r and c. */
export function* placesOf(tile: Size): Generator<Place> {
  let block = 0;
  for (let top = 0; top < tile.height; top += STRIP_ROWS)
    for (let left = 0; left < tile.width; left += BLOCK_COLUMNS, block += BLOCK_BYTES)
      for (let n = 0; n < STRIP_ROWS * BLOCK_COLUMNS; n++) {
        const [lane, fragment, r, c] = [n >> 5, (n >> 3) & 3, (n >> 2) & 1, n & 3];
        const [a, h] = [r + 2 * (c >> 1), c & 1];
        const codeBit = 4 * a + 16 * h;
        const part = block + (1 + (fragment >> 1)) * PART_BYTES;
        const u32 = 2 * (fragment & 1) + (a >> 1);
        yield {
          row: top + (lane >> 2) + 8 * r,
          column: left + 32 * (fragment >> 1) + 8 * (lane & 3) + 4 * (fragment & 1) + c,
          codeByte: block + 16 * lane + 4 * fragment + (codeBit >> 3),
          codeShift: codeBit & 7,
          symbolByte: part + 16 * lane + 4 * u32 + 2 * (a & 1) + h,
        };
      }
}

/**
 * Unpacks a tile's blocks.
 *
 * @param starts of the windows of its columns
 * @returns the symbols of plane 0 and of plane 1, row by row; undefined where an element that the tile does not have is
 * not zero
 */
export function unpackBlocks(blocks: Uint8Array, starts: Uint8Array, tile: Size): Uint16Array[] | undefined {
  const { height, width } = tile;
  const planes = [new Uint16Array(height * width), new Uint16Array(height * width)];
  let absent = 0;
  for (const { row, column, codeByte, codeShift, symbolByte } of placesOf(tile)) {
    const code = (blocks[codeByte] >> codeShift) & 15;
    const symbol = blocks[symbolByte];
    if (row < height && column < width) {
      planes[0][row * width + column] = starts[column] + code;
      planes[1][row * width + column] = symbol;
    } else absent |= code | symbol;
  }
  return absent !== 0 ? undefined : planes;
}
