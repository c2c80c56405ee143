// Valid streams that no encoder makes: headers, tables, modes and symbols are drawn, and what a decoder gets of them is the
// tensor. So a decoder meets whatever FORMAT.md allows, in every combination, however senseless.
//
// `Draw` is a generator with what drawing needs; the same seed gives the same stream.

import { generator, makeTensor, PATTERNS } from '../../golden/patterns.ts';
import { type Header, MAX_COLUMNS, MAX_SLOTS, TILE_ROWS } from '../../spec/decoder/1-front.ts';
import { type Matrix, matrixView, type Tile, tileAt, wordsOf } from '../../spec/decoder/2-matrix.ts';
import { allowsColumnValues } from '../../spec/decoder/3.1-columns.ts';
import { baseCrc, baseTile, classesOf, joinDifferences } from '../../spec/decoder/3.2-base.ts';
import {
  allowsDirect,
  allowsPairs,
  DTYPES,
  type Dtype,
  isNibbles,
  joinPlanes,
  zeroSymbol,
} from '../../spec/decoder/3-planes.ts';
import { hasPayload, isCoded, Mode, type TileMetadata, type TilePlane } from '../../spec/decoder/4-metadata.ts';
import { undoPrediction } from '../../spec/decoder/5-prediction.ts';
import {
  MIN_PROBABILITY_BITS,
  maxProbabilityBits,
  PAIR_BITS,
  type TableSet,
  tableOf,
  tablesOfTile,
} from '../../spec/decoder/6.1-tables.ts';
import { lanesOf, STATE_FLOOR } from '../../spec/decoder/6.2-rans.ts';
import { CODES, MAX_START, splitPairs, startsOf } from '../../spec/decoder/6.3-pairs.ts';
import { tileCheck } from '../../spec/decoder/8-checks.ts';
import { joinSections } from '../../spec/encoder/a9-tiles.ts';
import { packBlocks } from '../../spec/encoder/direct.ts';
import { writeFront } from '../../spec/encoder/front.ts';
import { encodeLanes } from '../../spec/encoder/rans.ts';
import { packRaw, payloadOf } from '../../spec/encoder/raw.ts';
import type { ClassChoice, EncodeOptions, ModeChoice, Profile } from '../../spec/index.ts';
import tables from '../../spec/tables.json' with { type: 'json' };

const PREDICTORS = tables.predictors as readonly ModeChoice[];

export class Draw {
  private readonly random: () => number;

  constructor(seed: number) {
    this.random = generator(seed);
  }

  /** A number below `limit`. */
  below(limit: number): number {
    return this.random() % limit;
  }

  /** From `first` to `last`. */
  from(first: number, last: number): number {
    return first + this.below(last - first + 1);
  }

  /** Whether one of so many happened. */
  one(of: number): boolean {
    return this.below(of) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.random());
  }

  /** So many numbers below `limit`: all alike, few of them, or all. */
  numbers(length: number, limit: number): Uint8Array {
    const most = this.pick([1, 2, limit]);
    const first = this.below(limit);
    return Uint8Array.from({ length }, () => (first + this.below(most)) % limit);
  }
}

export interface Drawn {
  readonly stream: Uint8Array;
  /** Of a stream against one. */
  readonly base?: Uint8Array;
}

/** A table of 2^N slots, of two symbols or more. */
function drawTable(draw: Draw, symbolBits: number, N: number) {
  const symbols = 2 ** symbolBits;
  const slots = 2 ** N;
  const frequency = new Uint16Array(symbols);
  const most = Math.min(symbols, slots);
  const count = draw.pick([2, draw.from(2, 8), draw.from(2, most), most]);
  // Side by side, or anywhere.
  const first = draw.below(symbols - count + 1);
  const step = draw.one(2) ? 1 : Math.floor((symbols - 1 - first) / (count - 1));
  for (let i = 0; i < count; i++) frequency[first + i * step] = 1;
  for (let left = slots - count; left > 0; ) {
    const share = draw.one(4) ? left : draw.from(1, left);
    frequency[first + draw.below(count) * step] += share;
    left -= share;
  }
  return tableOf(frequency);
}

