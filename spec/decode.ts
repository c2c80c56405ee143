// Decoding: a whole tensor, one tile, or only what a stream says of itself.

import type { Split } from './elements.ts';
import { FormatError } from './errors.ts';
import { type Tile, tileAt, viewWords, writeTile } from './layout.ts';
import { PREDICTORS } from './prediction.ts';
import { readFront, type Stream } from './stream.ts';
import { decodeTileData, Mode } from './tile.ts';

export interface Tensor {
  /** A dtype's name as safetensors gives it: BF16, F32, I8, ... */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Little-endian elements in C order. */
  readonly data: Uint8Array;
}

export interface DecodeOptions {
  /** Refuse, before anything is allocated, a tensor of more bytes than this. Default: 2^32. */
  readonly maxBytes?: number;
}

/** Reads the front of a whole stream and checks that all of Data is there, and nothing after it. */
function openWhole(stream: Uint8Array): Stream {
  const opened = readFront(stream);
  const length = opened.frontBytes + opened.dataBytes;
  if (stream.length !== length)
    throw new FormatError(
      'data',
      Math.min(stream.length, length),
      `the stream has ${stream.length} bytes where ${length} are declared`,
    );
  return opened;
}

/**
 * The words of one tile.
 *
 * @param data of this tile, exactly: `tileRange` says where it is
 * @returns height x width words, row by row
 * @throws FormatError
 */
export function decodeTileOf(stream: Stream, index: number, data: Uint8Array): Uint32Array {
  const metadata = stream.tileMetadata(index);
  return decodeTileData(
    stream.coding,
    tileAt(stream.coding.layout, index),
    metadata,
    data,
    stream.frontBytes + metadata.offset,
  );
}

/** Where the data of tiles `first` to before `end` lie, in bytes from the start of Data. */
export function tileRange(stream: Stream, first: number, end: number): { start: number; end: number } {
  const startOf = (index: number): number =>
    index < stream.coding.layout.tileCount ? stream.tileMetadata(index).offset : stream.dataBytes;
  return { start: startOf(first), end: startOf(end) };
}

/**
 * Decodes rows of tiles.
 *
 * @param data of these tiles, exactly
 * @param bytes receives their words, as in `sliceRange` of the layout
 * @throws FormatError
 */
export function decodeTileRows(
  stream: Stream,
  firstBand: number,
  bandCount: number,
  data: Uint8Array,
  bytes: Uint8Array,
): void {
  const { layout } = stream.coding;
  const words = viewWords(bytes, layout.dtype.wordBits);
  const first = firstBand * layout.tilesAcross;
  const { start: base } = tileRange(stream, first, first);
  for (let index = first; index < first + bandCount * layout.tilesAcross; index++) {
    const { start, end } = tileRange(stream, index, index + 1);
    const tile = decodeTileOf(stream, index, data.subarray(start - base, end - base));
    writeTile(layout, tileAt(layout, index), words, firstBand * layout.tileRows, tile);
  }
}

/**
 * Decodes a stream.
 *
 * @throws FormatError where the stream is not valid, RangeError where the tensor is larger than `maxBytes`
 */
export function decodeTensor(stream: Uint8Array, options: DecodeOptions = {}): Tensor {
  const opened = openWhole(stream);
  const { layout } = opened.coding;
  const length = (layout.words * layout.dtype.wordBits) / 8;
  const { maxBytes = 2 ** 32 } = options;
  if (length > maxBytes) throw new RangeError(`the tensor has ${length} bytes, more than the limit of ${maxBytes}`);
  const data = new Uint8Array(length);
  decodeTileRows(opened, 0, layout.bands, stream.subarray(opened.frontBytes), data);
  return { dtype: layout.dtype.name, shape: layout.shape, data };
}

export interface DecodedTile extends Tile {
  /** height x width words, row by row; a short last row of the tensor is filled up with its last word. */
  readonly words: Uint32Array;
}

/**
 * Decodes one tile, without touching the data of the others.
 *
 * @throws FormatError where the stream is not valid, RangeError where it has no such tile
 */
export function decodeTile(stream: Uint8Array, index: number): DecodedTile {
  const opened = openWhole(stream);
  const { layout } = opened.coding;
  if (!Number.isInteger(index) || index < 0 || index >= layout.tileCount)
    throw new RangeError(`tile ${index} of ${layout.tileCount}`);
  const { start, end } = tileRange(opened, index, index + 1);
  const data = stream.subarray(opened.frontBytes + start, opened.frontBytes + end);
  return { ...tileAt(layout, index), words: decodeTileOf(opened, index, data) };
}

/** What a stream says of itself. Nothing is decoded. */
export interface Inspection {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly rows: number;
  readonly columns: number;
  readonly tileRows: number;
  readonly tileCount: number;
  readonly split: Split;
  /** Bytes of the tensor, of the stream, and of what lies before Data. */
  readonly tensorBytes: number;
  readonly streamBytes: number;
  readonly frontBytes: number;
  readonly classes: number;
  readonly rowSelectors: boolean;
  readonly columnSelectors: boolean;
  readonly columnOffsets: boolean;
  /** For each plane, how many tiles have each mode: const, raw, rans (not predicted), left, top, avg, planar, pairs. */
  readonly modes: readonly Readonly<Record<string, number>>[];
  readonly outliers: number;
}

/** @throws FormatError */
export function inspectStream(stream: Stream): Inspection {
  const { coding, frontBytes, dataBytes } = stream;
  const { layout } = coding;
  const modes = coding.split.map((): Record<string, number> => ({}));
  let outliers = 0;
  for (let index = 0; index < layout.tileCount; index++)
    stream.tileMetadata(index).planes.forEach((plane, p) => {
      const name = plane.predictor > 0 ? PREDICTORS[plane.predictor] : MODE_NAMES[plane.mode];
      modes[p][name] = (modes[p][name] ?? 0) + 1;
      outliers += plane.outliers;
    });
  return {
    dtype: layout.dtype.name,
    shape: layout.shape,
    rows: layout.rows,
    columns: layout.columns,
    tileRows: layout.tileRows,
    tileCount: layout.tileCount,
    split: coding.split,
    tensorBytes: (layout.words * layout.dtype.wordBits) / 8,
    streamBytes: frontBytes + dataBytes,
    frontBytes,
    classes: coding.classes,
    rowSelectors: coding.rowSelectors !== undefined,
    columnSelectors: coding.columnSelectors !== undefined,
    columnOffsets: coding.pairs?.offsets !== undefined,
    modes,
    outliers,
  };
}

const MODE_NAMES: Readonly<Record<number, string>> = {
  [Mode.CONST]: 'const',
  [Mode.RAW]: 'raw',
  [Mode.RANS]: 'rans',
  [Mode.PAIRS]: 'pairs',
};

/** @throws FormatError where the stream is not valid, as far as can be seen without decoding it */
export function inspectTensor(stream: Uint8Array): Inspection {
  return inspectStream(openWhole(stream));
}

/** The same from everything before Data. @throws FormatError */
export function inspectFront(front: Uint8Array): Inspection {
  return inspectStream(readFront(front));
}
