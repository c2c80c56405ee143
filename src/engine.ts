// The codecs a worker thread can use: the TypeScript reference, which is always there, and the native one, which writes
// the same bytes and is faster.

import type { EncodeOptions } from '../spec/decisions.ts';
import { decodeTileRows, tileRange } from '../spec/decode.ts';
import { encodeTensor } from '../spec/encode.ts';
import { readFront } from '../spec/stream.ts';
import { native, whyNotNative } from './native.ts';

export const ENGINES = ['ts', 'native'] as const;
export type EngineName = (typeof ENGINES)[number];

/** A stream whose front has been read. */
export interface OpenStream {
  /** Where the data of these rows of tiles lie, from the start of Data, and how many bytes of the tensor they give. */
  locate(firstTileRow: number, tileRowCount: number): { start: number; end: number };
  /** @param data exactly these bytes @param bytes receives the tensor's @throws FormatError, or an Error that says the same */
  decode(firstTileRow: number, tileRowCount: number, data: Uint8Array, bytes: Uint8Array): void;
  close(): void;
}

export interface Engine {
  encodeTensor(data: Uint8Array, dtype: string, shape: readonly number[], options: EncodeOptions): Uint8Array;
  openStream(front: Uint8Array): OpenStream;
}

const reference: Engine = {
  encodeTensor,
  openStream(front) {
    const stream = readFront(front);
    const { tilesAcross } = stream.coding.layout;
    return {
      locate: (first, count) => tileRange(stream, first * tilesAcross, (first + count) * tilesAcross),
      decode: (first, count, data, bytes) => decodeTileRows(stream, first, count, data, bytes),
      close: () => {},
    };
  },
};

function nativeEngine(): Engine {
  const codec = native();
  if (codec === undefined) throw new Error(`the native codec cannot be used: ${whyNotNative()}`);
  return {
    encodeTensor: (data, dtype, shape, options) => codec.encode(data, dtype, shape, options),
    openStream(front) {
      const stream = codec.streamOpen(front);
      return {
        locate: (first, count) => codec.streamRange(stream, first, count),
        decode: (first, count, data, bytes) => codec.streamDecode(stream, first, count, data, bytes),
        close: () => codec.streamClose(stream),
      };
    },
  };
}

/** @throws Error where it cannot be had */
export function engineNamed(name: EngineName): Engine {
  return name === 'native' ? nativeEngine() : reference;
}

/** The native codec where it is built, else the reference. */
export function defaultEngine(): EngineName {
  return native() === undefined ? 'ts' : 'native';
}
