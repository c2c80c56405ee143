// What makes a safetensors file a CodecLLM file: some of its tensors are streams, and its `__metadata__` says how to
// get the original file back.
//
//   codecllm.version   "1"
//   codecllm.streams   how many tensors are streams: the first so many by the order of their data
//   codecllm.sha256    of the original file, in hexadecimal
//   codecllm.header    "compact" or "python" where the original header is what that writer makes of the tensors in the
//                      order of the keys here, their data one after the other; else the original header itself
//
// The other entries of `__metadata__` are the original's.

import { readFront, streamLengths } from '../spec/stream.ts';
import { FileError, fileErrorOf, ItemError, problemOf, quoted } from './errors.ts';
import {
  byPlace,
  formatHeader,
  type Header,
  type HeaderStyle,
  MAX_HEADER_BYTES,
  parseHeader,
  STYLES,
  type TensorEntry,
} from './header.ts';
import type { InputFile } from './input.ts';
import { LENGTH_BYTES, type Safetensors } from './safetensors.ts';

const PREFIX = 'codecllm.';
const KEYS = {
  version: `${PREFIX}version`,
  streams: `${PREFIX}streams`,
  sha256: `${PREFIX}sha256`,
  header: `${PREFIX}header`,
} as const;
const VERSION = '1';

/** Data begin at a multiple of this. */
const DATA_ALIGNMENT = 64;

/** Whether a file carries any key of ours: it is a CodecLLM file, or pretends to be one. */
export function isCompressed({ metadata }: Header): boolean {
  return [...(metadata?.keys() ?? [])].some((key) => key.startsWith(PREFIX));
}

// ------------------------------------------------------------------------------------------ the original header

/** A tensor as a header's writer sees it. */
export type Described = Pick<TensorEntry, 'name' | 'dtype' | 'shape'> & { readonly bytes: number };

/**
 * The header that a writer of this style gives to tensors that lie one after the other, filled up to a multiple of 8.
 * Writers leave out metadata without entries.
 */
function writerHeader(
  style: HeaderStyle,
  entries: ReadonlyMap<string, string>,
  described: readonly Described[],
): string {
  const metadata = entries.size > 0 ? entries : undefined;
  let at = 0;
  const tensors = described.map(({ name, dtype, shape, bytes }) => {
    const start = at;
    at += bytes;
    return { name, dtype, shape, start, end: at };
  });
  const text = formatHeader({ metadata, tensors }, style);
  return text + ' '.repeat(-Buffer.byteLength(text) & 7);
}

/** The value of `codecllm.header`. */
export function describeHeader({ header, headerText }: Pick<Safetensors, 'header' | 'headerText'>): string {
  const described = header.tensors.map((tensor) => ({ ...tensor, bytes: tensor.end - tensor.start }));
  const entries = header.metadata ?? new Map();
  return STYLES.find((style) => writerHeader(style, entries, described) === headerText) ?? headerText;
}

// ---------------------------------------------------------------------------------------------------- writing

/** A tensor of a compressed file: its stream, or itself. */
export type Stored = TensorEntry & { readonly isStream: boolean };

/** The header of a compressed file. */
function newHeader(original: Header, stored: readonly Stored[], description: string, sha256: string): string {
  const metadata = new Map(original.metadata);
  metadata.set(KEYS.version, VERSION);
  metadata.set(KEYS.streams, String(stored.filter(({ isStream }) => isStream).length));
  metadata.set(KEYS.sha256, sha256);
  metadata.set(KEYS.header, description);
  const tensors = stored.map((tensor) => (tensor.isStream ? asStream(tensor) : tensor));
  return formatHeader({ metadata, tensors }, 'compact');
}

function asStream(tensor: TensorEntry): TensorEntry {
  return { ...tensor, dtype: 'U8', shape: [tensor.end - tensor.start] };
}

/** What a tensor takes of a header. */
function headerBytes(tensor: TensorEntry): number {
  return Buffer.byteLength(formatHeader({ metadata: undefined, tensors: [tensor] }, 'compact'));
}

