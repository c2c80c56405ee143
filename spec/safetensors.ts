// A safetensors file (FORMAT.md, section 11): 8 bytes that hold the length of the header, the header, the data. The
// header is JSON that gives every tensor its dtype, its shape and its place in the data.
//
// It is read strictly, and with the order of its keys, which JSON.parse does not always keep: a file is given back byte
// for byte, so what cannot be understood completely is refused.

import { DTYPES, wordCount } from './decoder/3-planes.ts';

/** Bytes before the header. */
export const LENGTH_BYTES = 8;
/** Readers refuse longer headers. */
export const MAX_HEADER_BYTES = 100_000_000;

export interface TensorEntry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Its bytes in the data: from `start` to before `end`. */
  readonly start: number;
  readonly end: number;
}

export interface Header {
  /** The entries of `__metadata__` in their order; undefined where there is none. */
  readonly metadata: ReadonlyMap<string, string> | undefined;
  /** In the order of their keys. */
  readonly tensors: readonly TensorEntry[];
}

/** How the two common writers format a header: serde_json of Rust, and json.dumps of Python. */
export type HeaderStyle = 'compact' | 'python';
export const STYLES: readonly HeaderStyle[] = ['compact', 'python'];

const METADATA_KEY = '__metadata__';

/** A file that section 11 does not allow. `place` is where: the keys in its header, or `length`, `header` or `data`. */
export class ContainerError extends Error {
  override readonly name = 'ContainerError';

  constructor(
    readonly place: string,
    problem: string,
  ) {
    super(problem);
  }
}

function refuse(place: string, problem: string): never {
  throw new ContainerError(place, `not a safetensors file: ${problem}`);
}

/** A name as messages show it: quoted, on one line, whatever is in it. */
export function quoted(name: string): string {
  return JSON.stringify(name);
}

// ---------------------------------------------------------------------------------------------------- reading

/**
 * The bytes of a file's header.
 *
 * @param begin the first 8 bytes of the file, or all of a shorter one
 * @throws ContainerError
 */
export function headerLength(begin: Uint8Array, fileBytes: number): number {
  if (begin.length < LENGTH_BYTES) refuse('length', `it has ${begin.length} bytes`);
  const length = new DataView(begin.buffer, begin.byteOffset).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) refuse('length', `a header of ${length} bytes, more than ${MAX_HEADER_BYTES}`);
  if (LENGTH_BYTES + Number(length) > fileBytes)
    refuse('length', `a header of ${length} bytes in a file of ${fileBytes}`);
  return Number(length);
}

/** A header's text, with the spaces that fill it up. @throws ContainerError where it is not UTF-8 */
export function headerText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse('header', 'its header is not UTF-8');
  }
}

/**
 * Reads a header and checks that its tensors fill the data without hole or overlap.
 *
 * @param dataBytes what follows the header; if it is left out, as many as the tensors fill
 * @throws ContainerError that names the tensor and the field
 */
export function parseHeader(text: string, dataBytes?: number): Header {
  const header = readJson(text);
  for (const tensor of header.tensors) checkSize(tensor);
  checkPlaces(header.tensors, dataBytes);
  return header;
}

const FIELDS = ['dtype', 'shape', 'data_offsets'] as const;

/** Reads JSON piece by piece: a header is an object of objects, of which the reader says what it expects. */
class Scanner {
  private at = 0;

  constructor(private readonly text: string) {}

  /** The next character that is not white space; undefined at the end. */
  peek(): string | undefined {
    let next = this.text[this.at];
    while (next === ' ' || next === '\n' || next === '\r' || next === '\t') next = this.text[++this.at];
    return next;
  }

  take(character: string): boolean {
    if (this.peek() !== character) return false;
    this.at++;
    return true;
  }

  expect(character: string): void {
    if (!this.take(character)) this.fail();
  }

  /** An object. @param member reads the value of a key */
  object(member: (key: string) => void): void {
    this.expect('{');
    if (this.take('}')) return;
    do {
      const key = this.string();
      this.expect(':');
      member(key);
    } while (this.take(','));
    this.expect('}');
  }

