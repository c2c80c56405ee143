// What worker threads do. A task names bytes of an open file, which the thread reads itself; results are moved to the
// main thread, not copied. Descriptors are those of the process: the main thread closes them, after the last task.

import { readSync } from 'node:fs';
import { move, transferableSymbol, valueSymbol, workerData } from 'piscina';
import { decide, type EncodeOptions, type Plan } from '../spec/decisions.ts';
import { DTYPES } from '../spec/elements.ts';
import { encodeSlice, layoutFor } from '../spec/encode.ts';
import { type Layout, sliceRange } from '../spec/layout.ts';
import { gather, type Statistics, type StatisticsRequest } from '../spec/statistics.ts';
import type { Coding, TileMetadata } from '../spec/tile.ts';
import { type EngineName, engineNamed, type OpenStream } from './engine.ts';
import { type Handle, type Native, native } from './native.ts';
import { buffersIn, share } from './share.ts';
import { SLICE_BYTES } from './slices.ts';

/** The codec of this thread: the pool says which. */
const engine = engineNamed((workerData as { engine: EngineName }).engine);

/** A tensor to be encoded, and where it is. */
export interface Source {
  readonly fd: number;
  /** Of the tensor's first byte in the file. */
  readonly position: number;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly options: EncodeOptions;
}

/** Which rows of tiles. */
export interface Rows {
  readonly firstTileRow: number;
  readonly tileRowCount: number;
}

// ----------------------------------------------------------------------------------------------------- encoding

/** What to do next to plan a tensor: gather statistics, or nothing, because the plan is made. */
export type Step = { readonly request: StatisticsRequest } | { readonly plan: Plan };

/**
 * Takes the decisions that follow from the statistics gathered so far. They are taken again from the first on: that is
 * cheap, all but the last, and so no thread has to remember a tensor.
 */
export function nextStep({ source, answers }: { source: Source; answers: readonly Statistics[] }): Step {
  const passes = decide(layoutFor(source.dtype, source.shape, source.options), source.options);
  let step = passes.next();
  for (const answer of answers) step = passes.next(answer);
  return share(step.done ? { plan: step.value } : { request: step.value });
}

export function gatherSlice({
  source,
  rows,
  request,
}: {
  source: Source;
  rows: Rows;
  request: StatisticsRequest;
}): Statistics {
  const layout = layoutFor(source.dtype, source.shape, source.options);
  return moved(gather(layout, { ...rows, bytes: readRows(source, layout, rows) }, request));
}

export interface CodedSlice {
  readonly tiles: readonly { readonly metadata: TileMetadata; readonly length: number }[];
  /** The tiles' data, in order. */
  readonly data: readonly Uint8Array[];
}

/** @param task.plan as `nextStep` made it; `id` is the tensor's, by which a plan is known that came before */
export function codeSlice({
  source,
  rows,
  id,
  plan,
}: {
  source: Source;
  rows: Rows;
  id: number;
  plan: Plan;
}): CodedSlice {
  // The codec keeps what it derives from a plan's tables as long as it sees the same plan.
  const known = remember(id, () => ({ ...plan, coding: revive(plan.coding) }));
  const bytes = readRows(source, known.coding.layout, rows);
  const tiles = encodeSlice(known, { ...rows, bytes });
  return moved({
    tiles: tiles.map(({ metadata, data }) => ({ metadata, length: data.length })),
    data: tiles.map(({ data }) => data),
  });
}

interface NativeTask {
  readonly source: Source;
  readonly rows: Rows;
  readonly encoder: Handle;
}

export function gatherNative({ source, rows, encoder }: NativeTask): void {
  const layout = layoutFor(source.dtype, source.shape, source.options);
  const { firstTileRow, tileRowCount } = rows;
  nativeCodec().encoderGather(encoder, firstTileRow, tileRowCount, readRows(source, layout, rows));
}

export function advanceNative({ encoder }: Pick<NativeTask, 'encoder'>): void {
  nativeCodec().encoderAdvance(encoder);
}

