// A compressed checkpoint (FORMAT.md, section 11): a safetensors file in which tensors are streams, whose `__metadata__`
// says how to get the original back. Nothing is read or written here: a reader takes three steps.
//
//   readContainer   checks the file's header; says which tensors are streams, and which bytes have to be looked at
//   checkKept, checkStream, checkPiece   check what those bytes are
//   restoreHeader   gives the original's header, and the place of its tensors in both files

import { FIXED_BYTES, MAGIC } from './decoder/1-front.ts';
import { DTYPES } from './decoder/3-planes.ts';
import { crc32 } from './decoder/8-checks.ts';
import { type Layer, layerBytes, layerStarts, layersFrom } from './layers.ts';
import {
  byPlace,
  ContainerError,
  formatHeader,
  type Header,
  type HeaderStyle,
  LENGTH_BYTES,
  MAX_HEADER_BYTES,
  parseHeader,
  quoted,
  STYLES,
  type TensorEntry,
} from './safetensors.ts';
import tables from './tables.json' with { type: 'json' };

/** All keys that begin so are the format's own. */
const PREFIX = 'codecllm.';
const KEYS = {
  version: `${PREFIX}version`,
  streams: `${PREFIX}streams`,
  sha256: `${PREFIX}sha256`,
  header: `${PREFIX}header`,
  copies: `${PREFIX}copies`,
  base: `${PREFIX}base`,
  against: `${PREFIX}against`,
  layers: `${PREFIX}layers`,
  check: `${PREFIX}check`,
  kept: `${PREFIX}kept`,
} as const;
const VERSION = '1';

/** A header that has a check begins with this, and then the check in digits. */
const CHECK_START = `{"__metadata__":{"${KEYS.check}":"`;
const CHECK_DIGITS = 8;

/** Of a kept tensor there is a check for each so many bytes, and for what is left. */
export const CHECKED_BYTES = 2 ** 20;

/** Data begin at a multiple of this. */
export const DATA_ALIGNMENT = 64;

/** The magic and the version with which every stream begins (section 1). */
const STREAM_START = [...[0, 8, 16, 24].map((shift) => (MAGIC >> shift) & 0xff), tables.formatVersion];

/** A tensor as the original's header has it, but for its place. */
export type Described = Pick<TensorEntry, 'dtype' | 'shape'> & { readonly bytes: number };

/** The same as the front of a stream says it. */
export type DescribedStream = Described & { readonly againstBase: boolean };

/** Whether a file carries any key of the format's: it is compressed, or pretends to be. */
export function isCompressed({ metadata }: Header): boolean {
  return reservedKeys(metadata).length > 0;
}

function reservedKeys(metadata: Header['metadata']): string[] {
  return [...(metadata?.keys() ?? [])].filter((key) => key.startsWith(PREFIX));
}

/** Bits of an element; of a dtype that streams do not have, as many as its data say. */
function elementBits({ dtype, shape, start, end }: TensorEntry): number {
  const known = DTYPES.find(({ name }) => name === dtype);
  const elements = shape.reduce((product, dimension) => product * dimension, 1);
  return known?.bits ?? (elements > 0 ? (8 * (end - start)) / elements : 0);
}

/** Kept tensors in the order of their data, given the order of the original's: larger elements first keep all aligned. */
export function keptOrder<Tensor extends TensorEntry>(kept: readonly Tensor[]): Tensor[] {
  return [...kept].sort((a, b) => elementBits(b) - elementBits(a));
}

/**
 * How many bytes of a tensor, from its first, tell whether it is itself a stream: none of most. A file in which a kept
 * tensor is one would not say which of its tensors are streams.
 */
export function bytesToLookAt({ dtype, shape, start, end }: TensorEntry): number {
  return dtype === 'U8' && shape.length === 1 && end - start >= STREAM_START.length ? STREAM_START.length : 0;
}

/** Whether a tensor that begins with these bytes, as many as `bytesToLookAt` says, is itself a stream. */
export function isItselfStream(begin: Uint8Array): boolean {
  return STREAM_START.every((byte, index) => begin[index] === byte);
}

// ---------------------------------------------------------------------------------------------------- reading

/** A tensor of a base, which another one is coded against: numbers of the base, and among the tensors of its header. */
export interface BaseTensor {
  readonly base: number;
  readonly tensor: number;
}

