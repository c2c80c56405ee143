// A checkpoint becomes a CodecLLM file. Data are written first, streams and then kept tensors, into a file whose front
// is left free; the header, which needs their sizes, comes last.

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import {
  byPlace,
  bytesToLookAt,
  CHECKED_BYTES,
  COARSE_TILE_ROWS,
  coarse,
  DTYPES,
  type EncodeOptions,
  FIXED_BYTES,
  HeaderSpace,
  isItselfStream,
  keptOrder,
  layerOf,
  type Outcome,
  type Placed,
  type PlannedLayer,
  planLayers,
  quoted,
  type Relations,
  type TensorEntry,
} from '../../spec/index.ts';
import type { Slicing, TensorEncoder, WholeTensor } from '../engine/engine.ts';
import { inOrder } from '../engine/ordered.ts';
import { SLICE_BYTES, sliceBytes } from '../engine/slices.ts';
import { FileError, fileErrorOf } from '../files/errors.ts';
import { OutputFile, type Placing } from '../files/output.ts';
import { batchError, tensorError } from '../format/compressed.ts';
import { openSafetensors, type Safetensors } from '../format/safetensors.ts';
import { batchesOf } from './batches.ts';
import type { Folder } from './copies.ts';
import { findMatches, type Matches } from './matches.ts';
import type { FileReport } from './report.ts';
import type { Work } from './work.ts';

/**
 * Compresses one checkpoint.
 *
 * @param bases paths of what it may be coded against
 * @param folder the files that are compressed with it
 * @param inLayers whether tensors are put into layers, then without a base
 * @throws FileError; then nothing has been written, and `work.engine` is closed
 */
