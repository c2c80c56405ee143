// What an engine does: it runs the codec over tensors that lie in files.

import type { EncodeOptions } from '../spec/decisions.ts';
import type { Describe } from './container.ts';
import type { Limits } from './ordered.ts';
import type { SliceRange } from './slices.ts';

/** A tensor to be encoded in slices, and where it is. */
export interface Source {
  readonly fd: number;
  /** Of the tensor's first byte in the file. */
  readonly position: number;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly options: EncodeOptions;
}

/** Told of the bytes of the tensor that a pass has been over, and which pass it is, from 0. */
export type OnPass = (bytes: number, pass: number) => void;

export interface CodedRows {
  readonly original: Uint8Array;
  readonly data: readonly Uint8Array[];
}

/** Encodes a tensor that is worked on in slices: passes that count, then one that codes. */
export interface TensorEncoder {
  readonly slices: readonly SliceRange[];
  /** Goes over the tensor until everything is decided. */
  plan(onPass: OnPass): Promise<void>;
  /** Bytes before Data; known once everything is decided. */
  readonly frontBytes: number;
  /** The bytes of a slice as they were read, and its data. Slices may be coded at the same time. */
  code(rows: SliceRange): Promise<CodedRows>;
  /** Everything before Data, once all slices are coded. */
  front(): Uint8Array;
  /** Waits for what is under way, and lets go. */
  close(): Promise<void>;
}

/** Decodes a stream in slices, which may be decoded at the same time. */
export interface StreamDecoder {
  readonly slices: readonly SliceRange[];
  /** What a slice takes of the stream. */
  storedBytes(rows: SliceRange): number;
  /** @throws FormatError, or an Error that says the same */
  decode(rows: SliceRange): Promise<Uint8Array>;
  /** To be called once all that was asked for is decoded. */
  readonly close: () => void;
}

/** A tensor of a batch. */
export interface WholeTensor {
  readonly bytes: Uint8Array;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** As long as the tensor; its stream may be put there. */
  readonly stream: Uint8Array;
}

/** A stream of a batch. */
export interface WholeStream {
  readonly stream: Uint8Array;
  /** Receives the elements. */
  readonly bytes: Uint8Array;
}

export interface Engine {
  /** How many threads it has. */
  readonly threads: number;
  /** What may be under way, or wait for its turn, in one sequence of slices: enough that no thread runs dry. */
  readonly limits: Limits;
  /**
   * Encodes whole tensors.
   *
   * @returns for each its stream, or undefined if it is not smaller
   * @throws ItemError
   */
  encodeBatch(tensors: readonly WholeTensor[], options: EncodeOptions): Promise<(Uint8Array | undefined)[]>;
  /** Decodes whole streams. @throws ItemError */
  decodeBatch(streams: readonly WholeStream[]): Promise<void>;
  openEncoder(source: Source): TensorEncoder;
  readonly describe: Describe;
  /** @param position of the stream in the file. @throws FormatError, or an Error that says the same */
  openStream(fd: number, position: number, front: Uint8Array): StreamDecoder;
  /** Memory for exactly so many bytes, whatever it holds. */
  take(length: number): Uint8Array;
  /** Takes back what a function gave, which is needed no more: the next may use its memory. */
  release(bytes: Uint8Array): void;
  /** Ends all work; afterwards files that it read may be closed. */
  close(): Promise<void>;
}
