// What the invalid vectors are: valid ones, each damaged in one way. Where `seal` is true CRCs are made right again, so
// that only the damage itself can be noticed.

import { readFront } from '../spec/decoder/1-front.ts';
import { tileAt } from '../spec/decoder/2-matrix.ts';
import { metadataBytes, type Sections, sectionsOf } from '../spec/decoder/4-metadata.ts';
import { placesOf } from '../spec/decoder/6.5-direct.ts';
import { tileCheck } from '../spec/decoder/8-checks.ts';
import { seal as sealFront } from '../spec/encoder/front.ts';
import { decodeTensor, FormatError } from '../spec/index.ts';
import type { Vector } from './vectors.ts';

export interface InvalidVector {
  readonly id: string;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly stream: Uint8Array;
  /** The field and the byte that a decoder's error names. */
  readonly error: { readonly field: string; readonly offset: number };
}

/** Changes a copy of a stream, in place or by returning another. */
type Damage = (stream: Uint8Array, view: DataView) => Uint8Array | void;

interface InvalidCase {
  readonly id: string;
  readonly comment: string;
  /** The valid vector that is damaged. */
  readonly of: string;
  readonly damage: Damage;
  /** The field in which a decoder must find it. */
  readonly field: string;
  readonly seal: boolean;
}

const MODULUS = 2 ** 32 - 1;

function metadataStart(stream: Uint8Array): number {
  const { tiles, split, frontBytes } = readFront(stream);
  const length = tiles.length * metadataBytes(split.length);
  return frontBytes - Math.ceil(length / 16) * 16;
}

function sectionsOfFirstTile(stream: Uint8Array): Sections & { at: number } {
  const { dtype, split, matrix, tiles, frontBytes } = readFront(stream);
  return { ...sectionsOf(dtype, split, tileAt(matrix, 0), tiles[0].planes, false), at: frontBytes };
}

const bytes =
  (at: number, ...values: number[]): Damage =>
  (stream) =>
    stream.set(values, at);

const u32 =
  (at: number, value: number): Damage =>
  (_, view) =>
    view.setUint32(at, value, true);

const u64 =
  (at: number, value: bigint): Damage =>
  (_, view) =>
    view.setBigUint64(at, value, true);

/** Flips bits of the byte that `at` finds. */
const flip =
  (at: (stream: Uint8Array, view: DataView) => number, bits: number): Damage =>
  (stream, view) => {
    stream[at(stream, view)] ^= bits;
  };

/** Changes a u32 of the metadata: of tile `tile`, at byte `at` of its entry. */
const metadata =
  (tile: number, at: number, change: (old: number) => number): Damage =>
  (stream, view) => {
    const { split } = readFront(stream);
    const where = metadataStart(stream) + tile * metadataBytes(split.length) + at;
    view.setUint32(where, change(view.getUint32(where, true)), true);
  };

/** Flips a bit in a byte of a section; -2 is its last but one. */
const flipIn =
  (kind: 'raw' | 'states' | 'units', plane: number, byte: number, bit: number): Damage =>
  (stream) => {
    const { at, ...sections } = sectionsOfFirstTile(stream);
    const section = sections[kind][plane];
    if (section !== undefined) stream[at + section.start + (byte < 0 ? section.length + byte : byte)] ^= bit;
  };

/** Changes bits of the code, or of the symbol of plane 1, of an element of tile 0's blocks, which the tile need not have. */
const flipPlace =
  (row: number, column: number, code: number, symbol: number): Damage =>
  (stream) => {
    const { matrix } = readFront(stream);
    const { at, blocks } = sectionsOfFirstTile(stream);
    for (const place of placesOf(tileAt(matrix, 0)))
      if (place.row === row && place.column === column) {
        stream[at + blocks.start + place.codeByte] ^= code << place.codeShift;
        stream[at + blocks.start + place.symbolByte] ^= symbol;
      }
  };

