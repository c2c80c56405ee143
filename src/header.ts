// The header of a safetensors file: JSON that gives every tensor its dtype, its shape and its place in the data.
//
// It is read strictly, and with the order of its keys, which JSON.parse does not always keep: a file is given back byte
// for byte, so what cannot be understood completely is refused.

import { visit } from 'jsonc-parser';
import { DTYPES, wordCount } from '../spec/elements.ts';
import { FileError, quoted } from './errors.ts';

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

// ---------------------------------------------------------------------------------------------------- reading

const FIELDS = ['dtype', 'shape', 'data_offsets'] as const;
type Field = (typeof FIELDS)[number];

/**
 * Reads a header and checks that its tensors fill the data without hole or overlap.
 *
 * @param path of the file, for errors
 * @param dataBytes what follows the header
 * @throws FileError that names the tensor and the field
 */
export function parseHeader(text: string, path: string, dataBytes: number): Header {
  const header = parseUsual(text) ?? parseJson(text, path);
  for (const tensor of header.tensors) checkSize(tensor, path);
  checkPlaces(header.tensors, path, dataBytes);
  return header;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const isText = (value: unknown): value is string => typeof value === 'string';
const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * Reads a header with JSON.parse, many times faster than a parser in JavaScript. That is right if the header, written
 * again, is the same text: then it has no key twice, and no other order or number than was read.
 *
 * @returns undefined where it is not, or where the text has an escape, which may be half of a character
 */
function parseUsual(text: string): Header | undefined {
  const trimmed = trimSpaces(text);
  if (trimmed.includes('\\')) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(trimmed);
  } catch {
    return undefined;
  }
  if (!isObject(parsed)) return undefined;
  let metadata: Map<string, string> | undefined;
  const tensors: TensorEntry[] = [];
  for (const [name, value] of Object.entries(parsed)) {
    if (!isObject(value)) return undefined;
    if (name === METADATA_KEY) {
      const entries = Object.entries(value);
      if (!entries.every((entry): entry is [string, string] => isText(entry[1]))) return undefined;
      metadata = new Map(entries);
    } else {
      const { dtype, shape, data_offsets: offsets } = value;
      if (!isText(dtype) || !Array.isArray(shape) || !shape.every(isWhole)) return undefined;
      if (!Array.isArray(offsets) || !offsets.every(isWhole)) return undefined;
      tensors.push({ name, dtype, shape, start: offsets[0], end: offsets[1] });
    }
  }
  const header = { metadata, tensors };
  return STYLES.some((style) => formatHeader(header, style) === trimmed) ? header : undefined;
}

