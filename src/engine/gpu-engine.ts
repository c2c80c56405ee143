// The GPU decoder for files: a stream's Data go to the first GPU piece by piece, and its elements come back as they are
// asked for. It is for machines whose host is slow beside their GPU, and to check a GPU on real checkpoints: a program
// that wants the weights on the GPU decodes them there (codecllm.h, python/). Encoding is the native codec's.

import { FIXED_BYTES } from '../../spec/index.ts';
import { eachItem } from '../files/errors.ts';
import { type FileRange, readFully } from '../files/input.ts';
import {
  EngineError,
  type StreamDecoder,
  type StreamPart,
  type StreamSource,
  tensorBytesOf,
  type WholeStream,
} from './engine.ts';
import { type Handle, native, whyNotGpu } from './native.ts';
import { NativeEngine } from './native-engine.ts';
import { SLICE_BYTES } from './slices.ts';

export class GpuEngine extends NativeEngine {
  private readonly handles = new Set<Handle>();

  /** @throws EngineError where there is no GPU, or no decoder for it */
  constructor(threads?: number, codec = native()) {
    const reason = whyNotGpu(codec);
    if (reason !== undefined) throw new EngineError('gpu', reason);
    super(threads, codec);
  }

  override async decodeBatch(range: FileRange, streams: readonly WholeStream[]): Promise<Uint8Array> {
    // The GPU decodes nothing against a base.
    if (streams.some(({ base }) => base !== undefined)) return super.decodeBatch(range, streams);
    const { fd, position } = range;
    const bytes = this.take(tensorBytesOf(streams));
    let at = 0;
    const parts = streams.map(({ start, tensorBytes }) => {
      const part = { position: position + start, elements: bytes.subarray(at, at + tensorBytes) };
      at += tensorBytes;
      return part;
    });
    await eachItem(parts, async (part) => {
      const fixed = new Uint8Array(FIXED_BYTES);
      await readFully(fd, fixed, part.position);
      const { front: frontBytes, data } = this.codec.streamLengths(fixed);
      const front = new Uint8Array(frontBytes);
      await readFully(fd, front, part.position);
      const handle = await this.decodeOnGpu(fd, part.position + frontBytes, data, front);
      try {
        await this.codec.gpuDecoderReadAsync(handle, 0, part.elements);
      } finally {
        this.closeHandle(handle);
      }
    });
    return bytes;
  }

  override openStream({ fd, position, front, tensorBytes }: StreamSource): StreamDecoder {
    const lengths = this.codec.streamLengths(front);
    const handle = this.decodeOnGpu(fd, position + lengths.front, lengths.data, front);
    // Whoever decodes a part is told.
    handle.catch(() => {});
    const parts: StreamPart[] = [];
    for (let at = 0; at < tensorBytes; at += SLICE_BYTES) {
      const bytes = Math.min(SLICE_BYTES, tensorBytes - at);
      const storedBytes = (lengths.data * bytes) / tensorBytes;
      parts.push({ bytes, storedBytes, decode: () => this.readElements(handle, at, bytes) });
    }
    return { parts, close: () => void handle.then(this.closeHandle, () => {}) };
  }

  override async close(): Promise<void> {
    await super.close();
    // Where work ended early.
    for (const handle of this.handles) this.closeHandle(handle);
  }

  private readonly closeHandle = (handle: Handle): void => {
    this.codec.gpuDecoderClose(handle);
    this.handles.delete(handle);
  };

  private async decodeOnGpu(fd: number, position: number, dataBytes: number, front: Uint8Array): Promise<Handle> {
    const { codec } = this;
    const handle = BigInt(await codec.gpuDecoderOpenAsync(front));
    this.handles.add(handle);
    try {
      for (let at = 0; at < dataBytes; at += SLICE_BYTES)
        await this.inTurn(() => {
          const length = Math.min(SLICE_BYTES, dataBytes - at);
          return codec.gpuDecoderWriteFileAsync(handle, at, { fd, position: position + at, length });
        });
      await codec.gpuDecoderDecodeAsync(handle);
      return handle;
    } catch (error) {
      this.closeHandle(handle);
      throw error;
    }
  }

  private async readElements(handle: Promise<Handle>, offset: number, length: number): Promise<Uint8Array> {
    const bytes = this.take(length);
    await this.codec.gpuDecoderReadAsync(await handle, offset, bytes);
    return bytes;
  }
}
