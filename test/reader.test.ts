// openCheckpoint: one tensor of a checkpoint at a time, compressed or not, by every engine that is here.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkpoint, inDirectory, noise, type TestTensor, weights } from './checkpoint.ts';

// Worker threads run what is built.
const product: typeof import('../src/index.ts') = await import(
  /* @vite-ignore */ new URL('../dist/src/index.js', import.meta.url).href
);

const TENSORS: TestTensor[] = [
  { name: 'large', dtype: 'BF16', shape: [64, 512], data: weights(64 * 512, 1) },
  { name: 'kept', dtype: 'F32', shape: [3], data: noise(12, 2) },
  { name: 'empty', dtype: 'BF16', shape: [0, 4], data: new Uint8Array(0) },
];

/** Calls `use` with the path of a checkpoint, and of what it is compressed to. */
function withFiles(use: (plain: string, compressed: string) => Promise<void>): Promise<void> {
  return inDirectory(async (directory) => {
    const [plain, compressed] = ['plain', 'compressed'].map((name) => join(directory, `${name}.safetensors`));
    writeFileSync(plain, checkpoint(TENSORS));
    await product.compress(plain, compressed, { threads: 1 });
    await use(plain, compressed);
  });
}

describe.each(product.ENCODING_ENGINES)('the engine %s', (engine) => {
  it('decodes no tensor that is larger than allowed', () =>
    withFiles(async (_, compressed) => {
      const opened = await product.openCheckpoint(compressed, { engine, threads: 1, maxBytes: 65535 });
      await expect(opened.read('large')).rejects.toThrow(
        `${compressed}: "large" has 65.5 kB decompressed: more than the 65.5 kB of --max-bytes`,
      );
      expect((await opened.read('kept')).length).toBe(12);
      await opened.close();
    }));

  it('gives each tensor of a checkpoint, compressed or not', () =>
    withFiles(async (...paths) => {
      for (const path of paths) {
        const opened = await product.openCheckpoint(path, { engine, threads: 1 });
        expect(opened.tensors).toEqual(
          TENSORS.map(({ name, dtype, shape, data }) => ({ name, dtype, shape, bytes: data.length })),
        );
        const all = await Promise.all(TENSORS.map(({ name }) => opened.read(name)));
        all.forEach((bytes, number) => {
          expect(Buffer.from(bytes).equals(TENSORS[number].data)).toBe(true);
        });
        await opened.close();
      }
    }));

  it('names the tensor that is not there, or is damaged', () =>
    withFiles(async (_, path) => {
      const file = readFileSync(path);
      // The large tensor's stream is most of it.
      file[file.length >> 1] ^= 1;
      writeFileSync(path, file);
      const opened = await product.openCheckpoint(path, { engine, threads: 1 });
      await expect(opened.read('none')).rejects.toThrow(`${path}: has no tensor "none"`);
      await expect(opened.read('large')).rejects.toThrow(`${path}: damaged at tensor "large": `);
      expect(Buffer.from(await opened.read('kept')).equals(TENSORS[1].data)).toBe(true);
      await opened.close();
    }));
});
