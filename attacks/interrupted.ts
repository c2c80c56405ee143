// A process is stopped while it replaces a file, by each signal that people and systems stop processes with, and killed.
//
// What must happen: under the name is what was there before, and the original is as it was; after a signal nothing else is
// left, and the exit code says which.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkpoint, startCodecllm, weights, writing } from '../test/checkpoint.ts';

const SIGNALS = [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGKILL', null],
] as const;

export async function attack(directory: string): Promise<void> {
  const matrix = (name: string, seed: number) => {
    return { name, dtype: 'BF16', shape: [1000, 4000], data: weights(4_000_000, seed) };
  };
  const bytes = checkpoint([matrix('a', 1), matrix('b', 2)]);
  for (const [signal, code] of SIGNALS) {
    const folder = join(directory, signal);
    mkdirSync(folder);
    const [input, output] = ['large.safetensors', 'out'].map((name) => join(folder, name));
    writeFileSync(input, bytes);
    writeFileSync(output, 'what was there before');
    const running = startCodecllm('compress', input, output, '--force');
    const ended = once(running, 'exit');
    await writing(folder, running);
    running.kill(signal);
    assert.deepEqual(await ended, code === null ? [null, signal] : [code, null]);
    assert(readFileSync(input).equals(bytes));
    assert.equal(readFileSync(output, 'utf8'), 'what was there before');
    const left = readdirSync(folder).filter((name) => name !== 'large.safetensors' && name !== 'out');
    if (code !== null) assert.deepEqual(left, []);
  }
}