/** A tensor of a compressed file. */
export interface Stored extends TensorEntry {
  readonly isStream: boolean;
  /** What it is coded against, if that is not the tensor of its name in the first base. */
  readonly against: BaseTensor | undefined;
  /** Its number among `tensors`, of what it is a copy of; undefined where it is none. */
  readonly copyOf: number | undefined;
  /** How many of its bytes have to be looked at, from its first: of a stream, those that tell the length of its front. */
  readonly look: number;
  /** Where it is kept, the CRC-32 of each of its pieces, unless the file has no checks. */
  readonly checks: readonly number[] | undefined;
}

/** A tensor of a compressed file that holds a layer of another. */
export interface StoredLayer extends TensorEntry {
  /** The number among `tensors` of what it is a layer of. */
  readonly of: number;
  /** The first bit that it has of a word. */
  readonly first: number;
}

/** What the header of a compressed file says. */
export interface Container {
  /** Of the original, in hexadecimal. */
  readonly sha256: string;
  /** Of the originals of the bases. */
  readonly bases: readonly string[];
  /** In the order of the header's keys, without those that hold layers. */
  readonly tensors: readonly Stored[];
  /** In the order of the header's keys, and of the data. */
  readonly layers: readonly StoredLayer[];
  /** The original's header and its text, where the file has them; else how it was written. */
  readonly original: { readonly header: Header; readonly text: string } | HeaderStyle;
  /** The original's entries. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Whether it has checks of its header and of kept tensors. */
  readonly isChecked: boolean;
}

/**
 * Reads what the header of a compressed file says, and checks all of it that can be checked without its data.
 *
 * @param text of the header, with the spaces that fill it up
 * @param dataStart where the data begin in the file
 * @throws ContainerError
 */
