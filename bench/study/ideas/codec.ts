// What the format has already: streams of the codec itself, told to do otherwise than it would.

import { type EncodeOptions, encodeTensor, inspectTensor } from '../../../spec/index.ts';
import { native } from '../../../src/engine/native.ts';
import type { Sample } from '../samples.ts';
import type { Chapter, Idea } from './idea.ts';

export function streamOf({ data, dtype, rows, columns }: Sample, options: EncodeOptions): Uint8Array {
  const codec = native();
  if (codec === undefined) return encodeTensor(data, dtype, [rows, columns], options);
  const stream = new Uint8Array(codec.encodeBound(dtype, [rows, columns], options));
  return stream.subarray(0, codec.encode(data, dtype, [rows, columns], options, stream));
}

/** Bits of the stream; undefined where the dtype has no such option. */
export function streamBits(sample: Sample, options: EncodeOptions): number | undefined {
  try {
    return 8 * streamOf(sample, options).length;
  } catch (error) {
    if (error instanceof RangeError || (error as { code?: string }).code === 'INVALID_ARGUMENT') return undefined;
    throw error;
  }
}

const option = (name: string, gpu: string, options: EncodeOptions): Idea => ({
  name,
  gpu,
  bits: (sample) => streamBits(sample, options),
});

/** With plane 0 so; the planes behind it RAW, as they are for nearly all weights. */
const predicted = (name: string, gpu: string, mode: 'none' | 'left' | 'top' | 'avg' | 'planar'): Idea => ({
  name,
  gpu,
  bits: (sample) => {
    if (sample.dtype === 'I8') return streamBits(sample, { split: [8], modes: [mode] });
    return sample.dtype === 'BF16' ? streamBits(sample, { split: [8, 8], modes: [mode, 'raw'] }) : undefined;
  },
});

const PROFILE_SMALL = option('what *small* chooses', '', {});

/** Of a tile. */
const LANES = 32;

/** What the states would hold that now end as payloads: 16 bits of each lane of a tile with RANS before RAW. */
const noPayload: Idea = {
  name: 'without payload',
  gpu: 'nothing: a lane ends its RAW bits with half of a register that it has',
  bits: (sample) => {
    const stream = streamOf(sample, {});
    const { modes } = inspectTensor(stream);
    // A plane is RAW where the one before is, so that the fewer of both are the tiles that have a payload.
    const payloads = modes.slice(1).reduce((sum, { raw = 0 }, p) => {
      const tiles = Object.values(modes[p]).reduce((all, each) => all + each, 0);
      const { const: constant = 0, raw: stored = 0 } = modes[p];
      return sum + Math.min(raw, tiles - constant - stored);
    }, 0);
    return 8 * stream.length + 16 * LANES * payloads;
  },
};

export const PREDICTORS: Chapter = {
  title: 'Predictors, plane 0 of 8 bits',
  base: predicted('no prediction', '', 'none'),
  ideas: [
    predicted('LEFT', 'a prefix sum over the lanes of a row: 0.86 of 1.0 TB/s (I8, bench/NOTES.md)', 'left'),
    predicted('TOP', 'five instructions a row', 'top'),
    predicted('AVG', 'a row takes 2.3 decodings: 0.66 of 1.0 TB/s', 'avg'),
    predicted('PLANAR', 'as LEFT and TOP: 0.85 of 1.0 TB/s', 'planar'),
  ],
};

export const OPTIONS: Chapter = {
  title: 'Splits, classes, precision, tiles',
  base: PROFILE_SMALL,
  ideas: [
    option('split 10 + 6 (BF16)', '97 instructions a row', { split: [10, 6] }),
    option('split 8 + 8 (BF16)', 'fewer of them: no bits to merge', { split: [8, 8] }),
    option('8 + 8, the lower byte by LEFT (BF16)', 'a prefix sum over the lanes of a row', {
      split: [8, 8],
      modes: ['none', 'left'],
    }),
    option('split 4 + 4 (8 bits)', 'two weights a look-up: 1.46 instead of 1.03 TB/s', { split: [4, 4] }),
    option('profile *fast*', 'two exponents a look-up: 62 instructions a row', { profile: 'fast' }),
    option('one class', 'one table: 16 KiB of shared memory', { classes: 'none' }),
    option('2 classes of rows', 'a selector of the row, two tables', { classes: 'rows2' }),
    option('2 of columns', 'a constant of the lane, two tables', { classes: 'columns2' }),
    option('4 of rows', 'four tables', { classes: 'rows4' }),
    option('4 of columns', 'four tables', { classes: 'columns4' }),
    option('2 x 2', 'four tables', { classes: 'mixed' }),
    option('without column values', 'nothing: a constant of the lane less', { columnValues: false }),
    option('column values always, of floats signs alone', 'one addition less', { columnValues: true }),
    option('column values always, of floats all bits', 'as it is', { columnValues: 'wide' }),
    option('never predicted (I8, one plane)', 'nothing', { split: [8], modes: ['none'] }),
    ...[8, 9, 10, 11].map((probabilityBits) =>
      option(`N = ${probabilityBits}`, `tables of ${2 ** probabilityBits} slots`, { probabilityBits }),
    ),
    ...([8, 16, 32, 64, 256] as const).map((tileRows) =>
      option(
        `tiles of ${tileRows} rows`,
        tileRows < 128 ? `${128 / tileRows} times as many warps` : 'half as many warps',
        {
          tileRows,
        },
      ),
    ),
    noPayload,
  ],
};
