// What worker threads do, with the reference codec. A task brings a small tensor, or names bytes of an open file, which
// the thread reads itself; results are moved to the main thread, not copied. Descriptors are those of the
// process: the main thread closes them, after the last task.

import { move, transferableSymbol, valueSymbol } from 'piscina';
import { decide, type EncodeOptions, type Plan } from '../spec/decisions.ts';
import { decodeTensor, decodeTileRows, tileRange } from '../spec/decode.ts';
import { DTYPES } from '../spec/elements.ts';
import { encodeSlice, encodeTensor, layoutFor } from '../spec/encode.ts';
import { type Layout, sliceRange } from '../spec/layout.ts';
import { gather, type Statistics, type StatisticsRequest } from '../spec/statistics.ts';
import { readFront } from '../spec/stream.ts';
import type { Coding, TileMetadata } from '../spec/tile.ts';
import type { CodedRows, Source } from './engine.ts';
import { type FileRange, readFullySync } from './input.ts';
import { buffersIn, share } from './share.ts';
import { SLICE_BYTES, type SliceRange, sliceBytes } from './slices.ts';

/** Which rows of tiles. */
export type Rows = Pick<SliceRange, 'firstBand' | 'bandCount'>;

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

export interface CodedSlice extends CodedRows {
  readonly tiles: readonly { readonly metadata: TileMetadata; readonly length: number }[];
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
    original: bytes.slice(),
    data: tiles.map(({ data }) => data),
  });
}

/** @returns the stream of a whole tensor, or no bytes if it is not smaller */
export function encodeWhole({
  tensor,
  dtype,
  shape,
  options,
}: {
  tensor: Uint8Array;
  dtype: string;
  shape: readonly number[];
  options: EncodeOptions;
}): Uint8Array {
  const stream = encodeTensor(tensor, dtype, shape, options);
  return moved(stream.length < tensor.length ? stream : new Uint8Array(0));
}

// ----------------------------------------------------------------------------------------------------- decoding

/** @returns the whole tensor. @throws FormatError */
export function decodeWhole(range: FileRange): Uint8Array {
  return moved(decodeTensor(readBytes(range)).data);
}

export interface DecodeTask {
  readonly fd: number;
  /** Of the stream in the file. */
  readonly position: number;
  readonly frontBytes: number;
  readonly rows: SliceRange;
  /** The stream's number, by which a front is known that was read before. */
  readonly id: number;
}

/** @returns the tensor's bytes in these rows. @throws FormatError */
export function decodeSlice({ fd, position, frontBytes, rows, id }: DecodeTask): Uint8Array {
  const stream = remember(id, () => readFront(readBytes({ fd, position, length: frontBytes }).slice()));
  const { firstBand, bandCount } = rows;
  const first = firstBand * stream.coding.layout.tilesAcross;
  const { start, end } = tileRange(stream, first, first + bandCount * stream.coding.layout.tilesAcross);
  const data = readBytes({ fd, position: position + frontBytes + start, length: end - start });
  const bytes = new Uint8Array(sliceBytes(rows));
  decodeTileRows(stream, firstBand, bandCount, data, bytes);
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
function readBytes({ fd, position, length }: FileRange): Uint8Array {
  if (length <= SLICE_BYTES && buffer.length < length) buffer = new Uint8Array(SLICE_BYTES);
  const bytes = length <= SLICE_BYTES ? buffer.subarray(0, length) : new Uint8Array(length);
  readFullySync(fd, bytes, position);
  return bytes;
}

function readRows(source: Source, layout: Layout, { firstBand, bandCount }: Rows): Uint8Array {
  const { start, end } = sliceRange(layout, firstBand, bandCount);
  return readBytes({ fd: source.fd, position: source.position + start, length: end - start });
}

/** Marks a result as one whose buffers are moved to the main thread. */
function moved<T>(value: T): T {
  const transferable = { [transferableSymbol as never]: [...buffersIn(value)], [valueSymbol as never]: value };
  return move(transferable as never) as T;
}
