// Fuzzes the container (FORMAT.md, section 11): any bytes are read as a checkpoint, as they are and with the lengths, places
// and CRCs that they need. Nothing but its own errors may come of them; a header that is read has to be
// written as what reads the same; and of a compressed file, so has the original's header.

import { isDeepStrictEqual } from 'node:util';
import { DATA_ALIGNMENT } from '../../spec/container.ts';
import { crc32 } from '../../spec/decoder/8-checks.ts';
import { seal } from '../../spec/encoder/front.ts';
import {
  ContainerError,
  checkKept,
  checkStream,
  DTYPES,
  FIXED_BYTES,
  FormatError,
  type Header,
  headerLength,
  headerText,
  inspectFront,
  isCompressed,
  isItselfStream,
  LENGTH_BYTES,
  parseHeader,
  readContainer,
  restoreHeader,
  type Stored,
  streamLengths,
  wordCount,
} from '../../spec/index.ts';
import { formatHeader, STYLES } from '../../spec/safetensors.ts';

function require(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** What the codec itself wrote, read again: what it refuses there is no fault of a file. */
function readAgain(text: string, dataBytes: number): Header | undefined {
  try {
    return parseHeader(text, dataBytes);
  } catch {
    return undefined;
  }
}

/** Reads a file as every reader does. @throws ContainerError, FormatError */
function read(file: Uint8Array): void {
  const length = headerLength(file.subarray(0, LENGTH_BYTES), file.length);
  const dataStart = LENGTH_BYTES + length;
  const text = headerText(file.subarray(LENGTH_BYTES, dataStart));
  const header = parseHeader(text, file.length - dataStart);
  for (const style of STYLES)
    require(isDeepStrictEqual(
      readAgain(formatHeader(header, style), file.length - dataStart),
      header,
    ), `written as ${style}, the header reads as another`);
  if (!isCompressed(header)) return;
  const container = readContainer(header, text, dataStart);
  const stream = ({ start, end }: Pick<Stored, 'start' | 'end'>): Uint8Array =>
    file.subarray(dataStart + start, dataStart + end);
  for (const tensor of container.tensors)
    if (tensor.isStream) checkStream(tensor, streamLengths(stream(tensor).subarray(0, FIXED_BYTES)));
    else if (tensor.look > 0) checkKept(tensor, stream(tensor).subarray(0, tensor.look));
  for (const layer of container.layers) checkStream(layer, streamLengths(stream(layer).subarray(0, FIXED_BYTES)));
  const original = restoreHeader(container, (tensor) => {
    const { dtype, shape, tensorBytes, againstBase } = inspectFront(stream(tensor));
    return { dtype, shape, bytes: tensorBytes, againstBase };
  });
  const { headerText: restored, bytes, tensors } = original;
  const placed = tensors.map(({ name, dtype, shape, start, end }) => ({ name, dtype, shape, start, end }));
  require(isDeepStrictEqual(
    readAgain(restored, bytes - LENGTH_BYTES - Buffer.byteLength(restored))?.tensors,
    placed,
  ), 'the original has other tensors than its header says');
}

interface Tensor {
  dtype?: string;
  shape: number[];
  data_offsets: number[];
}

/** The file with the length of its header, tensors one after the other in their order, and as many data as they have. */
function mended(file: Uint8Array): Uint8Array | undefined {
  if (file.length < LENGTH_BYTES) return undefined;
  const declared = LENGTH_BYTES + Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const end = declared <= file.length ? declared : file.lastIndexOf(0x7d) + 1;
  const text = new TextDecoder().decode(file.subarray(LENGTH_BYTES, end));
  let header: Record<string, Partial<Tensor> | null>;
  try {
    header = JSON.parse(text);
  } catch {
    return undefined;
  }
  const tensors = Object.values(header ?? {})
    .filter((tensor): tensor is Tensor => Array.isArray(tensor?.data_offsets) && Array.isArray(tensor.shape))
    .sort(({ data_offsets: [a, b] }, { data_offsets: [c, d] }) => a - c || b - d);
  let at = 0;
  for (const tensor of tensors) {
    const [from, to] = tensor.data_offsets;
    const dtype = DTYPES.find(({ name }) => name === tensor.dtype);
    const words = dtype && wordCount(dtype, tensor.shape);
    const bytes = dtype && words !== undefined ? (words * dtype.wordBits) / 8 : to - from;
    if (!(bytes >= 0 && bytes < 2 ** 20)) return undefined;
    tensor.data_offsets = [at, at + bytes];
    at += bytes;
  }
  const head = Buffer.from(checked(JSON.stringify(header)));
  const whole = new Uint8Array(LENGTH_BYTES + head.length + at);
  new DataView(whole.buffer).setBigUint64(0, BigInt(head.length), true);
  whole.set(head, LENGTH_BYTES);
  whole.set(file.subarray(end, end + at), LENGTH_BYTES + head.length);
  for (const tensor of tensors) sealStream(whole.subarray(LENGTH_BYTES + head.length + tensor.data_offsets[0]));
  return whole;
}

/** A header's text, filled up with spaces and, if it has a check, with the right one. */
function checked(text: string): string {
  const full = text + ' '.repeat(-(LENGTH_BYTES + Buffer.byteLength(text)) & (DATA_ALIGNMENT - 1));
  const [start, , rest] = /^({"__metadata__":{"codecllm.check":")([0-9a-f]{8})(.*)$/s.exec(full)?.slice(1) ?? [];
  return start === undefined ? full : start + crc32(Buffer.from(rest)).toString(16).padStart(8, '0') + rest;
}

/** Makes the CRCs of a stream right, if this is one. */
function sealStream(bytes: Uint8Array): void {
  if (!isItselfStream(bytes) || bytes.length < FIXED_BYTES) return;
  seal(bytes.subarray(0, FIXED_BYTES));
  try {
    seal(bytes.subarray(0, streamLengths(bytes).front));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
  }
}

export function fuzz(data: Uint8Array): void {
  for (const file of [data, mended(data)])
    try {
      if (file !== undefined) read(file);
    } catch (error) {
      if (!(error instanceof ContainerError || error instanceof FormatError)) throw error;
    }
}
