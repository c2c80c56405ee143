// FORMAT.md, section 6.2: rANS with one state a lane. Three things go wrong for everyone:
//
//  1. An encoder runs backwards: last row, last k and last lane first, and gives away units from the last to the first.
//     A decoder then reads everything forwards.
//  2. A lane takes a unit *after* decoding a symbol, and gives one away *before* encoding one; one at most.
//  3. All lanes share one sequence of units. At each k, the lanes that need a unit take one each, in lane order; a lane
//     whose column does not exist takes no part.
//
// Duda, "Asymmetric numeral systems", arXiv:1311.2540; Giesen, "Interleaved entropy coders", arXiv:1402.3392.

import type { WordArray } from './2-matrix.ts';
import type { TileTables } from './6.1-tables.ts';
import { LANE_COLUMNS } from './7-raw.ts';

/** With a base there are at most so many lanes, which own four of every 32 columns. */
const BASE_LANES = 8;
const BASE_COLUMNS = 16;

/** How many lanes coded planes of a tile have, and the symbols of each in a row, of one column each or of two. */
export function lanesOf(width: number, hasBase: boolean, columnsEach: 1 | 2 = 1): { count: number; perLane: number } {
  const count = Math.ceil(width / LANE_COLUMNS);
  if (hasBase) return { count: Math.min(BASE_LANES, count), perLane: BASE_COLUMNS };
  return { count, perLane: LANE_COLUMNS / columnsEach };
}

/** Where the symbol of a lane is in a row at step `k`. */
export function placeOf(lane: number, k: number, perLane: number): number {
  if (perLane < BASE_COLUMNS) return perLane * lane + k;
  return BASE_LANES * LANE_COLUMNS * Math.floor(k / LANE_COLUMNS) + LANE_COLUMNS * lane + (k % LANE_COLUMNS);
}

/** States are in [2^16, 2^32). */
export const STATE_FLOOR = 2 ** 16;

export interface DecodedLanes {
  /** Row by row, as many as there are classes in `tables`. */
  readonly symbols: Uint16Array;
  /** The state in which each lane ends. */
  readonly finals: Uint32Array;
  /** Units consumed. Where these are not as many as there are, the stream is damaged and the symbols are nothing. */
  readonly used: number;
}

/**
 * Decodes the symbols of a tile's plane.
 *
 * @param stored the state in which each lane begins
 * @param perLane symbols that a lane has in a row
 */
export function decodeLanes(
  stored: WordArray,
  units: WordArray,
  perLane: number,
  { probabilityBits: N, tables, width, classes }: TileTables,
): DecodedLanes {
  const symbols = new Uint16Array(classes.length);
  const finals = Uint32Array.from(stored);
  const slotMask = 2 ** N - 1;
  let used = 0;
  for (let i = 0; i < classes.length; i += width)
    for (let k = 0; k < perLane; k++)
      for (let lane = 0; lane < finals.length; lane++) {
        const j = placeOf(lane, k, perLane);
        if (j >= width) break;
        const { frequency, cumulative, symbolOfSlot } = tables[classes[i + j]];
        let x = finals[lane];
        const slot = x & slotMask;
        const symbol = symbolOfSlot[slot];
        x = frequency[symbol] * (x >>> N) + slot - cumulative[symbol];
        if (x < STATE_FLOOR) {
          x = (x << 16) | (used < units.length ? units[used] : 0);
          used++;
        }
        finals[lane] = x;
        symbols[i + j] = symbol;
      }
  return { symbols, finals, used };
}
