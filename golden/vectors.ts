// What the valid vectors are. `generate.ts` makes their bytes; `manifest.json` is what another implementation reads.

import { readFileSync } from 'node:fs';
import { isNibbles, type Split } from '../spec/decoder/3-planes.ts';
import { DTYPES, type EncodeOptions, encodeTensor, type ModeChoice, TILE_ROWS } from '../spec/index.ts';
import { fromRoot } from '../src/files/root.ts';
import { mixedVectors } from './mixed.ts';
import { makeTensor, type Pattern } from './patterns.ts';

export interface Vector {
  readonly id: string;
  /** What it is there for. */
  readonly comment: string;
  readonly flags: readonly string[];
  readonly dtype: string;
  readonly shape: readonly number[];
  /** How the reference encoder makes the stream of the input; undefined if it makes no such one. */
  readonly options: EncodeOptions | undefined;
  readonly input: Uint8Array;
  readonly stream: Uint8Array;
}

interface Case {
  readonly id: string;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly options?: EncodeOptions;
  readonly pattern: Pattern;
  /** Of the input, where a threshold depends on it; else that of the case's place in the list. */
  readonly seed?: number;
}

const PREDICTED: readonly [ModeChoice, Pattern][] = [
  ['raw', 'bytes'],
  ['none', 'gaussian'],
  ['left', 'smooth'],
  ['top', 'gradient'],
  ['avg', 'smooth'],
  ['planar', 'diagonal'],
];

/** Every mode and predictor, for every dtype and those of its splits that are wanted. */
function modeCases(wanted: (split: Split) => boolean): Case[] {
  return DTYPES.flatMap((dtype, d) =>
    dtype.splits.filter(wanted).flatMap((split) => {
      // 31 columns: the last lane of a tile has three. 24 bits is the least that elements of 4 and 6 bits can fill.
      const shape = dtype.bits < 8 ? [19, 31 * 8] : dtype.wordBits < dtype.bits ? [19, 8] : [19, 31];
      const splitName = dtype.splits.length > 1 && split.length > 1 ? `-${split.join('-')}` : '';
      const columns = 31;
      const common = { dtype: dtype.name, shape };
      const cases = PREDICTED.filter(
        ([mode]) => split.every((bits) => bits === 8) || mode === 'raw' || mode === 'none',
      ).map(
        ([mode, pattern]): Case => ({
          ...common,
          id: `mode-${dtype.name}${splitName}-${mode}`,
          comment: `${dtype.name} as ${split.join(' + ')}: ${mode === 'raw' ? 'RAW' : `RANS, predictor ${mode.toUpperCase()}`} in every plane`,
          flags: ['mode', mode],
          options: { split, columns, modes: split.map(() => mode) },
          pattern: pattern === 'gaussian' && d === 0 ? 'sparse' : pattern,
        }),
      );
      const constant: Case = {
        ...common,
        id: `mode-${dtype.name}${splitName}-const`,
        comment: `${dtype.name} as ${split.join(' + ')}: every plane is CONST, Data is empty`,
        flags: ['mode', 'const'],
        options: { split, columns },
        pattern: 'constant',
      };
      return [...cases, constant];
    }),
  );
}

const PAIRS: EncodeOptions = { profile: 'fast', modes: ['pairs', 'raw'] };

