// A CodecLLM file gives its original back, byte for byte, or nothing: what is decoded is compared with the original's
// SHA-256 before it gets its name.

import { createHash } from 'node:crypto';
import { byPlace, LENGTH_BYTES, readContainer } from '../../spec/index.ts';
import type { Engine, Slicing, StreamDecoder, WholeStream } from '../engine/engine.ts';
import { inOrder } from '../engine/ordered.ts';
import { SLICE_BYTES } from '../engine/slices.ts';
import { FileError, throwProblems } from '../files/errors.ts';
import { OutputFile, type Placing } from '../files/output.ts';
import {
  batchError,
  type Compressed,
  checkBytes,
  damageError,
  type Restorable,
  readCompressed,
  withFront,
} from '../format/compressed.ts';
import { openSafetensors, type Safetensors } from '../format/safetensors.ts';
import type { Against } from './bases.ts';
import { batchesOf } from './batches.ts';
import { addLayers } from './layers.ts';
import type { FileReport, TensorReport } from './report.ts';
import type { Work } from './work.ts';

/**
 * Restores one checkpoint.
 *
 * @param bits how many of each word of a tensor in layers are enough; then the file may still be growing, and what is
 * restored is coarse, of which there is no SHA-256
 * @throws FileError; then nothing has been written, and `work.engine` is closed
 */
export async function decompressFile(
  input: string,
  output: string,
  placing: Placing,
  work: Work,
  bits?: number,
): Promise<FileReport> {
  const isCoarse = bits !== undefined;
  return withCheckpoint(input, isCoarse, work, async (opened) => {
    const compressed = await readCompressed(opened, work.engine.fronts, bits);
    const out = await OutputFile.create(output, placing, compressed.file.mode, input);
    try {
      await out.commit(compressed.originalBytes, await restore(compressed, out, isCoarse, work));
      return report(compressed, output);
    } catch (error) {
      await out.discard();
      throw error;
    }
  });
}

/**
 * Decodes all of one checkpoint and compares every check and the SHA-256. Nothing is written.
 *
 * @throws FilesError, FileError: all tensors that are damaged; then `work.engine` is closed
 */
export async function verifyFile(input: string, work: Work): Promise<FileReport> {
  return withCheckpoint(input, false, work, async (opened) => {
    const compressed = await readCompressed(opened, work.engine.fronts).catch(async (error) => {
      // Where its header is wrong already, that is all there is to say.
      throwProblems(await damagedStreams(opened, work).catch(() => []));
      throw error;
    });
    await restore(compressed, undefined, false, work);
    return report(compressed, undefined);
  });
}

/** What is wrong with the streams of a file of which not even all fronts can be read. */
async function damagedStreams(
  { file, header, headerText, dataStart }: Safetensors,
  { engine }: Work,
): Promise<FileError[]> {
  const problems: FileError[] = [];
  for (const { name, start, end, isStream, copyOf } of readContainer(header, headerText, dataStart).tensors) {
    if (!isStream || copyOf !== undefined) continue;
    const range = { fd: file.fd, position: dataStart + start, length: end - start };
    try {
      const describe = engine.fronts.describe;
      const { bytes, againstBase } = await withFront(file, engine.fronts, name, range.position, range.length, describe);
      const stream = { start: 0, length: range.length, tensorBytes: bytes, base: undefined };
      if (!againstBase) engine.release(await engine.decodeBatch(range, [stream]));
    } catch (error) {
      problems.push(batchError(file.path, [{ name }], error, damageError));
    }
  }
  return problems;
}

async function withCheckpoint<T>(
  input: string,
  isGrowing: boolean,
  work: Work,
  use: (opened: Safetensors) => Promise<T>,
): Promise<T> {
  const opened = await openSafetensors(input, isGrowing);
  try {
    return await use(opened);
  } catch (error) {
    // No thread may read a file that is about to be closed.
    await work.engine.close();
    throw error;
  } finally {
    await opened.file.close();
  }
}

function report(
  { file, originalBytes, sha256, isChecked, tensors }: Compressed,
  output: string | undefined,
): FileReport {
  return {
    input: file.path,
    output,
    bytesBefore: originalBytes,
    bytesAfter: file.size,
    sha256,
    checked: isChecked,
    tensors: tensors.map(reportOf),
  };
}

/** What is said of a tensor of a compressed checkpoint. */
export function reportOf(tensor: Restorable): TensorReport {
  const { name, dtype, shape, start, end, isStream, copyOf } = tensor;
  const bytesAfter = copyOf === undefined ? bytesWithLayers(tensor) : 0;
  return { name, dtype, shape, bytesBefore: end - start, bytesAfter, compressed: isStream, copyOf };
}

function bytesWithLayers({ storedBytes, layers }: Restorable): number {
  return layers.reduce((sum, layer) => sum + layer.storedBytes, storedBytes);
}

/** Consecutive bytes of the original. */
interface Piece {
  readonly bytes: number;
  /** What it takes of the compressed file. */
  readonly storedBytes: number;
  readonly restore: () => Promise<Uint8Array>;
  /** The tensor that it is of, or several: each of them alone. */
  readonly of: string | readonly Piece[];
  /** To be called once this piece, and all before it, are restored. */
  readonly finish?: () => void;
}

/**
 * Decodes everything in the order of the original.
 *
 * @param isCoarse whether the file may be growing, and not all of its layers be there
 * @returns the SHA-256 of what it gave
 * @throws FileError where anything is not as it should be
 */
