// The container whole and in memory, by the steps of spec/container.ts: what vectors are made with, and held to.

import { createHash } from 'node:crypto';
import {
  bytesToLookAt,
  CHECKED_BYTES,
  type Container,
  checkBaseTensor,
  checkKept,
  checkPiece,
  checkStream,
  HeaderSpace,
  isCompressed,
  isItselfStream,
  keptOrder,
  type Placed,
  type PlannedLayer,
  readContainer,
  restoreHeader,
} from '../spec/container.ts';
import { crc32 } from '../spec/decoder/8-checks.ts';
import {
  DTYPES,
  decodeTensor,
  type EncodeOptions,
  encodeTensor,
  FormatError,
  inspectTensor,
  isUniform,
  nearestOf,
  PART_BYTES,
  samplePlaces,
  streamLengths,
} from '../spec/index.ts';
import { COARSE_TILE_ROWS, coarse, layerOf, refine } from '../spec/layers.ts';
import {
  byPlace,
  ContainerError,
  type Header,
  headerLength,
  headerText,
  LENGTH_BYTES,
  parseHeader,
  type TensorEntry,
} from '../spec/safetensors.ts';

/**
 * What has to be looked at before it is seen what is wrong: the file's header, the beginnings of tensors, the base, or
 * all.
 */
export type Step = 'header' | 'front' | 'base' | 'data';

/** What is refused, and how far one had to look. */
export class Refused extends Error {
  constructor(
    readonly step: Step,
    readonly place: string,
  ) {
    super(`${step}: ${place}`);
  }
}

/** A part of a step. @param place of what is refused in it without saying where */
function during<T>(step: Step, place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof ContainerError) throw new Refused(step, error.place);
    if (error instanceof FormatError) throw new Refused(step, place);
    throw error;
  }
}

/** A file of any header and any data. */
export function rawFile(header: string | Uint8Array, data: Uint8Array = new Uint8Array()): Uint8Array {
  const text = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(LENGTH_BYTES + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, LENGTH_BYTES);
  bytes.set(data, LENGTH_BYTES + text.length);
  return bytes;
}

/** What stands in a safetensors file. */
export function partsOf(file: Uint8Array): { dataStart: number; text: string; data: Uint8Array; header: Header } {
  const dataStart = LENGTH_BYTES + headerLength(file.subarray(0, LENGTH_BYTES), file.length);
  const text = headerText(file.subarray(LENGTH_BYTES, dataStart));
  return { dataStart, text, data: file.slice(dataStart), header: parseHeader(text, file.length - dataStart) };
}

export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/**
 * What the reference compressor makes of a checkpoint, or made before there were checks.
 *
 * @param bases the originals of what it is coded against
 * @param layersOf the layers that a tensor gets behind its first one
 * @throws Refused
 */
