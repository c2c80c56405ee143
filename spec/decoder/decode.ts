// The decoder. FORMAT.md says what it does, and each file of this folder executes the section whose number it has; this
// one puts them together: a tensor, one tile, or what a stream says of itself.
//
// It needs nothing of the encoder. It is written to be read: codecs that are fast are held to what it does.

import { FormatError } from '../errors.ts';
import tables from '../tables.json' with { type: 'json' };
import { At, type Front, type Header, readFront } from './1-front.ts';
import { placeTile, type Tile, tileAt, type WordArray, wordsOf } from './2-matrix.ts';
import { areWide, decodeWord } from './3.1-columns.ts';
import { baseCrc, baseTile, classesOf, joinDifferences } from './3.2-base.ts';
import { joinPlanes, type Split, zeroSymbol } from './3-planes.ts';
import { align, hasPayload, Mode, type Section, type Sections, sectionsOf, type TileMetadata } from './4-metadata.ts';
import { undoPrediction } from './5-prediction.ts';
import { type TableSet, tablesOfTile } from './6.1-tables.ts';
import { decodeLanes, lanesOf, STATE_FLOOR } from './6.2-rans.ts';
import { splitPairs, startsOf } from './6.3-pairs.ts';
import { writeOutliers } from './6.4-outliers.ts';
import { unpackBlocks } from './6.5-direct.ts';
import { unpackRaw } from './7-raw.ts';
import { tileCheck } from './8-checks.ts';

export interface Tensor {
  /** A dtype's name as safetensors gives it: BF16, F32, I8, ... */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Little-endian elements in C order. */
  readonly data: Uint8Array;
}

export interface DecodeOptions {
  /** Refuse, before anything is allocated for it, a tensor of more bytes than this. Default: 2^32. */
  readonly maxBytes?: number;
  /** The elements of the base, for a stream against one. */
  readonly base?: Uint8Array;
}

/** A tile of the matrix view, in words. */
export interface DecodedTile extends Tile {
  /** height x width words, row by row; what a short last row lacks is filled up (section 2). */
  readonly words: Uint32Array;
}

/**
 * Decodes a stream (all sections).
 *
 * @returns the tensor: its dtype, its shape in elements, its bytes
 * @throws FormatError where the stream is not valid, RangeError where the tensor has more than `maxBytes` bytes
 */
export function decodeTensor(stream: Uint8Array, { maxBytes = 2 ** 32, base }: DecodeOptions = {}): Tensor {
  const front = openStream(stream);
  const { dtype, shape, matrix, tiles } = front;
  const length = tensorBytes(front);
  if (length > maxBytes) throw new RangeError(`the tensor has ${length} bytes, more than the limit of ${maxBytes}`);
  const baseWords = openBase(front, base);
  const data = new Uint8Array(length);
  const words = wordsOf(data, dtype.wordBits);
  for (let index = 0; index < tiles.length; index++)
    placeTile(words, matrix.columns, tileAt(matrix, index), decodeTileOf(stream, front, index, baseWords));
  return { dtype: dtype.name, shape, data };
}

/**
 * Decodes one tile, without looking at the data of others.
 *
 * @param index of the tile, row-major (section 2)
 * @param base the elements of the base, for a stream against one
 * @throws FormatError where the front, the length or the tile is not valid, RangeError where there is no such tile
 */
export function decodeTile(stream: Uint8Array, index: number, base?: Uint8Array): DecodedTile {
  const front = openStream(stream);
  if (front.tiles[index] === undefined) throw new RangeError(`tile ${index} of ${front.tiles.length}`);
  return { ...tileAt(front.matrix, index), words: decodeTileOf(stream, front, index, openBase(front, base)) };
}

/** Reads the front of a whole stream, and checks that all of Data is there, and nothing after it. */
function openStream(stream: Uint8Array): Front {
  const front = readFront(stream);
  const length = front.frontBytes + front.dataBytes;
  const problem = `the stream has ${stream.length} bytes where ${length} are declared`;
  if (stream.length !== length) throw new FormatError('data', Math.min(stream.length, length), problem);
  return front;
}

/** The words of the base, which has to be the one that the stream needs; undefined where it needs none. */
function openBase(front: Front, base: Uint8Array | undefined): WordArray | undefined {
  const { dtype, matrix } = front;
  if ((front.base === undefined) !== (base === undefined))
    throw new FormatError('header.flags', At.flags, base ? 'coded without a base' : 'coded against a base, not given');
  if (front.base === undefined || base === undefined) return undefined;
  const words = wordsOf(base, dtype.wordBits);
  if (base.length !== tensorBytes(front) || baseCrc(dtype, matrix, words) !== front.base.crc)
    throw new FormatError('base.crc', front.baseAt, 'coded against another base than is given');
  return words;
}

