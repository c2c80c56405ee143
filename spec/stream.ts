// A stream: [Header][TileMetadata x N][Data] (FORMAT.md, sections 1 and 4). Everything before Data is the *front*.

import { BitReader, BitWriter } from './bits.ts';
import { crc32 } from './checksums.ts';
import { allowsPairs, DTYPES, isNibbles, type Split, wordCount } from './elements.ts';
import { FormatError } from './errors.ts';
import {
  MAX_SLOTS,
  MIN_PROBABILITY_BITS,
  maxProbabilityBits,
  readTable,
  type TableSet,
  writeTable,
} from './frequency.ts';
import { type Layout, layOut, MAX_COLUMNS, tileAt } from './layout.ts';
import { MAX_START, type PairCoding } from './pairs.ts';
import { PREDICTORS } from './prediction.ts';
import { ALIGNMENT, align, type Coding, isCoded, Mode, sectionsOf, type TileMetadata, type TilePlane } from './tile.ts';

/** "CLLM". */
export const MAGIC = 0x4d4c4c43;
export const VERSION = 1;
/** Bytes of the header's fixed part. */
export const FIXED_BYTES = 64;

const MAX_PLANES = 4;
/** Symbols of a PAIRS table have this many bits. */
const PAIR_BITS = 8;

/** Offsets in the fixed part. */
const At = {
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
  /** 4 bytes a plane: bits, tables, probability bits, zero. */
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

const Flag = { rowSelectors: 1, columnSelectors: 2, columnOffsets: 4 } as const;

/** A stream whose front has been read and checked. */
export interface Stream {
  readonly coding: Coding;
  readonly frontBytes: number;
  readonly dataBytes: number;
  readonly tileMetadata: (index: number) => TileMetadata;
}

/** Bytes of one tile's metadata. */
export function metadataBytes(planes: number): number {
  return 8 + 4 * planes;
}

/** Where the parts of the front begin. Sizes follow from the fixed part alone. */
function frontParts(fixed: {
  dimensions: number;
  tablesBytes: number;
  columns: number;
  rows: number;
  tileCount: number;
  planes: number;
  classes: number;
  hasPairs: boolean;
  flags: number;
}): {
  tables: number;
  columnOffsets: number;
  rowSelectors: number;
  columnSelectors: number;
  metadata: number;
  end: number;
} {
  const selectorBits = Math.log2(fixed.classes);
  const selectorColumns = fixed.hasPairs ? Math.ceil(fixed.columns / 2) : fixed.columns;
  const bitBytes = (flag: number, count: number, bits: number): number =>
    fixed.flags & flag ? Math.ceil((count * bits) / 8) : 0;
  const tables = FIXED_BYTES + 8 * fixed.dimensions;
  const columnOffsets = tables + fixed.tablesBytes;
  const rowSelectors = columnOffsets + bitBytes(Flag.columnOffsets, fixed.columns, 4);
  const columnSelectors = rowSelectors + bitBytes(Flag.rowSelectors, fixed.rows, selectorBits);
  const metadata = align(columnSelectors + bitBytes(Flag.columnSelectors, selectorColumns, selectorBits));
  const end = align(metadata + fixed.tileCount * metadataBytes(fixed.planes));
  return { tables, columnOffsets, rowSelectors, columnSelectors, metadata, end };
}

// ---------------------------------------------------------------------------------------------------- writing

function packBits(values: Uint8Array, bits: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil((values.length * bits) / 8));
  const perByte = 8 / bits;
  for (let i = 0; i < values.length; i++) bytes[Math.floor(i / perByte)] |= values[i] << ((i % perByte) * bits);
  return bytes;
}

function writeTables(coding: Coding): Uint8Array {
  const writer = new BitWriter();
  for (const tables of [...coding.tables, coding.pairs?.tables])
    for (const frequencies of tables?.frequencies ?? [])
      writeTable(writer, (tables as TableSet).symbolBits, frequencies);
  return writer.finish();
}

/**
 * Everything before Data.
 *
 * @param metadata of all tiles, in order, with offsets in bytes from the start of Data
 */
