// One bit of a compressed checkpoint is other: anywhere in its header, in a stream, or in a tensor that is kept.
//
// What must happen: who opens the file and reads tensors gets a refusal, or what was there before, names and metadata
// included, and never anything else; `verify` refuses all of them. (Not found are forgers, who write checks that fit.)

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkpoint, noise, randomSource, weights } from '../test/checkpoint.ts';
import type { Product } from './attack.ts';

const FLIPS = 150;

export async function attack(directory: string, product: Product): Promise<void> {
  const [original, good, bad] = ['original', 'good', 'bad'].map((name) => join(directory, name));
  const tensors = [
    { name: 'layer.weight', dtype: 'BF16', shape: [64, 64], data: weights(4096, 1) },
    { name: 'layer.bias', dtype: 'F32', shape: [64], data: noise(256, 2) },
    { name: 'codes', dtype: 'U8', shape: [5000], data: noise(5000, 3) },
  ];
  writeFileSync(original, checkpoint(tensors, { metadata: new Map([['format', 'pt']]) }));
  await product.compress(original, good);
  const bytes = readFileSync(good);
  const before = await everythingIn(good, product);
  const random = randomSource(5);
  for (let n = 0; n < FLIPS; n++) {
    // A third in the header, which is the shortest part.
    const at = Math.floor(random() * (n % 3 === 0 ? 8 + Number(bytes.readBigUInt64LE()) : bytes.length));
    const flipped = Buffer.from(bytes);
    flipped[at] ^= 1 << (n & 7);
    writeFileSync(bad, flipped);
    const read = await everythingIn(bad, product).catch((error) => {
      assert(error instanceof product.FileError, `byte ${at}: ${error}`);
    });
    if (read !== undefined) assert.deepEqual(read, before, `byte ${at}, bit ${n & 7}`);
    await assert.rejects(product.verify(bad, { threads: 1 }), product.FileError, `byte ${at}, bit ${n & 7}`);
  }
}

async function everythingIn(path: string, { openCheckpoint }: Product): Promise<unknown[]> {
  const opened = await openCheckpoint(path, { threads: 1 });
  try {
    const found: unknown[] = [];
    for (const tensor of opened.tensors) found.push([tensor, await opened.read(tensor.name)]);
    return found;
  } finally {
    await opened.close();
  }
}
