// FORMAT.md, section 1: the front, which is everything before Data. It is checked in the order in which it is read.

import { FormatError } from '../errors.ts';
import tables from '../tables.json' with { type: 'json' };
import { type Matrix, matrixView } from './2-matrix.ts';
import { allowsColumnValues, columnValueBits } from './3.1-columns.ts';
import type { BaseHeader } from './3.2-base.ts';
import { allowsDirect, allowsPairs, DTYPES, type Dtype, isNibbles, type Split, wordCount } from './3-planes.ts';
import { align, metadataBytes, readMetadata, type TileMetadata } from './4-metadata.ts';
import {
  BitReader,
  MIN_PROBABILITY_BITS,
  maxProbabilityBits,
  PAIR_BITS,
  readFrequencies,
  type Selectors,
  type TableSet,
  tableOf,
} from './6.1-tables.ts';
import { MAX_START, type Windows } from './6.3-pairs.ts';
import { crc32 } from './8-checks.ts';

/** "CLLM". */
export const MAGIC = 0x4d4c4c43;
/** Bytes of the fixed part. */
export const FIXED_BYTES = 64;
/** The widest matrix view. */
export const MAX_COLUMNS = 2 ** 18;
/** H: tile heights that a stream may have. */
export const TILE_ROWS = tables.tileRows as readonly (8 | 16 | 32 | 64 | 128 | 256)[];
/** All tables of a stream have at most so many slots. */
export const MAX_SLOTS = 20480;

/** Of the base, in the front. */
export const BASE_CRC_BYTES = 4;

/** Offsets in the fixed part. */
export const At = {
  magic: 0,
  version: 4,
  dtype: 5,
  dimensions: 6,
  tileRowsLog2: 7,
  words: 8,
  columns: 16,
  planes: 20,
  classes: 21,
  flags: 22,
  reserved: 23,
  /** 4 bytes for each of four planes: bits, tables, probability bits, 0. */
  plane: 24,
  pairTables: 40,
  pairProbabilityBits: 41,
  pairBase: 42,
  pairReserved: 43,
  tablesBytes: 44,
  dataBytes: 48,
  frontCrc: 56,
  fixedCrc: 60,
} as const;

export const Flag = {
  ...{ rowSelectors: 1, columnSelectors: 2, columnOffsets: 4, direct: 8, columnValues: 16, base: 32, wideValues: 64 },
} as const;

/** What a Header says: all that tiles have in common. */
export interface Header {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly matrix: Matrix;
  readonly split: Split;
  /** The tables of each plane for RANS; undefined where it has none. */
  readonly tables: readonly (TableSet | undefined)[];
  /** The tables for PAIRS. */
  readonly pairs: TableSet | undefined;
  /** Whether tiles may be DIRECT. */
  readonly hasDirect: boolean;
  /** Those of PAIRS or DIRECT. */
  readonly windows: Windows;
  /** The value of each column, as a word; undefined where words are coded as they are. */
  readonly columnValues: Uint16Array | undefined;
  readonly selectors: Selectors;
  /** Where the tensor is coded against a base. */
  readonly base: BaseHeader | undefined;
}

/** A front that has been read and checked. */
export interface Front extends Header {
  readonly tiles: readonly TileMetadata[];
  readonly frontBytes: number;
  readonly dataBytes: number;
  /** Where the base's CRC is. */
  readonly baseAt: number;
}

/** Where the parts of a front begin, which its fixed part tells alone. */
export function partsOf(fixed: {
  readonly dtype: Dtype;
  readonly dimensions: number;
  readonly tablesBytes: number;
  readonly matrix: Matrix;
  readonly planes: number;
  readonly classes: number;
  readonly flags: number;
  readonly columnsEach: 1 | 2;
}) {
  const { matrix, flags } = fixed;
  const selectorBits = Math.log2(fixed.classes);
  const valueBits = columnValueBits(fixed.dtype, (flags & Flag.wideValues) !== 0);
  const bytesIf = (flag: number, count: number, bits: number): number =>
    flags & flag ? Math.ceil((count * bits) / 8) : 0;
  const tables = FIXED_BYTES + 8 * fixed.dimensions;
  const columnOffsets = tables + fixed.tablesBytes;
  const columnValues = columnOffsets + bytesIf(Flag.columnOffsets, matrix.columns, 4);
  const rowSelectors = columnValues + bytesIf(Flag.columnValues, matrix.columns, valueBits);
  const columnSelectors = rowSelectors + bytesIf(Flag.rowSelectors, matrix.rows, selectorBits);
  const selected = Math.ceil(matrix.columns / fixed.columnsEach);
  const base = columnSelectors + bytesIf(Flag.columnSelectors, selected, selectorBits);
  const padding = base + (flags & Flag.base ? BASE_CRC_BYTES + fixed.classes - 1 : 0);
  const metadata = align(padding);
  const end = align(metadata + matrix.tileCount * metadataBytes(fixed.planes));
  return { tables, columnOffsets, columnValues, rowSelectors, columnSelectors, base, padding, metadata, end };
}