const OTHER_CASES: readonly Case[] = [
  {
    id: 'mode-BF16-8-8-pairs',
    comment: 'BF16 as 8 + 8: PAIRS, then RAW with its last bits in the final states',
    flags: ['mode', 'pairs'],
    dtype: 'BF16',
    shape: [19, 31],
    options: { ...PAIRS, columns: 31 },
    pattern: 'gaussian',
  },
  {
    id: 'pairs-then-rans',
    comment: 'PAIRS without payload: the next plane is coded too',
    flags: ['pairs'],
    dtype: 'BF16',
    shape: [19, 30],
    options: { profile: 'fast', modes: ['pairs', 'none'], columns: 30 },
    pattern: 'gaussian',
  },
  {
    id: 'pairs-one-column',
    comment: 'PAIRS with a single column: no right column exists',
    flags: ['pairs', 'edge'],
    dtype: 'BF16',
    shape: [40],
    options: { ...PAIRS, columns: 1, tileRows: 32 },
    pattern: 'gaussian',
  },
  {
    id: 'pairs-outliers-narrow',
    comment: 'PAIRS with outliers in a tile of 100 columns and 256 rows',
    flags: ['pairs', 'outliers'],
    dtype: 'BF16',
    shape: [256, 100],
    options: { ...PAIRS, columns: 100, tileRows: 256 },
    pattern: 'outliers',
  },
  {
    id: 'pairs-offsets',
    comment: 'PAIRS with an offset for each column',
    flags: ['pairs', 'offsets'],
    dtype: 'BF16',
    shape: [40, 37],
    options: { ...PAIRS, columns: 37, columnOffsets: true, tileRows: 32 },
    pattern: 'columns',
  },
  {
    id: 'pairs-outliers',
    comment: 'PAIRS with outliers, left and right, in two tiles',
    flags: ['pairs', 'outliers'],
    dtype: 'BF16',
    shape: [40, 130],
    options: { ...PAIRS, tileRows: 32, columns: 130 },
    pattern: 'outliers',
  },
  {
    id: 'pairs-misfit',
    comment:
      'Most elements of the lower tiles are zero: they do not fit the window, and plane 0 has a table beside pairs',
    flags: ['pairs'],
    dtype: 'BF16',
    shape: [64, 129],
    options: { profile: 'fast', tileRows: 32, columns: 129 },
    pattern: 'halves',
  },
  ...(['none', 'rows2', 'columns2', 'rows4', 'columns4', 'mixed'] as const).flatMap((classes): Case[] => [
    {
      id: `classes-small-${classes}`,
      comment: `BF16 as 10 + 6 with classes: ${classes}`,
      flags: ['classes'],
      dtype: 'BF16',
      shape: [45, 66],
      options: { classes, columns: 66, tileRows: 32, modes: ['none', 'raw'] },
      pattern: classes.startsWith('col') ? 'columns' : 'rows',
    },
    {
      id: `classes-pairs-${classes}`,
      comment: `BF16 in PAIRS with classes: ${classes}; column selectors are for two columns each`,
      flags: ['classes', 'pairs'],
      dtype: 'BF16',
      shape: [45, 67],
      options: { ...PAIRS, classes, columns: 67, tileRows: 32 },
      pattern: classes.startsWith('col') ? 'columns' : 'rows',
    },
    {
      id: `classes-i8-${classes}`,
      comment: `I8, TOP predicted, with classes: ${classes}`,
      flags: ['classes'],
      dtype: 'I8',
      shape: [45, 66],
      options: { classes, columns: 66, tileRows: 32, modes: ['top'] },
      pattern: 'rows',
    },
  ]),
  {
    id: 'classes-all-planes',
    comment: 'F16, both planes RANS, mixed classes',
    flags: ['classes'],
    dtype: 'F16',
    shape: [64, 140],
    options: { classes: 'mixed', columns: 140, tileRows: 32, modes: ['none', 'none'], probabilityBits: 11 },
    pattern: 'rows',
  },
  {
    id: 'outliers-f32',
    comment: 'F32 with outliers: entries of 8 bytes',
    flags: ['outliers'],
    dtype: 'F32',
    shape: [96, 150],
    options: { columns: 150, tileRows: 32, modes: ['none', 'raw', 'raw', 'raw'], probabilityBits: 8 },
    pattern: 'outliers',
  },
  {
    id: 'outliers-bf16',
    comment: 'BF16 as 10 + 6 with outliers',
    flags: ['outliers'],
    dtype: 'BF16',
    shape: [128, 150],
    options: { columns: 150, tileRows: 64, modes: ['none', 'raw'], probabilityBits: 8 },
    pattern: 'outliers',
  },
  {
    id: 'outliers-i8',
    comment: 'I8 with outliers: words of 8 bits in entries of 4 bytes',
    flags: ['outliers'],
    dtype: 'I8',
    shape: [256, 130],
    options: { columns: 130, modes: ['none'], probabilityBits: 8 },
    pattern: 'outliers',
  },
  ...([8, 9, 10, 11, 12] as const).map(
    (probabilityBits): Case => ({
      id: `bits-${probabilityBits}`,
      comment: `F16 with N = ${probabilityBits}`,
      flags: ['tables'],
      dtype: 'F16',
      shape: [20, 130],
      options: { probabilityBits, modes: ['none', 'none'], columns: 130 },
      pattern: 'gaussian',
    }),
  ),
  {
    id: 'one-symbol-table',
    comment: 'A forced table of one symbol: 2^N - 1 slots, and one for its neighbour',
    flags: ['tables'],
    dtype: 'U8',
    shape: [5, 6],
    options: { modes: ['none'], columns: 6 },
    pattern: 'constant',
  },
  {
    id: 'rans-then-raw',
    comment: 'RANS, then RAW with its last bits in the final states',
    flags: ['payload'],
    dtype: 'BF16',
    shape: [19, 31],
    options: { split: [10, 6], modes: ['none', 'raw'], columns: 31 },
    pattern: 'gaussian',
  },
  {
    id: 'rans-then-raw-one-row',
    comment: 'The same with one row: 8 bits a lane remain',
    flags: ['payload', 'edge'],
    dtype: 'BF16',
    shape: [31],
    options: { split: [10, 6], modes: ['none', 'raw'] },
    pattern: 'gaussian',
  },
  {
    id: 'raw-alternating',
    comment: 'F32 with RANS, RAW, RANS, RAW: two payloads',
    flags: ['payload'],
    dtype: 'F32',
    shape: [19, 31],
    options: { modes: ['none', 'raw', 'left', 'raw'], columns: 31 },
    pattern: 'gaussian',
  },
  {
    id: 'scalar',
    comment: 'No dimensions: one element',
    flags: ['edge'],
    dtype: 'BF16',
    shape: [],
    pattern: 'gaussian',
  },
  {
    id: 'empty',
    comment: 'No elements: no tiles, no tables, no Data',
    flags: ['edge'],
    dtype: 'F32',
    shape: [0],
    pattern: 'gaussian',
  },
  {
    id: 'empty-inner',
    comment: 'A dimension of 0 among others',
    flags: ['edge'],
    dtype: 'BF16',
    shape: [3, 0, 128],
    pattern: 'gaussian',
  },
  {
    id: 'one-element',
    comment: 'One element in one dimension',
    flags: ['edge'],
    dtype: 'F16',
    shape: [1],
    pattern: 'gaussian',
  },
  ...([125, 126, 127, 128, 129, 130, 131] as const).map(
    (columns): Case => ({
      id: `columns-${columns}`,
      comment: `${columns} columns: lanes of one to four columns`,
      flags: ['edge'],
      dtype: 'BF16',
      shape: [36, columns],
      options: { columns, tileRows: 32 },
      pattern: 'gaussian',
    }),
  ),
  {
    id: 'short-last-row',
    comment: 'The last row of the matrix view is short: its last word is repeated',
    flags: ['edge'],
    dtype: 'BF16',
    shape: [1000],
    pattern: 'gaussian',
  },
  {
    id: 'short-last-row-fast',
    comment: 'The same in PAIRS',
    flags: ['edge'],
    dtype: 'BF16',
    shape: [1000],
    options: PAIRS,
    pattern: 'gaussian',
  },
  {
    id: 'last-tile-one-row',
    comment: 'The last tile is one row high',
    flags: ['edge'],
    dtype: 'BF16',
    shape: [33, 140],
    options: { tileRows: 32, columns: 140 },
    pattern: 'gaussian',
  },
  {
    id: 'last-tile-one-row-i8',
    comment: 'The same, predicted from above',
    flags: ['edge'],
    dtype: 'I8',
    shape: [33, 140],
    options: { tileRows: 32, columns: 140, modes: ['top'] },
    pattern: 'gradient',
  },
  ...TILE_ROWS.map(
    (tileRows): Case => ({
      id: `tile-rows-${tileRows}`,
      comment: `H = ${tileRows}, with more rows than one tile`,
      flags: ['edge'],
      dtype: 'I8',
      shape: [tileRows + 3, 12],
      options: { tileRows, columns: 12 },
      pattern: 'gaussian',
    }),
  ),
  {
    id: 'three-dimensions',
    comment: 'The matrix view joins trailing dimensions',
    flags: ['edge'],
    dtype: 'BF16',
    shape: [130, 4, 33],
    pattern: 'gaussian',
  },
  {
    id: 'nan-infinity',
    comment: 'NaN of both signs, infinities, subnormals and both zeros in BF16',
    flags: ['values'],
    dtype: 'BF16',
    shape: [20, 40],
    pattern: 'extremes',
  },
  {
    id: 'nan-infinity-fast',
    comment: 'The same in profile fast',
    flags: ['values'],
    dtype: 'BF16',
    shape: [20, 40],
    options: { profile: 'fast' },
    pattern: 'extremes',
  },
  {
    id: 'nan-infinity-f16',
    comment: 'The same in F16',
    flags: ['values'],
    dtype: 'F16',
    shape: [20, 40],
    pattern: 'extremes',
  },
  {
    id: 'nan-infinity-f32',
    comment: 'The same in F32',
    flags: ['values'],
    dtype: 'F32',
    shape: [20, 40],
    pattern: 'extremes',
  },
  {
    id: 'auto-gradient',
    comment: 'Left to itself, the encoder predicts',
    flags: ['auto'],
    dtype: 'U8',
    shape: [64, 128],
    pattern: 'gradient',
  },
  {
    id: 'auto-smooth-bf16',
    comment: 'BF16 that prediction suits: small takes 8 + 8',
    flags: ['auto'],
    dtype: 'BF16',
    shape: [64, 128],
    pattern: 'gradient',
  },
  {
    id: 'auto-classes-small',
    comment: 'Rows of four scales, all choices left to the encoder',
    flags: ['auto'],
    dtype: 'BF16',
    shape: [256, 128],
    pattern: 'rows',
  },
  {
    id: 'auto-classes-fast',
    comment: 'Columns of five scales, profile fast, all choices left to the encoder',
    flags: ['auto'],
    dtype: 'BF16',
    shape: [256, 128],
    options: { profile: 'fast' },
    pattern: 'columns',
  },
  {
    id: 'auto-random',
    comment: 'Random bytes: RAW, and the stated overhead',
    flags: ['auto'],
    dtype: 'U8',
    shape: [3000],
    pattern: 'bytes',
  },
  { id: 'auto-bool', comment: 'A mask', flags: ['auto'], dtype: 'BOOL', shape: [40, 200], pattern: 'sparse' },
];

const NIBBLES: EncodeOptions = { split: [4, 4], modes: ['pairs', 'raw'] };

