// The native codec on the threads that Node has for files: there is nothing to start, and nothing to send.
//
// Fresh memory costs more than decoding into it, because the system clears every page of it, so buffers are used again.

import { availableParallelism } from 'node:os';
import type { Describe } from './container.ts';
import type { Engine, OnPass, Source, StreamDecoder, TensorEncoder } from './engine.ts';
import { EngineError } from './errors.ts';
import { readFully, SMALL_BYTES } from './input.ts';
import { type Handle, type Native, native, whyNotNative } from './native.ts';
import { inOrder, type Limits } from './ordered.ts';
import { SLICE_BYTES, type SliceRange, sliceBytes, slicesOf } from './slices.ts';

/** Node's pool has so many, and SHA-256 of a file, one thread's work, is slower than their encoding. */
const MOST_THREADS = 4;

/** Larger buffers are not kept. A stream may need more than twice its tensor's bytes, of which most is not touched. */
const LARGEST_BUFFER = 4 * SLICE_BYTES;

export class NativeEngine implements Engine {
  readonly threads: number;
  readonly limits: Limits;
  protected readonly codec: Native;
  private readonly streams = new Set<Handle>();
  private readonly buffers: Uint8Array[] = [];
  private readonly tasks = new Set<Promise<unknown>>();
  private busy = 0;
  private readonly waiting: (() => void)[] = [];
  private closed = false;

  /** @throws EngineError where there is no native codec */
  constructor(threads = availableParallelism(), codec = native()) {
    if (codec === undefined) throw new EngineError('native', `${whyNotNative()}`);
    this.codec = codec;
    this.threads = Math.min(MOST_THREADS, threads);
    const slices = this.threads + 4;
    this.limits = { count: slices, bytes: slices * SLICE_BYTES };
  }

  async encodeWhole({ fd, position, bytes, dtype, shape, options }: Source): Promise<Uint8Array | undefined> {
    return this.withBytes(fd, position, bytes, async (tensor) => {
      const stream = this.take(this.codec.encodeBound(dtype, shape, options));
      const encode = bytes < SMALL_BYTES ? this.codec.encode : this.codec.encodeAsync;
      const length = await encode(tensor, dtype, shape, options, stream);
      if (length < bytes) return stream.subarray(0, length);
      this.release(stream);
      return undefined;
    });
  }

  async decodeWhole(fd: number, position: number, storedBytes: number, bytes: number): Promise<Uint8Array> {
    return this.withBytes(fd, position, storedBytes, async (stream) => {
      const tensor = this.take(bytes);
      const decode = bytes < SMALL_BYTES ? this.codec.decode : this.codec.decodeAsync;
      await decode(stream, tensor);
      return tensor;
    });
  }

  openEncoder({ fd, position, dtype, shape, options }: Source): TensorEncoder {
    const { codec } = this;
    const encoder = codec.encoderOpen(dtype, shape, options);
    const slices = [...slicesOf(codec.encoderLayout(encoder))];
    const coding = new Set<Promise<unknown>>();
    const withSlice = <T>(rows: SliceRange, work: (bytes: Uint8Array) => Promise<T>): Promise<T> =>
      this.withBytes(fd, position + rows.start, sliceBytes(rows), work);
    return {
      slices,
      plan: async (onPass: OnPass) => {
        for (let pass = 0; codec.encoderPass(encoder) === 'gather'; pass++) {
          const gathered = inOrder(slices, this.limits, sliceBytes, async (rows) => {
            await withSlice(rows, (bytes) =>
              codec.encoderGatherAsync(encoder, rows.firstTileRow, rows.tileRowCount, bytes),
            );
            return rows;
          });
          for await (const rows of gathered) onPass(sliceBytes(rows), pass);
          await codec.encoderAdvanceAsync(encoder);
        }
      },
      get frontBytes() {
        return codec.encoderFrontSize(encoder);
      },
      code: async (rows) => {
        const { firstTileRow, tileRowCount } = rows;
        const part = withSlice(rows, async (bytes) => {
          const data = this.take(codec.encoderCodeBound(encoder, tileRowCount));
          return data.subarray(0, await codec.encoderCodeAsync(encoder, firstTileRow, tileRowCount, bytes, data));
        });
        coding.add(part);
        return [await part.finally(() => coding.delete(part))];
      },
      front: () => codec.encoderFront(encoder),
      close: async () => {
        await Promise.allSettled(coding);
        codec.encoderClose(encoder);
      },
    };
  }

  readonly describe: Describe = (front) => {
    const stream = this.codec.streamOpen(front);
    const { dtype, shape, tensorBytes } = this.codec.streamInfo(stream);
    this.codec.streamClose(stream);
    return { dtype, shape, bytes: tensorBytes };
  };

  openStream(fd: number, position: number, front: Uint8Array): StreamDecoder {
    const { codec } = this;
    const stream = codec.streamOpen(front);
    this.streams.add(stream);
    const info = codec.streamInfo(stream);
    return {
      slices: [...slicesOf(info)],
      storedBytes: ({ firstTileRow, tileRowCount }) => {
        const { start, end } = codec.streamRange(stream, firstTileRow, tileRowCount);
        return end - start;
      },
      decode: async (rows) => {
        const { firstTileRow, tileRowCount } = rows;
        const { start, end } = codec.streamRange(stream, firstTileRow, tileRowCount);
        return this.withBytes(fd, position + info.frontBytes + start, end - start, async (data) => {
          const bytes = this.take(sliceBytes(rows));
          await codec.streamDecodeAsync(stream, firstTileRow, tileRowCount, data, bytes);
          return bytes;
        });
      },
      close: () => {
        codec.streamClose(stream);
        this.streams.delete(stream);
      },
    };
  }

  release(bytes: Uint8Array): void {
    if (bytes.buffer.byteLength <= LARGEST_BUFFER) this.buffers.push(new Uint8Array(bytes.buffer));
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const wake of this.waiting.splice(0)) wake();
    await Promise.allSettled(this.tasks);
    // Where work ended early.
    for (const stream of this.streams) this.codec.streamClose(stream);
  }

  /** Exactly so many bytes, whatever they hold. */
  protected take(length: number): Uint8Array {
    const found = this.buffers.findLastIndex((buffer) => buffer.length >= length);
    const buffer = found < 0 ? new Uint8Array(Math.max(length, SLICE_BYTES)) : this.buffers.splice(found, 1)[0];
    return buffer.subarray(0, length);
  }

  /** Reads bytes of a file and then works on them. */
  protected async withBytes<T>(
    fd: number,
    position: number,
    length: number,
    work: (bytes: Uint8Array) => Promise<T>,
  ): Promise<T> {
    const run = async (): Promise<T> => {
      const bytes = this.take(length);
      await readFully(fd, bytes, position);
      const result = await this.inTurn(() => work(bytes));
      this.release(bytes);
      return result;
    };
    const task = run();
    this.tasks.add(task);
    return task.finally(() => this.tasks.delete(task));
  }

  /** Runs work while at most `threads` are busy. */
  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    while (this.busy >= this.threads && !this.closed) await new Promise<void>((wake) => this.waiting.push(wake));
    if (this.closed) throw new Error('ended');
    this.busy++;
    try {
      return await work();
    } finally {
      this.busy--;
      this.waiting.shift()?.();
    }
  }
}