async function restore(
  compressed: Compressed,
  out: OutputFile | undefined,
  isCoarse: boolean,
  work: Work,
): Promise<string> {
  const { engine, bases, onProgress } = work;
  const against = await bases.againstOf(compressed);
  const { file, headerText, sha256, originalBytes } = compressed;
  const hash = createHash('sha256');
  const damaged = new Map<string, FileError>();
  let at = 0;
  const put = async (bytes: Uint8Array, done = (): void => {}): Promise<void> => {
    hash.update(bytes);
    if (out) await out.write(at, [bytes], done);
    else done();
    at += bytes.length;
  };
  const header = new TextEncoder().encode(headerText);
  const lengthField = new Uint8Array(LENGTH_BYTES);
  new DataView(lengthField.buffer).setBigUint64(0, BigInt(header.length), true);
  await put(lengthField);
  await put(header);
  const restored = inOrder(
    piecesOf(compressed, against, work),
    engine.limits,
    ({ bytes }) => bytes,
    // Where nothing is written, one damaged tensor does not keep the others from being checked.
    async (piece) => ({ piece, bytes: await (out ? piece.restore() : restoreOr(piece, damaged)) }),
  );
  for await (const { piece, bytes } of restored) {
    await put(bytes, () => engine.release(bytes));
    piece.finish?.();
    onProgress(piece.storedBytes);
  }
  const found = hash.digest('hex');
  if (isCoarse) return found;
  await file.checkUnchanged();
  throwProblems([...damaged.values()]);
  if (at !== originalBytes || found !== sha256)
    throw new FileError(file.path, 'what it decodes to does not have the SHA-256 of the original');
  return found;
}

/** Restores a piece, or notes what is damaged of it. */
async function restoreOr(piece: Piece, damaged: Map<string, FileError>): Promise<Uint8Array> {
  try {
    return await piece.restore();
  } catch (error) {
    if (typeof piece.of === 'string') {
      if (!damaged.has(piece.of)) damaged.set(piece.of, error as FileError);
    } else for (const part of piece.of) await restoreOr(part, damaged);
    return new Uint8Array();
  }
}

async function* piecesOf(compressed: Compressed, against: Against, work: Work): AsyncGenerator<Piece, void, void> {
  const { engine } = work;
  const batches = batchesOf(
    byPlace(compressed.tensors),
    ({ start, end }) => end - start,
    (before, tensor) =>
      before.isStream === tensor.isStream &&
      before.position + before.storedBytes === tensor.position &&
      [before, tensor].every(({ layers }) => layers.length === 0),
  );
  for (const batch of batches) {
    const [{ isStream, againstBase, start, layers }] = batch;
    const bytes = batch[batch.length - 1].end - start;
    if (bytes <= SLICE_BYTES || layers.length > 0) yield wholePiece(compressed, against, work, batch);
    else if (!isStream) yield* keptPieces(compressed, engine, batch[0]);
    else if (engine.slicing === undefined || againstBase) yield wholePiece(compressed, against, work, batch);
    else yield* streamPieces(compressed, engine, engine.slicing, batch[0]);
  }
}

function* keptPieces({ file }: Compressed, engine: Engine, tensor: Restorable): Generator<Piece> {
  const { name, position, storedBytes } = tensor;
  for (let at = 0; at < storedBytes; at += SLICE_BYTES) {
    const bytes = Math.min(SLICE_BYTES, storedBytes - at);
    const restore = async (): Promise<Uint8Array> => {
      const read = await file.fill(engine.take(bytes), position + at);
      checkBytes(file.path, tensor, at, read);
      return read;
    };
    yield { of: name, bytes, storedBytes: bytes, restore };
  }
}

/** Tensors that are neighbours in the original and in the compressed file. */
function wholePiece(compressed: Compressed, against: Against, work: Work, batch: readonly Restorable[]): Piece {
  const { file } = compressed;
  const { engine, bases } = work;
  const [{ name, isStream, position, start }] = batch;
  const bytes = batch[batch.length - 1].end - start;
  const storedBytes = batch.reduce((sum, tensor) => sum + tensor.storedBytes, 0);
  return {
    bytes,
    storedBytes: batch.reduce((sum, tensor) => sum + bytesWithLayers(tensor), 0),
    of: batch.length === 1 ? name : batch.map((tensor) => wholePiece(compressed, against, work, [tensor])),
    restore: async () => {
      if (!isStream) {
        const read = await file.fill(engine.take(storedBytes), position);
        for (const tensor of batch)
          checkBytes(file.path, tensor, 0, read.subarray(tensor.position - position).subarray(0, tensor.storedBytes));
        return read;
      }
      const streams: WholeStream[] = [];
      for (const tensor of batch)
        streams.push({
          start: tensor.position - position,
          length: tensor.storedBytes,
          tensorBytes: tensor.end - tensor.start,
          base: await bases.readBase(against, tensor.name),
        });
      const range = { fd: file.fd, position, length: storedBytes };
      const tensors = await engine.decodeBatch(range, streams).catch((error) => {
        throw batchError(file.path, batch, error, damageError);
      });
      // A tensor in layers is alone.
      await addLayers(engine, file, batch[0], tensors);
      return tensors;
    },
  };
}

async function* streamPieces(
  { file }: Compressed,
  engine: Engine,
  slicing: Slicing,
  { name, position, storedBytes, start, end }: Restorable,
): AsyncGenerator<Piece, void, void> {
  const open = (front: Uint8Array): StreamDecoder =>
    slicing.openStream({ fd: file.fd, position, front, tensorBytes: end - start });
  const stream = await withFront(file, engine.fronts, name, position, storedBytes, open);
  const last = stream.parts.at(-1);
  for (const part of stream.parts)
    yield {
      of: name,
      bytes: part.bytes,
      storedBytes: part.storedBytes,
      restore: () =>
        part.decode().catch((error) => {
          throw damageError(file.path, name, error);
        }),
      finish: part === last ? stream.close : undefined,
    };
}
