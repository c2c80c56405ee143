// Elements and planes (FORMAT.md, section 3): which bits of a word are coded together.
//
//   float     the sign leads the second plane (or is the lowest bit of the only one), so that the first plane is the
//             top of the magnitude: exponents never meet the sign, which is noise;
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
const NIBBLES: Split = [4, 4];

function coded(code: number, name: string, kind: Dtype['kind'], wordBits: 8 | 16 | 32, splits: Split[]): Dtype {
  return { name, code, bits: wordBits, wordBits, kind, splits };
}

function asBytes(code: number, name: string, bits: number): Dtype {
  return { name, code, bits, wordBits: 8, kind: 'unsigned', splits: [BYTE] };
}

/** Every dtype of safetensors that a stream can hold; the index is the code. */
export const DTYPES: readonly Dtype[] = [
  coded(0, 'BOOL', 'unsigned', 8, [BYTE, NIBBLES]),
  coded(1, 'U8', 'unsigned', 8, [BYTE, NIBBLES]),
  coded(2, 'I8', 'signed', 8, [BYTE, NIBBLES]),
  coded(3, 'F8_E4M3', 'float', 8, [BYTE, NIBBLES]),
  coded(4, 'F8_E5M2', 'float', 8, [BYTE, NIBBLES]),
  coded(5, 'F16', 'float', 16, [[8, 8]]),
  coded(6, 'BF16', 'float', 16, [
    [10, 6],
    [8, 8],
  ]),
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

const BF16 = DTYPES[6];

/** Whether this is 4 + 4, of which plane 1 is left as it is: the split is for decoders that are fast. */
export function isNibbles(split: Split): boolean {
  return split[0] === 4;
}

/** Whether plane 0 may be coded in PAIRS: in 8 + 8 of BF16, where codes are relative to windows, and in 4 + 4. */
export function allowsPairs(dtype: Dtype, split: Split): boolean {
  return isNibbles(split) || (dtype === BF16 && split[0] === 8);
}

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
  return Number.isSafeInteger(elements) && Number.isInteger(words) && Number.isSafeInteger(words * 4)
    ? words
    : undefined;
}

/** Which bits of a word make up a plane's symbol: `magnitudeBits` from `shift` on, and perhaps the sign. */
interface Field {
  readonly shift: number;
  readonly mask: number;
  /** Where the magnitude's lowest bit goes in the symbol. */
  readonly up: number;
  /** 1 if the sign is in this plane; where it comes from, and where it goes. */
  readonly signMask: number;
  readonly signFrom: number;
  readonly signTo: number;
  /** What the symbol is XORed with. */
  readonly flip: number;
}

function fieldOf(dtype: Dtype, split: Split, plane: number): Field {
  const bits = split[plane];
  const isFloat = dtype.kind === 'float';
  const hasSign = isFloat && plane === Math.min(1, split.length - 1);
  const alone = split.length === 1;
  // Bits of the word below this plane; the sign has left the top, and stands above the rest of the second plane.
  const below = split.slice(plane + 1).reduce((sum, width) => sum + width, 0);
  return {
    shift: isFloat && plane === 0 && !alone ? below - 1 : below,
    mask: (1 << (bits - (hasSign ? 1 : 0))) - 1,
    up: hasSign && alone ? 1 : 0,
    signMask: hasSign ? 1 : 0,
    signFrom: dtype.wordBits - 1,
    signTo: alone ? 0 : bits - 1,
    flip: dtype.kind === 'signed' && plane === 0 ? 1 << (bits - 1) : 0,
  };
}

/** Whether a plane is a bit-field of the word and nothing else: most are, and have a loop of their own for speed. */
function isPlain({ signMask, flip }: Field): boolean {
  return signMask === 0 && flip === 0;
}

/** Cuts plane `plane` out of words: symbols[i] for words[i]. */
export function cutPlane(words: Uint32Array, dtype: Dtype, split: Split, plane: number, symbols: Uint16Array): void {
  const field = fieldOf(dtype, split, plane);
  const { shift, mask, up, signMask, signFrom, signTo, flip } = field;
  if (isPlain(field)) {
    for (let i = 0; i < words.length; i++) symbols[i] = (words[i] >>> shift) & mask;
    return;
  }
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    symbols[i] = ((((word >>> shift) & mask) << up) | (((word >>> signFrom) & signMask) << signTo)) ^ flip;
  }
}

/** Puts plane `plane` into words; the first plane clears them, so planes are pasted in order. */
export function pastePlane(words: Uint32Array, dtype: Dtype, split: Split, plane: number, symbols: Uint16Array): void {
  const field = fieldOf(dtype, split, plane);
  const { shift, mask, up, signMask, signFrom, signTo, flip } = field;
  if (plane === 0) words.fill(0);
  if (isPlain(field)) {
    for (let i = 0; i < words.length; i++) words[i] |= symbols[i] << shift;
    return;
  }
  for (let i = 0; i < words.length; i++) {
    const symbol = symbols[i] ^ flip;
    words[i] |= (((symbol >>> up) & mask) << shift) | (((symbol >>> signTo) & signMask) << signFrom);
  }
}

/** The symbol of the value zero in 8 bits: what prediction takes for a neighbour outside the tile. */
export function zeroSymbol(dtype: Dtype): number {
  return dtype.kind === 'signed' ? 0x80 : 0;
}
