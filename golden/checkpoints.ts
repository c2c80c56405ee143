// The checkpoints of golden/checkpoint: originals with what they are compressed to, files that a reader refuses, and
// originals that a compressor refuses. Each of those is good but for one thing, which decides.

import { CHECKED_BYTES, HeaderSpace, type PlannedLayer, planLayers } from '../spec/container.ts';
import { crc32 } from '../spec/decoder/8-checks.ts';
import { decodeTensor, type EncodeOptions, encodeTensor, PART_BYTES, samplePlaces } from '../spec/index.ts';
import { COARSE_TILE_ROWS, layersFrom } from '../spec/layers.ts';
import { headerLength, LENGTH_BYTES, parseHeader, type TensorEntry } from '../spec/safetensors.ts';
import { compress, partsOf, rawFile, type Step, sha256Of } from './container.ts';

interface Vector {
  readonly id: string;
  readonly comment: string;
  readonly flags: readonly string[];
}

type CompressOptions = Pick<EncodeOptions, 'profile' | 'tileRows'> & { readonly progressive?: true };

export interface ValidCheckpoint extends Vector {
  /** With which the reference compressor writes these bytes; undefined where it writes others. */
  readonly options: CompressOptions | undefined;
  readonly original: Uint8Array;
  readonly compressed: Uint8Array;
  /** Files of valid checkpoints: what it is coded against, and that, and so on. */
  readonly bases: readonly string[];
}

export interface InvalidCheckpoint extends Vector {
  /** Of an original that a compressor refuses, those with which it does; undefined where it is with any. */
  readonly options?: CompressOptions;
  readonly file: Uint8Array;
  /** Files of valid checkpoints. */
  readonly bases: readonly string[];
  readonly error: { readonly place: string; readonly step: Step };
}

export interface Checkpoints {
  readonly valid: readonly ValidCheckpoint[];
  readonly invalid: readonly InvalidCheckpoint[];
  /** Originals. */
  readonly refused: readonly InvalidCheckpoint[];
}

// --------------------------------------------------------------------------------------------------------- files

interface Tensor {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

const SPACES = ' '.repeat(64);

/** JSON as json.dumps writes it. */
function dumps(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(dumps).join(', ')}]`;
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .map(([key, each]) => `${dumps(key)}: ${dumps(each)}`)
      .join(', ')}}`;
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A checkpoint as writers make it. @param text the header of these entries, which is filled up to a multiple of 8 */
function checkpoint(
  tensors: readonly Tensor[],
  metadata?: Readonly<Record<string, string>>,
  text: (header: Record<string, unknown>) => string = JSON.stringify,
): Uint8Array {
  const header: Record<string, unknown> = metadata === undefined ? {} : { __metadata__: metadata };
  let at = 0;
  for (const { name, dtype, shape, data } of tensors) {
    header[name] = { dtype, shape, data_offsets: [at, at + data.length] };
    at += data.length;
  }
  const written = text(header);
  const padding = SPACES.slice(0, -Buffer.byteLength(written) & 7);
  return rawFile(written + padding, Buffer.concat(tensors.map(({ data }) => data)));
}

// --------------------------------------------------------------------------------------------------------- tensors

/** A tensor that becomes a stream: words of which few are different. */
function weights(name: string, rows: number, columns: number): Tensor {
  const words = Uint16Array.from({ length: rows * columns }, (_, i) => 0x3c00 + ((i * i) % 61));
  return { name, dtype: 'BF16', shape: [rows, columns], data: new Uint8Array(words.buffer) };
}

/** The same after a step of training: every seventh word is another. */
function stepped(name: string, rows: number, columns: number, steps = 1): Tensor {
  const { data, ...rest } = weights(name, rows, columns);
  const words = new Uint16Array(data.buffer);
  for (let i = 0; i < words.length; i += 7) words[i] += steps;
  return { ...rest, data };
}

/** One that is near to no other of its shape: its words are all magnitudes. */
function noise(name: string, rows: number, columns: number): Tensor {
  const words = Uint16Array.from({ length: rows * columns }, (_, i) => (i * 1531) % 0x7f80);
  return { name, dtype: 'BF16', shape: [rows, columns], data: new Uint8Array(words.buffer) };
}

/**
 * One of 4,096 bytes that no stream makes shorter, in which words are others.
 *
 * @param wordOf what a word becomes; `place` is its place in a part of the sample by which bases are found (FORMAT.md,
 *   A.12), undefined where it is in none
 */
function sampled(name: string, wordOf: (word: number, i: number, place: number | undefined) => number): Tensor {
  const words = new Uint16Array(2048);
  const parts = samplePlaces(2 * words.length).map((at) => at / 2);
  let state = 1;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const begin = parts.find((at) => at <= i && i < at + PART_BYTES / 2);
    words[i] = wordOf((state >>> 16) & 0x7ff7, i, begin === undefined ? undefined : i - begin);
  }
  return { name, dtype: 'BF16', shape: [32, 64], data: new Uint8Array(words.buffer) };
}

/** One that becomes a stream of few bytes. */
function ones(name: string, rows: number, columns: number): Tensor {
  const words = new Uint16Array(rows * columns).fill(0x3f80);
  return { name, dtype: 'BF16', shape: [rows, columns], data: new Uint8Array(words.buffer) };
}

/** One whose words have all that makes coarse words differ: zeros, subnormals, infinities, and what is no number. */
function floats(name: string, dtype: 'BF16' | 'F16' | 'F32', words: number): Tensor {
  const [bits, exponentBits] = { BF16: [16, 8], F16: [16, 5], F32: [32, 8] }[dtype];
  const fraction = bits - 1 - exponentBits;
  const top = 2 ** exponentBits - 1;
  const all = Array.from({ length: words }, (_, i) => {
    const exponent = i % 13 === 0 ? 0 : i % 17 === 0 ? top : (top >> 1) - (i % 3);
    const noise = Math.imul(i * i, 2654435761) >>> (32 - Math.min(fraction, 11));
    const rest = i % 26 === 0 || i % 34 === 0 ? 0 : (noise << Math.max(0, fraction - 11)) | (i & 3);
    return (i % 2) * 2 ** (bits - 1) + exponent * 2 ** fraction + rest;
  });
  const data = new Uint8Array((bits === 16 ? Uint16Array.from(all) : Uint32Array.from(all)).buffer);
  return { name, dtype, shape: [words], data };
}

/** Bytes that become a stream. */
function byteStream(name: string, bytes: number): Tensor {
  return { name, dtype: 'I8', shape: [bytes], data: Uint8Array.from({ length: bytes }, (_, i) => i % 3) };
}

/** One that is kept: it is too small. */
function small(name: string, dtype: string, shape: readonly number[], bytes: number): Tensor {
  return { name, dtype, shape, data: Uint8Array.from({ length: bytes }, (_, i) => 1 + 7 * i) };
}

const streamOf = ({ data, dtype, shape }: Tensor): Uint8Array => encodeTensor(data, dtype, shape);

// --------------------------------------------------------------------------------------------------------- valid

interface Example {
  readonly comment: string;
  readonly original: Uint8Array;
  readonly options?: CompressOptions;
  /** Cuts that the compressor does not make: the first bits of layers of each tensor. */
  readonly starts?: Readonly<Record<string, readonly number[]>>;
  /** The valid checkpoints that it is coded against. */
  readonly bases?: readonly string[];
  /** Another form of what the compressor writes. */
  readonly rewrite?: (compressed: Uint8Array) => Uint8Array;
  /** Whether the file is to have checks, and so is what the compressor writes. */
  readonly isChecked?: boolean;
}

const MIXED: readonly Tensor[] = [
  small('bytes', 'U8', [3], 3),
  weights('first', 24, 40),
  small('empty', 'F32', [2, 0], 0),
  small('scale', 'F32', [], 4),
  small('half', 'F16', [1], 2),
  ones('second', 16, 16),
  small('long', 'I64', [1], 8),
];

/** A training run: what becomes a stream, what is too small for one, and what has no namesake of its dtype and shape. */
const RUN: readonly Tensor[] = [
  weights('w', 40, 130),
  small('b', 'F32', [2], 8),
  weights('turned', 16, 32),
  ones('cast', 16, 16),
  weights('v', 24, 40),
];
const RUN_NEXT: readonly Tensor[] = [
  stepped('w', 40, 130),
  small('b', 'F32', [2], 8),
  weights('turned', 32, 16),
  { ...ones('cast', 16, 16), dtype: 'F16' },
  weights('v', 24, 40),
  ones('new', 16, 16),
];
const RUN_LAST: readonly Tensor[] = [
  stepped('w', 40, 130, 2),
  ...RUN_NEXT.slice(1, 4),
  stepped('v', 24, 40),
  { ...stepped('w', 40, 130, 2), name: 'tied' },
];

/** The run once more, as another program names its tensors and with others between them. */
const RENAMED: readonly Tensor[] = [
  ones('model-cast', 16, 16),
  { ...stepped('v', 24, 40), name: 'model-v' },
  { ...stepped('w', 40, 130), name: 'model-w' },
  { ...weights('w', 40, 130), name: 'model-w-before' },
  { ...noise('model-far', 24, 40) },
];

const START = [0x43, 0x4c, 0x4c, 0x4d];

