// Encoding: passes that count, decisions, and then tiles one by one.

import { checkOptions, decide, type EncodeOptions, type Plan, wishesFor } from './decisions.ts';
import { dtypeNamed } from './elements.ts';
import { defaultColumns, type Layout, layOut, type Slice } from './layout.ts';
import { forEachTile, gather, Total } from './statistics.ts';
import { writeFront } from './stream.ts';
import { type EncodedTile, encodeTileData, type TileMetadata } from './tile.ts';

/** H, unless an encoder is told otherwise. */
export const DEFAULT_TILE_ROWS = 128;

/**
 * The layout an encoder gives a tensor.
 *
 * @throws TypeError for an unknown dtype, RangeError for a shape or options that the format does not have
 */
export function layoutFor(dtypeName: string, shape: readonly number[], options: EncodeOptions = {}): Layout {
  const dtype = dtypeNamed(dtypeName);
  const tileRows = options.tileRows ?? DEFAULT_TILE_ROWS;
  const layout = layOut(dtype, shape, options.columns ?? defaultColumns(dtype, shape, tileRows), tileRows);
  checkOptions(dtype, options);
  return layout;
}

/** Codes the tiles of a slice, in order. Offsets are all 0: `placeTiles` sets them. */
export function encodeSlice(plan: Plan, slice: Slice): EncodedTile[] {
  const tiles: EncodedTile[] = [];
  forEachTile(plan.coding.layout, slice, (tile, index, words) => {
    tiles.push(encodeTileData(plan.coding, tile, words, wishesFor(plan, index)));
  });
  return tiles;
}

/** Gives tiles their offsets, one after the other. @returns all metadata, and the bytes of Data */
export function placeTiles(tiles: readonly { metadata: TileMetadata; length: number }[]): {
  metadata: TileMetadata[];
  dataBytes: number;
} {
  let dataBytes = 0;
  const metadata = tiles.map((tile) => {
    const offset = dataBytes;
    dataBytes += tile.length;
    return { ...tile.metadata, offset };
  });
  return { metadata, dataBytes };
}

/**
 * Encodes a tensor.
 *
 * @param data little-endian elements in C order
 * @param dtype a dtype's name as safetensors gives it
 * @returns the stream
 * @throws TypeError or RangeError for arguments that make no tensor, or options that the format does not have
 */
export function encodeTensor(
  data: Uint8Array,
  dtype: string,
  shape: readonly number[],
  options: EncodeOptions = {},
): Uint8Array {
  const layout = layoutFor(dtype, shape, options);
  const expected = (layout.words * layout.dtype.wordBits) / 8;
  if (data.length !== expected)
    throw new RangeError(`${data.length} bytes where ${dtype} of shape [${shape}] has ${expected}`);
  const whole: Slice = { firstBand: 0, bandCount: layout.bands, bytes: data };
  const passes = decide(layout, options);
  let pass = passes.next();
  while (!pass.done) {
    const total = new Total(layout);
    total.add(0, gather(layout, whole, pass.value));
    pass = passes.next(total.value);
  }
  const tiles = encodeSlice(pass.value, whole);
  const { metadata, dataBytes } = placeTiles(
    tiles.map(({ metadata: tile, data: { length } }) => ({ metadata: tile, length })),
  );
  const front = writeFront(pass.value.coding, metadata, dataBytes);
  const stream = new Uint8Array(front.length + dataBytes);
  stream.set(front);
  let at = front.length;
  for (const tile of tiles) {
    stream.set(tile.data, at);
    at += tile.data.length;
  }
  return stream;
}