  /** @param element reads one */
  array(element: () => void): void {
    this.expect('[');
    if (this.take(']')) return;
    do element();
    while (this.take(','));
    this.expect(']');
  }

  string(): string {
    if (this.peek() !== '"') this.fail();
    const begin = this.at;
    let end = begin;
    let backslashes: number;
    do {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) this.fail();
      backslashes = 0;
      while (this.text[end - 1 - backslashes] === '\\') backslashes++;
    } while (backslashes % 2 === 1);
    let value: string;
    try {
      value = JSON.parse(this.text.slice(begin, end + 1));
    } catch {
      return this.fail();
    }
    // Half of a surrogate pair is no character: UTF-8 cannot hold it.
    if (/\p{Surrogate}/u.test(value)) refuse('header', `${quoted(value)} in its header is not valid Unicode`);
    this.at = end + 1;
    return value;
  }

  /** A string, a number, or a name like null, as it stands in the text. */
  scalar(): string {
    const begin = this.peek() === '"' ? this.at : -1;
    if (begin >= 0) {
      this.string();
      return this.text.slice(begin, this.at);
    }
    const scalar = /(-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?|true|false|null)/y;
    scalar.lastIndex = this.at;
    const [found] = scalar.exec(this.text) ?? this.fail();
    this.at += found.length;
    return found;
  }

  fail(): never {
    return refuse('header', `its header is not valid JSON at character ${this.at}`);
  }
}

function readJson(text: string): Header {
  if (!text.startsWith('{')) refuse('header', 'its header does not begin with {');
  const scanner = new Scanner(text);
  let metadata: Map<string, string> | undefined;
  const tensors = new Map<string, TensorEntry>();
  scanner.object((name) => {
    if (tensors.has(name) || (name === METADATA_KEY && metadata !== undefined))
      refuse(name, `${quoted(name)} occurs twice`);
    expectKind(scanner, '{', name, quoted(name));
    if (name === METADATA_KEY) metadata = readMetadata(scanner);
    else tensors.set(name, readTensor(scanner, name));
  });
  if (scanner.peek() !== undefined) scanner.fail();
  return { metadata, tensors: [...tensors.values()] };
}

const KINDS: Readonly<Record<string, string>> = { '{': 'an object', '[': 'an array', '"': 'a string' };

/** Checks by its first character that a value is an object, an array or a string. */
function expectKind(scanner: Scanner, expected: '{' | '[' | '"', place: string, where: string): void {
  const found = scanner.peek();
  if (found === expected) return;
  if (found === '{' || found === '[') refuse(place, `${where}: ${KINDS[found]} is not expected here`);
  scanner.scalar();
  refuse(place, `${where} is not ${KINDS[expected]}`);
}

function readMetadata(scanner: Scanner): Map<string, string> {
  const metadata = new Map<string, string>();
  scanner.object((key) => {
    const where = `${quoted(METADATA_KEY)}, ${quoted(key)}`;
    if (metadata.has(key)) refuse(`${METADATA_KEY}.${key}`, `${where} occurs twice`);
    expectKind(scanner, '"', `${METADATA_KEY}.${key}`, where);
    metadata.set(key, scanner.string());
  });
  return metadata;
}

function readTensor(scanner: Scanner, name: string): TensorEntry {
  let dtype: string | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  const found = new Set<string>();
  scanner.object((field) => {
    const place = `${name}.${field}`;
    const where = `${quoted(name)}, ${quoted(field)}`;
    if (found.has(field)) refuse(place, `${where} occurs twice`);
    found.add(field);
    if (field === 'dtype') {
      expectKind(scanner, '"', place, where);
      dtype = scanner.string();
    } else if (field === 'shape') shape = readNumbers(scanner, place, where);
    else if (field === 'data_offsets') {
      offsets = readNumbers(scanner, place, where);
      if (offsets.length !== 2) refuse(place, `${where} is not a pair of numbers`);
    } else refuse(place, `${where} is not a field that a tensor has`);
  });
  const missing = (field: string): never => refuse(name, `${quoted(name)} has no ${quoted(field)}`);
  const [start, end] = offsets ?? missing(FIELDS.find((field) => !found.has(field)) as string);
  return { name, dtype: dtype ?? missing('dtype'), shape: shape ?? missing('shape'), start, end };
}

