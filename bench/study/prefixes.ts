// What the first bits of BF16 cost, and how far the weights are that they give.

import { wordsOf } from '../../spec/decoder/2-matrix.ts';
import { valuesOf } from './derived.ts';
import { lengthIn, paid } from './lengths.ts';
import type { Sample } from './samples.ts';

/** Bits of the first `bits` bits of each word, one table for all. */
export function prefixBits({ data, share }: Sample, bits: number): number {
  return lengthIn(
    paid(share),
    Uint16Array.from(wordsOf(data, 16), (word) => word >>> (16 - bits)),
  );
}

/** The word with its first bits alone, those that are missing as a one and zeros: the middle of what it may be. */
export function truncated(word: number, bits: number): number {
  const missing = 16 - bits;
  return missing === 0 ? word : ((word >>> missing) << missing) | (1 << (missing - 1));
}

/** Root of the mean square of what is wrong, as a share of that of the weights. */
export function errorOf(samples: readonly Sample[], bits: number): number {
  let [wrong, all] = [0, 0];
  for (const sample of samples) {
    const words = Uint16Array.from(wordsOf(sample.data, 16), (word) => truncated(word, bits));
    const coarse = valuesOf({ ...sample, data: new Uint8Array(words.buffer) }) as Float32Array;
    const fine = valuesOf(sample) as Float32Array;
    for (let at = 0; at < fine.length; at++) {
      wrong += (fine[at] - coarse[at]) ** 2;
      all += fine[at] ** 2;
    }
  }
  return Math.sqrt(wrong / all);
}
