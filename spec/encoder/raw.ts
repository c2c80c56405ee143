// FORMAT.md, section 7, for an encoder: the inverse of the decoder's 7-raw.ts.

import { type Tile, wordsOf } from '../decoder/2-matrix.ts';
import { LANE_COLUMNS, laneCount, rawBytes, rawShape } from '../decoder/7-raw.ts';

type Size = Pick<Tile, 'height' | 'width'>;

/** The bits of a lane, as bytes, and zeros after them up to a whole number of u32. */
function sequenceOf(symbols: Uint16Array, { height, width }: Size, bits: number, lane: number): Uint8Array {
  const sequence = new Uint8Array(4 * Math.ceil((height * LANE_COLUMNS * bits) / 32) + 8);
  for (let i = 0, position = 0; i < height; i++)
    for (let k = 0, j = lane * LANE_COLUMNS; k < LANE_COLUMNS; k++, j++, position += bits) {
      // Of 10 bits, those of a symbol begin at an even one: they are in two bytes.
      const two = (j < width ? symbols[i * width + j] : 0) << (position & 7);
      const at = position >> 3;
      sequence[at] |= two;
      sequence[at + 1] |= two >> 8;
    }
  return sequence;
}

/** The last 16 bits of each lane of a plane. */
export function payloadOf(symbols: Uint16Array, tile: Size, bits: number): Uint16Array {
  const { stored } = rawShape(tile.height, bits, true);
  return Uint16Array.from({ length: laneCount(tile) }, (_, lane) => {
    const sequence = sequenceOf(symbols, tile, bits, lane);
    return sequence[stored] | (sequence[stored + 1] << 8);
  });
}

/** Packs a plane; with a payload, without the last 16 bits of each lane. */
export function packRaw(symbols: Uint16Array, tile: Size, bits: number, hasPayload: boolean): Uint8Array {
  const lanes = laneCount(tile);
  const { stored, u32s, u16s } = rawShape(tile.height, bits, hasPayload);
  const section = new Uint8Array(rawBytes(tile, bits, hasPayload));
  const wide = wordsOf(section.subarray(0, 4 * u32s * lanes), 32);
  const narrow = wordsOf(section.subarray(4 * u32s * lanes), 16);
  for (let lane = 0; lane < lanes; lane++) {
    const sequence = sequenceOf(symbols, tile, bits, lane).fill(0, stored);
    const u32 = new Uint32Array(sequence.buffer);
    for (let n = 0; n < u32s; n++) wide[n * lanes + lane] = u32[n];
    if (u16s > 0) narrow[lane] = u32[u32s];
  }
  return section;
}
