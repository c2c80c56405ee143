// A directory is replaced while others look at it.
//
// What must happen, on Linux with the native codec: the old one and the new one are exchanged at once, so that there never
// is nothing under the name. (Elsewhere the old one steps aside first.)

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readdirSync, statSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { checkpoint, startCodecllm, weights } from '../test/checkpoint.ts';
import type { IsPossible, Product } from './attack.ts';
import { hasNative } from './run.ts';

export const isPossible: IsPossible = (product) => process.platform === 'linux' && hasNative(product);

export async function attack(directory: string, product: Product): Promise<void> {
  const [model, output] = ['model', 'out'].map((name) => join(directory, name));
  mkdirSync(model);
  const file = checkpoint([{ name: 'w', dtype: 'BF16', shape: [200, 130], data: weights(26_000, 1) }]);
  writeFileSync(join(model, 'a.safetensors'), file);
  await product.compress(model, output);
  const before = statSync(output).ino;
  const seen = new Set<string | null>();
  const watcher = watch(directory, (_, name) => seen.add(name));
  assert.deepEqual(await once(startCodecllm('compress', model, output, '--force'), 'exit'), [0, null]);
  await setTimeout(100);
  watcher.close();
  assert.notEqual(statSync(output).ino, before);
  // Nothing stepped aside.
  const names = [...seen].map((name) => name?.replace(/tmp-.*/, 'tmp'));
  assert.deepEqual(names.sort(), ['.out.tmp', 'out']);
  assert.deepEqual(readdirSync(directory).sort(), ['model', 'out']);
}