/** How many tables each set has and their N, at most 20,480 slots in all; and as many as it has for one of them at least. */
function drawTables(draw: Draw, setBits: readonly number[], most: readonly number[], classes: number) {
  const counts = setBits.map((_, s) => draw.pick([0, 1, 1, classes].map((count) => Math.min(count, most[s]))));
  if (classes > 1 && !counts.includes(classes)) counts[most.lastIndexOf(classes)] = classes;
  const bits = setBits.map((symbolBits) =>
    draw.one(2) ? MIN_PROBABILITY_BITS : draw.from(MIN_PROBABILITY_BITS, maxProbabilityBits(symbolBits)),
  );
  const slots = (): number => counts.reduce((sum, count, s) => sum + count * 2 ** bits[s], 0);
  // As near to the limit as lowering one N at a time leaves it.
  for (let s = 0; slots() > MAX_SLOTS; s = (s + 1) % bits.length) if (bits[s] > MIN_PROBABILITY_BITS) bits[s]--;
  return setBits.map((symbolBits, s): TableSet | undefined => {
    if (counts[s] === 0) return undefined;
    const tables = Array.from({ length: counts[s] }, () => drawTable(draw, symbolBits, bits[s]));
    return { symbolBits, probabilityBits: bits[s], tables };
  });
}

/** A matrix of about so many words at most, and how many of them the tensor has. */
function drawMatrix(draw: Draw, dtype: Dtype, mostWords: number, wide = draw.one(2000)): Matrix {
  const narrow = [draw.from(1, 9), draw.from(1, 40), draw.from(120, 136), 128, 256, draw.from(1, 400)];
  const columns = wide ? MAX_COLUMNS : Math.min(mostWords, draw.pick(narrow));
  const mostRows = Math.max(1, Math.floor(mostWords / columns));
  const rows = draw.one(50) ? 0 : draw.from(1, Math.min(mostRows, draw.pick([4, 20, 260])));
  const words = Math.max(0, rows * columns - (draw.one(3) ? draw.below(columns) : 0));
  // Whole elements; and elements of 4 and 6 bits fill whole words.
  const least = dtype.bits < 8 ? 24 / dtype.bits : 1;
  const elements = Math.floor((words * dtype.wordBits) / dtype.bits / least) * least;
  return matrixView((elements * dtype.bits) / dtype.wordBits, columns, draw.pick(TILE_ROWS));
}

/** A shape of so many elements, in up to 255 dimensions. */
function drawShape(draw: Draw, elements: number): number[] {
  const shape: number[] = [];
  let rest = elements;
  for (const divisor of [2, 3, 5, 7, 11])
    if (rest > 0 && rest % divisor === 0 && draw.one(3)) {
      shape.push(divisor);
      rest /= divisor;
    }
  if (rest !== 1 || draw.one(2)) shape.push(rest);
  const ones = draw.one(20) ? draw.from(1, 255 - shape.length) : draw.below(3);
  for (let i = 0; i < ones; i++) shape.splice(draw.below(shape.length + 1), 0, 1);
  if (elements === 0) for (let i = draw.below(4); i > 0 && shape.length < 255; i--) shape.push(draw.below(1000));
  return shape;
}

export interface DrawnTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
  readonly options: EncodeOptions;
}

/** A tensor, and options for an encoder; now and then with a base. */
export function drawTensor(draw: Draw, mostWords: number): DrawnTensor {
  const dtype = draw.pick(DTYPES);
  const split = draw.pick(dtype.splits);
  const isChanged = draw.one(16);
  // Whole tiles of few words, which a GPU decodes by a kernel of its own if little has changed.
  const matrix = isChanged
    ? matrixView(1536 * draw.from(1, 3), 128, draw.pick(TILE_ROWS))
    : drawMatrix(draw, dtype, mostWords);
  const { words, columns } = matrix;
  const bytes = makeTensor(dtype.name, words, columns, draw.pick(PATTERNS), draw.below(2 ** 31));
  const modes = split.map((bits, p): ModeChoice => {
    if (p === 0 && allowsPairs(dtype, split) && draw.one(2)) return 'pairs';
    return draw.pick(bits === 8 ? ['raw', ...PREDICTORS] : ['raw', 'none']);
  });
  const isDirect = allowsDirect(dtype, split) && draw.one(2);
  const forced = { split, modes: isDirect ? (['direct', 'direct'] as const) : modes };
  const maybe = <T extends object>(choice: T): T | undefined => (draw.one(2) ? choice : undefined);
  const view = { tileRows: matrix.tileRows as EncodeOptions['tileRows'], columns };
  const choices = {
    ...view,
    ...maybe({ profile: draw.pick(tables.profiles) as Profile }),
    ...maybe(forced),
    ...maybe({
      probabilityBits: draw.from(MIN_PROBABILITY_BITS, Math.min(...dtype.splits.flat().map(maxProbabilityBits))),
    }),
    ...maybe({ classes: draw.pick(tables.classChoices) as ClassChoice }),
    ...maybe({ columnOffsets: draw.one(2) }),
    ...maybe({ columnValues: draw.pick([false, true, 'wide'] as const) }),
  };
  const shape = drawShape(draw, (words * dtype.wordBits) / dtype.bits);
  const other = draw.one(16) ? drawBase(draw, dtype, matrix) : undefined;
  const base = isChanged ? changed(draw, dtype, bytes) : other;
  return {
    dtype: dtype.name,
    shape,
    bytes,
    options: base === undefined ? choices : { ...view, base },
  };
}

