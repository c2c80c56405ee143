// FORMAT.md, section 6.1: bit strings, frequency tables, and the selectors that say which table an element uses.

import type { Tile, WordArray } from './2-matrix.ts';

/** N is at least this. */
export const MIN_PROBABILITY_BITS = 8;

/** N is at most this for symbols of so many bits. */
export function maxProbabilityBits(symbolBits: number): number {
  return Math.min(12, (32 - symbolBits) >> 1);
}

/** Symbols of PAIRS have so many bits. */
export const PAIR_BITS = 8;

/** Reads a bit string: the lowest bit of a byte comes first. Past its end are zeros, and `exhausted` is set. */
export class BitReader {
  private used = 0;
  exhausted = false;

  constructor(private readonly bytes: Uint8Array) {}

  /** A number of `count` bits. */
  read(count: number): number {
    let value = 0;
    for (let bit = 0; bit < count; bit++, this.used++) {
      if (this.used >= 8 * this.bytes.length) {
        this.exhausted = true;
        return 0;
      }
      value |= ((this.bytes[this.used >> 3] >> (this.used & 7)) & 1) << bit;
    }
    return value;
  }

  /** An Elias gamma code; 0, which none stands for, if it has more than `limit` zeros. */
  readGamma(limit: number): number {
    let zeros = 0;
    while (this.read(1) === 0) if (++zeros > limit || this.exhausted) return 0;
    return 2 ** zeros + this.read(zeros);
  }

  /** Whether this is the last byte, and the rest of it is zero. */
  atEnd(): boolean {
    const left = 8 * this.bytes.length - this.used;
    return left < 8 && this.read(left) === 0;
  }
}

/** A frequency table: frequency and cumulative frequency of each symbol, and which symbol has each of the 2^N slots. */
export interface Table {
  readonly frequency: Uint16Array;
  readonly cumulative: Uint16Array;
  readonly symbolOfSlot: Uint16Array;
}

/** The tables of one plane, or of PAIRS: one, or one for each class. */
export interface TableSet {
  readonly symbolBits: number;
  /** N */
  readonly probabilityBits: number;
  readonly tables: readonly Table[];
}

/** @param frequency of every symbol; they add up to a power of two */
export function tableOf(frequency: Uint16Array): Table {
  const cumulative = new Uint16Array(frequency.length);
  const symbolOfSlot = new Uint16Array(frequency.reduce((sum, each) => sum + each, 0));
  let slot = 0;
  for (let symbol = 0; symbol < frequency.length; symbol++) {
    cumulative[symbol] = slot;
    symbolOfSlot.fill(symbol, slot, slot + frequency[symbol]);
    slot += frequency[symbol];
  }
  return { frequency, cumulative, symbolOfSlot };
}

/** Reads the frequencies of one table. @returns them, or what is wrong with them */
export function readFrequencies(reader: BitReader, symbolBits: number, probabilityBits: number): Uint16Array | string {
  const frequency = new Uint16Array(2 ** symbolBits);
  const first = reader.read(symbolBits);
  const last = first + reader.read(symbolBits);
  if (last >= frequency.length) return `symbols up to ${last} where ${frequency.length - 1} is the last`;
  let sum = 0;
  let length = 1;
  for (let symbol = first; symbol <= last; symbol++) {
    const code = reader.readGamma(5);
    if (code === 0) return 'a change of length that no table has';
    length += code % 2 === 0 ? code / 2 : (1 - code) / 2;
    if (length < 0 || length > probabilityBits)
      return `a frequency of ${length} bits where ${probabilityBits} is the limit`;
    if (length > 0) frequency[symbol] = 2 ** (length - 1) + reader.read(length - 1);
    sum += frequency[symbol];
  }
  if (reader.exhausted) return 'the section ends inside a table';
  if (sum !== 2 ** probabilityBits) return `frequencies add up to ${sum}, not to ${2 ** probabilityBits}`;
  if (frequency[first] === 0 || frequency[last] === 0) return 'the first or last symbol has no frequency';
  return frequency;
}

/** Which class each row and column has. */
export interface Selectors {
  /** 1, 2 or 4 */
  readonly classes: number;
  /** For each row, and for each column or, if there are pairs, each two columns; undefined where all are 0. */
  readonly rows: WordArray | undefined;
  readonly columns: WordArray | undefined;
  /** Columns that share a selector: 2 if there are pairs, else 1. */
  readonly columnsEach: 1 | 2;
}

/** The tables of a tile: symbol number i of it, row by row, has tables[classes[i]]. */
export interface TileTables {
  readonly probabilityBits: number;
  readonly tables: readonly Table[];
  /** Symbols in a row. */
  readonly width: number;
  readonly classes: Uint8Array;
}

/**
 * @param columnsEach columns that a symbol stands for: 2 in PAIRS, else 1
 * @param elements the class of each element, against a base
 */
export function tablesOfTile(
  set: TableSet,
  selectors: Selectors,
  tile: Tile,
  columnsEach: 1 | 2,
  elements: Uint8Array | undefined,
): TileTables {
  const width = Math.ceil(tile.width / columnsEach);
  const classes = new Uint8Array(tile.height * width);
  if (set.tables.length > 1)
    for (let i = 0, at = 0; i < tile.height; i++)
      for (let j = 0; j < width; j++, at++) {
        const column = Math.floor((tile.column + j * columnsEach) / selectors.columnsEach);
        const selected = (selectors.rows?.[tile.row + i] ?? 0) | (selectors.columns?.[column] ?? 0);
        classes[at] = elements?.[at] ?? selected;
      }
  return { probabilityBits: set.probabilityBits, tables: set.tables, width, classes };
}
