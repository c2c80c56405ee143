// The native codec on the threads that Node has for files: there is nothing to start, and nothing to send. A thread reads
// what it works on itself, so that it need not wait for this one in between.
//
// Fresh memory costs more than decoding into it, because the system clears every page of it, so buffers are used again.

import { availableParallelism } from 'node:os';
import type { EncodeOptions } from '../../spec/index.ts';
import { ItemError } from '../files/errors.ts';
import { type FileRange, SMALL_BYTES } from '../files/input.ts';
import type { Fronts } from '../format/compressed.ts';
import {
  type EncodedBatch,
  type Engine,
  EngineError,
  type OnPass,
  type Slicing,
  type StreamDecoder,
  type StreamSource,
  type TensorEncoder,
  type TensorSource,
  tensorBytesOf,
  type WholeStream,
  type WholeTensor,
} from './engine.ts';
import { type Handle, type Native, native, whyNotNative } from './native.ts';
import { inOrder, type Limits } from './ordered.ts';
import { SLICE_BYTES, type SliceRange, sliceBytes, slicesOf } from './slices.ts';

/** Node's pool has so many, and SHA-256 of a file, one thread's work, is slower than their encoding. */
const MOST_THREADS = 4;

/** Most slices have as much; what a buffer has beyond a slice is not touched, but counted by Node's garbage collector. */
const SMALLEST_BUFFER = SLICE_BYTES;
/** Larger buffers are not kept. */
const LARGEST_BUFFER = 4 * SLICE_BYTES;

export class NativeEngine implements Engine, Slicing {
  readonly slicing: Slicing = this;
  readonly threads: number;
  readonly limits: Limits;
  protected readonly codec: Native;
  private readonly streams = new Set<Handle>();
  private readonly encoders = new Set<Handle>();
  /** That wait to be used again, by their size. */
  private readonly buffers = new Map<number, Uint8Array[]>();
  private readonly tasks = new Set<Promise<unknown>>();
  private readonly waiting: (() => void)[] = [];
  private closed = false;

  /** @throws EngineError where there is no native codec */
  constructor(threads = availableParallelism(), codec = native()) {
    if (codec === undefined) throw new EngineError('native', `${whyNotNative()}`);
    this.codec = codec;
    this.threads = Math.min(MOST_THREADS, threads);
    const slices = this.threads + 2;
    this.limits = { count: slices, bytes: slices * SLICE_BYTES };
  }

  async encodeBatch(range: FileRange, tensors: readonly WholeTensor[], options: EncodeOptions): Promise<EncodedBatch> {
    const lengths = new Float64Array(tensors.length);
    return this.inTurn(async () => {
      const [original, room] = [this.take(range.length), this.take(range.length)];
      const total = await this.codec.encodeFileAsync(range, tensors, options, original, room, lengths);
      return { original, streams: room.subarray(0, total), lengths: [...lengths] };
    });
  }

  async encode(
    bytes: Uint8Array,
    dtype: string,
    shape: readonly number[],
    options: EncodeOptions,
  ): Promise<Uint8Array> {
    return this.inTurn(async () => {
      const room = this.take(this.codec.encodeBound(dtype, shape, options));
      return room.subarray(0, await this.codec.encodeAsync(bytes, dtype, shape, options, room));
    });
  }

  async decodeBatch(range: FileRange, streams: readonly WholeStream[]): Promise<Uint8Array> {
    return this.inTurn(async () => {
      const bytes = this.take(tensorBytesOf(streams));
      await this.codec.decodeFileAsync(range, streams, bytes);
      return bytes;
    });
  }

