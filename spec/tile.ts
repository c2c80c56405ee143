// A tile's data and metadata (FORMAT.md, sections 4 to 8): planes in, bytes out, and back.

import { tileCheck } from './checksums.ts';
import { cutPlane, type Dtype, pastePlane, type Split, zeroSymbol } from './elements.ts';
import { FormatError } from './errors.ts';
import { likeliest, type TableSet } from './frequency.ts';
import type { Layout, Tile } from './layout.ts';
import {
  ANY_CODE,
  codesOf,
  expandPairs,
  type PairCoding,
  pairsAcross,
  substitutePairs,
  windowStarts,
} from './pairs.ts';
import { reconstruct, residualsOf } from './prediction.ts';
import { type Classes, decodeLanes, encodeLanes, remembered, STATE_FLOOR } from './rans.ts';
import { LANE_COLUMNS, laneCount, packRaw, rawBytes, unpackRaw } from './raw.ts';

/** How a plane of a tile is coded; the values are the codes in the metadata. */
export const Mode = { CONST: 0, RAW: 1, RANS: 2, PAIRS: 3 } as const;

/** What a stream says once for all its tiles. */
export interface Coding {
  readonly layout: Layout;
  readonly split: Split;
  /** The tables of each plane for mode RANS; undefined where no tile has it. */
  readonly tables: readonly (TableSet | undefined)[];
  readonly pairs: PairCoding | undefined;
  /** 1, 2 or 4: how many classes the selectors tell apart. */
  readonly classes: number;
  /** The class bits of each row, and of each column (of each two columns if there are pairs); undefined if all are 0. */
  readonly rowSelectors: Uint8Array | undefined;
  readonly columnSelectors: Uint8Array | undefined;
}

/** The metadata of one plane of one tile. */
export interface TilePlane {
  readonly mode: number;
  /** Index into PREDICTORS; 0 unless the mode is RANS. */
  readonly predictor: number;
  /** The symbol of CONST, the number of words of RANS and PAIRS, 0 for RAW. */
  readonly value: number;
  /** Number of outliers; 0 unless it is plane 0, in PAIRS or in RANS without prediction. */
  readonly outliers: number;
}

/** The metadata of one tile. */
export interface TileMetadata {
  /** Where its data begins in Data, in bytes. */
  readonly offset: number;
  readonly check: number;
  readonly planes: readonly TilePlane[];
}

/** A tile has at most this many outliers. */
export const MAX_OUTLIERS = 255;

/** Every section of Data begins at a multiple of this. */
export const ALIGNMENT = 16;

export function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** Bytes of one outlier in a tile's data. */
export function outlierBytes(dtype: Dtype): number {
  return dtype.wordBits === 32 ? 8 : 4;
}

export function isCoded(mode: number): boolean {
  return mode === Mode.RANS || mode === Mode.PAIRS;
}

/** Whether the last 16 bits of each lane of a plane travel in the final states of the plane before. */
function hasPayload(planes: readonly TilePlane[], plane: number): boolean {
  return planes[plane].mode === Mode.RAW && plane > 0 && isCoded(planes[plane - 1].mode);
}

/** A section of a tile's data: where it begins, and its bytes before padding. */
interface Section {
  readonly name: string;
  readonly start: number;
  readonly length: number;
}

interface Sections {
  readonly raw: readonly (Section | undefined)[];
  readonly states: readonly (Section | undefined)[];
  readonly words: readonly (Section | undefined)[];
  readonly outliers: Section;
  readonly length: number;
}

/** The sections of a tile: its RAW planes, then states and words of each coded plane, then outliers. */
export function sectionsOf(coding: Coding, tile: Tile, planes: readonly TilePlane[]): Sections {
  let at = 0;
  const section = (name: string, length: number): Section => {
    const start = at;
    at = align(start + length);
    return { name, start, length };
  };
  const raw = planes.map(({ mode }, p) =>
    mode === Mode.RAW
      ? section(`tile.plane[${p}].raw`, rawBytes(tile.height, tile.width, coding.split[p], hasPayload(planes, p)))
      : undefined,
  );
  const states: (Section | undefined)[] = [];
  const words: (Section | undefined)[] = [];
  planes.forEach(({ mode, value }, p) => {
    if (!isCoded(mode)) return;
    states[p] = section(`tile.plane[${p}].states`, 4 * laneCount(tile.width));
    words[p] = section(`tile.plane[${p}].words`, 2 * value);
  });
  const outlierSection = section('tile.outliers', planes[0].outliers * outlierBytes(coding.layout.dtype));
  return { raw, states, words, outliers: outlierSection, length: at };
}

