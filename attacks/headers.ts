// Headers that are made to confuse a reader: nested a hundred thousand deep, numbers of a million digits, lengths beyond
// the file, tensors that overlap, lie in each other, leave a hole or reach behind the end, names that JavaScript has its own
// use for.
//
// What must happen: a refusal in one short line, in less than a second each; names are names.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rawFile } from '../test/checkpoint.ts';
import type { Product } from './attack.ts';

const tensor = (start: number | string, end: number | string): string =>
  `{"dtype":"U8","shape":[${Number(end) - Number(start)}],"data_offsets":[${start},${end}]}`;

const HEADERS: readonly string[] = [
  `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
  `{"a":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`,
  `{"a":{"dtype":"U8","shape":[${'9'.repeat(1_000_000)}],"data_offsets":[0,4]}}`,
  `{"a":{"dtype":"U8","shape":[${'0,'.repeat(100_000)}1e400],"data_offsets":[0,0]}}`,
  `{"a":${tensor(0, 3)},"b":${tensor(2, 4)}}`,
  `{"a":${tensor(0, 4)},"b":${tensor(1, 3)}}`,
  `{"a":${tensor(0, 2)},"b":${tensor(3, 4)}}`,
  `{"a":${tensor(0, 2 ** 53 - 1)}}`,
  `{"a":${tensor(0, 4)},"a":${tensor(0, 4)}}`,
  `{"__proto__":{"dtype":"U8"},"a":${tensor(0, 4)}}`,
  `{"__metadata__":{"codecllm.version":"1","codecllm.streams":"999999999","codecllm.sha256":"${'0'.repeat(64)}","codecllm.header":"compact"},"a":${tensor(0, 4)}}`,
];

export async function attack(directory: string, product: Product): Promise<void> {
  const path = join(directory, 'a');
  const refused = (error: Error): boolean =>
    error instanceof product.FileError && /^[^\n]{1,400}$/.test(error.message.replace(path, ''));
  const refuses = async (file: Uint8Array): Promise<void> => {
    writeFileSync(path, file);
    const begin = performance.now();
    await assert.rejects(product.inspect(path), refused);
    assert(performance.now() - begin < 1000);
  };
  for (const header of HEADERS) await refuses(rawFile(header, new Uint8Array(4)));
  const huge = new Uint8Array(16).fill(255);
  await refuses(huge);
  huge.set([0, 0, 0, 5, 0, 0, 0, 0]);
  await refuses(huge);
  writeFileSync(path, rawFile(`{"__proto__":${tensor(0, 4)},"constructor":${tensor(4, 4)}}`, new Uint8Array(4)));
  const [{ tensors }] = await product.inspect(path);
  assert.deepEqual(
    tensors.map(({ name }) => name),
    ['__proto__', 'constructor'],
  );
}