export function readContainer(header: Header, text: string, dataStart: number): Container {
  const place = (key: string): string => `__metadata__.${key}`;
  const optional = (key: string, pattern: RegExp): string | undefined => {
    const value = header.metadata?.get(key);
    if (value !== undefined && !pattern.test(value))
      throw new ContainerError(place(key), `${quoted(key)} in its "__metadata__" is damaged`);
    return value;
  };
  const entry = (key: string, pattern: RegExp): string => {
    const value = optional(key, pattern);
    if (value === undefined) throw new ContainerError(place(key), `${quoted(key)} is missing in its "__metadata__"`);
    return value;
  };
  const reserved = reservedKeys(header.metadata);
  if (reserved.length === 0) throw new ContainerError('__metadata__', 'not a CodecLLM file');
  const version = entry(KEYS.version, /^/);
  if (version !== VERSION)
    throw new ContainerError(place(KEYS.version), `its version is ${quoted(version)}; this program reads ${VERSION}`);
  checkHeader(header, text);
  const unknown = reserved.find((key) => !Object.values<string>(KEYS).includes(key));
  if (unknown !== undefined)
    throw new ContainerError(place(unknown), `${quoted(unknown)} in its "__metadata__" is not known`);
  const sha256 = entry(KEYS.sha256, /^[0-9a-f]{64}$/);
  const streams = Number(entry(KEYS.streams, /^(0|[1-9][0-9]{0,8})$/));
  const description = entry(KEYS.header, /^(compact$|python$|\{)/);
  const bases = optional(KEYS.base, /^[0-9a-f]{64}( [0-9a-f]{64})*$/)?.split(' ') ?? [];
  const layerCount = Number(optional(KEYS.layers, /^[1-9][0-9]{0,8}$/) ?? 0);
  if (layerCount > 0 && bases.length > 0)
    throw new ContainerError(
      place(KEYS.layers),
      `its "__metadata__" has ${quoted(KEYS.layers)} and ${quoted(KEYS.base)}`,
    );
  if (layerCount > header.tensors.length)
    throw new ContainerError(
      place(KEYS.layers),
      `${quoted(KEYS.layers)} in its "__metadata__" is more than it has tensors`,
    );
  const own = header.tensors.slice(0, header.tensors.length - layerCount);
  const digits = optional(KEYS.kept, /^([0-9a-f]{8})*$/);
  const copies = readCopies(own, optional(KEYS.copies, COPIES));
  if (streams > own.length - copies.size)
    throw new ContainerError(
      place(KEYS.streams),
      `${quoted(KEYS.streams)} in its "__metadata__" is more than it has tensors`,
    );
  if (dataStart % DATA_ALIGNMENT !== 0)
    throw new ContainerError('length', `its data begin at byte ${dataStart}, not at a multiple of ${DATA_ALIGNMENT}`);

  const isStream = new Set(
    byPlace(own)
      .slice(0, streams)
      .map(({ name }) => name),
  );
  const areStreams = own.map(({ name }) => isStream.has(name));
  const allAgainst = readAgainst(areStreams, bases.length, optional(KEYS.against, AGAINST));
  const checks = digits === undefined ? undefined : readChecks(byPlace(own).slice(streams), digits);
  const tensors = own.map((tensor, index): Stored => {
    const relations = { copyOf: copies.get(index), against: allAgainst.get(index), checks: checks?.get(tensor.name) };
    if (!areStreams[index]) return { ...tensor, ...relations, isStream: false, look: bytesToLookAt(tensor) };
    checkHoldsStream(tensor);
    return { ...tensor, ...relations, isStream: true, look: Math.min(FIXED_BYTES, tensor.end - tensor.start) };
  });
  const metadata = new Map([...(header.metadata ?? [])].filter(([key]) => !key.startsWith(PREFIX)));
  const style = STYLES.find((candidate) => candidate === description);
  const original = style ?? { header: readOriginal(description), text: description };
  const layers = readLayers(header.tensors.slice(own.length), tensors);
  const container = { sha256, bases, tensors, layers, original, metadata, isChecked: digits !== undefined };
  checkOrder(container);
  return container;
}

function checkHoldsStream({ name, dtype, shape }: TensorEntry): void {
  if (dtype !== 'U8' || shape.length !== 1)
    throw new ContainerError(name, `${quoted(name)} should hold a stream, and is not a vector of U8`);
}

/** The name of a layer: its first bit, and the name of its tensor. */
const layerName = (first: number, name: string): string => `${first}:${name}`;
const LAYER_NAME = /^([1-9][0-9]?):(.*)$/s;

/** Those tensors of a header that are layers. */
function readLayers(last: readonly TensorEntry[], tensors: readonly Stored[]): StoredLayer[] {
  const numbers = new Map(tensors.map(({ name, isStream }, number) => [name, isStream ? number : undefined]));
  return last.map((tensor) => {
    const { name } = tensor;
    checkHoldsStream(tensor);
    const [, first, layered = ''] = LAYER_NAME.exec(name) ?? [];
    const of = numbers.get(layered);
    if (of === undefined) throw new ContainerError(name, `${quoted(name)} should be a layer, and is none of a stream`);
    return { ...tensor, of, first: Number(first) };
  });
}

/** Checks a header against `codecllm.check`, if it has one. @param text of the header, with the spaces that fill it up */
function checkHeader({ metadata }: Header, text: string): void {
  const place = `__metadata__.${KEYS.check}`;
  const check = metadata?.get(KEYS.check);
  if ((check === undefined) !== (metadata?.get(KEYS.kept) === undefined))
    throw new ContainerError(
      place,
      `of ${quoted(KEYS.check)} and ${quoted(KEYS.kept)} in its "__metadata__" one is missing`,
    );
  if (check === undefined) return;
  if (text !== withCheck(text))
    throw new ContainerError(
      place,
      `its header is damaged: it does not have the check that ${quoted(KEYS.check)} says`,
    );
}

/** A header that begins as one with a check does, with the check that it has to have: the CRC-32 of what is behind it. */
function withCheck(text: string): string {
  const rest = text.slice(CHECK_START.length + CHECK_DIGITS);
  return CHECK_START + hexadecimal(crc32(new TextEncoder().encode(rest))) + rest;
}

function hexadecimal(crc: number): string {
  return crc.toString(16).padStart(CHECK_DIGITS, '0');
}

/**
 * The value of `codecllm.kept`.
 *
 * @param tensors those that are no streams, in the order of their data
 * @returns by name, the CRC-32 of each piece
 */
function readChecks(tensors: readonly TensorEntry[], digits: string): ReadonlyMap<string, readonly number[]> {
  const all = (digits.match(/.{8}/g) ?? []).map((check) => Number.parseInt(check, 16));
  let at = 0;
  const checks = tensors.map((tensor): [string, number[]] => {
    const begin = at;
    at += pieceCount(tensor);
    return [tensor.name, all.slice(begin, at)];
  });
  if (at !== all.length)
    throw new ContainerError(
      `__metadata__.${KEYS.kept}`,
      `${quoted(KEYS.kept)} in its "__metadata__" has ${all.length} checks where there are ${at}`,
    );
  return new Map(checks);
}

/** Of how many bytes there are checks. */
function pieceCount({ start, end }: TensorEntry): number {
  return Math.ceil((end - start) / CHECKED_BYTES);
}

/** The value of `codecllm.copies`. */
const COPIES = /^(0|[1-9][0-9]{0,8})=(0|[1-9][0-9]{0,8})( (0|[1-9][0-9]{0,8})=(0|[1-9][0-9]{0,8}))*$/;

/** @returns by the number of each copy, that of what it is a copy of */
function readCopies(tensors: readonly TensorEntry[], value: string | undefined): Map<number, number> {
  const pairs = (value?.split(' ') ?? []).map((pair) => pair.split('=').map(Number));
  const copies = new Map(pairs as [number, number][]);
  let before = -1;
  for (const [copy, of] of pairs) {
    if (copy <= before || copy >= tensors.length || of >= tensors.length || copies.has(of))
      throw new ContainerError(
        `__metadata__.${KEYS.copies}`,
        `${quoted(KEYS.copies)} in its "__metadata__": ${copy} cannot be a copy of ${of}`,
      );
    const { name, dtype, shape } = tensors[copy];
    if (dtype !== 'U8' || shape.join() !== '0')
      throw new ContainerError(name, `${quoted(name)} should be a copy, and is not U8 of shape [0]`);
    before = copy;
  }
  return copies;
}

/** The value of `codecllm.against`. */
const AGAINST = new RegExp(`^${'N=N.N( N=N.N)*'.replaceAll('.', '\\.').replaceAll('N', '(0|[1-9][0-9]{0,8})')}$`);

/** @returns by the number of a tensor, what it is coded against */
function readAgainst(
  areStreams: readonly boolean[],
  bases: number,
  value: string | undefined,
): Map<number, BaseTensor> {
  const against = new Map<number, BaseTensor>();
  let before = -1;
  for (const entry of value?.split(' ') ?? []) {
    const [number, base, tensor] = entry.split(/[=.]/).map(Number);
    if (number <= before || !areStreams[number] || base >= bases)
      throw new ContainerError(
        `__metadata__.${KEYS.against}`,
        `${quoted(KEYS.against)} in its "__metadata__": ${number} cannot be coded against ${base}.${tensor}`,
      );
    against.set(number, { base, tensor });
    before = number;
  }
  return against;
}

function readOriginal(text: string): Header {
  try {
    return parseHeader(text);
  } catch (error) {
    throw new ContainerError(`__metadata__.${KEYS.header}`, `original header: ${(error as Error).message}`);
  }
}

/** Checks that keys and data are in the order that the original gives them. */
function checkOrder({ tensors, layers, original, metadata }: Container): void {
  let ordered = tensors;
  if (typeof original !== 'string') {
    const place = `__metadata__.${KEYS.header}`;
    const { header } = original;
    const stored = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    if (header.tensors.length !== stored.size)
      throw new ContainerError(
        place,
        `its original header has ${header.tensors.length} tensors, and it has ${stored.size}`,
      );
    for (const [index, tensor] of header.tensors.entries()) {
      const found = stored.get(tensor.name);
      if (found === undefined)
        throw new ContainerError(place, `${quoted(tensor.name)} of its original header is missing`);
      if (tensors[index] !== found)
        throw new ContainerError(tensor.name, `${quoted(tensor.name)} has another place in its original header`);
      if (!found.isStream && found.copyOf === undefined)
        checkSame(tensor, { ...found, bytes: found.end - found.start });
    }
    const entries = (of: Header['metadata']): string => JSON.stringify([...(of ?? [])]);
    if (entries(metadata) !== entries(header.metadata))
      throw new ContainerError(place, 'its "__metadata__" does not have the entries of its original header');
    ordered = byPlace(header.tensors).map(({ name }) => stored.get(name) as Stored);
  }
  const streams = ordered.filter(({ isStream }) => isStream);
  const kept = ordered.filter(({ isStream, copyOf }) => !isStream && copyOf === undefined);
  const copies = ordered.filter(({ copyOf }) => copyOf !== undefined);
  const places = new Map(streams.map(({ name }, place) => [name, place]));
  const placeOf = ({ of }: StoredLayer): number => places.get(tensors[of].name) as number;
  const inLayers = [...layers].sort((a, b) => a.first - b.first || placeOf(a) - placeOf(b));
  let at = 0;
  for (const { name, start, end } of [...streams, ...keptOrder(kept), ...copies, ...inLayers]) {
    if (start !== at)
      throw new ContainerError(`${name}.data_offsets`, `${quoted(name)}: its data are not in the order of the format`);
    at = end;
  }
}

/**
 * Checks a kept tensor.
 *
 * @param begin its first `look` bytes
 * @throws ContainerError where it is a stream that `codecllm.streams` denies
 */
export function checkKept({ name }: Stored, begin: Uint8Array): void {
  if (isItselfStream(begin))
    throw new ContainerError(name, `${quoted(name)} is a stream, and ${quoted(KEYS.streams)} does not count it`);
}

/**
 * Checks a piece of a kept tensor, which is `CHECKED_BYTES` long, or what is left.
 *
 * @param number of the piece, from 0
 * @param crc its CRC-32 (section 8)
 * @throws ContainerError where there is a check, and it differs
 */
export function checkPiece({ name, checks }: Pick<Stored, 'name' | 'checks'>, number: number, crc: number): void {
  if (checks !== undefined && checks[number] !== crc)
    throw new ContainerError(name, `${quoted(name)}: its check differs from byte ${number * CHECKED_BYTES} on`);
}

/**
 * Checks that a stream is as long as the tensor that holds it.
 *
 * @param lengths what the stream's first 64 bytes say
 * @throws ContainerError
 */
export function checkStream(
  { name, start, end }: Pick<Stored, 'name' | 'start' | 'end'>,
  { front, data }: { readonly front: number; readonly data: number },
): void {
  if (front + data !== end - start)
    throw new ContainerError(name, `${quoted(name)}: a stream of ${front + data} bytes in a tensor of ${end - start}`);
}

/** A tensor of the original file, and where its bytes or its stream are in the data of the compressed one. */
export interface Restorable extends TensorEntry {
  readonly isStream: boolean;
  readonly againstBase: boolean;
  /** Which tensor that is, if it is not the one of the same name in the first base. */
  readonly against: BaseTensor | undefined;
  /** The tensor that it is a copy of, which is what is `stored`; undefined where it is none. */
  readonly copyOf: string | undefined;
  readonly stored: Extent;
  /** As those of `Stored`, of what is stored. */
  readonly checks: readonly number[] | undefined;
  /** Of those behind the first one, which is what is `stored`, the layers that are wanted, in order. */
  readonly layers: readonly RestorableLayer[];
}

export interface RestorableLayer extends Layer {
  readonly name: string;
  readonly stored: Extent;
  /** Of its bit string. */
  readonly bytes: number;
}

/** Bytes in the data of a file. */
export interface Extent {
  readonly start: number;
  readonly end: number;
}

/** An original file. */
export interface Original {
  /** With the spaces that fill it up. */
  readonly headerText: string;
  /** All of the file's. */
  readonly bytes: number;
  /** In the order of its keys. */
  readonly tensors: readonly Restorable[];
}

/**
 * The original's header.
 *
 * @param describe what a stream's front says of its tensor
 * @param bits how many of each word are wanted, at least: layers that begin later are not looked at
 * @throws ContainerError where they contradict what the file says
 */
export function restoreHeader(
  container: Container,
  describe: (tensor: TensorEntry) => DescribedStream,
  bits = Number.POSITIVE_INFINITY,
): Original {
  const { tensors, original, metadata } = container;
  const stored = tensors.map((tensor): DescribedStream => {
    const { name } = tensor;
    const bytes = tensor.end - tensor.start;
    if (!tensor.isStream) return { ...tensor, bytes, againstBase: false };
    const as = describe(tensor);
    if (bytes >= as.bytes)
      throw new ContainerError(name, `${quoted(name)}: a stream of ${bytes} bytes for a tensor of ${as.bytes}`);
    if (as.againstBase && container.bases.length === 0)
      throw new ContainerError(name, `${quoted(name)} is coded against a base, and ${quoted(KEYS.base)} names none`);
    if (!as.againstBase && tensor.against !== undefined)
      throw new ContainerError(name, `${quoted(name)} is not coded against a base, and ${quoted(KEYS.against)} has it`);
    return as;
  });
  const layers = describeLayers(container, stored, describe, bits);
  const described = tensors.map(({ name, copyOf }, index) => ({ ...stored[copyOf ?? index], name }));
  const dataBytes = described.reduce((sum, { bytes }) => sum + bytes, 0);
  let entries: readonly TensorEntry[];
  let headerText: string;
  if (typeof original === 'string') {
    entries = inARow(described);
    headerText = writerHeader(original, metadata, entries);
  } else {
    entries = original.header.tensors;
    headerText = original.text;
    for (const [index, entry] of entries.entries()) checkSame(entry, described[index]);
  }
  return {
    headerText,
    bytes: LENGTH_BYTES + byteLength(headerText) + dataBytes,
    tensors: entries.map((entry, index) => {
      const { copyOf } = tensors[index];
      const { isStream, against, start, end, checks } = tensors[copyOf ?? index];
      const { againstBase } = described[index];
      const relations = { copyOf: tensors[copyOf ?? -1]?.name, againstBase, against };
      const its = layers.get(copyOf ?? index) ?? [];
      return { ...entry, ...relations, isStream, stored: { start, end }, checks, layers: its };
    }),
  };
}

/** By the number of a tensor, those of its layers that are wanted. @param stored what the first ones say */
function describeLayers(
  { tensors, layers }: Container,
  stored: readonly Described[],
  describe: (tensor: TensorEntry) => DescribedStream,
  wanted: number,
): Map<number, RestorableLayer[]> {
  const byTensor = new Map<number, StoredLayer[]>();
  for (const layer of layers) byTensor.set(layer.of, [...(byTensor.get(layer.of) ?? []), layer]);
  const found = new Map<number, RestorableLayer[]>();
  for (const [of, own] of byTensor) {
    const { name } = tensors[of];
    const { dtype, bytes } = stored[of];
    own.sort((a, b) => a.first - b.first);
    const starts = own.map(({ first }) => first);
    const cut = layersFrom(dtype, starts);
    if (cut === undefined)
      throw new ContainerError(name, `${quoted(name)}: ${dtype} has no layers from bits ${starts.join(', ')} on`);
    const its = own
      .filter(({ first }) => first < wanted)
      .map((layer, index) => {
        const expected = layerBytes(dtype, bytes, cut[index]);
        const as = describe(layer);
        if (as.dtype !== 'U8' || as.shape.join() !== `${expected}` || as.againstBase)
          throw new ContainerError(
            layer.name,
            `${quoted(layer.name)} is ${as.dtype} [${as.shape}], and as a layer of ${quoted(name)} U8 [${expected}]`,
          );
        const { start, end } = layer;
        return { ...cut[index], name: layer.name, stored: { start, end }, bytes: expected };
      });
    found.set(of, its);
  }
  return found;
}

/**
 * Checks what a base says of the tensor that one is coded against.
 *
 * @throws ContainerError where it is another, or not there
 */
export function checkBaseTensor(tensor: TensorEntry, found: Pick<TensorEntry, 'dtype' | 'shape'> | undefined): void {
  const { name, dtype, shape } = tensor;
  const what = found === undefined ? 'lacks it' : `has ${found.dtype} [${found.shape}]`;
  if (found === undefined || found.dtype !== dtype || found.shape.join() !== shape.join())
    throw new ContainerError(name, `${quoted(name)} is coded against a ${dtype} [${shape}] of its base, which ${what}`);
}

function checkSame({ name, dtype, shape, start, end }: TensorEntry, as: Described): void {
  if (as.dtype !== dtype || as.shape.join() !== shape.join() || as.bytes !== end - start)
    throw new ContainerError(
      name,
      `${quoted(name)} is ${as.dtype} [${as.shape}], and ${dtype} [${shape}] in its original header`,
    );
}

// ------------------------------------------------------------------------------------------ the original header

const byteLength = (text: string): number => new TextEncoder().encode(text).length;

/** Tensors whose data follow one another. */
function inARow(described: readonly (Described & { readonly name: string })[]): TensorEntry[] {
  let at = 0;
  return described.map(({ name, dtype, shape, bytes }) => {
    const start = at;
    at += bytes;
    return { name, dtype, shape, start, end: at };
  });
}

/** A header as a writer of this style gives it, filled up to a multiple of 8. Writers leave out metadata without entries. */
function writerHeader(
  style: HeaderStyle,
  entries: ReadonlyMap<string, string>,
  tensors: readonly TensorEntry[],
): string {
  const text = formatHeader({ metadata: entries.size > 0 ? entries : undefined, tensors }, style);
  return text + ' '.repeat(-byteLength(text) & 7);
}

/** The value of `codecllm.header`. @param text of the header, with the spaces that fill it up */
export function describeHeader(header: Header, text: string): string {
  const tensors = inARow(header.tensors.map((tensor) => ({ ...tensor, bytes: tensor.end - tensor.start })));
  const entries = header.metadata ?? new Map();
  return STYLES.find((style) => writerHeader(style, entries, tensors) === text) ?? text;
}

// ---------------------------------------------------------------------------------------------------- writing

/** A tensor with its place in the new file; of a stream, dtype and shape are the original's. */
export type Placed = TensorEntry & { readonly isStream: boolean };

/** The tensor of a base that one may be coded against, and its name. */
export type Match = BaseTensor & { readonly name: string };

/** What a compressor knows before it begins. */
export interface Relations {
  /** Of copies, by their number among the header's tensors, the number of what they are a copy of. */
  readonly copies?: ReadonlyMap<number, number>;
  /** Of the originals of bases, in hexadecimal. */
  readonly bases?: readonly string[];
  /** By the number of a tensor, what it may be coded against. */
  readonly against?: ReadonlyMap<number, Match>;
  /** The layers that a tensor gets behind its first one, if there is a stream of that; none without it. */
  readonly layersOf?: typeof planLayers;
}

/** A layer of a tensor that a compressor makes, and its name. */
export interface PlannedLayer extends Layer {
  readonly name: string;
}

/** The layers that a compressor makes of a tensor behind the first one; none of most. */
export function planLayers({ name, dtype, start, end }: TensorEntry): PlannedLayer[] {
  const layers = layersFrom(dtype, layerStarts(dtype, end - start)) ?? [];
  return layers.map((layer) => ({ ...layer, name: layerName(layer.first, name) }));
}

/** What a compressor knows in the end. */
export interface Outcome {
  /** Of the original file, in hexadecimal. */
  readonly sha256: string;
  /** The numbers of the tensors that are coded against a base; undefined: of all that may be. */
  readonly againstBase: ReadonlySet<number> | undefined;
  /** The CRC-32 of each piece of each kept tensor, in the order of the data; undefined for a file without checks. */
  readonly checks: readonly number[] | undefined;
  /** Those behind the first ones, as vectors of bytes, in the order of the data. */
  readonly layers?: readonly TensorEntry[];
}

/** Room for the header of a compressed file, kept before it is known which tensors become streams. */
export class HeaderSpace {
  /** Where the data begin in the file. */
  readonly dataStart: number;
  private readonly description: string;

  /**
   * @param text of the original's header, with the spaces that fill it up
   * @param isChecked whether the file is to have checks, as it should
   * @throws ContainerError where the original has keys of the format's, or the header would be longer than readers accept
   */
  constructor(
    private readonly original: Header,
    text: string,
    private readonly relations: Relations = {},
    isChecked = true,
  ) {
    if (isCompressed(original)) throw new ContainerError('__metadata__', 'is compressed already');
    const names = new Set(original.tensors.map(({ name }) => name));
    const { copies, layersOf = () => [] } = relations;
    for (const { name } of original.tensors.flatMap(layersOf))
      if (names.has(name)) throw new ContainerError(name, `${quoted(name)} has the name of a layer of another tensor`);
    this.description = describeHeader(original, text);
    const dataBytes = original.tensors.reduce((most, { end }) => Math.max(most, end), 0);
    // Nothing becomes longer, so no offset has more digits than this.
    const widest = original.tensors.map((tensor): Placed => {
      const kept = { ...tensor, start: dataBytes, end: dataBytes };
      const stream = { ...streamEntry(tensor), start: dataBytes, end: dataBytes };
      return { ...(entryBytes(kept) > entryBytes(stream) ? kept : stream), isStream: false };
    });
    // They may even take more than the tensor.
    const layers = original.tensors.flatMap((tensor, index) =>
      copies?.has(index)
        ? []
        : layersOf(tensor).map(({ name }) => ({
            ...streamEntry(tensor),
            name,
            start: 2 * dataBytes,
            end: 2 * dataBytes,
          })),
    );
    // As many streams as digits may be needed for.
    const pieces = original.tensors.map((tensor, index) => (relations.copies?.has(index) ? 0 : pieceCount(tensor)));
    const checks = isChecked ? new Array(pieces.reduce((sum, count) => sum + count, 0)).fill(0) : undefined;
    const outcome = { sha256: '0'.repeat(64), againstBase: undefined, checks, layers };
    const longest = this.text(widest, outcome) + String(original.tensors.length);
    this.dataStart = Math.ceil((LENGTH_BYTES + byteLength(longest)) / DATA_ALIGNMENT) * DATA_ALIGNMENT;
    if (this.dataStart - LENGTH_BYTES > MAX_HEADER_BYTES)
      throw new ContainerError(
        'header',
        `its header would be longer than the ${MAX_HEADER_BYTES} bytes that readers accept`,
      );
  }

  /** What stands before the data. @param tensors in the order of the original's keys */
  fill(tensors: readonly Placed[], outcome: Outcome): Uint8Array {
    const bytes = new Uint8Array(this.dataStart).fill(0x20);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(this.dataStart - LENGTH_BYTES), true);
    const text = this.text(tensors, outcome);
    const filledUp = text + ' '.repeat(Math.max(0, this.dataStart - LENGTH_BYTES - byteLength(text)));
    // Throws where it does not fit.
    bytes.set(new TextEncoder().encode(outcome.checks === undefined ? filledUp : withCheck(filledUp)), LENGTH_BYTES);
    return bytes;
  }

  private text(tensors: readonly Placed[], { sha256, againstBase, checks, layers = [] }: Outcome): string {
    const { copies = new Map() } = this.relations;
    const metadata = new Map<string, string>();
    if (checks !== undefined) metadata.set(KEYS.check, hexadecimal(0));
    for (const [key, value] of this.original.metadata ?? []) metadata.set(key, value);
    metadata.set(KEYS.version, VERSION);
    metadata.set(KEYS.streams, String(tensors.filter(({ isStream }) => isStream).length));
    metadata.set(KEYS.sha256, sha256);
    metadata.set(KEYS.header, this.description);
    if (copies.size > 0) metadata.set(KEYS.copies, [...copies].map(([copy, of]) => `${copy}=${of}`).join(' '));
    for (const [key, value] of this.baseEntries(againstBase)) metadata.set(key, value);
    if (layers.length > 0) metadata.set(KEYS.layers, String(layers.length));
    if (checks !== undefined) metadata.set(KEYS.kept, checks.map(hexadecimal).join(''));
    const entries = tensors.map((tensor, index) =>
      tensor.isStream || copies.has(index) ? streamEntry(tensor) : tensor,
    );
    return formatHeader({ metadata, tensors: [...entries, ...layers] }, 'compact');
  }

  /** What is said of bases: of those, in their order, that tensors are coded against. */
  private baseEntries(againstBase: Outcome['againstBase']): [string, string][] {
    const { bases = [], against = new Map<number, Match>() } = this.relations;
    const used = [...against].filter(([number]) => againstBase?.has(number) ?? true).sort(([a], [b]) => a - b);
    const needed = new Set(used.map(([, { base }]) => base));
    const listed = [...bases.keys()].filter((base) => againstBase === undefined || needed.has(base));
    const others = used
      .map(([number, { base, tensor, name }]) => ({ number, name, base: listed.indexOf(base), tensor }))
      .filter(({ number, name, base }) => base > 0 || name !== this.original.tensors[number].name)
      .map(({ number, base, tensor }) => `${number}=${base}.${tensor}`);
    const entries: [string, string][] = [];
    if (listed.length > 0) entries.push([KEYS.base, listed.map((base) => bases[base]).join(' ')]);
    if (others.length > 0) entries.push([KEYS.against, others.join(' ')]);
    return entries;
  }
}

/** A stream as a tensor: a vector of bytes. */
function streamEntry(tensor: TensorEntry): TensorEntry {
  return { ...tensor, dtype: 'U8', shape: [tensor.end - tensor.start] };
}

/** What a tensor takes of a header. */
function entryBytes(tensor: TensorEntry): number {
  return byteLength(formatHeader({ metadata: undefined, tensors: [tensor] }, 'compact'));
}
