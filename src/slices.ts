// Tensors are worked on in slices of consecutive rows of tiles: memory is bounded by the slices under way, whatever
// the tensor's size.

import type { Layout } from '../spec/layout.ts';

/** A slice has about so many bytes of its tensor, and at least one row of tiles: few, since fresh memory is slow. */
export const SLICE_BYTES = 2 * 2 ** 20;

export interface SliceRange {
  readonly firstTileRow: number;
  readonly tileRowCount: number;
  /** Bytes of the tensor: from `start` to before `end`. */
  readonly start: number;
  readonly end: number;
}

export const sliceBytes = ({ start, end }: SliceRange): number => end - start;

/** What has to be known of a tensor to cut it: its bytes, its rows of tiles, and the bytes of each but the last. */
export interface Extent {
  readonly tensorBytes: number;
  readonly tileRows: number;
  readonly tileRowBytes: number;
}

export function extentOf({ words, tileRows, columns, tilesDown, dtype }: Layout): Extent {
  const wordBytes = dtype.wordBits / 8;
  return { tensorBytes: words * wordBytes, tileRows: tilesDown, tileRowBytes: tileRows * columns * wordBytes };
}

/** The slices of a tensor, in order. */
export function* slicesOf({ tensorBytes, tileRows, tileRowBytes }: Extent): Generator<SliceRange, void, void> {
  const most = Math.max(1, Math.floor(SLICE_BYTES / tileRowBytes));
  for (let firstTileRow = 0; firstTileRow < tileRows; firstTileRow += most) {
    const tileRowCount = Math.min(most, tileRows - firstTileRow);
    const end = Math.min(tensorBytes, (firstTileRow + tileRowCount) * tileRowBytes);
    yield { firstTileRow, tileRowCount, start: firstTileRow * tileRowBytes, end };
  }
}