export async function compressFile(
  input: string,
  output: string,
  placing: Placing,
  options: EncodeOptions,
  bases: readonly string[],
  folder: Folder,
  work: Work,
  inLayers = false,
): Promise<FileReport> {
  const original = await openSafetensors(input);
  const { file } = original;
  try {
    const { within: copies, elsewhere } = await folder.copiesIn(original, work.bases);
    const copied = new Set([...copies.keys()].map((copy) => original.header.tensors[copy]));
    const mayBecomeStream = (tensor: TensorEntry): boolean => !copied.has(tensor) && hasStreams(tensor);
    const layersOf = (tensor: TensorEntry): PlannedLayer[] =>
      inLayers && mayBecomeStream(tensor) ? planLayers(tensor) : [];
    const matches = await findMatches(original, bases, elsewhere, mayBecomeStream, work.bases);
    const hashes: string[] = [];
    for (const path of matches.paths) hashes.push(await work.bases.sha256Of(path));
    const space = spaceFor(original, { copies, bases: hashes, against: matches.numbers, layersOf });
    await refuseStreams(original);
    const out = await OutputFile.create(output, placing, file.mode, input);
    try {
      const compression = new Compression(original, copied, matches, mayBecomeStream, layersOf, out, options, work);
      const { stored, layers, end, outcome } = await compression.writeTensors(space.dataStart);
      await out.write(0, [space.fill(stored, outcome)]);
      await file.checkUnchanged();
      await out.commit(end, outcome.sha256);
      work.bases.remember(input, outcome.sha256);
      return {
        input,
        output,
        bytesBefore: file.size,
        bytesAfter: end,
        sha256: outcome.sha256,
        checked: true,
        tensors: reports(original, stored, layers, copies),
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

function spaceFor({ file, header, headerText }: Safetensors, relations: Relations): HeaderSpace {
  try {
    return new HeaderSpace(header, headerText, relations);
  } catch (error) {
    throw fileErrorOf(file.path, error);
  }
}

/** @throws FileError where a tensor is itself a stream: nobody could tell it from those that are made here */
async function refuseStreams({ file, header, dataStart }: Safetensors): Promise<void> {
  for (const tensor of header.tensors) {
    const look = bytesToLookAt(tensor);
    if (look > 0 && isItselfStream(await file.read(dataStart + tensor.start, look)))
      throw new FileError(file.path, `${quoted(tensor.name)} is itself a stream`);
  }
}

function reports(
  { header }: Safetensors,
  stored: readonly Placed[],
  layers: readonly PlacedLayer[],
  copies: ReadonlyMap<number, number>,
): FileReport['tensors'] {
  const behind = new Map<TensorEntry, number>();
  for (const { of, start, end } of layers) behind.set(of, (behind.get(of) ?? 0) + end - start);
  return header.tensors.map((tensor, index) => ({
    name: tensor.name,
    dtype: tensor.dtype,
    shape: tensor.shape,
    bytesBefore: tensorBytes(tensor),
    bytesAfter: tensorBytes(stored[index]) + (behind.get(tensor) ?? 0),
    compressed: stored[index].isStream,
    copyOf: header.tensors[copies.get(index) ?? -1]?.name,
  }));
}

/** A layer behind the first one, and the tensor of the original that it is of. */
type PlacedLayer = TensorEntry & { readonly of: TensorEntry };

/**
 * What is left to do with tensors in their turn: to hash them, and to write at `position`.
 * @returns bytes of each one's stream; 0: no stream
 */
type Finish = (position: number) => Promise<readonly number[]>;

/** Tensors are worked on ahead, but hashed and written one after the other. */
class Compression {
  private readonly hash = createHash('sha256');
  /** The names of tensors that are coded against a base. */
  private readonly againstBase = new Set<string>();

  constructor(
    private readonly original: Safetensors,
    private readonly copied: ReadonlySet<TensorEntry>,
    private readonly matches: Matches,
    private readonly mayBecomeStream: (tensor: TensorEntry) => boolean,
    private readonly layersOf: (tensor: TensorEntry) => PlannedLayer[],
    private readonly out: OutputFile,
    private readonly options: EncodeOptions,
    private readonly work: Work,
  ) {}

  /**
   * @returns where each tensor is now, in the order of the header's keys, the layers behind the first ones, the end of the
   * file, and what the header needs
   */
  async writeTensors(
    dataStart: number,
  ): Promise<{ stored: Placed[]; layers: PlacedLayer[]; end: number; outcome: Outcome }> {
    const { file, header } = this.original;
    const stored = new Map<string, Placed>();
    let end = dataStart;
    const place = (tensor: TensorEntry, bytes: number, isStream: boolean): void => {
      stored.set(tensor.name, { ...tensor, start: end - dataStart, end: end - dataStart + bytes, isStream });
      end += bytes;
    };

    await this.hashFile(0, this.original.dataStart);
    const kept: TensorEntry[] = [];
    const { limits, slicing } = this.work.engine;
    const prepared = inOrder(
      batchesOf(byPlace(header.tensors), tensorBytes, (before, tensor) =>
        [before, tensor].every((each) => this.layersOf(each).length === 0),
      ),
      limits,
      // Of a large one, slices are held, not all of it, unless it has a base.
      (batch) =>
        slicing === undefined || this.layersOf(batch[0]).length > 0
          ? batchBytes(batch)
          : Math.min(limits.bytes / 2, batchBytes(batch)),
      async (batch) => ({ batch, finish: await this.prepare(batch) }),
    );
    for await (const { batch, finish } of prepared) {
      const lengths = await finish(end);
      batch.forEach((tensor, index) => {
        if (lengths[index] > 0) place(tensor, lengths[index], true);
        else if (!this.copied.has(tensor)) kept.push(tensor);
      });
    }

    const checks: number[] = [];
    for (const tensor of keptOrder(kept)) {
      let at = end;
      const position = this.positionOf(tensor);
      for await (const piece of file.pieces(position, position + tensorBytes(tensor), CHECKED_BYTES)) {
        checks.push(crc32(piece));
        await this.out.write(at, [piece]);
        await this.out.flush();
        at += piece.length;
      }
      place(tensor, tensorBytes(tensor), false);
    }
    for (const tensor of byPlace(header.tensors)) if (this.copied.has(tensor)) place(tensor, 0, false);
    const layers: PlacedLayer[] = [];
    for await (const { tensor, name, stream } of this.layerStreams((tensor) => stored.get(tensor.name)?.isStream)) {
      await this.out.write(end, [stream], () => this.work.engine.release(stream));
      const [start, shape] = [end - dataStart, [stream.length]];
      layers.push({ name, dtype: 'U8', shape, of: tensor, start, end: start + stream.length });
      end += stream.length;
    }
    const numbered = header.tensors.entries();
    const againstBase = new Set(
      [...numbered].flatMap(([number, { name }]) => (this.againstBase.has(name) ? number : [])),
    );
    return {
      stored: header.tensors.map(({ name }) => stored.get(name) as Placed),
      layers,
      end,
      outcome: { sha256: this.hash.digest('hex'), againstBase, checks, layers },
    };
  }

  private positionOf(tensor: TensorEntry): number {
    return this.original.dataStart + tensor.start;
  }

  private async hashFile(start: number, end: number): Promise<void> {
    for await (const piece of this.original.file.pieces(start, end)) this.hash.update(piece);
  }

  /** Works on tensors ahead of their turn. */
  private async prepare(batch: readonly TensorEntry[]): Promise<Finish> {
    const [tensor] = batch;
    const { slicing } = this.work.engine;
    if (this.layersOf(tensor).length > 0) return this.prepareCoarse(tensor);
    if (batchBytes(batch) <= SLICE_BYTES) return this.prepareWhole(batch);
    if (this.mayBecomeStream(tensor))
      return slicing && !this.matches.against.has(tensor.name)
        ? this.prepareLarge(tensor, slicing)
        : this.prepareWhole(batch);
    return async () => {
      await this.hashFile(this.positionOf(tensor), this.positionOf(tensor) + tensorBytes(tensor));
      this.work.onProgress(tensorBytes(tensor));
      return [0];
    };
  }

  /** Of a tensor in layers, the first one. */
  private async prepareCoarse(tensor: TensorEntry): Promise<Finish> {
    const { engine, onProgress } = this.work;
    const { dtype, shape } = tensor;
    const [{ first }] = this.layersOf(tensor);
    const original = await this.readTensor(tensor);
    const options = { ...this.options, tileRows: this.options.tileRows ?? COARSE_TILE_ROWS };
    const stream = await this.namingErrors(tensor, () =>
      engine.encode(coarse(original, dtype, first), dtype, shape, options),
    );
    return async (end) => {
      this.hash.update(original);
      onProgress(original.length);
      engine.release(original);
      if (stream.length >= tensorBytes(tensor)) return [0];
      await this.out.write(end, [stream], () => engine.release(stream));
      return [stream.length];
    };
  }

  /** The streams of the layers behind the first ones, in the order of the data. @param isInLayers of which there are some */
  private async *layerStreams(
    isInLayers: (tensor: TensorEntry) => boolean | undefined,
  ): AsyncGenerator<{ tensor: TensorEntry; name: string; stream: Uint8Array }, void, void> {
    const { engine } = this.work;
    const layers = byPlace(this.original.header.tensors)
      .filter(isInLayers)
      .flatMap((tensor) => this.layersOf(tensor).map((layer) => ({ tensor, layer })))
      .sort((a, b) => a.layer.first - b.layer.first);
    yield* inOrder(
      layers,
      engine.limits,
      ({ tensor }) => tensorBytes(tensor),
      async ({ tensor, layer }) => {
        const original = await this.readTensor(tensor);
        const bits = layerOf(original, tensor.dtype, layer);
        engine.release(original);
        const stream = await this.namingErrors(tensor, () => engine.encode(bits, 'U8', [bits.length], this.options));
        return { tensor, name: layer.name, stream };
      },
    );
  }

  private async readTensor(tensor: TensorEntry): Promise<Uint8Array> {
    return this.original.file.fill(this.work.engine.take(tensorBytes(tensor)), this.positionOf(tensor));
  }

  private async prepareWhole(batch: readonly TensorEntry[]): Promise<Finish> {
    const { engine, onProgress } = this.work;
    const { file } = this.original;
    const position = this.positionOf(batch[0]);
    const length = batchBytes(batch);
    const encoded = batch.filter((tensor) => this.mayBecomeStream(tensor));
    const tensors: WholeTensor[] = [];
    for (const tensor of encoded) {
      const { name, dtype, shape } = tensor;
      const base = await this.work.bases.readBase(this.matches.against, name);
      tensors.push({ start: this.positionOf(tensor) - position, length: tensorBytes(tensor), dtype, shape, base });
    }
    const { original, streams, lengths } = await engine
      .encodeBatch({ fd: file.fd, position, length }, tensors, this.options)
      .catch((error) => {
        throw batchError(file.path, encoded, error);
      });
    const lengthOf = new Map(encoded.map((tensor, index) => [tensor, lengths[index]]));
    let at = 0;
    tensors.forEach(({ base }, index) => {
      const stream = streams.subarray(at, at + lengths[index]);
      if (base && stream.length > 0 && engine.fronts.describe(stream).againstBase)
        this.againstBase.add(encoded[index].name);
      at += stream.length;
    });
    return async (end) => {
      this.hash.update(original);
      engine.release(original);
      await this.out.write(end, [streams], () => engine.release(streams));
      onProgress(length);
      return batch.map((tensor) => lengthOf.get(tensor) ?? 0);
    };
  }

  private async prepareLarge(tensor: TensorEntry, slicing: Slicing): Promise<Finish> {
    const { onProgress } = this.work;
    const { dtype, shape } = tensor;
    const { fd } = this.original.file;
    return this.namingErrors(tensor, async () => {
      const encoder = slicing.openEncoder({
        fd,
        position: this.positionOf(tensor),
        dtype,
        shape,
        options: this.options,
      });
      await encoder.plan((done, pass) => {
        if (pass < 2) onProgress(PASS_SHARE * done);
      });
      return async (end) => {
        const length = await this.namingErrors(tensor, () => this.encode(tensor, encoder, end)).finally(encoder.close);
        return [length];
      };
    });
  }

  /**
   * Encodes a tensor slice by slice.
   * @returns the bytes of its stream, or 0 if it would not be smaller than the tensor
   */
  private async encode(tensor: TensorEntry, encoder: TensorEncoder, position: number): Promise<number> {
    const { engine, onProgress } = this.work;
    const bytes = tensorBytes(tensor);
    let length = 0;
    let isFirst = true;
    do {
      const encoded = inOrder(encoder.slices, engine.limits, sliceBytes, async (slice) => ({
        slice,
        ...(await encoder.encode(slice)),
      }));
      // The front holds what is known only after the last tile, but its length is known before the first.
      length = encoder.frontBytes;
      for await (const { slice, original, data } of encoded) {
        const start = position + length;
        length += data.length;
        if (isFirst) {
          this.hash.update(original);
          onProgress((1 - 2 * PASS_SHARE) * sliceBytes(slice));
        }
        engine.release(original);
        // What is written before it turns out to be too long stands behind the end of the file, or is written over.
        if (length < bytes) await this.out.write(start, [data], () => engine.release(data));
        else engine.release(data);
      }
      isFirst = false;
    } while (await encoder.plan(() => {}));
    if (length >= bytes) return 0;
    await this.out.write(position, [encoder.front()]);
    return length;
  }

  private async namingErrors<T>(tensor: TensorEntry, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw tensorError(this.original.file.path, tensor.name, error);
    }
  }
}

/** A progress bar moves by so much of a tensor's bytes in each of the first two passes, and by the rest in the last. */
const PASS_SHARE = 1 / 4;

/** Whether there are streams of such a tensor that could be smaller than it. */
export function hasStreams(tensor: TensorEntry): boolean {
  const known = DTYPES.some(({ name }) => name === tensor.dtype);
  return known && tensor.shape.length <= 255 && tensorBytes(tensor) > FIXED_BYTES;
}

function tensorBytes({ start, end }: TensorEntry): number {
  return end - start;
}

function batchBytes(batch: readonly TensorEntry[]): number {
  return batch.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
}
