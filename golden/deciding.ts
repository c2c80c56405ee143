// Invalid vectors that one rule alone refuses: a decoder without it finds nothing wrong with them. test/refusals.test.ts says
// which rules these are.

import { FIXED_BYTES, type Front, readFront } from '../spec/decoder/1-front.ts';
import { joinPlanes } from '../spec/decoder/3-planes.ts';
import { align, Mode, sectionsOf } from '../spec/decoder/4-metadata.ts';
import { type TableSet, tableOf } from '../spec/decoder/6.1-tables.ts';
import { crc32, tileCheck } from '../spec/decoder/8-checks.ts';
import { BitWriter, seal, writeFrequencies, writeFront } from '../spec/encoder/front.ts';
import { decodeTile } from '../spec/index.ts';
import { bytes, type Damage, flipIn, metadata, metadataStart, outliers, type Row, u32, u64 } from './damage.ts';

/** A stream whose front is another, and whose Data may be. */
export const rebuilt =
  (change: (front: Front) => Partial<Front> & { readonly data?: Uint8Array }): Damage =>
  (stream) => {
    const front = readFront(stream);
    const { data = stream.subarray(front.frontBytes), ...changed } = change(front);
    const header = { ...front, ...changed };
    return Buffer.concat([writeFront(header, header.tiles, data.length), data]);
  };

/** Tables that no tile uses, in which symbols 0 and 1 share the slots. */
export function unused(count: number, probabilityBits: number): TableSet {
  const frequency = new Uint16Array(256).fill(2 ** (probabilityBits - 1), 0, 2);
  return { symbolBits: 8, probabilityBits, tables: Array.from({ length: count }, () => tableOf(frequency)) };
}

/** Selectors of `classes` classes, all of them 0. */
const firstClass = ({ matrix }: Front, classes: number, columnsEach: 1 | 2 = 1): Front['selectors'] => ({
  ...{ classes, columnsEach, columns: undefined },
  rows: new Uint8Array(matrix.rows),
});

/** A stream of one plane without tables, which gets this bit string as one that no tile uses. */
const tableBits =
  (probabilityBits: number, write: (writer: BitWriter) => void, cut = 0): Damage =>
  (stream, view) => {
    const writer = new BitWriter();
    write(writer);
    const bits = writer.finish().subarray(0, Math.ceil(writer.length / 8) - cut);
    const at = FIXED_BYTES + 8 * stream[6];
    const [start, { frontBytes }] = [metadataStart(stream), readFront(stream)];
    bytes(25, 1, probabilityBits)(stream, view);
    u32(44, bits.length)(stream, view);
    const header = new Uint8Array(align(at + bits.length));
    header.set(stream.subarray(0, at));
    header.set(bits, at);
    const front = Buffer.concat([header, stream.subarray(start, frontBytes)]);
    seal(front);
    return Buffer.concat([front, stream.subarray(frontBytes)]);
  };

/** Writes the frequency of the next symbol: the change of its length, and its bits without the leading one. */
function writeNext(writer: BitWriter, change: number, rest: number): void {
  writer.writeGamma(change > 0 ? 2 * change : 1 - 2 * change);
  writer.write(0, rest);
}

/** One element, whose plane 0 is RANS with these states and units, and has a symbol with the first half of the slots. */
const oneElement = (state: number, units: readonly number[]): Damage =>
  rebuilt(({ tiles: [tile], tables }) => {
    const { value } = tile.planes[0];
    const frequency = new Uint16Array(256).fill(128, value, value + 2);
    const data = new Uint8Array(units.length > 0 ? 32 : 16);
    const view = new DataView(data.buffer);
    view.setUint32(0, state, true);
    units.forEach((unit, i) => {
      view.setUint16(16 + 2 * i, unit, true);
    });
    const coded = { mode: Mode.RANS, predictor: 0, value: units.length, outliers: 0 };
    return {
      data,
      tables: [{ symbolBits: 8, probabilityBits: 8, tables: [tableOf(frequency)] }, ...tables.slice(1)],
      tiles: [{ ...tile, planes: [coded, ...tile.planes.slice(1)] }],
    };
  });