function parseJson(text: string, path: string): Header {
  const refuse = (problem: string): never => {
    throw new FileError(path, `not a safetensors file: ${problem}`);
  };
  if (!text.startsWith('{')) refuse('its header does not begin with {');
  let metadata: Map<string, string> | undefined;
  const tensors = new Map<string, TensorEntry>();
  // Where the parser is: in the value of the key `name`, and there in that of `field`.
  let depth = 0;
  let name = '';
  let field = '';
  let fields = new Map<Field, string | number[]>();
  let numbers: number[] | undefined;
  const where = (): string => (depth === 1 ? quoted(name) : `${quoted(name)}, ${quoted(field)}`);
  const checkText = (value: string): void => {
    // Half of a surrogate pair is no character: UTF-8 cannot hold it.
    if (/\p{Surrogate}/u.test(value)) refuse(`${quoted(value)} in its header is not valid Unicode`);
  };
  visit(
    trimSpaces(text),
    {
      onError: (_, offset) => refuse(`its header is not valid JSON at character ${offset}`),
      onObjectBegin: () => {
        if (depth > 1 || numbers !== undefined) refuse(`${where()}: an object is not expected here`);
        if (depth === 1) {
          fields = new Map();
          if (name === METADATA_KEY) metadata = new Map();
        }
        depth++;
      },
      onObjectProperty: (key) => {
        checkText(key);
        if (depth === 1) {
          if (tensors.has(key) || (key === METADATA_KEY && metadata !== undefined))
            refuse(`${quoted(key)} occurs twice`);
          name = key;
        } else {
          field = key;
          if (name === METADATA_KEY ? metadata?.has(key) : fields.has(key as Field)) refuse(`${where()} occurs twice`);
        }
      },
      onObjectEnd: () => {
        depth--;
        if (depth !== 1 || name === METADATA_KEY) return;
        const missing = FIELDS.find((key) => !fields.has(key));
        if (missing !== undefined) refuse(`${quoted(name)} has no ${quoted(missing)}`);
        const [start, end] = fields.get('data_offsets') as number[];
        tensors.set(name, {
          name,
          dtype: fields.get('dtype') as string,
          shape: fields.get('shape') as number[],
          start,
          end,
        });
      },
      onArrayBegin: () => {
        const expected = depth === 2 && name !== METADATA_KEY && (field === 'shape' || field === 'data_offsets');
        if (!expected || numbers !== undefined) refuse(`${where()}: an array is not expected here`);
        numbers = [];
      },
      onArrayEnd: () => {
        if (field === 'data_offsets' && numbers?.length !== 2) refuse(`${where()} is not a pair of numbers`);
        fields.set(field as Field, numbers as number[]);
        numbers = undefined;
      },
      onLiteralValue: (value: unknown, offset, length) => {
        if (numbers !== undefined) {
          const digits = text.slice(offset, offset + length);
          if (!/^(0|[1-9][0-9]*)$/.test(digits) || !Number.isSafeInteger(value))
            refuse(`${where()}: ${digits} is not a whole number below 2^53`);
          numbers.push(value as number);
        } else if (depth === 2 && name === METADATA_KEY) {
          if (typeof value !== 'string') return refuse(`${where()} is not a string`);
          checkText(value);
          metadata?.set(field, value);
        } else if (depth === 2 && field === 'dtype') {
          if (typeof value !== 'string') return refuse(`${where()} is not a string`);
          checkText(value);
          fields.set(field, value);
        } else if (depth === 2 && (field === 'shape' || field === 'data_offsets')) refuse(`${where()} is not an array`);
        else if (depth === 2) refuse(`${where()} is not a field that a tensor has`);
        else refuse(`${where()} is not an object`);
      },
    },
    { disallowComments: true, allowTrailingComma: false },
  );
  return { metadata, tensors: [...tensors.values()] };
}

/** Without the spaces at the end, by which headers are filled up. */
function trimSpaces(text: string): string {
  let end = text.length;
  while (text[end - 1] === ' ') end--;
  return text.slice(0, end);
}

function checkSize({ name, dtype: dtypeName, shape, start, end }: TensorEntry, path: string): void {
  const refuse = (problem: string): never => {
    throw new FileError(path, `not a safetensors file: ${quoted(name)}, ${problem}`);
  };
  if (end < start) refuse(`"data_offsets": ${end} is less than ${start}`);
  const dtype = DTYPES.find((candidate) => candidate.name === dtypeName);
  if (dtype === undefined) return;
  const words = wordCount(dtype, shape);
  const bytes = words === undefined ? undefined : (words * dtype.wordBits) / 8;
  if (bytes === undefined) refuse(`"shape": no tensor of ${dtypeName} is [${shape}]`);
  if (bytes !== end - start)
    refuse(`"data_offsets": ${end - start} bytes where ${dtypeName} of shape [${shape}] has ${bytes}`);
}

/** Tensors in the order of their data; those without bytes stand before the one that begins where they do. */
export function byPlace<Tensor extends TensorEntry>(tensors: readonly Tensor[]): Tensor[] {
  return [...tensors].sort((a, b) => a.start - b.start || a.end - b.end);
}

function checkPlaces(tensors: readonly TensorEntry[], path: string, dataBytes: number): void {
  const refuse = (problem: string): never => {
    throw new FileError(path, `not a safetensors file: ${problem}`);
  };
  let at = 0;
  for (const { name, start, end } of byPlace(tensors)) {
    if (start < at) refuse(`${quoted(name)}, "data_offsets": begins at ${start}, where another tensor ends at ${at}`);
    if (start > at)
      refuse(`${quoted(name)}, "data_offsets": begins at ${start}, and nothing fills the data from ${at} on`);
    if (end > dataBytes)
      refuse(`${quoted(name)}, "data_offsets": ends at ${end}, and the data have ${dataBytes} bytes`);
    at = end;
  }
  if (at < dataBytes) refuse(`${dataBytes - at} bytes follow the last tensor`);
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
