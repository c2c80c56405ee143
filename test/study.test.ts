// What the study measures with: transforms that can be undone, lengths of sources whose entropy is known, dtypes made.

import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DERIVED, derive, MAIN, toFloat, unpacked, valuesOf } from '../bench/study/derived.ts';
import { dtypeTable } from '../bench/study/dtypes.ts';
import { BOUNDS } from '../bench/study/ideas/bounds.ts';
import { OPTIONS } from '../bench/study/ideas/codec.ts';
import { COLUMN, CONSTANTS } from '../bench/study/ideas/columns.ts';
import { type Chapter, type Idea, measure } from '../bench/study/ideas/idea.ts';
import { FEW_CLASSES, SHARED, TABLES } from '../bench/study/ideas/tables.ts';
import { TRANSFORMS, transform } from '../bench/study/ideas/transforms.ts';
import { bound, countIn, lengthIn, paid } from '../bench/study/lengths.ts';
import { FAMILIES, lift, liftingOf, matrixOf, unlift } from '../bench/study/lifting.ts';
import { prefixesOf, truncated } from '../bench/study/prefixes.ts';
import { kindOf, layerOf, roleOf, runsOf, type Sample, samplesOf } from '../bench/study/samples.ts';
import { type Gain, summaryOf } from '../bench/study/summary.ts';
import { symbolsOf } from '../bench/study/symbols.ts';
import { SEED } from './seed.ts';

const runs = { numRuns: 100, seed: SEED };

/** Numbers from 0 to 1, the same ones each time. */
function randomNumbers(seed = 1): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** About normal: the sum of twelve numbers. */
function normal(random: () => number): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random();
  return sum;
}

function sampleOf(values: readonly number[], columns: number, dtype = 'I8', name = 'layers.0.w'): Sample {
  const data = dtype === 'F32' ? new Uint8Array(Float32Array.from(values).buffer) : Uint8Array.from(values);
  return { name, kind: 'layers', dtype, rows: values.length / columns, columns, data, share: 1 };
}

describe('transforms', () => {
  const liftings = FAMILIES.flatMap((family) => [4, 8, 16].map((points) => ({ family, points })));

  test.each(liftings)('$family of $points points is undone exactly', ({ family, points }) => {
    const lifting = liftingOf(family, points);
    const numbers = fc.array(fc.integer({ min: -5000, max: 5000 }), { minLength: 3 * points, maxLength: 3 * points });
    fc.assert(
      fc.property(numbers, (original) => {
        const values = Int32Array.from(original);
        lift(lifting, values, 1, 3);
        unlift(lifting, values, 1, 3);
        expect(Array.from(values)).toEqual(original);
      }),
      runs,
    );
  });

  test.each([4, 8, 16])('those of cosines and sines are, but for signs, the matrices of %i points', (points) => {
    for (const family of ['DCT', 'DST'] as const) {
      const input = Array.from({ length: points }, (_, i) => ((i * 7919) % 2001) * 50);
      const values = Int32Array.from(input);
      lift(liftingOf(family, points), values, 0, 1);
      const exact = matrixOf(family, points).map((row) => row.reduce((sum, each, i) => sum + each * input[i], 0));
      exact.forEach((each, k) => {
        expect(Math.abs(Math.abs(values[k]) - Math.abs(each))).toBeLessThan(points);
      });
    }
  });

  test.each(FAMILIES)('%s puts a constant into its lowest band, and names bands in order', (family) => {
    const lifting = liftingOf(family, 8);
    expect(Math.min(...lifting.bands)).toBe(0);
    const values = new Int32Array(8).fill(1000);
    lift(lifting, values, 0, 1);
    const energy = [0, 0, 0, 0, 0, 0, 0, 0];
    values.forEach((value, i) => {
      energy[lifting.bands[i]] += value ** 2;
    });
    expect(energy.indexOf(Math.max(...energy))).toBe(0);
    if (family !== 'DST') expect(energy.slice(1).every((each) => each < 20)).toBe(true);
  });

  test('of a matrix leave what is not a whole block as it is, in a band of its own', () => {
    const values = Int32Array.from({ length: 5 * 6 }, (_, at) => at);
    const { bands, bandOf } = transform(values, { rows: 5, columns: 6 }, liftingOf('Haar', 4), 'both');
    expect([bandOf(4), bandOf(4 * 6)]).toEqual([bands - 1, bands - 1]);
    expect(bandOf(0)).toBe(0);
    expect(values[4 * 6 + 5]).toBe(29);
  });
});

