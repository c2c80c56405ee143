// Names: which files are checkpoints, and what outputs are called that nobody gave a name: X.safetensors and
// X.codecllm.safetensors, directories D and D.codecllm. Capitals do not matter, and stay.

import { basename, resolve } from 'node:path';

const CHECKPOINT = /\.safetensors$/i;
const COMPRESSED = /\.codecllm$/i;
const COMPRESSED_CHECKPOINT = /\.codecllm(\.safetensors)$/i;
/** Of other formats. */
const WEIGHTS = /\.(bin|pth|pt|gguf)$/i;

export function isCheckpointName(name: string): boolean {
  return CHECKPOINT.test(name);
}

export function isWeightsName(name: string): boolean {
  return WEIGHTS.test(name);
}

/** @returns the output of `compress`, or undefined where the input's name gives none */
export function compressedName(input: string, isDirectory: boolean): string | undefined {
  if (isDirectory) return `${resolve(input)}.codecllm`;
  return isCheckpointName(input) ? input.replace(CHECKPOINT, '.codecllm$&') : undefined;
}

/** @returns the output of `decompress`, or undefined where the input's name gives none */
export function restoredName(input: string, isDirectory: boolean): string | undefined {
  const name = isDirectory ? resolve(input) : input;
  const restored = isDirectory ? name.replace(COMPRESSED, '') : name.replace(COMPRESSED_CHECKPOINT, '$1');
  const isStem = isDirectory
    ? restored !== '' && basename(name) !== '.codecllm'
    : !/^\.safetensors$/i.test(basename(restored));
  return restored !== name && isStem ? restored : undefined;
}