  openEncoder({ fd, position, dtype, shape, options }: TensorSource): TensorEncoder {
    const { codec } = this;
    const encoder = codec.encoderOpen(dtype, shape, options);
    this.encoders.add(encoder);
    const slices = [...slicesOf(codec.encoderLayout(encoder))];
    const rangeOf = (slice: SliceRange): FileRange => ({
      fd,
      position: position + slice.start,
      length: sliceBytes(slice),
    });
    const encoding = new Set<Promise<unknown>>();
    return {
      slices,
      plan: async (onPass: OnPass) => {
        if (codec.encoderPass(encoder) === 'encode') await codec.encoderAdvanceAsync(encoder);
        for (let pass = 0; codec.encoderPass(encoder) === 'gather'; pass++) {
          const gathered = inOrder(slices, this.limits, sliceBytes, async (slice) => {
            const { firstBand, bandCount } = slice;
            await this.inTurn(() => codec.encoderGatherFileAsync(encoder, firstBand, bandCount, rangeOf(slice)));
            return slice;
          });
          for await (const slice of gathered) onPass(sliceBytes(slice), pass);
          await codec.encoderAdvanceAsync(encoder);
        }
        return codec.encoderPass(encoder) === 'encode';
      },
      get frontBytes() {
        return codec.encoderFrontSize(encoder);
      },
      encode: async (slice) => {
        const { firstBand, bandCount } = slice;
        const encoded = this.inTurn(async () => {
          const [original, data] = [
            this.take(sliceBytes(slice)),
            this.take(codec.encoderEncodeBound(encoder, bandCount)),
          ];
          const range = rangeOf(slice);
          const job = codec.encoderEncodeFileAsync(encoder, firstBand, bandCount, range, original, data);
          return { original, data: data.subarray(0, await job) };
        });
        encoding.add(encoded);
        return encoded.finally(() => encoding.delete(encoded));
      },
      front: () => codec.encoderFront(encoder),
      close: async () => {
        await Promise.allSettled(encoding);
        codec.encoderClose(encoder);
        this.encoders.delete(encoder);
      },
    };
  }

  readonly fronts: Fronts = {
    lengths: (begin) => this.codec.streamLengths(begin),
    describe: (front) => {
      const stream = this.codec.streamOpen(front);
      const { dtype, shape, tensorBytes, againstBase } = this.codec.streamInfo(stream);
      this.codec.streamClose(stream);
      return { dtype, shape, bytes: tensorBytes, againstBase };
    },
  };

  openStream({ fd, position, front }: StreamSource): StreamDecoder {
    const { codec } = this;
    const stream = codec.streamOpen(front);
    this.streams.add(stream);
    const info = codec.streamInfo(stream);
    const parts = Array.from(slicesOf(info), (slice) => {
      const { firstBand, bandCount } = slice;
      const { start, end } = codec.streamRange(stream, firstBand, bandCount);
      const range = { fd, position: position + info.frontBytes + start, length: end - start };
      return {
        bytes: sliceBytes(slice),
        storedBytes: range.length,
        decode: () =>
          this.inTurn(async () => {
            const bytes = this.take(sliceBytes(slice));
            await codec.streamDecodeFileAsync(stream, firstBand, bandCount, range, bytes);
            return bytes;
          }),
      };
    });
    return {
      parts,
      close: () => {
        codec.streamClose(stream);
        this.streams.delete(stream);
      },
    };
  }

  take(length: number): Uint8Array {
    if (length < SMALL_BYTES) return new Uint8Array(length);
    // Few sizes, so that a buffer fits again.
    const size = Math.max(SMALLEST_BUFFER, 2 ** Math.ceil(Math.log2(length)));
    return (this.buffers.get(size)?.pop() ?? this.codec.allocate(size)).subarray(0, length);
  }

  release({ buffer }: Uint8Array): void {
    const { byteLength } = buffer;
    if (byteLength < SMALLEST_BUFFER || byteLength > LARGEST_BUFFER) return;
    const kept = this.buffers.get(byteLength);
    if (kept) kept.push(new Uint8Array(buffer));
    else this.buffers.set(byteLength, [new Uint8Array(buffer)]);
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const wake of this.waiting.splice(0)) wake();
    await Promise.allSettled(this.tasks);
    // Where work ended early.
    for (const stream of this.streams) this.codec.streamClose(stream);
    for (const encoder of this.encoders) this.codec.encoderClose(encoder);
  }

  /**
   * Runs work while no more is under way than there are threads, and one that reads.
   *
   * @throws ItemError where the addon says which item of a batch failed
   */
  protected async inTurn<T>(work: () => Promise<T>): Promise<T> {
    while (this.tasks.size > this.threads && !this.closed) await new Promise<void>((wake) => this.waiting.push(wake));
    if (this.closed) throw new Error('ended');
    const task = work();
    this.tasks.add(task);
    try {
      return await task;
    } catch (error) {
      const { item } = error as { item?: number };
      throw item === undefined ? error : new ItemError(item, error);
    } finally {
      this.tasks.delete(task);
      this.waiting.shift()?.();
    }
  }
}