describe('lengths', () => {
  const random = randomNumbers();
  const dice = Array.from({ length: 1 << 16 }, () => Math.floor(random() * 8));

  test('of known sources', () => {
    expect(lengthIn(bound, dice) / dice.length).toBeCloseTo(3, 3);
    const skew = Array.from({ length: 1 << 16 }, () => (random() < 0.125 ? 1 : 0));
    expect(lengthIn(bound, skew) / skew.length).toBeCloseTo(0.5436, 2);
    expect(lengthIn(paid(), [7, 7, 7, 7])).toBe(0);
  });

  test('pay for tables, a sample its part', () => {
    const counts = countIn(dice, 1, () => 0)[0];
    expect(paid()(counts) - bound(counts)).toBeCloseTo(7 * (8 - Math.LOG2E / 2), 5);
    expect(paid(0.25)(counts) - bound(counts)).toBeCloseTo(7 * (0.25 * 9 - Math.LOG2E / 2), 5);
  });

  test('with a context that says all, or nothing', () => {
    expect(lengthIn(bound, dice, 8, (at) => dice[at])).toBe(0);
    expect(lengthIn(bound, dice, 8, (at) => at % 8) / dice.length).toBeCloseTo(3, 2);
  });
});

describe('ideas', () => {
  const [rows, columns] = [512, 256];
  const random = randomNumbers(7);
  const plain = Array.from({ length: rows * columns }, () => Math.round(20 * normal(random)));
  const gainsOf = (chapter: Chapter, samples: readonly Sample[], name: string): number => {
    const idea = chapter.ideas.find((each) => each.name === name);
    if (idea === undefined) throw new Error(name);
    const measured = measure(idea, chapter.base, samples);
    return measured ? measured.base - measured.bits : Number.NaN;
  };
  const gains = (chapter: Chapter, values: readonly number[], name: string): number =>
    gainsOf(chapter, [sampleOf(values, columns)], name);

  test('the mean of columns gains where columns have one, and costs its constants elsewhere', () => {
    const shifted = plain.map((value, at) => value + (((at % columns) * 37) % 80) - 40);
    expect(gains(COLUMN, shifted, 'minus the mean of the column')).toBeGreaterThan(0.3);
    expect(gains(COLUMN, plain, 'minus the mean of the column')).toBeLessThan(0.01);
  });

  test('the sign, and tables by mean, gain where columns have one', () => {
    const leaning = plain.map((value, at) => Math.round(value / 4) + ((at % columns) % 2 ? 40 : -40));
    for (const name of ['the sign is against that of the column', '2 tables by mean / deviation of the column']) {
      expect(gains(COLUMN, leaning, name), name).toBeGreaterThan(0.9);
      expect(gains(COLUMN, plain, name), name).toBeLessThan(0.01);
    }
  });

  test('an offset of the magnitudes gains where columns differ in scale, which no sign tells', () => {
    const scaled = plain.map((value, at) => (value + 0.5) * 2 ** ((at % columns) % 8));
    const bfloat = (values: readonly number[]): Sample => derive(sampleOf(values, columns, 'F32'), MAIN[0]) as Sample;
    const offset = 'the sign so, magnitudes less an offset';
    expect(gainsOf(COLUMN, [bfloat(scaled)], offset)).toBeGreaterThan(0.8);
    expect(gainsOf(COLUMN, [bfloat(plain.map((value) => value + 0.5))], offset)).toBeLessThan(0.01);
    expect(gainsOf(COLUMN, [bfloat(scaled)], 'the sign is against that of the column')).toBeLessThan(0.01);
    expect(gains(COLUMN, plain, offset)).toBeNaN();
  });

  test('classes of rows beside a mean gain where rows differ in size, deviations where columns do', () => {
    const lean = (at: number): number => (((at % columns) * 37) % 60) - 30;
    const sized = (isLarge: (at: number) => boolean): number[] =>
      plain.map((value, at) => Math.round(isLarge(at) ? value : value / 8) + lean(at));
    const [deviations, rows] = ['minus the mean, 4 tables by deviation', 'minus the mean, 4 classes of rows'];
    for (const [values, best, other] of [
      [sized((at) => Math.floor(at / columns) % 2 === 0), rows, deviations],
      [sized((at) => at % 2 === 0), deviations, rows],
    ] as const)
      expect(gains(COLUMN, values, best)).toBeGreaterThan(gains(COLUMN, values, other) + 0.3);
  });

  test('no constant of a column gains more than all that the column tells', () => {
    const tall = Array.from({ length: 4096 * 128 }, (_, at) => 8 * normal(random) + ((at * 37) % 128) - 64);
    const sample = derive(sampleOf(tall, 128, 'F32'), MAIN[0]) as Sample;
    const bound = gainsOf(BOUNDS, [sample], 'given the column itself');
    expect(bound).toBeGreaterThan(1);
    for (const { name } of COLUMN.ideas) expect(gainsOf(COLUMN, [sample], name), name).toBeLessThan(bound);
    expect(gains(BOUNDS, plain, 'given the column itself')).toBeNaN();
  });

  test('a table for each tile gains where tiles differ, and one for all layers where they do not', () => {
    const tiles = plain.map((value, at) => Math.round(at % columns < 128 ? value : value / 8));
    const ofTile = 'a table for each tile of 128 x 128';
    expect(gains(TABLES, tiles, ofTile)).toBeGreaterThan(0.3);
    expect(gains(TABLES, plain, ofTile)).toBeLessThan(0);
    const layers = (...of: readonly (readonly number[])[]): Sample[] =>
      of.map((values, layer) => sampleOf(values, columns, 'I8', `layers.${layer}.w`));
    const shared = 'one table for the same matrix of all layers';
    const alike = gainsOf(TABLES, layers(plain, plain, plain), shared);
    expect(alike).toBeGreaterThan(0);
    expect(alike).toBeLessThan(0.02);
    expect(
      gainsOf(
        TABLES,
        layers(
          plain,
          plain.map((value) => value >> 3),
        ),
        shared,
      ),
    ).toBeLessThan(-0.1);
    expect(gains(TABLES, plain, shared)).toBeNaN();
  });

  test('without payload a lane of a tile takes 16 bits more', () => {
    const floats = plain.map(() => 0.02 * normal(random));
    const bfloat = derive(sampleOf(floats, columns, 'F32'), MAIN[0]) as Sample;
    expect(gainsOf(OPTIONS, [bfloat], 'without payload')).toBeCloseTo((-16 * 32) / 128 ** 2, 6);
    expect(gainsOf(OPTIONS, [bfloat], 'never predicted (I8, one plane)')).toBeNaN();
  });

  test('the layer before says something where layers resemble one another', () => {
    const next = plain.map((value) => value + Math.round(2 * normal(random)));
    const samples = [plain, next].map((values, layer) => sampleOf(values, columns, 'I8', `layers.${layer}.w`));
    expect(gainsOf(BOUNDS, samples, 'given the element of the layer before, 8')).toBeGreaterThan(1);
  });

  test('the summary has the best of each, and what a transform gains beyond', () => {
    const gain = (idea: Idea, share: number): Gain => ({ checkpoint: 'c', tensors: 't', idea, bits: 0, share });
    const [constant, few, transformed] = [CONSTANTS, FEW_CLASSES, TRANSFORMS.ideas];
    const all = [gain(constant[0], 0.01), gain(constant[1], 0.02), gain(few[0], 0.03), gain(few[1], -1)];
    const row = summaryOf([...all, gain(transformed[0], 0.01), gain(SHARED, 0.004)]).split('\n')[2];
    expect(row).toBe(
      `| c | t | +2.00 % (${constant[1].name}) | +3.00 % (${few[0].name}) | not measured |` +
        ` +1.00 % (${transformed[0].name}) | -2.00 % | +0.40 % | not measured |`,
    );
  });

  test('classes gain where columns differ in size', () => {
    const sized = plain.map((value, at) => Math.round(at % 2 ? value : value / 8));
    expect(gains(TABLES, sized, '2 classes of columns')).toBeGreaterThan(0.3);
    expect(gains(TABLES, plain, '2 classes of columns')).toBeLessThan(0);
  });

  test('bounds see neighbours that say something, and none where there are none', () => {
    const walk = plain.map((value, at) => Math.round(value / 4 + 60 * Math.sin((at % columns) / 9)));
    const neighbours = 'given the neighbours left and above, 8 x 8';
    expect(gains(BOUNDS, walk, neighbours)).toBeGreaterThan(0.5);
    expect(Math.abs(gains(BOUNDS, plain, neighbours))).toBeLessThan(0.02);
    expect(gains(BOUNDS, plain, 'given the element of the layer before, 8')).toBeNaN();
  });
});

