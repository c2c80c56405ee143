// What an engine does: it runs the codec over tensors that lie in files.

import type { EncodeOptions } from '../../spec/index.ts';
import type { FileRange } from '../files/input.ts';
import type { Fronts } from '../format/compressed.ts';
import type { Limits } from './ordered.ts';
import type { SliceRange } from './slices.ts';

/** An engine that cannot be used here. */
export class EngineError extends Error {
  override readonly name = 'EngineError';

  constructor(engine: string, reason: string) {
    super(`--engine ${engine}: ${reason}`);
  }
}

/** A tensor to be encoded in slices, and where it is. */
export interface TensorSource {
  readonly fd: number;
  /** Of the tensor's first byte in the file. */
  readonly position: number;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly options: EncodeOptions;
}

/** Told of the bytes of the tensor that a pass has been over, and which pass it is, from 0. */
export type OnPass = (bytes: number, pass: number) => void;

export interface EncodedSlice {
  /** The slice's bytes as they were read. */
  readonly original: Uint8Array;
  /** What they become in Data. */
  readonly data: Uint8Array;
}

/** Encodes a tensor in slices: passes that count, then one that encodes, and another one where that can be shorter. */
export interface TensorEncoder {
  readonly slices: readonly SliceRange[];
  /**
   * Goes over the tensor until it is known how to encode it.
   * @returns whether all slices have to be encoded, for the first time or again; if not, there is the front
   */
  plan(onPass: OnPass): Promise<boolean>;
  /** Bytes before Data; known once `plan` has said how to encode. */
  readonly frontBytes: number;
  /** Slices may be encoded at the same time. */
  encode(slice: SliceRange): Promise<EncodedSlice>;
  /** Everything before Data. */
  front(): Uint8Array;
  /** Waits for what is under way, and lets go. */
  close(): Promise<void>;
}

/** A stream to be decoded in parts, and where it is. */
export interface StreamSource {
  readonly fd: number;
  /** Of the stream's first byte in the file. */
  readonly position: number;
  /** Everything before Data. */
  readonly front: Uint8Array;
  readonly tensorBytes: number;
}

/** A part of a stream's tensor. Parts may be decoded at the same time. */
export interface StreamPart {
  /** Of the tensor, and about what it takes of the stream. */
  readonly bytes: number;
  readonly storedBytes: number;
  /** @throws FormatError, or an Error that says the same */
  decode(): Promise<Uint8Array>;
}

export interface StreamDecoder {
  /** In their order. */
  readonly parts: readonly StreamPart[];
  /** To be called once all that was asked for is decoded. */
  readonly close: () => void;
}

/** A tensor of a batch: which bytes of the batch it is. */
export interface WholeTensor {
  readonly start: number;
  readonly length: number;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The bytes of a base, against which it is encoded where that is smaller. */
  readonly base: Uint8Array | undefined;
}

/** What a batch of tensors becomes. */
export interface EncodedBatch {
  /** Its bytes as they were read. */
  readonly original: Uint8Array;
  /** The streams that are smaller than their tensor, one after the other. */
  readonly streams: Uint8Array;
  /** The length of each tensor's stream, or 0. */
  readonly lengths: readonly number[];
}

/** A stream of a batch: which bytes of the batch it is, and the bytes of its tensor. */
export interface WholeStream {
  readonly start: number;
  readonly length: number;
  readonly tensorBytes: number;
  /** The bytes of the base that it is coded against. */
  readonly base: Uint8Array | undefined;
}

/** What the tensors of these streams have in all. */
export function tensorBytesOf(streams: readonly WholeStream[]): number {
  return streams.reduce((sum, { tensorBytes }) => sum + tensorBytes, 0);
}

export interface Engine {
  /** How many threads it has. */
  readonly threads: number;
  /** What may be under way, or wait for its turn, in one sequence of slices: enough that no thread runs dry. */
  readonly limits: Limits;
  /** Encodes whole tensors that lie in these bytes of a file. @throws ItemError; what the system says of the file */
  encodeBatch(range: FileRange, tensors: readonly WholeTensor[], options: EncodeOptions): Promise<EncodedBatch>;
  /** Encodes a tensor that is in memory. @returns its stream, which may be longer */
  encode(bytes: Uint8Array, dtype: string, shape: readonly number[], options: EncodeOptions): Promise<Uint8Array>;
  /** Decodes whole streams that lie in these bytes of a file. @returns the tensors, one after the other */
  decodeBatch(range: FileRange, streams: readonly WholeStream[]): Promise<Uint8Array>;
  readonly fronts: Fronts;
  /** How it works on parts of a tensor; an engine without this takes every tensor as a whole. */
  readonly slicing: Slicing | undefined;
  /** Memory for exactly so many bytes, whatever it holds. */
  take(length: number): Uint8Array;
  /** Takes back what a function gave, which is needed no more: the next may use its memory. */
  release(bytes: Uint8Array): void;
  /** Ends all work; afterwards files that it read may be closed. */
  close(): Promise<void>;
}

/** Work on large tensors, of which only parts are in memory. */
export interface Slicing {
  openEncoder(source: TensorSource): TensorEncoder;
  /** @throws FormatError, or an Error that says the same */
  openStream(source: StreamSource): StreamDecoder;
}
