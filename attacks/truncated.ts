// A download that stopped: a compressed checkpoint ends anywhere, or goes on with bytes of something else.
//
// What must happen: `verify`, `inspect` and `decompress` refuse it in one line that names the file, and no output is there.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkpoint, noise, randomSource, weights } from '../test/checkpoint.ts';
import type { Product } from './attack.ts';

export async function attack(directory: string, product: Product): Promise<void> {
  const [original, good, bad, out] = ['original', 'good', 'bad', 'out'].map((name) => join(directory, name));
  const tensors = [
    { name: 'w', dtype: 'BF16', shape: [100, 130], data: weights(13_000, 1) },
    { name: 'b', dtype: 'U8', shape: [99], data: noise(99, 2) },
  ];
  writeFileSync(original, checkpoint(tensors));
  await product.compress(original, good);
  const bytes = readFileSync(good);
  const random = randomSource(3);
  const lengths = Array.from({ length: 60 }, () => Math.floor(random() * bytes.length));
  const files = [0, 7, 8, 9, bytes.length - 1, ...lengths].map((length) => bytes.subarray(0, length));
  for (const file of [...files, Buffer.concat([bytes, bytes]), Buffer.concat([bytes, Buffer.of(0)])]) {
    writeFileSync(bad, file);
    const refused = (error: Error): boolean =>
      error instanceof product.FileError && error.message.startsWith(`${bad}: `) && !error.message.includes('\n');
    await assert.rejects(product.inspect(bad), refused);
    await assert.rejects(product.verify(bad), refused);
    await assert.rejects(product.decompress(bad, out), refused);
    assert(!existsSync(out));
  }
}