describe('dtypes', () => {
  const random = randomNumbers(3);
  const values = Array.from({ length: 256 * 256 }, () => 0.02 * normal(random));
  const sample = sampleOf(values, 256, 'F32');
  const made = (name: string): Sample => {
    const derived = DERIVED.find((each) => each.name === name)?.make(sample, valuesOf(sample) as Float32Array);
    if (derived === undefined) throw new Error(name);
    return derived;
  };

  test.each(DERIVED.filter(({ stored }) => stored !== 'F32'))(
    '$name has its bits, and as many rows and columns as words',
    ({ name, bits }) => {
      const { data, rows, columns, dtype } = made(name);
      expect(8 * data.length).toBe(bits * values.length);
      expect(rows * columns * (dtype === 'BF16' || dtype === 'F16' ? 2 : 1)).toBe(data.length);
    },
  );

  test('floats are near what they were made from, and come back themselves', () => {
    for (const [name, error] of [
      ['BF16', 2 ** -8],
      ['F16', 2 ** -11],
    ] as const)
      (valuesOf(made(name)) as Float32Array).forEach((value, i) => {
        expect(Math.abs(value - values[i])).toBeLessThanOrEqual(Math.abs(values[i]) * error + 2 ** -24);
      });
    expect([1, -1, 448, 1000, 0, 2 ** -9].map((value) => toFloat(value, 4, 3, 448))).toEqual([56, 184, 126, 126, 0, 1]);
    expect([0, 0.5, 1, 1.5, 2, 3, 4, 6].map((value) => toFloat(value, 2, 1, 6))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test('layouts of GPTQ and AWQ hold the same codes', () => {
    const count = (name: string): number[] =>
      unpacked(made(name)).reduce((counts, code) => counts.with(code, counts[code] + 1), new Array<number>(16).fill(0));
    expect(count('4 bits, AWQ')).toEqual(count('4 bits, GPTQ'));
  });

  test('groups of MXFP4 use the range of their codes', () => {
    const codes = unpacked(made('4 bits, MXFP4'));
    for (let from = 0; from < codes.length; from += 32)
      expect(Math.max(...codes.subarray(from, from + 32).map((code) => code & 7))).toBeGreaterThanOrEqual(6);
  });

  test('the table has what a weight takes: about 3.6 of 4 bits in groups of 128, and what was made has a star', () => {
    const rows = new Map(
      dtypeTable([sample])
        .split('\n')
        .map((row) => [row.split(' | ')[0], row.split(' | ')[1]]),
    );
    expect(Number.parseFloat(rows.get('| 4 bits, GPTQ*') ?? '')).toBeCloseTo(3.65, 1);
    expect(Number.parseFloat(rows.get('| BF16*') ?? '')).toBeCloseTo(10.47, 1);
    expect(Number.parseFloat(rows.get('| I8 by row*') ?? '')).toBeCloseTo(7.5, 1);
    expect([...rows.keys()]).toContain('| F32');
  });

  test('symbols of floats have the order of the values', () => {
    const { values: symbols } = symbolsOf(made('BF16'));
    const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
    for (let k = 1; k < order.length; k++) expect(symbols[order[k]]).toBeGreaterThanOrEqual(symbols[order[k - 1]]);
  });

  test('the first bits of a word are followed by the middle of what is missing', () => {
    expect([truncated(0x3f83, 16), truncated(0x3f83, 9), truncated(0x3f83, 8)]).toEqual([0x3f83, 0x3fc0, 0x3f80]);
  });
});

test('samples are rows of the matrices of a checkpoint, whose first bits take less', { timeout: 60_000 }, async () => {
  const demo = fileURLToPath(new URL('../demo/model.safetensors', import.meta.url));
  const samples = await samplesOf(demo);
  expect(new Set(samples.map(({ kind }) => kind))).toEqual(new Set(['layers', 'embeddings']));
  for (const { name, dtype, rows, columns, data, share } of samples) {
    expect([dtype, rows % 128, columns >= 128, data.length], name).toEqual(['BF16', 0, true, 2 * rows * columns]);
    expect(share, name).toBeLessThanOrEqual(1);
  }
  const { prefixes, problem } = prefixesOf(demo, samples);
  expect(problem).toBe('not a directory of a language model');
  expect(prefixes.map(({ bits }) => bits)).toEqual([8, 9, 10, 11, 12, 13, 14, 15, 16]);
  for (let k = 1; k < prefixes.length; k++) {
    expect(prefixes[k].coded).toBeGreaterThan(prefixes[k - 1].coded);
    expect(prefixes[k].error).toBeLessThan(prefixes[k - 1].error);
  }
  expect(prefixes[8].error).toBe(0);
});

test('names say what a matrix is, and runs of rows are spread evenly', () => {
  expect(kindOf('embeddings.position_embeddings.weight')).toBe('position embeddings');
  expect(kindOf('model.embed_tokens.weight')).toBe('embeddings');
  expect(kindOf('model.layers.3.mlp.up_proj.weight')).toBe('layers');
  expect(kindOf('exp_avg_sq.lm_head.weight')).toBe('second moments');
  expect([layerOf('model.layers.12.x'), layerOf('x')]).toEqual([12, -1]);
  expect(roleOf('blk.3.attn')).toBe(roleOf('blk.4.attn'));
  expect([runsOf(1024, 2), runsOf(300, 9), runsOf(128, 1)]).toEqual([[0, 512], [0, 128], [0]]);
});