const NO_SELECTORS = new Uint8Array(256);

/** The classes of a tile's rows and columns (pairs of columns, where the stream has pairs), or of single columns. */
function classesOf(coding: Coding, tile: Tile, tables: TableSet, perPair: boolean): Classes {
  if (tables.frequencies.length === 1) return { rows: NO_SELECTORS, columns: NO_SELECTORS };
  const rows = coding.rowSelectors?.subarray(tile.row, tile.row + tile.height) ?? NO_SELECTORS;
  if (coding.columnSelectors === undefined) return { rows, columns: NO_SELECTORS };
  if (coding.pairs === undefined)
    return { rows, columns: coding.columnSelectors.subarray(tile.column, tile.column + tile.width) };
  const pairs = coding.columnSelectors.subarray(tile.column / 2);
  return { rows, columns: perPair ? pairs : Uint8Array.from({ length: tile.width }, (_, j) => pairs[j >>> 1]) };
}

// ---------------------------------------------------------------------------------------------------- decoding

/**
 * Decodes one tile from its data.
 *
 * @param data the tile's bytes, exactly
 * @param at where `data` begins in the stream, for errors
 * @returns its words, height x width
 * @throws FormatError
 */
export function decodeTileData(
  coding: Coding,
  tile: Tile,
  metadata: TileMetadata,
  data: Uint8Array,
  at: number,
): Uint32Array {
  const { layout, split } = coding;
  const { planes } = metadata;
  const { height, width } = tile;
  const count = height * width;
  const sections = sectionsOf(coding, tile, planes);
  const bytesOf = (section: Section): Uint8Array => {
    const end = section.start + section.length;
    for (let i = end; i < align(end); i++)
      if (data[i] !== 0) throw new FormatError(section.name, at + i, 'padding is not zero');
    return data.subarray(section.start, end);
  };
  const words = new Uint32Array(count);
  const symbols = new Uint16Array(count);
  let payload: Uint16Array | undefined;
  for (let p = 0; p < planes.length; p++) {
    const { mode, value } = planes[p];
    if (mode === Mode.CONST) symbols.fill(value);
    else if (mode === Mode.RAW) {
      const section = sections.raw[p] as Section;
      if (!unpackRaw(bytesOf(section), height, width, split[p], payload, symbols))
        throw new FormatError(section.name, at + section.start, 'a bit that stands for nothing is not zero');
    } else {
      const feedsNext = p + 1 < planes.length && hasPayload(planes, p + 1);
      payload = decodePlane(coding, tile, p, planes[p], sections, bytesOf, at, feedsNext, symbols);
      pastePlane(words, layout.dtype, split, p, symbols);
      continue;
    }
    payload = undefined;
    pastePlane(words, layout.dtype, split, p, symbols);
  }
  const entries = littleEndianWords(bytesOf(sections.outliers));
  const check = tileCheck(words, height, width, layout.dtype.wordBits, entries);
  if (check !== metadata.check)
    throw new FormatError('tile.check', at, `the decoded tile has ${check}, the metadata say ${metadata.check}`);
  writeOutliers(layout.dtype, tile, entries, words, at + sections.outliers.start);
  return words;
}