const NIBBLE_CASES: readonly Case[] = [
  ...['BOOL', 'U8', 'I8', 'F8_E4M3', 'F8_E5M2'].map(
    (dtype): Case => ({
      id: `mode-${dtype}-4-4-pairs`,
      comment: `${dtype} as 4 + 4: PAIRS, then RAW with its last bits in the final states`,
      flags: ['mode', 'pairs'],
      dtype,
      shape: [19, 31],
      options: { ...NIBBLES, columns: 31 },
      pattern: 'gaussian',
    }),
  ),
  {
    id: 'nibbles-then-rans',
    comment: 'I8 as 4 + 4: PAIRS without payload, the next plane is coded too',
    flags: ['pairs'],
    dtype: 'I8',
    shape: [19, 30],
    options: { split: [4, 4], modes: ['pairs', 'none'], columns: 30 },
    pattern: 'gaussian',
  },
  {
    id: 'nibbles-rans-then-raw',
    comment: 'F8_E4M3 as 4 + 4: RANS, then RAW with its last bits in the final states',
    flags: ['payload'],
    dtype: 'F8_E4M3',
    shape: [19, 31],
    options: { split: [4, 4], modes: ['none', 'raw'], columns: 31 },
    pattern: 'gaussian',
  },
  {
    id: 'nibbles-one-row',
    comment: 'I8 as 4 + 4 with one row: all bits of plane 1 travel in the final states',
    flags: ['pairs', 'edge'],
    dtype: 'I8',
    shape: [31],
    options: NIBBLES,
    pattern: 'gaussian',
  },
  {
    id: 'nibbles-one-column',
    comment: 'U8 as 4 + 4 with a single column: no right column exists',
    flags: ['pairs', 'edge'],
    dtype: 'U8',
    shape: [41],
    options: { ...NIBBLES, columns: 1, tileRows: 32 },
    pattern: 'gaussian',
  },
  {
    id: 'nibbles-last-tile-one-row',
    comment: 'I8 as 4 + 4, the last tile one row high',
    flags: ['pairs', 'edge'],
    dtype: 'I8',
    shape: [33, 140],
    options: { ...NIBBLES, tileRows: 32, columns: 140 },
    pattern: 'gaussian',
  },
  {
    id: 'nibbles-short-last-row',
    comment: 'F8_E4M3 as 4 + 4: the last row of the matrix view is short, its last word is repeated',
    flags: ['pairs', 'edge'],
    dtype: 'F8_E4M3',
    shape: [1000],
    options: NIBBLES,
    pattern: 'gaussian',
  },
  {
    id: 'nibbles-outliers',
    comment: 'I8 as 4 + 4 with outliers: pairs too rare for a slot',
    flags: ['pairs', 'outliers'],
    dtype: 'I8',
    shape: [256, 132],
    options: { ...NIBBLES, columns: 132, probabilityBits: 8 },
    pattern: 'outliers',
  },
  ...TILE_ROWS.map(
    (tileRows): Case => ({
      id: `nibbles-tile-rows-${tileRows}`,
      comment: `I8 as 4 + 4, H = ${tileRows}, whole tiles but for the last four rows`,
      flags: ['pairs'],
      dtype: 'I8',
      shape: [tileRows + 4, 128],
      options: { ...NIBBLES, tileRows, columns: 128 },
      pattern: 'gaussian',
    }),
  ),
  {
    id: 'nibbles-whole-f8',
    comment: 'F8_E4M3 as 4 + 4, whole tiles',
    flags: ['pairs'],
    dtype: 'F8_E4M3',
    shape: [64, 256],
    options: { ...NIBBLES, tileRows: 32, columns: 256 },
    pattern: 'extremes',
  },
  {
    id: 'nibbles-whole-mixed',
    comment: 'I8 as 4 + 4, whole tiles, with mixed classes',
    flags: ['classes', 'pairs'],
    dtype: 'I8',
    shape: [64, 256],
    options: { ...NIBBLES, classes: 'mixed', tileRows: 64, columns: 256 },
    pattern: 'rows',
  },
  ...(['none', 'rows2', 'columns2', 'rows4', 'columns4', 'mixed'] as const).map(
    (classes): Case => ({
      id: `classes-nibbles-${classes}`,
      comment: `I8 as 4 + 4 with classes: ${classes}; column selectors are for two columns each`,
      flags: ['classes', 'pairs'],
      dtype: 'I8',
      shape: [45, 67],
      options: { ...NIBBLES, classes, columns: 67, tileRows: 32 },
      pattern: classes.startsWith('col') ? 'columns' : 'rows',
    }),
  ),
  {
    id: 'auto-nibbles',
    comment: 'I8 in profile fast, all choices left to the encoder: 4 + 4',
    flags: ['auto'],
    dtype: 'I8',
    shape: [256, 128],
    options: { profile: 'fast' },
    pattern: 'gaussian',
  },
  {
    id: 'auto-gradient-fast',
    comment: 'What prediction suits is one plane of 8 bits in profile fast, too',
    flags: ['auto'],
    dtype: 'U8',
    shape: [64, 128],
    options: { profile: 'fast' },
    pattern: 'gradient',
  },
  {
    id: 'auto-bool-fast',
    comment: 'A mask in profile fast: its plane 1 as 4 + 4 would be RAW, so it is one plane',
    flags: ['auto'],
    dtype: 'BOOL',
    shape: [40, 200],
    options: { profile: 'fast' },
    pattern: 'sparse',
  },
];

/** As many outliers in a tile as fill several rows of its check. */
const OUTLIER_CASES: readonly Case[] = (
  [
    ['f32', 'F32', 256, [8, 8, 8, 8], ['none', 'raw', 'raw', 'raw']],
    ['bf16', 'BF16', 256, [8, 8], ['none', 'raw']],
    ['bf16-tile-rows-8', 'BF16', 8, [8, 8], ['none', 'raw']],
    ['i8', 'I8', 256, [8], ['none']],
  ] as const
).map(([id, dtype, tileRows, split, modes]) => ({
  id: `many-outliers-${id}`,
  comment: `${dtype} with 252 outliers in a tile of ${tileRows} rows`,
  flags: ['outliers'],
  dtype,
  shape: [256, 128],
  options: { columns: 128, tileRows, split, classes: 'none', modes, probabilityBits: 8 },
  pattern: 'rare',
}));

/** A decoder's words before outliers are less than the tensor's, and a lane of a GPU has little beside them. */
const LONE_CASES: readonly Case[] = (['fast', 'small'] as const).flatMap((profile) =>
  ([64, 128, 256] as const).map((rows) => ({
    id: `lone-outliers-${profile}-${rows}`,
    comment: `BF16 next to zero, and a few outliers about 1 in a tile of ${rows} rows, profile ${profile}`,
    flags: ['outliers'],
    dtype: 'BF16',
    shape: [rows, 128],
    options: { profile, columns: 128, tileRows: rows },
    pattern: 'lone',
  })),
);

const DIRECT: EncodeOptions = { modes: ['direct', 'direct'] };

