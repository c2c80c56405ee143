// `npm run demo`: the whole job on a small real checkpoint. Compress, verify, restore, compare.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromRoot } from '../src/files/root.ts';
import { type CompressOptions, compress, decompress, verify } from '../src/index.ts';

const checkpoint = fileURLToPath(fromRoot('demo/model.safetensors'));

const number = (value: number): string => value.toLocaleString('en-US');

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'codecllm-demo-'));
  try {
    console.log(
      'demo/model.safetensors: a byte-level transformer of 1,016,960 BF16 weights, trained on Alice in Wonderland\n',
    );
    for (const profile of ['small', 'fast'] as const) await show(folder, profile);
    console.log('\nYour own checkpoint: npx codecllm compress model.safetensors');
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Runs the job with one profile and says what came of it. @throws Error where the checkpoint does not come back */
async function show(folder: string, profile: CompressOptions['profile']): Promise<void> {
  const compressed = join(folder, `${profile}.codecllm.safetensors`);
  const restored = join(folder, `${profile}.safetensors`);
  const made = await compress(checkpoint, compressed, { profile });
  const verified = await verify(compressed);
  const back = await decompress(compressed, restored);
  if (!(await readFile(checkpoint)).equals(await readFile(restored))) throw new Error(`${profile}: NOT restored`);
  const percent = (100 * made.ratio).toFixed(2);
  console.log(`--profile ${profile}`);
  console.log(
    `  compress    ${number(made.bytesBefore)} -> ${number(made.bytesAfter)} bytes: ${percent} %, in ${made.seconds.toFixed(2)} s`,
  );
  console.log(
    `  verify      ${made.tensorsCompressed} streams decoded, checks and SHA-256 agree, in ${verified.seconds.toFixed(2)} s`,
  );
  console.log(`  decompress  ${number(back.bytesBefore)} bytes, in ${back.seconds.toFixed(2)} s`);
  console.log('  compare     identical, byte for byte');
}

await main();
