// What can be done to a stream that vectors are made by: changes of bytes, of metadata, of sections, of outliers.

import { readFront } from '../spec/decoder/1-front.ts';
import { tileAt } from '../spec/decoder/2-matrix.ts';
import { metadataBytes, type Sections, sectionsOf } from '../spec/decoder/4-metadata.ts';
import { placesOf } from '../spec/decoder/6.5-direct.ts';
import { tileCheck } from '../spec/decoder/8-checks.ts';

/** Changes a copy of a stream, in place or by returning another. */
export type Damage = (stream: Uint8Array, view: DataView) => Uint8Array | void;

/**
 * [id, comment, the valid vector that is damaged, damage, the field in which a decoder must find it, whether CRCs are made
 * right again]
 */
export type Row = readonly [string, string, string, Damage, string, boolean];

const MODULUS = 2 ** 32 - 1;

export function metadataStart(stream: Uint8Array): number {
  const { tiles, split, frontBytes } = readFront(stream);
  const length = tiles.length * metadataBytes(split.length);
  return frontBytes - Math.ceil(length / 16) * 16;
}

export function sectionsOfFirstTile(stream: Uint8Array): Sections & { at: number } {
  const { dtype, split, matrix, tiles, frontBytes } = readFront(stream);
  return { ...sectionsOf(dtype, split, tileAt(matrix, 0), tiles[0].planes, false), at: frontBytes };
}

export const bytes =
  (at: number, ...values: number[]): Damage =>
  (stream) =>
    stream.set(values, at);

export const u32 =
  (at: number, value: number): Damage =>
  (_, view) =>
    view.setUint32(at, value, true);

export const u64 =
  (at: number, value: bigint): Damage =>
  (_, view) =>
    view.setBigUint64(at, value, true);

/** Flips bits of the byte that `at` finds. */
export const flip =
  (at: (stream: Uint8Array, view: DataView) => number, bits: number): Damage =>
  (stream, view) => {
    stream[at(stream, view)] ^= bits;
  };

/** Changes a u32 of the metadata: of tile `tile`, at byte `at` of its entry. */
export const metadata =
  (tile: number, at: number, change: (old: number) => number): Damage =>
  (stream, view) => {
    const { split } = readFront(stream);
    const where = metadataStart(stream) + tile * metadataBytes(split.length) + at;
    view.setUint32(where, change(view.getUint32(where, true)), true);
  };

/** Flips a bit in a byte of a section; -2 is its last but one. */
export const flipIn =
  (kind: 'raw' | 'states' | 'units', plane: number, byte: number, bit: number): Damage =>
  (stream) => {
    const { at, ...sections } = sectionsOfFirstTile(stream);
    const section = sections[kind][plane];
    if (section !== undefined) stream[at + section.start + (byte < 0 ? section.length + byte : byte)] ^= bit;
  };

/** Changes bits of the code, or of the symbol of plane 1, of an element of tile 0's blocks, which the tile need not have. */
export const flipPlace =
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
export const outliers =
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
export const moreWords: Damage = (stream, view) => {
  metadata(0, 8, (old) => old + 8)(stream, view);
  view.setBigUint64(48, view.getBigUint64(48, true) + 16n, true);
  return Uint8Array.from([...stream, ...new Uint8Array(16)]);
};