export function writeFront(coding: Coding, metadata: readonly TileMetadata[], dataBytes: number): Uint8Array {
  const { layout, split, pairs, classes } = coding;
  const tables = writeTables(coding);
  const flags =
    (coding.rowSelectors ? Flag.rowSelectors : 0) |
    (coding.columnSelectors ? Flag.columnSelectors : 0) |
    (pairs?.offsets ? Flag.columnOffsets : 0);
  const parts = frontParts({
    dimensions: layout.shape.length,
    tablesBytes: tables.length,
    columns: layout.columns,
    rows: layout.rows,
    tileCount: layout.tileCount,
    planes: split.length,
    classes,
    hasPairs: pairs !== undefined,
    flags,
  });
  const front = new Uint8Array(parts.end);
  const view = new DataView(front.buffer);
  view.setUint32(At.magic, MAGIC, true);
  front[At.version] = VERSION;
  front[At.dtype] = layout.dtype.code;
  front[At.dimensions] = layout.shape.length;
  front[At.tileRowsLog2] = Math.log2(layout.tileRows);
  view.setBigUint64(At.words, BigInt(layout.words), true);
  view.setUint32(At.columns, layout.columns, true);
  front[At.planes] = split.length;
  front[At.classes] = classes;
  front[At.flags] = flags;
  split.forEach((bits, p) => {
    front[At.plane + 4 * p] = bits;
    front[At.plane + 4 * p + 1] = coding.tables[p]?.frequencies.length ?? 0;
    front[At.plane + 4 * p + 2] = coding.tables[p]?.probabilityBits ?? 0;
  });
  if (pairs !== undefined) {
    front[At.pairTables] = pairs.tables.frequencies.length;
    front[At.pairProbabilityBits] = pairs.tables.probabilityBits;
    front[At.pairBase] = pairs.base;
  }
  view.setUint32(At.tablesBytes, tables.length, true);
  view.setBigUint64(At.dataBytes, BigInt(dataBytes), true);
  layout.shape.forEach((dimension, axis) => {
    view.setBigUint64(FIXED_BYTES + 8 * axis, BigInt(dimension), true);
  });
  front.set(tables, parts.tables);
  const selectorBits = Math.log2(classes);
  if (pairs?.offsets) front.set(packBits(pairs.offsets, 4), parts.columnOffsets);
  if (coding.rowSelectors) front.set(packBits(coding.rowSelectors, selectorBits), parts.rowSelectors);
  if (coding.columnSelectors) front.set(packBits(coding.columnSelectors, selectorBits), parts.columnSelectors);
  metadata.forEach((tile, index) => {
    const at = parts.metadata + index * metadataBytes(split.length);
    view.setUint32(at, tile.offset / ALIGNMENT, true);
    view.setUint32(at + 4, tile.check, true);
    tile.planes.forEach(({ value, mode, predictor, outliers }, p) => {
      view.setUint32(at + 8 + 4 * p, value | (mode << 16) | (predictor << 20) | (outliers << 24), true);
    });
  });
  seal(front);
  return front;
}

/** Writes both CRCs of a front. */
export function seal(front: Uint8Array): void {
  const view = new DataView(front.buffer, front.byteOffset, front.byteLength);
  view.setUint32(At.frontCrc, crc32(front.subarray(FIXED_BYTES)), true);
  view.setUint32(At.fixedCrc, crc32(front.subarray(0, At.fixedCrc)), true);
}

// ---------------------------------------------------------------------------------------------------- reading

interface Fixed {
  layout: Omit<Layout, 'shape'>;
  split: Split;
  dimensions: number;
  classes: number;
  flags: number;
  /** Tables and probability bits of each plane. */
  planes: readonly { tables: number; probabilityBits: number }[];
  pairs: { tables: number; probabilityBits: number; base: number } | undefined;
  tablesBytes: number;
  dataBytes: number;
  parts: ReturnType<typeof frontParts>;
}

function readSafeInteger(view: DataView, at: number, field: string): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(2 ** 50)) throw new FormatError(field, at, `${value} is more than 2^50`);
  return Number(value);
}

/** The number of classes' tables a plane or PAIRS may have: none, one, or one for each class. */
function checkTables(
  tables: number,
  probabilityBits: number,
  bits: number,
  classes: number,
  field: string,
  at: number,
): void {
  if (tables !== 0 && tables !== 1 && tables !== classes)
    throw new FormatError(`${field}.tables`, at, `${tables} tables where there are ${classes} classes`);
  const inRange = probabilityBits >= MIN_PROBABILITY_BITS && probabilityBits <= maxProbabilityBits(bits);
  if (tables === 0 ? probabilityBits !== 0 : !inRange)
    throw new FormatError(
      `${field}.probabilityBits`,
      at + 1,
      `${probabilityBits} for ${tables} tables of ${bits}-bit symbols`,
    );
}

