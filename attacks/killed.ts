// A process is killed (SIGKILL) while it replaces a directory, at any moment; again and again, over what is left.
//
// What must happen: under the name there is always a whole directory that verifies, the old one or the new one, and the
// originals are as they were. What has no name yet may be left, and a later run says so.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { checkpoint, randomSource, startCodecllm, weights } from '../test/checkpoint.ts';
import type { Product } from './attack.ts';

const KILLS = 8;
const LONGEST_MS = 800;

export async function attack(directory: string, product: Product): Promise<void> {
  const [model, out] = ['model', 'out'].map((name) => join(directory, name));
  mkdirSync(model);
  const file = checkpoint([{ name: 'w', dtype: 'BF16', shape: [500, 400], data: weights(200_000, 1) }]);
  const names = ['a', 'b', 'c'].map((name) => `${name}.safetensors`);
  for (const name of names) writeFileSync(join(model, name), file);
  await product.compress(model, out);
  const random = randomSource(2);
  for (let n = 0; n < KILLS; n++) {
    const running = startCodecllm('compress', model, out, '--force', '--profile', n % 2 === 0 ? 'fast' : 'small');
    const ended = once(running, 'exit');
    await setTimeout(random() * LONGEST_MS);
    running.kill('SIGKILL');
    await ended;
    const report = await product.verify(out);
    assert.equal(report.files.length, names.length);
    for (const name of names) assert(readFileSync(join(model, name)).equals(file));
  }
}
