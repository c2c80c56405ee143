// How much a checkpoint may become. Tiles of a constant take no data, so that a small file can hold a large checkpoint:
// what it declares is looked at before anything is written.

import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { FIXED_BYTES, isCompressed, quoted, readContainer, streamLengths } from '../../spec/index.ts';
import { FileError, fileErrorOf } from '../files/errors.ts';
import { checkArrived, openSafetensors } from '../format/safetensors.ts';
import { formatBytes } from './text.ts';

/** Without a limit of the caller's, a file may become so many times as large, which weights do not, */
const MOST_TIMES = 100;
/** or this, which does no harm. */
const HARMLESS_BYTES = 1e9;

/** A tensor of a checkpoint, with and without compression. */
export interface Declared {
  readonly path: string;
  readonly name: string;
  readonly bytes: number;
  /** 0 of a copy. */
  readonly storedBytes: number;
  /** Then it is as large as what the caller gives, and few bytes may do. */
  readonly againstBase: boolean;
}

/** Where what is decoded goes: how many bytes are free there, and what that place is called. */
export interface Room {
  readonly bytes: number;
  readonly name: string;
}

/**
 * What a file declares of its tensors. Of each stream only the first 64 bytes are read; a layer has no more than its
 * tensor.
 *
 * @param isGrowing whether the file may end before its data do
 * @throws FileError where it is not a CodecLLM file
 */
export async function declaredIn(path: string, isGrowing = false): Promise<Declared[]> {
  const { file, header, headerText, dataStart } = await openSafetensors(path, isGrowing);
  try {
    const declared: Declared[] = [];
    const { tensors } = isCompressed(header) ? readContainer(header, headerText, dataStart) : { tensors: [] };
    for (const { name, start, end, isStream, copyOf } of tensors) {
      checkArrived(file, dataStart + end);
      const fixed = isStream ? await file.read(dataStart + start, Math.min(FIXED_BYTES, end - start)) : undefined;
      const declares = fixed === undefined ? { bytes: end - start, againstBase: false } : lengthsOf(fixed);
      declared.push({ path, name, storedBytes: copyOf === undefined ? end - start : 0, ...declares });
    }
    return declared;
  } catch (error) {
    throw fileErrorOf(path, error);
  } finally {
    await file.close();
  }
}

/** What the first 64 bytes of a stream say; nothing where they are damaged, which whoever decodes it has to say. */
function lengthsOf(fixed: Uint8Array): Pick<Declared, 'bytes' | 'againstBase'> {
  try {
    const { tensor, againstBase } = streamLengths(fixed);
    return { bytes: tensor, againstBase };
  } catch {
    return { bytes: 0, againstBase: false };
  }
}

/** Free space for an output. @throws FileError where there is no directory for it */
export async function freeSpace(output: string): Promise<Room> {
  const { bavail, bsize } = await statfs(dirname(resolve(output))).catch((error) => {
    throw fileErrorOf(output, error);
  });
  return { bytes: bavail * bsize, name: 'on that disk' };
}

/** Memory that this process can get. */
export function freeMemory(): Room {
  return { bytes: process.availableMemory(), name: 'of the memory' };
}

/** As many bytes as tensors may have that are weights. */
function usualBytes(tensors: readonly Omit<Declared, 'path' | 'name'>[]): number {
  const most = tensors.map(({ bytes, storedBytes, againstBase }) => (againstBase ? bytes : MOST_TIMES * storedBytes));
  return Math.max(
    HARMLESS_BYTES,
    most.reduce((sum, each) => sum + each, 0),
  );
}

/** Whether tensors have no more bytes than weights of their size. */
export function areUsual(tensors: readonly Omit<Declared, 'path' | 'name'>[]): boolean {
  return tensors.reduce((sum, { bytes }) => sum + bytes, 0) <= usualBytes(tensors);
}

/**
 * Checks what would be decoded together.
 *
 * @param maxBytes the caller's limit, if there is one; else it is what is free in `room`, and what weights are
 * @throws FileError that names the largest tensor
 */
export function checkDeclared(tensors: readonly Declared[], maxBytes: number | undefined, room?: Room): void {
  const bytes = tensors.reduce((total, tensor) => total + tensor.bytes, 0);
  const usual = usualBytes(tensors);
  let why: string;
  if (maxBytes !== undefined) {
    if (bytes <= maxBytes) return;
    why = `more than the ${formatBytes(maxBytes)} of --max-bytes`;
  } else if (room !== undefined && bytes > room.bytes)
    why = `more than the ${formatBytes(room.bytes)} that are free ${room.name}; --max-bytes sets another limit`;
  else if (room !== undefined && bytes > usual)
    why = `more than ${MOST_TIMES} times what they take now; --max-bytes sets another limit`;
  else return;
  const { path, name, bytes: most } = tensors.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  const all = tensors.length === 1 ? '' : `, all of them ${formatBytes(bytes)}`;
  throw new FileError(path, `${quoted(name)} has ${formatBytes(most)} decompressed${all}: ${why}`);
}
