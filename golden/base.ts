// What the vectors of streams against a base are (FORMAT.md, 3.2): pairs of tensors, as training and chance change them.

import { readFront } from '../spec/decoder/1-front.ts';
import { wordAfter } from '../spec/decoder/3.2-base.ts';
import { Mode } from '../spec/decoder/4-metadata.ts';
import { lanesOf, STATE_FLOOR } from '../spec/decoder/6.2-rans.ts';
import { joinSections } from '../spec/encoder/a9-tiles.ts';
import { seal } from '../spec/encoder/front.ts';
import { encodeLanes } from '../spec/encoder/rans.ts';
import { DTYPES, decodeTensor, type EncodeOptions, encodeTensor, FormatError } from '../spec/index.ts';
import { bytes, type Damage, flip, metadata } from './damage.ts';
import { rebuilt, unused } from './deciding.ts';
import { generator, makeTensor, type Pattern } from './patterns.ts';

export interface BaseVector {
  readonly id: string;
  readonly comment: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly options: EncodeOptions;
  readonly base: Uint8Array;
  readonly input: Uint8Array;
  readonly stream: Uint8Array;
}

export interface InvalidBaseVector {
  readonly id: string;
  readonly comment: string;
  readonly stream: Uint8Array;
  readonly base: Uint8Array | undefined;
  /** The valid vector that has this base, if one has. */
  readonly baseOf: string | undefined;
  readonly error: { readonly field: string; readonly offset: number };
}

/** Changes words, each of `wordBytes`, one in `every` by up to `most` up or down. */
export function changed(base: Uint8Array, wordBytes: number, every: number, most: number, seed: number): Uint8Array {
  const data = base.slice();
  const random = generator(seed);
  for (let at = 0; at < data.length; at += wordBytes) {
    if (random() % every !== 0) continue;
    let carry = (random() % (2 * most + 1)) - most;
    for (let byte = at; byte < at + wordBytes; byte++) {
      carry += data[byte];
      data[byte] = carry & 255;
      carry >>= 8;
    }
  }
  return data;
}

/** BF16 after a step of training: each weight moves by up to `step`, and is rounded. */
export function trained(base: Uint8Array, step: number, seed: number): Uint8Array {
  const data = base.slice();
  const words = new Uint16Array(data.buffer);
  const random = generator(seed);
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  for (let i = 0; i < words.length; i++) {
    bits[0] = (words[i] << 16) >>> 0;
    float[0] += ((random() % 4097) / 2048 - 1) * step;
    words[i] = (bits[0] + 0x8000) >>> 16;
  }
  return data;
}

interface Case {
  readonly id: string;
  readonly comment: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly options?: EncodeOptions;
  readonly pattern?: Pattern;
  readonly change: (base: Uint8Array, wordBytes: number, seed: number) => Uint8Array;
}

const some =
  (every: number, most: number): Case['change'] =>
  (base, wordBytes, seed) =>
    changed(base, wordBytes, every, most, seed);

