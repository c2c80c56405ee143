// The pack: streams and the bytes they decode to, in one file that a native program reads without anything else.
//
// All golden vectors, valid and invalid, and random streams of the reference encoder: every dtype, split, mode,
// predictor and edge. The same seed gives the same pack.
//
//   "CLLMPACK", u32 version, u32 entries, u32 length, JSON that says what the pack is, then for each entry
//   u32 kind (0 valid, 1 refused by its front, 2 refused by its Data), u32 lengths of name, stream and bytes; these three

import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { invalidVectors } from '../../golden/invalid.ts';
import { generator, makeTensor, PATTERNS } from '../../golden/patterns.ts';
import { validVectors } from '../../golden/vectors.ts';
import type { ClassChoice, EncodeOptions, ModeChoice } from '../../spec/decisions.ts';
import { allowsPairs, DTYPES, type Dtype } from '../../spec/elements.ts';
import { encodeTensor, inspectTensor } from '../../spec/index.ts';
import { TILE_ROWS } from '../../spec/layout.ts';

const SEED = 20_261_123;
const CLASSES: readonly ClassChoice[] = ['none', 'rows2', 'columns2', 'rows4', 'columns4', 'mixed'];
const PREDICTED: readonly ModeChoice[] = ['left', 'top', 'avg', 'planar'];

interface Entry {
  readonly name: string;
  readonly kind: 0 | 1 | 2;
  readonly stream: Uint8Array;
  readonly bytes: Uint8Array;
}

interface Sample {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
  readonly options: EncodeOptions;
}

/** A random tensor, small as a rule, and options for it. */
function sample(index: number, random: () => number): Sample {
  const pick = <T>(values: readonly T[]): T => values[random() % values.length];
  const between = (low: number, high: number): number => low + (random() % (high - low + 1));
  const dtype = DTYPES[index % DTYPES.length];
  const split = pick(dtype.splits);
  const wordBytes = dtype.wordBits / 8;

  // One in two has whole tiles, the others end anywhere; one in 64 is large.
  const whole = random() % 2 === 0;
  const budget = (random() % 64 === 0 ? 60_000 : pick([300, 800, 1800, 3000])) / wordBytes;
  const columns = whole ? pick([128, 128, 128, 256]) : pick([between(1, 20), between(120, 136), between(1, 270)]);
  const tileRows = pick(TILE_ROWS);
  const mostRows = Math.max(1, Math.floor(budget / columns));
  const rows = whole ? Math.max(4, 4 * Math.floor(between(4, Math.max(4, mostRows)) / 4)) : between(1, mostRows);
  let words = rows * columns - (whole || random() % 2 === 0 ? 0 : random() % columns);
  // Elements fill whole words, and words whole elements.
  const unit = dtype.bits === 6 ? 3 : Math.max(1, dtype.bits / dtype.wordBits);
  words = Math.max(unit, words - (words % unit));
  const elements = (words * dtype.wordBits) / dtype.bits;
  const shape = random() % 4 === 0 ? [1, elements, 1] : [elements];

  const modeOf = (bits: number, p: number): ModeChoice => {
    if (p === 0 && allowsPairs(dtype, split) && random() % 2 === 0) return 'pairs';
    return pick(
      bits === 8 && random() % 2 === 0 ? PREDICTED : p > 0 ? ['raw', 'none', 'raw'] : ['none', 'none', 'raw'],
    );
  };
  const forced = random() % 3 > 0 ? { split, modes: split.map(modeOf) } : {};
  const options: EncodeOptions = {
    profile: pick(['small', 'fast'] as const),
    tileRows,
    columns,
    ...(random() % 2 === 0 ? { classes: pick(CLASSES) } : {}),
    ...(random() % 3 === 0 ? { columnOffsets: random() % 2 === 0 } : {}),
    ...(random() % 4 === 0 ? { probabilityBits: between(8, 10) } : {}),
    ...forced,
  };
  return { dtype, shape, options, bytes: makeTensor(dtype.name, words, columns, pick(PATTERNS), random()) };
}

/** Random streams of the reference encoder, and how often each mode of each plane of each dtype is in them. */
function randomEntries(count: number, seed: number): { entries: Entry[]; seen: Map<string, number> } {
  const random = generator(seed);
  const seen = new Map<string, number>();
  const entries: Entry[] = [];
  for (let index = 0; entries.length < count; index++) {
    const { dtype, shape, bytes, options } = sample(index, random);
    const stream = encodeTensor(bytes, dtype.name, shape, options);
    const { modes, split } = inspectTensor(stream);
    modes.forEach((plane, p) => {
      for (const [mode, tiles] of Object.entries(plane)) {
        const key = `${dtype.name} ${split.join('+')} plane ${p} ${mode}`;
        seen.set(key, (seen.get(key) ?? 0) + tiles);
      }
    });
    entries.push({ name: `random/${index}-${dtype.name}`, kind: 0, stream, bytes });
  }
  return { entries, seen };
}

/** Combinations of dtype, split, plane and mode that the format has and `seen` lacks. */
function missing(seen: ReadonlyMap<string, number>): string[] {
  return DTYPES.flatMap((dtype) =>
    dtype.splits.flatMap((split) =>
      split.flatMap((bits, p) => {
        const modes = ['const', 'raw', 'rans', ...(bits === 8 ? PREDICTED : [])];
        if (p === 0 && allowsPairs(dtype, split)) modes.push('pairs');
        return modes.map((mode) => `${dtype.name} ${split.join('+')} plane ${p} ${mode}`);
      }),
    ),
  ).filter((combination) => !seen.has(combination));
}

function goldenEntries(): Entry[] {
  const valid = validVectors();
  return [
    ...valid.map(({ id, stream, input }): Entry => ({ name: `golden/${id}`, kind: 0, stream, bytes: input })),
    ...invalidVectors(valid).map(({ id, stream, error }): Entry => {
      // Fields of a tile's data are "tile." and so on; those of its metadata "tile[index].".
      const kind = error.field.startsWith('tile.') ? 2 : 1;
      return { name: `golden/${id}`, kind, stream, bytes: new Uint8Array(0) };
    }),
  ];
}

/** @param randomCount how many random streams beside the golden vectors */
export function makePack(randomCount: number, seed = SEED): Buffer {
  const golden = goldenEntries();
  const { entries: random, seen } = randomEntries(randomCount, seed);
  const entries = [...golden, ...random];
  const lacking = randomCount >= 10_000 ? missing(seen) : [];
  if (lacking.length > 0) throw new Error(`the random streams lack ${lacking.join(', ')}`);
  const about = Buffer.from(
    JSON.stringify({ seed, golden: golden.length, random: random.length, combinations: seen.size }),
  );
  const u32 = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(4 * values.length);
    values.forEach((value, i) => {
      bytes.writeUInt32LE(value, 4 * i);
    });
    return bytes;
  };
  return Buffer.concat([
    Buffer.from('CLLMPACK'),
    u32(1, entries.length, about.length),
    about,
    ...entries.flatMap(({ name, kind, stream, bytes }) => [
      u32(kind, Buffer.byteLength(name), stream.length, bytes.length),
      Buffer.from(name),
      stream,
      bytes,
    ]),
  ]);
}

// `node dist/test/conformance/pack.js FILE [STREAMS]`
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [, , file = 'conformance.pack', count = '10000'] = process.argv;
  const pack = makePack(Number(count));
  writeFileSync(file, pack);
  console.log(`${file}: ${(pack.length / 1e6).toFixed(1)} MB`);
}
