// Names of outputs that nobody gave one: X.safetensors and X.codecllm.safetensors, directories D and D.codecllm.

import { resolve } from 'node:path';

const CHECKPOINT = '.safetensors';
const COMPRESSED = '.codecllm';

/** @returns the output of `compress`, or undefined where the input's name gives none */
export function compressedName(input: string, isDirectory: boolean): string | undefined {
  if (isDirectory) return resolve(input) + COMPRESSED;
  return input.endsWith(CHECKPOINT) ? input.slice(0, -CHECKPOINT.length) + COMPRESSED + CHECKPOINT : undefined;
}

/** @returns the output of `decompress`, or undefined where the input's name gives none */
export function restoredName(input: string, isDirectory: boolean): string | undefined {
  const end = isDirectory ? COMPRESSED : COMPRESSED + CHECKPOINT;
  const name = isDirectory ? resolve(input) : input;
  const stem = name.slice(0, -end.length);
  if (!name.endsWith(end) || /(^|[\\/])$/.test(stem)) return undefined;
  return isDirectory ? stem : stem + CHECKPOINT;
}