const DIRECT_CASES: readonly Case[] = [
  {
    id: 'mode-BF16-8-8-direct',
    comment: 'BF16 as 8 + 8: DIRECT in both planes, in blocks of which a part is there',
    flags: ['mode', 'direct'],
    dtype: 'BF16',
    shape: [19, 31],
    options: { ...DIRECT, columns: 31 },
    pattern: 'gaussian',
  },
  {
    id: 'direct-whole',
    comment: 'DIRECT, whole tiles: two bands of two, each of two strips of two blocks',
    flags: ['direct'],
    dtype: 'BF16',
    shape: [64, 256],
    options: { profile: 'direct', tileRows: 32 },
    pattern: 'gaussian',
  },
  ...TILE_ROWS.map(
    (tileRows): Case => ({
      id: `direct-tile-rows-${tileRows}`,
      comment: `DIRECT, H = ${tileRows}, and a last tile of four rows`,
      flags: ['direct', 'edge'],
      dtype: 'BF16',
      shape: [tileRows + 4, 128],
      options: { ...DIRECT, tileRows, columns: 128 },
      pattern: 'gaussian',
    }),
  ),
  ...[15, 17].map(
    (rows): Case => ({
      id: `direct-rows-${rows}`,
      comment: `DIRECT, ${rows} rows: not whole strips`,
      flags: ['direct', 'edge'],
      dtype: 'BF16',
      shape: [rows, 64],
      options: { ...DIRECT, columns: 64 },
      pattern: 'gaussian',
    }),
  ),
  ...[1, 63, 65, 127, 129, 193].map(
    (columns): Case => ({
      id: `direct-columns-${columns}`,
      comment: `DIRECT, ${columns} columns: not whole blocks`,
      flags: ['direct', 'edge'],
      dtype: 'BF16',
      shape: [24, columns],
      options: { ...DIRECT, columns, tileRows: 16 },
      pattern: 'gaussian',
    }),
  ),
  {
    id: 'direct-scalar',
    comment: 'DIRECT with no dimensions: one element in a block',
    flags: ['direct', 'edge'],
    dtype: 'BF16',
    shape: [],
    options: DIRECT,
    pattern: 'gaussian',
  },
  {
    id: 'direct-empty',
    comment: 'No elements: no tiles, so no flag 8 and no base',
    flags: ['direct', 'edge'],
    dtype: 'BF16',
    shape: [0, 4],
    options: DIRECT,
    pattern: 'gaussian',
  },
  {
    id: 'direct-constant',
    comment: 'DIRECT that is forced, where each plane has one symbol',
    flags: ['direct'],
    dtype: 'BF16',
    shape: [16, 64],
    options: { ...DIRECT, columns: 64 },
    pattern: 'constant',
  },
  {
    id: 'direct-short-last-row',
    comment: 'DIRECT: the last row of the matrix view is short, and its last word, an outlier, is repeated',
    flags: ['direct', 'edge', 'outliers'],
    dtype: 'BF16',
    shape: [1000],
    options: { ...DIRECT, columnOffsets: false },
    pattern: 'last',
  },
  {
    id: 'direct-offsets',
    comment: 'DIRECT with an offset for each column',
    flags: ['direct', 'offsets'],
    dtype: 'BF16',
    shape: [40, 197],
    options: { ...DIRECT, columns: 197, columnOffsets: true, tileRows: 32 },
    pattern: 'columns',
  },
  {
    id: 'direct-no-offsets',
    comment: 'DIRECT without the offsets that its columns are worth',
    flags: ['direct'],
    dtype: 'BF16',
    shape: [128, 64],
    options: { profile: 'direct', columns: 64, columnOffsets: false },
    pattern: 'columns',
  },
  {
    id: 'direct-base-0',
    comment: 'DIRECT with windows from the lowest exponent on',
    flags: ['direct', 'values'],
    dtype: 'BF16',
    shape: [40, 70],
    options: { ...DIRECT, columns: 70 },
    pattern: 'tiny',
  },
  {
    id: 'direct-offsets-base-0',
    comment: 'DIRECT with offsets from a base of 0 on',
    flags: ['direct', 'values', 'offsets'],
    dtype: 'BF16',
    shape: [40, 70],
    options: { ...DIRECT, columns: 70, columnOffsets: true },
    pattern: 'tiny',
  },
  {
    id: 'direct-base-240',
    comment: 'DIRECT with windows up to the highest exponent',
    flags: ['direct', 'values', 'outliers'],
    dtype: 'BF16',
    shape: [40, 70],
    options: { ...DIRECT, columns: 70, columnOffsets: false },
    pattern: 'huge',
  },
  {
    id: 'direct-offsets-240',
    comment: 'DIRECT with base + offset up to 240',
    flags: ['direct', 'offsets'],
    dtype: 'BF16',
    shape: [40, 70],
    options: { ...DIRECT, columns: 70, columnOffsets: true },
    pattern: 'huge',
  },
  {
    id: 'direct-outliers',
    comment: 'DIRECT with outliers, in tiles of 16 rows',
    flags: ['direct', 'outliers'],
    dtype: 'BF16',
    shape: [40, 130],
    options: { ...DIRECT, columns: 130, tileRows: 16 },
    pattern: 'outliers',
  },
  {
    id: 'direct-outliers-narrow',
    comment: 'DIRECT with outliers in a tile of 250 rows and 100 columns',
    flags: ['direct', 'outliers'],
    dtype: 'BF16',
    shape: [250, 100],
    options: { ...DIRECT, columns: 100, tileRows: 256 },
    pattern: 'outliers',
  },
  {
    id: 'direct-outlier-last',
    comment: 'DIRECT with an outlier at the highest position that a tile has',
    flags: ['direct', 'outliers', 'edge'],
    dtype: 'BF16',
    shape: [256, 128],
    options: { profile: 'direct', columns: 128, tileRows: 256 },
    pattern: 'last',
  },
  {
    id: 'direct-strays',
    comment: 'Forced: tiles with 252 to 255 outliers are DIRECT whatever their size, the one with 256 is RAW',
    flags: ['direct', 'outliers'],
    dtype: 'BF16',
    shape: [80, 128],
    options: { ...DIRECT, columns: 128, tileRows: 16 },
    pattern: 'strays',
  },
  {
    id: 'direct-strays-small',
    comment:
      'Not forced: the tile with 252 outliers is DIRECT, and those with more, which would be as large as RAW, are not',
    flags: ['direct', 'outliers', 'auto'],
    dtype: 'BF16',
    shape: [80, 128],
    options: { profile: 'direct', columns: 128, tileRows: 16 },
    pattern: 'strays',
  },
  {
    id: 'direct-strays-large',
    comment: 'Not forced: tiles with 252 to 255 outliers are DIRECT, the one with 256 is not',
    flags: ['direct', 'outliers', 'auto'],
    dtype: 'BF16',
    shape: [160, 128],
    options: { profile: 'direct', columns: 128, tileRows: 32 },
    pattern: 'strays',
  },
  {
    id: 'direct-beside-rans',
    comment: 'Profile direct: tiles that are narrow are RANS beside DIRECT',
    flags: ['direct', 'auto'],
    dtype: 'BF16',
    shape: [64, 129],
    options: { profile: 'direct', columns: 129, tileRows: 32 },
    pattern: 'gaussian',
  },
  ...(['none', 'rows2', 'columns2', 'rows4', 'columns4', 'mixed'] as const).map(
    (classes): Case => ({
      id: `direct-classes-${classes}`,
      comment: `RANS beside DIRECT, with classes: ${classes}; column selectors are for one column each`,
      flags: ['direct', 'classes'],
      dtype: 'BF16',
      shape: [64, 63],
      options: { profile: 'direct', classes, columns: 63, tileRows: 32 },
      pattern: 'halves',
    }),
  ),
  {
    id: 'direct-one-class',
    comment:
      'Profile direct, rows of four scales in tiles too narrow for blocks: RANS, and one class of its own accord',
    flags: ['direct', 'auto'],
    dtype: 'BF16',
    shape: [256, 68],
    options: { profile: 'direct', columns: 68 },
    pattern: 'rows',
  },
  {
    id: 'direct-beside-const',
    comment: 'Profile direct: a tile whose exponents are all one is CONST beside DIRECT',
    flags: ['direct', 'auto'],
    dtype: 'BF16',
    shape: [48, 128],
    options: { profile: 'direct', columns: 128, tileRows: 16 },
    pattern: 'gradient',
  },
  {
    id: 'direct-later-raw',
    comment: 'Profile direct, exponents too many for DIRECT: plane 1 is RAW, since RANS would save less than a 16th',
    flags: ['direct', 'auto'],
    dtype: 'BF16',
    shape: [32, 128],
    options: { profile: 'direct', columns: 128, tileRows: 32 },
    pattern: 'hundred',
  },
  {
    id: 'direct-not-predicted',
    comment: 'Profile direct, small tiles that prediction would suit: RANS without it, and no flag 8',
    flags: ['direct', 'auto'],
    dtype: 'BF16',
    shape: [40, 20],
    options: { profile: 'direct', columns: 20 },
    pattern: 'gradient',
  },
  {
    id: 'direct-noise',
    comment: 'Random words in profile direct: RAW, and no flag 8, offsets or base',
    flags: ['direct', 'auto'],
    dtype: 'BF16',
    shape: [20, 128],
    options: { profile: 'direct', columns: 128 },
    pattern: 'bytes',
  },
  {
    id: 'direct-forced-noise',
    comment: 'DIRECT that is forced on random words: the same',
    flags: ['direct'],
    dtype: 'BF16',
    shape: [20, 128],
    options: { ...DIRECT, columns: 128, columnOffsets: true },
    pattern: 'bytes',
  },
  {
    id: 'direct-10-6',
    comment: 'BF16 as 10 + 6 in profile direct is never DIRECT',
    flags: ['direct'],
    dtype: 'BF16',
    shape: [64, 128],
    options: { profile: 'direct', split: [10, 6], columns: 128 },
    pattern: 'gaussian',
  },
  {
    id: 'direct-pairs',
    comment: 'PAIRS that are forced in profile direct',
    flags: ['direct', 'pairs'],
    dtype: 'BF16',
    shape: [19, 31],
    options: { profile: 'direct', modes: ['pairs', 'raw'], columns: 31 },
    pattern: 'gaussian',
  },
  ...['I8', 'F16', 'F32', 'I64'].map(
    (dtype): Case => ({
      id: `direct-${dtype}`,
      comment: `${dtype} in profile direct: as in profile fast`,
      flags: ['direct', 'auto'],
      dtype,
      shape: [64, dtype === 'I64' ? 16 : 128],
      options: { profile: 'direct', tileRows: 64 },
      pattern: 'gaussian',
    }),
  ),
  {
    id: 'nan-infinity-direct',
    comment: 'NaN of both signs, infinities, subnormals and both zeros in DIRECT',
    flags: ['direct', 'values', 'outliers'],
    dtype: 'BF16',
    shape: [18, 35],
    options: { ...DIRECT, columns: 35, columnOffsets: false },
    pattern: 'extremes',
  },
  {
    id: 'auto-classes-direct',
    comment: 'Columns of four scales, profile direct, all choices left to the encoder: offsets',
    flags: ['direct', 'auto', 'offsets'],
    dtype: 'BF16',
    shape: [128, 256],
    options: { profile: 'direct' },
    pattern: 'columns',
  },
];

