// FORMAT.md, section 4: tile metadata, and the order of a tile's data.

import { FormatError } from '../errors.ts';
import tables from '../tables.json' with { type: 'json' };
import { type Matrix, type Tile, tileAt } from './2-matrix.ts';
import type { Dtype, Split } from './3-planes.ts';
import { lanesOf } from './6.2-rans.ts';
import { outlierBytes } from './6.4-outliers.ts';
import { blocksBytes } from './6.5-direct.ts';
import { rawBytes } from './7-raw.ts';

/** How a plane of a tile is coded. */
export const Mode = { CONST: 0, RAW: 1, RANS: 2, PAIRS: 3, DIRECT: 4 } as const;

/** The metadata of one plane of one tile. */
export interface TilePlane {
  readonly mode: number;
  /** 0 to 4; 0 unless the mode is RANS. */
  readonly predictor: number;
  /** The symbol of CONST, the number of units of RANS and PAIRS, 0 for RAW and DIRECT. */
  readonly value: number;
  /** Number of outliers; 0 unless it is plane 0, against a base or in PAIRS, in DIRECT or in RANS without prediction. */
  readonly outliers: number;
}

export interface TileMetadata {
  /** Where the tile's data begin in Data, in bytes. */
  readonly offset: number;
  readonly check: number;
  readonly planes: readonly TilePlane[];
}

/** `bytes` rounded up to a multiple of 16. */
export function align(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}

/** Bytes of a tile's metadata. */
export function metadataBytes(planes: number): number {
  return 8 + 4 * planes;
}

export function isCoded(mode: number): boolean {
  return mode === Mode.RANS || mode === Mode.PAIRS;
}

/** Whether the last 16 bits of each lane of a plane are the final states of the plane before. */
export function hasPayload(planes: readonly TilePlane[], plane: number, hasBase: boolean): boolean {
  return planes[plane]?.mode === Mode.RAW && plane > 0 && isCoded(planes[plane - 1].mode) && !hasBase;
}

/** A section of a tile's data: the name that errors give it, where it begins, its bytes without padding. */
export interface Section {
  readonly name: string;
  readonly start: number;
  readonly length: number;
}

/** The sections of a tile's data; those of planes are at the plane's index. */
export interface Sections {
  readonly raw: readonly Section[];
  readonly states: readonly Section[];
  readonly units: readonly Section[];
  /** Of both planes in DIRECT, else empty. */
  readonly blocks: Section;
  readonly outliers: Section;
  /** Bytes of all of them, padding included. */
  readonly length: number;
}

export function sectionsOf(
  dtype: Dtype,
  split: Split,
  tile: Tile,
  planes: readonly TilePlane[],
  hasBase: boolean,
): Sections {
  let at = 0;
  const section = (name: string, length: number): Section => {
    const start = at;
    at = align(start + length);
    return { name, start, length };
  };
  const [raw, states, units]: Section[][] = [[], [], []];
  planes.forEach(({ mode }, p) => {
    if (mode === Mode.RAW)
      raw[p] = section(`tile.plane[${p}].raw`, rawBytes(tile, split[p], hasPayload(planes, p, hasBase)));
  });
  planes.forEach(({ mode, value }, p) => {
    if (!isCoded(mode)) return;
    states[p] = section(`tile.plane[${p}].states`, 4 * lanesOf(tile.width, hasBase).count);
    // The name that units have in the vectors.
    units[p] = section(`tile.plane[${p}].words`, 2 * value);
  });
  const blocks = section('tile.blocks', planes[0].mode === Mode.DIRECT ? blocksBytes(tile) : 0);
  const outliers = section('tile.outliers', planes[0].outliers * outlierBytes(dtype));
  return { raw, states, units, blocks, outliers, length: at };
}

/** What a stream's Header says of its tiles. */
interface TileKinds {
  readonly dtype: Dtype;
  readonly split: Split;
  readonly matrix: Matrix;
  /** For each plane, whether it has tables; whether there are tables for PAIRS; whether there is flag 8, and flag 32. */
  readonly hasTables: readonly boolean[];
  readonly hasPairs: boolean;
  readonly hasDirect: boolean;
  readonly hasBase: boolean;
}

/**
 * Reads the metadata of all tiles, and checks what each plane may be and that tiles lie in order and without gaps.
 *
 * @param start where they begin in the front
 * @returns the metadata, and the bytes of Data that they need
 * @throws FormatError
 */
export function readMetadata(
  front: DataView,
  start: number,
  { dtype, split, matrix, hasTables, hasPairs, hasDirect, hasBase }: TileKinds,
): { tiles: TileMetadata[]; dataBytes: number } {
  let end = 0;
  const tiles = Array.from({ length: matrix.tileCount }, (_, index): TileMetadata => {
    const at = start + index * metadataBytes(split.length);
    const planes = split.map((bits, p): TilePlane => {
      const refuse = (field: string, problem: string): never => {
        throw new FormatError(`tile[${index}].plane[${p}].${field}`, at + 8 + 4 * p, problem);
      };
      const entry = front.getUint32(at + 8 + 4 * p, true);
      const value = entry & 0xffff;
      const mode = (entry >>> 16) & 15;
      const predictor = (entry >>> 20) & 15;
      const outliers = entry >>> 24;
      if (mode > (hasDirect ? Mode.DIRECT : Mode.PAIRS)) refuse('mode', `${mode} is no mode of this tensor`);
      if (mode === Mode.CONST && value >= 2 ** bits) refuse('value', `${value} is no symbol of ${bits} bits`);
      if ((mode === Mode.RAW || mode === Mode.DIRECT) && value !== 0)
        refuse('value', `not zero in ${mode === Mode.RAW ? 'a RAW plane' : 'DIRECT'}`);
      if (mode === Mode.RANS && !hasTables[p]) refuse('mode', 'RANS without a table');
      if (mode === Mode.PAIRS && (p > 0 || !hasPairs)) refuse('mode', 'PAIRS without pairs');
      if (predictor >= tables.predictors.length) refuse('predictor', `${predictor} is no predictor`);
      if (predictor > 0 && (mode !== Mode.RANS || bits !== 8 || hasBase))
        refuse('predictor', 'only RANS planes of 8 bits are predicted, and not against a base');
      const listsAll = hasBase || mode === Mode.PAIRS || mode === Mode.DIRECT;
      if (outliers > 0 && (p > 0 || !(listsAll || (mode === Mode.RANS && predictor === 0))))
        refuse('outliers', 'only plane 0 has them, against a base, in PAIRS, DIRECT or in RANS without prediction');
      return { value, mode, predictor, outliers };
    });
    if (planes.some(({ mode }) => (mode === Mode.DIRECT) !== (planes[0].mode === Mode.DIRECT)))
      throw new FormatError(`tile[${index}].plane[1].mode`, at + 12, 'DIRECT in one plane only');
    const offset = front.getUint32(at, true) * 16;
    if (offset !== end)
      throw new FormatError(`tile[${index}].offset`, at, `${offset} where the tiles before end at ${end}`);
    end += sectionsOf(dtype, split, tileAt(matrix, index), planes, hasBase).length;
    return { offset, check: front.getUint32(at + 4, true), planes };
  });
  return { tiles, dataBytes: end };
}