/** Changes outlier words of tile 0, and its check with them, so that the check does not notice. */
const outliers =
  (change: (entries: Uint32Array) => void): Damage =>
  (stream, view) => {
    const { dtype, matrix } = readFront(stream);
    const sections = sectionsOfFirstTile(stream);
    const at = sections.at + sections.outliers.start;
    const entries = Uint32Array.from({ length: sections.outliers.length / 4 }, (_, e) =>
      view.getUint32(at + 4 * e, true),
    );
    const { height } = tileAt(matrix, 0);
    // What entries add to a check, whatever the tile's rows do.
    const part = (): number => tileCheck(new Uint32Array(0), { height, width: 0 }, dtype.wordBits, entries);
    const before = part();
    change(entries);
    entries.forEach((entry, e) => {
      view.setUint32(at + 4 * e, entry, true);
    });
    const checkAt = metadataStart(stream) + 4;
    view.setUint32(checkAt, (view.getUint32(checkAt, true) + MODULUS - before + part()) % MODULUS, true);
  };

/** Lengthens the words of a tile's only coded plane by 8 zeros, and everything that counts them. */
const moreWords: Damage = (stream, view) => {
  metadata(0, 8, (old) => old + 8)(stream, view);
  view.setBigUint64(48, view.getBigUint64(48, true) + 16n, true);
  return Uint8Array.from([...stream, ...new Uint8Array(16)]);
};

const I8 = 'mode-I8-none';
const I8_RAW = 'mode-I8-raw';
const TEN = 'rans-then-raw';
const PAIRS = 'mode-BF16-8-8-pairs';
const NIBBLES = 'mode-I8-4-4-pairs';
const TILES = 'tile-rows-32';
const DIRECT = 'mode-BF16-8-8-direct';