/** Room for the header of a compressed file, kept before it is known which tensors become streams. */
export class HeaderSpace {
  /** Where the data begin in the file. */
  readonly dataStart: number;
  private readonly description: string;

  /** @throws FileError where the header would be longer than readers accept */
  constructor(private readonly original: Safetensors) {
    const { file, header, dataBytes } = original;
    this.description = describeHeader(original);
    // Nothing becomes longer, so no offset has more digits than this.
    const widest = header.tensors.map((tensor): Stored => {
      const kept = { ...tensor, start: dataBytes, end: dataBytes };
      const stream = { ...asStream(tensor), start: dataBytes, end: dataBytes };
      return { ...(headerBytes(kept) > headerBytes(stream) ? kept : stream), isStream: false };
    });
    // As many streams as digits may be needed for.
    const text = newHeader(header, widest, this.description, '0'.repeat(64)) + String(header.tensors.length);
    const bytes = LENGTH_BYTES + Buffer.byteLength(text);
    this.dataStart = Math.ceil(bytes / DATA_ALIGNMENT) * DATA_ALIGNMENT;
    if (this.dataStart - LENGTH_BYTES > MAX_HEADER_BYTES)
      throw new FileError(
        file.path,
        `its header would be longer than the ${MAX_HEADER_BYTES} bytes that readers accept`,
      );
  }

  /**
   * What stands before the data.
   *
   * @param stored in the order of the original's keys
   */
  fill(stored: readonly Stored[], sha256: string): Uint8Array {
    const bytes = new Uint8Array(this.dataStart).fill(0x20);
    new DataView(bytes.buffer).setBigUint64(0, BigInt(this.dataStart - LENGTH_BYTES), true);
    const header = new TextEncoder().encode(newHeader(this.original.header, stored, this.description, sha256));
    // Throws where it does not fit.
    bytes.set(header, LENGTH_BYTES);
    return bytes;
  }
}

// ---------------------------------------------------------------------------------------------------- reading

/** A tensor of the original file, and where its bytes or its stream are in the compressed one. */
export interface Restorable extends TensorEntry {
  readonly isStream: boolean;
  /** From the start of the compressed file. */
  readonly position: number;
  readonly storedBytes: number;
}

/** A CodecLLM file, as far as it can be known without decoding. */
export interface Container {
  readonly file: InputFile;
  /** The original's header, with the spaces that fill it up. */
  readonly headerText: string;
  readonly sha256: string;
  /** The original's size in bytes. */
  readonly originalBytes: number;
  /** In the order of the original's keys. */
  readonly tensors: readonly Restorable[];
}

/** How fronts of streams are read. All of it throws where one is not as it should be. */
export interface Fronts {
  /** Bytes of the front and of Data, from the first 64 bytes of a stream. */
  lengths(begin: Uint8Array): { front: number; data: number };
  /** What a front says of its tensor. */
  describe(front: Uint8Array): Omit<Described, 'name'>;
}

/** With the reference codec. */
export const referenceFronts: Fronts = {
  lengths: streamLengths,
  describe: (front) => {
    const { layout } = readFront(front).coding;
    return { dtype: layout.dtype.name, shape: layout.shape, bytes: (layout.words * layout.dtype.wordBits) / 8 };
  },
};

/**
 * Reads what a CodecLLM file says of its original.
 *
 * @throws FileError where it is not a CodecLLM file, or what it says cannot be true
 */
