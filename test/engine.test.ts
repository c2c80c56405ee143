// The product gives the same bytes with either codec.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
// The compiled product: its threads run compiled code.
import { compress, decompress, doctor } from '../dist/src/index.js';
import { checkpoint, inDirectory, noise, weights } from './checkpoint.ts';

const demo = fileURLToPath(new URL('../demo/model.safetensors', import.meta.url));
const native = doctor().find(({ name }) => name === 'native');

/** Compresses with both engines, and restores what each wrote with the other. @returns the size of what both wrote */
async function withBoth(checkpoint: string, profile: 'small' | 'fast'): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'codecllm-engine-'));
  try {
    const [ts, fast] = await Promise.all(
      (['ts', 'native'] as const).map(async (engine) => {
        const output = join(folder, engine);
        await compress(checkpoint, output, { profile, engine });
        const restored = `${output}.restored`;
        await decompress(output, restored, { engine: engine === 'ts' ? 'native' : 'ts' });
        expect((await readFile(restored)).equals(await readFile(checkpoint))).toBe(true);
        return readFile(output);
      }),
    );
    expect(fast.equals(ts)).toBe(true);
    return ts.length;
  } finally {
    await rm(folder, { recursive: true });
  }
}

test.skipIf(!native?.usable)(`the demo's checkpoint, with both engines (native: ${native?.detail})`, async () => {
  const { size } = await stat(demo);
  // On real weights both profiles save a third.
  expect((await withBoth(demo, 'small')) / size).toBeLessThan(0.661);
  expect((await withBoth(demo, 'fast')) / size).toBeLessThan(0.665);
});

test.skipIf(!native?.usable)('tensors of several slices, which the TypeScript engine takes as a whole', async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, 'large');
    const tensors = [
      { name: 'small', dtype: 'BF16', shape: [100, 100], data: weights(1e4, 1) },
      { name: 'tall', dtype: 'BF16', shape: [2303, 500], data: weights(2303 * 500, 2) },
      { name: 'noise', dtype: 'U8', shape: [2500, 1000], data: noise(25e5, 3) },
      { name: 'other', dtype: 'X', shape: [25e5], data: noise(25e5, 4) },
    ];
    await writeFile(path, checkpoint(tensors));
    expect(await withBoth(path, 'small')).toBeLessThan(0.9 * (await stat(path)).size);
  });
});