/** Decodes a RANS or PAIRS plane into `symbols`. @returns the payload, one a lane, if the next plane wants it */
function decodePlane(
  coding: Coding,
  tile: Tile,
  plane: number,
  { mode, predictor, value }: TilePlane,
  sections: Sections,
  bytesOf: (section: Section) => Uint8Array,
  at: number,
  feedsNext: boolean,
  symbols: Uint16Array,
): Uint16Array | undefined {
  const { height, width } = tile;
  const stateSection = sections.states[plane] as Section;
  const wordSection = sections.words[plane] as Section;
  const states = littleEndianWords(bytesOf(stateSection));
  const words = littleEndianHalves(bytesOf(wordSection));
  for (let lane = 0; lane < states.length; lane++)
    if (states[lane] < STATE_FLOOR)
      throw new FormatError(
        stateSection.name,
        at + stateSection.start + 4 * lane,
        `a state below 2^16: ${states[lane]}`,
      );
  let used: number;
  if (mode === Mode.PAIRS) {
    const pairs = coding.pairs as PairCoding;
    const across = pairsAcross(width);
    const coded = new Uint16Array(height * across);
    used = decodeLanes(
      states,
      words,
      height,
      across,
      LANE_COLUMNS / 2,
      pairs.tables,
      classesOf(coding, tile, pairs.tables, true),
      coded,
    );
    expandPairs(coded, height, width, windowStarts(pairs, tile.column, width), symbols);
  } else {
    const tables = coding.tables[plane] as TableSet;
    used = decodeLanes(
      states,
      words,
      height,
      width,
      LANE_COLUMNS,
      tables,
      classesOf(coding, tile, tables, false),
      symbols,
    );
    if (predictor > 0) reconstruct(symbols, height, width, predictor, zeroSymbol(coding.layout.dtype));
  }
  if (used !== value)
    throw new FormatError(
      wordSection.name,
      at + wordSection.start,
      `decoding takes ${used} words, the metadata say ${value}`,
    );
  const payload = new Uint16Array(states.length);
  for (let lane = 0; lane < states.length; lane++) {
    payload[lane] = states[lane];
    if (states[lane] >>> 16 !== 1 || (!feedsNext && payload[lane] !== 0))
      throw new FormatError(
        stateSection.name,
        at + stateSection.start + 4 * lane,
        `lane ${lane} ends in state ${states[lane]}`,
      );
  }
  return feedsNext ? payload : undefined;
}

function writeOutliers(dtype: Dtype, tile: Tile, entries: Uint32Array, words: Uint32Array, at: number): void {
  const step = outlierBytes(dtype) / 4;
  let previous = -1;
  for (let e = 0; e < entries.length; e += step) {
    const position = dtype.wordBits === 32 ? entries[e] : entries[e] & 0xffff;
    const word = dtype.wordBits === 32 ? entries[e + 1] : entries[e] >>> 16;
    const row = Math.floor(position / 128);
    const column = position % 128;
    if (position <= previous || row >= tile.height || column >= tile.width || word >= 2 ** dtype.wordBits)
      throw new FormatError(
        'tile.outliers',
        at + 4 * e,
        `position ${position}, word ${word}: not increasing, or outside`,
      );
    words[row * tile.width + column] = word;
    previous = position;
  }
}

function littleEndianWords(bytes: Uint8Array): Uint32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = new Uint32Array(bytes.length / 4);
  for (let i = 0; i < words.length; i++) words[i] = view.getUint32(4 * i, true);
  return words;
}

/** The words, and a zero after them: decodeLanes looks one word ahead. */
function littleEndianHalves(bytes: Uint8Array): Uint16Array {
  const halves = new Uint16Array(bytes.length / 2 + 1);
  for (let i = 0; i < bytes.length / 2; i++) halves[i] = bytes[2 * i] | (bytes[2 * i + 1] << 8);
  return halves;
}

// ---------------------------------------------------------------------------------------------------- encoding

/** How an encoder wants a plane of a tile coded, where that is smaller than RAW and possible. */
export interface Wish {
  readonly mode: number;
  readonly predictor: number;
  /** Code it so, whatever the size and even if it is constant. */
  readonly forced: boolean;
}

export interface EncodedTile {
  readonly metadata: TileMetadata;
  readonly data: Uint8Array;
}

/** A plane coded with rANS: its sections, and which symbols a decoder gets that are not the tile's. */
interface CodedPlane {
  readonly states: Uint32Array;
  readonly words: Uint16Array;
  readonly outliers: readonly { index: number; symbol: number }[];
}

