// The pack: streams and the bytes they decode to, in one file that a native program reads without anything else.
//
// All golden vectors, valid and invalid, random streams of the reference encoder, and as many that no encoder makes: every
// dtype, split, mode, predictor and edge. The same seed gives the same pack.
//
//   "CLLMPACK", u32 version, u32 entries, u32 entries against a base, u32 length, JSON that says what the pack is, then
//   for each entry, those that a base is given to last,
//   u32 kind (0 of the encoder, 1 refused by its front, 2 refused by its Data, 3 refused with this base, 4 valid, but of no
//   encoder), u32 tile that is refused, the options that make the stream of the bytes as codecllm_encode_options has them,
//   i32 each, u32 lengths of name, stream, bytes and base; these four. Bytes of a stream that is refused are the
//   reference's words.

import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { baseVectors, changed, invalidBaseVectors } from '../../golden/base.ts';
import { invalidVectors } from '../../golden/invalid.ts';
import { makeTensor } from '../../golden/patterns.ts';
import { validVectors } from '../../golden/vectors.ts';
import { allowsColumnValues } from '../../spec/decoder/3.1-columns.ts';
import { allowsDirect, allowsPairs } from '../../spec/decoder/3-planes.ts';
import {
  DTYPES,
  decodeTensor,
  decodeTile,
  type EncodeOptions,
  encodeTensor,
  FormatError,
  inspectTensor,
} from '../../spec/index.ts';
import tables from '../../spec/tables.json' with { type: 'json' };
import { samples } from '../samples.ts';
import { SEED } from '../seed.ts';
import { Draw, type Drawn, drawStream } from './draw.ts';
import { FEATURES, featuresOf } from './features.ts';

/** In the order of codecllm_mode and of codecllm_classes. */
const MODES: readonly string[] = ['auto', 'raw', ...tables.predictors, 'pairs', 'direct'];
const CLASSES: readonly string[] = ['auto', ...tables.classChoices];

const PREDICTED = ['left', 'top', 'avg', 'planar'];

/** Small as a rule, and one in 64 large. */
const mostlySmall = fc.oneof({ weight: 63, arbitrary: samples(2000) }, { weight: 1, arbitrary: samples() });

export interface Entry {
  readonly name: string;
  readonly kind: 0 | 1 | 2 | 3 | 4;
  /** The first that is damaged, where Data are. */
  readonly tile?: number;
  readonly stream: Uint8Array;
  /** The tensor, or what the reference says of an invalid stream. */
  readonly bytes: Uint8Array;
  /** Those of the reference encoder, if it made the stream. */
  readonly options?: EncodeOptions;
  /** What a decoder is given, if it is given one. */
  readonly base?: Uint8Array;
}

/** What the reference says of a stream that no encoder made. @throws RangeError where its tensor is larger than `maxBytes` */
export function judged(name: string, stream: Uint8Array, base: Uint8Array | undefined, maxBytes = 2 ** 32): Entry {
  try {
    return { name, kind: 4, stream, bytes: decodeTensor(stream, { base, maxBytes }).data, base };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const bytes = Buffer.from(error.message);
    if (error.field === 'base.crc') return { name, kind: 3, stream, bytes, base };
    // Fields of a tile's data are "tile." and so on; those of its metadata "tile[index].".
    if (!error.field.startsWith('tile.')) return { name, kind: 1, stream, bytes, base };
    return { name, kind: 2, tile: tileOf(stream, base, error), stream, bytes, base };
  }
}

/** The tile in which an error is: tiles without data begin where the next one does. */
function tileOf(stream: Uint8Array, base: Uint8Array | undefined, { message }: FormatError): number {
  for (let index = 0; ; index++)
    try {
      decodeTile(stream, index, base);
    } catch (error) {
      if (error instanceof FormatError && error.message === message) return index;
      throw error;
    }
}

