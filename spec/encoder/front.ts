// FORMAT.md, sections 1, 4 and 6.1, for an encoder: writing a front.

import { At, BASE_CRC_BYTES, FIXED_BYTES, Flag, type Header, MAGIC, partsOf } from '../decoder/1-front.ts';
import type { WordArray } from '../decoder/2-matrix.ts';
import { areWide, columnValueBits } from '../decoder/3.1-columns.ts';
import { metadataBytes, type TileMetadata } from '../decoder/4-metadata.ts';
import type { TableSet } from '../decoder/6.1-tables.ts';
import { crc32 } from '../decoder/8-checks.ts';
import tables from '../tables.json' with { type: 'json' };

/** Writes a bit string: the lowest bit of a byte comes first. */
export class BitWriter {
  private readonly bytes: number[] = [];
  private used = 0;

  /** Appends the `count` (at most 32) lowest bits of `value`, low bit first. */
  write(value: number, count: number): void {
    for (let bit = 0; bit < count; bit++, this.used++) {
      if (this.used % 8 === 0) this.bytes.push(0);
      if ((value >>> bit) & 1) this.bytes[this.bytes.length - 1] |= 1 << (this.used % 8);
    }
  }

  /** Appends the Elias gamma code of `value` >= 1 (Elias 1975). */
  writeGamma(value: number): void {
    const length = 31 - Math.clz32(value);
    this.write(0, length);
    this.write(1, 1);
    this.write(value, length);
  }

  /** Bits written so far. */
  get length(): number {
    return this.used;
  }

  /** The bytes; the last one is filled up with zeros. */
  finish(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }
}

/** Appends one table: its first symbol, how many follow, then each frequency. */
export function writeFrequencies(writer: BitWriter, symbolBits: number, frequencies: Uint16Array): void {
  const first = frequencies.findIndex((frequency) => frequency > 0);
  const last = frequencies.findLastIndex((frequency) => frequency > 0);
  writer.write(first, symbolBits);
  writer.write(last - first, symbolBits);
  let previous = 1;
  for (const frequency of frequencies.subarray(first, last + 1)) {
    const length = 32 - Math.clz32(frequency);
    const change = length - previous;
    writer.writeGamma(change > 0 ? 2 * change : 1 - 2 * change);
    // The leading one is known.
    if (length > 1) writer.write(frequency, length - 1);
    previous = length;
  }
}

/** A bit string of numbers of `bits` bits. */
function packNumbers(numbers: WordArray, bits: number): Uint8Array {
  const writer = new BitWriter();
  for (const number of numbers) writer.write(number, bits);
  return writer.finish();
}

/** @param tiles the metadata of all tiles, in order */
export function writeFront(header: Header, tiles: readonly TileMetadata[], dataBytes: number): Uint8Array {
  const { dtype, shape, matrix, split, pairs, hasDirect, windows, columnValues, selectors } = header;
  const { classes, rows, columns, columnsEach } = selectors;
  const { base } = header;
  const writer = new BitWriter();
  for (const set of [...header.tables, pairs])
    for (const { frequency } of set?.tables ?? []) writeFrequencies(writer, (set as TableSet).symbolBits, frequency);
  const tableBits = writer.finish();
  const flags =
    (rows ? Flag.rowSelectors : 0) |
    (columns ? Flag.columnSelectors : 0) |
    (windows.offsets ? Flag.columnOffsets : 0) |
    (hasDirect ? Flag.direct : 0) |
    (columnValues ? Flag.columnValues : 0) |
    (base ? Flag.base : 0) |
    (areWide(dtype, columnValues) ? Flag.wideValues : 0);
  const parts = partsOf({
    ...{ dtype, dimensions: shape.length, tablesBytes: tableBits.length, matrix },
    ...{ planes: split.length, classes, flags, columnsEach },
  });
  const front = new Uint8Array(parts.end);
  const view = new DataView(front.buffer);
  view.setUint32(At.magic, MAGIC, true);
  front[At.version] = tables.formatVersion;
  front[At.dtype] = dtype.code;
  front[At.dimensions] = shape.length;
  front[At.tileRowsLog2] = Math.log2(matrix.tileRows);
  view.setBigUint64(At.words, BigInt(matrix.words), true);
  view.setUint32(At.columns, matrix.columns, true);
  front[At.planes] = split.length;
  front[At.classes] = classes;
  front[At.flags] = flags;
  split.forEach((bits, p) => {
    const set = header.tables[p];
    front.set([bits, set?.tables.length ?? 0, set?.probabilityBits ?? 0], At.plane + 4 * p);
  });
  front.set([pairs?.tables.length ?? 0, pairs?.probabilityBits ?? 0, windows.base], At.pairTables);
  view.setUint32(At.tablesBytes, tableBits.length, true);
  view.setBigUint64(At.dataBytes, BigInt(dataBytes), true);
  shape.forEach((dimension, axis) => {
    view.setBigUint64(FIXED_BYTES + 8 * axis, BigInt(dimension), true);
  });
  front.set(tableBits, parts.tables);
  if (windows.offsets) front.set(packNumbers(windows.offsets, 4), parts.columnOffsets);
  if (columnValues) {
    const bits = columnValueBits(dtype, areWide(dtype, columnValues));
    const numbers = bits === 1 ? columnValues.map((value) => value >>> 15) : columnValues;
    front.set(packNumbers(numbers, bits), parts.columnValues);
  }
  if (rows) front.set(packNumbers(rows, Math.log2(classes)), parts.rowSelectors);
  if (columns) front.set(packNumbers(columns, Math.log2(classes)), parts.columnSelectors);
  if (base) {
    view.setUint32(parts.base, base.crc, true);
    front.set(base.firstLevels, parts.base + BASE_CRC_BYTES);
  }
  tiles.forEach(({ offset, check, planes }, index) => {
    const at = parts.metadata + index * metadataBytes(split.length);
    view.setUint32(at, offset / 16, true);
    view.setUint32(at + 4, check, true);
    planes.forEach(({ value, mode, predictor, outliers }, p) => {
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