const VALID_UNCHECKED: Readonly<Record<string, Example>> = {
  compact: {
    comment: 'the header of serde_json; kept tensors by falling size of their elements; metadata',
    original: checkpoint(MIXED, { format: 'pt' }),
  },
  python: {
    comment: 'the header of json.dumps, with names that it escapes',
    original: checkpoint([ones('größe.😀', 16, 16), small('bias', 'F32', [1], 4)], undefined, dumps),
  },
  fast: {
    comment: 'profile fast, with tiles of 32 rows',
    original: checkpoint([weights('w', 48, 128)]),
    options: { profile: 'fast', tileRows: 32 },
  },
  'no-tensors': { comment: 'no tensors at all', original: checkpoint([]) },
  'no-streams': { comment: 'tensors, and none of them a stream', original: checkpoint([small('b', 'F32', [2], 8)]) },
  'only-streams': { comment: 'every tensor is a stream', original: checkpoint([ones('a', 16, 16), ones('b', 8, 64)]) },
  'kept-text': {
    comment: 'a header of no writer, which is kept as it is: it is indented',
    original: checkpoint([ones('w', 16, 16), small('b', 'F32', [2], 8)], { a: 'b' }, (header) =>
      JSON.stringify(header, undefined, 1),
    ),
  },
  'kept-padding': {
    comment: 'a header with more spaces than writers add: all of them are kept',
    original: checkpoint([ones('w', 16, 16)], undefined, (header) => JSON.stringify(header).padEnd(200)),
  },
  'kept-no-padding': {
    comment: 'a header that is not filled up',
    original: (() => {
      const { text, data } = partsOf(checkpoint([ones('weight', 16, 16)]));
      return rawFile(text.trimEnd(), data);
    })(),
  },
  'kept-order': {
    comment: 'keys in another order than the data: streams and kept tensors of one size lie in the order of the data',
    original: checkpoint(
      [ones('d', 16, 16), small('c', 'F32', [1], 4), ones('b', 8, 64), small('a', 'U32', [1], 4)],
      undefined,
      (header) => JSON.stringify(Object.fromEntries(Object.entries(header).reverse())),
    ),
  },
  'kept-metadata': {
    comment: 'metadata without entries, which writers leave out',
    original: checkpoint([ones('w', 16, 16)], {}),
  },
  'unknown-dtype': {
    comment: 'dtypes that streams do not have: their data say the size of their elements',
    original: checkpoint([
      small('b', 'U8', [1], 1),
      small('x', 'X24', [2], 6),
      small('y', 'X0', [0], 0),
      small('h', 'F16', [1], 2),
      small('f', 'F32', [1], 4),
    ]),
  },
  'not-streams': {
    comment:
      'kept tensors that begin like a stream, and are none: another version, two dimensions, another dtype, cut off',
    original: checkpoint([
      { name: 'version', dtype: 'U8', shape: [5], data: Uint8Array.of(...START, 2) },
      { name: 'matrix', dtype: 'U8', shape: [1, 5], data: Uint8Array.of(...START, 1) },
      { name: 'signed', dtype: 'I8', shape: [5], data: Uint8Array.of(...START, 1) },
      { name: 'short', dtype: 'U8', shape: [4], data: Uint8Array.of(...START) },
      ones('w', 16, 16),
    ]),
  },
  copies: {
    comment: 'tensors that are stored once, as a stream and as they are, before and after what they are copies of',
    original: checkpoint(
      [
        ones('w', 16, 16),
        { ...ones('bits', 16, 16), dtype: 'F16' },
        { ...ones('long', 16, 16), shape: [256] },
        small('k', 'U8', [80], 80),
        small('b', 'F32', [2], 8),
        { ...ones('first', 16, 16), name: 'a-tied' },
        { ...small('k', 'U8', [80], 80), name: 'l' },
        { ...ones('third', 16, 16), name: 'tied' },
        { ...small('b', 'F32', [2], 8), name: 'c' },
      ],
      undefined,
      (header) => JSON.stringify(Object.fromEntries(Object.entries(header).sort(([a], [b]) => (a < b ? -1 : 1)))),
    ),
  },
  'copies-compact': {
    comment: 'a tensor that is stored once, and a header that is rebuilt',
    original: checkpoint([ones('w', 16, 16), ones('v', 16, 16), small('b', 'F32', [2], 8)]),
  },
  run: { comment: 'what the next ones are coded against', original: checkpoint(RUN) },
  'run-next': {
    comment:
      'coded against another file: what has changed, what has not, and what has no namesake of its dtype and shape',
    original: checkpoint(RUN_NEXT, { step: '2' }),
    bases: ['run'],
  },
  'run-last': {
    comment: 'a chain: what it is coded against is itself coded against another file',
    original: checkpoint(RUN_LAST, { step: '3' }, (header) => `${JSON.stringify(header)}        `),
    bases: ['run-next'],
  },
  'only-v': {
    comment: 'one tensor, of a shape that it has nowhere else',
    original: checkpoint([weights('v', 40, 24)]),
  },
  'run-unlike': {
    comment: 'nothing is smaller against the base: it has none',
    original: checkpoint([ones('v', 16, 16), small('b', 'F32', [2], 8)]),
    bases: ['run'],
  },
  'foreign-padding': {
    comment: 'more spaces than the reference compressor adds',
    original: checkpoint([ones('w', 16, 16)]),
    rewrite: (compressed) => {
      const { text, data } = partsOf(compressed);
      return rawFile(text + SPACES, data);
    },
  },
  'foreign-form': {
    comment: 'a header with white space, keys of its metadata in another order, and escapes',
    original: checkpoint([ones('w', 16, 16), small('b', 'F32', [1], 4)], { format: 'pt' }),
    rewrite: (compressed) => {
      const { text, data } = partsOf(compressed);
      const { __metadata__: metadata, ...tensors } = JSON.parse(text);
      const header = { ...tensors, __metadata__: Object.fromEntries(Object.entries(metadata).reverse()) };
      return aligned(JSON.stringify(header, undefined, 1).replace('"w"', '"\\u0077"'), data);
    },
  },
  'run-renamed': {
    comment: 'coded against tensors of other names: those that are nearest, if any is near',
    original: checkpoint(RENAMED),
    bases: ['run'],
  },
  'run-second': {
    comment: 'what others are coded against, beside the run',
    original: checkpoint([weights('v', 32, 40), ones('w', 16, 16), stepped('x', 24, 40, 3), weights('y', 16, 48)]),
  },
  'run-shards': {
    comment: 'two bases: tensors of the same name in the second, of the first in another shape; of another name',
    original: checkpoint([
      stepped('v', 32, 40),
      stepped('w', 40, 130),
      stepped('y', 16, 48),
      { ...stepped('x', 24, 40, 4), name: 'z' },
      { ...stepped('x', 24, 40, 4), name: 'tied' },
    ]),
    bases: ['run', 'run-second'],
    rewrite: (compressed) => compressed,
  },
  'run-first-left-out': {
    comment: 'the second of two bases alone, since nothing is coded against the first',
    original: checkpoint([stepped('x', 24, 40, 4), stepped('y', 16, 48)]),
    bases: ['run', 'run-second'],
    rewrite: (compressed) => compressed,
  },
  'foreign-against': {
    comment: 'against a tensor of another name though there is a namesake, and one of its own name in words',
    original: checkpoint([stepped('v', 24, 40), stepped('w', 40, 130), stepped('x', 24, 40, 3)]),
    bases: ['run'],
    rewrite: (compressed) => {
      const { text, data } = partsOf(compressed);
      return aligned(
        text.trimEnd().replace(/"codecllm.against":"[^"]*"/, '"codecllm.against":"0=0.4 1=0.0 2=0.4"'),
        data,
      );
    },
  },
  layers: {
    comment: 'tensors in layers, one whose layers end within a byte; a copy of one; one that is too small for layers',
    original: checkpoint([
      floats('bf16', 'BF16', 2 ** 14),
      floats('f16', 'F16', 2 ** 14 + 1),
      { ...floats('bf16', 'BF16', 2 ** 14), name: 'tied' },
      weights('w', 24, 40),
      small('b', 'F32', [2], 8),
    ]),
    options: { progressive: true },
  },
  'layers-text': {
    comment: 'layers in another order than names, a header that is kept as it is, profile fast and tiles of 64 rows',
    original: checkpoint([floats('y', 'F32', 2 ** 14), floats('x', 'BF16', 2 ** 14)], { a: 'b' }, (header) =>
      JSON.stringify(Object.fromEntries(Object.entries(header).reverse()), undefined, 1),
    ),
    options: { profile: 'fast', tileRows: 64, progressive: true },
  },
  'layers-foreign': {
    comment: 'layers of tensors that the reference compressor puts into none, from other bits on',
    original: checkpoint([floats('b', 'BF16', 1200), floats('h', 'F16', 1201), floats('f', 'F32', 1203)]),
    starts: { b: [9, 10, 14], h: [6, 7, 15], f: [16, 24] },
    rewrite: (compressed) => compressed,
  },
};

/** Layers of tensors of these names that begin at these bits. */
function cutAt(starts: Readonly<Record<string, readonly number[]>>): (tensor: TensorEntry) => PlannedLayer[] {
  return ({ name, dtype }) =>
    (layersFrom(dtype, starts[name] ?? []) ?? []).map((layer) => ({ ...layer, name: `${layer.first}:${name}` }));
}