function tensorBytes({ dtype, matrix }: Header): number {
  return (matrix.words * dtype.wordBits) / 8;
}

/** A tile of a stream: what the front says of it, and the bytes of its sections, whose padding must be zero. */
class StoredTile {
  readonly tile: Tile;
  readonly metadata: TileMetadata;
  readonly sections: Sections;
  /** Where its data begin in the stream. */
  readonly at: number;
  /** The words of the base. */
  readonly base: Uint32Array | undefined;

  constructor(
    private readonly stream: Uint8Array,
    readonly front: Front,
    index: number,
    base: WordArray | undefined,
  ) {
    this.tile = tileAt(front.matrix, index);
    this.metadata = front.tiles[index];
    this.sections = sectionsOf(front.dtype, front.split, this.tile, this.metadata.planes, front.base !== undefined);
    this.at = front.frontBytes + this.metadata.offset;
    this.base = base && baseTile(front.matrix, base, this.tile);
  }

  bytes({ name, start, length }: Section): Uint8Array {
    const end = this.at + start + length;
    for (let at = end; at < this.at + align(start + length); at++)
      if (this.stream[at] !== 0) throw new FormatError(name, at, 'padding is not zero');
    return this.stream.slice(this.at + start, end);
  }

  refuse({ name, start }: Section, byte: number, problem: string): never {
    throw new FormatError(name, this.at + start + byte, problem);
  }
}

/** The words of a tile, height x width. */
function decodeTileOf(stream: Uint8Array, front: Front, index: number, base: WordArray | undefined): Uint32Array {
  const { dtype, split } = front;
  const stored = new StoredTile(stream, front, index, base);
  const { tile, metadata, sections, at } = stored;
  const isDirect = metadata.planes[0].mode === Mode.DIRECT;
  const planes = isDirect ? decodeDirect(stored) : decodePlanes(stored);
  const words = stored.base ? joinDifferences(dtype, planes, stored.base) : joinPlanes(dtype, split, planes);
  const entries = wordsOf(stored.bytes(sections.outliers), 32);
  const check = tileCheck(words, tile, dtype.wordBits, entries);
  if (check !== metadata.check)
    throw new FormatError('tile.check', at, `the decoded tile has ${check}, the metadata say ${metadata.check}`);
  writeOutliers(words, dtype, tile, entries, at + sections.outliers.start);
  const values = front.columnValues?.subarray(tile.column, tile.column + tile.width);
  if (values) return words.map((word, i) => decodeWord(word, values[i % tile.width], dtype, split));
  return words;
}

/** The symbols of both planes of a tile in DIRECT. */
function decodeDirect(stored: StoredTile): Uint16Array[] {
  const { front, tile, sections } = stored;
  return (
    unpackBlocks(stored.bytes(sections.blocks), startsOf(front.windows, tile), tile) ??
    stored.refuse(sections.blocks, 0, 'an element that the tile does not have is not zero')
  );
}

/** The symbols of each plane of a tile in other modes. */
function decodePlanes(stored: StoredTile): Uint16Array[] {
  const { front, tile, metadata, sections } = stored;
  let payload: Uint16Array | undefined;
  return metadata.planes.map(({ mode, value }, p) => {
    if (mode === Mode.CONST) return new Uint16Array(tile.height * tile.width).fill(value);
    if (mode === Mode.RAW) {
      const isFed = hasPayload(metadata.planes, p, front.base !== undefined);
      return (
        unpackRaw(stored.bytes(sections.raw[p]), tile, front.split[p], isFed ? payload : undefined) ??
        stored.refuse(sections.raw[p], 0, 'a bit that stands for nothing is not zero')
      );
    }
    const coded = decodeCoded(stored, p);
    payload = coded.payload;
    return coded.symbols;
  });
}

