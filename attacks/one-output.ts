// Four processes write the same new output at the same time, a file and then a directory.
//
// What must happen: one of them does; the others fail, and leave nothing behind.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkpoint, startCodecllm, weights } from '../test/checkpoint.ts';
import type { Product } from './attack.ts';

export async function attack(directory: string, product: Product): Promise<void> {
  const model = join(directory, 'model');
  mkdirSync(model);
  const file = checkpoint([{ name: 'w', dtype: 'BF16', shape: [200, 130], data: weights(26_000, 1) }]);
  writeFileSync(join(model, 'a.safetensors'), file);
  for (const [input, name] of [
    [join(model, 'a.safetensors'), 'file'],
    [model, 'folder'],
  ]) {
    const output = join(directory, name);
    const ends = [1, 2, 3, 4].map(() => once(startCodecllm('compress', input, output), 'exit'));
    const codes = (await Promise.all(ends)).map(([code]) => code);
    assert.deepEqual(codes.sort(), [0, 1, 1, 1]);
    await product.verify(output);
  }
  assert.deepEqual(readdirSync(directory).sort(), ['file', 'folder', 'model']);
}
