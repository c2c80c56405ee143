// Another program writes to a checkpoint while it is compressed, and puts back the time at which it was written.
//
// What must happen: the run fails and says so, and leaves nothing behind.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkpoint, startCodecllm, weights, writing } from '../test/checkpoint.ts';

export async function attack(directory: string): Promise<void> {
  const [input, output] = ['a.safetensors', 'out'].map((name) => join(directory, name));
  const matrix = (name: string, seed: number) => {
    return { name, dtype: 'BF16', shape: [1000, 4000], data: weights(4_000_000, seed) };
  };
  const bytes = checkpoint([matrix('a', 1), matrix('b', 2)]);
  writeFileSync(input, bytes);
  const time = 1_600_000_000;
  utimesSync(input, time, time);
  const running = startCodecllm('compress', input, output);
  const ended = once(running, 'exit');
  await writing(directory, running);
  // A weight at the end, which has not been read yet, or has; nobody can know.
  writeFileSync(input, bytes.with(-1, bytes[bytes.length - 1] ^ 1));
  utimesSync(input, time, time);
  assert.equal(statSync(input).mtimeMs, 1000 * time);
  assert.deepEqual(await ended, [1, null]);
  assert.deepEqual(readdirSync(directory), ['a.safetensors']);
}
