// RAW planes (FORMAT.md, section 7): bits as they are, laid out so that the lanes of a warp load whole lines.

/** Columns of a lane. */
export const LANE_COLUMNS = 4;

export function laneCount(width: number): number {
  return Math.ceil(width / LANE_COLUMNS);
}

/** How a lane's bits are stored: 32-bit words, then one 16-bit word if at most 16 bits remain. */
export interface RawShape {
  readonly words: number;
  readonly halves: number;
}

/** @param payload whether the last 16 bits of each lane travel in the states of the plane before */
export function rawShape(height: number, bits: number, payload: boolean): RawShape {
  const stored = height * LANE_COLUMNS * bits - (payload ? 16 : 0);
  const rest = stored % 32;
  const whole = (stored - rest) / 32;
  return { words: whole + (rest > 16 ? 1 : 0), halves: rest > 0 && rest <= 16 ? 1 : 0 };
}

/** Bytes of a RAW plane, before padding. */
export function rawBytes(height: number, width: number, bits: number, payload: boolean): number {
  const { words, halves } = rawShape(height, bits, payload);
  return laneCount(width) * (4 * words + 2 * halves);
}

/** Packs a plane. `payload`, one a lane, receives the last 16 bits of each lane if they travel elsewhere. */
export function packRaw(
  symbols: Uint16Array,
  height: number,
  width: number,
  bits: number,
  payload: Uint16Array | undefined,
): Uint8Array {
  const lanes = laneCount(width);
  const shape = rawShape(height, bits, payload !== undefined);
  const bytes = new Uint8Array(lanes * (4 * shape.words + 2 * shape.halves));
  const wordView = new Uint32Array(bytes.buffer, 0, lanes * shape.words);
  const halfView = new Uint16Array(bytes.buffer, 4 * wordView.length);
  const total = height * LANE_COLUMNS * bits;
  const sequence = new Uint32Array(Math.ceil(total / 32) + 1);
  for (let lane = 0; lane < lanes; lane++) {
    const first = lane * LANE_COLUMNS;
    const present = Math.min(LANE_COLUMNS, width - first);
    let pending = 0;
    let filled = 0;
    let at = 0;
    for (let i = 0; i < height; i++)
      for (let k = 0, from = i * width + first; k < LANE_COLUMNS; k += 2, from += 2) {
        const left = k < present ? symbols[from] : 0;
        const right = k + 1 < present ? symbols[from + 1] : 0;
        const two = left | (right << bits);
        pending |= two << filled;
        filled += 2 * bits;
        if (filled >= 32) {
          sequence[at++] = pending;
          filled -= 32;
          pending = two >>> (2 * bits - filled);
        }
      }
    sequence[at] = pending;
    if (payload !== undefined) {
      payload[lane] = sixteenBits(sequence, total - 16);
      clearFrom(sequence, total - 16);
    }
    for (let j = 0; j < shape.words; j++) wordView[j * lanes + lane] = sequence[j];
    if (shape.halves > 0) halfView[lane] = sequence[shape.words];
  }
  return bytes;
}

/**
 * Unpacks a plane.
 *
 * @returns whether all bits that stand for nothing are zero, as they must be
 */
export function unpackRaw(
  bytes: Uint8Array,
  height: number,
  width: number,
  bits: number,
  payload: Uint16Array | undefined,
  symbols: Uint16Array,
): boolean {
  const lanes = laneCount(width);
  const shape = rawShape(height, bits, payload !== undefined);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const total = height * LANE_COLUMNS * bits;
  const sequence = new Uint32Array(Math.ceil(total / 32) + 1);
  const mask = (1 << bits) - 1;
  let spare = 0;
  for (let lane = 0; lane < lanes; lane++) {
    for (let j = 0; j < shape.words; j++) sequence[j] = view.getUint32(4 * (j * lanes + lane), true);
    sequence.fill(0, shape.words);
    if (shape.halves > 0) sequence[shape.words] = view.getUint16(4 * shape.words * lanes + 2 * lane, true);
    if (payload !== undefined) {
      spare |= bitsFrom(sequence, total - 16);
      putSixteenBits(sequence, total - 16, payload[lane]);
    } else spare |= bitsFrom(sequence, total);
    const first = lane * LANE_COLUMNS;
    const present = Math.min(LANE_COLUMNS, width - first);
    for (let i = 0, position = 0; i < height; i++)
      for (let k = 0, to = i * width + first; k < LANE_COLUMNS; k += 2, to += 2, position += 2 * bits) {
        const at = position >>> 5;
        const shift = position & 31;
        // Two shifts: one by 32 would be one by 0.
        const two = (sequence[at] >>> shift) | ((sequence[at + 1] << 1) << (31 - shift));
        const left = two & mask;
        const right = (two >>> bits) & mask;
        if (k < present) symbols[to] = left;
        else spare |= left;
        if (k + 1 < present) symbols[to + 1] = right;
        else spare |= right;
      }
  }
  return spare === 0;
}

function sixteenBits(sequence: Uint32Array, position: number): number {
  const at = position >>> 5;
  const shift = position & 31;
  const high = shift > 16 ? sequence[at + 1] << (32 - shift) : 0;
  return ((sequence[at] >>> shift) | high) & 0xffff;
}

function putSixteenBits(sequence: Uint32Array, position: number, value: number): void {
  const at = position >>> 5;
  const shift = position & 31;
  sequence[at] |= value << shift;
  if (shift > 16) sequence[at + 1] |= value >>> (32 - shift);
}

/** Whether, and which, bits are set in `sequence` from bit `position` on. */
function bitsFrom(sequence: Uint32Array, position: number): number {
  const at = position >>> 5;
  let bits = sequence[at] >>> (position & 31);
  for (let j = at + 1; j < sequence.length; j++) bits |= sequence[j];
  return bits;
}

function clearFrom(sequence: Uint32Array, position: number): void {
  const at = position >>> 5;
  sequence[at] &= 2 ** (position & 31) - 1;
  sequence.fill(0, at + 1);
}
