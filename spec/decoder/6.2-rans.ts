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
 * @param perLane symbols that a lane has in a row: 4, or 2 in PAIRS
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
      for (let j = k, lane = 0; j < width; j += perLane, lane++) {
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
