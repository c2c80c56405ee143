// `npm run bench [-- CHECKPOINT ...]`: how small, and how fast on one core of this machine. Without arguments: the demo.
//
// Codecs are timed on the matrices of the checkpoint's layers: alone, on one thread, in memory, warmed up. Other
// compressors, in the same run and on the same bytes, say what the numbers mean (peers/cpu.py). Then the commands as a
// user runs them, on all cores, with files.

import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import Table from 'cli-table3';
import { decodeTensor, encodeTensor } from '../spec/index.ts';
import { type Native, native, whyNotNative } from '../src/engine/native.ts';
import { fromRoot } from '../src/files/root.ts';
import { openSafetensors } from '../src/format/safetensors.ts';
import type { Report } from '../src/index.ts';

/** The codec is timed on at most so many bytes of a checkpoint, and each step for at least so long. */
const SAMPLE_BYTES = 24e6;
const SECONDS = 3;
/** Commands are run so many times, and the median counts. */
const COMMAND_ROUNDS = 5;

interface Tensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Of its first byte in the file. */
  readonly position: number;
  readonly data: Uint8Array;
}

/** The first matrices of a checkpoint that are not embeddings. */
async function sampleOf(path: string): Promise<Tensor[]> {
  const { file, header, dataStart } = await openSafetensors(path);
  const tensors: Tensor[] = [];
  let total = 0;
  for (const { name, dtype, shape, start, end } of header.tensors) {
    if (shape.length !== 2 || /embed/i.test(name) || total + end - start > SAMPLE_BYTES) continue;
    const position = dataStart + start;
    tensors.push({ dtype, shape, position, data: await file.read(position, end - start) });
    total += end - start;
  }
  await file.close();
  return tensors;
}

const sizeOf = (parts: readonly Uint8Array[]): number => parts.reduce((sum, { length }) => sum + length, 0);

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Millions of bytes a second: the median of rounds over all inputs, after one that does not count. */
function rate<T>(inputs: readonly T[], bytes: number, work: (input: T, index: number) => void): number {
  const rounds: number[] = [];
  const begin = performance.now();
  while (rounds.length < 4 || performance.now() - begin < 1000 * SECONDS) {
    const from = performance.now();
    inputs.forEach(work);
    rounds.push(bytes / 1e3 / (performance.now() - from));
  }
  return median(rounds.slice(1));
}

interface Timed {
  readonly name: string;
  readonly ratio: number;
  readonly compress: number;
  readonly decompress: number;
}

const PROFILES = ['small', 'fast', 'direct'] as const;
type Profile = (typeof PROFILES)[number];

/** Into memory that is used again, as a program would have it that works on many tensors. */
function timeNative(codec: Native, tensors: readonly Tensor[], bytes: number, profile: Profile): Timed {
  const options = { profile };
  const bounds = tensors.map(({ dtype, shape }) => codec.encodeBound(dtype, shape, options));
  const stream = new Uint8Array(Math.max(...bounds));
  const encode = ({ data, dtype, shape }: Tensor): number => codec.encode(data, dtype, shape, options, stream);
  const streams = tensors.map((tensor) => stream.slice(0, encode(tensor)));
  const decoded = new Uint8Array(Math.max(...tensors.map(({ data }) => data.length)));
  const decode = (from: Uint8Array, index: number): Uint8Array => {
    const to = decoded.subarray(0, tensors[index].data.length);
    codec.decode(from, to);
    return to;
  };
  streams.forEach((each, index) => {
    if (Buffer.compare(decode(each, index), tensors[index].data) !== 0) throw new Error('decoded something else');
  });
  return {
    name: `${profile} (native)`,
    ratio: sizeOf(streams) / bytes,
    compress: rate(tensors, bytes, encode),
    decompress: rate(streams, bytes, decode),
  };
}

function timeReference(tensors: readonly Tensor[], bytes: number, profile: Profile): Timed {
  const encode = ({ data, dtype, shape }: Tensor): Uint8Array => encodeTensor(data, dtype, shape, { profile });
  const streams = tensors.map(encode);
  return {
    name: `${profile} (TypeScript)`,
    ratio: sizeOf(streams) / bytes,
    compress: rate(tensors, bytes, encode),
    decompress: rate(streams, bytes, (stream) => decodeTensor(stream)),
  };
}