/** What PAIRS has of plane 0 becomes plane 1, and plane 0 is constant. */
const pairsBehind: Damage = (stream, view) =>
  rebuilt(({ dtype, split, tiles: [{ planes }], frontBytes }) => {
    const tile = decodeTile(stream, 0);
    const { states, units } = sectionsOf(dtype, split, tile, planes, false);
    const data = stream.slice(frontBytes + states[0].start, frontBytes + align(units[0].start + units[0].length));
    const symbols = Uint16Array.from(tile.words, (word) => (word >> 7) & 255);
    const words = joinPlanes(dtype, split, [new Uint16Array(symbols.length), symbols]);
    const check = tileCheck(words, tile, dtype.wordBits, new Uint32Array(0));
    const constant = { mode: Mode.CONST, predictor: 0, value: 0, outliers: 0 };
    return { data, tiles: [{ offset: 0, check, planes: [constant, planes[0]] }] };
  })(stream, view);

/** The first element is an outlier, too, that changes nothing. */
const listsFirst: Damage = (stream, view) =>
  rebuilt(({ dtype, tiles: [tile], frontBytes }) => {
    const decoded = decodeTile(stream, 0);
    const entries = Uint32Array.of(decoded.words[0] << 16);
    const check = tileCheck(decoded.words, decoded, dtype.wordBits, entries);
    const [first, ...others] = tile.planes;
    return {
      data: Buffer.concat([stream.subarray(frontBytes), new Uint8Array(entries.buffer), new Uint8Array(12)]),
      tiles: [{ ...tile, check, planes: [{ ...first, outliers: 1 }, ...others] }],
    };
  })(stream, view);

const I8 = 'mode-I8-none';
const I8_RAW = 'mode-I8-raw';
const BF16_RAW = 'mode-BF16-8-8-raw';