/**
 * Encodes one tile. Planes are decided from the last to the first, since a coded plane carries bits of a RAW plane
 * after it: CONST if there is one symbol only, else as wished if that is smaller, else RAW.
 *
 * @param words the tile's words, height x width; outliers are overwritten
 * @param wishes one for each plane
 * @returns metadata with offset 0, and data
 */
export function encodeTileData(coding: Coding, tile: Tile, words: Uint32Array, wishes: readonly Wish[]): EncodedTile {
  const { layout, split } = coding;
  const { height, width } = tile;
  const count = height * width;
  const lanes = laneCount(width);
  const planes: TilePlane[] = [];
  const sections: Uint8Array[][] = [];
  let outliers: CodedPlane['outliers'] = [];
  /** The plane after, if it is RAW and so waits to know whether its last bits travel with this one. */
  let waiting: { packed: Uint8Array; payload: Uint16Array; whole: () => Uint8Array } | undefined;
  for (let p = split.length - 1; p >= 0; p--) {
    const symbols = new Uint16Array(count);
    cutPlane(words, layout.dtype, split, p, symbols);
    const wish = wishes[p];
    const rawSize = align(rawBytes(height, width, split[p], false));
    let coded: CodedPlane | undefined;
    const constant = !wish.forced && isConstant(symbols);
    if (!constant && isCoded(wish.mode)) {
      const finals = new Uint32Array(lanes);
      for (let lane = 0; lane < lanes; lane++) finals[lane] = STATE_FLOOR + (waiting?.payload[lane] ?? 0);
      coded = codePlane(coding, tile, p, wish, symbols, finals);
      if (coded !== undefined && !wish.forced) {
        const size =
          align(4 * lanes) + align(2 * coded.words.length) + align(coded.outliers.length * outlierBytes(layout.dtype));
        if (size - (waiting === undefined ? 0 : 2 * lanes) >= rawSize) coded = undefined;
      }
    }
    if (waiting !== undefined) sections[p + 1] = [coded === undefined ? waiting.whole() : waiting.packed];
    waiting = undefined;
    if (coded !== undefined) {
      planes[p] = {
        mode: wish.mode,
        predictor: wish.predictor,
        value: coded.words.length,
        outliers: coded.outliers.length,
      };
      sections[p] = [bytesOfArray(coded.states), bytesOfArray(coded.words)];
      if (coded.outliers.length > 0) outliers = coded.outliers;
    } else if (constant) {
      planes[p] = { mode: Mode.CONST, predictor: 0, value: symbols[0], outliers: 0 };
      sections[p] = [];
    } else {
      planes[p] = { mode: Mode.RAW, predictor: 0, value: 0, outliers: 0 };
      const whole = (): Uint8Array => packRaw(symbols, height, width, split[p], undefined);
      if (p === 0) sections[p] = [whole()];
      else {
        const payload = new Uint16Array(lanes);
        waiting = { packed: packRaw(symbols, height, width, split[p], payload), payload, whole };
      }
    }
  }
  const entries = takeOutliers(layout.dtype, split, tile, outliers, words);
  const order = [
    ...planes.flatMap(({ mode }, p) => (mode === Mode.RAW ? sections[p] : [])),
    ...planes.flatMap(({ mode }, p) => (isCoded(mode) ? sections[p] : [])),
    bytesOfArray(entries),
  ];
  const data = new Uint8Array(order.reduce((length, section) => length + align(section.length), 0));
  let at = 0;
  for (const section of order) {
    data.set(section, at);
    at += align(section.length);
  }
  const check = tileCheck(words, height, width, layout.dtype.wordBits, entries);
  return { metadata: { offset: 0, check, planes }, data };
}

/** Whether there is one symbol only. */
export function isConstant(symbols: Uint16Array): boolean {
  let i = 1;
  while (i < symbols.length && symbols[i] === symbols[0]) i++;
  return i >= symbols.length;
}

