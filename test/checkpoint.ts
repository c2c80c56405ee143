// Makes checkpoints for tests, byte by byte, so that they can be wrong in any way.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { rawFile } from '../golden/container.ts';
import { seal } from '../spec/encoder/front.ts';
import { encodeTensor } from '../spec/index.ts';

export { rawFile };

export interface TestTensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

export interface Formatting {
  /** json.dumps rather than serde_json. */
  readonly python?: boolean;
  readonly metadata?: ReadonlyMap<string, string>;
  /** Changes the text of the header, which has been filled up to a multiple of 8. */
  readonly edit?: (text: string) => string;
}

/** A checkpoint as writers make them: tensors in order, one after the other. */
export function checkpoint(
  tensors: readonly TestTensor[],
  { python = false, metadata, edit }: Formatting = {},
): Uint8Array {
  const [comma, colon] = python ? [', ', ': '] : [',', ':'];
  const string = (value: string): string =>
    python
      ? JSON.stringify(value).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
      : JSON.stringify(value);
  const object = (entries: readonly (readonly [string, string])[]): string =>
    `{${entries.map(([key, value]) => `${string(key)}${colon}${value}`).join(comma)}}`;
  let at = 0;
  const entries = tensors.map(({ name, dtype, shape, data }) => {
    const start = at;
    at += data.length;
    const fields = object([
      ['dtype', string(dtype)],
      ['shape', `[${shape.join(comma)}]`],
      ['data_offsets', `[${start}${comma}${at}]`],
    ]);
    return [name, fields] as const;
  });
  const head = metadata
    ? [['__metadata__', object(Array.from(metadata, ([k, v]) => [k, string(v)] as const))] as const]
    : [];
  let text = object([...head, ...entries]);
  text += ' '.repeat(-Buffer.byteLength(text) & 7);
  return rawFile(edit?.(text) ?? text, Buffer.concat(tensors.map(({ data }) => data)));
}

/**
 * A valid checkpoint of one tensor "zeros" of BF16, 1.6 MB that declare 6.4 GB. (Its SHA-256 alone is wrong: nobody is meant
 * to get that far.)
 */
export function bomb(): Uint8Array {
  const rows = 25_000_000;
  const stream = new Uint8Array(64 + 16 + 16 * Math.ceil(rows / 256));
  // Tiles are constant zeros, and so is what is said of them.
  stream.set(encodeTensor(new Uint8Array(2 * 128 * 128), 'BF16', [128, 128]).subarray(0, 64 + 16));
  const view = new DataView(stream.buffer);
  view.setUint8(7, 8);
  view.setBigUint64(8, BigInt(rows) * 128n, true);
  view.setBigUint64(64, BigInt(rows), true);
  seal(stream);
  const text = JSON.stringify({
    __metadata__: {
      'codecllm.version': '1',
      'codecllm.streams': '1',
      'codecllm.sha256': '0'.repeat(64),
      'codecllm.header': 'compact',
    },
    zeros: { dtype: 'U8', shape: [stream.length], data_offsets: [0, stream.length] },
  });
  return rawFile(text.padEnd(Math.ceil((text.length + 8) / 64) * 64 - 8), stream);
}

/** Numbers from 0 to 1, the same in every run. */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** BF16 words of about a normal distribution, as weights have it. */
export function weights(count: number, seed: number): Uint8Array {
  const random = randomSource(seed);
  const values = Float32Array.from({ length: count }, () => 0.02 * (random() + random() + random() + random() - 2));
  const words = new Uint32Array(values.buffer);
  return new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer);
}

export function noise(bytes: number, seed: number): Uint8Array {
  const random = randomSource(seed);
  return Uint8Array.from({ length: bytes }, () => 256 * random());
}

/** A directory of its own, gone after the callback. */
export async function inDirectory<T>(use: (path: string) => T | Promise<T>): Promise<T> {
  const path = mkdtempSync(join(tmpdir(), 'codecllm-test-'));
  try {
    return await use(path);
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

export const CLI = fileURLToPath(new URL('../dist/bin/codecllm.js', import.meta.url));

export interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built command line. */
export function codecllm(...args: string[]): Run {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

/** Starts it. */
export function startCodecllm(...args: string[]): ReturnType<typeof spawn> {
  return spawn(process.execPath, [CLI, ...args], { stdio: 'ignore' });
}

/** Waits until a temporary file in this directory has bytes, or the command that is to write it has ended. */
export async function writing(directory: string, running: ReturnType<typeof startCodecllm>): Promise<void> {
  const writes = (name: string): boolean =>
    name.includes('.tmp-') && (statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0) > 0;
  while (running.exitCode === null && !readdirSync(directory).some(writes)) await setTimeout(5);
}