export function compress(
  original: Uint8Array,
  options: EncodeOptions = {},
  bases: readonly Uint8Array[] = [],
  isChecked = false,
  layersOf: (tensor: TensorEntry) => PlannedLayer[] = () => [],
): Uint8Array {
  const { text, data, header } = during('header', '', () => partsOf(original));
  const bytesOf = ({ start, end }: TensorEntry): Uint8Array => data.subarray(start, end);
  const copies = copiesIn(header.tensors, bytesOf);
  const candidates = bases.flatMap(tensorsOf);
  const matches = new Map<number, Candidate>();
  for (const [number, tensor] of header.tensors.entries()) {
    const tried =
      !copies.has(number) && tensor.end - tensor.start > 64 && DTYPES.some(({ name }) => name === tensor.dtype);
    const match = tried ? matchOf(tensor, bytesOf(tensor), candidates) : undefined;
    if (match !== undefined) matches.set(number, match);
  }
  const used = bases.filter((base) => [...matches.values()].some(({ file }) => file === base));
  const relations = {
    copies,
    bases: (used.length > 0 ? used : bases.slice(0, 1)).map(sha256Of),
    against: new Map(
      [...matches].map(
        ([
          index,
          {
            file,
            number,
            entry: { name },
          },
        ]) => [index, { base: used.indexOf(file), tensor: number, name }],
      ),
    ),
    layersOf,
  };
  const space = during('header', '', () => new HeaderSpace(header, text, relations, isChecked));
  const itself = header.tensors.find((tensor) => isItselfStream(bytesOf(tensor).subarray(0, bytesToLookAt(tensor))));
  if (itself !== undefined) throw new Refused('front', itself.name);
  const againstBase = new Set<number>();
  const chunks: Uint8Array[] = [];
  const placed = new Map<string, Placed>();
  let at = 0;
  const place = (tensor: TensorEntry, chunk: Uint8Array, isStream: boolean): void => {
    placed.set(tensor.name, { ...tensor, start: at, end: at + chunk.length, isStream });
    chunks.push(chunk);
    at += chunk.length;
  };
  const kept: TensorEntry[] = [];
  const copied: TensorEntry[] = [];
  for (const tensor of byPlace(header.tensors)) {
    const { dtype, shape } = tensor;
    const bytes = bytesOf(tensor);
    const index = header.tensors.indexOf(tensor);
    const [second] = layersOf(tensor);
    const words = second ? coarse(bytes, dtype, second.first) : bytes;
    const tileRows = second && COARSE_TILE_ROWS;
    let stream = dtype.startsWith('X') ? bytes : encodeTensor(words, dtype, shape, { tileRows, ...options });
    const match = matches.get(index);
    if (match !== undefined) {
      const against = encodeTensor(bytes, dtype, shape, { ...options, base: match.bytes });
      if (against.length < Math.min(stream.length, bytes.length)) {
        stream = against;
        againstBase.add(index);
      }
    }
    if (copies.has(index)) copied.push(tensor);
    else if (stream.length < bytes.length) place(tensor, stream, true);
    else kept.push(tensor);
  }
  const checks: number[] = [];
  for (const tensor of keptOrder(kept)) {
    const bytes = bytesOf(tensor);
    place(tensor, bytes, false);
    for (let begin = 0; begin < bytes.length; begin += CHECKED_BYTES)
      checks.push(crc32(bytes.subarray(begin, begin + CHECKED_BYTES)));
  }
  for (const tensor of copied) place(tensor, new Uint8Array(), false);
  const tensors = header.tensors.map(({ name }) => placed.get(name) as Placed);
  const layers: TensorEntry[] = [];
  const planned = byPlace(header.tensors).flatMap((tensor) =>
    placed.get(tensor.name)?.isStream ? layersOf(tensor).map((layer) => ({ tensor, layer })) : [],
  );
  for (const { tensor, layer } of planned.sort((a, b) => a.layer.first - b.layer.first)) {
    const bits = layerOf(bytesOf(tensor), tensor.dtype, layer);
    const stream = encodeTensor(bits, 'U8', [bits.length], options);
    layers.push({ name: layer.name, dtype: 'U8', shape: [stream.length], start: at, end: at + stream.length });
    chunks.push(stream);
    at += stream.length;
  }
  // Not a Buffer: a slice of that is no copy.
  const outcome = { sha256: sha256Of(original), againstBase, checks: isChecked ? checks : undefined, layers };
  return new Uint8Array(Buffer.concat([space.fill(tensors, outcome), ...chunks]));
}

/** A tensor of a base, by its number there. */
interface Candidate {
  readonly file: Uint8Array;
  readonly number: number;
  readonly entry: TensorEntry;
  readonly bytes: Uint8Array;
}

function tensorsOf(file: Uint8Array): Candidate[] {
  const { data, header } = partsOf(file);
  return header.tensors.map((entry, number) => ({ file, number, entry, bytes: data.slice(entry.start, entry.end) }));
}

/** What a tensor is tried against (FORMAT.md, A.12): its namesake, else the nearest. */
function matchOf(tensor: TensorEntry, bytes: Uint8Array, candidates: readonly Candidate[]): Candidate | undefined {
  const alike = candidates.filter(({ entry }) => `${entry.dtype} ${entry.shape}` === `${tensor.dtype} ${tensor.shape}`);
  const namesake = alike.find(({ entry }) => entry.name === tensor.name);
  const sample = sampleOf(bytes);
  const dtype = DTYPES.find(({ name }) => name === tensor.dtype);
  if (namesake !== undefined || dtype === undefined || isUniform(sample)) return namesake;
  const nearest = nearestOf(
    dtype,
    sample,
    alike.map((candidate) => sampleOf(candidate.bytes)),
  );
  return nearest === undefined ? undefined : alike[nearest];
}

function sampleOf(bytes: Uint8Array): Uint8Array {
  const parts = samplePlaces(bytes.length).map((at) => bytes.slice(at, at + PART_BYTES));
  return new Uint8Array(Buffer.concat(parts));
}