/** Random streams of the reference encoder, and how often each mode of each plane of each dtype is in them. */
function randomEntries(count: number, seed: number): { entries: Entry[]; seen: Map<string, number> } {
  const seen = new Map<string, number>();
  const drawn = count === 0 ? [] : fc.sample(mostlySmall, { numRuns: count, seed });
  const entries = drawn.map(({ dtype, shape, data: bytes, options }, index): Entry => {
    const stream = encodeTensor(bytes, dtype.name, shape, options);
    const { modes, split, columnValues } = inspectTensor(stream);
    if (columnValues) {
      const key = `${dtype.name} ${split.join('+')} column values`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
    }
    modes.forEach((plane, p) => {
      for (const [mode, tiles] of Object.entries(plane)) {
        const key = `${dtype.name} ${split.join('+')} plane ${p} ${mode}`;
        seen.set(key, (seen.get(key) ?? 0) + tiles);
      }
    });
    return { name: `random/${index}-${dtype.name}`, kind: 0, stream, bytes, options };
  });
  return { entries, seen };
}

/** Combinations of dtype, split, plane and mode that the format has and `seen` lacks. */
function missing(seen: ReadonlyMap<string, number>): string[] {
  return DTYPES.flatMap((dtype) =>
    dtype.splits.flatMap((split) => [
      ...(allowsColumnValues(dtype, split) ? [`${dtype.name} ${split.join('+')} column values`] : []),
      ...split.flatMap((bits, p) => {
        const modes = ['const', 'raw', 'rans', ...(bits === 8 ? PREDICTED : [])];
        if (p === 0 && allowsPairs(dtype, split)) modes.push('pairs');
        if (allowsDirect(dtype, split)) modes.push('direct');
        return modes.map((mode) => `${dtype.name} ${split.join('+')} plane ${p} ${mode}`);
      }),
    ]),
  ).filter((combination) => !seen.has(combination));
}

/** Streams that no encoder makes, one of 2^18 columns among them, and what they show. */
function drawnEntries(count: number, seed: number): { entries: Entry[]; found: Set<string> } {
  const draw = new Draw(seed);
  const found = new Set<string>();
  const entries = Array.from({ length: count }, (_, index) => {
    const wide = index === 0 && count > 200;
    let drawn: Drawn;
    // A base of no bytes is none in a pack.
    do drawn = drawStream(draw, draw.one(40) ? 20_000 : 600, wide);
    while (drawn.base?.length === 0);
    const { stream, base } = drawn;
    for (const feature of featuresOf(stream)) found.add(feature);
    return judged(`drawn/${index}`, stream, base);
  });
  return { entries, found };
}

function goldenEntries(): Entry[] {
  const valid = validVectors();
  return [
    ...valid.map(
      ({ id, stream, input: bytes, options }): Entry => ({
        ...{ name: `golden/${id}`, kind: options ? 0 : 4, stream, bytes, options },
      }),
    ),
    ...invalidVectors(valid).map(({ id, stream }) => judged(`golden/${id}`, stream, undefined)),
  ];
}

/** What a GPU is asked of a stream against a base: to take it, or to refuse its front, its Data or its base. */
function goldenBaseEntries(): Entry[] {
  const valid = baseVectors();
  return [
    ...valid.map(
      ({ id, stream, input: bytes, options, base }): Entry => ({
        ...{ name: `golden/${id}`, kind: 0, stream, bytes, options, base },
      }),
    ),
    ...invalidBaseVectors(valid).flatMap(({ id, stream, base }): Entry[] => {
      // That a base is missing or needless, or has another size, is the caller's error there.
      if (base === undefined || ['base-not-needed', 'base-short', 'base-zeros-short'].includes(id)) return [];
      return [judged(`golden/${id}`, stream, base)];
    }),
  ];
}

