// FORMAT.md, annex A.2: the matrix view that an encoder gives a tensor.

import { MAX_COLUMNS, TILE_ROWS } from '../decoder/1-front.ts';
import {
  type Matrix,
  matrixView,
  TILE_COLUMNS,
  type Tile,
  tileAt,
  type WordArray,
  wordsOf,
} from '../decoder/2-matrix.ts';
import { type Dtype, wordCount } from '../decoder/3-planes.ts';
import { checkOptions, dtypeNamed, type EncodeOptions } from './options.ts';

/** H, unless an encoder is told otherwise. */
const DEFAULT_TILE_ROWS = 128;

/** The same against a base, where the states of a tile's lanes are much of it. */
const DEFAULT_TILE_ROWS_AGAINST_BASE = 256;

/** A tensor to be encoded. */
export interface Source {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly matrix: Matrix;
  /** If columns have values, coded words. */
  readonly words: WordArray;
  readonly columnValues: Uint16Array | undefined;
  /** The words of the base. */
  readonly base: WordArray | undefined;
}

/**
 * Rows of the shortest run of trailing dimensions that has at least 128 words, where that leaves at least H rows; else
 * the tensor is a vector in rows of 128.
 */
export function defaultColumns(dtype: Dtype, shape: readonly number[], tileRows: number): number {
  const words = wordCount(dtype, shape) ?? 0;
  const wordsPerElement = dtype.bits / dtype.wordBits;
  let run = 1;
  for (let axis = shape.length - 1; axis >= 0 && run * wordsPerElement < TILE_COLUMNS; axis--) run *= shape[axis];
  const columns = run * wordsPerElement;
  const fits = Number.isInteger(columns) && columns >= TILE_COLUMNS && columns <= MAX_COLUMNS;
  if (fits && words / columns >= tileRows) return columns;
  return Math.max(1, Math.min(TILE_COLUMNS, words));
}

/** @returns the words of a tensor @throws RangeError for one that cannot be */
function checkTensor(
  data: Uint8Array,
  dtype: Dtype,
  shape: readonly number[],
  columns: number,
  tileRows: number,
  { base }: EncodeOptions,
): number {
  const words = wordCount(dtype, shape);
  if (
    shape.length > 255 ||
    shape.some((dimension) => !Number.isSafeInteger(dimension) || dimension < 0) ||
    words === undefined
  )
    throw new RangeError(`a tensor of ${dtype.name} cannot have the shape [${shape}]`);
  if (!Number.isInteger(columns) || columns < 1 || columns > MAX_COLUMNS)
    throw new RangeError(`columns must be from 1 to ${MAX_COLUMNS}, not ${columns}`);
  if (!TILE_ROWS.some((rows) => rows === tileRows))
    throw new RangeError(`tile rows must be one of ${TILE_ROWS.join(', ')}, not ${tileRows}`);
  const expected = (words * dtype.wordBits) / 8;
  if (data.length !== expected)
    throw new RangeError(`${data.length} bytes where ${dtype.name} of shape [${shape}] has ${expected}`);
  if (base !== undefined && base.length !== expected)
    throw new RangeError(`a base of ${base.length} bytes where the tensor has ${expected}`);
  return words;
}

/**
 * @throws TypeError for an unknown dtype, RangeError for a shape, bytes or options that the format does not have
 */
export function layOut(data: Uint8Array, dtypeName: string, shape: readonly number[], options: EncodeOptions): Source {
  const dtype = dtypeNamed(dtypeName);
  const tileRows = options.tileRows ?? (options.base ? DEFAULT_TILE_ROWS_AGAINST_BASE : DEFAULT_TILE_ROWS);
  const columns = options.columns ?? defaultColumns(dtype, shape, tileRows);
  checkOptions(dtype, options);
  const words = checkTensor(data, dtype, shape, columns, tileRows, options);
  const matrix = matrixView(words, columns, tileRows);
  return {
    ...{ dtype, shape, matrix, words: wordsOf(data, dtype.wordBits), columnValues: undefined },
    base: options.base && wordsOf(options.base, dtype.wordBits),
  };
}

/** All tiles of a tensor, in order. */
export function tilesOf({ matrix }: Pick<Source, 'matrix'>): Tile[] {
  return Array.from({ length: matrix.tileCount }, (_, index) => tileAt(matrix, index));
}

/** The words of a tile, height x width; those that a short last row lacks are the tensor's last word. */
export function wordsOfTile({ matrix, words }: Source, tile: Tile): Uint32Array {
  const taken = new Uint32Array(tile.height * tile.width).fill(words[words.length - 1]);
  for (let i = 0; i < tile.height; i++) {
    const from = (tile.row + i) * matrix.columns + tile.column;
    taken.set(words.subarray(from, from + tile.width), i * tile.width);
  }
  return taken;
}