/** @returns the slice's part of Data */
export function codeNative({ source, rows, encoder }: NativeTask): Uint8Array {
  const layout = layoutFor(source.dtype, source.shape, source.options);
  const { firstTileRow, tileRowCount } = rows;
  const data = new Uint8Array(nativeCodec().encoderCodeBound(encoder, tileRowCount));
  const bytes = readRows(source, layout, rows);
  return moved(data.subarray(0, nativeCodec().encoderCode(encoder, firstTileRow, tileRowCount, bytes, data)));
}

/** Tasks that name a native encoder come only where there is the native codec. */
function nativeCodec(): Native {
  return native() as Native;
}

/** @returns the stream of a whole tensor, or undefined if it is not smaller */
export function encodeWhole({ source, bytes }: { source: Source; bytes: number }): Uint8Array | undefined {
  const data = readBytes(source.fd, source.position, bytes);
  const stream = engine.encodeTensor(data, source.dtype, source.shape, source.options);
  return stream.length < bytes ? moved(stream) : undefined;
}

// ----------------------------------------------------------------------------------------------------- decoding

export interface DecodeTask {
  readonly fd: number;
  /** Of the stream in the file. */
  readonly position: number;
  readonly frontBytes: number;
  readonly rows: Rows;
  /** Bytes of the tensor in these rows. */
  readonly bytes: number;
  /** The stream's number, by which a front is known that was read before. */
  readonly id: number;
}

let opened: { id: number; stream: OpenStream } | undefined;

/** @returns the tensor's bytes in these rows. @throws FormatError, or an Error that says the same */
export function decodeSlice({ fd, position, frontBytes, rows, bytes: length, id }: DecodeTask): Uint8Array {
  if (opened?.id !== id) {
    opened?.stream.close();
    opened = undefined;
    opened = { id, stream: engine.openStream(readBytes(fd, position, frontBytes).slice()) };
  }
  const { stream } = opened;
  const { firstTileRow, tileRowCount } = rows;
  const { start, end } = stream.locate(firstTileRow, tileRowCount);
  const data = readBytes(fd, position + frontBytes + start, end - start);
  const bytes = new Uint8Array(length);
  stream.decode(firstTileRow, tileRowCount, data, bytes);
  return moved(bytes);
}

// ----------------------------------------------------------------------------------------------------- together

/** The last thing that `remember` made, and for which tensor. */
let memory: { id: number; value: unknown } | undefined;

function remember<T>(id: number, make: () => T): T {
  if (memory?.id !== id) memory = { id, value: make() };
  return memory.value as T;
}

/** The codec compares dtypes by identity, which a message does not keep. */
function revive(coding: Coding): Coding {
  const layout: Layout = { ...coding.layout, dtype: DTYPES[coding.layout.dtype.code] };
  return { ...coding, layout };
}

let buffer = new Uint8Array(0);

/** Reads into a buffer that the next call uses again, unless so much is read that it is better let go. */
function readBytes(fd: number, position: number, length: number): Uint8Array {
  if (length <= SLICE_BYTES && buffer.length < length) buffer = new Uint8Array(SLICE_BYTES);
  const bytes = length <= SLICE_BYTES ? buffer.subarray(0, length) : new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const read = readSync(fd, bytes, done, length - done, position + done);
    if (read === 0) throw new Error(`the file ends at byte ${position + done}`);
    done += read;
  }
  return bytes;
}

function readRows(source: Source, layout: Layout, { firstTileRow, tileRowCount }: Rows): Uint8Array {
  const { start, end } = sliceRange(layout, firstTileRow, tileRowCount);
  return readBytes(source.fd, source.position + start, end - start);
}

/** Marks a result as one whose buffers are moved to the main thread. */
function moved<T>(value: T): T {
  const transferable = { [transferableSymbol as never]: [...buffersIn(value)], [valueSymbol as never]: value };
  return move(transferable as never) as T;
}
