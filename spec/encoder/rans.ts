// FORMAT.md, section 6.2, for an encoder: rANS backwards. The inverse of the decoder's 6.2-rans.ts, which begins with
// the three things that go wrong for everyone.

import type { TileTables } from '../decoder/6.1-tables.ts';
import { placeOf } from '../decoder/6.2-rans.ts';

export interface CodedLanes {
  /** The state of each lane with which a decoder begins. */
  readonly states: Uint32Array;
  /** Units in the order in which a decoder takes them. */
  readonly units: Uint16Array;
}

/**
 * Encodes the symbols of a tile's plane, all of which have a slot.
 *
 * @param symbols row by row
 * @param finals the state in which each lane of a decoder will end
 * @param perLane symbols that a lane has in a row
 */
export function encodeLanes(
  symbols: Uint16Array,
  finals: Uint32Array,
  perLane: number,
  { probabilityBits: N, tables, width, classes }: TileTables,
): CodedLanes {
  const states = finals.slice();
  const given: number[] = [];
  const slots = 2 ** N;
  const highest = 2 ** (32 - N);
  for (let i = classes.length - width; i >= 0; i -= width)
    for (let k = perLane - 1; k >= 0; k--)
      for (let lane = states.length - 1; lane >= 0; lane--) {
        const j = placeOf(lane, k, perLane);
        if (j >= width) continue;
        const { frequency, cumulative } = tables[classes[i + j]];
        const symbol = symbols[i + j];
        let x = states[lane];
        if (x >= frequency[symbol] * highest) {
          given.push(x & 0xffff);
          x >>>= 16;
        }
        states[lane] = Math.floor(x / frequency[symbol]) * slots + (x % frequency[symbol]) + cumulative[symbol];
      }
  return { states, units: Uint16Array.from(given.reverse()) };
}
