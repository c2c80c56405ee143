// Names of files and folders that are as long as the system allows, so that nothing can be added to them.
//
// What must happen: what they name is written and read like all else.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkpoint, weights } from '../test/checkpoint.ts';
import { succeeds } from './run.ts';

export async function attack(directory: string): Promise<void> {
  const path = (name: string): string => join(directory, name);
  // 255 bytes, of characters that have two.
  const longest = `${'ä'.repeat(120)}xyz.safetensors`;
  assert.equal(Buffer.byteLength(longest), 255);
  const original = checkpoint([{ name: 'w', dtype: 'BF16', shape: [200, 130], data: weights(26_000, 1) }]);
  writeFileSync(path('a'), original);
  succeeds('compress', path('a'), path(longest));
  succeeds('decompress', path(longest), path('b'.repeat(242)));
  assert(readFileSync(path('b'.repeat(242))).equals(original));
  mkdirSync(path('model'));
  copyFileSync(path('a'), join(path('model'), 'a.safetensors'));
  succeeds('compress', path('model'), path('c'.repeat(255)));
  assert.equal(readdirSync(directory).length, 5);
}