/** The same words but for the lowest bits of some, as after a step of training: planes above the first are constant. */
function changed(draw: Draw, dtype: Dtype, words: Uint8Array): Uint8Array {
  const bytes = words.slice();
  const [one, bits] = [draw.from(1, 40), draw.from(1, 4)];
  for (let at = 0; at < bytes.length; at += dtype.wordBits / 8) if (draw.one(one)) bytes[at] ^= draw.below(2 ** bits);
  return bytes;
}

/** Words of a base; of many levels, or few. */
function drawBase(draw: Draw, dtype: Dtype, matrix: Matrix): Uint8Array {
  const bytes = draw.bytes((matrix.words * dtype.wordBits) / 8);
  const top = dtype.wordBits / 8 - 1;
  if (draw.one(2)) for (let at = top; at < bytes.length; at += top + 1) bytes[at] = 0x3c + (bytes[at] & 3);
  return bytes;
}

/** The words that are values of columns: of floats, signs alone or all bits. */
function drawColumnValues(draw: Draw, dtype: Dtype, columns: number): Uint16Array {
  const isFloat = dtype.kind === 'float';
  const first = draw.numbers(columns, isFloat ? 2 : 256);
  if (!isFloat) return Uint16Array.from(first);
  const [high, low] = draw.one(2) ? [draw.numbers(columns, 128), draw.numbers(columns, 256)] : [];
  return Uint16Array.from(first, (sign, j) => (sign << 15) | ((high?.[j] ?? 0) << 8) | (low?.[j] ?? 0));
}

/** A Header, and where it says so, a base. */
function drawHeader(draw: Draw, mostWords: number, wide?: boolean): { header: Header; base: Uint8Array | undefined } {
  const dtype = draw.pick(draw.one(2) ? DTYPES.slice(0, 8) : DTYPES);
  const split = draw.pick(dtype.splits);
  const matrix = drawMatrix(draw, dtype, mostWords, wide);
  const shape = drawShape(draw, (matrix.words * dtype.wordBits) / dtype.bits);
  const isAgainst = split.every((bits) => bits === 8) && draw.one(6);
  const hasDirect = !isAgainst && allowsDirect(dtype, split) && draw.one(3);
  const mayPair = !isAgainst && !hasDirect && allowsPairs(dtype, split);
  let classes = draw.pick(isAgainst ? [1, 2, 4, 8] : [1, 1, 2, 4]);
  const hasPairs = mayPair && draw.one(2);
  // Beside PAIRS, plane 0 has one table at most.
  const most = [...split.map((_, p) => (hasPairs && p === 0 ? 1 : classes)), hasPairs ? classes : 0];
  const sets = drawTables(draw, [...split, PAIR_BITS], most, classes);
  const pairs = sets[split.length];
  // Where there are none in the end, what plane 0 may have is the same.
  if (sets.every((set) => set?.tables.length !== classes)) classes = 1;
  const columnsEach = pairs ? 2 : 1;
  const select = draw.pick(['rows', 'columns', 'both']);
  const hasWindows = hasDirect || (pairs !== undefined && !isNibbles(split));
  const base = hasWindows ? draw.pick([0, MAX_START, draw.from(0, MAX_START)]) : 0;
  const bytes = isAgainst ? drawBase(draw, dtype, matrix) : undefined;
  const header: Header = {
    ...{ dtype, shape, matrix, split, tables: sets.slice(0, split.length), pairs, hasDirect },
    windows: {
      base,
      offsets: hasWindows && draw.one(2) ? draw.numbers(matrix.columns, Math.min(16, MAX_START - base + 1)) : undefined,
    },
    columnValues:
      !isAgainst && allowsColumnValues(dtype, split) && draw.one(3)
        ? drawColumnValues(draw, dtype, matrix.columns)
        : undefined,
    selectors: {
      ...{ classes, columnsEach },
      rows: !isAgainst && classes > 1 && select !== 'columns' ? draw.numbers(matrix.rows, classes) : undefined,
      columns:
        !isAgainst && classes > 1 && select !== 'rows'
          ? draw.numbers(Math.ceil(matrix.columns / columnsEach), classes)
          : undefined,
    },
    base: bytes && {
      crc: baseCrc(dtype, matrix, wordsOf(bytes, dtype.wordBits)),
      firstLevels: drawRising(draw, classes - 1),
    },
  };
  return { header, base: bytes };
}

