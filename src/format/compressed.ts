// Reading a compressed checkpoint as far as it can be known without decoding: what its header says, and the fronts of
// its streams. spec/container.ts says what is refused.

import { crc32 } from 'node:zlib';
import {
  CHECKED_BYTES,
  ContainerError,
  checkKept,
  checkPiece,
  checkStream,
  type DescribedStream,
  type Extent,
  inspectFront,
  quoted,
  type RestorableLayer,
  readContainer,
  restoreHeader,
  type Restorable as SpecifiedTensor,
  streamLengths,
} from '../../spec/index.ts';
import { FileError, fileErrorOf, ItemError, problemOf } from '../files/errors.ts';
import type { InputFile } from '../files/input.ts';
import { checkArrived, type Safetensors } from './safetensors.ts';

/** Where something is in the compressed file. */
interface Place {
  /** From the start of the file. */
  readonly position: number;
  readonly storedBytes: number;
}

/** A tensor of the original file, and where its bytes or its stream are in the compressed one. */
export interface Restorable extends Omit<SpecifiedTensor, 'stored' | 'layers'>, Place {
  /** Those behind the first one. */
  readonly layers: readonly (Omit<RestorableLayer, 'stored'> & Place)[];
}

/** A compressed checkpoint. */
export interface Compressed {
  readonly file: InputFile;
  /** The original's header, with the spaces that fill it up. */
  readonly headerText: string;
  /** Of the original, in hexadecimal. */
  readonly sha256: string;
  /** Of the originals of its bases. */
  readonly bases: readonly string[];
  /** The original's size in bytes. */
  readonly originalBytes: number;
  /** Whether it has checks of its header and of kept tensors. */
  readonly isChecked: boolean;
  /** In the order of the original's keys. */
  readonly tensors: readonly Restorable[];
}

/** How fronts of streams are read. All of it throws where one is not as it should be. */
export interface Fronts {
  /** Bytes of the front and of Data, from the first 64 bytes of a stream. */
  lengths(begin: Uint8Array): { front: number; data: number };
  /** What a front says of its tensor. */
  describe(front: Uint8Array): DescribedStream;
}

/** With the reference codec. */
export const referenceFronts: Fronts = {
  lengths: streamLengths,
  describe: (front) => {
    const { dtype, shape, tensorBytes, againstBase } = inspectFront(front);
    return { dtype, shape, bytes: tensorBytes, againstBase };
  },
};

/**
 * @param bits how many of each word are wanted, at least: then the file may end behind the layers that have them
 * @throws FileError where it is not a CodecLLM file, or what it says cannot be true, or something that is wanted is not
 * there yet
 */
export async function readCompressed(
  { file, header, headerText, dataStart }: Safetensors,
  fronts: Fronts = referenceFronts,
  bits?: number,
): Promise<Compressed> {
  try {
    const container = readContainer(header, headerText, dataStart);
    const wanted = container.layers.filter(({ first }) => first < (bits ?? Number.POSITIVE_INFINITY));
    const needed = [...container.tensors, ...wanted].reduce((most, { end }) => Math.max(most, end), 0);
    checkArrived(file, dataStart + needed);
    const described = new Map<string, DescribedStream>();
    for (const tensor of container.tensors) {
      const { name, start, end, isStream, look } = tensor;
      const position = dataStart + start;
      if (isStream) described.set(name, await withFront(file, fronts, name, position, end - start, fronts.describe));
      else if (look > 0) checkKept(tensor, await file.read(position, look));
    }
    for (const { name, start, end } of wanted)
      described.set(name, await withFront(file, fronts, name, dataStart + start, end - start, fronts.describe));
    const original = restoreHeader(container, ({ name }) => described.get(name) as DescribedStream, bits);
    const placed = ({ start, end }: Extent): Place => ({ position: dataStart + start, storedBytes: end - start });
    return {
      file,
      headerText: original.headerText,
      sha256: container.sha256,
      bases: container.bases,
      originalBytes: original.bytes,
      isChecked: container.isChecked,
      tensors: original.tensors.map(({ stored, layers, ...tensor }) => ({
        ...tensor,
        ...placed(stored),
        layers: layers.map(({ stored, ...layer }) => ({ ...layer, ...placed(stored) })),
      })),
    };
  } catch (error) {
    throw fileErrorOf(file.path, error);
  }
}

/** Most fronts are shorter, and so read at once. */
const USUAL_FRONT_BYTES = 2 ** 12;
/** The front of a tensor of 5 GiB takes a few MiB; more than this is refused before it is allocated. */
const MAX_FRONT_BYTES = 2 ** 29;

/**
 * Reads the front of a stream and makes something of it.
 *
 * @param position of the stream in the file
 * @param bytes of the tensor that holds it
 * @throws FileError that names the tensor, whatever `use` throws
 */
export async function withFront<T>(
  file: InputFile,
  fronts: Fronts,
  name: string,
  position: number,
  bytes: number,
  use: (front: Uint8Array) => T,
): Promise<T> {
  const begin = await file.read(position, Math.min(bytes, USUAL_FRONT_BYTES));
  try {
    const lengths = fronts.lengths(begin);
    checkStream({ name, start: 0, end: bytes }, lengths);
    const { front } = lengths;
    if (front > MAX_FRONT_BYTES) throw new Error(`a front of ${front} bytes, more than ${MAX_FRONT_BYTES}`);
    return use(front <= begin.length ? begin.subarray(0, front) : await file.read(position, front));
  } catch (error) {
    throw damageError(file.path, name, error);
  }
}

/**
 * Checks bytes of a kept tensor.
 *
 * @param at where they begin in it: at a multiple of `CHECKED_BYTES`, as they end, or with the tensor
 * @throws FileError that names the tensor
 */
export function checkBytes(
  path: string,
  tensor: Pick<Restorable, 'name' | 'checks'>,
  at: number,
  bytes: Uint8Array,
): void {
  if (tensor.checks === undefined) return;
  try {
    for (let done = 0; done < bytes.length; done += CHECKED_BYTES)
      checkPiece(tensor, (at + done) / CHECKED_BYTES, crc32(bytes.subarray(done, done + CHECKED_BYTES)));
  } catch (error) {
    // It names the tensor.
    throw new FileError(path, `damaged at tensor ${problemOf(error)}`);
  }
}

/** A FileError, which names the tensor of a batch that an ItemError is about. @param of makes it of a tensor's error */
export function batchError(
  path: string,
  batch: readonly { readonly name: string }[],
  error: unknown,
  of = tensorError,
): FileError {
  return error instanceof ItemError ? of(path, batch[error.item].name, error.cause) : fileErrorOf(path, error);
}

/** The same of a tensor that cannot be decoded, whatever the system can read. */
export function damageError(path: string, name: string, error: unknown): FileError {
  const { errno } = error as NodeJS.ErrnoException;
  if (error instanceof FileError || error instanceof ContainerError || errno !== undefined)
    return tensorError(path, name, error);
  return new FileError(path, `damaged at tensor ${quoted(name)}: ${problemOf(error)}`);
}

/** A FileError that names the tensor. */
export function tensorError(path: string, name: string, error: unknown): FileError {
  // The container's errors name it already.
  if (error instanceof FileError || error instanceof ContainerError) return fileErrorOf(path, error);
  return new FileError(path, `${quoted(name)}: ${problemOf(error)}`);
}
