// FORMAT.md, A.12: which tensor of a base is the nearest to one that has no namesake there.

import { wordsOf } from '../decoder/2-matrix.ts';
import { differenceOf } from '../decoder/3.2-base.ts';
import type { Dtype } from '../decoder/3-planes.ts';

const PARTS = 16;
export const PART_BYTES = 64;
/** Those that are so many bits apart or more are not near: 5 of 8. */
const FAR = 5 * PARTS * PART_BYTES;

/** Where the parts of a sample begin in a tensor of 64 bytes or more. */
export function samplePlaces(bytes: number): number[] {
  return Array.from({ length: PARTS }, (_, k) => 4 * Math.floor(((bytes - PART_BYTES) * k) / (4 * (PARTS - 1))));
}

/** Whether all parts of a sample are equal: then nothing is looked for. */
export function isUniform(sample: Uint8Array): boolean {
  return sample.every((byte, at) => byte === sample[at % PART_BYTES]);
}

/** The number of the nearest of some samples of a dtype; undefined where none is near. */
export function nearestOf(dtype: Dtype, sample: Uint8Array, others: readonly Uint8Array[]): number | undefined {
  let nearest: number | undefined;
  let least = FAR;
  others.forEach((other, number) => {
    const bits = distance(dtype, other, sample, least);
    if (bits < least) [nearest, least] = [number, bits];
  });
  return nearest;
}

/** Bits of the differences between the words of two samples, or some number that is not below `limit`. */
function distance(dtype: Dtype, from: Uint8Array, to: Uint8Array, limit: number): number {
  const [before, after] = [wordsOf(from, dtype.wordBits), wordsOf(to, dtype.wordBits)];
  let bits = 0;
  for (let i = 0; i < before.length && bits < limit; i++)
    bits += 32 - Math.clz32(differenceOf(dtype, before[i], after[i]));
  return bits;
}
