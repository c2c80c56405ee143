// A small file declares a large checkpoint: 1.6 MB that say that they are 6.4 GB.
//
// What must happen: it is refused in one line that names tensor and sizes, before anything is written, alone and among
// others; a limit that is given holds; what it says of itself is shown without delay.

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bomb, checkpoint, noise, weights } from '../test/checkpoint.ts';
import { fails, succeeds } from './run.ts';

export async function attack(directory: string): Promise<void> {
  const [file, out] = [join(directory, 'bomb.codecllm.safetensors'), join(directory, 'out')];
  writeFileSync(file, bomb());
  const refusal = `codecllm: ${file}: "zeros" has 6.40 GB decompressed: more than `;
  const message = fails('decompress', file, out);
  assert.equal(message.slice(0, refusal.length), refusal);
  // Where less is free, that is what is said.
  assert.match(
    message.slice(refusal.length),
    /^(100 times what they take now|the [\d.]+ \w+ that are free on that disk); --max-bytes sets another limit\n$/,
  );
  assert.equal(fails('decompress', file, out, '--max-bytes', '6gb'), `${refusal}the 6.00 GB of --max-bytes\n`);
  assert.equal(fails('verify', file, '--max-bytes', '800M'), `${refusal}the 800 MB of --max-bytes\n`);
  const begin = performance.now();
  assert(succeeds('inspect', file).includes('6400000000'));
  assert(performance.now() - begin < 10_000);
  assert.deepEqual(readdirSync(directory), ['bomb.codecllm.safetensors']);
  amongOthers(join(directory, 'others'));
}

function amongOthers(directory: string): void {
  const [model, compressed, restored] = ['model', 'compressed', 'restored'].map((name) => join(directory, name));
  mkdirSync(model, { recursive: true });
  const tensors = [
    { name: 'w', dtype: 'BF16', shape: [200, 130], data: weights(26_000, 1) },
    { name: 'b', dtype: 'F32', shape: [5], data: noise(20, 9) },
  ];
  const original = checkpoint(tensors);
  writeFileSync(join(model, 'a.safetensors'), original);
  succeeds('compress', model, compressed);
  for (const command of [
    ['decompress', compressed, restored],
    ['verify', compressed],
  ]) {
    const message = fails(...command, '--max-bytes', '26000');
    assert(
      message.includes('"w" has 52.0 kB decompressed, all of them 52.0 kB: more than the 26.0 kB of --max'),
      message,
    );
  }
  succeeds('decompress', compressed, restored, '--max-bytes', '53k');
  assert(readFileSync(join(restored, 'a.safetensors')).equals(original));
}
