// FORMAT.md, annex A.9: how each plane of a tile is coded, and the tile's data.

import type { Header } from '../decoder/1-front.ts';
import { TILE_COLUMNS, type Tile } from '../decoder/2-matrix.ts';
import { classesOf, joinDifferences } from '../decoder/3.2-base.ts';
import { joinPlanes, zeroSymbol } from '../decoder/3-planes.ts';
import { align, hasPayload, isCoded, Mode, type TileMetadata, type TilePlane } from '../decoder/4-metadata.ts';
import { type Table, type TileTables, tablesOfTile } from '../decoder/6.1-tables.ts';
import { lanesOf, STATE_FLOOR } from '../decoder/6.2-rans.ts';
import { splitPairs, startsOf } from '../decoder/6.3-pairs.ts';
import { outlierBytes } from '../decoder/6.4-outliers.ts';
import { rawBytes } from '../decoder/7-raw.ts';
import { tileCheck } from '../decoder/8-checks.ts';
import { codesOf, MAX_OUTLIERS, OUTSIDE, pairCodesOf, type Wish } from './a5-windows.ts';
import { cutDifferences, type Differences } from './a11-base.ts';
import { packBlocks } from './direct.ts';
import { cutPlanes, isConstant, residualsOf } from './planes.ts';
import { type CodedLanes, encodeLanes } from './rans.ts';
import { packRaw, payloadOf } from './raw.ts';

export interface EncodedTile {
  readonly check: number;
  readonly planes: TileMetadata['planes'];
  readonly data: Uint8Array;
}

/** A tile before its outliers are written. */
interface CodedTile {
  readonly planes: TileMetadata['planes'];
  /** What a decoder gets of each plane. */
  readonly symbols: readonly Uint16Array[];
  /** Elements that are not what it gets. */
  readonly outliers: readonly number[];
  /** Its sections but for the outliers. */
  readonly sections: readonly Uint8Array[];
}

/** A coded plane: what a decoder reads, the symbols it gets, and the elements for which these are wrong. */
interface CodedPlane extends CodedLanes {
  readonly symbols: Uint16Array;
  readonly outliers: readonly number[];
}

/**
 * Encodes one tile.
 *
 * @param words the tile's words, height x width
 * @param wishes one for each plane
 * @param forced whether they are to be met whatever the size and even if the plane is constant
 * @param base the words of the base, height x width
 */
export function encodeTile(
  header: Header,
  tile: Tile,
  words: Uint32Array,
  wishes: readonly Wish[],
  forced: boolean,
  base: Uint32Array | undefined,
): EncodedTile {
  const { dtype, split } = header;
  const cut: Differences = base
    ? cutDifferences(dtype, words, base)
    : { planes: cutPlanes(dtype, split, words), listed: [] };
  const isDirect = wishes[0].mode === Mode.DIRECT;
  const elements = base && header.base && classesOf(dtype, header.base, base);
  const coded = isDirect
    ? codeDirect(header, tile, cut.planes)
    : codePlanes(header, tile, cut, wishes, forced, elements);
  const decoded = base ? joinDifferences(dtype, coded.symbols, base) : joinPlanes(dtype, split, coded.symbols);
  const entries = entriesOf(coded.outliers, words, tile, dtype.wordBits);
  const check = tileCheck(decoded, tile, dtype.wordBits, entries);
  return { check, planes: coded.planes, data: joinSections([...coded.sections, bytesOf(entries)]) };
}

/** Codes both planes in DIRECT. */
function codeDirect({ windows }: Header, tile: Tile, [exponents, rest]: readonly Uint16Array[]): CodedTile {
  const starts = startsOf(windows, tile);
  const outliers: number[] = [];
  const codes = codesOf(exponents, starts).map((code, at) => {
    if (code !== OUTSIDE) return code;
    outliers.push(at);
    return 0;
  });
  const decoded = Uint16Array.from(codes, (code, at) => starts[at % tile.width] + code);
  const plane = { mode: Mode.DIRECT, predictor: 0, value: 0, outliers: 0 };
  return {
    planes: [{ ...plane, outliers: outliers.length }, plane],
    ...{ symbols: [decoded, rest], outliers, sections: [packBlocks(codes, rest, tile)] },
  };
}

/**
 * Codes planes in other modes. They are decided from the last to the first, since the final states of a coded plane are
 * bits of a RAW plane after it.
 */
