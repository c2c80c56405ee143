// FORMAT.md, section 3: dtypes, and the planes into which their words are cut.
//
// Bits of a word are moved first, so that every plane is a bit-field: a float's sign goes below the magnitude bits of
// plane 0, and the top bit of a signed integer is flipped.

import tables from '../tables.json' with { type: 'json' };

/** Bits of each plane, first to last. They add up to the bits of a word. */
export type Split = readonly number[];

export interface Dtype {
  /** The name that safetensors gives it. */
  readonly name: string;
  /** Its dtype code: a stream's byte 5. */
  readonly code: number;
  /** Bits of an element. */
  readonly bits: number;
  /** w, bits of a word: those of an element, or 8 where the tensor is coded as bytes. */
  readonly wordBits: 8 | 16 | 32;
  readonly kind: 'float' | 'signed' | 'unsigned';
  /** The splits a stream may have, the default first. */
  readonly splits: readonly Split[];
}

/** Every dtype that a stream can hold; the index is the dtype code. */
export const DTYPES = tables.dtypes as readonly Dtype[];

/** Words of a tensor of this shape, or undefined where its bits do not fill whole words or are too many. */
export function wordCount(dtype: Dtype, shape: readonly number[]): number | undefined {
  const elements = shape.reduce((product, dimension) => product * dimension, 1);
  const words = (elements * dtype.bits) / dtype.wordBits;
  const isExact = Number.isSafeInteger(elements) && Number.isInteger(words) && Number.isSafeInteger(words * 4);
  return isExact ? words : undefined;
}

/** Whether this is the split 4 + 4. */
export function isNibbles(split: Split): boolean {
  return split[0] === 4;
}

/** Whether plane 0 may be coded as PAIRS: in 4 + 4, and in 8 + 8 of BF16. */
export function allowsPairs(dtype: Dtype, split: Split): boolean {
  return isNibbles(split) || allowsDirect(dtype, split);
}

/** Whether tiles may be DIRECT: in 8 + 8 of BF16. */
export function allowsDirect(dtype: Dtype, split: Split): boolean {
  return dtype.name === 'BF16' && split[0] === 8;
}

/** The symbol of the value zero in a plane of 8 bits. */
export function zeroSymbol(dtype: Dtype): number {
  return dtype.kind === 'signed' ? 0x80 : 0;
}

/** Magnitude bits of a float that stand below its sign once that has been moved: all that plane 0 does not hold. */
export function bitsBelowSign(dtype: Dtype, split: Split): number {
  return Math.max(0, dtype.wordBits - 1 - split[0]);
}

/** The words of which these are the planes: symbols of each plane, as many as there are words. */
export function joinPlanes(dtype: Dtype, split: Split, planes: readonly Uint16Array[]): Uint32Array {
  const words = new Uint32Array(planes[0].length);
  planes.forEach((symbols, p) => {
    const bits = split[p];
    for (let i = 0; i < words.length; i++) words[i] = (words[i] << bits) | symbols[i];
  });
  if (dtype.kind === 'signed') for (let i = 0; i < words.length; i++) words[i] ^= 0x80;
  if (dtype.kind === 'float') {
    const top = dtype.wordBits - 1;
    const below = bitsBelowSign(dtype, split);
    const low = 2 ** below - 1;
    for (let i = 0; i < words.length; i++) {
      const sign = (words[i] >>> below) & 1;
      const magnitude = ((words[i] >>> (below + 1)) << below) | (words[i] & low);
      words[i] = (sign << top) | magnitude;
    }
  }
  return words;
}