function timeGzip(tensors: readonly Tensor[], bytes: number): Timed {
  const zipped = tensors.map(({ data }) => gzipSync(data));
  return {
    name: 'gzip -6 (zlib)',
    ratio: sizeOf(zipped) / bytes,
    compress: rate(tensors, bytes, ({ data }) => gzipSync(data)),
    decompress: rate(zipped, bytes, (data) => gunzipSync(data)),
  };
}

/** What peers/cpu.py measured, and a line for each that it could not measure. */
function timePeers(path: string, tensors: readonly Tensor[]): { timed: Timed[]; problems: string[] } {
  const input = JSON.stringify({
    path,
    tensors: tensors.map(({ position, data }) => [position, data.length]),
    seconds: SECONDS,
  });
  const script = fileURLToPath(fromRoot('bench/peers/cpu.py'));
  const { error, status, stdout, stderr } = spawnSync(process.env.PYTHON ?? 'python3', [script], {
    input,
    encoding: 'utf8',
  });
  if (error || status !== 0) return { timed: [], problems: [`No peers: ${error?.message ?? stderr.trim()}`] };
  const answers = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Timed & { version: string; problem?: string });
  return {
    timed: answers
      .filter(({ problem }) => problem === undefined)
      .map((answer) => ({ ...answer, name: `${answer.name} (${answer.version})` })),
    problems: answers
      .filter(({ problem }) => problem !== undefined)
      .map(({ name, problem }) => `No ${name}: ${problem} (bench/peers/cpu.py says what it needs)`),
  };
}

async function codecTable(path: string): Promise<string> {
  const tensors = await sampleOf(path);
  const bytes = sizeOf(tensors.map(({ data }) => data));
  const table = new Table({
    head: ['one core', 'ratio', 'compress MB/s', 'decompress MB/s'],
    style: { head: [], border: [] },
  });
  const codec = native();
  const timed: Timed[] = [];
  if (codec) for (const profile of PROFILES) timed.push(timeNative(codec, tensors, bytes, profile));
  // The peers are told that words are of BF16.
  const peers = tensors.every(({ dtype }) => dtype === 'BF16') ? timePeers(path, tensors) : undefined;
  timed.push(...(peers?.timed ?? []));
  for (const profile of PROFILES) timed.push(timeReference(tensors, bytes, profile));
  timed.push(timeGzip(tensors, bytes));
  for (const each of timed)
    table.push([each.name, each.ratio.toFixed(4), each.compress.toFixed(1), each.decompress.toFixed(1)]);
  return [`${tensors.length} matrices, ${bytes} bytes`, table.toString(), ...(peers?.problems ?? [])].join('\n');
}

/** What a command reports of itself. Its output is not there before: to remove another one takes time, too. */
function run(command: string, input: string, output: string, ...options: string[]): Report {
  rmSync(output, { force: true });
  const cli = fileURLToPath(new URL('../bin/codecllm.js', import.meta.url));
  const words = [cli, command, input, output, ...options, '--json'];
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Report;
}

function commandTable(path: string, folder: string): string {
  const table = new Table({
    head: ['command', 'ratio', 'engine', 'threads', 'compress MB/s', 'decompress MB/s'],
    style: { head: [], border: [] },
  });
  const compressed = join(folder, 'compressed');
  for (const profile of PROFILES) {
    const made: Report[] = [];
    const back: Report[] = [];
    for (let round = 0; round < COMMAND_ROUNDS; round++) {
      made.push(run('compress', path, compressed, '--profile', profile));
      back.push(run('decompress', compressed, join(folder, 'restored')));
    }
    const rates = [made, back].map((reports) => median(reports.map((report) => report.megabytesPerSecond)).toFixed(1));
    const [{ ratio, engine, threads }] = made;
    table.push([`--profile ${profile}`, ratio.toFixed(4), engine, threads, ...rates]);
  }
  return table.toString();
}

async function main(): Promise<void> {
  const demo = fileURLToPath(fromRoot('demo/model.safetensors'));
  const paths = process.argv.slice(2);
  const folder = await mkdtemp(join(tmpdir(), 'codecllm-bench-'));
  try {
    const processors = cpus();
    if (whyNotNative()) console.log(`No native codec: ${whyNotNative()}`);
    console.log(`${processors[0]?.model.trim()}, ${processors.length} cores, Node ${process.version}`);
    for (const path of paths.length > 0 ? paths : [demo]) {
      console.log(`\n${basename(path)}`);
      console.log(await codecTable(path));
      console.log(commandTable(path, folder));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

await main();