/** Changed tensors of every dtype, in tiles of all sizes, which a few words or all differ in. */
function randomBaseEntries(count: number, seed: number): Entry[] {
  const cases = fc.record({
    dtype: fc.constantFrom(...DTYPES, ...DTYPES.filter(({ wordBits }) => wordBits > 8)),
    rows: fc.integer({ min: 1, max: 40 }),
    columns: fc.integer({ min: 1, max: 90 }),
    width: fc.constantFrom(0, 128, 256, 1),
    every: fc.constantFrom(1, 7, 40, 300),
    most: fc.constantFrom(0, 1, 3, 100, 40000),
    tileRows: fc.constantFrom(8, 16, 128, undefined),
    seed: fc.nat(),
  });
  const drawn = count === 0 ? [] : fc.sample(cases, { numRuns: count, seed });
  return drawn.map(({ dtype, rows, columns, width, every, most, tileRows, seed: drawnSeed }, index): Entry => {
    const base = makeTensor(dtype.name, (rows * columns * 8 * dtype.bits) / dtype.wordBits, columns, 'gaussian', index);
    const bytes = changed(base, dtype.wordBits / 8, every, most, drawnSeed);
    // Other widths leave the last row short.
    const options = { tileRows, columns: width === 0 ? columns * 5 + 3 : width } as EncodeOptions;
    const stream = encodeTensor(bytes, dtype.name, [rows, columns * 8], { ...options, base });
    return { name: `random-base/${index}-${dtype.name}`, kind: 0, stream, bytes, options, base };
  });
}

/** 0 is the encoder's choice, but for the profile, which has a first one. */
function numbersOf(options: EncodeOptions): number[] {
  const { profile = 'small', tileRows = 0, columns = 0, split = [], modes = [], probabilityBits = 0 } = options;
  const { classes = 'auto', columnOffsets, columnValues } = options;
  const choice = (wanted: boolean | undefined): number => (wanted === undefined ? 0 : wanted ? 1 : -1);
  const four = (values: readonly number[]): number[] => [0, 1, 2, 3].map((p) => values[p] ?? 0);
  return [
    ...[tables.profiles.indexOf(profile), tileRows, columns],
    ...four(split),
    ...four(modes.map((mode) => MODES.indexOf(mode))),
    ...[
      probabilityBits,
      CLASSES.indexOf(classes),
      choice(columnOffsets),
      columnValues === 'wide' ? 2 : choice(columnValues),
    ],
  ];
}

/** The file of these entries. @param about what it says of itself */
export function packOf(all: readonly Entry[], about: object): Buffer {
  const based = all.filter(({ base }) => base !== undefined);
  const entries = [...all.filter(({ base }) => base === undefined), ...based];
  const u32 = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer);
  const said = Buffer.from(JSON.stringify(about));
  return Buffer.concat([
    Buffer.from('CLLMPACK'),
    u32(5, entries.length, based.length, said.length),
    said,
    ...entries.flatMap(({ name, kind, tile = 0, stream, bytes, options = {}, base = new Uint8Array(0) }) => [
      u32(kind, tile, ...numbersOf(options)),
      u32(Buffer.byteLength(name), stream.length, bytes.length, base.length),
      ...[Buffer.from(name), stream, bytes, base],
    ]),
  ]);
}

/** @param randomCount how many random streams of the encoder beside the golden vectors; a fifth as many are drawn */
export function makePack(randomCount: number, seed = SEED): Buffer {
  const golden = goldenEntries();
  const { entries: random, seen } = randomEntries(randomCount, seed);
  const { entries: drawn, found } = drawnEntries(Math.ceil(randomCount / 5), seed);
  const unseen = [...missing(seen), ...FEATURES.filter((feature) => !found.has(feature))];
  const lacking = randomCount >= 10_000 ? unseen : [];
  if (lacking.length > 0) throw new Error(`the random streams lack ${lacking.join(', ')}`);
  const based = [...goldenBaseEntries(), ...randomBaseEntries(Math.ceil(randomCount / 5), seed)];
  const counts = { golden: golden.length, random: random.length, drawn: drawn.length, based: based.length };
  const about = { seed, ...counts, combinations: seen.size + found.size };
  return packOf([...golden, ...random, ...drawn, ...based], about);
}

// `node dist/test/conformance/pack.js FILE [STREAMS]`
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [, , file = 'conformance.pack', count = '10000'] = process.argv;
  const pack = makePack(Number(count));
  writeFileSync(file, pack);
  console.log(`${file}: ${(pack.length / 1e6).toFixed(1)} MB`);
}
