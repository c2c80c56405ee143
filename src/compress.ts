// A checkpoint becomes a CodecLLM file. Data are written first, streams and then kept tensors, into a file whose front
// is left free; the header, which needs their sizes, comes last.

import { createHash } from 'node:crypto';
import type { EncodeOptions } from '../spec/decisions.ts';
import { DTYPES } from '../spec/elements.ts';
import { FIXED_BYTES } from '../spec/stream.ts';
import { HeaderSpace, isCompressed, type Stored, tensorError } from './container.ts';
import type { Source, TensorEncoder } from './engine.ts';
import { FileError } from './errors.ts';
import { byPlace, type TensorEntry } from './header.ts';
import type { InputFile } from './input.ts';
import { inOrder } from './ordered.ts';
import { OutputFile } from './output.ts';
import type { FileReport } from './report.ts';
import { openSafetensors, type Safetensors } from './safetensors.ts';
import { SLICE_BYTES, sliceBytes } from './slices.ts';
import type { Work } from './work.ts';

/**
 * Compresses one checkpoint.
 *
 * @throws FileError; then nothing has been written, and `work.engine` is closed
 */
export async function compressFile(
  input: string,
  output: string,
  force: boolean,
  options: EncodeOptions,
  work: Work,
): Promise<FileReport> {
  const original = await openSafetensors(input);
  const { file } = original;
  try {
    if (isCompressed(original.header)) throw new FileError(input, 'is compressed already');
    const space = new HeaderSpace(original);
    const out = await OutputFile.create(output, force, file.mode, input);
    try {
      const sha256 = sha256Of(file);
      // Reported below, or not at all if something else fails.
      sha256.catch(() => {});
      const { stored, end } = await writeTensors(original, out, space, options, work);
      await out.write(0, [space.fill(stored, await sha256)]);
      await file.checkUnchanged();
      await out.commit(end);
      return {
        input,
        output,
        bytesBefore: file.size,
        bytesAfter: end,
        sha256: await sha256,
        tensors: reports(original, stored),
      };
    } catch (error) {
      // No thread may read a file that is about to be closed.
      await work.engine.close();
      await out.discard();
      throw error;
    }
  } finally {
    await file.close();
  }
}

async function sha256Of(file: InputFile): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of file.pieces(0, file.size)) hash.update(piece);
  return hash.digest('hex');
}

function reports({ header }: Safetensors, stored: readonly Stored[]): FileReport['tensors'] {
  return header.tensors.map(({ name, dtype, shape, start, end }, index) => ({
    name,
    dtype,
    shape,
    bytesBefore: end - start,
    bytesAfter: stored[index].end - stored[index].start,
    compressed: stored[index].isStream,
  }));
}

/** @returns where each tensor is now, in the order of the header's keys, and the end of the file */
async function writeTensors(
  { file, header, dataStart }: Safetensors,
  out: OutputFile,
  space: HeaderSpace,
  options: EncodeOptions,
  work: Work,
): Promise<{ stored: Stored[]; end: number }> {
  const { engine } = work;
  const sourceOf = (tensor: TensorEntry): Source => ({
    fd: file.fd,
    position: dataStart + tensor.start,
    bytes: tensor.end - tensor.start,
    dtype: tensor.dtype,
    shape: tensor.shape,
    options,
  });
  const stored = new Map<string, Stored>();
  let end = space.dataStart;
  const place = (tensor: TensorEntry, bytes: number, isStream: boolean): void => {
    stored.set(tensor.name, { ...tensor, start: end - space.dataStart, end: end - space.dataStart + bytes, isStream });
    end += bytes;
  };

  const kept: TensorEntry[] = [];
  const prepared = inOrder(
    byPlace(header.tensors),
    engine.limits,
    (tensor) => tensor.end - tensor.start,
    async (tensor) => ({
      tensor,
      result: await namingErrors(file, tensor, () => prepare(sourceOf(tensor), tensor, work)),
    }),
  );
  for await (const { tensor, result } of prepared) {
    let bytes = 0;
    if (result instanceof Uint8Array) {
      bytes = result.length;
      await out.write(end, [result]);
      engine.release(result);
    } else if (result !== undefined) {
      bytes = await namingErrors(file, tensor, () => codeTensor(tensor, result, out, end, work)).finally(() =>
        result.close(),
      );
    }
    if (bytes > 0) place(tensor, bytes, true);
    else kept.push(tensor);
  }

  // Larger elements first keeps everything aligned.
  kept.sort((a, b) => elementBits(b) - elementBits(a));
  for (const tensor of kept) {
    let at = end;
    for await (const piece of file.pieces(dataStart + tensor.start, dataStart + tensor.end)) {
      await out.write(at, [piece]);
      at += piece.length;
    }
    place(tensor, tensor.end - tensor.start, false);
  }
  return { stored: header.tensors.map(({ name }) => stored.get(name) as Stored), end };
}

async function namingErrors<T>(file: InputFile, tensor: TensorEntry, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw tensorError(file.path, tensor.name, error);
  }
}

function elementBits({ dtype, shape, start, end }: TensorEntry): number {
  const known = DTYPES.find(({ name }) => name === dtype);
  const elements = shape.reduce((product, dimension) => product * dimension, 1);
  return known?.bits ?? (elements > 0 ? (8 * (end - start)) / elements : 0);
}

/** Whether a stream of this tensor exists, and could be smaller than the tensor. */
function mayBecomeStream({ dtype, shape, start, end }: TensorEntry): boolean {
  return end - start > FIXED_BYTES && shape.length <= 255 && DTYPES.some(({ name }) => name === dtype);
}

/** A progress bar moves by so much of a tensor's bytes in each of the first two passes, and by the rest in the last. */
const PASS_SHARE = 1 / 4;

/** Works on a tensor ahead of its turn: @returns its stream if it is small, its encoder with everything decided, or undefined to keep it */
async function prepare(
  source: Source,
  tensor: TensorEntry,
  work: Work,
): Promise<Uint8Array | TensorEncoder | undefined> {
  const bytes = tensor.end - tensor.start;
  if (!mayBecomeStream(tensor)) {
    work.onProgress(bytes);
    return undefined;
  }
  if (bytes > SLICE_BYTES) {
    const encoder = work.engine.openEncoder(source);
    await encoder.plan((done, pass) => {
      if (pass < 2) work.onProgress(PASS_SHARE * done);
    });
    return encoder;
  }
  const stream = await work.engine.encodeWhole(source);
  work.onProgress(bytes);
  return stream;
}

/** Codes a tensor slice by slice. @returns the bytes of its stream, or 0 if it would not be smaller than the tensor */
async function codeTensor(
  tensor: TensorEntry,
  encoder: TensorEncoder,
  out: OutputFile,
  position: number,
  { engine, onProgress }: Work,
): Promise<number> {
  const bytes = tensor.end - tensor.start;
  const coded = inOrder(encoder.slices, engine.limits, sliceBytes, async (rows) => ({
    rows,
    data: await encoder.code(rows),
  }));
  // The front holds what is known only after the last tile, but its length is known before the first.
  let length = encoder.frontBytes;
  for await (const { rows, data } of coded) {
    const start = position + length;
    length += data.reduce((sum, part) => sum + part.length, 0);
    if (length >= bytes) {
      onProgress((1 - 2 * PASS_SHARE) * (bytes - rows.start));
      return 0;
    }
    await out.write(start, data);
    for (const part of data) engine.release(part);
    onProgress((1 - 2 * PASS_SHARE) * sliceBytes(rows));
  }
  await out.write(position, [encoder.front()]);
  return length;
}
