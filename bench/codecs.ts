// The codec and others on the matrices of a checkpoint's layers: how small, and how fast on one thread, in memory.

import { gunzipSync, gzipSync } from 'node:zlib';
import { decodeTensor, encodeTensor } from '../spec/index.ts';
import { type Native, native } from '../src/engine/native.ts';
import { openSafetensors } from '../src/format/safetensors.ts';
import { runPython } from './python.ts';

/** At most so many bytes of a checkpoint, each step for at least so long. */
const SAMPLE_BYTES = 24e6;
const SECONDS = 3;

interface Tensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Of its first byte in the file. */
  readonly position: number;
  readonly data: Uint8Array;
}

/** The first matrices of a checkpoint that are not embeddings; the first rows of its first one where all are. */
async function sampleOf(path: string): Promise<Tensor[]> {
  const { file, header, dataStart } = await openSafetensors(path);
  const matrices = header.tensors.filter(({ shape }) => shape.length === 2);
  const layers = matrices.filter(({ name }) => !/embed/i.test(name));
  const tensors: Tensor[] = [];
  let total = 0;
  for (const { dtype, shape, start, end } of layers.length > 0 ? layers : matrices.slice(0, 1)) {
    const rowBytes = (end - start) / shape[0];
    const rows = layers.length > 0 ? shape[0] : Math.min(shape[0], Math.floor(SAMPLE_BYTES / rowBytes));
    if (total + rows * rowBytes > SAMPLE_BYTES) continue;
    const position = dataStart + start;
    tensors.push({ dtype, shape: [rows, shape[1]], position, data: await file.read(position, rows * rowBytes) });
    total += rows * rowBytes;
  }
  await file.close();
  return tensors;
}

const sizeOf = (parts: readonly Uint8Array[]): number => parts.reduce((sum, { length }) => sum + length, 0);

export const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Milliseconds of a processor that this process has had: what others do on the machine does not count. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e3;
}

/** Millions of bytes a second of a processor: the median of rounds over all inputs, after one that does not count. */
function rate<T>(inputs: readonly T[], bytes: number, work: (input: T, index: number) => void): number {
  const rounds: number[] = [];
  const begin = performance.now();
  while (rounds.length < 4 || performance.now() - begin < 1000 * SECONDS) {
    const from = processorTime();
    inputs.forEach(work);
    rounds.push(bytes / 1e3 / (processorTime() - from));
  }
  return median(rounds.slice(1));
}

export interface Timed {
  readonly name: string;
  readonly ratio: number;
  readonly compress: number;
  readonly decompress: number;
}

export const PROFILES = ['small', 'fast', 'direct'] as const;
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
  const request = { path, tensors: tensors.map(({ position, data }) => [position, data.length]), seconds: SECONDS };
  const { printed, problem } = runPython('bench/peers/cpu.py', request);
  if (printed === undefined) return { timed: [], problems: [`No peers: ${problem}`] };
  const answers = printed
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

export interface Measured {
  readonly timed: readonly Timed[];
  readonly tensors: number;
  readonly bytes: number;
  /** A line for each codec that could not be measured. */
  readonly problems: readonly string[];
}

/** @param withReference whether the reference is timed, too @throws FileError */
export async function timeCodecs(path: string, withReference = true): Promise<Measured> {
  const tensors = await sampleOf(path);
  const bytes = sizeOf(tensors.map(({ data }) => data));
  const codec = native();
  const timed: Timed[] = [];
  if (codec) for (const profile of PROFILES) timed.push(timeNative(codec, tensors, bytes, profile));
  // The peers are told that words are of BF16.
  const peers = tensors.every(({ dtype }) => dtype === 'BF16') ? timePeers(path, tensors) : undefined;
  timed.push(...(peers?.timed ?? []));
  if (withReference) for (const profile of PROFILES) timed.push(timeReference(tensors, bytes, profile));
  timed.push(timeGzip(tensors, bytes));
  return { timed, tensors: tensors.length, bytes, problems: peers?.problems ?? [] };
}
