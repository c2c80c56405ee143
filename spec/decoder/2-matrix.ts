// FORMAT.md, section 2: the matrix view of a tensor's words, and its tiles.

/** Columns of a tile. */
export const TILE_COLUMNS = 128;

/** The words of a tensor as a matrix, in C order; a short last row is filled up with the tensor's last word. */
export interface Matrix {
  /** Words of the tensor. */
  readonly words: number;
  readonly columns: number;
  readonly rows: number;
  /** H: rows of a full tile. */
  readonly tileRows: number;
  /** Tiles that lie side by side: the tiles of a band. */
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

/** Integers of 8, 16 or 32 bits: a tensor's words, and what is stored as u16 or u32. */
export type WordArray = Uint8Array | Uint16Array | Uint32Array;

export function matrixView(words: number, columns: number, tileRows: number): Matrix {
  const rows = Math.ceil(words / columns);
  const tilesAcross = Math.ceil(columns / TILE_COLUMNS);
  return { words, columns, rows, tileRows, tilesAcross, tileCount: Math.ceil(rows / tileRows) * tilesAcross };
}

/** Tiles are numbered row-major. */
export function tileAt({ columns, rows, tileRows, tilesAcross }: Matrix, index: number): Tile {
  const row = Math.floor(index / tilesAcross) * tileRows;
  const column = (index % tilesAcross) * TILE_COLUMNS;
  return {
    row,
    column,
    height: Math.min(tileRows, rows - row),
    width: Math.min(TILE_COLUMNS, columns - column),
  };
}

/** Little-endian bytes as integers of `wordBits` bits: a view of them, or of a copy where they are not aligned. */
export function wordsOf(bytes: Uint8Array, wordBits: number): WordArray {
  if (wordBits === 8) return bytes;
  const { buffer, byteOffset, length } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  if (wordBits === 16) return new Uint16Array(buffer, byteOffset, length / 2);
  return new Uint32Array(buffer, byteOffset, length / 4);
}

/** Puts a tile, height x width words, into the tensor; words that a short last row does not have are dropped. */
export function placeTile(tensor: WordArray, columns: number, tile: Tile, words: Uint32Array): void {
  for (let i = 0; i < tile.height; i++) {
    const to = (tile.row + i) * columns + tile.column;
    const present = Math.min(tile.width, tensor.length - to);
    if (present > 0) tensor.set(words.subarray(i * tile.width, i * tile.width + present), to);
  }
}
