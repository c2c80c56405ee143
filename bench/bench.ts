// `npm run bench [-- CHECKPOINT ...]`: how small, and how fast on one core of this machine. Without arguments: the demo.
//
// The codec is timed alone, on one thread and on data in memory, warmed up; gzip beside it in the same run says how
// fast the machine is. Then the commands as a user runs them, on all cores, with files.

import { mkdtemp, open, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import Table from 'cli-table3';
import { decodeTensor } from '../spec/decode.ts';
import { encodeTensor } from '../spec/encode.ts';
import { compress, decompress, inspect } from '../src/index.ts';
import { native, whyNotNative } from '../src/native.ts';

/** The codec is timed on at most so many bytes of a checkpoint, and for at least so long. */
const SAMPLE_BYTES = 24e6;
const SECONDS = 2;

interface Tensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** The first tensors of a checkpoint that hold more than a few thousand elements. */
async function sampleOf(path: string): Promise<Tensor[]> {
  const [file] = await inspect(path);
  const handle = await open(path);
  try {
    const headerBytes = Buffer.alloc(8);
    await handle.read(headerBytes, 0, 8, 0);
    const header = Buffer.alloc(Number(headerBytes.readBigUInt64LE()));
    await handle.read(header, 0, header.length, 8);
    const offsets = JSON.parse(header.toString()) as Record<string, { data_offsets: [number, number] }>;
    const tensors: Tensor[] = [];
    let total = 0;
    for (const { name, dtype, shape, bytesBefore } of file.tensors) {
      if (bytesBefore < 8192 || bytesBefore > 2 * SAMPLE_BYTES || total > SAMPLE_BYTES) continue;
      const data = new Uint8Array(bytesBefore);
      await handle.read(data, 0, bytesBefore, 8 + header.length + offsets[name].data_offsets[0]);
      tensors.push({ dtype, shape, data });
      total += bytesBefore;
    }
    return tensors;
  } finally {
    await handle.close();
  }
}

/** Millions of bytes a second: the median of rounds over all inputs, after one that does not count. */
function rate<T>(inputs: readonly T[], bytes: number, work: (input: T) => void): number {
  const rounds: number[] = [];
  const begin = performance.now();
  while (rounds.length < 4 || performance.now() - begin < 1000 * SECONDS) {
    const from = performance.now();
    for (const input of inputs) work(input);
    rounds.push(bytes / 1e3 / (performance.now() - from));
  }
  return rounds.slice(1).sort((a, b) => a - b)[Math.floor((rounds.length - 1) / 2)];
}

async function codecTable(path: string): Promise<string> {
  const tensors = await sampleOf(path);
  const bytes = tensors.reduce((sum, { data }) => sum + data.length, 0);
  const table = new Table({
    head: ['one core', 'ratio', 'compress MB/s', 'decompress MB/s'],
    style: { head: [], border: [] },
  });
  const codec = native();
  const codecs = [
    ...(codec ? [{ name: 'native', encode: codec.encode, decode: codec.decode }] : []),
    { name: 'TypeScript', encode: encodeTensor, decode: (stream: Uint8Array) => decodeTensor(stream) },
  ];
  for (const { name, encode, decode } of codecs)
    for (const profile of ['small', 'fast'] as const) {
      const streams = tensors.map(({ data, dtype, shape }) => encode(data, dtype, shape, { profile }));
      const ratio = streams.reduce((sum, { length }) => sum + length, 0) / bytes;
      const compressing = rate(tensors, bytes, ({ data, dtype, shape }) => encode(data, dtype, shape, { profile }));
      const decompressing = rate(streams, bytes, (stream) => decode(stream));
      table.push([`${profile} (${name})`, ratio.toFixed(4), compressing.toFixed(1), decompressing.toFixed(1)]);
    }
  const zipped = tensors.map(({ data }) => gzipSync(data));
  const ratio = zipped.reduce((sum, { length }) => sum + length, 0) / bytes;
  const deflate = rate(tensors, bytes, ({ data }) => gzipSync(data));
  const inflate = rate(zipped, bytes, (data) => gunzipSync(data));
  table.push(['gzip -6 (zlib)', ratio.toFixed(4), deflate.toFixed(1), inflate.toFixed(1)]);
  return table.toString();
}

async function commandTable(path: string, folder: string): Promise<string> {
  const table = new Table({
    head: ['command', 'ratio', 'engine', 'threads', 'compress MB/s', 'decompress MB/s'],
    style: { head: [], border: [] },
  });
  for (const profile of ['small', 'fast'] as const) {
    const made = await compress(path, join(folder, 'compressed'), { profile, force: true });
    const back = await decompress(join(folder, 'compressed'), join(folder, 'restored'), { force: true });
    const rates = [made.megabytesPerSecond, back.megabytesPerSecond].map((value) => value.toFixed(1));
    table.push([`--profile ${profile}`, made.ratio.toFixed(4), made.engine, made.threads, ...rates]);
  }
  return table.toString();
}

async function main(): Promise<void> {
  const demo = fileURLToPath(new URL('../demo/model.safetensors', import.meta.url.replace('/dist/bench/', '/bench/')));
  const paths = process.argv.slice(2);
  const folder = await mkdtemp(join(tmpdir(), 'codecllm-bench-'));
  try {
    const processors = cpus();
    if (whyNotNative()) console.log(`No native codec: ${whyNotNative()}`);
    console.log(`${processors[0]?.model.trim()}, ${processors.length} cores, Node ${process.version}`);
    for (const path of paths.length > 0 ? paths : [demo]) {
      console.log(`\n${basename(path)}`);
      console.log(await codecTable(path));
      console.log(await commandTable(path, folder));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

await main();