/** Of tensors of more than 64 bytes: the first in the data that has the same dtype, shape and bytes. */
function copiesIn(
  tensors: readonly TensorEntry[],
  bytesOf: (tensor: TensorEntry) => Uint8Array,
): ReadonlyMap<number, number> {
  const copies: [number, number][] = [];
  const placed = byPlace(tensors);
  tensors.forEach((tensor, number) => {
    const { dtype, shape, start, end } = tensor;
    const first = placed.find(
      (other) =>
        `${other.dtype} ${other.shape}` === `${dtype} ${shape}` &&
        Buffer.compare(bytesOf(other), bytesOf(tensor)) === 0,
    ) as TensorEntry;
    if (first !== tensor && end - start > 64) copies.push([number, tensors.indexOf(first)]);
  });
  return new Map(copies);
}

/** The data of a compressed file, and what its header says. @throws Refused */
export function opened(file: Uint8Array): { data: Uint8Array; container: Container } {
  return during('header', '', () => {
    const { header, text, dataStart, data } = partsOf(file);
    return { data, container: readContainer(header, text, dataStart) };
  });
}

/** Gives an original back. @param given where its bases are @throws Refused */
export function restore(file: Uint8Array, given: readonly Uint8Array[] = []): Uint8Array {
  return restoreBelow(file, given, []);
}

/** @param above what is being restored already, by SHA-256 */
function restoreBelow(file: Uint8Array, given: readonly Uint8Array[], above: readonly string[]): Uint8Array {
  const { data, container } = opened(file);
  const bytesOf = ({ start, end }: { start: number; end: number }): Uint8Array => data.subarray(start, end);
  for (const tensor of container.tensors)
    during('front', tensor.name, () => {
      const begin = bytesOf(tensor).subarray(0, tensor.look);
      if (tensor.isStream) checkStream(tensor, streamLengths(begin));
      else checkKept(tensor, begin);
    });
  for (const layer of container.layers)
    during('front', layer.name, () => checkStream(layer, streamLengths(bytesOf(layer))));
  const original = during('front', '', () =>
    restoreHeader(container, (tensor) =>
      during('front', tensor.name, () => {
        const { dtype, shape, tensorBytes, againstBase } = inspectTensor(bytesOf(tensor));
        return { dtype, shape, bytes: tensorBytes, againstBase };
      }),
    ),
  );
  const coded = original.tensors.filter(({ againstBase }) => againstBase);
  const bases = coded.length > 0 ? container.bases.map((base) => baseOf(base, container, given, above)) : [];
  const before = new Map<string, Uint8Array>();
  for (const tensor of coded) {
    const { name, copyOf = name, against } = tensor;
    const { header, data: inBase } = bases[against?.base ?? 0];
    const found = against ? header.tensors[against.tensor] : header.tensors.find((each) => each.name === copyOf);
    during('base', name, () => checkBaseTensor(tensor, found));
    before.set(name, inBase.subarray(found?.start, found?.end));
  }
  const header = new TextEncoder().encode(original.headerText);
  const restored = new Uint8Array(original.bytes);
  new DataView(restored.buffer).setBigUint64(0, BigInt(header.length), true);
  restored.set(header, LENGTH_BYTES);
  for (const tensor of original.tensors) {
    const { name, dtype, start, isStream, stored, layers } = tensor;
    const bytes = bytesOf(stored);
    if (!isStream)
      for (let begin = 0; begin < bytes.length; begin += CHECKED_BYTES) {
        const piece = bytes.subarray(begin, begin + CHECKED_BYTES);
        during('data', name, () => checkPiece(tensor, begin / CHECKED_BYTES, crc32(piece)));
      }
    const decoded = isStream ? during('data', name, () => decodeTensor(bytes, { base: before.get(name) }).data) : bytes;
    for (const layer of layers) {
      const bits = during('data', layer.name, () => decodeTensor(bytesOf(layer.stored)).data);
      if (!refine(decoded, dtype, layer, bits)) throw new Refused('data', layer.name);
    }
    restored.set(decoded, LENGTH_BYTES + header.length + start);
  }
  if (sha256Of(restored) !== container.sha256) throw new Refused('data', '__metadata__.codecllm.sha256');
  return restored;
}

/** The original of a base, by its SHA-256. */
function baseOf(base: string, { sha256 }: Container, given: readonly Uint8Array[], above: readonly string[]) {
  const trail = [...above, sha256];
  const found = given.find((file) => {
    const { header, text, dataStart } = partsOf(file);
    return (isCompressed(header) ? readContainer(header, text, dataStart).sha256 : sha256Of(file)) === base;
  });
  if (found === undefined || trail.includes(base)) throw new Refused('base', '__metadata__.codecllm.base');
  return partsOf(isCompressed(partsOf(found).header) ? restoreBelow(found, given, trail) : found);
}