/** Columns of which some lean, and all choices left to the encoder. */
function leaningCase([dtype, profile, pattern, comment]: readonly [
  string,
  EncodeOptions['profile'],
  Pattern,
  string,
]): Case {
  return {
    id: `values-${pattern}-${dtype}-${profile}`,
    comment: `${dtype}: columns lean, ${comment}`,
    flags: ['values-of-columns', 'auto'],
    dtype,
    shape: [256, 128],
    options: { profile },
    pattern,
  };
}

/** Columns with values: in each dtype and split that may have them, forced and not, in tiles of all edges. */
const VALUE_CASES: readonly Case[] = [
  ...(
    [
      ['I8', ['none'], 37],
      ['I8', ['pairs', 'raw'], 37],
      ['I8', ['top'], 37],
      ['F16', ['none', 'raw'], 37],
      ['F16', ['left', 'none'], 130],
      ['BF16', ['none', 'raw'], 37],
      ['BF16', ['none', 'none'], 130],
    ] as const
  ).map(
    ([dtype, modes, columns]): Case => ({
      id: `values-${dtype}-${modes.join('-')}`,
      comment: `${dtype} with column values, in modes ${modes.join(', ').toUpperCase()}`,
      flags: ['values-of-columns'],
      dtype,
      shape: [40, columns],
      options: { columns, tileRows: 32, modes, columnValues: true },
      pattern: 'means',
    }),
  ),
  ...(['I8', 'F16', 'BF16'] as const).flatMap((dtype): Case[] => [
    {
      id: `values-short-last-row-${dtype}`,
      comment: `${dtype} with column values: what a short last row lacks is the last coded word`,
      flags: ['values-of-columns', 'edge'],
      dtype,
      shape: [1000],
      options: { columns: 130, modes: dtype === 'I8' ? ['none'] : ['none', 'raw'], columnValues: true },
      pattern: 'means',
    },
    {
      id: `values-extremes-${dtype}`,
      comment: `${dtype} with column values: words at the ends of their range`,
      flags: ['values-of-columns', 'values'],
      dtype,
      shape: [64, 35],
      options: { columns: 35, tileRows: 32, columnValues: true },
      pattern: 'extremes',
    },
    {
      id: `values-outliers-${dtype}`,
      comment: `${dtype} with column values: outliers are coded words`,
      flags: ['values-of-columns', 'outliers'],
      dtype,
      shape: [256, 130],
      options: {
        ...{ columns: 130, tileRows: 64, probabilityBits: 8, columnValues: true },
        modes: dtype === 'I8' ? ['none'] : ['none', 'raw'],
      },
      pattern: 'outliers',
    },
    ...(['small', 'fast', 'direct'] as const).map(
      (profile): Case => ({
        id: `values-auto-${dtype}-${profile}`,
        comment: `${dtype} in profile ${profile}, columns of nine means, all choices left to the encoder`,
        flags: ['values-of-columns', 'auto'],
        dtype,
        shape: [256, 128],
        options: { profile },
        pattern: 'means',
      }),
    ),
  ]),
  {
    id: 'values-sampled-rows',
    comment: '2,100 rows, of which every second tells the value of a column: the others are unlike them',
    flags: ['values-of-columns'],
    dtype: 'I8',
    shape: [2100, 9],
    options: { columns: 9, modes: ['none'], columnValues: true },
    pattern: 'interleaved',
  },
  ...(
    [
      ['I8', 'small', 'leaning-3', 'too little for values to be tried'],
      ['I8', 'small', 'leaning-4', 'just enough'],
      ['BF16', 'small', 'leaning-3', 'too little for values to be tried'],
      ['BF16', 'small', 'leaning-4', 'just enough'],
      ['BF16', 'small', 'leaning', 'enough, but values save too little for profile small'],
      ['F16', 'fast', 'leaning-4', 'enough, but values save too little for profile fast'],
      ['F16', 'fast', 'leaning-10', 'enough for profile fast'],
    ] as const
  ).map(leaningCase),
  {
    id: 'values-price',
    comment: '12 rows: values save less than they take',
    flags: ['values-of-columns', 'auto'],
    dtype: 'I8',
    shape: [12, 128],
    options: { columns: 128 },
    pattern: 'leaning-4',
  },
  {
    id: 'values-no-whole-row',
    comment: 'Column values are forced, and there is no whole row: there are none',
    flags: ['values-of-columns', 'edge'],
    dtype: 'I8',
    shape: [100],
    options: { columns: 130, columnValues: true },
    pattern: 'means',
  },
  {
    id: 'values-off',
    comment: 'Column values that would help are not wanted',
    flags: ['values-of-columns'],
    dtype: 'I8',
    shape: [256, 128],
    options: { columnValues: false },
    pattern: 'means',
  },
  ...(
    [
      ['BF16', 'small', 'balanced', 'by as much as is too little, not more'],
      ['F16', 'fast', 'leaning-6', 'and values save too little for profile fast, though more than 1/64'],
      ['I8', 'fast', 'leaning-wide', 'and coded words are 4 + 4'],
    ] as const
  ).map(leaningCase),
];