/** A kept tensor of more than one piece; the bytes repeat, so that they take little space in an archive. */
const LONG: Tensor = {
  name: 'long',
  dtype: 'X8',
  shape: [CHECKED_BYTES + 3],
  data: Uint8Array.from({ length: CHECKED_BYTES + 3 }, (_, i) => (i % 251) ^ (i >> 18)),
};

/** What files had before there were checks, and the same with checks; and what only these have. */
const CHECKED: Readonly<Record<string, Example>> = Object.fromEntries(
  Object.entries<Example>({
    ...VALID_UNCHECKED,
    many: {
      comment: 'more than nine streams, and copies whose numbers have two digits',
      original: checkpoint([
        ...Array.from({ length: 10 }, (_, i) => ones(`w${i}`, 16, 16 + i)),
        ...['v', 'u', 't'].map((name) => weights(name, 24, 40)),
      ]),
    },
    'many-layers': {
      comment: 'more than nine layers',
      original: checkpoint(['a', 'b', 'c', 'd'].map((name) => floats(name, 'BF16', 1200))),
      starts: Object.fromEntries(['a', 'b', 'c', 'd'].map((name) => [name, [10, 12, 14]])),
      rewrite: (compressed) => compressed,
    },
    spaces: {
      comment: 'a header with all kinds of white space',
      original: checkpoint([ones('w', 16, 16)], undefined, (header) =>
        JSON.stringify(header).replaceAll(',', ' ,\r').replaceAll(':', '\t:\n'),
      ),
    },
    backslash: { comment: 'a name that ends with a backslash', original: checkpoint([ones('w\\', 16, 16)]) },
    'empty-later': {
      comment: 'a tensor without bytes that begins where the one before it does',
      original: rawFile(
        '{"w":{"dtype":"BF16","shape":[16,16],"data_offsets":[0,512]},"e":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        ones('w', 16, 16).data,
      ),
    },
    'unknown-empty': {
      comment: 'a dtype that streams do not have, of no elements: it lies behind larger ones',
      original: checkpoint([small('y', 'X0', [0], 0), small('f', 'F32', [1], 4), small('b', 'U8', [1], 1)]),
    },
    'copies-before-bytes': {
      comment: 'a copy whose key is before that of a kept tensor of bytes',
      original: checkpoint([ones('w', 16, 16), ones('v', 16, 16), small('k', 'U8', [80], 80)]),
    },
    'other-v': {
      comment: 'a tensor of the name and the shape of another, and not of its dtype',
      original: checkpoint([{ ...weights('v', 24, 40), dtype: 'F16' }, stepped('w', 40, 130, 3)]),
    },
    'layers-others': {
      comment: 'a tensor in layers beside one of a dtype that has none',
      original: checkpoint([floats('w', 'BF16', 2 ** 14), byteStream('i', 2 ** 14)]),
      options: { progressive: true },
    },
    'layers-keys': {
      comment: 'layers whose keys are in another order than their data',
      original: checkpoint([floats('a', 'BF16', 1200), floats('b', 'BF16', 1200)]),
      starts: { a: [10, 12, 14], b: [10, 12, 14] },
      rewrite: (compressed) => {
        const { text, data } = partsOf(compressed);
        const { '10:a': first, '12:b': last, ...others } = JSON.parse(text);
        const { '14:a': between, ...rest } = others;
        return sealed((_, bytes) =>
          aligned(JSON.stringify({ ...rest, '14:a': between, '12:b': last, '10:a': first }), bytes),
        )(text, data);
      },
    },
    samples: {
      comment: 'what the next one is coded against: tensors that differ within their samples, or beside them',
      original: checkpoint([
        sampled('within', (word, _, place) => (place === 3 ? word + 1 : word)),
        sampled('beside', (word, i, place) => (place === undefined ? word + 1 + (i % 7) : word)),
        sampled('beside-too', (word, i, place) => (place === undefined ? word + 1 + (i % 5) : word)),
        sampled('both', (word) => word + 1),
        sampled('uniform-before', (word, _, place) => (place === undefined ? word + 1 : place)),
        { ...sampled('unlike-before', (word) => word), shape: [64, 32] },
      ]),
    },
    'samples-next': {
      comment:
        'coded against the tensor with the nearest sample, the first of two, which is not the nearest tensor; parts of a sample that are all equal, for which none is looked for; a tensor of which only the sample is near',
      original: checkpoint([
        sampled('next', (word) => word),
        sampled('uniform', (word, _, place) => (place === undefined ? word : place)),
        {
          ...sampled('unlike', (word, i, place) => (place === undefined ? (i * i * 40503) & 0x7fff : word)),
          shape: [64, 32],
        },
      ]),
      bases: ['samples'],
    },
    'layers-keys-two': {
      comment: 'layers of two tensors, those of one before all of the other, and not so in the data',
      original: checkpoint([floats('a', 'BF16', 1200), floats('b', 'BF16', 1203)]),
      starts: { a: [10, 12], b: [10, 12] },
      rewrite: (compressed) => {
        const { text, data } = partsOf(compressed);
        const { '10:a': first, '12:a': last, ...others } = JSON.parse(text);
        return sealed((_, bytes) => aligned(JSON.stringify({ ...others, '12:a': last, '10:a': first }), bytes))(
          text,
          data,
        );
      },
    },
    pieces: { comment: 'a kept tensor of several pieces, each with a check', original: checkpoint([LONG]) },
    'pieces-foreign': {
      comment: 'checks in a header with more spaces than the reference compressor adds',
      original: checkpoint([ones('w', 16, 16), small('b', 'F32', [1], 4)]),
      rewrite: (compressed) => {
        const { text, data } = partsOf(compressed);
        return sealed((header, bytes) => rawFile(header + SPACES, bytes))(text, data);
      },
    },
    'run-tied': {
      comment: 'a copy of another tensor than the first, which is coded against its namesake',
      original: checkpoint([ones('new', 16, 16), stepped('v', 24, 40), { ...stepped('v', 24, 40), name: 'tied' }]),
      bases: ['run'],
    },
  })
    .filter(([id]) => !id.startsWith('foreign'))
    .map(([id, { bases, ...example }]) => [
      `checked-${id}`,
      {
        ...example,
        bases: bases?.map((base) => `checked-${base}`),
        comment: `with checks: ${example.comment}`,
        isChecked: true,
      },
    ]),
);

const VALID: Readonly<Record<string, Example>> = { ...VALID_UNCHECKED, ...CHECKED };

/** What a valid checkpoint needs: of its bases, the original where that is the end of the chain, else what it becomes. */
function basesOf(id: string): string[] {
  return (VALID[id].bases ?? []).flatMap((base) => {
    const above = basesOf(base);
    return [above.length > 0 ? `compressed/${base}` : `original/${originalOf(base)}`, ...above];
  });
}

/** The name of its original, which is the same with checks. */
const originalOf = (id: string): string => id.replace(/^checked-/, '');

function validCheckpoints(): ValidCheckpoint[] {
  return Object.entries(VALID).map(
    ([id, { comment, original, options = {}, starts, bases: given = [], rewrite, isChecked }]) => {
      const against = given.map((base) => VALID[base].original);
      const { progressive, ...encoding } = options;
      const layersOf = progressive ? planLayers : starts && cutAt(starts);
      const compressed = compress(original, encoding, against, isChecked, layersOf);
      const bases = basesOf(id).map(nameOf);
      const flags = [...(isChecked ? [] : ['unchecked']), ...(rewrite ? ['foreign'] : [])];
      if (flags.length === 0) return { id, comment, flags, options, original, compressed, bases };
      return {
        id,
        comment,
        flags,
        options: undefined,
        original,
        compressed: rewrite?.(compressed) ?? compressed,
        bases,
      };
    },
  );
}

const nameOf = (path: string): string => `${path}.safetensors`;

// --------------------------------------------------------------------------------------------------------- invalid

/** A file whose header is filled up, so that its data begin where they have to. */
function aligned(header: string, data: Uint8Array): Uint8Array {
  const padding = SPACES.slice(0, -(LENGTH_BYTES + Buffer.byteLength(header)) & 63);
  return rawFile(header + padding, data);
}

/** Two streams, and three kept tensors, of which two have elements of the same size. */
const BASE = compress(
  checkpoint(
    [
      ones('w', 16, 16),
      weights('v', 24, 40),
      small('c', 'F32', [1], 4),
      small('d', 'F32', [1], 4),
      small('k', 'U8', [80], 80),
    ],
    { format: 'pt' },
  ),
);

/** The same, with the text of the original's header. */
const TEXT = compress(
  checkpoint(
    [ones('w', 16, 16), weights('v', 24, 40), small('c', 'F32', [1], 4), small('k', 'U8', [80], 80)],
    { format: 'pt' },
    (header) => `${JSON.stringify(header)}        `,
  ),
);

/** A stream, a copy of it, and a kept tensor. */
const COPIES = compress(checkpoint([ones('w', 16, 16), ones('v', 16, 16), small('b', 'F32', [2], 8)]));