function readNumbers(scanner: Scanner, place: string, where: string): number[] {
  const numbers: number[] = [];
  expectKind(scanner, '[', place, where);
  scanner.array(() => {
    const found = scanner.peek();
    if (found === '{' || found === '[') refuse(place, `${where}: ${KINDS[found]} is not expected here`);
    const digits = scanner.scalar();
    if (!/^(0|[1-9][0-9]*)$/.test(digits) || !Number.isSafeInteger(Number(digits)))
      refuse(place, `${where}: ${digits.slice(0, 40)} is not a whole number below 2^53`);
    numbers.push(Number(digits));
  });
  return numbers;
}

function checkSize({ name, dtype: dtypeName, shape, start, end }: TensorEntry): void {
  const refuseField = (field: string, problem: string): never =>
    refuse(`${name}.${field}`, `${quoted(name)}, ${quoted(field)}: ${problem}`);
  if (end < start) refuseField('data_offsets', `${end} is less than ${start}`);
  const dtype = DTYPES.find((candidate) => candidate.name === dtypeName);
  if (dtype === undefined) return;
  const words = wordCount(dtype, shape);
  const bytes = words === undefined ? undefined : (words * dtype.wordBits) / 8;
  if (bytes === undefined) refuseField('shape', `no tensor of ${dtypeName} is [${shape}]`);
  if (bytes !== end - start)
    refuseField('data_offsets', `${end - start} bytes where ${dtypeName} of shape [${shape}] has ${bytes}`);
}

/** Tensors in the order of their data; those without bytes stand before the one that begins where they do. */
export function byPlace<Tensor extends TensorEntry>(tensors: readonly Tensor[]): Tensor[] {
  return [...tensors].sort((a, b) => a.start - b.start || a.end - b.end);
}

function checkPlaces(tensors: readonly TensorEntry[], dataBytes = Number.POSITIVE_INFINITY): void {
  let at = 0;
  for (const { name, start, end } of byPlace(tensors)) {
    const refusePlace = (problem: string): never =>
      refuse(`${name}.data_offsets`, `${quoted(name)}, "data_offsets": ${problem}`);
    if (start < at) refusePlace(`begins at ${start}, where another tensor ends at ${at}`);
    if (start > at) refusePlace(`begins at ${start}, and nothing fills the data from ${at} on`);
    if (end > dataBytes) refusePlace(`ends at ${end}, and the data have ${dataBytes} bytes`);
    at = end;
  }
  if (at < dataBytes && Number.isFinite(dataBytes)) refuse('data', `${dataBytes - at} bytes follow the last tensor`);
}

// ---------------------------------------------------------------------------------------------------- writing

/** A header's text, without spaces to fill it up. */
export function formatHeader({ metadata, tensors }: Header, style: HeaderStyle): string {
  const [comma, colon] = style === 'compact' ? [',', ':'] : [', ', ': '];
  const string = style === 'compact' ? JSON.stringify : pythonString;
  const numbers = (values: readonly number[]): string => `[${values.join(comma)}]`;
  const entries = tensors.map(({ name, dtype, shape, start, end }) => {
    const fields = [
      `"dtype"${colon}${string(dtype)}`,
      `"shape"${colon}${numbers(shape)}`,
      `"data_offsets"${colon}${numbers([start, end])}`,
    ];
    return `${string(name)}${colon}{${fields.join(comma)}}`;
  });
  if (metadata !== undefined) {
    const pairs = Array.from(metadata, ([key, value]) => `${string(key)}${colon}${string(value)}`);
    entries.unshift(`${string(METADATA_KEY)}${colon}{${pairs.join(comma)}}`);
  }
  return `{${entries.join(comma)}}`;
}

/** A string as json.dumps writes it: in ASCII. */
function pythonString(value: string): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