/** Values of floats of which all bits are given: forced, in tiles of all edges, and both sides of what decides on them. */
const WIDE_VALUE_CASES: readonly Case[] = [
  ...(
    [
      ['BF16', ['none', 'raw'], 37],
      ['BF16', ['none', 'none'], 130],
      ['F16', ['none', 'raw'], 37],
      ['F16', ['left', 'none'], 130],
    ] as const
  ).map(
    ([dtype, modes, columns]): Case => ({
      id: `wide-values-${dtype}-${modes.join('-')}`,
      comment: `${dtype} with wide column values, in modes ${modes.join(', ').toUpperCase()}`,
      flags: ['values-of-columns'],
      ...{ dtype, shape: [40, columns], options: { columns, tileRows: 32, modes, columnValues: 'wide' } },
      ...{ pattern: 'means', seed: 1 },
    }),
  ),
  ...(['BF16', 'F16'] as const).flatMap((dtype): Case[] => [
    {
      id: `wide-values-extremes-${dtype}`,
      comment: `${dtype} with wide column values: words at the ends of their range, which go beyond it`,
      flags: ['values-of-columns', 'values'],
      ...{ dtype, shape: [64, 35], options: { columns: 35, tileRows: 32, columnValues: 'wide' } },
      ...{ pattern: 'extremes', seed: 1 },
    },
    {
      id: `wide-values-outliers-${dtype}`,
      comment: `${dtype} with wide column values, all columns of other ones: outliers are coded words`,
      flags: ['values-of-columns', 'outliers'],
      ...{ dtype, shape: [65, 130], pattern: 'means', seed: 1 },
      options: { columns: 130, tileRows: 64, probabilityBits: 8, modes: ['none', 'raw'], columnValues: 'wide' },
    },
    {
      id: `wide-values-short-last-row-${dtype}`,
      comment: `${dtype} with wide column values: what a short last row lacks is the last coded word`,
      flags: ['values-of-columns', 'edge'],
      ...{ dtype, shape: [1000], options: { columns: 130, modes: ['none', 'raw'], columnValues: 'wide' } },
      ...{ pattern: 'means', seed: 1 },
    },
  ]),
  ...(
    [
      ['rows', 'BF16', [2100, 9], 'interleaved', '2,100 rows, of which every second tells how large a column is'],
      ['alike', 'BF16', [40, 37], 'constant', 'all columns are as large: there is no flag 64'],
      ['of-i8', 'I8', [40, 37], 'means', 'of I8, values have all bits as it is'],
    ] as const
  ).map(
    ([id, dtype, shape, pattern, what]): Case => ({
      id: `wide-values-${id}`,
      comment: `Wide column values are forced: ${what}`,
      flags: ['values-of-columns'],
      ...{ dtype, shape, options: { columns: shape[1], columnValues: 'wide' }, pattern, seed: 1 },
    }),
  ),
  ...(
    [
      ['BF16', 'small', 511, 64, 'too few rows to tell how large a column is'],
      ['BF16', 'small', 512, 64, 'just enough: wide values'],
      ['BF16', 'small', 512, 17, 'wide values would save too little more than signs'],
      ['BF16', 'small', 512, 18, 'wide values save enough more than signs'],
      ['BF16', 'fast', 512, 30, 'neither signs nor wide values save enough'],
      ['BF16', 'fast', 512, 31, 'signs save too little, wide values enough'],
      ['F16', 'fast', 512, 30, 'wide values would save too little more than signs'],
      ['F16', 'fast', 512, 31, 'wide values save enough more than signs'],
    ] as const
  ).map(
    ([dtype, profile, rows, scale, what]): Case => ({
      id: `wide-values-auto-${dtype}-${profile}-${rows}-${scale}`,
      comment: `${dtype} in profile ${profile}, columns lean and differ in scale: ${what}`,
      flags: ['values-of-columns', 'auto'],
      ...{ dtype, shape: [rows, 16], options: { profile, columns: 16 }, pattern: `scaled-${scale}`, seed: 1 },
    }),
  ),
];

/** One tile of eight could be predicted, but a plane has one predictor. */
const PREDICTION_CASES: readonly Case[] = (
  [
    ['layered-18', '4 + 4'],
    ['layered-20', 'one plane'],
  ] as const
).map(([pattern, comment]) => ({
  id: `prediction-${pattern}`,
  comment: `One tile of eight would be predicted well, and seven badly, so that none is (${comment})`,
  flags: ['auto'],
  dtype: 'I8',
  shape: [256, 128],
  options: { tileRows: 32, columnValues: false },
  pattern,
}));

const CLASS_CASES: readonly Case[] = [
  {
    id: 'classes-plane-1',
    comment: 'BF16 as 8 + 8, RANS in both planes: plane 1 has a table for each class of rows, too',
    flags: ['classes'],
    dtype: 'BF16',
    shape: [128, 130],
    options: { split: [8, 8], modes: ['none', 'none'], classes: 'rows2', columns: 130, tileRows: 32 },
    pattern: 'coarse-rows',
  },
  {
    id: 'classes-plane-1-pairs',
    comment: 'PAIRS, then RANS with a table for each class of columns, of which two have one selector',
    flags: ['classes', 'pairs'],
    dtype: 'BF16',
    shape: [128, 131],
    options: { profile: 'fast', modes: ['pairs', 'none'], classes: 'columns2', columns: 131, tileRows: 32 },
    pattern: 'coarse-columns',
  },
];

/** Two inputs each, next to one another, of which Annex A decides differently: by the least that tells them apart. */
const EDGE_CASES: readonly Case[] = (
  [
    ['split-I8-small', 'I8', [64, 128], { columnValues: false }, ['wide-17', 'wide-18'], '8, and 4 + 4'],
    ['split-I8-fast', 'I8', [64, 128], { profile: 'fast', columnValues: false }, ['wide-9', 'wide-10'], '8, and 4 + 4'],
    ['split-BF16', 'BF16', [64, 128], {}, ['layered-8', 'layered-9'], '8 + 8, predicted, and 10 + 6'],
    ['later-small', 'F16', [128, 128], {}, ['low-117', 'low-118'], 'plane 1 is coded, and RAW'],
    ['later-fast', 'F16', [128, 128], { profile: 'fast' }, ['low-91', 'low-92'], 'plane 1 is coded, and RAW'],
    ['predictor', 'I8', [32, 128], { split: [8], columnValues: false }, ['layered-85', 'layered-86'], 'TOP, and NONE'],
    [
      'predictor-tiles',
      'I8',
      [256, 128],
      { split: [8], columnValues: false, tileRows: 32 },
      ['terraced-101', 'terraced-102'],
      'AVG, by which tiles are alike that differ, and NONE, which is less of each tile',
    ],
    ['pairs-4', 'BF16', [15, 128], { profile: 'fast' }, ['astray-4', 'astray-5'], 'PAIRS with outliers, and RANS'],
    ['pairs-8', 'BF16', [32, 128], { profile: 'fast' }, ['astray-8', 'astray-9'], 'PAIRS with outliers, and RANS'],
  ] as const
).flatMap(([id, dtype, shape, options, patterns, what]) =>
  patterns.map(
    (pattern): Case => ({
      id: `edge-${id}-${pattern}`,
      comment: `Both sides of a threshold: ${what}`,
      flags: ['auto'],
      ...{ dtype, shape, options, pattern, seed: 1 },
    }),
  ),
);