/** Two tensors in three layers each, a stream that is not in layers, and a kept tensor. */
const LAYERS = compress(
  checkpoint([floats('w', 'BF16', 1203), floats('v', 'F16', 1203), byteStream('i', 400), small('b', 'F32', [1], 4)]),
  {},
  undefined,
  false,
  cutAt({ w: [10, 12], v: [10, 12] }),
);

/** The first of them with checks. */
const CHECKS = compress(
  checkpoint([ones('w', 16, 16), weights('v', 24, 40), small('c', 'F32', [1], 4), small('k', 'U8', [80], 80)], {
    format: 'pt',
  }),
  {},
  [],
  true,
);

/** Coded against `run`. */
const NEXT = compress(VALID_UNCHECKED['run-next'].original, {}, [VALID_UNCHECKED.run.original]);

/** Against it, too, all of it against tensors of other names. */
const RENAMED_NEXT = compress(VALID_UNCHECKED['run-renamed'].original, {}, [VALID_UNCHECKED.run.original]);

type Edit = (text: string, data: Uint8Array) => Uint8Array;

/** Another base. */
const claim =
  (base: Uint8Array): Edit =>
  (text, data) =>
    replace(/("codecllm.base":")[^"]*/, `$1${sha256Of(base)}`)(text, data);

/** Replaces something in the header. */
const replace =
  (from: string | RegExp, to: string): Edit =>
  (text, data) => {
    const trimmed = text.trimEnd();
    const replaced = trimmed.replace(from, to);
    if (replaced === trimmed) throw new Error(`${from} is not in ${trimmed}`);
    return aligned(replaced, data);
  };

const CHECK_START = '{"__metadata__":{"codecllm.check":"';

/** The same, with the check that its header then has to have. */
function sealed(edit: Edit): Edit {
  return (text, data) => {
    const file = Buffer.from(edit(text, data));
    const rest = LENGTH_BYTES + CHECK_START.length + 8;
    const end = LENGTH_BYTES + headerLength(file.subarray(0, LENGTH_BYTES), file.length);
    const check = crc32(file.subarray(rest, end)).toString(16).padStart(8, '0');
    file.write(check, rest - 8);
    return new Uint8Array(file);
  };
}

type Json = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

/** Changes the header as an object. */
const change =
  (edit: (tensors: Json, metadata: Record<string, string>) => void, data?: (data: Uint8Array) => Uint8Array): Edit =>
  (text, bytes) => {
    const { __metadata__: metadata, ...tensors } = JSON.parse(text);
    edit(tensors, metadata);
    return aligned(JSON.stringify({ __metadata__: metadata, ...tensors }), data?.(bytes) ?? bytes);
  };

/** Puts tensors into the data in this order. */
const reorder =
  (...names: string[]): Edit =>
  (text, data) => {
    const parts: Uint8Array[] = [];
    return change(
      (tensors) => {
        let at = 0;
        for (const name of names) {
          const [start, end] = tensors[name].data_offsets;
          parts.push(data.subarray(start, end));
          tensors[name].data_offsets = [at, at + end - start];
          at += end - start;
        }
      },
      () => Buffer.concat(parts),
    )(text, data);
  };

/** Changes the bytes of a tensor, and with them its length. */
const withBytes =
  (name: string, edit: (bytes: Uint8Array) => Uint8Array): Edit =>
  (text, data) => {
    let [before, after, changed] = [new Uint8Array(), new Uint8Array(), new Uint8Array()];
    return change(
      (tensors) => {
        const [start, end] = tensors[name].data_offsets;
        [before, after] = [data.slice(0, start), data.slice(end)];
        changed = new Uint8Array(edit(data.slice(start, end)));
        const more = changed.length - (end - start);
        for (const tensor of Object.values(tensors))
          if (tensor.data_offsets[0] >= end)
            tensor.data_offsets = [tensor.data_offsets[0] + more, tensor.data_offsets[1] + more];
        tensors[name].data_offsets[1] += more;
        tensors[name].shape = [changed.length];
      },
      () => Buffer.concat([before, changed, after]),
    )(text, data);
  };

/** Another tensor of 16-bit words. */
const altered =
  (edit: (words: Uint16Array) => void) =>
  (stream: Uint8Array): Uint8Array => {
    const { data, dtype, shape } = decodeTensor(stream);
    edit(new Uint16Array(data.buffer));
    return encodeTensor(data, dtype, shape, { tileRows: COARSE_TILE_ROWS });
  };

const flip =
  (at: number) =>
  (bytes: Uint8Array): Uint8Array => {
    bytes[at < 0 ? bytes.length + at : at] ^= 1;
    return bytes;
  };

interface Damage {
  readonly comment: string;
  readonly place: string;
  readonly step?: Step;
  readonly edit: Edit;
  /** Of which file; default: BASE. */
  readonly of?: Uint8Array;
  readonly bases?: readonly string[];
}

const META = '__metadata__.codecllm.';

