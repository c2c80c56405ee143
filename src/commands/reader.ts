// A checkpoint that stays open, of which tensors are read one by one.

import { defaultEngine, openEngine } from '../engine/engines.ts';
import { Bases } from './bases.ts';
import type { DecodeOptions, DecompressOptions } from './checkpoints.ts';
import { checkDeclared, freeMemory } from './limits.ts';

/** A tensor of a checkpoint as it was before compression. */
export interface TensorDescription {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
}

/** A checkpoint that is open, compressed or not. */
export interface Checkpoint {
  /** In the order of the header's keys. */
  readonly tensors: readonly TensorDescription[];
  /**
   * Decodes one tensor, and reads nothing else. Checks of the format are compared (FORMAT.md, section 8), the file's SHA-256
   * is not: that takes the whole file. Calls may go on at the same time.
   *
   * @returns its bytes, in row-major order and little-endian, as safetensors has them
   * @throws FileError where there is no tensor of this name, or it is not as it should be
   */
  read(name: string): Promise<Uint8Array>;
  /** To be called once every `read` has ended. */
  close(): Promise<void>;
}

/**
 * Opens a file, to be closed by the caller.
 *
 * With `bits`, tensors in layers are coarse, and the file may still be growing, as `decompress` has it: then what is wanted
 * must be there when it is opened.
 *
 * Each tensor alone may have `maxBytes` bytes: by default what is free of the memory, and no more than 100 times what its
 * stream takes, or 1 GB.
 *
 * @throws FileError where it is not safetensors, what it says cannot be true, or a base is not among those given
 */
export async function openCheckpoint(
  path: string,
  {
    threads,
    engine: engineName = defaultEngine(),
    bases: paths = [],
    maxBytes,
    bits,
  }: Omit<DecodeOptions, 'onProgress'> & Pick<DecompressOptions, 'bits'> = {},
): Promise<Checkpoint> {
  const engine = await openEngine(engineName, threads);
  const bases = new Bases(paths, engine);
  const close = async (): Promise<void> => {
    await engine.close();
    await bases.close();
  };
  try {
    const checkpoint = await bases.open(path, bits);
    return {
      tensors: [...checkpoint.tensors.values()].map(({ name, dtype, shape, start, end }) => ({
        ...{ name, dtype, shape },
        bytes: end - start,
      })),
      read: async (name) => {
        const tensor = checkpoint.tensors.get(name);
        if (tensor !== undefined) {
          const { isStream, start, end } = tensor;
          checkDeclared([{ ...tensor, path, bytes: end - start }], maxBytes, isStream ? freeMemory() : undefined);
        }
        return bases.read(checkpoint, name);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