/** [id, comment, damaged vector, damage, field, seal] */
const ROWS: readonly [string, string, string, Damage, string, boolean][] = [
  ['nothing', 'No bytes at all', I8, () => new Uint8Array(0), 'header', false],
  ['short-fixed', 'Ends inside the fixed part', I8, (s) => s.slice(0, 63), 'header', false],
  ['short-shape', 'Ends inside the dimensions', I8, (s) => s.slice(0, 72), 'header', false],
  ['short-tables', 'Ends inside the frequency tables', I8, (s) => s.slice(0, 90), 'header', false],
  [
    'short-offsets',
    'Ends inside the column offsets',
    'pairs-offsets',
    (s) => s.slice(0, metadataStart(s) - 17),
    'header',
    false,
  ],
  ['short-metadata', 'Ends inside the tile metadata', I8, (s) => s.slice(0, metadataStart(s) + 5), 'header', false],
  ['short-data', 'Ends inside Data', I8, (s) => s.slice(0, -1), 'data', false],
  ['no-data', 'Ends before Data', I8, (s) => s.slice(0, readFront(s).frontBytes), 'data', false],
  ['long-data', 'A byte after Data', I8, (s) => Uint8Array.from([...s, 0]), 'data', false],
  ['magic', 'Another magic number', I8, bytes(0, 0x44), 'header.magic', true],
  ['version', 'A version that does not exist yet', I8, bytes(4, 2), 'header.version', true],
  ['fixed-crc', 'A damaged fixed part', I8, bytes(16, 30), 'header.fixedCrc', false],
  ['front-crc', 'A damaged frequency table', I8, flip(() => 80, 1), 'header.frontCrc', false],
  ['dtype', 'A dtype code that does not exist', I8, bytes(5, 20), 'header.dtype', true],
  ['tile-rows-4', 'H = 4', I8, bytes(7, 2), 'header.tileRowsLog2', true],
  ['tile-rows-512', 'H = 512', I8, bytes(7, 9), 'header.tileRowsLog2', true],
  ['words-huge', 'More than 2^50 words', I8, u64(8, 2n ** 63n), 'header.words', true],
  ['words-many', 'A front of terabytes: refused before anything is allocated', I8, u64(8, 2n ** 49n), 'header', true],
  ['words-shape', 'A shape that has another number of words', I8, u64(64, 18n), 'header.words', true],
  ['dimension-huge', 'A dimension above 2^50', I8, u64(72, 2n ** 60n), 'header.dimension[1]', true],
  ['columns-none', 'No columns', I8, u32(16, 0), 'header.columns', true],
  ['columns-many', 'More than 2^18 columns', I8, u32(16, 2 ** 18 + 1), 'header.columns', true],
  ['planes-two', 'Two planes in a dtype of one', I8, bytes(20, 2), 'header.planes', true],
  ['split', 'BF16 as 9 + 7', TEN, bytes(24, 9), 'header.plane[0].bits', true],
  ['plane-missing', 'Bits of a plane that does not exist', I8, bytes(28, 8), 'header.plane[1]', true],
  ['classes-three', 'Three classes', I8, bytes(21, 3), 'header.classes', true],
  ['classes-unused', 'Two classes that no plane uses', I8, bytes(21, 2, 1), 'header.classes', true],
  ['selectors-missing', 'Four classes without selectors', 'classes-i8-rows4', bytes(22, 0), 'header.flags', true],
  ['flags-unknown', 'A flag that does not exist for I8', I8, bytes(22, 8), 'header.flags', true],
  ['offsets-without-pairs', 'Column offsets without PAIRS', I8, bytes(22, 4), 'header.flags', true],
  ['tables-three', 'Three tables in a plane', I8, bytes(25, 3), 'header.plane[0].tables', true],
  ['bits-7', 'N = 7', I8, bytes(26, 7), 'header.plane[0].probabilityBits', true],
  ['bits-13', 'N = 13', I8, bytes(26, 13), 'header.plane[0].probabilityBits', true],
  ['bits-12-of-10', 'N = 12 in a plane of 10 bits', TEN, bytes(26, 12), 'header.plane[0].probabilityBits', true],
  [
    'bits-without-table',
    'Probability bits without a table',
    I8_RAW,
    bytes(26, 8),
    'header.plane[0].probabilityBits',
    true,
  ],
  [
    'slots',
    'More than 20,480 slots in all',
    'classes-all-planes',
    bytes(26, 12, 0, 8, 4, 12),
    'header.plane[0].probabilityBits',
    true,
  ],
  ['plane-reserved', 'A reserved byte of a plane', I8, bytes(27, 1), 'header.plane[0].reserved', true],
  ['pairs-in-i8', 'PAIRS in I8 as one plane', I8, bytes(40, 1, 8), 'header.pairs.tables', true],
  ['pairs-in-10-6', 'PAIRS in BF16 as 10 + 6', TEN, bytes(40, 1, 8), 'header.pairs.tables', true],
  ['pairs-bits', 'N = 13 in PAIRS', PAIRS, bytes(41, 13), 'header.pairs.probabilityBits', true],
  ['pairs-base', 'A window above 255', PAIRS, bytes(42, 241), 'header.pairs.base', true],
  ['nibbles-base', 'A base in 4 + 4', NIBBLES, bytes(42, 1), 'header.pairs.base', true],
  ['nibbles-offsets', 'Column offsets in 4 + 4', NIBBLES, bytes(22, 4), 'header.flags', true],
  ['nibbles-planes', '4 + 4 with one plane', NIBBLES, bytes(20, 1), 'header.planes', true],
  ['nibbles-split', 'I8 as 4 + 8', NIBBLES, bytes(28, 8), 'header.plane[0].bits', true],
  [
    'nibbles-bits',
    'N = 13 in a plane of 4 bits',
    'mode-I8-4-4-none',
    bytes(26, 13),
    'header.plane[0].probabilityBits',
    true,
  ],
  ['nibbles-of-bytes', '4 + 4 of a dtype that is coded as bytes', NIBBLES, bytes(5, 8), 'header.plane[0].bits', true],
  [
    'nibbles-const-symbol',
    'CONST with a symbol of five bits',
    'mode-I8-4-4-const',
    metadata(0, 8, () => 16),
    'tile[0].plane[0].value',
    true,
  ],
  [
    'nibbles-predictor',
    'A predicted plane of 4 bits',
    'mode-I8-4-4-none',
    metadata(0, 8, (old) => old | (1 << 20)),
    'tile[0].plane[0].predictor',
    true,
  ],
  ['nibbles-flipped', 'Another bit in a RAW plane of 4 bits', NIBBLES, flipIn('raw', 1, 0, 16), 'tile.check', false],
  [
    'nibbles-missing-column',
    'A bit of a column that does not exist in a plane of 4 bits',
    NIBBLES,
    flipIn('raw', 1, 31, 0x80),
    'tile.plane[1].raw',
    false,
  ],
  ['pairs-base-alone', 'A base without PAIRS', I8, bytes(42, 1), 'header.pairs.base', true],
  [
    'pairs-beside-four',
    'Beside PAIRS, four tables in plane 0',
    'classes-pairs-rows4',
    bytes(25, 4, 8),
    'header.plane[0].tables',
    true,
  ],
  ['column-offset', 'base + offset above 240', 'pairs-offsets', bytes(42, 240), 'columnOffsets', true],
  ['reserved', 'A reserved byte of the header', I8, bytes(23, 1), 'header.reserved', true],
  ['pairs-reserved', 'The reserved byte after PAIRS', I8, bytes(43, 1), 'header.reserved', true],
  [
    'tables-length',
    'Bytes after the last table',
    I8,
    (_, v) => v.setUint32(44, v.getUint32(44, true) + 1, true),
    'header.tablesBytes',
    true,
  ],
  ['tables-sum', 'Frequencies that do not add up to 2^N', I8, bytes(26, 11), 'tables.plane[0][0]', true],
  ['tables-symbols', 'A table that runs past the last symbol', I8, bytes(80, 0xff, 0xff), 'tables.plane[0][0]', true],
  ['tables-gamma', 'A change of length that no table has', I8, bytes(82, 0, 0, 0, 0), 'tables.plane[0][0]', true],
  [
    'selector-spare',
    'A bit after the last selector',
    'classes-i8-rows4',
    flip((_, v) => 80 + v.getUint32(44, true) + Math.ceil((45 * 2) / 8) - 1, 0x80),
    'rowSelectors',
    true,
  ],
  ['header-padding', 'Padding before the metadata', I8, flip((s) => metadataStart(s) - 1, 1), 'header.padding', true],
  [
    'metadata-padding',
    'Padding after the metadata',
    I8,
    flip((s) => readFront(s).frontBytes - 1, 1),
    'metadata.padding',
    true,
  ],
  [
    'data-bytes',
    'Tiles that end before Data does',
    I8,
    (s, v) => {
      v.setBigUint64(48, v.getBigUint64(48, true) + 16n, true);
      return Uint8Array.from([...s, ...new Uint8Array(16)]);
    },
    'header.dataBytes',
    true,
  ],
  ['tile-gap', 'A tile that leaves a gap before it', TILES, metadata(1, 0, (old) => old + 1), 'tile[1].offset', true],
  [
    'tile-overlap',
    'A tile that overlaps the one before',
    TILES,
    metadata(1, 0, (old) => old - 1),
    'tile[1].offset',
    true,
  ],
  ['tile-outside', 'A tile beyond Data', TILES, metadata(1, 0, () => 0xffffffff), 'tile[1].offset', true],
  ['mode', 'A mode that does not exist', I8, metadata(0, 8, (old) => old + (2 << 16)), 'tile[0].plane[0].mode', true],
  [
    'mode-without-table',
    'RANS in a plane without a table',
    I8_RAW,
    metadata(0, 8, () => 2 << 16),
    'tile[0].plane[0].mode',
    true,
  ],
  [
    'mode-without-pairs',
    'PAIRS in a tensor without them',
    I8,
    metadata(0, 8, () => 3 << 16),
    'tile[0].plane[0].mode',
    true,
  ],
  ['mode-pairs-plane-1', 'PAIRS in plane 1', PAIRS, metadata(0, 12, () => 3 << 16), 'tile[0].plane[1].mode', true],
  [
    'predictor',
    'A predictor that does not exist',
    I8,
    metadata(0, 8, (old) => old | (5 << 20)),
    'tile[0].plane[0].predictor',
    true,
  ],
  [
    'predictor-raw',
    'A predicted RAW plane',
    I8_RAW,
    metadata(0, 8, (old) => old | (1 << 20)),
    'tile[0].plane[0].predictor',
    true,
  ],
  [
    'predictor-const',
    'A predicted CONST plane',
    'mode-I8-const',
    metadata(0, 8, (old) => old | (1 << 20)),
    'tile[0].plane[0].predictor',
    true,
  ],
  [
    'predictor-pairs',
    'Predicted PAIRS',
    PAIRS,
    metadata(0, 8, (old) => old | (1 << 20)),
    'tile[0].plane[0].predictor',
    true,
  ],
  [
    'predictor-10',
    'A predicted plane of 10 bits',
    TEN,
    metadata(0, 8, (old) => old | (1 << 20)),
    'tile[0].plane[0].predictor',
    true,
  ],
  ['raw-value', 'A RAW plane with words', I8_RAW, metadata(0, 8, (old) => old | 1), 'tile[0].plane[0].value', true],
  [
    'const-symbol',
    'CONST with a symbol of nine bits',
    'mode-I8-const',
    metadata(0, 8, () => 256),
    'tile[0].plane[0].value',
    true,
  ],
  [
    'outliers-raw',
    'Outliers of a RAW plane',
    I8_RAW,
    metadata(0, 8, (old) => old | (1 << 24)),
    'tile[0].plane[0].outliers',
    true,
  ],
  [
    'outliers-const',
    'Outliers of a CONST plane',
    'mode-I8-const',
    metadata(0, 8, (old) => old | (1 << 24)),
    'tile[0].plane[0].outliers',
    true,
  ],
  [
    'outliers-predicted',
    'Outliers of a predicted plane',
    'mode-I8-left',
    metadata(0, 8, (old) => old | (1 << 24)),
    'tile[0].plane[0].outliers',
    true,
  ],
  [
    'outliers-plane-1',
    'Outliers in plane 1',
    TEN,
    metadata(0, 12, (old) => old | (1 << 24)),
    'tile[0].plane[1].outliers',
    true,
  ],
  ['words-more', 'More words than decoding takes', I8, moreWords, 'tile.plane[0].words', true],
  ['words-fewer', 'Fewer words than decoding takes', I8, metadata(0, 8, (old) => old - 1), 'tile.plane[0].words', true],
  ['check', 'A wrong check', I8, metadata(0, 4, (old) => old ^ 1), 'tile.check', true],
  [
    'state-low',
    'A state below 2^16',
    I8,
    (s, v) => v.setUint32(sectionsOfFirstTile(s).at, 0xffff, true),
    'tile.plane[0].states',
    false,
  ],
  ['state-final', 'Another word: a wrong final state', I8, flipIn('units', 0, -2, 4), 'tile.plane[0].states', false],
  ['payload-flipped', 'The last word: another payload', TEN, flipIn('units', 0, -2, 1), 'tile.check', false],
  ['raw-flipped', 'Another bit in a RAW plane', TEN, flipIn('raw', 1, 0, 16), 'tile.check', false],
  [
    'raw-missing-column',
    'A bit of a column that does not exist',
    I8_RAW,
    flipIn('raw', 0, 31, 1),
    'tile.plane[0].raw',
    false,
  ],
  ['padding', 'Padding of Data', 'mode-I8-avg', flip((s) => s.length - 1, 1), 'tile.plane[0].words', false],
  [
    'outlier-order',
    'Outliers whose positions do not rise',
    'outliers-bf16',
    outliers((e) => e.set([e[1], e[0]])),
    'tile.outliers',
    true,
  ],
  [
    'outlier-twice',
    'Two outliers at one position',
    'outliers-bf16',
    outliers((e) => e.set([e[0]], 1)),
    'tile.outliers',
    true,
  ],
  [
    'outlier-row',
    'An outlier in a row that the tile does not have',
    'outliers-f32',
    outliers((e) => e.set([128 * 32], e.length - 2)),
    'tile.outliers',
    true,
  ],
  [
    'outlier-column',
    'An outlier in a column that the tile does not have',
    'pairs-outliers-narrow',
    outliers((e) => e.set([e[0] | 100])),
    'tile.outliers',
    true,
  ],
  [
    'outlier-word',
    'A word of nine bits',
    'outliers-i8',
    outliers((e) => e.set([e[0] | (2 ** 24)])),
    'tile.outliers',
    true,
  ],
  ['flags-16', 'Column values in 8 + 8 of BF16', DIRECT, bytes(22, 8 + 16), 'header.flags', true],
  ['direct-of-f16', 'Flag 8 in 8 + 8 of another dtype', 'mode-F16-none', bytes(22, 8), 'header.flags', true],
  ['direct-of-10-6', 'Flag 8 in 10 + 6', TEN, bytes(22, 8), 'header.flags', true],
  ['direct-of-4-4', 'Flag 8 in 4 + 4', 'mode-I8-4-4-none', bytes(22, 8), 'header.flags', true],
  ['direct-with-pairs', 'Flag 8, and tables for PAIRS', PAIRS, bytes(22, 8), 'header.pairs.tables', true],
  ['direct-base', 'A window above 255, without PAIRS', DIRECT, bytes(42, 241), 'header.pairs.base', true],
  ['direct-base-alone', 'A base without flag 8', DIRECT, bytes(22, 0), 'header.pairs.base', true],
  ['direct-offset', 'base + offset above 240, without PAIRS', 'direct-offsets', bytes(42, 240), 'columnOffsets', true],
  [
    'direct-offsets-alone',
    'Column offsets without flag 8',
    'direct-offsets-base-0',
    bytes(22, 4),
    'header.flags',
    true,
  ],
  [
    'direct-offsets-short',
    'Ends inside the column offsets of DIRECT',
    'direct-offsets',
    (s) => s.slice(0, metadataStart(s) - 17),
    'header',
    false,
  ],
  ['flags-64', 'A flag that no dtype has', I8, bytes(22, 64), 'header.flags', true],
  ['values-of-u8', 'Column values in U8', 'mode-U8-none', bytes(22, 16), 'header.flags', true],
  ['values-of-f32', 'Column values in F32', 'mode-F32-none', bytes(22, 16), 'header.flags', true],
  [
    'values-spare-bits',
    'A bit after the last of the column values',
    'values-BF16-none-raw',
    flip((_, view) => 80 + view.getUint32(44, true) + 4, 0x20),
    'columnValues',
    true,
  ],
  [
    'values-short',
    'Ends inside the column values',
    'values-I8-none',
    (s) => s.slice(0, metadataStart(s) - 17),
    'header',
    false,
  ],
  ['direct-without-flag', 'DIRECT without flag 8', 'direct-base-0', bytes(22, 0), 'tile[0].plane[0].mode', true],
  ['direct-mode-5', 'A mode after DIRECT', DIRECT, metadata(0, 8, () => 5 << 16), 'tile[0].plane[0].mode', true],
  ['direct-mode-pairs', 'PAIRS beside flag 8', DIRECT, metadata(0, 8, () => 3 << 16), 'tile[0].plane[0].mode', true],
  [
    'direct-plane-0-alone',
    'DIRECT in plane 0, and plane 1 is RAW',
    DIRECT,
    metadata(0, 12, () => 1 << 16),
    'tile[0].plane[1].mode',
    true,
  ],
  [
    'direct-plane-1-alone',
    'DIRECT in plane 1, and plane 0 is CONST',
    DIRECT,
    metadata(0, 8, () => 0),
    'tile[0].plane[1].mode',
    true,
  ],
  ['direct-value', 'A value of DIRECT', DIRECT, metadata(0, 8, (old) => old | 1), 'tile[0].plane[0].value', true],
  [
    'direct-value-1',
    'A value of DIRECT in plane 1',
    DIRECT,
    metadata(0, 12, (old) => old | 0x8000),
    'tile[0].plane[1].value',
    true,
  ],
  [
    'direct-predictor',
    'Predicted DIRECT',
    DIRECT,
    metadata(0, 8, (old) => old | (2 << 20)),
    'tile[0].plane[0].predictor',
    true,
  ],
  [
    'direct-predictor-1',
    'Predicted DIRECT in plane 1',
    DIRECT,
    metadata(0, 12, (old) => old | (1 << 20)),
    'tile[0].plane[1].predictor',
    true,
  ],
  [
    'direct-outliers-1',
    'Outliers of DIRECT in plane 1',
    DIRECT,
    metadata(0, 12, (old) => old | (1 << 24)),
    'tile[0].plane[1].outliers',
    true,
  ],
  [
    'direct-outliers-more',
    'More outliers of DIRECT than Data have room for',
    DIRECT,
    metadata(0, 8, (old) => old | (1 << 24)),
    'header.dataBytes',
    true,
  ],
  [
    'direct-tile-order',
    'A tile that begins before the blocks of another end',
    'direct-whole',
    metadata(1, 0, (old) => old - 1),
    'tile[1].offset',
    true,
  ],
  ['direct-code', 'Another code', DIRECT, flipPlace(18, 30, 4, 0), 'tile.check', false],
  ['direct-symbol', 'Another symbol of plane 1', DIRECT, flipPlace(7, 9, 0, 1), 'tile.check', false],
  [
    'direct-row-code',
    'A code in a row that the tile does not have',
    DIRECT,
    flipPlace(19, 0, 8, 0),
    'tile.blocks',
    false,
  ],
  [
    'direct-row-symbol',
    'A symbol of plane 1 in a row that the tile does not have',
    DIRECT,
    flipPlace(31, 30, 0, 1),
    'tile.blocks',
    false,
  ],
  [
    'direct-column-code',
    'A code in a column that the tile does not have',
    DIRECT,
    flipPlace(0, 31, 1, 0),
    'tile.blocks',
    false,
  ],
  [
    'direct-column-symbol',
    'A symbol of plane 1 in a column that the tile does not have',
    DIRECT,
    flipPlace(18, 63, 0, 0x80),
    'tile.blocks',
    false,
  ],
  [
    'direct-outlier-row',
    'An outlier of DIRECT in a row that its strip has and its tile has not',
    'direct-outliers-narrow',
    outliers((e) => e.set([250 * 128], e.length - 1)),
    'tile.outliers',
    true,
  ],
  [
    'direct-outlier-column',
    'An outlier of DIRECT in a column that its block has and its tile has not',
    'direct-outliers-narrow',
    outliers((e) => e.set([e[0] | 100])),
    'tile.outliers',
    true,
  ],
  [
    'direct-outlier-order',
    'Outliers of DIRECT whose positions do not rise',
    'direct-outliers-narrow',
    outliers((e) => e.set([e[1], e[0]])),
    'tile.outliers',
    true,
  ],
  [
    'direct-outlier-padding',
    'Padding after the outliers of DIRECT',
    'direct-outlier-last',
    flip((s) => s.length - 1, 1),
    'tile.outliers',
    false,
  ],
];

const CASES: readonly InvalidCase[] = ROWS.map(([id, comment, of, damage, field, seal]) => ({
  id,
  comment,
  of,
  damage,
  field,
  seal,
}));

/** @throws Error where the reference decoder does not find the damage, or finds it elsewhere */
export function invalidVectors(valid: readonly Vector[]): InvalidVector[] {
  return CASES.map(({ id, comment, of, damage, field, seal }) => {
    const source = valid.find((vector) => vector.id === of);
    if (source === undefined) throw new Error(`${id}: there is no vector ${of}`);
    const copy = source.stream.slice();
    const stream = damage(copy, new DataView(copy.buffer)) ?? copy;
    if (seal) {
      const { frontBytes } = readFront(source.stream);
      sealFront(stream.subarray(0, Math.min(stream.length, frontBytes)));
    }
    try {
      decodeTensor(stream);
    } catch (error) {
      if (error instanceof FormatError && error.field === field)
        return { id, comment, flags: ['invalid'], stream, error: { field, offset: error.offset } };
      throw new Error(`${id}: ${error}`);
    }
    throw new Error(`${id}: decoded`);
  });
}
