// FORMAT.md, annex A.6: how often each symbol occurs, by bins of rows and columns.

import type { Tile } from '../decoder/2-matrix.ts';
import { zeroSymbol } from '../decoder/3-planes.ts';
import { Mode } from '../decoder/4-metadata.ts';
import { PAIR_BITS } from '../decoder/6.1-tables.ts';
import { CODES, startsOf } from '../decoder/6.3-pairs.ts';
import { type Source, tilesOf, wordsOfTile } from './a2-layout.ts';
import type { Survey } from './a3-survey.ts';
import { LEVELS, type Levels, quantileBins } from './a4-levels.ts';
import { BINADE, OUTSIDE, pairCodesOf, type WindowsOfMode, type Wish } from './a5-windows.ts';
import { type EncodeOptions, profileFor } from './options.ts';
import { cutPlanes, isConstant, residualsOf } from './planes.ts';

/** Row bins and column bins of a joint histogram. */
export const ROW_BINS = 8;
export const COLUMN_BINS = 16;

/** Smaller tensors have one class: selectors and tables would cost more than they save. */
const CLASSES_FROM_WORDS = 2 ** 14;

/** The bin of each row, and of each column or, where there are to be pairs, each two columns. */
export interface Bins {
  readonly rows: Uint8Array;
  readonly columns: Uint8Array;
}

/** Counts of symbols: [(row bin x COLUMN_BINS + column bin) x 2^bits + symbol], or [symbol] without bins. */
export type Joint = Float64Array;

export interface Counts {
  /** For each plane: of its tiles in RANS. */
  readonly planes: readonly Joint[];
  /** Of the tiles in PAIRS. */
  readonly pairs: Joint;
}

/** Undefined where there is to be one class. */
export function binRowsAndColumns(
  { dtype, matrix }: Source,
  levels: Levels,
  windows: WindowsOfMode | undefined,
  options: EncodeOptions,
): Bins | undefined {
  const isWorthIt = matrix.words >= CLASSES_FROM_WORDS && profileFor(dtype, options) !== 'direct';
  const { classes = isWorthIt ? undefined : 'none' } = options;
  if (matrix.words === 0 || classes === 'none') return undefined;
  const rows = quantileBins(levels.rows, ROW_BINS);
  if (windows?.mode !== Mode.PAIRS) return { rows, columns: quantileBins(levels.columns, COLUMN_BINS) };
  // What is left of the levels of two columns side by side, in quarters: 4 x 4 bins.
  const left = levels.columns.map(
    (level, j) => (level - BINADE * (windows.offsets?.[j] ?? 0) + BINADE * CODES) % LEVELS,
  );
  const quarters = quantileBins(left, 4);
  const columns = Uint8Array.from(
    { length: Math.ceil(matrix.columns / 2) },
    (_, q) => 4 * quarters[2 * q] + (quarters[2 * q + 1] ?? quarters[2 * q]),
  );
  return { rows, columns };
}

/** @param forced whether modes are: constant planes count too then */
export function countSymbols(
  source: Source,
  { split }: Survey,
  windows: WindowsOfMode | undefined,
  wishes: readonly (readonly Wish[])[],
  bins: Bins | undefined,
  forced: boolean,
): Counts {
  const { dtype } = source;
  const jointOf = (bits: number): Joint => new Float64Array((bins ? ROW_BINS * COLUMN_BINS : 1) * 2 ** bits);
  const planes = split.map(jointOf);
  const pairs = jointOf(PAIR_BITS);
  const wantsPairs = windows?.mode === Mode.PAIRS;
  tilesOf(source).forEach((tile, index) => {
    cutPlanes(dtype, split, wordsOfTile(source, tile)).forEach((symbols, p) => {
      const { mode, predictor } = wishes[index][p];
      if (mode === Mode.RAW || mode === Mode.DIRECT || (!forced && isConstant(symbols))) return;
      if (mode === Mode.PAIRS) {
        const counted = countedPairs(symbols, startsOf(windows as WindowsOfMode, tile));
        addCounts(counted, tile, PAIR_BITS, 2, bins, 2, pairs);
        return;
      }
      const residuals = residualsOf(predictor, symbols, tile.width, zeroSymbol(dtype));
      // Beside pairs, plane 0 has one table and no classes.
      const binned = p === 0 && wantsPairs ? undefined : bins;
      addCounts(residuals, tile, split[p], 1, binned, wantsPairs ? 2 : 1, planes[p]);
    });
  });
  return { planes, pairs };
}

/** The pairs of a tile as they count: the other code of the pair stands for one outside its window, 0 for both. */
function countedPairs(symbols: Uint16Array, starts: Uint8Array): Uint16Array {
  const codes = pairCodesOf(symbols, starts);
  const pairs = new Uint16Array(codes.length / 2);
  for (let q = 0; q < pairs.length; q++) {
    const [left, right] = [codes[2 * q], codes[2 * q + 1]];
    const both = left === OUTSIDE && right === OUTSIDE;
    const first = both ? 0 : left === OUTSIDE ? right : left;
    const second = both ? 0 : right === OUTSIDE ? left : right;
    pairs[q] = first + 16 * second;
  }
  return pairs;
}

/**
 * Counts a tile's symbols, row by row.
 *
 * @param columnsEach columns that a symbol stands for
 * @param columnsABin columns that share a bin
 */
function addCounts(
  symbols: Uint16Array,
  tile: Tile,
  bits: number,
  columnsEach: number,
  bins: Bins | undefined,
  columnsABin: number,
  joint: Joint,
): void {
  const across = Math.ceil(tile.width / columnsEach);
  const columns = Array.from({ length: across }, (_, j) =>
    bins === undefined ? 0 : bins.columns[Math.floor((tile.column + j * columnsEach) / columnsABin)],
  );
  for (let i = 0, at = 0; i < tile.height; i++) {
    const row = bins === undefined ? 0 : bins.rows[tile.row + i] * COLUMN_BINS;
    for (let j = 0; j < across; j++, at++) joint[((row + columns[j]) << bits) | symbols[at]]++;
  }
}
