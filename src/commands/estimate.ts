// What compressing would give, from samples of every tensor: nothing is written. Copies are found as they are when it is done.

import { DTYPES, type EncodeOptions, type TensorEntry } from '../../spec/index.ts';
import type { FileRange } from '../files/input.ts';
import { batchError } from '../format/compressed.ts';
import { openSafetensors } from '../format/safetensors.ts';
import { hasStreams } from './compress.ts';
import { Folder } from './copies.ts';
import type { Work } from './work.ts';

/** So many bytes of a tensor stand for all of it. */
const SAMPLE_BYTES = 2 ** 20;

export interface FileEstimate {
  readonly input: string;
  readonly bytesBefore: number;
  /** About. */
  readonly bytesAfter: number;
  /** Of which the estimate is made. */
  readonly bytesSampled: number;
}

/** @throws FileError */
export async function estimateFile(path: string, options: EncodeOptions, work: Work): Promise<FileEstimate> {
  const opened = await openSafetensors(path);
  const { file, header, dataStart } = opened;
  try {
    const { within: copies } = await new Folder().copiesIn(opened, work.bases);
    let bytesAfter = dataStart;
    let bytesSampled = 0;
    for (const [number, tensor] of header.tensors.entries()) {
      const bytes = tensor.end - tensor.start;
      work.onProgress(bytes);
      if (copies.has(number)) continue;
      const sample = sampleOf(tensor);
      if (sample === undefined) {
        bytesAfter += bytes;
        continue;
      }
      const { start, length, shape } = sample;
      const range: FileRange = { fd: file.fd, position: dataStart + start, length };
      const whole = { start: 0, length, dtype: tensor.dtype, shape, base: undefined };
      const { original, streams, lengths } = await work.engine.encodeBatch(range, [whole], options).catch((error) => {
        throw batchError(path, [tensor], error);
      });
      work.engine.release(original);
      work.engine.release(streams);
      bytesSampled += length;
      bytesAfter += lengths[0] > 0 ? Math.round((bytes * lengths[0]) / length) : bytes;
    }
    return { input: path, bytesBefore: file.size, bytesAfter, bytesSampled };
  } finally {
    await file.close();
  }
}

/** Rows in the middle of a tensor, as a tensor; undefined of one that never becomes a stream. */
function sampleOf(tensor: TensorEntry): { start: number; length: number; shape: number[] } | undefined {
  const { dtype, shape, start, end } = tensor;
  const bits = DTYPES.find(({ name }) => name === dtype)?.bits;
  if (bits === undefined || !hasStreams(tensor)) return undefined;
  const bytes = end - start;
  if (bytes <= SAMPLE_BYTES) return { start, length: bytes, shape: [...shape] };
  const [rows, ...rest] = shape;
  const rowBytes = bytes / rows;
  if (Number.isInteger(rowBytes) && rowBytes <= SAMPLE_BYTES) {
    const count = Math.floor(SAMPLE_BYTES / rowBytes);
    return {
      start: start + Math.floor((rows - count) / 2) * rowBytes,
      length: count * rowBytes,
      shape: [count, ...rest],
    };
  }
  // One row is more: a part of it, of whole bytes and elements.
  return {
    start: start + 24 * Math.floor((bytes - SAMPLE_BYTES) / 48),
    length: SAMPLE_BYTES * 0.75,
    shape: [(SAMPLE_BYTES * 6) / bits],
  };
}