/** The same, by the rows of a tensor. */
const ROWS_CASES: readonly Case[] = (
  [
    ['rare', 'U8', [32, 33], { modes: ['none'], probabilityBits: 8 }, 'astray-1', 'a symbol has a slot, and is rare'],
    ['classes', 'BF16', [127, 128], {}, 'rows', 'one class, since it is small, and four'],
    ['offsets', 'BF16', [16, 17], { profile: 'fast', columns: 64 }, 'columns', 'no column offsets, and offsets'],
  ] as const
).flatMap(([id, dtype, rows, options, pattern, what]) =>
  rows.map(
    (height): Case => ({
      id: `edge-${id}-${height}`,
      comment: `Both sides of a threshold: ${what}`,
      flags: ['auto'],
      ...{ dtype, shape: [height, id === 'offsets' ? 64 : 128], options, pattern, seed: 1 },
    }),
  ),
);

const ANNEX_CASES: readonly Case[] = [
  ...EDGE_CASES,
  ...ROWS_CASES,
  ...(
    [
      [[127, 130], 'too few rows for columns of 130: there are 128'],
      [[128, 130], 'just enough rows for columns of 130'],
      [[128, 2, 64], 'the shortest run of dimensions of at least 128'],
      [[9, 14], 'fewer than 128 words: as many columns'],
    ] as const
  ).map(
    ([shape, comment]): Case => ({
      id: `columns-of-${shape.join('-')}`,
      comment: `The matrix view: ${comment}`,
      flags: ['auto', 'edge'],
      ...{ dtype: 'U8', shape, pattern: 'bytes', seed: 1 },
    }),
  ),
  ...(
    [
      ['each-200', [32, 128], 'more symbols have one slot than their counts are worth: slots are taken back'],
      ['each-256', [2, 128], 'all symbols have one slot'],
      ['astray-0', [16, 128], 'three symbols share the slots'],
    ] as const
  ).map(
    ([pattern, shape, comment]): Case => ({
      id: `slots-${pattern}`,
      comment: `Frequencies with N = 8: ${comment}`,
      flags: ['tables'],
      ...{ dtype: 'U8', shape, options: { columns: 128, modes: ['none'], probabilityBits: 8 }, pattern, seed: 1 },
    }),
  ),
  {
    id: 'empty-long',
    comment: 'No elements, and a dimension of 2^50',
    flags: ['edge'],
    ...{ dtype: 'U8', shape: [2 ** 50, 0, 1], pattern: 'zeros', seed: 1 },
  },
  {
    id: 'columns-most',
    comment: '2^18 columns, of one element',
    flags: ['edge'],
    ...{ dtype: 'U8', shape: [1], options: { columns: 2 ** 18 }, pattern: 'constant', seed: 1 },
  },
  {
    id: 'slots-most',
    comment: '20,480 slots: five tables with N = 12',
    flags: ['tables', 'classes'],
    dtype: 'F32',
    shape: [45, 66],
    options: { columns: 66, classes: 'rows4', modes: ['none', 'none', 'raw', 'raw'], probabilityBits: 12 },
    ...{ pattern: 'rows', seed: 1 },
  },
  {
    id: 'nibbles-one-row-rans',
    comment: 'U8 as 4 + 4 with one row, plane 0 as RANS',
    flags: ['edge'],
    ...{ dtype: 'U8', shape: [31], options: { split: [4, 4], modes: ['none', 'raw'] }, pattern: 'gaussian', seed: 1 },
  },
  {
    id: 'prediction-layered-20-bytes',
    comment: 'One tile of eight would be predicted well, and seven badly, so that none is (one plane by choice)',
    flags: ['auto'],
    dtype: 'I8',
    shape: [256, 128],
    options: { tileRows: 32, columnValues: false, split: [8] },
    ...{ pattern: 'layered-20', seed: 1 },
  },
];