function codePlanes(
  header: Header,
  tile: Tile,
  { planes: symbols, listed }: Differences,
  wishes: readonly Wish[],
  forced: boolean,
  elements: Uint8Array | undefined,
): CodedTile {
  const { split } = header;
  const hasBase = header.base !== undefined;
  const coded: (CodedPlane | undefined)[] = [];
  const planes: TilePlane[] = [];
  for (let p = split.length - 1; p >= 0; p--) {
    const givesPayload = planes[p + 1]?.mode === Mode.RAW && !hasBase;
    if (!forced && isConstant(symbols[p])) {
      planes[p] = { mode: Mode.CONST, predictor: 0, value: symbols[p][0], outliers: 0 };
      continue;
    }
    const { count } = lanesOf(tile.width, hasBase);
    const payload = givesPayload ? payloadOf(symbols[p + 1], tile, split[p + 1]) : new Uint16Array(count);
    const plane = isCoded(wishes[p].mode)
      ? codePlane(header, tile, p, wishes[p], symbols[p], payload, MAX_OUTLIERS - listed.length, elements)
      : undefined;
    if (plane !== undefined && (forced || isSmaller(plane, header, tile, p, givesPayload))) {
      coded[p] = plane;
      planes[p] = { ...wishes[p], value: plane.units.length, outliers: 0 };
    } else planes[p] = { mode: Mode.RAW, predictor: 0, value: 0, outliers: 0 };
  }
  const sections = [
    ...symbols.flatMap((cut, p) =>
      planes[p].mode === Mode.RAW ? [packRaw(cut, tile, split[p], hasPayload(planes, p, hasBase))] : [],
    ),
    ...coded.flatMap((plane) => (plane === undefined ? [] : [bytesOf(plane.states), bytesOf(plane.units)])),
  ];
  const decoded = symbols.map((cut, p) => coded[p]?.symbols ?? cut);
  const outliers = [...new Set([...listed, ...(coded[0]?.outliers ?? [])])].sort((a, b) => a - b);
  planes[0] = { ...planes[0], outliers: outliers.length };
  return { planes, symbols: decoded, outliers, sections };
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array | Uint16Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Sections one after the other, each padded to a multiple of 16 bytes. */
export function joinSections(sections: readonly Uint8Array[]): Uint8Array {
  const data = new Uint8Array(sections.reduce((length, section) => length + align(section.length), 0));
  let at = 0;
  for (const section of sections) {
    data.set(section, at);
    at += align(section.length);
  }
  return data;
}

/** Whether a coded plane is smaller than it would be in RAW. */
function isSmaller(plane: CodedPlane, { dtype, split }: Header, tile: Tile, p: number, givesPayload: boolean): boolean {
  const { states, units, outliers } = plane;
  const size = align(4 * states.length) + align(2 * units.length) + align(outliers.length * outlierBytes(dtype));
  return size - (givesPayload ? 2 * states.length : 0) < align(rawBytes(tile, split[p], false));
}

/**
 * Codes a plane; undefined where its tables cannot, with at most so many outliers.
 *
 * @param elements the class of each element, against a base
 */
function codePlane(
  { dtype, tables: sets, pairs, windows, selectors, base }: Header,
  tile: Tile,
  p: number,
  { mode, predictor }: Wish,
  symbols: Uint16Array,
  payload: Uint16Array,
  mostOutliers: number,
  elements: Uint8Array | undefined,
): CodedPlane | undefined {
  const columnsEach = mode === Mode.PAIRS ? 2 : 1;
  const set = mode === Mode.PAIRS ? pairs : sets[p];
  if (set === undefined) return undefined;
  const tables = tablesOfTile(set, selectors, tile, columnsEach, elements);
  const starts = startsOf(windows, tile);
  const chosen =
    mode === Mode.PAIRS
      ? pairsWithSlots(pairCodesOf(symbols, starts), tables)
      : symbolsWithSlots(residualsOf(predictor, symbols, tile.width, zeroSymbol(dtype)), tables);
  let decoded = symbols;
  if (mode === Mode.PAIRS) decoded = splitPairs(chosen, starts, tile);
  else if (predictor === 0) decoded = chosen;
  const outliers: number[] = [];
  for (let at = 0; at < symbols.length; at++) if (decoded[at] !== symbols[at]) outliers.push(at);
  if (outliers.length > mostOutliers) return undefined;
  const finals = Uint32Array.from(payload, (bits) => STATE_FLOOR + bits);
  const { perLane } = lanesOf(tile.width, base !== undefined, columnsEach);
  return { ...encodeLanes(chosen, finals, perLane, tables), symbols: decoded, outliers };
}

/** The symbol of the highest frequency, the lowest of equals, stands for a symbol without a slot. */
function symbolsWithSlots(symbols: Uint16Array, { tables, classes }: TileTables): Uint16Array {
  const likeliest = tables.map(({ frequency }) => frequency.indexOf(frequency.reduce((a, b) => Math.max(a, b), 0)));
  return symbols.map((symbol, at) => {
    const table = classes[at];
    return tables[table].frequency[symbol] > 0 ? symbol : likeliest[table];
  });
}

/** The pair with the fewest wrong codes, then the highest frequency, the lowest of equals, stands for one without a slot. */
function nearestPair({ frequency }: Table, left: number, right: number): number {
  let best = -1;
  let bestWrong = 3;
  for (let pair = 0; pair < frequency.length; pair++) {
    if (frequency[pair] === 0) continue;
    const wrong = ((pair & 15) === left ? 0 : 1) + (pair >> 4 === right ? 0 : 1);
    if (wrong < bestWrong || (wrong === bestWrong && frequency[pair] > frequency[best])) {
      best = pair;
      bestWrong = wrong;
    }
  }
  return best;
}

/** @param codes two for each pair; those outside their window are always wrong */
function pairsWithSlots(codes: Uint8Array, { tables, classes }: TileTables): Uint16Array {
  return Uint16Array.from({ length: codes.length / 2 }, (_, at) => {
    const table = tables[classes[at]];
    const [left, right] = [codes[2 * at], codes[2 * at + 1]];
    const pair = left + 16 * right;
    return left < 16 && right < 16 && table.frequency[pair] > 0 ? pair : nearestPair(table, left, right);
  });
}

/** The outliers as they are stored: position and word, in one u32 or in two. */
function entriesOf(outliers: readonly number[], words: Uint32Array, tile: Tile, wordBits: number): Uint32Array {
  return Uint32Array.from(
    outliers.flatMap((at) => {
      const position = Math.floor(at / tile.width) * TILE_COLUMNS + (at % tile.width);
      return wordBits === 32 ? [position, words[at]] : [(position | (words[at] << 16)) >>> 0];
    }),
  );
}