/** So many numbers from 1 to 255 that rise. */
function drawRising(draw: Draw, count: number): number[] {
  const chosen = new Set<number>();
  while (chosen.size < count) chosen.add(draw.from(1, 255));
  return [...chosen].sort((a, b) => a - b);
}

/** The modes that a plane may have, RANS as often as all others. */
function drawMode(draw: Draw, { tables, pairs }: Header, p: number): number {
  const coded = [...(tables[p] ? [Mode.RANS] : []), ...(pairs && p === 0 ? [Mode.PAIRS] : [])];
  return coded.length > 0 && draw.one(2) ? draw.pick(coded) : draw.pick([Mode.CONST, Mode.RAW, Mode.RAW, ...coded]);
}

/** The symbols and the sections of a plane; sections come in the order of FORMAT.md, section 4. */
interface DrawnPlane {
  readonly metadata: TilePlane;
  readonly symbols: Uint16Array;
  readonly raw: Uint8Array[];
  readonly coded: Uint8Array[];
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Uint32Array | Uint16Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Planes in modes other than DIRECT, from the last to the first: a RAW plane is what the one before it carries. */
function drawPlanes(draw: Draw, header: Header, tile: Tile, base: Uint32Array | undefined): DrawnPlane[] {
  const { dtype, split, selectors, windows } = header;
  const hasBase = base !== undefined;
  const size = tile.height * tile.width;
  const modes = split.map((_, p) => ({ mode: drawMode(draw, header, p), predictor: 0, value: 0, outliers: 0 }));
  const planes: DrawnPlane[] = [];
  for (let p = split.length - 1; p >= 0; p--) {
    const { mode } = modes[p];
    const symbolsBelow = 2 ** split[p];
    if (mode === Mode.CONST) {
      const value = draw.below(symbolsBelow);
      planes[p] = { metadata: { ...modes[p], value }, symbols: new Uint16Array(size).fill(value), raw: [], coded: [] };
      continue;
    }
    if (mode === Mode.RAW) {
      const symbols = Uint16Array.from({ length: size }, () => draw.below(symbolsBelow));
      const raw = [packRaw(symbols, tile, split[p], hasPayload(modes, p, hasBase))];
      planes[p] = { metadata: modes[p], symbols, raw, coded: [] };
      continue;
    }
    const columnsEach = mode === Mode.PAIRS ? 2 : 1;
    const set = (mode === Mode.PAIRS ? header.pairs : header.tables[p]) as TableSet;
    const elements = base && header.base && classesOf(dtype, header.base, base);
    const tables = tablesOfTile(set, selectors, tile, columnsEach, elements);
    const chosen = Uint16Array.from(tables.classes, (table) => draw.pick(tables.tables[table].symbolOfSlot as never));
    const { count, perLane } = lanesOf(tile.width, hasBase, columnsEach);
    const payload = hasPayload(modes, p + 1, hasBase)
      ? payloadOf(planes[p + 1].symbols, tile, split[p + 1])
      : new Uint16Array(count);
    const finals = Uint32Array.from(payload, (bits) => STATE_FLOOR + bits);
    const { states, units } = encodeLanes(chosen, finals, perLane, tables);
    const predictor = mode === Mode.RANS && split[p] === 8 && !hasBase && draw.one(2) ? draw.from(1, 4) : 0;
    let symbols: Uint16Array = chosen;
    if (mode === Mode.PAIRS) symbols = splitPairs(chosen, startsOf(windows, tile), tile);
    else if (predictor > 0) undoPrediction(predictor, symbols, tile.width, zeroSymbol(dtype));
    const metadata = { ...modes[p], predictor, value: units.length };
    planes[p] = { metadata, symbols, raw: [], coded: [bytesOf(states), bytesOf(units)] };
  }
  return planes;
}

/** Both planes in DIRECT. */
function drawDirect(draw: Draw, { windows }: Header, tile: Tile): DrawnPlane[] {
  const size = tile.height * tile.width;
  const codes = Uint8Array.from({ length: size }, () => draw.below(CODES));
  const rest = Uint16Array.from({ length: size }, () => draw.below(256));
  const starts = startsOf(windows, tile);
  const symbols = Uint16Array.from(codes, (code, at) => starts[at % tile.width] + code);
  const metadata = { mode: Mode.DIRECT, predictor: 0, value: 0, outliers: 0 };
  return [
    { metadata, symbols, raw: [], coded: [packBlocks(codes, rest, tile)] },
    { metadata, symbols: rest, raw: [], coded: [] },
  ];
}

/** As many outliers as there may be, none, or some; a few change nothing. */
function drawOutliers(draw: Draw, { wordBits }: Dtype, tile: Tile, words: Uint32Array): Uint32Array {
  const count = Math.min(255, tile.height * tile.width, draw.pick([0, 0, 1, draw.below(6), 255]));
  const places = new Set<number>();
  while (places.size < count) places.add(draw.below(tile.height * tile.width));
  return Uint32Array.from(
    [...places]
      .sort((a, b) => a - b)
      .flatMap((at) => {
        const position = Math.floor(at / tile.width) * 128 + (at % tile.width);
        const word = draw.one(8) ? words[at] : (draw.below(2 ** 16) * 2 ** 16 + draw.below(2 ** 16)) % 2 ** wordBits;
        return wordBits === 32 ? [position, word] : [position + word * 2 ** 16];
      }),
  );
}

function drawTile(draw: Draw, header: Header, tile: Tile, base: Uint32Array | undefined) {
  const { dtype, split } = header;
  const planes =
    header.hasDirect && !draw.one(3) ? drawDirect(draw, header, tile) : drawPlanes(draw, header, tile, base);
  const symbols = planes.map((plane) => plane.symbols);
  const words = base ? joinDifferences(dtype, symbols, base) : joinPlanes(dtype, split, symbols);
  const { mode, predictor } = planes[0].metadata;
  const mayList = base !== undefined || mode === Mode.DIRECT || (isCoded(mode) && predictor === 0);
  const entries = mayList ? drawOutliers(draw, dtype, tile, words) : new Uint32Array(0);
  const check = tileCheck(words, tile, dtype.wordBits, entries);
  const outliers = entries.length / (dtype.wordBits === 32 ? 2 : 1);
  const metadata = planes.map((plane, p) => (p === 0 ? { ...plane.metadata, outliers } : plane.metadata));
  const data = joinSections([
    ...planes.flatMap(({ raw }) => raw),
    ...planes.flatMap(({ coded }) => coded),
    bytesOf(entries),
  ]);
  return { check, planes: metadata, data };
}

/**
 * A stream of a drawn Header, whose tiles are drawn.
 *
 * @param mostWords about as many has the tensor at most
 * @param wide whether there are 2^18 columns; if left out, there are now and then
 */
export function drawStream(draw: Draw, mostWords: number, wide?: boolean): Drawn {
  const { header, base } = drawHeader(draw, mostWords, wide);
  return { stream: streamOf(draw, header, base), base };
}

function streamOf(draw: Draw, header: Header, base: Uint8Array | undefined): Uint8Array {
  const { matrix, dtype } = header;
  const tiles: TileMetadata[] = [];
  const data: Uint8Array[] = [];
  let offset = 0;
  for (let index = 0; index < matrix.tileCount; index++) {
    const tile = tileAt(matrix, index);
    const words = base && baseTile(matrix, wordsOf(base, dtype.wordBits), tile);
    const { check, planes, data: sections } = drawTile(draw, header, tile, words);
    tiles.push({ offset, check, planes });
    data.push(sections);
    offset += sections.length;
  }
  return Buffer.concat([writeFront(header, tiles, offset), ...data]);
}
