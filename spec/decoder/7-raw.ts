// FORMAT.md, section 7: RAW planes, whose bits are as they are, laid out so that the lanes of a warp load whole lines.
//
// A plane has 4, 6, 8 or 10 bits and a lane four columns, so that the sequence of a lane is always whole bytes.

import { type Tile, wordsOf } from './2-matrix.ts';

/** Columns of a lane. */
export const LANE_COLUMNS = 4;

export function laneCount({ width }: Pick<Tile, 'width'>): number {
  return Math.ceil(width / LANE_COLUMNS);
}

/** What is stored of each lane: bytes of its sequence, and the u32 and u16 into which they are cut. */
export function rawShape(
  height: number,
  bits: number,
  hasPayload: boolean,
): { stored: number; u32s: number; u16s: number } {
  const stored = (height * LANE_COLUMNS * bits) / 8 - (hasPayload ? 2 : 0);
  const rest = stored % 4;
  const u16s = rest === 1 || rest === 2 ? 1 : 0;
  return { stored, u32s: Math.floor(stored / 4) + (rest === 3 ? 1 : 0), u16s };
}

/** Bytes of a RAW plane, without padding. */
export function rawBytes(tile: Pick<Tile, 'height' | 'width'>, bits: number, hasPayload: boolean): number {
  const { u32s, u16s } = rawShape(tile.height, bits, hasPayload);
  return laneCount(tile) * (4 * u32s + 2 * u16s);
}

/**
 * Unpacks a RAW plane.
 *
 * @param payload 16 bits for each lane where the plane before has them
 * @returns its symbols, row by row; undefined where a bit that stands for nothing is not zero
 */
export function unpackRaw(
  section: Uint8Array,
  { height, width }: Pick<Tile, 'height' | 'width'>,
  bits: number,
  payload: Uint16Array | undefined,
): Uint16Array | undefined {
  const lanes = laneCount({ width });
  const { stored, u32s, u16s } = rawShape(height, bits, payload !== undefined);
  const wide = wordsOf(section.subarray(0, 4 * u32s * lanes), 32);
  const narrow = wordsOf(section.subarray(4 * u32s * lanes), 16);
  const mask = 2 ** bits - 1;
  const symbols = new Uint16Array(height * width);
  let unused = 0;
  for (let lane = 0; lane < lanes; lane++) {
    const u32 = new Uint32Array(u32s + 2);
    for (let n = 0; n < u32s; n++) u32[n] = wide[n * lanes + lane];
    if (u16s > 0) u32[u32s] = narrow[lane];
    const sequence = new Uint8Array(u32.buffer);
    for (let b = stored; b < sequence.length; b++) unused |= sequence[b];
    if (payload !== undefined) {
      sequence[stored] = payload[lane] & 255;
      sequence[stored + 1] = payload[lane] >> 8;
    }
    for (let i = 0, position = 0; i < height; i++)
      for (let k = 0, j = lane * LANE_COLUMNS; k < LANE_COLUMNS; k++, j++, position += bits) {
        const at = position >> 3;
        const two = sequence[at] | (sequence[at + 1] << 8);
        const symbol = (two >> (position & 7)) & mask;
        if (j < width) symbols[i * width + j] = symbol;
        else unused |= symbol;
      }
  }
  return unused !== 0 ? undefined : symbols;
}
