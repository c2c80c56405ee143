// Tensors are worked on in slices of consecutive rows of tiles: memory is bounded by the slices under way, whatever
// the tensor's size.

import { type Layout, sliceRange } from '../spec/layout.ts';

/** A slice has about so many bytes of its tensor, and at least one row of tiles. */
export const SLICE_BYTES = 4 * 2 ** 20;

export interface SliceRange {
  readonly firstTileRow: number;
  readonly tileRowCount: number;
  /** Bytes of the tensor: from `start` to before `end`. */
  readonly start: number;
  readonly end: number;
}

/** The slices of a tensor, in order. */
export function* slicesOf(layout: Layout): Generator<SliceRange, void, void> {
  const rowBytes = (layout.tileRows * layout.columns * layout.dtype.wordBits) / 8;
  const most = Math.max(1, Math.floor(SLICE_BYTES / rowBytes));
  for (let firstTileRow = 0; firstTileRow < layout.tilesDown; firstTileRow += most) {
    const tileRowCount = Math.min(most, layout.tilesDown - firstTileRow);
    yield { firstTileRow, tileRowCount, ...sliceRange(layout, firstTileRow, tileRowCount) };
  }
}