const INVALID: Readonly<Record<string, Damage>> = {
  // The file, and its header as JSON.
  'file-short': { comment: 'seven bytes', place: 'length', edit: () => new Uint8Array(7) },
  'header-long': {
    comment: 'a header that is longer than the file',
    place: 'length',
    edit: () => Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d),
  },
  'header-utf8': {
    comment: 'a header that is not UTF-8',
    place: 'header',
    edit: (text, data) => {
      const bytes = new TextEncoder().encode(text);
      bytes[text.indexOf('pt')] = 0xff;
      return rawFile(bytes, data);
    },
  },
  'header-begin': {
    comment: 'a header that does not begin with {',
    place: 'header',
    edit: (text, data) => aligned(` ${text.trimEnd()}`, data),
  },
  'header-comma': { comment: 'a comma too many', place: 'header', edit: replace(/}$/, ',}') },
  'header-comment': { comment: 'a comment', place: 'header', edit: replace('{', '{/**/') },
  'header-behind': { comment: 'another value behind the first', place: 'header', edit: replace(/}$/, '}{}') },
  'header-control': { comment: 'a line break in a string', place: 'header', edit: replace('"pt"', '"p\nt"') },
  'header-escape': { comment: 'an escape that JSON does not have', place: 'header', edit: replace('"pt"', '"\\x70t"') },
  'header-open': {
    comment: 'a string that does not end',
    place: 'header',
    edit: (text, data) => aligned(text.slice(0, text.indexOf('pt') + 2), data),
  },
  'header-surrogate': {
    comment: 'half of a surrogate pair',
    place: 'header',
    edit: replace('"pt"', '"\\ud800"'),
  },
  'tensor-twice': {
    comment: 'a name that occurs twice, once with an escape',
    place: 'd',
    edit: replace(/("d":\{[^}]*\})/, '$1,"\\u0064":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'),
  },
  'metadata-twice': {
    comment: 'metadata that occur twice',
    place: '__metadata__',
    edit: replace(/}$/, ',"__metadata__":{}}'),
  },
  'metadata-key-twice': {
    comment: 'a key of the metadata that occurs twice',
    place: '__metadata__.format',
    edit: replace('"format":"pt"', '"format":"pt","format":"pt"'),
  },
  'metadata-number': {
    comment: 'a number in the metadata',
    place: '__metadata__.format',
    edit: replace('"pt"', '1'),
  },
  'metadata-array': {
    comment: 'metadata that are no object',
    place: '__metadata__',
    edit: replace(/"__metadata__":\{[^}]*\}/, '"__metadata__":[]'),
  },
  'tensor-null': { comment: 'a tensor that is no object', place: 'd', edit: replace(/"d":\{[^}]*\}/, '"d":null') },
  'field-twice': {
    comment: 'a field that occurs twice',
    place: 'd.dtype',
    edit: replace('"d":{', '"d":{"dtype":"F32",'),
  },
  'field-unknown': {
    comment: 'a field that a tensor does not have',
    place: 'd.layout',
    edit: replace('"d":{', '"d":{"layout":"C",'),
  },
  'field-missing': {
    comment: 'a tensor without a shape',
    place: 'c',
    edit: replace(/("c":\{"dtype":"F32",)"shape":\[1\],/, '$1'),
  },
  'dtype-number': {
    comment: 'a dtype that is a number',
    place: 'c.dtype',
    edit: replace('"c":{"dtype":"F32"', '"c":{"dtype":32'),
  },
  'shape-number': {
    comment: 'a shape that is a number',
    place: 'c.shape',
    edit: replace('"c":{"dtype":"F32","shape":[1]', '"c":{"dtype":"F32","shape":1'),
  },
  'shape-nested': {
    comment: 'an array in a shape',
    place: 'c.shape',
    edit: replace('"c":{"dtype":"F32","shape":[1]', '"c":{"dtype":"F32","shape":[[1]]'),
  },
  'dimension-fraction': {
    comment: 'a dimension that is not written as a whole number',
    place: 'c.shape',
    edit: replace('"c":{"dtype":"F32","shape":[1]', '"c":{"dtype":"F32","shape":[1.0]'),
  },
  'dimension-negative': {
    comment: 'dimensions below zero, whose product is not',
    place: 'c.shape',
    edit: replace('"c":{"dtype":"F32","shape":[1]', '"c":{"dtype":"F32","shape":[-1,-1]'),
  },
  'dimension-large': {
    comment: 'a dimension of 2^53, of a tensor without elements',
    place: 'e.shape',
    edit: change((tensors) => {
      tensors.e = { dtype: 'F32', shape: [0, 2 ** 53], data_offsets: [...tensors.c.data_offsets] };
      tensors.e.data_offsets[1] = tensors.e.data_offsets[0];
    }),
  },
  'offsets-three': {
    comment: 'three offsets',
    place: 'c.data_offsets',
    edit: replace(/("c":\{[^}]*"data_offsets":\[[^\]]*)/, '$1,0'),
  },
  'size-of-shape': {
    comment: 'fewer bytes than dtype and shape have',
    place: 'c.data_offsets',
    edit: replace('"c":{"dtype":"F32","shape":[1]', '"c":{"dtype":"F32","shape":[2]'),
  },
  'size-half-byte': {
    comment: 'elements that do not fill whole bytes',
    place: 'c.shape',
    edit: replace('"c":{"dtype":"F32","shape":[1]', '"c":{"dtype":"F4","shape":[7]'),
  },
  'offsets-fall': {
    comment: 'a tensor of an unknown dtype that ends before it begins',
    place: 'x.data_offsets',
    edit: change((tensors) => {
      tensors.x = { dtype: 'X24', shape: [0], data_offsets: [4, 0] };
    }),
  },
  hole: {
    comment: 'bytes between two tensors that belong to none',
    place: 'k.data_offsets',
    edit: (text, data) =>
      change(
        (tensors) => {
          tensors.k.data_offsets = [tensors.k.data_offsets[0] + 1, tensors.k.data_offsets[1] + 1];
        },
        () => Buffer.concat([data.subarray(0, -80), Uint8Array.of(0), data.subarray(-80)]),
      )(text, data),
  },
  overlap: {
    comment: 'two tensors that share bytes',
    place: 'k.data_offsets',
    edit: change(
      (tensors) => {
        tensors.k.data_offsets = [tensors.k.data_offsets[0] - 1, tensors.k.data_offsets[1] - 1];
      },
      (data) => data.slice(0, -1),
    ),
  },
  'data-short': {
    comment: 'data that end before the last tensor does',
    place: 'k.data_offsets',
    edit: (text, data) => rawFile(text, data.subarray(0, -1)),
  },
  'data-long': {
    comment: 'a byte behind the last tensor',
    place: 'data',
    edit: (text, data) => rawFile(text, Buffer.concat([data, Uint8Array.of(0)])),
  },

  // The format's keys.
  'version-missing': {
    comment: 'no version',
    place: `${META}version`,
    edit: replace('"codecllm.version":"1",', ''),
  },
  'version-2': {
    comment: 'another version',
    place: `${META}version`,
    edit: replace('"codecllm.version":"1"', '"codecllm.version":"2"'),
  },
  'key-unknown': {
    comment: 'a key that the format reserves and does not have',
    place: `${META}other`,
    edit: replace('"codecllm.version"', '"codecllm.other":"","codecllm.version"'),
  },
  'streams-missing': {
    comment: 'no number of streams',
    place: `${META}streams`,
    edit: replace(/"codecllm.streams":"2",/, ''),
  },
  'streams-zero': {
    comment: 'a number of streams that begins with 0',
    place: `${META}streams`,
    edit: replace('"codecllm.streams":"2"', '"codecllm.streams":"02"'),
  },
  'streams-many': {
    comment: 'more streams than tensors',
    place: `${META}streams`,
    edit: replace('"codecllm.streams":"1"', '"codecllm.streams":"2"'),
    of: compress(checkpoint([ones('w', 16, 16)])),
  },
  'sha256-missing': {
    comment: 'no SHA-256',
    place: `${META}sha256`,
    edit: replace(/"codecllm.sha256":"[^"]*",/, ''),
  },
  'sha256-short': {
    comment: 'a SHA-256 of 63 digits',
    place: `${META}sha256`,
    edit: replace(/("codecllm.sha256":").([^"]*)/, '$1$2'),
  },
  'sha256-upper': {
    comment: 'a SHA-256 in upper case',
    place: `${META}sha256`,
    edit: (text, data) =>
      rawFile(
        text.replace(/("codecllm.sha256":")([^"]*)/, (_, key, digits) => key + digits.toUpperCase()),
        data,
      ),
  },
  'header-missing': {
    comment: 'nothing is said of the original header',
    place: `${META}header`,
    edit: replace(/,"codecllm.header":"compact"/, ''),
  },
  'header-unknown': {
    comment: 'a writer that the format does not know',
    place: `${META}header`,
    edit: replace('"codecllm.header":"compact"', '"codecllm.header":"indented"'),
  },
  'header-broken': {
    comment: 'an original header that is not JSON',
    place: `${META}header`,
    edit: replace('"codecllm.header":"{', '"codecllm.header":"{{'),
    of: TEXT,
  },
  'data-at-8': {
    comment: 'data that do not begin at a multiple of 64',
    place: 'length',
    edit: (text, data) => rawFile(`${text}        `, data),
  },
  'stream-i8': {
    comment: 'a stream whose dtype is not U8',
    place: 'w',
    edit: replace('"w":{"dtype":"U8"', '"w":{"dtype":"I8"'),
  },
  'stream-matrix': {
    comment: 'a stream of two dimensions',
    place: 'w',
    edit: replace('"w":{"dtype":"U8","shape":[', '"w":{"dtype":"U8","shape":[1,'),
  },

  // Order.
  'order-streams': {
    comment: 'streams in another order than the data of the original',
    place: 'w.data_offsets',
    edit: reorder('v', 'w', 'c', 'd', 'k'),
  },
  'order-kept': {
    comment: 'smaller elements before larger ones',
    place: 'c.data_offsets',
    edit: reorder('w', 'v', 'k', 'c', 'd'),
  },
  'order-ties': {
    comment: 'kept tensors of one size in another order than the data of the original',
    place: 'c.data_offsets',
    edit: reorder('w', 'v', 'd', 'c', 'k'),
  },
  'order-empty': {
    comment: 'a tensor without elements that is not where its turn comes',
    place: 'e.data_offsets',
    edit: change((tensors) => {
      tensors.e.data_offsets = [tensors.w.data_offsets[1], tensors.w.data_offsets[1]];
    }),
    of: compress(checkpoint([ones('w', 16, 16), small('c', 'F32', [1], 4), small('e', 'U8', [0], 0)])),
  },
  'order-keys': {
    comment: 'keys in another order than in the original header',
    place: 'w',
    edit: (text, data) => {
      const { __metadata__: metadata, w, v, ...tensors } = JSON.parse(text);
      return aligned(JSON.stringify({ __metadata__: metadata, v, w, ...tensors }), data);
    },
    of: TEXT,
  },

  // The original header.
  'original-fewer': {
    comment: 'an original header without one of the tensors',
    place: `${META}header`,
    edit: change((_, metadata) => {
      const { k, ...tensors } = JSON.parse(metadata['codecllm.header']);
      metadata['codecllm.header'] = JSON.stringify(tensors);
    }),
    of: TEXT,
  },
  'original-other': {
    comment: 'an original header with another name',
    place: `${META}header`,
    edit: replace('\\"k\\"', '\\"K\\"'),
    of: TEXT,
  },
  'original-hole': {
    comment: 'an original header with a hole',
    place: `${META}header`,
    edit: change((_, metadata) => {
      const tensors: Json = JSON.parse(metadata['codecllm.header']);
      tensors.k.data_offsets = [tensors.k.data_offsets[0] + 1, tensors.k.data_offsets[1] + 1];
      metadata['codecllm.header'] = JSON.stringify(tensors);
    }),
    of: TEXT,
  },
  'original-kept': {
    comment: 'an original header with another dtype of a kept tensor',
    place: 'c',
    edit: replace('\\"F32\\"', '\\"I32\\"'),
    of: TEXT,
  },
  'original-metadata': {
    comment: 'an original header with other metadata',
    place: `${META}header`,
    edit: replace('\\"pt\\"', '\\"tf\\"'),
    of: TEXT,
  },
  'original-reserved': {
    comment: 'an original header with a key of the format',
    place: `${META}header`,
    edit: replace('\\"format\\":\\"pt\\"', '\\"format\\":\\"pt\\",\\"codecllm.version\\":\\"1\\"'),
    of: TEXT,
  },
  'original-dtype': {
    comment: 'an original header with another dtype of a stream',
    place: 'v',
    step: 'front',
    edit: replace('\\"v\\":{\\"dtype\\":\\"BF16\\"', '\\"v\\":{\\"dtype\\":\\"F16\\"'),
    of: TEXT,
  },
  'original-shape': {
    comment: 'an original header with another shape of a stream',
    place: 'v',
    step: 'front',
    edit: replace('[24,40]', '[40,24]'),
    of: TEXT,
  },

  // Copies.
  'copies-empty': {
    comment: 'copies, and none of them',
    place: `${META}copies`,
    edit: replace('"codecllm.copies":"1=0"', '"codecllm.copies":""'),
    of: COPIES,
  },
  'copies-zero': {
    comment: 'a number with a leading zero',
    place: `${META}copies`,
    edit: replace('"1=0"', '"01=0"'),
    of: COPIES,
  },
  'copies-twice': {
    comment: 'the same copy twice',
    place: `${META}copies`,
    edit: replace('"1=0"', '"1=0 1=0"'),
    of: COPIES,
  },
  'copies-missing': {
    comment: 'a copy that is not there',
    place: `${META}copies`,
    edit: replace('"1=0"', '"1=0 3=0"'),
    of: COPIES,
  },
  'copies-of-missing': {
    comment: 'a copy of what is not there',
    place: `${META}copies`,
    edit: replace('"1=0"', '"1=3"'),
    of: COPIES,
  },
  'copies-of-copy': {
    comment: 'a copy of itself',
    place: `${META}copies`,
    edit: replace('"1=0"', '"1=1"'),
    of: COPIES,
  },
  'copies-bytes': {
    comment: 'a copy that has bytes of its own',
    place: 'b',
    edit: replace('"1=0"', '"1=0 2=0"'),
    of: COPIES,
  },
  'copies-streams': {
    comment: 'more streams than there are tensors that are no copies',
    place: `${META}streams`,
    edit: replace('"codecllm.streams":"1"', '"codecllm.streams":"3"'),
    of: COPIES,
  },
  'copies-order': {
    comment: 'copies before kept tensors',
    place: 'v.data_offsets',
    edit: reorder('w', 'v', 'b'),
    of: COPIES,
  },
  'copies-shape': {
    comment: 'an original header with another shape of a copy',
    place: 'v',
    step: 'front',
    edit: replace(
      '\\"v\\":{\\"dtype\\":\\"BF16\\",\\"shape\\":[16,16]',
      '\\"v\\":{\\"dtype\\":\\"BF16\\",\\"shape\\":[256]',
    ),
    of: compress(
      checkpoint([ones('w', 16, 16), ones('v', 16, 16)], undefined, (header) => `${JSON.stringify(header)}        `),
    ),
  },

  // The base.
  'base-digits': {
    comment: 'a base whose SHA-256 has a digit too few',
    place: `${META}base`,
    edit: replace(/("codecllm.base":")./, '$1'),
    of: NEXT,
    bases: ['original/run'],
  },
  'base-unnamed': {
    comment: 'a stream against a base, and no base',
    place: 'w',
    step: 'front',
    edit: replace(/,"codecllm.base":"[^"]*"/, ''),
    of: NEXT,
    bases: ['original/run'],
  },
  'base-not-given': {
    comment: 'a base that is not given',
    place: `${META}base`,
    step: 'base',
    edit: aligned,
    of: NEXT,
  },
  'base-other': {
    comment: 'another base is given',
    place: `${META}base`,
    step: 'base',
    edit: aligned,
    of: NEXT,
    bases: ['original/run-last'],
  },
  'base-itself': {
    comment: 'a file that is its own base',
    place: `${META}base`,
    step: 'base',
    edit: (text, data) => {
      const sha256 = /"codecllm.sha256":"([^"]*)"/.exec(text)?.[1];
      return replace(/("codecllm.base":")[^"]*/, `$1${sha256}`)(text, data);
    },
    of: NEXT,
    bases: ['original/run-next'],
  },
  'base-chain': {
    comment: 'a base whose own base is not given',
    place: `${META}base`,
    step: 'base',
    edit: aligned,
    of: compress(VALID['run-last'].original, {}, [VALID['run-next'].original]),
    bases: ['compressed/run-next'],
  },
  'base-lacks': {
    comment: 'a base without a tensor that is coded against it',
    place: 'w',
    step: 'base',
    edit: claim(VALID['run-unlike'].original),
    of: NEXT,
    bases: ['original/run-unlike'],
  },
  'base-shape': {
    comment: 'a base that has the tensor in another shape',
    place: 'v',
    step: 'base',
    edit: claim(VALID['only-v'].original),
    of: compress(checkpoint([stepped('v', 24, 40)]), {}, [checkpoint([weights('v', 24, 40)])]),
    bases: ['original/only-v'],
  },
  'base-bytes': {
    comment: 'a base that has other bytes, whatever its SHA-256',
    place: 'w',
    step: 'data',
    edit: claim(VALID['run-last'].original),
    of: NEXT,
    bases: ['original/run-last'],
  },

  // Layers.
  'layers-zero': {
    comment: 'a number of layers that is 0',
    place: `${META}layers`,
    edit: replace(/"codecllm.layers":"[^"]*"/, '"codecllm.layers":"0"'),
    of: LAYERS,
  },
  'layers-many': {
    comment: 'more layers than there are tensors',
    place: `${META}layers`,
    edit: replace(/"codecllm.layers":"[^"]*"/, '"codecllm.layers":"9"'),
    of: LAYERS,
  },
  'layers-base': {
    comment: 'layers, and a base',
    place: `${META}layers`,
    edit: replace('"codecllm.layers"', `"codecllm.base":"${'0'.repeat(64)}","codecllm.layers"`),
    of: LAYERS,
  },
  'layers-few': {
    comment: 'one layer fewer than there are',
    place: '10:w',
    step: 'front',
    edit: replace(/"codecllm.layers":"[^"]*"/, '"codecllm.layers":"3"'),
    of: LAYERS,
  },
  'layer-name': {
    comment: 'a name of a layer without the number of a bit',
    place: ':w',
    edit: replace('"10:w"', '":w"'),
    of: LAYERS,
  },
  'layer-zero': {
    comment: 'a number of a bit with a leading zero',
    place: '010:w',
    edit: replace('"10:w"', '"010:w"'),
    of: LAYERS,
  },
  'layer-missing': {
    comment: 'a layer of a tensor that there is not',
    place: '10:u',
    edit: replace('"10:w"', '"10:u"'),
    of: LAYERS,
  },
  'layer-kept': {
    comment: 'a layer of a kept tensor',
    place: '10:b',
    edit: replace('"10:w"', '"10:b"'),
    of: LAYERS,
  },
  'layer-i8': {
    comment: 'a layer that is not U8',
    place: '10:w',
    edit: change((tensors) => {
      tensors['10:w'].dtype = 'I8';
    }),
    of: LAYERS,
  },
  'layer-order': {
    comment: 'layers in another order than their tensors',
    place: '10:w.data_offsets',
    edit: reorder('w', 'v', 'i', 'b', '10:v', '10:w', '12:w', '12:v'),
    of: LAYERS,
  },
  'layer-early': {
    comment: 'a layer of later bits before one of earlier bits',
    place: '10:v.data_offsets',
    edit: reorder('w', 'v', 'i', 'b', '10:w', '12:w', '10:v', '12:v'),
    of: LAYERS,
  },
  'layer-exponent': {
    comment: 'a layer that begins in the exponent',
    place: 'w',
    step: 'front',
    edit: replace('"10:w"', '"8:w"'),
    of: LAYERS,
  },
  'layer-bits': {
    comment: 'a layer of three bits',
    place: 'v',
    step: 'front',
    edit: replace('"10:v"', '"9:v"'),
    of: compress(checkpoint([floats('v', 'F16', 1203)]), {}, undefined, false, cutAt({ v: [10, 12] })),
  },
  'layer-last': {
    comment: 'a layer that begins behind the last bit',
    place: 'w',
    step: 'front',
    edit: replace('"12:w"', '"16:w"'),
    of: compress(checkpoint([floats('w', 'BF16', 1203)]), {}, undefined, false, cutAt({ w: [12] })),
  },
  'layer-dtype': {
    comment: 'layers of a dtype that has none',
    place: 'i',
    step: 'front',
    edit: replace('"14:w"', '"14:i"'),
    of: compress(
      checkpoint([floats('w', 'BF16', 1203), byteStream('i', 400)]),
      {},
      undefined,
      false,
      cutAt({ w: [14] }),
    ),
  },
  'layer-stream': {
    comment: 'a layer whose stream is not of U8',
    place: '12:v',
    step: 'front',
    edit: withBytes('12:v', (stream) => encodeTensor(decodeTensor(stream).data, 'I8', [602])),
    of: LAYERS,
  },
  'layer-short': {
    comment: 'a layer of a byte too few',
    place: '12:v',
    step: 'front',
    edit: withBytes('12:v', (stream) => encodeTensor(decodeTensor(stream).data.subarray(1), 'U8', [601])),
    of: LAYERS,
  },
  'layer-shape': {
    comment: 'a layer of two dimensions',
    place: '12:v',
    step: 'front',
    edit: withBytes('12:v', (stream) => encodeTensor(decodeTensor(stream).data, 'U8', [301, 2])),
    of: LAYERS,
  },
  'layer-base': {
    comment: 'a layer that is coded against a base',
    place: '12:v',
    step: 'front',
    edit: withBytes('12:v', (stream) => {
      const { data } = decodeTensor(stream);
      return encodeTensor(data, 'U8', [602], { base: data });
    }),
    of: LAYERS,
  },
  'layer-damaged': {
    comment: 'one bit of a layer is other',
    place: '12:v',
    step: 'data',
    edit: withBytes('12:v', flip(-40)),
    of: LAYERS,
  },
  'layer-coarse': {
    comment: 'a first layer with another bit in the middle of what a word may be',
    place: '10:w',
    step: 'data',
    edit: withBytes(
      'w',
      altered((words) => {
        words[2] ^= 0x8;
      }),
    ),
    of: LAYERS,
  },
  'layer-subnormal': {
    comment: 'a first layer with a one behind the bits of a subnormal number',
    place: '10:w',
    step: 'data',
    edit: withBytes(
      'w',
      altered((words) => {
        words[13] |= 0x20;
      }),
    ),
    of: LAYERS,
  },
  'layer-nan': {
    comment: 'a first layer without all bits of what is no number',
    place: '12:w',
    step: 'data',
    edit: withBytes(
      'w',
      altered((words) => {
        words[17] &= ~1;
      }),
    ),
    of: LAYERS,
  },
  'layer-padding': {
    comment: 'a layer whose last byte is not filled up with zeros',
    place: '10:w',
    step: 'data',
    edit: withBytes('10:w', (stream) => {
      const { data } = decodeTensor(stream);
      data[data.length - 1] |= 0x80;
      return encodeTensor(data, 'U8', [data.length]);
    }),
    of: LAYERS,
  },

  // The beginnings of tensors.
  'streams-few': {
    comment: 'one stream fewer than there are',
    place: 'v',
    step: 'front',
    edit: replace('"codecllm.streams":"2"', '"codecllm.streams":"1"'),
    of: compress(checkpoint([ones('w', 16, 16), weights('v', 24, 40)])),
  },
  'streams-none': {
    comment: 'a stream where there should be none',
    place: 'w',
    step: 'front',
    edit: replace('"codecllm.streams":"1"', '"codecllm.streams":"0"'),
    of: compress(checkpoint([ones('w', 16, 16)])),
  },
  'streams-more': {
    comment: 'one stream more than there are',
    place: 'k',
    step: 'front',
    edit: replace('"codecllm.streams":"1"', '"codecllm.streams":"2"'),
    of: compress(checkpoint([ones('w', 16, 16), small('k', 'U8', [80], 80)])),
  },
  'stream-crc': {
    comment: 'a front whose CRC differs',
    place: 'v',
    step: 'front',
    edit: withBytes('v', flip(56)),
  },
  'stream-longer': {
    comment: 'a stream that is longer than the tensor that holds it',
    place: 'v',
    step: 'front',
    edit: withBytes('v', (bytes) => bytes.subarray(0, -16)),
  },
  'stream-shorter': {
    comment: 'a stream that is shorter than the tensor that holds it',
    place: 'v',
    step: 'front',
    edit: withBytes('v', (bytes) => Buffer.concat([bytes, new Uint8Array(16)])),
  },
  'stream-not-smaller': {
    comment: 'a stream that is not smaller than its tensor, which should be kept',
    place: 'w',
    step: 'front',
    edit: (_, __) => notSmaller(),
  },

  // All of the data.
  'data-stream': {
    comment: 'one bit of a stream is other',
    place: 'v',
    step: 'data',
    edit: withBytes('v', flip(-20)),
  },
  'data-kept': {
    comment: 'one bit of a kept tensor is other',
    place: `${META}sha256`,
    step: 'data',
    edit: withBytes('k', flip(0)),
  },
  'sha256-other': {
    comment: 'the SHA-256 of another file',
    place: `${META}sha256`,
    step: 'data',
    edit: replace(/("codecllm.sha256":")[^"]*/, `$1${'0'.repeat(64)}`),
  },
  'header-style': {
    comment: 'a header of another writer than the original had',
    place: `${META}sha256`,
    step: 'data',
    edit: replace('"codecllm.header":"compact"', '"codecllm.header":"python"'),
  },

  // Checks.
  'check-name': {
    comment: 'one bit of a name is other',
    place: `${META}check`,
    edit: replace('"k":', '"j":'),
    of: CHECKS,
  },
  'check-style': {
    comment: 'another writer of the original, which only the check of the header tells before the SHA-256 does',
    place: `${META}check`,
    edit: replace('"codecllm.header":"compact"', '"codecllm.header":"python"'),
    of: CHECKS,
  },
  'check-spaces': {
    comment: 'more spaces than the check of the header is made of',
    place: `${META}check`,
    edit: (text, data) => rawFile(text + SPACES, data),
    of: CHECKS,
  },
  'check-upper': {
    comment: 'the check of the header in upper case',
    place: `${META}check`,
    edit: (text, data) =>
      rawFile(
        text.replace(/("codecllm.check":")([^"]*)/, (_, key, digits) => key + digits.toUpperCase()),
        data,
      ),
    of: CHECKS,
  },
  'check-later': {
    comment: 'a check of the header that is not the first that the header has',
    place: `${META}check`,
    edit: replace(/("codecllm.check":"[^"]*"),("format":"pt")/, '$2,$1'),
    of: CHECKS,
  },
  'check-missing': {
    comment: 'checks of kept tensors, and none of the header',
    place: `${META}check`,
    edit: replace(/"codecllm.check":"[^"]*",/, ''),
    of: CHECKS,
  },
  'kept-missing': {
    comment: 'a check of the header, and none of kept tensors',
    place: `${META}check`,
    edit: sealed(replace(/,"codecllm.kept":"[^"]*"/, '')),
    of: CHECKS,
  },
  'kept-upper': {
    comment: 'checks of kept tensors in upper case',
    place: `${META}kept`,
    edit: sealed((text, data) =>
      rawFile(
        text.replace(/("codecllm.kept":")([^"]*)/, (_, key, digits) => key + digits.toUpperCase()),
        data,
      ),
    ),
    of: CHECKS,
  },
  'kept-short': {
    comment: 'a check of seven digits',
    place: `${META}kept`,
    edit: sealed(replace(/("codecllm.kept":")./, '$1')),
    of: CHECKS,
  },
  'kept-few': {
    comment: 'one check fewer than there are kept tensors',
    place: `${META}kept`,
    edit: sealed(replace(/("codecllm.kept":").{8}/, '$1')),
    of: CHECKS,
  },
  'kept-many': {
    comment: 'one check more than there are kept tensors',
    place: `${META}kept`,
    edit: sealed(replace(/("codecllm.kept":")/, '$100000000')),
    of: CHECKS,
  },
  'kept-order': {
    comment: 'the checks of two kept tensors in another order',
    place: 'c',
    step: 'data',
    edit: sealed(replace(/("codecllm.kept":")(.{8})(.{8})/, '$1$3$2')),
    of: CHECKS,
  },
  'kept-other': {
    comment: 'a kept tensor whose check differs, in a file that is good otherwise',
    place: 'k',
    step: 'data',
    edit: sealed(replace(/("codecllm.kept":".{8}).{8}/, '$100000000')),
    of: CHECKS,
  },
  'kept-piece': {
    comment: 'a kept tensor of which the check of the second piece differs',
    place: 'long',
    step: 'data',
    edit: sealed(replace(/("codecllm.kept":".{8}).{8}/, '$100000000')),
    of: compress(checkpoint([LONG]), {}, [], true),
  },

  // What tensors are coded against.
  'against-empty': {
    comment: 'nothing at all in codecllm.against',
    place: `${META}against`,
    edit: replace(/("codecllm.against":")[^"]*/, '$1'),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'against-zero': {
    comment: 'a number with a leading zero',
    place: `${META}against`,
    edit: replace('1=0.4', '1=0.04'),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'against-order': {
    comment: 'numbers that do not rise',
    place: `${META}against`,
    edit: replace('1=0.4 2=0.0', '2=0.0 1=0.4'),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'against-twice': {
    comment: 'one tensor against two',
    place: `${META}against`,
    edit: replace('1=0.4', '1=0.4 1=0.4'),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'against-beyond': {
    comment: 'a tensor that is not there',
    place: `${META}against`,
    edit: replace('3=0.0', '3=0.0 5=0.0'),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'against-kept': {
    comment: 'a tensor that is kept',
    place: `${META}against`,
    edit: replace('"codecllm.base"', '"codecllm.against":"1=0.1","codecllm.base"'),
    of: NEXT,
    bases: ['original/run'],
  },
  'against-no-base': {
    comment: 'a base that codecllm.base does not have',
    place: `${META}against`,
    edit: replace('1=0.4', '1=1.4'),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'against-plain': {
    comment: 'a stream without flag 32',
    place: 'model-cast',
    step: 'front',
    edit: replace('1=0.4', '0=0.3 1=0.4'),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'against-lacks': {
    comment: 'a tensor that its base does not have',
    place: 'model-v',
    step: 'base',
    edit: replace('1=0.4', '1=0.5'),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'against-shape': {
    comment: 'a tensor of another shape',
    place: 'model-v',
    step: 'base',
    edit: replace('1=0.4', '1=0.0'),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'against-name': {
    comment: 'a tensor of another name, of which nothing is said',
    place: 'model-v',
    step: 'base',
    edit: replace('1=0.4 ', ''),
    of: RENAMED_NEXT,
    bases: ['original/run'],
  },
  'bases-second': {
    comment: 'the second of two bases, which is not given',
    place: `${META}base`,
    step: 'base',
    edit: aligned,
    of: compress(VALID_UNCHECKED['run-shards'].original, {}, [
      VALID_UNCHECKED.run.original,
      VALID_UNCHECKED['run-second'].original,
    ]),
    bases: ['original/run'],
  },
  'bases-space': {
    comment: 'two spaces between two bases',
    place: `${META}base`,
    edit: replace(/("codecllm.base":"[0-9a-f]*) /, '$1  '),
    of: compress(VALID_UNCHECKED['run-shards'].original, {}, [
      VALID_UNCHECKED.run.original,
      VALID_UNCHECKED['run-second'].original,
    ]),
    bases: ['original/run', 'original/run-second'],
  },

  // What mutation testing found that no other decides.
  'header-mark': {
    comment: 'a header that begins with a byte order mark',
    place: 'header',
    edit: (text, data) => rawFile(`\ufeff${text.slice(0, -3)}`, data),
  },
  'tensor-same-twice': {
    comment: 'a tensor that occurs twice, in the same words',
    place: 'k',
    edit: replace(/("k":\{[^}]*\})/, '$1,$1'),
  },
  'metadata-same-twice': {
    comment: 'metadata that occur twice, in the same words',
    place: '__metadata__',
    edit: replace(/("__metadata__":\{[^}]*\})/, '$1,$1'),
  },
  'field-places': {
    comment: 'a field that a tensor does not have, with places',
    place: 'k.places',
    edit: replace(/("k":\{[^}]*"data_offsets":(\[[^\]]*\]))/, '$1,"places":$2'),
  },
  'sha256-long': {
    comment: 'a SHA-256 of 65 digits',
    place: `${META}sha256`,
    edit: replace('"codecllm.sha256":"', '"codecllm.sha256":"0'),
  },
  'layers-leading-zero': {
    comment: 'a number of layers with a leading zero',
    place: `${META}layers`,
    edit: replace('"codecllm.layers":"', '"codecllm.layers":"0'),
    of: LAYERS,
  },
  'layers-space': {
    comment: 'a number of layers with a space behind it',
    place: `${META}layers`,
    edit: replace(/("codecllm.layers":"[0-9]*)/, '$1 '),
    of: LAYERS,
  },
  'kept-digit': {
    comment: 'checks of kept tensors, and one digit more',
    place: `${META}kept`,
    edit: sealed(replace(/("codecllm.kept":"[^"]*)/, '$10')),
    of: CHECKS,
  },
  'copies-behind': {
    comment: 'a copy with a letter behind its number',
    place: `${META}copies`,
    edit: replace('"codecllm.copies":"1=0"', '"codecllm.copies":"1=0x"'),
    of: COPIES,
  },
  'copies-dtype': {
    comment: 'a copy that is I8',
    place: 'v',
    edit: change(({ v }) => {
      v.dtype = 'I8';
    }),
    of: COPIES,
  },
  'copies-dimensions': {
    comment: 'a copy of shape [0, 1]',
    place: 'v',
    edit: change(({ v }) => {
      v.shape = [0, 1];
    }),
    of: COPIES,
  },
  'stream-as-long': {
    comment: 'a stream that is as long as its tensor',
    place: 'w',
    step: 'front',
    edit: withBytes('w', () =>
      streamOf({ name: 'w', dtype: 'U8', shape: [1, 1, 1, 1, 1, 128], data: new Uint8Array(128) }),
    ),
  },
  'streams-copies': {
    comment: 'as many streams as there are tensors, of which one is a copy',
    place: `${META}streams`,
    edit: replace('"codecllm.streams":"1"', '"codecllm.streams":"2"'),
    of: compress(checkpoint([ones('w', 16, 16), ones('v', 16, 16)])),
  },
  'base-dtype': {
    comment: 'a base that has the tensor with its shape, and in another dtype',
    place: 'v',
    step: 'base',
    edit: claim(VALID['checked-other-v'].original),
    of: compress(checkpoint([stepped('v', 24, 40)]), {}, [VALID_UNCHECKED.run.original]),
    bases: ['original/other-v'],
  },
  'text-bytes': {
    comment: 'an original header with another number of bytes, of a dtype whose elements may have any',
    place: 'x',
    edit: replace('\\"data_offsets\\":[0,6]', '\\"data_offsets\\":[0,9]'),
    of: compress(checkpoint([small('x', 'X24', [2], 6)], undefined, (header) => `${JSON.stringify(header)}        `)),
  },
  'layer-last-of-exponent': {
    comment: 'a layer that begins with the last bit of the exponent, and is all that such a layer would be',
    place: 'w',
    step: 'front',
    edit: aligned,
    of: inLayers(8, 16),
  },
  'layer-bits-among': {
    comment: 'layers of three bits, of two, and of two',
    place: 'w',
    step: 'front',
    edit: aligned,
    of: inLayers(9, 12, 14, 16),
  },
  'original-overlap': {
    comment: 'an original header in which two tensors share a byte',
    place: `${META}header`,
    edit: change((_, metadata) => {
      const tensors: Json = JSON.parse(metadata['codecllm.header']);
      tensors.k.data_offsets = [tensors.k.data_offsets[0] - 1, tensors.k.data_offsets[1] - 1];
      metadata['codecllm.header'] = JSON.stringify(tensors);
    }),
    of: TEXT,
  },
};

/** A checkpoint of one tensor in layers behind these bits, whether a tensor may have them or not. */
function inLayers(...cuts: readonly number[]): Uint8Array {
  const layers = cuts.slice(1).map((end, k) => ({ first: cuts[k], end, name: `${cuts[k]}:w` }));
  return compress(checkpoint([floats('w', 'BF16', 1200)]), {}, [], false, () => layers);
}

/** A checkpoint of one tensor that is a stream all the same. */
function notSmaller(): Uint8Array {
  const tensor = ones('w', 8, 4);
  const stream = streamOf(tensor);
  const original = checkpoint([tensor]);
  const { text } = partsOf(original);
  const placed = [{ ...parseHeader(text).tensors[0], start: 0, end: stream.length, isStream: true }];
  const space = new HeaderSpace(parseHeader(text), text, {}, false);
  const outcome = { sha256: sha256Of(original), againstBase: new Set<number>(), checks: undefined };
  return Buffer.concat([space.fill(placed, outcome), stream]);
}

function invalidCheckpoints(): InvalidCheckpoint[] {
  return Object.entries(INVALID).map(([id, { comment, place, step = 'header', edit, of = BASE, bases = [] }]) => {
    const { text, data } = partsOf(of);
    return { id, comment, flags: [], file: edit(text, data), bases: bases.map(nameOf), error: { place, step } };
  });
}

// --------------------------------------------------------------------------------------------------------- refused

function refusedOriginals(): InvalidCheckpoint[] {
  const stream = streamOf(ones('w', 16, 16));
  const itself = { name: 'w', dtype: 'U8', shape: [stream.length], data: stream };
  const begins = { name: 'w', dtype: 'U8', shape: [5], data: Uint8Array.of(...START, 1) };
  return [
    {
      id: 'reserved-key',
      comment: 'an original with a key that the format reserves',
      flags: [],
      bases: [],
      file: checkpoint([small('b', 'F32', [1], 4)], { 'codecllm.note': 'mine' }),
      error: { place: '__metadata__', step: 'header' },
    },
    {
      id: 'compressed',
      comment: 'a file that is compressed already',
      flags: [],
      bases: [],
      file: BASE,
      error: { place: '__metadata__', step: 'header' },
    },
    {
      id: 'itself-stream',
      comment: 'an original of which a tensor is a stream, which nobody could tell from those of the compressed file',
      flags: [],
      bases: [],
      file: checkpoint([itself, ones('v', 16, 16)]),
      error: { place: 'w', step: 'front' },
    },
    {
      id: 'begins-stream',
      comment: 'an original of which a tensor begins with the magic and the version of a stream',
      flags: [],
      bases: [],
      file: checkpoint([begins]),
      error: { place: 'w', step: 'front' },
    },
    {
      id: 'layer-name',
      comment: 'an original of which a tensor has the name that a layer of another would have',
      options: { progressive: true },
      flags: [],
      bases: [],
      file: checkpoint([floats('w', 'BF16', 2 ** 14), small('12:w', 'F32', [1], 4)]),
      error: { place: '12:w', step: 'header' },
    },
  ];
}

export function checkpoints(): Checkpoints {
  return { valid: validCheckpoints(), invalid: invalidCheckpoints(), refused: refusedOriginals() };
}

/** All files of golden/checkpoint: name and bytes. Its manifest says what the others are. */
export function checkpointFiles(): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const named = (folder: string, id: string, bytes: Uint8Array): string => {
    const name = `${folder}/${id}.safetensors`;
    files.set(`checkpoint/${name}`, bytes);
    return name;
  };
  const { valid, invalid, refused } = checkpoints();
  const listed = (bases: readonly string[]) => (bases.length > 0 ? { bases } : {});
  const refusal =
    (folder: string) =>
    ({ id, comment, flags, options, file, bases, error }: InvalidCheckpoint) => ({
      id,
      comment,
      flags,
      ...(options && { options }),
      file: named(folder, id, file),
      ...listed(bases),
      error,
    });
  const manifest = {
    format: 'codecllm-checkpoints-1',
    valid: valid.map(({ id, comment, flags, options, original, compressed, bases }) => ({
      id,
      comment,
      flags,
      options,
      original: named('original', originalOf(id), original),
      compressed: named('compressed', id, compressed),
      ...listed(bases),
    })),
    invalid: invalid.map(refusal('invalid')),
    refused: refused.map(refusal('refused')),
  };
  files.set('checkpoint/manifest.json', new TextEncoder().encode(`${JSON.stringify(manifest, undefined, 1)}\n`));
  return files;
}
