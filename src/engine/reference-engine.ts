// The reference codec on worker threads, one tensor a thread. It holds whole tensors, as the functions of spec/ do; the
// native codec works on parts of large ones.

import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Piscina } from 'piscina';
import type { EncodeOptions } from '../../spec/index.ts';
import { eachItem } from '../files/errors.ts';
import { type FileRange, readFully } from '../files/input.ts';
import { referenceFronts } from '../format/compressed.ts';
import type { EncodedBatch, Engine, WholeStream, WholeTensor } from './engine.ts';
import type { Limits } from './ordered.ts';
import type * as tasks from './worker.ts';

/** A thread takes about 40 MB, and so many still stay below 1 GB together. */
const MOST_THREADS = 16;

/** Tensors that are worked on, or wait for their turn, have so many bytes together, or there is one. */
const MOST_BYTES = 2 ** 28;

/** Node reads and hashes no more at a time. */
const LARGEST_TENSOR = 2 ** 31 - 1;

export class ReferenceEngine implements Engine {
  readonly fronts = referenceFronts;
  readonly slicing = undefined;
  readonly limits: Limits;
  private readonly pool: Piscina;

  constructor(readonly threads = Math.min(MOST_THREADS, availableParallelism())) {
    this.limits = { count: threads + 4, bytes: MOST_BYTES };
    this.pool = new Piscina({
      filename: fileURLToPath(new URL('./worker.js', import.meta.url)),
      minThreads: 1,
      maxThreads: threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      recordTiming: false,
      // Threads make few small objects; the usual 48 MB of each would add up.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    });
  }

  async encodeBatch(
    { fd, position, length }: FileRange,
    tensors: readonly WholeTensor[],
    options: EncodeOptions,
  ): Promise<EncodedBatch> {
    const streams = await eachItem(tensors, async ({ start, length: bytes, dtype, shape, base }) => {
      checkFits(bytes);
      const range = { fd, position: position + start, length: bytes };
      return this.run('encode', { range, dtype, shape, options, base });
    });
    // Now it is known that they fit.
    const original = new Uint8Array(length);
    await readFully(fd, original, position);
    return { original, streams: joined(streams), lengths: streams.map((stream) => stream.length) };
  }

  async encode(
    bytes: Uint8Array,
    dtype: string,
    shape: readonly number[],
    options: EncodeOptions,
  ): Promise<Uint8Array> {
    return this.run('encodeBytes', { bytes, dtype, shape, options });
  }

  async decodeBatch({ fd, position }: FileRange, streams: readonly WholeStream[]): Promise<Uint8Array> {
    const tensors = await eachItem(streams, async ({ start, length, tensorBytes, base }) => {
      checkFits(Math.max(length, tensorBytes));
      return this.run('decode', { range: { fd, position: position + start, length }, base });
    });
    return joined(tensors);
  }

  take(length: number): Uint8Array {
    return new Uint8Array(length);
  }

  /** What is moved here from a thread has memory of its own. */
  release(): void {}

  /** Ends all threads, whatever they do. */
  async close(): Promise<void> {
    // An answer may still be on its way, for which nobody waits any more.
    this.pool.on('error', () => {});
    await this.pool.destroy();
  }

  /** Runs a function of worker.ts in a thread. @throws what the function throws, as a plain Error */
  private run<Name extends keyof typeof tasks>(
    name: Name,
    task: Parameters<(typeof tasks)[Name]>[0],
  ): Promise<Uint8Array> {
    return this.pool.run(task, { name });
  }
}

function checkFits(bytes: number): void {
  if (bytes > LARGEST_TENSOR)
    throw new Error(`its ${bytes} bytes do not fit Node's buffers: it needs the native codec (--engine native)`);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0] : Buffer.concat(parts);
}