/** The symbols of plane `p`, in RANS or PAIRS, and the payload of each lane for the next plane. */
function decodeCoded(stored: StoredTile, p: number): { symbols: Uint16Array; payload: Uint16Array } {
  const { front, tile, metadata, sections } = stored;
  const { mode, predictor, value } = metadata.planes[p];
  const states = wordsOf(stored.bytes(sections.states[p]), 32);
  const units = wordsOf(stored.bytes(sections.units[p]), 16);
  states.forEach((state, lane) => {
    if (state < STATE_FLOOR) stored.refuse(sections.states[p], 4 * lane, `a state below 2^16: ${state}`);
  });
  const columnsEach = mode === Mode.PAIRS ? 2 : 1;
  const elements = front.base && classesOf(front.dtype, front.base, stored.base as Uint32Array);
  const set = (mode === Mode.PAIRS ? front.pairs : front.tables[p]) as TableSet;
  const tileTables = tablesOfTile(set, front.selectors, tile, columnsEach, elements);
  const { perLane } = lanesOf(tile.width, front.base !== undefined, columnsEach);
  const decoded = decodeLanes(states, units, perLane, tileTables);
  if (decoded.used !== value)
    stored.refuse(sections.units[p], 0, `decoding does not take the ${value} units that there are`);
  const feedsNext = hasPayload(metadata.planes, p + 1, front.base !== undefined);
  decoded.finals.forEach((state, lane) => {
    if (feedsNext ? state >>> 16 !== 1 : state !== STATE_FLOOR)
      stored.refuse(sections.states[p], 4 * lane, `lane ${lane} ends in state ${state}`);
  });
  let { symbols } = decoded;
  if (mode === Mode.PAIRS) symbols = splitPairs(symbols, startsOf(front.windows, tile), tile);
  else if (predictor > 0) undoPrediction(predictor, symbols, tile.width, zeroSymbol(front.dtype));
  return { symbols, payload: Uint16Array.from(decoded.finals) };
}

/** What a stream says of itself. */
export interface Inspection {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The matrix view, in words, and its tiles. */
  readonly rows: number;
  readonly columns: number;
  readonly tileRows: number;
  readonly tileCount: number;
  /** Bits of each plane. */
  readonly split: Split;
  /** Bytes of the tensor, of the stream, and of its front. */
  readonly tensorBytes: number;
  readonly streamBytes: number;
  readonly frontBytes: number;
  readonly classes: number;
  readonly rowSelectors: boolean;
  readonly columnSelectors: boolean;
  readonly columnOffsets: boolean;
  readonly columnValues: boolean;
  /** Whether those of floats have all their bits. */
  readonly wideValues: boolean;
  /** Whether it is coded against a base, and tiles in which nothing has changed. */
  readonly againstBase: boolean;
  readonly unchangedTiles: number;
  /** For each plane, how many tiles have each mode: const, raw, rans (not predicted), left, top, avg, planar, pairs, direct. */
  readonly modes: readonly Readonly<Record<string, number>>[];
  readonly outliers: number;
}

/**
 * What a stream says of itself (sections 1 to 4). Nothing is decoded.
 *
 * @throws FormatError where the stream is not valid, as far as its front and its length tell
 */
export function inspectTensor(stream: Uint8Array): Inspection {
  openStream(stream);
  return inspectFront(stream);
}

/**
 * The same from everything before Data (sections 1 to 4).
 *
 * @param bytes the front, or more of the stream
 * @throws FormatError where the front is not valid
 */
export function inspectFront(bytes: Uint8Array): Inspection {
  const front = readFront(bytes);
  const { dtype, shape, split, selectors, windows, columnValues, frontBytes, dataBytes, tiles } = front;
  const { rows, columns, tileRows, tileCount } = front.matrix;
  const modes = split.map((): Record<string, number> => ({}));
  let outliers = 0;
  let unchangedTiles = 0;
  for (const { planes } of tiles) {
    const isZero = planes.every((plane) => plane.mode === Mode.CONST && plane.value === 0 && plane.outliers === 0);
    if (front.base !== undefined && isZero) unchangedTiles++;
    planes.forEach((plane, p) => {
      const name = plane.predictor > 0 ? tables.predictors[plane.predictor] : tables.modes[plane.mode];
      modes[p][name] = (modes[p][name] ?? 0) + 1;
      outliers += plane.outliers;
    });
  }
  return {
    ...{ dtype: dtype.name, shape, rows, columns, tileRows, tileCount, split },
    ...{ tensorBytes: tensorBytes(front), streamBytes: frontBytes + dataBytes, frontBytes },
    classes: selectors.classes,
    rowSelectors: selectors.rows !== undefined,
    columnSelectors: selectors.columns !== undefined,
    columnOffsets: windows.offsets !== undefined,
    columnValues: columnValues !== undefined,
    wideValues: areWide(dtype, columnValues),
    ...{ againstBase: front.base !== undefined, unchangedTiles },
    ...{ modes, outliers },
  };
}
