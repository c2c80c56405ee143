// FORMAT.md, A.13: small is never larger than another profile. In tensors of 2^17 words and more, like weights and nothing
// like them: of few values, of steps, of noise in some bits, of columns that differ in scale or go in pairs, side by side
// and mixed. By the native codec, which writes what the reference does, and takes a hundredth of the time.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Native } from '../cuda/node/addon.d.ts';
import { gaussian, generator } from '../golden/patterns.ts';
import { PROFILES } from '../spec/encoder/options.ts';
import { DTYPES } from '../spec/index.ts';
import { SEED } from './seed.ts';

const ADDON =
  process.env.CODECLLM_ADDON ?? fileURLToPath(new URL('../cuda/build/Release/codecllm.node', import.meta.url));

/** The word at row i, column j. */
type WordAt = (i: number, j: number) => number;

const KINDS = ['few', 'noise', 'constant', 'gaussian', 'scaled', 'paired', 'steps', 'random', 'binades'] as const;

/** Words of a kind. @param floats whether they are floats of at least 16 bits, which are cut out of an F32 */
function wordsOf(kind: (typeof KINDS)[number], bits: number, floats: boolean, random: () => number): WordAt {
  const word = (): number => random() >>> (32 - bits);
  const number = (value: number): number => {
    if (!floats) return Math.max(-128, Math.min(127, Math.round(16 * value))) & 255;
    return new Uint32Array(Float32Array.of(value).buffer)[0] >>> (32 - bits);
  };
  const some = word();
  switch (kind) {
    case 'few': {
      const values = Array.from({ length: [2, 3, 6, 16, 32, 130, 250][random() % 7] }, word);
      const isSkewed = random() % 2 === 0;
      const one = (): number => random() % values.length;
      return () => values[isSkewed ? Math.min(one(), one(), one()) : one()];
    }
    case 'noise': {
      const count = 1 + (random() % bits);
      const mask = (2 ** count - 1) * 2 ** (random() % (bits - count + 1));
      return () => ((some & ~mask) | (word() & mask)) >>> 0;
    }
    case 'constant':
      return () => some;
    case 'steps': {
      const [down, right, wide] = [1 + (random() % 9), random() % 9, 1 + (random() % 4)];
      const unit = 2 ** (random() % (bits - 7));
      return (i, j) => (some + (down * i + right * j + (random() % wide)) * unit) % 2 ** bits;
    }
    case 'gaussian':
      return () => number(gaussian(random));
    case 'scaled': {
      const scales = Array.from({ length: 1 + (random() % 128) }, () => Math.exp(gaussian(random)));
      return (_, j) => number(scales[j % scales.length] * gaussian(random));
    }
    case 'paired': {
      const spread = (random() % 8) / 10;
      let left = 0;
      return (_, j) => {
        left = j % 2 === 0 ? gaussian(random) : left * (1 + spread * gaussian(random));
        return number(left);
      };
    }
    case 'binades': {
      const count = 1 + (random() % 40);
      return () => number(2 ** -(random() % count) * (random() % 2 === 0 ? 1 : -1));
    }
    default:
      return word;
  }
}

const MIXES = ['rows', 'columns', 'tiles', 'parts', 'strewn'] as const;

const structured = fc
  .record({
    dtype: fc.constantFrom('BF16', 'BF16', 'F16', 'F32', 'I8', 'U8'),
    columns: fc.constantFrom(128, 129, 200, 256, 512, 1000),
    kinds: fc.array(fc.constantFrom(...KINDS), { minLength: 1, maxLength: 3 }),
    mix: fc.constantFrom(...MIXES),
    period: fc.integer({ min: 1, max: 5 }),
    seed: fc.nat(),
  })
  .map(({ dtype, columns, kinds, mix, period, seed }) => {
    const random = generator(seed);
    const bits = DTYPES.find(({ name }) => name === dtype)?.wordBits ?? 8;
    const sources = kinds.map((kind) => wordsOf(kind, bits, bits > 8, random));
    const rows = Math.ceil((2 ** 17 + (random() % 2 ** 17)) / columns);
    const sourceAt: Record<(typeof MIXES)[number], WordAt> = {
      rows: (i) => Math.floor(i / period),
      columns: (_, j) => Math.floor(j / period),
      tiles: (i, j) => 5 * Math.floor(i / 128) + 3 * Math.floor(j / 128),
      parts: (i) => Math.floor((i * sources.length) / rows),
      strewn: () => (random() % (40 * period) === 0 ? random() : 0),
    };
    const words = new { 8: Uint8Array, 16: Uint16Array, 32: Uint32Array }[bits as 8 | 16 | 32](rows * columns);
    for (let i = 0, at = 0; i < rows; i++)
      for (let j = 0; j < columns; j++, at++) words[at] = sources[sourceAt[mix](i, j) % sources.length](i, j);
    const what = `${dtype} [${rows}, ${columns}] of ${kinds} by ${mix}, ${period}, ${seed}`;
    return { what, dtype, shape: [rows, columns], data: new Uint8Array(words.buffer) };
  });

test.skipIf(!existsSync(ADDON))('small is never larger than another profile', () => {
  const native: Native = createRequire(import.meta.url)(ADDON);
  const shortest = { small: 0, fast: 0, direct: 0 };
  for (const { what, dtype, shape, data } of fc.sample(structured, { numRuns: 120, seed: SEED })) {
    const room = new Uint8Array(native.encodeBound(dtype, shape));
    const [small, fast, direct] = PROFILES.map((profile) => native.encode(data, dtype, shape, { profile }, room));
    expect(small, what).toBeLessThanOrEqual(Math.min(fast, direct));
    if (small < Math.min(fast, direct)) shortest.small++;
    else shortest[fast <= direct ? 'fast' : 'direct']++;
  }
  // Each of them is tried.
  for (const [profile, count] of Object.entries(shortest)) expect(count, profile).toBeGreaterThan(0);
});