export const DECIDING: readonly Row[] = [
  ['fixed-crc-alone', 'A damaged CRC of the fixed part', I8, bytes(60, 0, 0, 0, 0), 'header.fixedCrc', false],
  [
    'front-crc-alone',
    'A damaged CRC of what follows',
    I8,
    (stream, view) => {
      bytes(56, 0, 0, 0, 0)(stream, view);
      view.setUint32(60, crc32(stream.subarray(0, 60)), true);
    },
    'header.frontCrc',
    false,
  ],
  ['tile-rows-4-one-row', 'H = 4 of one row', 'rans-then-raw-one-row', bytes(7, 2), 'header.tileRowsLog2', true],
  ['columns-many-empty', 'More than 2^18 columns of nothing', 'empty', u32(16, 2 ** 18 + 1), 'header.columns', true],
  [
    'dimension-huge-empty',
    'A dimension above 2^50 beside one of 0',
    'empty-inner',
    u64(80, 2n ** 51n),
    'header.dimension[2]',
    true,
  ],
  ['classes-zero', 'No classes', I8, bytes(21, 0), 'header.classes', true],
  [
    'tables-two',
    'Two tables of one class',
    I8_RAW,
    rebuilt(() => ({ tables: [unused(2, 8)] })),
    'header.plane[0].tables',
    false,
  ],
  ['selectors-of-one', 'Row selectors of one class', I8, bytes(22, 1), 'header.flags', true],
  [
    'offsets-of-i8',
    'Column offsets without windows, all of them 0',
    I8_RAW,
    rebuilt(({ matrix }) => ({ windows: { base: 0, offsets: new Uint8Array(matrix.columns) } })),
    'header.flags',
    false,
  ],
  [
    'pairs-beside-two',
    'Beside PAIRS, two tables in plane 0, which no tile uses',
    BF16_RAW,
    rebuilt((front) => ({
      ...{ pairs: unused(1, 8), tables: [unused(2, 8), undefined] },
      selectors: firstClass(front, 2, 2),
    })),
    'header.plane[0].tables',
    false,
  ],
  [
    'slots-unused',
    'More than 20,480 slots in tables that no tile uses',
    'mode-F32-raw',
    rebuilt((front) => ({
      tables: [unused(4, 12), unused(4, 12), undefined, undefined],
      selectors: firstClass(front, 4),
    })),
    'header.plane[0].probabilityBits',
    false,
  ],
  [
    'column-offset-last',
    'A window that begins at 241, which no tile uses',
    BF16_RAW,
    rebuilt(({ matrix, selectors }) => ({
      pairs: unused(1, 8),
      selectors: { ...selectors, columnsEach: 2 },
      windows: { base: 240, offsets: new Uint8Array(matrix.columns).fill(1, matrix.columns - 1) },
    })),
    'columnOffsets',
    false,
  ],
  [
    'data-bytes-more',
    'Fewer bytes of Data than are declared',
    I8,
    (_, view) => view.setBigUint64(48, view.getBigUint64(48, true) + 16n, true),
    'header.dataBytes',
    true,
  ],
  [
    'table-one-symbol',
    'A symbol that has all slots',
    I8_RAW,
    tableBits(8, (writer) => {
      writer.write(7, 16);
      writeNext(writer, 8, 8);
    }),
    'tables.plane[0][0]',
    false,
  ],
  [
    'table-length-negative',
    'A frequency of -1 bits, and 128 on both sides of it',
    I8_RAW,
    tableBits(8, (writer) => {
      writer.write(0, 8);
      writer.write(2, 8);
      writeNext(writer, 7, 7);
      writeNext(writer, -9, 0);
      writeNext(writer, 9, 7);
    }),
    'tables.plane[0][0]',
    false,
  ],
  [
    'table-ends',
    'A table of which the last byte, all zeros, is not there',
    I8_RAW,
    tableBits(
      12,
      (writer) => {
        writer.write(0, 8);
        writer.write(1, 8);
        writeNext(writer, 11, 11);
        writeNext(writer, 0, 11);
      },
      1,
    ),
    'tables.plane[0][0]',
    false,
  ],
  [
    'table-sum',
    'Frequencies that add up to 192, in a table that no tile uses',
    I8_RAW,
    tableBits(8, (writer) => {
      writer.write(0, 8);
      writer.write(1, 8);
      writeNext(writer, 7, 7);
      writeNext(writer, -1, 6);
    }),
    'tables.plane[0][0]',
    false,
  ],
  [
    'const-symbol-wraps',
    'CONST with a symbol of nine bits, the lower eight of which are right',
    'mode-I8-const',
    metadata(0, 8, (old) => old | 256),
    'tile[0].plane[0].value',
    true,
  ],
  [
    'pairs-plane-1',
    'PAIRS in plane 1, and tables for it',
    'pairs-then-rans',
    pairsBehind,
    'tile[0].plane[1].mode',
    false,
  ],
  [
    'direct-plane-0-const',
    'DIRECT in plane 0, and plane 1 is CONST',
    'mode-BF16-8-8-direct',
    metadata(0, 12, () => 0),
    'tile[0].plane[1].mode',
    true,
  ],
  [
    'tile-begins-later',
    'A tile without data that does not begin where Data do',
    'mode-I8-const',
    metadata(0, 0, () => 1),
    'tile[0].offset',
    true,
  ],
  [
    'state-1',
    'A state below 2^16 that ends as it should',
    'one-element',
    oneElement(1, [0]),
    'tile.plane[0].states',
    false,
  ],
  ['state-final-2', 'A state that ends as 2^17', 'one-element', oneElement(2 ** 18, []), 'tile.plane[0].states', false],
  ...(['first', 'last'] as const).map(
    (which): Row => [
      `table-${which}-listed`,
      `A table whose ${which} symbol has no frequency`,
      I8_RAW,
      tableBits(8, (writer) => {
        writer.write(0, 8);
        writer.write(2, 8);
        if (which === 'first') writeNext(writer, -1, 0);
        writeNext(writer, which === 'first' ? 8 : 7, 7);
        writeNext(writer, 0, 7);
        if (which === 'last') writeNext(writer, -8, 0);
      }),
      'tables.plane[0][0]',
      false,
    ],
  ),
  ...[7, 13].map(
    (N): Row => [
      `probability-bits-${N}-unused`,
      `A table with N = ${N}, which no tile uses`,
      I8_RAW,
      rebuilt(() => ({ tables: [unused(1, N)] })),
      'header.plane[0].probabilityBits',
      false,
    ],
  ),
  [
    'classes-eight',
    'Eight classes without a base',
    I8_RAW,
    rebuilt((front) => ({ tables: [unused(8, 8)], selectors: firstClass(front, 8) })),
    'header.classes',
    false,
  ],
  [
    'column-offset-first',
    'A window of the first column that begins at 241, which no tile uses',
    BF16_RAW,
    rebuilt(({ matrix, selectors }) => ({
      pairs: unused(1, 8),
      selectors: { ...selectors, columnsEach: 2 },
      windows: { base: 240, offsets: new Uint8Array(matrix.columns).fill(1, 0, 1) },
    })),
    'columnOffsets',
    false,
  ],
  [
    'values-of-8-8',
    'Column values in 8 + 8 of BF16, all of them 0',
    BF16_RAW,
    rebuilt(({ matrix }) => ({ columnValues: new Uint16Array(matrix.columns) })),
    'header.flags',
    false,
  ],
  [
    'rans-no-table',
    'RANS without a table',
    I8,
    rebuilt(() => ({ tables: [undefined] })),
    'tile[0].plane[0].mode',
    false,
  ],
  [
    'pairs-no-table',
    'PAIRS without a table',
    'mode-I8-4-4-pairs',
    rebuilt(() => ({ pairs: undefined })),
    'tile[0].plane[0].mode',
    false,
  ],
  ...['raw', 'const', 'left'].map(
    (mode): Row => [
      `outliers-${mode}-there`,
      `An outlier that changes nothing, in a plane in mode ${mode.toUpperCase()}`,
      `mode-I8-${mode}`,
      listsFirst,
      'tile[0].plane[0].outliers',
      false,
    ],
  ),
  [
    'outlier-column-100',
    'An outlier in the first column that the tile does not have',
    'pairs-outliers-narrow',
    outliers((e) => e.set([((e[0] & ~0xffff) | 100) >>> 0])),
    'tile.outliers',
    true,
  ],
  [
    'outlier-word-256',
    'The least word of nine bits',
    'outliers-i8',
    outliers((e) => e.set([(e[0] & 0xffff) | (2 ** 24)])),
    'tile.outliers',
    true,
  ],
  [
    'raw-unused-byte',
    'A byte of a u16 that no bits are in',
    'rans-then-raw-one-row',
    flipIn('raw', 1, 1, 1),
    'tile.plane[1].raw',
    true,
  ],
  [
    'tables-byte-more',
    'A byte behind a table that ends with a byte',
    I8_RAW,
    tableBits(12, (writer) => {
      writer.write(0, 8);
      writer.write(1, 8);
      writeNext(writer, 11, 11);
      writeNext(writer, 0, 11);
      writer.write(0, 8);
    }),
    'header.tablesBytes',
    false,
  ],
  [
    'state-final-2-fed',
    'A state with a payload that ends as 2^17',
    'one-element',
    (stream, view) => {
      const ended = oneElement(2 ** 18, [])(stream, view) as Uint8Array;
      return rebuilt(({ tiles: [tile], frontBytes }) => {
        const [coded, { value }] = tile.planes;
        const raw = { mode: Mode.RAW, predictor: 0, value: 0, outliers: 0 };
        const data = Buffer.concat([Uint8Array.of(value), new Uint8Array(15), ended.subarray(frontBytes)]);
        return { data, tiles: [{ ...tile, planes: [coded, raw] }] };
      })(ended, view);
    },
    'tile.plane[0].states',
    false,
  ],
  [
    'state-final-not-fed',
    'A state that ends as 2^16 + 1, and the next plane is not RAW',
    'one-element',
    oneElement(2 ** 17 + 1, []),
    'tile.plane[0].states',
    false,
  ],
  [
    'const-symbol-256-alone',
    'CONST with the symbol 256 in the one plane of a tensor of zeros',
    'mode-U8-const',
    rebuilt(({ tiles: [tile] }) => ({ tiles: [{ ...tile, check: 0, planes: [{ ...tile.planes[0], value: 256 }] }] })),
    'tile[0].plane[0].value',
    false,
  ],
  [
    'table-bit',
    'A table of which the last bit, a zero, is not there',
    I8_RAW,
    tableBits(8, (writer) => writeFrequencies(writer, 8, Uint16Array.of(16, 193, 47)), 1),
    'tables.plane[0][0]',
    false,
  ],
  [
    'predicted-4-bits',
    'TOP in a plane of four bits, whose one row it does not change',
    'nibbles-one-row-rans',
    metadata(0, 8, (old) => old | (2 << 20)),
    'tile[0].plane[0].predictor',
    true,
  ],
];