const CASES: readonly Case[] = [
  ...DTYPES.map(
    ({ name, bits }): Case => ({
      id: `base-${name}`,
      comment: `${name}: one word in eight is changed by a few steps, and the last row is short`,
      dtype: name,
      shape: bits < 8 ? [19, 31 * 8] : [19, 31],
      options: { columns: 30 },
      change: some(8, 3),
    }),
  ),
  {
    id: 'base-same',
    comment: 'Nothing has changed: Data is empty',
    dtype: 'BF16',
    shape: [40, 130],
    change: (base) => base.slice(),
  },
  {
    id: 'base-scalar',
    comment: 'A scalar',
    dtype: 'F32',
    shape: [],
    change: some(1, 9),
  },
  {
    id: 'base-trained',
    comment: 'A step of training: eight classes of levels',
    dtype: 'BF16',
    shape: [256, 256],
    change: (base, _, seed) => trained(base, 2 ** -8, seed),
  },
  {
    id: 'base-trained-little',
    comment: 'A small step: fewer classes, symbols without a slot are outliers',
    dtype: 'BF16',
    shape: [128, 128],
    change: (base, _, seed) => trained(base, 2 ** -11, seed),
  },
  {
    id: 'base-long',
    comment: 'Long differences are outliers of a tile whose planes are CONST',
    dtype: 'BF16',
    shape: [256, 200],
    options: { columns: 200 },
    change: some(300, 30000),
  },
  {
    id: 'base-listed',
    comment: 'The few changes of a tile are outliers; another tile has one more, and the third none',
    dtype: 'F32',
    shape: [128, 384],
    options: { tileRows: 128 },
    change: (base) => {
      const data = base.slice();
      for (let i = 0; i < 16; i++) data[4 * (384 * i + 3 * i)] ^= 1;
      for (let i = 0; i < 17; i++) data[4 * (384 * i + 3 * i + 128)] ^= 1;
      return data;
    },
  },
  {
    id: 'base-long-coded',
    comment: 'Too many long differences for outliers: plane 1 is coded',
    dtype: 'F16',
    shape: [128, 128],
    change: some(40, 30000),
  },
  {
    id: 'base-raw',
    comment: 'Plane 0 is RAW, and has outliers',
    dtype: 'BF16',
    shape: [64, 128],
    change: (base, _, seed) => changed(changed(base, 2, 1, 127, seed), 2, 600, 20000, seed + 1),
  },
  {
    id: 'base-F32-noise',
    comment: 'F32: noise in low planes, few changes in high ones',
    dtype: 'F32',
    shape: [128, 130],
    options: { tileRows: 32 },
    change: some(1, 70000),
  },
  {
    id: 'base-other',
    comment: 'Another tensor altogether',
    dtype: 'BF16',
    shape: [64, 128],
    change: (base, _, seed) => makeTensor('BF16', base.length / 2, 128, 'gaussian', seed),
  },
  {
    id: 'base-zeros',
    comment: 'Nothing has changed, and all is zero',
    dtype: 'BF16',
    shape: [20, 128],
    pattern: 'zeros',
    change: (base) => base.slice(),
  },
  {
    id: 'base-last-row',
    comment: 'The last row has changed alone',
    dtype: 'BF16',
    shape: [20, 128],
    change: (base, wordBytes, seed) =>
      Uint8Array.from([...base.subarray(0, -256), ...changed(base.subarray(-256), wordBytes, 1, 9, seed)]),
  },
  {
    id: 'base-levels-U8',
    comment: 'U8: bytes from 128 on move by much, the others by little',
    dtype: 'U8',
    shape: [64, 128],
    change: (base, wordBytes, seed) => {
      const [much, little] = [changed(base, wordBytes, 1, 40, seed), changed(base, wordBytes, 4, 1, seed)];
      return base.map((byte, at) => (byte < 128 ? little : much)[at]);
    },
  },
  {
    id: 'base-coded-raw',
    comment: 'Plane 0 of differences is coded, and plane 1 RAW: final states carry nothing',
    dtype: 'F16',
    shape: [64, 128],
    change: (base, _, seed) => {
      const random = generator(seed);
      const dtype = DTYPES.find(({ name }) => name === 'F16') as (typeof DTYPES)[number];
      const words = new Uint16Array(base.slice().buffer);
      const after = words.map((word) => wordAfter(dtype, word, 256 * (random() % 256) + (random() % 4)));
      return new Uint8Array(after.buffer);
    },
  },
  ...(
    [
      [2, 'fourfold'],
      [3, 'astray-0'],
    ] as const
  ).map(
    ([levels, pattern]): Case => ({
      id: `base-${levels}-levels`,
      comment: `${levels} levels that count, of which each has differences of its own: two classes`,
      dtype: 'U8',
      shape: [64, 128],
      pattern,
      change: (base, _, seed) => {
        const random = generator(seed);
        return base.map((byte) => byte + (random() % (byte / 4)));
      },
    }),
  ),
  ...([1, 2] as const).map(
    (long): Case => ({
      id: `base-long-${long}`,
      comment: `${long} of 256 differences are long: ${long === 1 ? 'they are outliers' : 'plane 1 is coded'}`,
      dtype: 'BF16',
      shape: [2, 128],
      change: (base) => {
        const data = base.slice();
        for (let i = 0; i < 40; i++) data[12 * i] ^= 1;
        for (let i = 0; i < long; i++) data[64 * i + 1] ^= 2;
        return data;
      },
    }),
  ),
  {
    id: 'base-first-level',
    comment: 'Two classes, which save a little more than the level where the second one begins takes',
    dtype: 'BF16',
    shape: [9, 64],
    change: (base, _, seed) => {
      const random = generator(seed);
      return new Uint8Array(new Uint16Array(base.slice().buffer).map((word) => word + (random() % 2)).buffer);
    },
  },
  {
    id: 'base-one-class',
    comment: 'One class, since two save less than the level where the second one begins takes',
    dtype: 'BF16',
    shape: [9, 64],
    change: some(2, 1),
  },
  {
    id: 'base-outliers-both',
    comment: 'A tile has 250 symbols without a slot and 6 long differences, more than 255 together: RAW',
    dtype: 'BF16',
    shape: [520, 128],
    options: { tileRows: 16 },
    pattern: 'constant',
    change: (base, _, seed) => {
      const random = generator(seed);
      const words = new Uint16Array(base.slice().buffer).map((word, i) => {
        if (i < 253) return i % 2 === 0 ? word + (i >> 1) : word - (i >> 1);
        return i < 259 ? word ^ 0x2000 : word + (random() % 2);
      });
      return new Uint8Array(words.buffer);
    },
  },
];