/** What mutation testing found that no other vector decides. */
const DECISION_CASES: readonly Case[] = (
  [
    ['run-128', 'U8', [128, 2, 128], {}, 'zeros', 'a run of dimensions has exactly 128 words'],
    ['run-I32', 'I32', [128, 40], {}, 'zeros', 'a run of dimensions is counted in words, not elements'],
    ['run-F4', 'F4', [256, 257], {}, 'zeros', 'a run of dimensions has half a word more than 128'],
    ['offsets-sunken', 'BF16', [64, 64], { profile: 'fast' }, 'sunken', 'some columns lie 9 binades below the others'],
    ['offsets-raised', 'BF16', [64, 64], { profile: 'fast' }, 'raised', 'some columns lie 9 binades above the others'],
    [
      'offsets-tie',
      'BF16',
      [16, 64],
      { profile: 'fast', modes: ['pairs', 'raw'], columnOffsets: true },
      'halfway',
      'two phases of offsets are equally good: the first one is taken',
    ],
    ...([20, 21] as const).map(
      (rows) =>
        [
          `offsets-${rows}`,
          'BF16',
          [rows, 64],
          { profile: 'fast', modes: ['pairs', 'raw'] },
          'fourfold',
          `both sides of a threshold: ${rows === 20 ? 'no column offsets, and' : ''} offsets`,
        ] as const,
    ),
    [
      'base-of-windows',
      'BF16',
      [128, 64],
      { profile: 'fast', tileRows: 32 },
      'foreign',
      'plane 0 is not predicted in fast, though rows are alike',
    ],
    [
      'symbols-257',
      'BF16',
      [20, 130],
      { modes: ['none', 'raw'], split: [10, 6], probabilityBits: 8 },
      'bytes',
      'more symbols than slots: no table, and RAW',
    ],
    [
      'symbols-513',
      'BF16',
      [20, 130],
      { modes: ['none', 'raw'], split: [10, 6] },
      'bytes',
      'N is not lowered to where there are more symbols than slots',
    ],
    [
      'rare-plane-1',
      'F16',
      [64, 128],
      { modes: ['none', 'none'], probabilityBits: 8 },
      'lonely',
      'a rare symbol of a later plane has a slot',
    ],
    [
      'rare-predicted',
      'I8',
      [128, 128],
      { tileRows: 32, columnValues: false, split: [8], probabilityBits: 8 },
      'layered-2',
      'rare symbols have slots where the plane is predicted',
    ],
    [
      'slots-reserved',
      'F32',
      [128, 128],
      { classes: 'rows4', modes: ['none', 'none', 'none', 'none'] },
      'dominated',
      'each plane leaves slots for those after it',
    ],
    ...([255, 256] as const).map(
      (outliers) =>
        [
          `outliers-${outliers}`,
          'BF16',
          [64, 128],
          { split: [10, 6], modes: ['none', 'raw'], probabilityBits: 8 },
          `distinct-${outliers}`,
          `${outliers} symbols without a slot in a tile: ${outliers === 255 ? 'outliers' : 'RAW'}`,
        ] as const,
    ),
    [
      'pairs-strays',
      'BF16',
      [64, 128],
      { profile: 'fast', modes: ['pairs', 'raw'] },
      'sixteen-strays',
      'PAIRS with all codes equally often, and codes outside the window',
    ],
    [
      'mingled',
      'I8',
      [256, 128],
      { tileRows: 32, columnValues: false, split: [8] },
      'mingled-5',
      'tiles in RAW do not count where a predictor is chosen',
    ],
    [
      'joins-tie',
      'F16',
      [32, 128],
      { classes: 'rows2', modes: ['none', 'raw'] },
      'alike',
      'all bins of rows are alike: the first two are joined',
    ],
    [
      'later-direct',
      'F16',
      [128, 128],
      { profile: 'direct' },
      'low-92',
      'in direct, plane 1 is RAW where it is in fast',
    ],
    ['split-left', 'BF16', [19, 31], { modes: ['none', 'left'] }, 'gaussian', 'the first split that has these modes'],
    ['split-pairs', 'BF16', [19, 31], { modes: ['pairs', 'raw'] }, 'gaussian', 'the first split that has PAIRS'],
    [
      'split-first',
      'BF16',
      [64, 128],
      { modes: ['none', 'none'] },
      'layered-8',
      'the first split, though 8 + 8 is smaller',
    ],
    [
      'split-fast',
      'BF16',
      [64, 128],
      { profile: 'fast' },
      'bound',
      '10 + 6 would be smaller, and is not tried in fast',
    ],
    ['shortest-1023', 'U8', [1023, 128], {}, 'leaning-4', 'fast is smaller than small decides by itself, and is taken'],
    [
      'own-split',
      'BF16',
      [64, 128],
      { columnOffsets: false },
      'layered-9',
      '10 + 6 by the estimate, where no other profile is tried',
    ],
    [
      'own-classes',
      'BF16',
      [127, 128],
      { columnOffsets: false },
      'rows',
      'less than 2^14 words have one class, where no other profile is tried',
    ],
    ...([28, 29] as const).map(
      (n) =>
        [
          `selectors-pairs-${n}`,
          'BF16',
          [160, 128],
          { profile: 'fast', columnOffsets: false },
          `tilted-${n}`,
          `both sides of a threshold: ${n === 28 ? 'one class' : 'two classes of pairs of columns, which are worth their selectors'}`,
        ] as const,
    ),
    ...([14, 15] as const).map(
      (n) =>
        [
          `selectors-${n}`,
          'BF16',
          [160, 128],
          { columnOffsets: false },
          `tilted-${n}`,
          `both sides of a threshold: ${n === 14 ? 'one class' : 'two classes of columns, which are worth their selectors'}`,
        ] as const,
    ),
    [
      'selectors-later',
      'BF16',
      [128, 128],
      { split: [8, 8], modes: ['none', 'none'], classes: 'rows2' },
      'uneven-12',
      'a later plane does not pay for the selectors again',
    ],
    [
      'outliers-raw',
      'U8',
      [128, 128],
      { split: [8], tileRows: 8, probabilityBits: 8, classes: 'none' },
      'stranded-120',
      'the outliers of a tile are what makes it larger than in RAW',
    ],
    [
      'payload-small',
      'F32',
      [3, 32],
      { columns: 96, tileRows: 8 },
      'balanced',
      'final states that are bits of the next plane are what makes it worth coding',
    ],
    [
      'predictor-fast',
      'BF16',
      [64, 128],
      { profile: 'fast' },
      'diagonal',
      'in fast, plane 0 of BF16 is not predicted, and plane 1 is',
    ],
    ['predictor-tie', 'U8', [32, 128], {}, 'fourfold', 'rows are alike, TOP and PLANAR cost the same: TOP is taken'],
    [
      'predictor-bias',
      'I8',
      [32, 64],
      { split: [8], columnValues: false },
      'layered-88',
      'of two predictors, that with fewer distinct residuals is chosen',
    ],
    [
      'split-folded',
      'BF16',
      [64, 128],
      { columnOffsets: false },
      'folded',
      'all ten bits of plane 0 tell 10 + 6 from 8 + 8',
    ],
    ['split-values', 'BF16', [256, 128], { split: [8, 8] }, 'means', 'columns have no values in a split that has none'],
    [
      'shortest-predicted',
      'BF16',
      [1024, 128],
      {},
      'fourfold',
      'plane 0 is predicted: fast, which is smaller, is taken',
    ],
    [
      'shortest-later',
      'BF16',
      [1024, 128],
      {},
      'uneven-90',
      'plane 1 is worth coding: fast, which is smaller, is taken',
    ],
    [
      'shortest-plain',
      'BF16',
      [1024, 128],
      {},
      'sixteen-strays',
      'plane 1 is constant: fast, which is smaller, is taken',
    ],
    ['shortest-raw', 'U8', [1024, 128], {}, 'paired', 'half of the tiles are RAW: fast, which is smaller, is taken'],
    [
      'levels-wrap',
      'BF16',
      [32, 64],
      { profile: 'fast', modes: ['pairs', 'raw'], classes: 'columns2', columnOffsets: false },
      'high',
      'levels of columns of pairs wrap at 2^14',
    ],
    [
      'joins-empty',
      'BF16',
      [4, 64],
      { split: [10, 6], modes: ['none', 'raw'], classes: 'rows4' },
      'gradient',
      'four classes of rows, and rows in two bins: empty bins are no groups',
    ],
    [
      'signs-alone',
      'BF16',
      [512, 16],
      { columnValues: true, columns: 16 },
      'scaled-64',
      'values that are asked for, but not as wide ones, are signs where wide ones would be smaller',
    ],
    [
      'start-of-coded',
      'BF16',
      [160, 128],
      { profile: 'direct' },
      'mingled-110',
      'a tile that is RAW does not count where windows start',
    ],
    [
      'rare-leaping',
      'U8',
      [160, 128],
      { probabilityBits: 8 },
      'leaping',
      'rare symbols have slots where tiles are predicted, though others are RAW',
    ],
  ] as const
).map(([id, dtype, shape, options, pattern, comment]) => ({
  id: `decision-${id}`,
  comment: `Annex A: ${comment}`,
  flags: ['auto'],
  ...{ dtype, shape, pattern, seed: 1 },
  options:
    id.startsWith('run') || shape[1] === 128 || 'columns' in options ? options : { ...options, columns: shape[1] },
}));

/** In order: inputs are seeded by number, so that what is added comes last. */
const CASES: readonly Case[] = [
  ...modeCases((split) => !isNibbles(split)),
  ...OTHER_CASES,
  ...modeCases(isNibbles),
  ...NIBBLE_CASES,
  ...OUTLIER_CASES,
  ...LONE_CASES,
  ...DIRECT_CASES,
  ...VALUE_CASES,
  ...PREDICTION_CASES,
  ...CLASS_CASES,
  ...ANNEX_CASES,
  ...DECISION_CASES,
  ...WIDE_VALUE_CASES,
];

function vectorOf({ id, comment, flags, dtype, shape, options = {}, pattern, seed }: Case, index: number): Vector {
  const known = DTYPES.find(({ name }) => name === dtype);
  if (known === undefined) throw new Error(id);
  const words = (shape.reduce((product, dimension) => product * dimension, 1) * known.bits) / known.wordBits;
  const input = makeTensor(dtype, words, options.columns ?? Number(shape.at(-1) ?? 1), pattern, seed ?? 1000 + index);
  return { id, comment, flags, dtype, shape, options, input, stream: encodeTensor(input, dtype, shape, options) };
}

/** Tensors of the demo's checkpoint. */
function realVectors(checkpoint: Uint8Array): Vector[] {
  const headerBytes = Number(new DataView(checkpoint.buffer, checkpoint.byteOffset).getBigUint64(0, true));
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> = JSON.parse(
    new TextDecoder().decode(checkpoint.subarray(8, 8 + headerBytes)),
  );
  const names = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.1.input_layernorm.weight'];
  return names.flatMap((name) =>
    (['small', 'fast', 'direct'] as const).map((profile): Vector => {
      const {
        dtype,
        shape,
        data_offsets: [from, to],
      } = header[name];
      const input = checkpoint.slice(8 + headerBytes + from, 8 + headerBytes + to);
      return {
        id: `real-${name.split('.').at(-2)}-${profile}`,
        comment: `Trained weights: ${name} of the demo, profile ${profile}`,
        flags: ['real'],
        dtype,
        shape,
        options: { profile },
        input,
        stream: encodeTensor(input, dtype, shape, { profile }),
      };
    }),
  );
}

export function validVectors(): Vector[] {
  const checkpoint = readFileSync(fromRoot('demo/model.safetensors'));
  return [...CASES.map(vectorOf), ...realVectors(new Uint8Array(checkpoint)), ...mixedVectors()];
}
