// A CodecLLM file gives its original back, byte for byte, or nothing: what is decoded is compared with the original's
// SHA-256 before it gets its name.

import { createHash } from 'node:crypto';
import { byPlace, LENGTH_BYTES } from '../../spec/index.ts';
import type { Engine, Slicing, StreamDecoder, WholeStream } from '../engine/engine.ts';
import { inOrder } from '../engine/ordered.ts';
import { SLICE_BYTES } from '../engine/slices.ts';
import { FileError } from '../files/errors.ts';
import { OutputFile } from '../files/output.ts';
import {
  batchError,
  type Compressed,
  checkBytes,
  type Restorable,
  readCompressed,
  tensorError,
  withFront,
} from '../format/compressed.ts';
import { openSafetensors } from '../format/safetensors.ts';
import type { OpenCheckpoint } from './bases.ts';
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
  force: boolean,
  work: Work,
  bits?: number,
): Promise<FileReport> {
  return withCompressed(input, work, bits, async (compressed) => {
    const out = await OutputFile.create(output, force, compressed.file.mode, input);
    try {
      await restore(compressed, out, bits !== undefined, work);
      await out.commit(compressed.originalBytes);
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
 * @throws FileError; then `work.engine` is closed
 */
export async function verifyFile(input: string, work: Work): Promise<FileReport> {
  return withCompressed(input, work, undefined, async (compressed) => {
    await restore(compressed, undefined, false, work);
    return report(compressed, undefined);
  });
}

async function withCompressed<T>(
  input: string,
  work: Work,
  bits: number | undefined,
  use: (compressed: Compressed) => Promise<T>,
): Promise<T> {
  const opened = await openSafetensors(input, bits !== undefined);
  try {
    return await use(await readCompressed(opened, work.engine.fronts, bits));
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
  /** To be called once this piece, and all before it, are restored. */
  readonly finish?: () => void;
}

/**
 * Decodes everything in the order of the original.
 *
 * @param isCoarse whether the file may be growing, and not all of its layers be there
 * @throws FileError where anything is not as it should be
 */
async function restore(
  compressed: Compressed,
  out: OutputFile | undefined,
  isCoarse: boolean,
  work: Work,
): Promise<void> {
  const { engine, bases, onProgress } = work;
  const base = await bases.baseOf(compressed);
  const { file, headerText, sha256, originalBytes } = compressed;
  const hash = createHash('sha256');
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
    piecesOf(compressed, base, work),
    engine.limits,
    ({ bytes }) => bytes,
    async (piece) => ({ piece, bytes: await piece.restore() }),
  );
  for await (const { piece, bytes } of restored) {
    await put(bytes, () => engine.release(bytes));
    piece.finish?.();
    onProgress(piece.storedBytes);
  }
  if (isCoarse) return;
  await file.checkUnchanged();
  if (at !== originalBytes || hash.digest('hex') !== sha256)
    throw new FileError(file.path, 'what it decodes to does not have the SHA-256 of the original');
}

async function* piecesOf(
  compressed: Compressed,
  base: OpenCheckpoint | undefined,
  work: Work,
): AsyncGenerator<Piece, void, void> {
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
    if (bytes <= SLICE_BYTES || layers.length > 0) yield wholePiece(compressed, base, work, batch);
    else if (!isStream) yield* keptPieces(compressed, engine, batch[0]);
    else if (engine.slicing === undefined || againstBase) yield wholePiece(compressed, base, work, batch);
    else yield* streamPieces(compressed, engine, engine.slicing, batch[0]);
  }
}

function* keptPieces({ file }: Compressed, engine: Engine, tensor: Restorable): Generator<Piece> {
  const { position, storedBytes } = tensor;
  for (let at = 0; at < storedBytes; at += SLICE_BYTES) {
    const bytes = Math.min(SLICE_BYTES, storedBytes - at);
    const restore = async (): Promise<Uint8Array> => {
      const read = await file.fill(engine.take(bytes), position + at);
      checkBytes(file.path, tensor, at, read);
      return read;
    };
    yield { bytes, storedBytes: bytes, restore };
  }
}

/** Tensors that are neighbours in the original and in the compressed file. */
function wholePiece(
  { file }: Compressed,
  base: OpenCheckpoint | undefined,
  { engine, bases }: Work,
  batch: readonly Restorable[],
): Piece {
  const [{ isStream, position, start }] = batch;
  const bytes = batch[batch.length - 1].end - start;
  const storedBytes = batch.reduce((sum, tensor) => sum + tensor.storedBytes, 0);
  return {
    bytes,
    storedBytes: batch.reduce((sum, tensor) => sum + bytesWithLayers(tensor), 0),
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
          base: base && tensor.againstBase ? await bases.read(base, tensor.copyOf ?? tensor.name) : undefined,
        });
      const tensors = await engine
        .decodeBatch({ fd: file.fd, position, length: storedBytes }, streams)
        .catch((error) => {
          throw batchError(file.path, batch, error);
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
      bytes: part.bytes,
      storedBytes: part.storedBytes,
      restore: () =>
        part.decode().catch((error) => {
          throw tensorError(file.path, name, error);
        }),
      finish: part === last ? stream.close : undefined,
    };
}
