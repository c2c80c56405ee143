// The one generator of samples: a tensor of any dtype, shape and pattern, and options for it. Round trips, the native
// codec's tests and the conformance pack draw from it.

import fc from 'fast-check';
import { makeTensor, PATTERNS } from '../golden/patterns.ts';
import { allowsDirect, allowsPairs, type Split } from '../spec/decoder/3-planes.ts';
import { maxProbabilityBits } from '../spec/decoder/6.1-tables.ts';
import {
  type ClassChoice,
  DTYPES,
  type Dtype,
  type EncodeOptions,
  type ModeChoice,
  type Profile,
  TILE_ROWS,
  wordCount,
} from '../spec/index.ts';
import tables from '../spec/tables.json' with { type: 'json' };

export interface Sample {
  readonly dtype: Dtype;
  /** In elements. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
  readonly options: EncodeOptions;
}

const maybe = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(values, { nil: undefined });

/** The modes that a plane may be forced into; PAIRS, where it can be, as often as not. */
function modesOf(dtype: Dtype, split: Split, p: number): fc.Arbitrary<ModeChoice> {
  const bytes = fc.constantFrom<ModeChoice>('raw', 'none', 'left', 'top', 'avg', 'planar');
  const others = split[p] === 8 ? bytes : fc.constantFrom<ModeChoice>('raw', 'none');
  const hasPairs = p === 0 && allowsPairs(dtype, split);
  return hasPairs ? fc.oneof(fc.constant<ModeChoice>('pairs'), others) : others;
}

/** Modes of all planes; DIRECT, where it can be, as often as not. */
function forcedModes(dtype: Dtype, split: Split): fc.Arbitrary<ModeChoice[]> {
  const each = fc.tuple(...split.map((_, p) => modesOf(dtype, split, p)));
  return allowsDirect(dtype, split) ? fc.oneof(each, fc.constant<ModeChoice[]>(['direct', 'direct'])) : each;
}

/** Options that a dtype allows. */
function optionsFor(dtype: Dtype): fc.Arbitrary<EncodeOptions> {
  return fc.constantFrom(...dtype.splits).chain((split) =>
    fc
      .record({
        profile: maybe(fc.constantFrom(...(tables.profiles as Profile[]))),
        tileRows: maybe(fc.constantFrom(...TILE_ROWS)),
        columns: maybe(
          fc.oneof(
            fc.integer({ min: 1, max: 20 }),
            fc.integer({ min: 120, max: 136 }),
            fc.integer({ min: 1, max: 270 }),
            fc.constantFrom(128, 256),
          ),
        ),
        classes: maybe(fc.constantFrom(...(tables.classChoices as ClassChoice[]))),
        columnOffsets: maybe(fc.boolean()),
        columnValues: maybe(fc.constantFrom(false, true, 'wide')),
        isSplit: fc.boolean(),
        modes: maybe(forcedModes(dtype, split)),
        probabilityBits: maybe(fc.integer({ min: 8, max: Math.min(...dtype.splits.flat().map(maxProbabilityBits)) })),
      })
      .map(({ isSplit, modes, probabilityBits, ...rest }) => {
        const isFixed = isSplit || modes !== undefined;
        // Left out is not the same as undefined in the manifest of vectors, nor for the native codec.
        const options = { ...rest, modes, probabilityBits, split: isFixed ? split : undefined };
        return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
      }),
  );
}

const dimension = fc.oneof(
  fc.integer({ min: 0, max: 9 }),
  fc.integer({ min: 30, max: 140 }),
  fc.integer({ min: 125, max: 131 }),
  fc.constantFrom(16, 32, 33, 128, 256, 257),
);

/** Shapes: no elements, scalars, vectors with short last rows, ones around them, matrices, and more dimensions. */
const anyShape = fc.oneof(
  fc.array(dimension, { maxLength: 3 }),
  fc.tuple(fc.integer({ min: 1, max: 3000 })),
  fc.integer({ min: 1, max: 3000 }).map((elements) => [1, elements, 1]),
  fc.tuple(fc.integer({ min: 150, max: 260 }), fc.integer({ min: 125, max: 140 })),
);

/** Rows by fours, and columns of the matrix view by 128: tiles are whole but for the last rows. */
const wholeView = fc.record({
  rows: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 110 })).map((fours) => 4 * fours),
  columns: fc.constantFrom(128, 256),
});

/** @param mostWords no tensor has so many */
export function samples(mostWords = 60_000, dtypes: readonly Dtype[] = DTYPES): fc.Arbitrary<Sample> {
  return fc.constantFrom(...dtypes).chain((dtype) => {
    const fits = (shape: readonly number[]): boolean => (wordCount(dtype, shape) ?? mostWords) < mostWords;
    const whole = wholeView
      .map(({ rows, columns }) => ({ shape: [(rows * columns * dtype.wordBits) / dtype.bits], columns }))
      .filter(({ shape }) => fits(shape));
    const any = anyShape.filter(fits).map((shape) => ({ shape, columns: undefined }));
    return fc
      .record({
        view: fc.oneof(any, whole),
        pattern: fc.constantFrom(...PATTERNS),
        seed: fc.integer(),
        options: optionsFor(dtype),
      })
      .map(({ view: { shape, columns }, pattern, seed, ...drawn }): Sample => {
        const options = columns === undefined ? drawn.options : { ...drawn.options, columns };
        const words = wordCount(dtype, shape) as number;
        const across = Math.max(1, options.columns ?? shape.at(-1) ?? 1);
        return { dtype, shape, options, data: makeTensor(dtype.name, words, across, pattern, seed) };
      });
  });
}