export async function readContainer(
  { file, header, dataStart }: Safetensors,
  fronts: Fronts = referenceFronts,
): Promise<Container> {
  const { path } = file;
  const entry = (key: string, pattern: RegExp): string => {
    const value = header.metadata?.get(key);
    if (value === undefined) throw new FileError(path, `${quoted(key)} is missing in its "__metadata__"`);
    if (!pattern.test(value)) throw new FileError(path, `${quoted(key)} in its "__metadata__" is damaged`);
    return value;
  };
  if (!isCompressed(header)) throw new FileError(path, 'not a CodecLLM file');
  const version = entry(KEYS.version, /^/);
  if (version !== VERSION)
    throw new FileError(path, `its version is ${quoted(version)}; this program reads ${VERSION}`);
  const sha256 = entry(KEYS.sha256, /^[0-9a-f]{64}$/);
  const streams = Number(entry(KEYS.streams, /^(0|[1-9][0-9]{0,8})$/));
  const description = entry(KEYS.header, /^(compact$|python$|\{)/);
  if (streams > header.tensors.length)
    throw new FileError(path, `${quoted(KEYS.streams)} in its "__metadata__" is more than it has tensors`);

  const isStream = new Set(
    byPlace(header.tensors)
      .slice(0, streams)
      .map(({ name }) => name),
  );
  const described: Described[] = [];
  for (const tensor of header.tensors) {
    const { name, start, end } = tensor;
    if (isStream.has(name)) {
      if (tensor.dtype !== 'U8' || tensor.shape.length !== 1)
        throw new FileError(path, `${quoted(name)} should hold a stream, and is not a vector of U8`);
      described.push({
        name,
        ...(await withFront(file, fronts, name, dataStart + start, end - start, fronts.describe)),
      });
    } else described.push({ ...tensor, bytes: end - start });
  }

  const rebuilt = STYLES.find((style) => style === description);
  const kept = new Map([...(header.metadata ?? [])].filter(([key]) => !key.startsWith(PREFIX)));
  const headerText = rebuilt ? writerHeader(rebuilt, kept, described) : description;
  const dataBytes = described.reduce((sum, { bytes }) => sum + bytes, 0);
  const original = parseHeader(headerText, `${path}, original header`, dataBytes);
  const stored = new Map(header.tensors.map((tensor, index) => [tensor.name, { tensor, as: described[index] }]));
  if (original.tensors.length !== stored.size)
    throw new FileError(path, `its original header has ${original.tensors.length} tensors, and it has ${stored.size}`);
  const tensors = original.tensors.map((tensor): Restorable => {
    const found = stored.get(tensor.name);
    if (found === undefined) throw new FileError(path, `${quoted(tensor.name)} of its original header is missing`);
    const { as } = found;
    if (as.dtype !== tensor.dtype || as.shape.join() !== tensor.shape.join() || as.bytes !== tensor.end - tensor.start)
      throw new FileError(
        path,
        `${quoted(tensor.name)} is ${as.dtype} [${as.shape}], and ${tensor.dtype} [${tensor.shape}] in its original header`,
      );
    return {
      ...tensor,
      isStream: isStream.has(tensor.name),
      position: dataStart + found.tensor.start,
      storedBytes: found.tensor.end - found.tensor.start,
    };
  });
  const originalBytes = LENGTH_BYTES + Buffer.byteLength(headerText) + dataBytes;
  return { file, headerText, sha256, originalBytes, tensors };
}

/** Most fronts are shorter, and so read at once. */
const USUAL_FRONT_BYTES = 2 ** 12;
/** The front of a tensor of 5 GiB takes a few MiB; more than this is refused before it is allocated. */
const MAX_FRONT_BYTES = 2 ** 29;

/**
 * Reads the front of a stream and makes something of it.
 *
 * @param position of the stream in the file
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
    const { front, data } = fronts.lengths(begin);
    if (front + data !== bytes) throw new Error(`a stream of ${front + data} bytes in a tensor of ${bytes}`);
    if (front > MAX_FRONT_BYTES) throw new Error(`a front of ${front} bytes, more than ${MAX_FRONT_BYTES}`);
    return use(front <= begin.length ? begin.subarray(0, front) : await file.read(position, front));
  } catch (error) {
    throw tensorError(file.path, name, error);
  }
}

/** A FileError, which names the tensor of a batch that an ItemError is about. */
export function batchError(path: string, batch: readonly { readonly name: string }[], error: unknown): FileError {
  return error instanceof ItemError ? tensorError(path, batch[error.item].name, error.cause) : fileErrorOf(path, error);
}

/** A FileError that names the tensor. */
export function tensorError(path: string, name: string, error: unknown): FileError {
  return error instanceof FileError ? error : new FileError(path, `${quoted(name)}: ${problemOf(error)}`);
}
