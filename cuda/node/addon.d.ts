// What the Node addon exports. A call runs on the thread that makes it, or, if its name ends in Async, on a thread of
// Node's pool; its buffers may not be changed meanwhile. Errors have a `code`: INVALID_ARGUMENT, INVALID_STREAM (and a
// message like that of the reference's FormatError), OUT_OF_MEMORY, UNAVAILABLE. Functions named ...FileAsync read a
// file themselves, which must stay open; where it cannot be read, the error has no `code`, but the system's `errno`.

import type { EncodeOptions } from '../../spec/index.ts';

/** Bytes of an open file. */
export interface FileRange {
  readonly fd: number;
  readonly position: number;
  readonly length: number;
}

/** An open encoder, stream or decoder. Any thread of the process may use it; it has to be closed. */
export type Handle = bigint;

export interface NativeInfo {
  dtype: string;
  shape: number[];
  tensorBytes: number;
  frontBytes: number;
  dataBytes: number;
  /** How many bands, tiles in each, and bytes of the tensor in a full one. */
  bands: number;
  tilesAcross: number;
  bandBytes: number;
  /** Whether a base is needed, and how many tiles of it have not changed. */
  againstBase: boolean;
  unchangedTiles: number;
}

export interface Native {
  version(): string;
  /** Instruction sets that the codec can use, whether the GPU codec was built, and how many GPUs there are. */
  features(): { paths: ('plain' | 'avx2' | 'avx512' | 'neon')[]; cuda: boolean; gpus: number };
  /** Makes the whole process use one instruction set; for tests. */
  usePath(path: 'best' | 'plain' | 'avx2' | 'avx512' | 'neon'): void;

  /** Exchanges what two paths name, at once. @returns whether the system could; if not, nothing has happened */
  exchange(one: string, other: string): boolean;

  /**
   * Memory for buffers of some MiB that are used again and again, whatever it holds: in large pages where the system has
   * them. In small ones, the first use of a buffer takes longer than decoding into it.
   */
  allocate(size: number): Uint8Array;

  /**
   * @param options without a base, which is given apart
   * @returns the stream's length; 0 where `stream` is too short for it: without a base it has `encodeBound` bytes at most
   */
  encode(
    bytes: Uint8Array,
    dtype: string,
    shape: readonly number[],
    options: EncodeOptions | undefined,
    stream: Uint8Array,
    base?: Uint8Array,
  ): number;
  /** The same on a thread of the pool. */
  encodeAsync(
    bytes: Uint8Array,
    dtype: string,
    shape: readonly number[],
    options: EncodeOptions | undefined,
    stream: Uint8Array,
  ): Promise<number>;
  /** @param bytes receives the tensor: as many as `streamInfo` says; they may be the base's, which is written over */
  decode(stream: Uint8Array, bytes: Uint8Array, base?: Uint8Array): void;

  /**
   * `encode` and `decode` of tensors and streams that lie in a file, all in the same bytes of it, one after the other on
   * one thread of the pool: handing small ones over one by one takes as long as working on them. Where one fails, so
   * does the call, and the error's `item` is its number.
   *
   * @param tensors where each begins in the bytes of `range`, and its bytes there; with a base, the shorter of two
   * streams is taken
   * @param bytes receives those bytes
   * @param streams receives those that are smaller than their tensor, one after the other; as long as `range`
   * @param lengths receives the length of each, or 0
   * @returns their sum
   */
  encodeFileAsync(
    range: FileRange,
    tensors: readonly { start: number; length: number; dtype: string; shape: readonly number[]; base?: Uint8Array }[],
    options: EncodeOptions | undefined,
    bytes: Uint8Array,
    streams: Uint8Array,
    lengths: Float64Array,
  ): Promise<number>;
  /**
   * @param streams likewise; `tensorBytes` of each are as many as `streamInfo` says
   * @param bytes receives the tensors, one after the other
   */
  decodeFileAsync(
    range: FileRange,
    streams: readonly { start: number; length: number; tensorBytes: number; base?: Uint8Array }[],
    bytes: Uint8Array,
  ): Promise<number>;

