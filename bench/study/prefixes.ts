// What the first bits of BF16 cost, how far the weights are that they give, and what a language model loses by it.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { wordsOf } from '../../spec/decoder/2-matrix.ts';
import { runPython } from '../python.ts';
import { derive, MAIN, valuesOf } from './derived.ts';
import { lengthIn, paid } from './lengths.ts';
import type { Sample } from './samples.ts';
import { tableOf } from './table.ts';

/** From sign and seven bits of the exponent to all. */
const BITS = Array.from({ length: 9 }, (_, k) => k + 8);

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

export interface Prefix {
  readonly bits: number;
  /** Bits a weight, coded. */
  readonly coded: number;
  readonly error: number;
  /** In bits a token; undefined where the checkpoint is not a language model's, or nothing can run it. */
  readonly loss: number | undefined;
}

/** The loss with the first bits, if the path is a directory of a model; and why not. */
function lossesOf(path: string): { losses: readonly number[]; problem?: string } {
  if (!existsSync(join(path, 'config.json'))) return { losses: [], problem: 'not a directory of a language model' };
  const { printed, problem } = runPython('bench/study/loss.py', { path, bits: BITS });
  return printed === undefined ? { losses: [], problem } : { losses: JSON.parse(printed) };
}

/** Of the layers, in BF16, of a checkpoint; none if it has no layers. */
export function prefixesOf(path: string, samples: readonly Sample[]): { prefixes: Prefix[]; problem?: string } {
  const layers = samples.flatMap((sample) => (sample.kind === 'layers' ? (derive(sample, MAIN[0]) ?? []) : []));
  if (layers.length === 0) return { prefixes: [] };
  const weights = layers.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  const { losses, problem } = lossesOf(path);
  const prefixes = BITS.map((bits, k) => ({
    bits,
    coded: layers.reduce((sum, sample) => sum + prefixBits(sample, bits), 0) / weights,
    error: errorOf(layers, bits),
    loss: losses[k],
  }));
  return { prefixes, problem };
}

export function prefixTable(prefixes: readonly Prefix[], problem: string | undefined): string {
  const rows = prefixes.map(({ bits, coded, error, loss }) => [
    `${bits}`,
    coded.toFixed(3),
    (coded + 16 - bits).toFixed(3),
    `${(100 * error).toFixed(2)} %`,
    loss?.toFixed(4) ?? `not measured: ${problem}`,
  ]);
  return tableOf(
    ['first bits of BF16', 'bits a weight, one table', 'with the rest as it is', 'error', 'loss, bits a token'],
    rows,
  );
}
