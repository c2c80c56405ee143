// The matrix view and its tiles (FORMAT.md, section 2): where each element of a tensor lies.

import { type Dtype, wordCount } from './elements.ts';

/** Columns of a tile. */
export const TILE_COLUMNS = 128;
/** Rows of a tile that a stream may use. */
export const TILE_ROWS = [8, 16, 32, 64, 128, 256] as const;
/** The widest matrix view. */
export const MAX_COLUMNS = 2 ** 18;

/** A tensor as a matrix of words, `rows` x `columns` in C order, cut into tiles of up to `tileRows` x 128. */
export interface Layout {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Words of the tensor; the matrix may have a few more, which repeat the last one. */
  readonly words: number;
  readonly columns: number;
  readonly rows: number;
  /** H: rows of a full tile. */
  readonly tileRows: number;
  /** Tiles from top to bottom, and from left to right. */
  readonly bands: number;
  readonly tilesAcross: number;
  readonly tileCount: number;
}

/** One tile: its first row and column in the matrix, its height and width in words. */
export interface Tile {
  readonly row: number;
  readonly column: number;
  readonly height: number;
  readonly width: number;
}

/** @throws RangeError for a shape, a number of columns or of tile rows that the format does not allow. */
export function layOut(dtype: Dtype, shape: readonly number[], columns: number, tileRows: number): Layout {
  const words = wordCount(dtype, shape);
  if (
    shape.length > 255 ||
    shape.some((dimension) => !Number.isSafeInteger(dimension) || dimension < 0) ||
    words === undefined
  )
    throw new RangeError(`a tensor of ${dtype.name} cannot have the shape [${shape}]`);
  if (!Number.isInteger(columns) || columns < 1 || columns > MAX_COLUMNS)
    throw new RangeError(`columns must be from 1 to ${MAX_COLUMNS}, not ${columns}`);
  if (!TILE_ROWS.some((allowed) => allowed === tileRows))
    throw new RangeError(`tile rows must be one of ${TILE_ROWS.join(', ')}, not ${tileRows}`);
  const rows = Math.ceil(words / columns);
  const bands = Math.ceil(rows / tileRows);
  const tilesAcross = Math.ceil(columns / TILE_COLUMNS);
  return { dtype, shape, words, columns, rows, tileRows, bands, tilesAcross, tileCount: bands * tilesAcross };
}

/**
 * The matrix view that an encoder takes unless told otherwise: rows of the shortest run of trailing dimensions that
 * reaches 128, where that leaves at least one full tile of rows; else the tensor is a vector in rows of 128.
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

export function tileAt(layout: Layout, index: number): Tile {
  const row = Math.floor(index / layout.tilesAcross) * layout.tileRows;
  const column = (index % layout.tilesAcross) * TILE_COLUMNS;
  return {
    row,
    column,
    height: Math.min(layout.tileRows, layout.rows - row),
    width: Math.min(TILE_COLUMNS, layout.columns - column),
  };
}

/** Consecutive rows of tiles, and the bytes of the tensor's words that lie in them. */
export interface Slice {
  /** The first row of tiles, and their number. */
  readonly firstBand: number;
  readonly bandCount: number;
  readonly bytes: Uint8Array;
}

/** The bytes of the tensor, from `start` to before `end`, that a slice holds. */
export function sliceRange(layout: Layout, firstBand: number, bandCount: number): { start: number; end: number } {
  const wordBytes = layout.dtype.wordBits / 8;
  const firstWord = firstBand * layout.tileRows * layout.columns;
  const endWord = Math.min(layout.words, (firstBand + bandCount) * layout.tileRows * layout.columns);
  return { start: firstWord * wordBytes, end: endWord * wordBytes };
}

type WordArray = Uint8Array | Uint16Array | Uint32Array;

/** The bytes as words of `wordBits`; copied only where they are not aligned. */
export function viewWords(bytes: Uint8Array, wordBits: number): WordArray {
  if (wordBits === 8) return bytes;
  const wordBytes = wordBits / 8;
  const aligned = bytes.byteOffset % wordBytes === 0 ? bytes : bytes.slice();
  const length = bytes.length / wordBytes;
  return wordBits === 16
    ? new Uint16Array(aligned.buffer, aligned.byteOffset, length)
    : new Uint32Array(aligned.buffer, aligned.byteOffset, length);
}

/** Copies a tile's words out of those of a slice that begins at row `firstRow`; a short last row is filled up. */
export function readTile(layout: Layout, tile: Tile, slice: WordArray, firstRow: number, words: Uint32Array): void {
  const { columns } = layout;
  const last = slice.length - 1;
  for (let i = 0; i < tile.height; i++) {
    const from = (tile.row - firstRow + i) * columns + tile.column;
    const to = i * tile.width;
    const present = Math.min(tile.width, Math.max(0, slice.length - from));
    for (let j = 0; j < present; j++) words[to + j] = slice[from + j];
    for (let j = present; j < tile.width; j++) words[to + j] = slice[last];
  }
}

/** Copies a tile's words into those of a slice; what a short last row does not have is dropped. */
export function writeTile(layout: Layout, tile: Tile, slice: WordArray, firstRow: number, words: Uint32Array): void {
  for (let i = 0; i < tile.height; i++) {
    const to = (tile.row - firstRow + i) * layout.columns + tile.column;
    const from = i * tile.width;
    const present = Math.min(tile.width, Math.max(0, slice.length - to));
    for (let j = 0; j < present; j++) slice[to + j] = words[from + j];
  }
}
