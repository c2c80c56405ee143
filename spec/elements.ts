// Elements and planes (FORMAT.md, section 3): which bits of a word are coded together.
//
// A word is first *arranged*, so that planes are plain bit-fields of it, top first:
//   float     the sign moves down to just below the first plane (or to bit 0 where there is one plane only),
//             so exponents come first and never meet the sign, which is noise;
//   signed    the top bit is flipped, so that order is kept;
//   unsigned  as it is.

/** Bits of each plane, top first. They add up to the bits of a word. */
export type Split = readonly number[];

export interface Dtype {
  /** The name that safetensors gives it. */
  readonly name: string;
  /** The code in a stream's header. */
  readonly code: number;
  /** Bits of one element of the tensor's shape. */
  readonly bits: number;
  /** Bits of one coded word: those of an element, or 8 where the tensor is coded as bytes. */
  readonly wordBits: 8 | 16 | 32;
  readonly kind: 'float' | 'signed' | 'unsigned';
  /** The splits a stream may use, the default first. */
  readonly splits: readonly Split[];
}

const BYTE: Split = [8];

function coded(code: number, name: string, kind: Dtype['kind'], wordBits: 8 | 16 | 32, splits: Split[]): Dtype {
  return { name, code, bits: wordBits, wordBits, kind, splits };
}

function asBytes(code: number, name: string, bits: number): Dtype {
  return { name, code, bits, wordBits: 8, kind: 'unsigned', splits: [BYTE] };
}

/** Every dtype of safetensors that a stream can hold; the index is the code. */
export const DTYPES: readonly Dtype[] = [
  coded(0, 'BOOL', 'unsigned', 8, [BYTE]),
  coded(1, 'U8', 'unsigned', 8, [BYTE]),
  coded(2, 'I8', 'signed', 8, [BYTE]),
  coded(3, 'F8_E4M3', 'float', 8, [BYTE]),
  coded(4, 'F8_E5M2', 'float', 8, [BYTE]),
  coded(5, 'F16', 'float', 16, [[8, 8]]),
  coded(6, 'BF16', 'float', 16, [[10, 6], [8, 8]]),
  coded(7, 'F32', 'float', 32, [[8, 8, 8, 8]]),
  asBytes(8, 'I16', 16),
  asBytes(9, 'U16', 16),
  asBytes(10, 'I32', 32),
  asBytes(11, 'U32', 32),
  asBytes(12, 'I64', 64),
  asBytes(13, 'U64', 64),
  asBytes(14, 'F64', 64),
  asBytes(15, 'C64', 64),
  asBytes(16, 'F8_E8M0', 8),
  asBytes(17, 'F4', 4),
  asBytes(18, 'F6_E2M3', 6),
  asBytes(19, 'F6_E3M2', 6),
];

export const BF16 = DTYPES[6];

/** @throws TypeError where the format has no such dtype. */
export function dtypeNamed(name: string): Dtype {
  const dtype = DTYPES.find((candidate) => candidate.name === name);
  if (dtype === undefined) throw new TypeError(`unknown dtype ${JSON.stringify(name)}`);
  return dtype;
}

/** Words that a tensor of this shape has, or undefined where its bits do not fill whole bytes. */
export function wordCount(dtype: Dtype, shape: readonly number[]): number | undefined {
  const elements = shape.reduce((product, dimension) => product * dimension, 1);
  const words = (elements * dtype.bits) / dtype.wordBits;
  return Number.isSafeInteger(elements) && Number.isSafeInteger(words * 4) ? words : undefined;
}

/** The bit of an arranged word that holds the sign of a float. */
function signBit(dtype: Dtype, split: Split): number {
  return split.length === 1 ? 0 : dtype.wordBits - 1 - split[0];
}

/** Arranges `words[0..count)` in place. */
export function arrange(words: Uint32Array, count: number, dtype: Dtype, split: Split): void {
  if (dtype.kind === 'signed') for (let i = 0; i < count; i++) words[i] ^= 0x80;
  if (dtype.kind !== 'float') return;
  const sign = signBit(dtype, split);
  const top = dtype.wordBits - 1;
  const magnitude = 2 ** top - 1;
  const low = 2 ** sign - 1;
  for (let i = 0; i < count; i++) {
    const word = words[i];
    words[i] = (((word & magnitude) >>> sign) << (sign + 1)) | ((word >>> top) << sign) | (word & low);
  }
}

/** Undoes {@link arrange}. */
export function restore(words: Uint32Array, count: number, dtype: Dtype, split: Split): void {
  if (dtype.kind === 'signed') for (let i = 0; i < count; i++) words[i] ^= 0x80;
  if (dtype.kind !== 'float') return;
  const sign = signBit(dtype, split);
  const top = dtype.wordBits - 1;
  const low = 2 ** sign - 1;
  for (let i = 0; i < count; i++) {
    const word = words[i];
    words[i] = (((word >>> sign) & 1) << top) | ((word >>> (sign + 1)) << sign) | (word & low);
  }
}

/** The lowest bit of plane `plane` in an arranged word. */
export function planeShift(split: Split, plane: number): number {
  let shift = 0;
  for (let below = plane + 1; below < split.length; below++) shift += split[below];
  return shift;
}

/** Cuts plane `plane` out of `arranged[0..count)`. */
export function cutPlane(arranged: Uint32Array, count: number, split: Split, plane: number, symbols: Uint16Array): void {
  const shift = planeShift(split, plane);
  const mask = 2 ** split[plane] - 1;
  for (let i = 0; i < count; i++) symbols[i] = (arranged[i] >>> shift) & mask;
}

/** Puts plane `plane` into `arranged[0..count)`, whose bits there must be zero. */
export function pastePlane(arranged: Uint32Array, count: number, split: Split, plane: number, symbols: Uint16Array): void {
  const shift = planeShift(split, plane);
  for (let i = 0; i < count; i++) arranged[i] |= symbols[i] << shift;
}

/** The symbol of the value zero: what prediction takes for a neighbour outside the tile. */
export function zeroSymbol(dtype: Dtype): number {
  return dtype.kind === 'signed' ? 0x80 : 0;
}
