// The GPU decoder for files: a stream's Data go to the first GPU piece by piece, and its elements come back as they are
// asked for. It is for machines whose host is slow beside their GPU, and to check a GPU on real checkpoints: a program
// that wants the weights on the GPU decodes them there (codecllm.h, python/). Encoding is the native codec's.

import type { StreamDecoder, WholeStream } from './engine.ts';
import { EngineError, eachItem } from './errors.ts';
import { type Handle, native, whyNotGpu } from './native.ts';
import { NativeEngine } from './native-engine.ts';
import { SLICE_BYTES, sliceBytes } from './slices.ts';

export class GpuEngine extends NativeEngine {
  private readonly handles = new Set<Handle>();

  /** @throws EngineError where there is no GPU, or no decoder for it */
  constructor(threads?: number, codec = native()) {
    const reason = whyNotGpu(codec);
    if (reason !== undefined) throw new EngineError('gpu', reason);
    super(threads, codec);
  }

  override async decodeBatch(streams: readonly WholeStream[]): Promise<void> {
    const { codec } = this;
    await eachItem(streams, async ({ stream, bytes }) => {
      const { front } = codec.streamLengths(stream);
      const handle = BigInt(await codec.gpuStreamOpenAsync(stream.subarray(0, front)));
      try {
        await codec.gpuStreamWriteAsync(handle, 0, stream.subarray(front));
        await codec.gpuStreamDecodeAsync(handle);
        await codec.gpuStreamReadAsync(handle, 0, bytes);
      } finally {
        codec.gpuStreamClose(handle);
      }
    });
  }

  override openStream(fd: number, position: number, front: Uint8Array): StreamDecoder {
    const described = super.openStream(fd, position, front);
    const lengths = this.codec.streamLengths(front);
    const handle = this.decodeOnGpu(fd, position + lengths.front, lengths.data, front);
    // Whoever decodes a slice is told.
    handle.catch(() => {});
    return {
      ...described,
      decode: (rows) => this.readElements(handle, rows.start, sliceBytes(rows)),
      close: () => {
        described.close();
        handle.then(this.closeHandle, () => {});
      },
    };
  }

  override async close(): Promise<void> {
    await super.close();
    // Where work ended early.
    for (const handle of this.handles) this.closeHandle(handle);
  }

  private readonly closeHandle = (handle: Handle): void => {
    this.codec.gpuStreamClose(handle);
    this.handles.delete(handle);
  };

  private async decodeOnGpu(fd: number, position: number, dataBytes: number, front: Uint8Array): Promise<Handle> {
    const { codec } = this;
    const handle = BigInt(await codec.gpuStreamOpenAsync(front));
    this.handles.add(handle);
    try {
      for (let at = 0; at < dataBytes; at += SLICE_BYTES)
        await this.withBytes(fd, position + at, Math.min(SLICE_BYTES, dataBytes - at), async (data) => {
          await codec.gpuStreamWriteAsync(handle, at, data);
          this.release(data);
        });
      await codec.gpuStreamDecodeAsync(handle);
      return handle;
    } catch (error) {
      this.closeHandle(handle);
      throw error;
    }
  }

  private async readElements(handle: Promise<Handle>, offset: number, length: number): Promise<Uint8Array> {
    const bytes = this.take(length);
    await this.codec.gpuStreamReadAsync(await handle, offset, bytes);
    return bytes;
  }
}
