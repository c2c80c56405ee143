// A checkpoint that stays open, of which tensors are read one by one.

import { isCompressed, quoted } from '../../spec/index.ts';
import { defaultEngine, openEngine } from '../engine/engines.ts';
import { FileError } from '../files/errors.ts';
import { batchError, readCompressed } from '../format/compressed.ts';
import { openSafetensors } from '../format/safetensors.ts';
import type { DecodeOptions } from './checkpoints.ts';
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
 * Each tensor alone may have `maxBytes` bytes: by default what is free of the memory, and no more than 100 times what its
 * stream takes, or 1 GB.
 *
 * @throws FileError where it is not safetensors, or what it says cannot be true
 */
export async function openCheckpoint(
  path: string,
  {
    threads,
    engine: engineName = defaultEngine(),
    maxBytes,
  }: Pick<DecodeOptions, 'threads' | 'engine' | 'maxBytes'> = {},
): Promise<Checkpoint> {
  const opened = await openSafetensors(path);
  const { file, header, dataStart } = opened;
  const engine = await openEngine(engineName, threads).catch(async (error) => {
    await file.close();
    throw error;
  });
  const close = async (): Promise<void> => {
    await engine.close();
    await file.close();
  };
  try {
    const entries = isCompressed(header)
      ? (await readCompressed(opened, engine.fronts)).tensors
      : header.tensors.map((entry) => ({
          ...entry,
          isStream: false,
          position: dataStart + entry.start,
          storedBytes: entry.end - entry.start,
        }));
    const byName = new Map(entries.map((entry) => [entry.name, entry]));
    return {
      tensors: entries.map(({ name, dtype, shape, start, end }) => ({ name, dtype, shape, bytes: end - start })),
      read: async (name) => {
        const entry = byName.get(name);
        if (entry === undefined) throw new FileError(path, `has no tensor ${quoted(name)}`);
        const { isStream, position, storedBytes, start, end } = entry;
        checkDeclared([{ path, name, bytes: end - start, storedBytes }], maxBytes, isStream ? freeMemory() : undefined);
        const bytes = isStream
          ? await engine
              .decodeBatch({ fd: file.fd, position, length: storedBytes }, [
                { start: 0, length: storedBytes, tensorBytes: end - start },
              ])
              .catch((error) => {
                throw batchError(path, [entry], error);
              })
          : await file.read(position, storedBytes);
        await file.checkUnchanged();
        return bytes;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
