// Valid streams that the encoder does not make, which gives a plane one predictor: here each tile has another mode or
// predictor, and all of them share tables, in which every symbol has slots.

import { type Header, readFront } from '../spec/decoder/1-front.ts';
import { Mode } from '../spec/decoder/4-metadata.ts';
import { type TableSet, tableOf } from '../spec/decoder/6.1-tables.ts';
import { layOut, tilesOf, wordsOfTile } from '../spec/encoder/a2-layout.ts';
import type { Wish } from '../spec/encoder/a5-windows.ts';
import { encodeTile } from '../spec/encoder/a9-tiles.ts';
import { joinStream } from '../spec/encoder/encode.ts';
import { type EncodeOptions, encodeTensor } from '../spec/index.ts';
import { makeTensor, type Pattern } from './patterns.ts';
import type { Vector } from './vectors.ts';

const EVEN: TableSet = { symbolBits: 8, probabilityBits: 10, tables: [tableOf(new Uint16Array(256).fill(4))] };

const rans = (predictor: number): Wish => ({ mode: Mode.RANS, predictor });
const PREDICTED = [rans(1), rans(2), rans(3), rans(4)];
const PAIRS: Wish = { mode: Mode.PAIRS, predictor: 0 };
const RAW: Wish = { mode: Mode.RAW, predictor: 0 };

interface Case {
  readonly id: string;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly dtype: string;
  readonly columns: number;
  readonly pattern: Pattern;
  /** The stream whose front this one has, but for tables and tiles. */
  readonly options: EncodeOptions;
  /** Of each plane, whether it has the table that is even. */
  readonly even: readonly boolean[];
  /** What each plane of a tile is, of tiles in turn. */
  readonly tiles: readonly (readonly Wish[])[];
}

const CASES: readonly Case[] = [
  {
    id: 'mixed-predictors',
    comment: 'Each tile of a plane has another predictor, and one table serves all of them',
    flags: ['left', 'top', 'avg', 'planar'],
    ...{ dtype: 'U8', columns: 131, pattern: 'smooth', even: [true] },
    options: { modes: ['none'] },
    tiles: [rans(2), rans(0), rans(4), RAW, rans(1), rans(3)].map((plane) => [plane]),
  },
  {
    id: 'mixed-planes',
    comment: 'Planes of a tile have other predictors than one another, and than in the tile before',
    flags: ['left', 'top', 'avg', 'planar'],
    ...{ dtype: 'F32', columns: 40, pattern: 'smooth', even: [true, true, true, true] },
    options: { modes: ['none', 'none', 'none', 'none'] },
    tiles: PREDICTED.map((_, tile) => PREDICTED.map((_, plane) => PREDICTED[(plane + tile) % PREDICTED.length])),
  },
  {
    id: 'mixed-pairs',
    comment: 'PAIRS beside predicted tiles of plane 0, whose table no tile without prediction uses',
    flags: ['pairs', 'left', 'top', 'avg', 'planar'],
    ...{ dtype: 'BF16', columns: 37, pattern: 'gaussian', even: [true, false] },
    options: { profile: 'fast', modes: ['pairs', 'raw'] },
    tiles: [PAIRS, ...PREDICTED].map((plane) => [plane, RAW]),
  },
];

function mixedVector({ id, comment, flags, dtype, columns, pattern, options, even, tiles }: Case): Vector {
  const shape = [8 * tiles.length, columns];
  const common = { ...options, columns, tileRows: 8 } as const;
  const input = makeTensor(dtype, shape[0] * columns, columns, pattern, 1);
  const source = layOut(input, dtype, shape, common);
  const front = readFront(encodeTensor(input, dtype, shape, common));
  const header: Header = { ...front, tables: front.tables.map((set, p) => (even[p] ? EVEN : set)) };
  const encoded = tilesOf(source).map((tile, index) =>
    encodeTile(header, tile, wordsOfTile(source, tile), tiles[index % tiles.length], true, undefined),
  );
  return { id, comment, flags, dtype, shape, options: undefined, input, stream: joinStream(header, encoded) };
}

export const mixedVectors = (): Vector[] => CASES.map(mixedVector);