/** Reads and checks the fixed part. */
function readFixed(bytes: Uint8Array): Fixed {
  if (bytes.length < FIXED_BYTES)
    throw new FormatError('header', bytes.length, `the stream ends before byte ${FIXED_BYTES}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, FIXED_BYTES);
  const refuse = (field: string, at: number, problem: string): never => {
    throw new FormatError(field, at, problem);
  };
  if (view.getUint32(At.magic, true) !== MAGIC) refuse('header.magic', At.magic, 'not a CodecLLM stream');
  if (bytes[At.version] !== VERSION)
    refuse('header.version', At.version, `version ${bytes[At.version]}, not ${VERSION}`);
  if (view.getUint32(At.fixedCrc, true) !== crc32(bytes.subarray(0, At.fixedCrc)))
    refuse('header.fixedCrc', At.fixedCrc, 'the header does not have this CRC-32');
  const dtype = DTYPES[bytes[At.dtype]] ?? refuse('header.dtype', At.dtype, `no dtype has the code ${bytes[At.dtype]}`);
  const tileRowsLog2 = bytes[At.tileRowsLog2];
  if (tileRowsLog2 < 3 || tileRowsLog2 > 8)
    refuse('header.tileRowsLog2', At.tileRowsLog2, `${tileRowsLog2} is not from 3 to 8`);
  const words = readSafeInteger(view, At.words, 'header.words');
  const columns = view.getUint32(At.columns, true);
  if (columns < 1 || columns > MAX_COLUMNS)
    refuse('header.columns', At.columns, `${columns} is not from 1 to ${MAX_COLUMNS}`);
  const layout = layOut(DTYPES[1], [words], columns, 2 ** tileRowsLog2);

  const planeCount = bytes[At.planes];
  const split =
    dtype.splits.find((candidate) => candidate.every((bits, p) => bits === bytes[At.plane + 4 * p])) ??
    refuse('header.plane[0].bits', At.plane, `${dtype.name} is not split so`);
  if (planeCount !== split.length)
    refuse('header.planes', At.planes, `${planeCount} planes where ${dtype.name} has ${split.length}`);
  const classes = bytes[At.classes];
  if (classes !== 1 && classes !== 2 && classes !== 4)
    refuse('header.classes', At.classes, `${classes} is not 1, 2 or 4`);
  const planes = Array.from({ length: MAX_PLANES }, (_, p) => {
    const at = At.plane + 4 * p;
    const [bits, tables, probabilityBits, zero] = bytes.subarray(at, at + 4);
    if (p >= split.length) {
      if (bits || tables || probabilityBits || zero)
        refuse(`header.plane[${p}]`, at, 'not zero, and there is no such plane');
    } else {
      checkTables(tables, probabilityBits, bits, classes, `header.plane[${p}]`, at + 1);
      if (zero !== 0) refuse(`header.plane[${p}].reserved`, at + 3, 'not zero');
    }
    return { tables, probabilityBits };
  }).slice(0, split.length);
  const pairTables = bytes[At.pairTables];
  const pairProbabilityBits = bytes[At.pairProbabilityBits];
  const base = bytes[At.pairBase];
  checkTables(pairTables, pairProbabilityBits, PAIR_BITS, classes, 'header.pairs', At.pairTables);
  if (pairTables > 0 && !allowsPairs(dtype, split))
    refuse('header.pairs.tables', At.pairTables, `${dtype.name} as ${split.join(' + ')} has no pairs`);
  if (pairTables > 0 && planes[0].tables > 1)
    refuse('header.plane[0].tables', At.plane + 1, 'beside pairs, plane 0 has one table at most');
  const hasWindows = pairTables > 0 && !isNibbles(split);
  if (hasWindows ? base > MAX_START : base !== 0) refuse('header.pairs.base', At.pairBase, `${base} is out of range`);
  const flags = bytes[At.flags];
  if (flags > 7) refuse('header.flags', At.flags, `unknown flags in ${flags}`);
  if ((flags & Flag.columnOffsets) !== 0 && !hasWindows)
    refuse('header.flags', At.flags, 'column offsets without windows');
  const hasSelectors = (flags & (Flag.rowSelectors | Flag.columnSelectors)) !== 0;
  if (hasSelectors !== classes > 1)
    refuse('header.flags', At.flags, `selectors ${hasSelectors ? '' : 'missing '}for ${classes} classes`);
  if (classes > 1 && pairTables !== classes && planes.every(({ tables }) => tables !== classes))
    refuse('header.classes', At.classes, 'classes that no plane uses');
  const slots = [...planes, { tables: pairTables, probabilityBits: pairProbabilityBits }].reduce(
    (sum, set) => sum + set.tables * 2 ** set.probabilityBits,
    0,
  );
  if (slots > MAX_SLOTS)
    refuse('header.plane[0].probabilityBits', At.plane + 2, `${slots} slots in all, more than ${MAX_SLOTS}`);
  for (const at of [At.reserved, At.pairReserved]) if (bytes[at] !== 0) refuse('header.reserved', at, 'not zero');
  const tablesBytes = view.getUint32(At.tablesBytes, true);
  const dataBytes = readSafeInteger(view, At.dataBytes, 'header.dataBytes');
  const parts = frontParts({
    dimensions: bytes[At.dimensions],
    tablesBytes,
    columns,
    rows: layout.rows,
    tileCount: layout.tileCount,
    planes: split.length,
    classes,
    hasPairs: pairTables > 0,
    flags,
  });
  return {
    layout: { ...layout, dtype },
    split,
    dimensions: bytes[At.dimensions],
    classes,
    flags,
    planes,
    pairs: pairTables > 0 ? { tables: pairTables, probabilityBits: pairProbabilityBits, base } : undefined,
    tablesBytes,
    dataBytes,
    parts,
  };
}

/**
 * What a stream's first 64 bytes say of its size.
 *
 * @param bytes at least the fixed part
 * @returns bytes before Data, and of Data; together the length of the stream
 * @throws FormatError
 */
export function streamLengths(bytes: Uint8Array): { front: number; data: number } {
  const fixed = readFixed(bytes);
  return { front: fixed.parts.end, data: fixed.dataBytes };
}

/**
 * Reads and checks everything before Data, all tile metadata included. Nothing is allocated before it is known that
 * the front is there; then a small multiple of it.
 *
 * @param bytes the stream, or at least its front
 * @throws FormatError
 */
export function readFront(bytes: Uint8Array): Stream {
  const fixed = readFixed(bytes);
  const { parts, split, classes, flags } = fixed;
  if (bytes.length < parts.end)
    throw new FormatError('header', bytes.length, `the stream ends here, and its front needs ${parts.end} bytes`);
  const front = bytes.subarray(0, parts.end);
  const view = new DataView(front.buffer, front.byteOffset, front.byteLength);
  if (view.getUint32(At.frontCrc, true) !== crc32(front.subarray(FIXED_BYTES)))
    throw new FormatError('header.frontCrc', At.frontCrc, 'what follows the header does not have this CRC-32');

  const shape = Array.from({ length: fixed.dimensions }, (_, axis) =>
    readSafeInteger(view, FIXED_BYTES + 8 * axis, `header.dimension[${axis}]`),
  );
  if (wordCount(fixed.layout.dtype, shape) !== fixed.layout.words)
    throw new FormatError('header.words', At.words, `${fixed.layout.words} words where the shape is [${shape}]`);
  const layout: Layout = { ...fixed.layout, shape };

  const reader = new BitReader(front.subarray(parts.tables, parts.columnOffsets));
  const readTables = (
    count: number,
    probabilityBits: number,
    symbolBits: number,
    name: string,
  ): TableSet | undefined => {
    if (count === 0) return undefined;
    const frequencies = Array.from({ length: count }, (_, index) => {
      const table = readTable(reader, symbolBits, probabilityBits);
      if (typeof table === 'string') throw new FormatError(`tables.${name}[${index}]`, parts.tables, table);
      return table;
    });
    return { symbolBits, probabilityBits, frequencies };
  };
  const tables = fixed.planes.map((set, p) => readTables(set.tables, set.probabilityBits, split[p], `plane[${p}]`));
  const pairTables = fixed.pairs && readTables(fixed.pairs.tables, fixed.pairs.probabilityBits, PAIR_BITS, 'pairs');
  if (!reader.atEnd) throw new FormatError('header.tablesBytes', At.tablesBytes, 'the tables end earlier');

  const unpack = (
    name: string,
    from: number,
    to: number,
    flag: number,
    count: number,
    bits: number,
  ): Uint8Array | undefined => {
    if ((flags & flag) === 0) return undefined;
    const values = new Uint8Array(count);
    const perByte = 8 / bits;
    const mask = 2 ** bits - 1;
    for (let i = 0; i < count; i++)
      values[i] = (front[from + Math.floor(i / perByte)] >>> ((i % perByte) * bits)) & mask;
    const spare = (count * bits) % 8;
    if (spare > 0 && front[to - 1] >>> spare !== 0) throw new FormatError(name, to - 1, 'spare bits are not zero');
    return values;
  };
  const selectorBits = Math.log2(classes);
  const selectorColumns = fixed.pairs ? Math.ceil(layout.columns / 2) : layout.columns;
  const offsets = unpack(
    'columnOffsets',
    parts.columnOffsets,
    parts.rowSelectors,
    Flag.columnOffsets,
    layout.columns,
    4,
  );
  const rowSelectors = unpack(
    'rowSelectors',
    parts.rowSelectors,
    parts.columnSelectors,
    Flag.rowSelectors,
    layout.rows,
    selectorBits,
  );
  const selectorsEnd =
    parts.columnSelectors + (flags & Flag.columnSelectors ? Math.ceil((selectorColumns * selectorBits) / 8) : 0);
  const columnSelectors = unpack(
    'columnSelectors',
    parts.columnSelectors,
    selectorsEnd,
    Flag.columnSelectors,
    selectorColumns,
    selectorBits,
  );
  for (let at = selectorsEnd; at < parts.metadata; at++)
    if (front[at] !== 0) throw new FormatError('header.padding', at, 'not zero');
  let pairs: PairCoding | undefined;
  if (fixed.pairs !== undefined) {
    const { base } = fixed.pairs;
    const tooHigh = offsets?.findIndex((offset) => base + offset > MAX_START) ?? -1;
    if (tooHigh >= 0)
      throw new FormatError(
        'columnOffsets',
        parts.columnOffsets + (tooHigh >> 1),
        `column ${tooHigh} begins above ${MAX_START}`,
      );
    pairs = { tables: pairTables as TableSet, base, offsets };
  }

  const coding: Coding = { layout, split, tables, pairs, classes, rowSelectors, columnSelectors };
  const tileMetadata = (index: number): TileMetadata =>
    readTileMetadata(view, parts.metadata + index * metadataBytes(split.length), split.length);
  checkMetadata(coding, tileMetadata, parts.metadata, fixed.dataBytes);
  for (let at = parts.metadata + layout.tileCount * metadataBytes(split.length); at < parts.end; at++)
    if (front[at] !== 0) throw new FormatError('metadata.padding', at, 'not zero');
  return { coding, frontBytes: parts.end, dataBytes: fixed.dataBytes, tileMetadata };
}

function readTileMetadata(view: DataView, at: number, planeCount: number): TileMetadata {
  const planes: TilePlane[] = [];
  for (let p = 0; p < planeCount; p++) {
    const entry = view.getUint32(at + 8 + 4 * p, true);
    planes.push({
      value: entry & 0xffff,
      mode: (entry >>> 16) & 15,
      predictor: (entry >>> 20) & 15,
      outliers: entry >>> 24,
    });
  }
  return { offset: view.getUint32(at, true) * ALIGNMENT, check: view.getUint32(at + 4, true), planes };
}

/** Checks every tile's metadata: what each plane may be, and that tiles fill Data in order and without gaps. */
function checkMetadata(
  coding: Coding,
  tileMetadata: (index: number) => TileMetadata,
  start: number,
  dataBytes: number,
): void {
  const { layout, split, tables, pairs } = coding;
  let offset = 0;
  for (let index = 0; index < layout.tileCount; index++) {
    const at = start + index * metadataBytes(split.length);
    const metadata = tileMetadata(index);
    metadata.planes.forEach(({ mode, predictor, value, outliers }, p) => {
      const refuse = (field: string, problem: string): never => {
        throw new FormatError(`tile[${index}].plane[${p}].${field}`, at + 8 + 4 * p, problem);
      };
      if (mode > Mode.PAIRS) refuse('mode', `${mode} is no mode`);
      if (mode === Mode.CONST && value >= 2 ** split[p]) refuse('value', `${value} is no symbol of ${split[p]} bits`);
      if (mode === Mode.RAW && value !== 0) refuse('value', 'not zero in a RAW plane');
      if (mode === Mode.RANS && tables[p] === undefined) refuse('mode', 'RANS without a table');
      if (mode === Mode.PAIRS && (p > 0 || pairs === undefined)) refuse('mode', 'PAIRS without pairs');
      if (predictor >= PREDICTORS.length) refuse('predictor', `${predictor} is no predictor`);
      if (predictor > 0 && (mode !== Mode.RANS || split[p] !== 8))
        refuse('predictor', 'only RANS planes of 8 bits are predicted');
      if (outliers > 0 && (p > 0 || !isCoded(mode) || predictor > 0))
        refuse('outliers', 'only plane 0 has them, in PAIRS or in RANS without prediction');
    });
    if (metadata.offset !== offset)
      throw new FormatError(`tile[${index}].offset`, at, `${metadata.offset} where the tiles before end at ${offset}`);
    offset += sectionsOf(coding, tileAt(layout, index), metadata.planes).length;
  }
  if (offset !== dataBytes)
    throw new FormatError('header.dataBytes', At.dataBytes, `${dataBytes} where the tiles need ${offset}`);
}
