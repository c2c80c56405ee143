// What worker threads do, with the reference codec: one whole tensor each. A thread reads it from an open file itself;
// the result is moved to the main thread, not copied. Descriptors are those of the process: the main thread closes them,
// after the last task.

import { move } from 'piscina';
import { decodeTensor, type EncodeOptions, encodeTensor } from '../../spec/index.ts';
import { type FileRange, readFullySync } from '../files/input.ts';

export interface EncodeTask {
  readonly range: FileRange;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly options: EncodeOptions;
  readonly base: Uint8Array | undefined;
}

export interface EncodeBytesTask extends Omit<EncodeTask, 'range' | 'base'> {
  readonly bytes: Uint8Array;
}

export interface DecodeTask {
  readonly range: FileRange;
  readonly base: Uint8Array | undefined;
}

/** @returns the stream of a tensor, or no bytes if it is not smaller */
export function encode({ range, dtype, shape, options, base }: EncodeTask): Uint8Array {
  const bytes = readRange(range);
  let stream = encodeTensor(bytes, dtype, shape, options);
  if (base !== undefined) {
    const against = encodeTensor(bytes, dtype, shape, { ...options, base });
    if (against.length < stream.length) stream = against;
  }
  return moved(stream.length < range.length ? stream : new Uint8Array(0));
}

/** @returns the stream of a tensor, whatever its length */
export function encodeBytes({ bytes, dtype, shape, options }: EncodeBytesTask): Uint8Array {
  return moved(encodeTensor(bytes, dtype, shape, options));
}

/** @returns the tensor of a stream. @throws FormatError */
export function decode({ range, base }: DecodeTask): Uint8Array {
  return moved(decodeTensor(readRange(range), { base }).data);
}

function readRange({ fd, position, length }: FileRange): Uint8Array {
  const bytes = new Uint8Array(length);
  readFullySync(fd, bytes, position);
  return bytes;
}

function moved(bytes: Uint8Array): Uint8Array {
  return move(bytes as Uint8Array<ArrayBuffer>) as Uint8Array;
}
