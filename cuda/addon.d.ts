// What the Node addon exports. Every call runs on the thread that makes it. Errors have a `code`: INVALID_ARGUMENT,
// INVALID_STREAM (and a message like that of the reference's FormatError), OUT_OF_MEMORY, UNAVAILABLE.

import type { EncodeOptions } from '../spec/index.ts';

/** An open encoder or stream. Any thread of the process may use it; it has to be closed. */
export type Handle = bigint;

export interface NativeTensor {
  dtype: string;
  shape: number[];
  data: Uint8Array;
}

export interface NativeInfo {
  dtype: string;
  shape: number[];
  tensorBytes: number;
  frontBytes: number;
  dataBytes: number;
  /** Rows of tiles, tiles in each, and bytes of a full row of tiles of the tensor. */
  tileRows: number;
  tilesAcross: number;
  tileRowBytes: number;
}

export interface Native {
  version(): string;
  /** Instruction sets that the codec can use, whether the GPU decoder was built, and how many GPUs there are. */
  features(): { paths: ('plain' | 'avx2' | 'avx512')[]; cuda: boolean; gpus: number };
  /** Makes the whole process use one instruction set; for tests. */
  usePath(path: 'best' | 'plain' | 'avx2' | 'avx512'): void;

  encode(bytes: Uint8Array, dtype: string, shape: readonly number[], options?: EncodeOptions): Uint8Array;
  /** @param maxBytes refuses a larger tensor before anything is allocated; 2^32 unless given */
  decode(stream: Uint8Array, maxBytes?: number): NativeTensor;

  /**
   * Encodes a tensor in passes over slices of consecutive rows of tiles: while the pass is `gather`, gather every slice
   * and advance; then code every slice; then ask for the front. Gathering and coding of different slices may go on in
   * several threads at once; nothing else may go on meanwhile.
   */
  encoderOpen(dtype: string, shape: readonly number[], options?: EncodeOptions): Handle;
  encoderClose(encoder: Handle): void;
  /** Bytes of the tensor, rows of tiles, and bytes of one full row of tiles. */
  encoderLayout(encoder: Handle): { tensorBytes: number; tileRows: number; tileRowBytes: number };
  encoderPass(encoder: Handle): 'gather' | 'code';
  encoderGather(encoder: Handle, firstTileRow: number, tileRowCount: number, bytes: Uint8Array): void;
  encoderAdvance(encoder: Handle): void;
  /** Bytes before Data; known as soon as the pass is `code`. */
  encoderFrontSize(encoder: Handle): number;
  /** The most bytes that coding so many rows of tiles can give. */
  encoderCodeBound(encoder: Handle, tileRowCount: number): number;
  /** @returns the bytes written to `data` */
  encoderCode(encoder: Handle, firstTileRow: number, tileRowCount: number, bytes: Uint8Array, data: Uint8Array): number;
  encoderFront(encoder: Handle): Uint8Array;

  /** What the first 64 bytes of a stream say of its size. */
  streamLengths(bytes: Uint8Array): { front: number; data: number };
  /** Reads and checks everything before Data; the bytes are not needed after the call. */
  streamOpen(front: Uint8Array): Handle;
  streamClose(stream: Handle): void;
  streamInfo(stream: Handle): NativeInfo;
  /** Where the data of these rows of tiles lie, from the start of Data. */
  streamRange(stream: Handle, firstTileRow: number, tileRowCount: number): { start: number; end: number };
  /** @param data exactly the bytes of `streamRange` @param bytes receives the elements of these rows of tiles, exactly */
  streamDecode(stream: Handle, firstTileRow: number, tileRowCount: number, data: Uint8Array, bytes: Uint8Array): void;
}