/** Codes a plane as wished; undefined where its tables cannot, with at most MAX_OUTLIERS outliers. */
function codePlane(
  coding: Coding,
  tile: Tile,
  plane: number,
  { mode, predictor }: Wish,
  symbols: Uint16Array,
  finals: Uint32Array,
): CodedPlane | undefined {
  const { height, width } = tile;
  if (mode === Mode.PAIRS) {
    const pairs = coding.pairs as PairCoding;
    const classes = classesOf(coding, tile, pairs.tables, true);
    const fitted = fitPairs(pairs, tile, classes, symbols);
    if (fitted.outliers.length > MAX_OUTLIERS) return undefined;
    const lanes = encodeLanes(
      fitted.coded,
      height,
      pairsAcross(width),
      LANE_COLUMNS / 2,
      pairs.tables,
      classes,
      finals,
    );
    return { ...lanes, outliers: fitted.outliers };
  }
  const tables = coding.tables[plane];
  if (tables === undefined) return undefined;
  const classes = classesOf(coding, tile, tables, false);
  let coded = symbols;
  if (predictor > 0) {
    coded = new Uint16Array(symbols.length);
    residualsOf(symbols, height, width, predictor, zeroSymbol(coding.layout.dtype), coded);
  }
  const lanes = encodeLanes(coded, height, width, LANE_COLUMNS, tables, classes, finals);
  if (lanes.substituted.length > (plane === 0 && predictor === 0 ? MAX_OUTLIERS : 0)) return undefined;
  const outliers = lanes.substituted.map((index) => {
    const table = classes.rows[Math.floor(index / width)] | classes.columns[index % width];
    return { index, symbol: likeliestOf(tables)[table] };
  });
  return { ...lanes, outliers };
}

/** Pairs of a tile, each one that its table has, and the exponents that come out otherwise than they went in. */
function fitPairs(
  coding: PairCoding,
  tile: Tile,
  classes: Classes,
  exponents: Uint16Array,
): { coded: Uint16Array; outliers: CodedPlane['outliers'] } {
  const { height, width } = tile;
  const across = pairsAcross(width);
  const starts = windowStarts(coding, tile.column, width);
  const codes = new Uint8Array(height * 2 * across);
  codesOf(exponents, height, width, starts, codes);
  const substitutes = substitutesOf(coding.tables);
  const coded = new Uint16Array(height * across);
  const outliers: { index: number; symbol: number }[] = [];
  for (let i = 0; i < height; i++)
    for (let q = 0; q < across; q++) {
      const left = codes[2 * (i * across + q)];
      const right = codes[2 * (i * across + q) + 1];
      const pair = substitutes[classes.rows[i] | classes.columns[q]][left + (ANY_CODE + 1) * right];
      coded[i * across + q] = pair;
      const index = i * width + 2 * q;
      if ((pair & 15) !== left) outliers.push({ index, symbol: starts[2 * q] + (pair & 15) });
      if (pair >>> 4 !== right && 2 * q + 1 < width)
        outliers.push({ index: index + 1, symbol: starts[2 * q + 1] + (pair >>> 4) });
    }
  return { coded, outliers };
}

const substitutesOf = remembered((tables) => tables.frequencies.map(substitutePairs));
const likeliestOf = remembered((tables) => tables.frequencies.map(likeliest));

/** Entries for the outliers, whose words become what a decoder gets before it reads the entries. */
function takeOutliers(
  dtype: Dtype,
  split: Split,
  tile: Tile,
  outliers: CodedPlane['outliers'],
  words: Uint32Array,
): Uint32Array {
  const step = outlierBytes(dtype) / 4;
  const entries = new Uint32Array(outliers.length * step);
  const symbols = new Uint16Array(1);
  outliers.forEach(({ index, symbol }, e) => {
    const position = Math.floor(index / tile.width) * 128 + (index % tile.width);
    const word = words.subarray(index, index + 1);
    entries[e * step] = step === 1 ? position | (word[0] << 16) : position;
    if (step === 2) entries[e * step + 1] = word[0];
    const rest = split.slice(1).map((_, below) => {
      cutPlane(word, dtype, split, below + 1, symbols);
      return symbols[0];
    });
    [symbol, ...rest].forEach((each, p) => {
      symbols[0] = each;
      pastePlane(word, dtype, split, p, symbols);
    });
  });
  return entries;
}

function bytesOfArray(array: Uint32Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
