// A CodecLLM file gives its original back, byte for byte, or nothing: what is decoded is compared with the original's
// SHA-256 before it gets its name.

import { createHash } from 'node:crypto';
import { tileRange } from '../spec/decode.ts';
import { type Container, type Restorable, readContainer, readStream, tensorError } from './container.ts';
import { FileError } from './errors.ts';
import { byPlace } from './header.ts';
import { PIECE_BYTES } from './input.ts';
import { inOrder } from './ordered.ts';
import { OutputFile } from './output.ts';
import type { FileReport } from './report.ts';
import { openSafetensors } from './safetensors.ts';
import { slicesOf } from './slices.ts';
import type { Work } from './work.ts';
import type { DecodeTask } from './worker.ts';

/**
 * Restores one checkpoint.
 *
 * @throws FileError; then nothing has been written, and `work.pool` is closed
 */
export async function decompressFile(input: string, output: string, force: boolean, work: Work): Promise<FileReport> {
  return withContainer(input, work, async (container) => {
    const out = await OutputFile.create(output, force, container.file.mode, input);
    try {
      await restore(container, out, work);
      await out.commit(container.originalBytes);
      return report(container, output);
    } catch (error) {
      await out.discard();
      throw error;
    }
  });
}

/**
 * Decodes all of one checkpoint and compares every check and the SHA-256. Nothing is written.
 *
 * @throws FileError; then `work.pool` is closed
 */
export async function verifyFile(input: string, work: Work): Promise<FileReport> {
  return withContainer(input, work, async (container) => {
    await restore(container, undefined, work);
    return report(container, undefined);
  });
}

async function withContainer<T>(input: string, work: Work, use: (container: Container) => Promise<T>): Promise<T> {
  const compressed = await openSafetensors(input);
  try {
    return await use(await readContainer(compressed));
  } catch (error) {
    // No thread may read a file that is about to be closed.
    await work.pool.close();
    throw error;
  } finally {
    await compressed.file.close();
  }
}

function report({ file, originalBytes, sha256, tensors }: Container, output: string | undefined): FileReport {
  return {
    input: file.path,
    output,
    bytesBefore: originalBytes,
    bytesAfter: file.size,
    sha256,
    tensors: tensors.map(({ name, dtype, shape, start, end, storedBytes, isStream }) => ({
      name,
      dtype,
      shape,
      bytesBefore: end - start,
      bytesAfter: storedBytes,
      compressed: isStream,
    })),
  };
}

/** Consecutive bytes of the original: to be copied from the compressed file, or decoded. */
interface Piece {
  readonly tensor: Restorable;
  readonly bytes: number;
  /** What it takes of the compressed file. */
  readonly storedBytes: number;
  readonly from: { readonly position: number } | { readonly task: DecodeTask };
}

/** Decodes everything in the order of the original. @throws FileError where anything is not as it should be */
async function restore(container: Container, out: OutputFile | undefined, { pool, onProgress }: Work): Promise<void> {
  const { file, headerText, sha256, originalBytes } = container;
  const hash = createHash('sha256');
  let at = 0;
  const put = async (bytes: Uint8Array): Promise<void> => {
    hash.update(bytes);
    await out?.write(at, [bytes]);
    at += bytes.length;
  };
  const header = new TextEncoder().encode(headerText);
  const lengthField = new Uint8Array(8);
  new DataView(lengthField.buffer).setBigUint64(0, BigInt(header.length), true);
  await put(lengthField);
  await put(header);
  const restored = inOrder(
    piecesOf(container),
    pool.limits,
    ({ bytes }) => bytes,
    async ({ tensor, bytes, storedBytes, from }) => {
      try {
        const restoredBytes =
          'task' in from ? await pool.run('decodeSlice', from.task, bytes) : await file.read(from.position, bytes);
        return { restoredBytes, storedBytes };
      } catch (error) {
        throw tensorError(file.path, tensor.name, error);
      }
    },
  );
  for await (const { restoredBytes, storedBytes } of restored) {
    await put(restoredBytes);
    onProgress(storedBytes);
  }
  await file.checkUnchanged();
  if (at !== originalBytes || hash.digest('hex') !== sha256)
    throw new FileError(file.path, 'what it decodes to does not have the SHA-256 of the original');
}

/** Streams have numbers, by which threads know them again. */
let streams = 0;

async function* piecesOf({ file, tensors }: Container): AsyncGenerator<Piece, void, void> {
  for (const tensor of byPlace(tensors)) {
    const { name, position, storedBytes } = tensor;
    if (!tensor.isStream) {
      for (let at = 0; at < storedBytes; at += PIECE_BYTES) {
        const bytes = Math.min(PIECE_BYTES, storedBytes - at);
        yield { tensor, bytes, storedBytes: bytes, from: { position: position + at } };
      }
      continue;
    }
    const stream = await readStream(file, name, position, storedBytes);
    const { frontBytes } = stream;
    const { layout } = stream.coding;
    const id = streams++;
    for (const rows of slicesOf(layout)) {
      const first = rows.firstTileRow * layout.tilesAcross;
      const { start, end } = tileRange(stream, first, first + rows.tileRowCount * layout.tilesAcross);
      const bytes = rows.end - rows.start;
      yield {
        tensor,
        bytes,
        storedBytes: end - start,
        from: { task: { fd: file.fd, position, frontBytes, rows, bytes, id } },
      };
    }
  }
}