export function baseVectors(): BaseVector[] {
  return CASES.map(({ id, comment, dtype, shape, options = {}, pattern = 'gaussian', change }, index) => {
    const { bits, wordBits } = DTYPES.find(({ name }) => name === dtype) as (typeof DTYPES)[number];
    const words = (shape.reduce((product, dimension) => product * dimension, 1) * bits) / wordBits;
    const base = makeTensor(dtype, words, options.columns ?? Number(shape.at(-1) ?? 1), pattern, 3000 + index);
    const input = change(base, wordBits / 8, 4000 + index);
    const stream = encodeTensor(input, dtype, shape, { ...options, base });
    return { id, comment, dtype, shape, options, base, input, stream };
  });
}

const OF = 'base-trained';

/** Of zeros that have not changed, plane 0 is coded, and lane 0 ends in 2^16 + 1; plane 1 is RAW. */
const endsAsPayload = rebuilt(({ tiles: [tile] }) => {
  const [height, width] = [20, 128];
  const { count, perLane } = lanesOf(width, true);
  const set = unused(1, 8);
  const symbols = new Uint16Array(height * width);
  const finals = new Uint32Array(count).fill(STATE_FLOOR).fill(STATE_FLOOR + 1, 0, 1);
  const classes = new Uint8Array(symbols.length);
  const { states, units } = encodeLanes(symbols, finals, perLane, { ...set, width, classes });
  const coded = { mode: Mode.RANS, predictor: 0, value: units.length, outliers: 0 };
  const raw = { mode: Mode.RAW, predictor: 0, value: 0, outliers: 0 };
  const sections = [new Uint8Array(symbols.length), new Uint8Array(states.buffer), new Uint8Array(units.buffer)];
  return {
    data: joinSections(sections),
    tables: [set, undefined],
    tiles: [{ ...tile, planes: [coded, raw] }],
  };
});