/** How many tables a plane or PAIRS has, and their N. */
interface TableCount {
  readonly count: number;
  readonly probabilityBits: number;
}

function refuse(field: string, at: number, problem: string): never {
  throw new FormatError(field, at, problem);
}

/** A u64 of at most 2^50. */
function readLength(view: DataView, at: number, field: string): number {
  const value = view.getBigUint64(at, true);
  return value > 2n ** 50n ? refuse(field, at, `${value} is more than 2^50`) : Number(value);
}

/** The number of tables at byte `at`, and their N in the byte after it. */
function readTableCount(bytes: Uint8Array, at: number, bits: number, classes: number, field: string): TableCount {
  const [count, probabilityBits] = bytes.subarray(at, at + 2);
  if (count !== 0 && count !== 1 && count !== classes)
    refuse(`${field}.tables`, at, `${count} tables where there are ${classes} classes`);
  const isInRange = probabilityBits >= MIN_PROBABILITY_BITS && probabilityBits <= maxProbabilityBits(bits);
  if (count === 0 ? probabilityBits !== 0 : !isInRange)
    refuse(`${field}.probabilityBits`, at + 1, `${probabilityBits} for ${count} tables of ${bits}-bit symbols`);
  return { count, probabilityBits };
}

/** Reads and checks the fixed part. */
function readFixed(bytes: Uint8Array) {
  if (bytes.length < FIXED_BYTES) refuse('header', bytes.length, `the stream ends before byte ${FIXED_BYTES}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, FIXED_BYTES);
  if (view.getUint32(At.magic, true) !== MAGIC) refuse('header.magic', At.magic, 'not a CodecLLM stream');
  if (bytes[At.version] !== tables.formatVersion)
    refuse('header.version', At.version, `version ${bytes[At.version]}, not ${tables.formatVersion}`);
  if (view.getUint32(At.fixedCrc, true) !== crc32(bytes.subarray(0, At.fixedCrc)))
    refuse('header.fixedCrc', At.fixedCrc, 'the fixed part does not have this CRC-32');
  const dtype = DTYPES[bytes[At.dtype]] ?? refuse('header.dtype', At.dtype, `no dtype has the code ${bytes[At.dtype]}`);
  const tileRowsLog2 = bytes[At.tileRowsLog2];
  if (tileRowsLog2 < 3 || tileRowsLog2 > 8)
    refuse('header.tileRowsLog2', At.tileRowsLog2, `${tileRowsLog2} is not from 3 to 8`);
  const words = readLength(view, At.words, 'header.words');
  const columns = view.getUint32(At.columns, true);
  if (columns < 1 || columns > MAX_COLUMNS)
    refuse('header.columns', At.columns, `${columns} is not from 1 to ${MAX_COLUMNS}`);

  const split =
    dtype.splits.find((candidate) => candidate.every((bits, p) => bits === bytes[At.plane + 4 * p])) ??
    refuse('header.plane[0].bits', At.plane, `${dtype.name} is not split so`);
  if (bytes[At.planes] !== split.length)
    refuse('header.planes', At.planes, `${bytes[At.planes]} planes where ${dtype.name} has ${split.length}`);
  const classes = bytes[At.classes];
  const flags = bytes[At.flags];
  const hasBase = (flags & Flag.base) !== 0;
  if (classes !== 1 && classes !== 2 && classes !== 4 && !(hasBase && classes === 8))
    refuse('header.classes', At.classes, `${classes} is not 1, 2 or 4, nor 8 against a base`);
  const planes: TableCount[] = [];
  for (let p = 0, at: number = At.plane; p < 4; p++, at += 4)
    if (p < split.length) {
      planes.push(readTableCount(bytes, at + 1, split[p], classes, `header.plane[${p}]`));
      if (bytes[at + 3] !== 0) refuse(`header.plane[${p}].reserved`, at + 3, 'not zero');
    } else if (bytes.subarray(at, at + 4).some((byte) => byte !== 0))
      refuse(`header.plane[${p}]`, at, 'not zero, and there is no such plane');

  const hasDirect = (flags & Flag.direct) !== 0;
  const pairs = readTableCount(bytes, At.pairTables, PAIR_BITS, classes, 'header.pairs');
  const windowBase = bytes[At.pairBase];
  const hasPairs = pairs.count > 0;
  const splitName = `${dtype.name} as ${split.join(' + ')}`;
  if (hasPairs && (hasDirect || !allowsPairs(dtype, split)))
    refuse('header.pairs.tables', At.pairTables, `${splitName} has no pairs${hasDirect ? ' beside DIRECT' : ''}`);
  if (hasPairs && planes[0].count > 1)
    refuse('header.plane[0].tables', At.plane + 1, 'beside pairs, plane 0 has one table at most');
  const hasWindows = hasDirect || (hasPairs && !isNibbles(split));
  if (windowBase > (hasWindows ? MAX_START : 0))
    refuse('header.pairs.base', At.pairBase, `${windowBase} is out of range`);

  if (flags > 127) refuse('header.flags', At.flags, `unknown flags in ${flags}`);
  if (hasBase && flags !== Flag.base) refuse('header.flags', At.flags, `flags beside a base in ${flags}`);
  if (hasBase && (hasPairs || split.some((bits) => bits !== 8)))
    refuse('header.flags', At.flags, `${splitName}${hasPairs ? ' with pairs' : ''} is never coded against a base`);
  if (hasDirect && !allowsDirect(dtype, split)) refuse('header.flags', At.flags, `${splitName} is never DIRECT`);
  if (flags & Flag.columnOffsets && !hasWindows) refuse('header.flags', At.flags, 'column offsets without windows');
  if (flags & Flag.columnValues && !allowsColumnValues(dtype, split))
    refuse('header.flags', At.flags, `${splitName} has no column values`);
  if (flags & Flag.wideValues && (!(flags & Flag.columnValues) || dtype.kind !== 'float'))
    refuse('header.flags', At.flags, 'values of 16 bits without values of floats');
  const hasSelectors = (flags & (Flag.rowSelectors | Flag.columnSelectors)) !== 0;
  if (!hasBase && hasSelectors !== classes > 1)
    refuse('header.flags', At.flags, `selectors ${hasSelectors ? '' : 'missing '}for ${classes} classes`);
  const sets = [...planes, pairs];
  if (classes > 1 && sets.every(({ count }) => count !== classes))
    refuse('header.classes', At.classes, 'classes that no plane uses');
  const slots = sets.reduce((sum, { count, probabilityBits }) => sum + count * 2 ** probabilityBits, 0);
  if (slots > MAX_SLOTS)
    refuse('header.plane[0].probabilityBits', At.plane + 2, `${slots} slots in all, more than ${MAX_SLOTS}`);
  for (const at of [At.reserved, At.pairReserved]) if (bytes[at] !== 0) refuse('header.reserved', at, 'not zero');

  const dimensions = bytes[At.dimensions];
  const tablesBytes = view.getUint32(At.tablesBytes, true);
  const dataBytes = readLength(view, At.dataBytes, 'header.dataBytes');
  const matrix = matrixView(words, columns, 2 ** tileRowsLog2);
  const columnsEach: 1 | 2 = hasPairs ? 2 : 1;
  const parts = partsOf({ dtype, dimensions, tablesBytes, matrix, planes: split.length, classes, flags, columnsEach });
  return {
    ...{ dtype, dimensions, matrix, split, classes, flags, planes, pairs },
    ...{ hasDirect, hasBase, windowBase, columnsEach, dataBytes, parts },
  };
}

/**
 * How long a stream and its tensor are, from its first 64 bytes.
 *
 * @param bytes the fixed part, or more
 * @returns bytes of the front, and of Data, together those of the stream; and of the tensor; and whether that is coded against a base
 * @throws FormatError where the fixed part is not valid
 */
export function streamLengths(bytes: Uint8Array) {
  const { dtype, matrix, flags, parts, dataBytes } = readFixed(bytes);
  const againstBase = (flags & Flag.base) !== 0;
  return { front: parts.end, data: dataBytes, tensor: (matrix.words * dtype.wordBits) / 8, againstBase };
}

function requireZeros(front: Uint8Array, from: number, to: number, field: string): void {
  for (let at = from; at < to; at++) if (front[at] !== 0) refuse(field, at, 'not zero');
}

/**
 * Reads and checks a front. Before it is known to be there nothing is allocated, and then a small multiple of it.
 *
 * @param bytes the stream, or at least its front
 * @throws FormatError where the front is not valid
 */
export function readFront(bytes: Uint8Array): Front {
  const fixed = readFixed(bytes);
  const { dtype, matrix, split, classes, flags, hasDirect, hasBase, windowBase, columnsEach, parts } = fixed;
  if (bytes.length < parts.end)
    refuse('header', bytes.length, `the stream ends here, and its front needs ${parts.end} bytes`);
  const front = bytes.subarray(0, parts.end);
  const view = new DataView(front.buffer, front.byteOffset, front.length);
  if (view.getUint32(At.frontCrc, true) !== crc32(front.subarray(FIXED_BYTES)))
    refuse('header.frontCrc', At.frontCrc, 'what follows the fixed part does not have this CRC-32');

  const shape = Array.from({ length: fixed.dimensions }, (_, axis) =>
    readLength(view, FIXED_BYTES + 8 * axis, `header.dimension[${axis}]`),
  );
  if (wordCount(dtype, shape) !== matrix.words)
    refuse('header.words', At.words, `${matrix.words} words where the shape is [${shape}]`);

  const bits = new BitReader(front.subarray(parts.tables, parts.columnOffsets));
  const readTables = ({ count, probabilityBits }: TableCount, symbolBits: number, name: string) => {
    const read = Array.from({ length: count }, (_, index) => {
      const frequencies = readFrequencies(bits, symbolBits, probabilityBits);
      if (typeof frequencies === 'string') refuse(`tables.${name}[${index}]`, parts.tables, frequencies);
      return tableOf(frequencies);
    });
    return count > 0 ? { symbolBits, probabilityBits, tables: read } : undefined;
  };
  const planeTables = fixed.planes.map((set, p) => readTables(set, split[p], `plane[${p}]`));
  const pairs = readTables(fixed.pairs, PAIR_BITS, 'pairs');
  if (!bits.atEnd()) refuse('header.tablesBytes', At.tablesBytes, 'the tables end earlier');

  /** A bit string of `count` numbers of `each` bits, between two parts of the front, if there is this flag. */
  const readNumbers = (field: string, flag: number, from: number, to: number, count: number, each: number) => {
    if ((flags & flag) === 0) return undefined;
    const reader = new BitReader(front.subarray(from, to));
    const numbers = Uint16Array.from({ length: count }, () => reader.read(each));
    if (!reader.atEnd()) refuse(field, to - 1, 'spare bits are not zero');
    return numbers;
  };
  const { columnOffsets, columnValues, rowSelectors, columnSelectors } = parts;
  const classBits = Math.log2(classes);
  const selected = Math.ceil(matrix.columns / columnsEach);
  const offsets = readNumbers('columnOffsets', Flag.columnOffsets, columnOffsets, columnValues, matrix.columns, 4);
  const valueBits = columnValueBits(dtype, (flags & Flag.wideValues) !== 0);
  const values = readNumbers('columnValues', Flag.columnValues, columnValues, rowSelectors, matrix.columns, valueBits);
  const rows = readNumbers('rowSelectors', Flag.rowSelectors, rowSelectors, columnSelectors, matrix.rows, classBits);
  const columns = readNumbers(
    'columnSelectors',
    Flag.columnSelectors,
    columnSelectors,
    parts.base,
    selected,
    classBits,
  );
  const firstLevels = hasBase ? [...front.subarray(parts.base + BASE_CRC_BYTES, parts.padding)] : [];
  const notRising = firstLevels.findIndex((level, c) => level <= (firstLevels[c - 1] ?? 0));
  if (notRising >= 0) refuse('base.firstLevels', parts.base + BASE_CRC_BYTES + notRising, 'not rising');
  requireZeros(front, parts.padding, parts.metadata, 'header.padding');
  const tooHigh = offsets?.findIndex((offset) => windowBase + offset > MAX_START) ?? -1;
  if (tooHigh >= 0)
    refuse('columnOffsets', parts.columnOffsets + (tooHigh >> 1), `column ${tooHigh} begins above ${MAX_START}`);

  const hasTables = planeTables.map((set) => set !== undefined);
  const kinds = { dtype, split, matrix, hasTables, hasPairs: pairs !== undefined, hasDirect, hasBase };
  const { tiles, dataBytes } = readMetadata(view, parts.metadata, kinds);
  if (dataBytes !== fixed.dataBytes)
    refuse('header.dataBytes', At.dataBytes, `${fixed.dataBytes} where the tiles need ${dataBytes}`);
  const metadataEnd = parts.metadata + matrix.tileCount * metadataBytes(split.length);
  requireZeros(front, metadataEnd, parts.end, 'metadata.padding');
  return {
    ...{ dtype, shape, matrix, split, tables: planeTables, pairs, hasDirect },
    windows: { base: windowBase, offsets },
    columnValues: valueBits === 1 ? values?.map((sign) => sign << 15) : values,
    base: hasBase ? { crc: view.getUint32(parts.base, true), firstLevels } : undefined,
    selectors: { classes, rows, columns, columnsEach },
    ...{ tiles, frontBytes: parts.end, dataBytes, baseAt: parts.base },
  };
}
