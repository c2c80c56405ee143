// A disk that is full, or a file that may not become so large.
//
// What must happen: one line that names the output and says why; nothing is left, and what was under the name stays.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CLI, checkpoint, weights } from '../test/checkpoint.ts';
import type { IsPossible, Product } from './attack.ts';

/** Windows has no such limit. */
export const isPossible: IsPossible = () => process.platform !== 'win32';

export async function attack(directory: string, product: Product): Promise<void> {
  const [original, compressed, output] = ['a', 'b', 'c'].map((name) => join(directory, name));
  writeFileSync(original, checkpoint([{ name: 'w', dtype: 'BF16', shape: [500, 4000], data: weights(2_000_000, 1) }]));
  await product.compress(original, compressed);
  writeFileSync(output, 'what was there before');
  for (const [command, input] of [
    ['compress', original],
    ['decompress', compressed],
  ]) {
    // The shell's limit is in blocks of 512 or 1024 bytes.
    const line = 'ulimit -f 1000 && exec "$@"';
    const args = ['-c', line, 'sh', process.execPath, CLI, command, input, output, '--force'];
    const { status, stdout, stderr } = spawnSync('sh', args, { encoding: 'utf8' });
    assert.deepEqual(
      { status, stdout, stderr },
      { status: 1, stdout: '', stderr: `codecllm: ${output}: file too large\n` },
    );
    assert.equal(readFileSync(output, 'utf8'), 'what was there before');
  }
  assert.deepEqual(readdirSync(directory).sort(), ['a', 'b', 'c']);
}
