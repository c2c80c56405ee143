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
}

/** @returns the stream of a tensor, or no bytes if it is not smaller */
export function encode({ range, dtype, shape, options }: EncodeTask): Uint8Array {
  const stream = encodeTensor(readRange(range), dtype, shape, options);
  return moved(stream.length < range.length ? stream : new Uint8Array(0));
}

/** @returns the tensor of a stream. @throws FormatError */
export function decode(range: FileRange): Uint8Array {
  return moved(decodeTensor(readRange(range)).data);
}

function readRange({ fd, position, length }: FileRange): Uint8Array {
  const bytes = new Uint8Array(length);
  readFullySync(fd, bytes, position);
  return bytes;
}

function moved(bytes: Uint8Array): Uint8Array {
  return move(bytes as Uint8Array<ArrayBuffer>) as Uint8Array;
}