  /** The most bytes that a stream of such a tensor can have. */
  encodeBound(dtype: string, shape: readonly number[], options?: EncodeOptions): number;

  /**
   * Encodes a tensor in passes over slices of consecutive bands: while the pass is `gather`, gather every slice
   * and advance; then encode every slice; then ask for the front. Gathering and encoding of different slices may go on in
   * several threads at once; nothing else may go on meanwhile.
   */
  encoderOpen(dtype: string, shape: readonly number[], options?: EncodeOptions): Handle;
  encoderClose(encoder: Handle): void;
  /** Bytes of the tensor, how many bands it has, and bytes of a full one. */
  encoderLayout(encoder: Handle): { tensorBytes: number; bands: number; bandBytes: number };
  /** What is to be done with every slice next, or that the front is all that is left. */
  encoderPass(encoder: Handle): 'gather' | 'encode' | 'front';
  /** Bytes before Data; known unless the pass is `gather`. */
  encoderFrontSize(encoder: Handle): number;
  /** The most bytes that encoding so many bands can give. */
  encoderEncodeBound(encoder: Handle, bandCount: number): number;
  encoderFront(encoder: Handle): Uint8Array;
  /** @param bytes of these bands, exactly */
  encoderGather(encoder: Handle, firstBand: number, bandCount: number, bytes: Uint8Array): void;
  encoderGatherFileAsync(encoder: Handle, firstBand: number, bandCount: number, range: FileRange): Promise<number>;
  encoderAdvance(encoder: Handle): void;
  encoderAdvanceAsync(encoder: Handle): Promise<number>;
  /** @returns the bytes written to `data` */
  encoderEncode(encoder: Handle, firstBand: number, bandCount: number, bytes: Uint8Array, data: Uint8Array): number;
  /** @param bytes receives the bytes of `range` */
  encoderEncodeFileAsync(
    encoder: Handle,
    firstBand: number,
    bandCount: number,
    range: FileRange,
    bytes: Uint8Array,
    data: Uint8Array,
  ): Promise<number>;

  /** What the first 64 bytes of a stream say of its size. */
  streamLengths(bytes: Uint8Array): { front: number; data: number };
  /** Reads and checks everything before Data; the bytes are not needed after the call. */
  streamOpen(front: Uint8Array): Handle;
  streamClose(stream: Handle): void;
  streamInfo(stream: Handle): NativeInfo;
  /** Where the data of these bands lie, from the start of Data. */
  streamRange(stream: Handle, firstBand: number, bandCount: number): { start: number; end: number };
  /** @param data exactly the bytes of `streamRange` @param bytes receives the elements of these bands, exactly */
  streamDecode(stream: Handle, firstBand: number, bandCount: number, data: Uint8Array, bytes: Uint8Array): void;
  streamDecodeFileAsync(
    stream: Handle,
    firstBand: number,
    bandCount: number,
    range: FileRange,
    bytes: Uint8Array,
  ): Promise<number>;

  /**
   * One stream on the first GPU: open, write all of Data, decode, read elements, close. It takes device memory for both.
   *
   * @param front everything before Data
   * @returns the handle, as a number
   */
  gpuDecoderOpenAsync(front: Uint8Array): Promise<number>;
  gpuDecoderClose(decoder: Handle): void;
  /** @param offset of these bytes in Data */
  gpuDecoderWriteFileAsync(decoder: Handle, offset: number, range: FileRange): Promise<number>;
  /** Fails with INVALID_STREAM, and names the tile, where a tile's data are damaged. */
  gpuDecoderDecodeAsync(decoder: Handle): Promise<number>;
  /** @param offset of these bytes in the tensor */
  gpuDecoderReadAsync(decoder: Handle, offset: number, bytes: Uint8Array): Promise<number>;
}
