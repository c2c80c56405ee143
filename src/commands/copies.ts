// Tensors of a checkpoint that have the same dtype, shape and bytes as one before them: tied weights, most often. Of those
// that differ, few get as far as being read.

import { byPlace, FIXED_BYTES, type TensorEntry } from '../../spec/index.ts';
import type { Safetensors } from '../format/safetensors.ts';

/** So many places of a tensor are looked at first, each of so many bytes. */
const SAMPLES = 16;
const SAMPLE_BYTES = 64;
const PIECE_BYTES = 2 ** 20;

/** @returns by the number of each copy in the header, rising, the number of the tensor that it is a copy of */
export async function findCopies(checkpoint: Safetensors): Promise<Map<number, number>> {
  const { header } = checkpoint;
  const numbers = new Map(header.tensors.map((tensor, number) => [tensor, number]));
  const seen = new Map<string, TensorEntry[]>();
  const copies: [number, number][] = [];
  for (const tensor of byPlace(header.tensors)) {
    if (tensor.end - tensor.start <= FIXED_BYTES) continue;
    const key = await sampleOf(checkpoint, tensor);
    const alike = seen.get(key) ?? [];
    let same: TensorEntry | undefined;
    for (const before of alike) if (await areEqual(checkpoint, before, tensor)) same = before;
    if (same === undefined) seen.set(key, [...alike, tensor]);
    else copies.push([numbers.get(tensor) as number, numbers.get(same) as number]);
  }
  return new Map(copies.sort(([a], [b]) => a - b));
}

async function sampleOf({ file, dataStart }: Safetensors, tensor: TensorEntry): Promise<string> {
  const { dtype, shape, start, end } = tensor;
  let key = `${dtype} ${shape} `;
  for (let k = 0; k < SAMPLES; k++) {
    const at = start + Math.floor(((end - start - SAMPLE_BYTES) * k) / (SAMPLES - 1));
    key += Buffer.from(await file.read(dataStart + at, SAMPLE_BYTES)).toString('latin1');
  }
  return key;
}

async function areEqual({ file, dataStart }: Safetensors, a: TensorEntry, b: TensorEntry): Promise<boolean> {
  const bytes = b.end - b.start;
  for (let at = 0; at < bytes; at += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, bytes - at);
    const [left, right] = await Promise.all([a, b].map(({ start }) => file.read(dataStart + start + at, length)));
    if (Buffer.compare(left, right) !== 0) return false;
  }
  return true;
}