/** [id, comment, damaged vector, damage of a sealed stream, of the base, field] */
const ROWS: readonly [
  string,
  string,
  string,
  Damage | undefined,
  ((base: Uint8Array) => Uint8Array | undefined) | undefined,
  string,
][] = [
  ['base-missing', 'No base', OF, undefined, () => undefined, 'header.flags'],
  ['base-unused-flag', 'Eight classes without a base', OF, bytes(22, 0), undefined, 'header.classes'],
  ['base-short', 'A base of another size', OF, undefined, (base) => base.subarray(2), 'base.crc'],
  [
    'base-bit',
    'One bit of the base is another',
    OF,
    undefined,
    (base) => base.map((b, i) => b ^ +(i === 9)),
    'base.crc',
  ],
  ['base-crc', 'Another CRC of the base', OF, flip((s) => readFront(s).baseAt, 1), undefined, 'base.crc'],
  [
    'base-levels',
    'First levels that do not rise',
    OF,
    (s) => s.copyWithin(readFront(s).baseAt + 5, readFront(s).baseAt + 4, readFront(s).baseAt + 5),
    undefined,
    'base.firstLevels',
  ],
  [
    'base-level-zero',
    'A class that begins at level 0',
    OF,
    (s) => s.fill(0, readFront(s).baseAt + 4, readFront(s).baseAt + 5),
    undefined,
    'base.firstLevels',
  ],
  ['base-flags', 'Row selectors beside a base', OF, bytes(22, 33), undefined, 'header.flags'],
  ['base-values', 'Column values beside a base', 'base-F16', bytes(22, 48), undefined, 'header.flags'],
  ['base-pairs', 'Tables for PAIRS beside a base', 'base-same', bytes(40, 1, 8), undefined, 'header.flags'],
  [
    'base-split',
    'A split that is not of bytes',
    'base-same',
    (s) => s.set([10, 0, 0, 0, 6], 24),
    undefined,
    'header.flags',
  ],
  // Those that one rule alone refuses (deciding.ts).
  [
    'base-not-needed',
    'A base of a stream that needs none',
    'base-zeros',
    rebuilt(() => ({ base: undefined })),
    undefined,
    'header.flags',
  ],
  ['base-direct', 'Flag 8 beside a base', 'base-same', bytes(22, 32 + 8), undefined, 'header.flags'],
  [
    'base-pairs-unused',
    'Tables for PAIRS beside a base, which no tile uses',
    'base-same',
    rebuilt(({ selectors }) => ({ pairs: unused(1, 8), selectors: { ...selectors, columnsEach: 2 } })),
    undefined,
    'header.flags',
  ],
  [
    'base-levels-unused',
    'First levels that do not rise, of tables that no tile uses',
    'base-same',
    rebuilt(({ selectors, base }) => ({
      tables: [unused(4, 8), undefined],
      selectors: { ...selectors, classes: 4 },
      base: base && { ...base, firstLevels: [7, 9, 9] },
    })),
    undefined,
    'base.firstLevels',
  ],
  [
    'base-level-zero-unused',
    'A class that begins at level 0, of tables that no tile uses',
    'base-same',
    rebuilt(({ selectors, base }) => ({
      tables: [unused(2, 8), undefined],
      selectors: { ...selectors, classes: 2 },
      base: base && { ...base, firstLevels: [0] },
    })),
    undefined,
    'base.firstLevels',
  ],
  [
    'base-classes-3',
    'Three classes beside a base',
    'base-same',
    rebuilt(({ selectors, base }) => ({
      tables: [unused(3, 8), undefined],
      selectors: { ...selectors, classes: 3 },
      base: base && { ...base, firstLevels: [7, 9] },
    })),
    undefined,
    'header.classes',
  ],
  [
    'base-zeros-short',
    'A base that lacks zeros at its end, and so has the same CRC',
    'base-zeros',
    undefined,
    (base) => base.subarray(0, -256),
    'base.crc',
  ],
  [
    'base-predicted',
    'A plane that TOP predicts beside a base, and as it would be without prediction',
    'base-last-row',
    metadata(0, 8, (old) => old | (2 << 20)),
    undefined,
    'tile[0].plane[0].predictor',
  ],
  [
    'base-state-final',
    'A state that ends as 2^16 + 1 beside a base, where RAW takes nothing from it',
    'base-zeros',
    endsAsPayload,
    undefined,
    'tile.plane[0].states',
  ],
];

/** @throws Error where the reference decoder does not find the damage, or finds it elsewhere */
export function invalidBaseVectors(valid: readonly BaseVector[]): InvalidBaseVector[] {
  return ROWS.map(([id, comment, of, damage, damageBase, field]) => {
    const source = valid.find((vector) => vector.id === of) as BaseVector;
    const copy = source.stream.slice();
    const stream = damage?.(copy, new DataView(copy.buffer)) ?? copy;
    // One that was made anew has its CRCs.
    if (stream === copy) seal(stream.subarray(0, readFront(source.stream).frontBytes));
    const base = damageBase ? damageBase(source.base) : source.base;
    try {
      decodeTensor(stream, { base });
    } catch (error) {
      if (error instanceof FormatError && error.field === field)
        return {
          id,
          comment,
          stream,
          base,
          baseOf: damageBase ? undefined : of,
          error: { field, offset: error.offset },
        };
      throw new Error(`${id}: ${error}`);
    }
    throw new Error(`${id}: decoded`);
  });
}
