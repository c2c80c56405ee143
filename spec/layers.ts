// FORMAT.md, section 11.1: a tensor in layers of bits, so that a prefix of a file is a coarse checkpoint. A coarse word
// has the first bits of a word of the tensor; each further layer has those that come next.

import { wordsOf } from './decoder/2-matrix.ts';

/** Bits of every word of a tensor, counted from its highest: from `first` to before `end`. */
export interface Layer {
  readonly first: number;
  readonly end: number;
}

/** Floats whose tensors may have layers: bits of a word and of its exponent, and where a compressor begins layers. */
interface Float {
  readonly bits: 16 | 32;
  readonly exponentBits: number;
  readonly starts: readonly number[];
}

const FLOATS: Readonly<Record<string, Float>> = {
  F16: { bits: 16, exponentBits: 5, starts: [8, 10, 12] },
  BF16: { bits: 16, exponentBits: 8, starts: [10, 12, 14] },
  F32: { bits: 32, exponentBits: 8, starts: [10, 12, 14, 16, 24] },
};

/** Smaller tensors are not worth the headers of their layers. */
const LEAST_WORDS = 2 ** 14;
/** Coarse words take half as many bytes as words: tiles of so many rows are as large as others. */
export const COARSE_TILE_ROWS = 256;

/** Where a compressor begins layers of a tensor; nowhere in most. */
export function layerStarts(dtype: string, bytes: number): readonly number[] {
  const float = FLOATS[dtype];
  return float !== undefined && (8 * bytes) / float.bits >= LEAST_WORDS ? float.starts : [];
}

/**
 * The layers behind the first one.
 *
 * @param starts the first bit of each
 * @returns undefined where a tensor of this dtype cannot have these
 */
export function layersFrom(dtype: string, starts: readonly number[]): readonly Layer[] | undefined {
  const float = FLOATS[dtype];
  if (float === undefined || starts[0] <= float.exponentBits) return undefined;
  const layers = starts.map((first, index) => ({ first, end: starts[index + 1] ?? float.bits }));
  return layers.every(({ first, end }) => [1, 2, 4, 8].includes(end - first)) ? layers : undefined;
}

/** Bytes of a layer of a tensor that has so many. */
export function layerBytes(dtype: string, bytes: number, { first, end }: Layer): number {
  return Math.ceil((bytes / FLOATS[dtype].bits) * (end - first));
}

/** What makes coarse words of so many bits: masks of the exponent and of these bits, and the one behind them. */
function cutAt({ bits, exponentBits }: Float, known: number): { exponent: number; top: number; half: number } {
  const unknown = 2 ** (bits - known);
  return { exponent: (2 ** exponentBits - 1) << (bits - 1 - exponentBits), top: ~(unknown - 1), half: unknown >>> 1 };
}

/** The coarse word of a word, both as 32 signed bits. */
function coarseWord(word: number, exponent: number, top: number, half: number): number {
  const of = word & exponent;
  // An infinity, or what is no number.
  if (of === exponent) return word;
  return of === 0 ? word & top : (word & top) | half;
}

/** The words of the first layer. @returns bytes of the tensor */
export function coarse(bytes: Uint8Array, dtype: string, known: number): Uint8Array {
  const float = FLOATS[dtype];
  const { exponent, top, half } = cutAt(float, known);
  const words = wordsOf(bytes, float.bits).map((word) => coarseWord(word, exponent, top, half));
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

/** The bit string of a layer. */
export function layerOf(bytes: Uint8Array, dtype: string, layer: Layer): Uint8Array {
  const { bits } = FLOATS[dtype];
  const words = wordsOf(bytes, bits);
  const packed = new Uint8Array(layerBytes(dtype, bytes.length, layer));
  const width = layer.end - layer.first;
  const mask = 2 ** width - 1;
  const down = bits - layer.end;
  for (let i = 0; i < words.length; i++) packed[(i * width) >>> 3] |= ((words[i] >>> down) & mask) << ((i * width) & 7);
  return packed;
}

/**
 * Adds the bits of the next layer to coarse words, in place.
 *
 * @param bytes of the tensor, aligned to its words, of which the bits before the layer are known
 * @returns whether they were coarse words of those bits, and the bit string is filled up with zeros
 */
export function refine(bytes: Uint8Array, dtype: string, layer: Layer, packed: Uint8Array): boolean {
  const float = FLOATS[dtype];
  const { bits } = float;
  const words = wordsOf(bytes, bits);
  const width = layer.end - layer.first;
  const mask = 2 ** width - 1;
  const up = bits - layer.end;
  const others = ~(mask << up);
  const before = cutAt(float, layer.first);
  const after = cutAt(float, layer.end);
  const { exponent } = before;
  let wrong = 0;
  for (let i = 0; i < words.length; i++) {
    const piece = (packed[(i * width) >>> 3] >>> ((i * width) & 7)) & mask;
    const whole = (words[i] & others) | (piece << up);
    wrong |= coarseWord(whole, exponent, before.top, before.half) ^ words[i];
    words[i] = coarseWord(whole, exponent, after.top, after.half);
  }
  const filled = 8 * packed.length - width * words.length;
  return wrong === 0 && packed[packed.length - 1] >>> (8 - filled) === 0;
}
