// rANS with one coder a lane (FORMAT.md, section 6). READ THIS FIRST; three things go wrong for everyone:
//
//  1. The encoder runs backwards: last row, last step and last lane first, writing words from the end of its buffer
//     to the front. The decoder then reads everything forwards.
//  2. A lane renormalises *after* decoding a symbol and *before* encoding one, at most once.
//  3. All lanes share one sequence of words. At each step the lanes that need a word take one each, in lane order;
//     a lane whose column does not exist takes no part in that step.
//
// Duda, "Asymmetric numeral systems", arXiv:1311.2540; Giesen, "Interleaved entropy coders", arXiv:1402.3392.

import type { TableSet } from './frequency.ts';
import { slotTable, symbolTable } from './frequency.ts';

/** States lie in [2^16, 2^32) and are renormalised by words of 16 bits. */
export const STATE_FLOOR = 2 ** 16;

/** Which table a symbol has: rowClasses[row] | columnClasses[column]. */
export interface Classes {
  readonly rows: Uint8Array;
  readonly columns: Uint8Array;
}

export interface CodedLanes {
  /** One state a lane, where a decoder begins. */
  readonly states: Uint32Array;
  /** Words in the order in which a decoder reads them. */
  readonly words: Uint16Array;
}

/**
 * Encodes `height` x `width` symbols, lane l owning the columns from l x perLane.
 *
 * @param symbols row by row; each must have a slot in its table
 * @param finals the state in which a decoder will end, one a lane
 */
export function encodeLanes(
  symbols: Uint16Array,
  height: number,
  width: number,
  perLane: number,
  tables: TableSet,
  classes: Classes,
  finals: Uint32Array,
): CodedLanes {
  const { symbolBits, probabilityBits } = tables;
  const table = cached(symbolTables, tables, symbolTable);
  const columnClasses = classes.columns;
  const states = finals.slice();
  const buffer = new Uint16Array(height * width);
  const high = 32 - probabilityBits;
  let at = buffer.length;
  for (let i = height - 1; i >= 0; i--) {
    const rowClass = classes.rows[i];
    for (let k = Math.min(perLane, width) - 1; k >= 0; k--) {
      let lane = Math.floor((width - 1 - k) / perLane);
      for (let j = lane * perLane + k; lane >= 0; lane--, j -= perLane) {
        const entry = table[((rowClass | columnClasses[j]) << symbolBits) | symbols[i * width + j]];
        const frequency = entry & 0xffff;
        let state = states[lane];
        if (state >>> high >= frequency) {
          buffer[--at] = state;
          state >>>= 16;
        }
        const quotient = (state / frequency) >>> 0;
        states[lane] = (quotient << probabilityBits) + (entry >>> 16) + (state - Math.imul(quotient, frequency));
      }
    }
  }
  return { states, words: buffer.slice(at) };
}

/**
 * Decodes `height` x `width` symbols into `symbols`. `states` begin as stored and end as the final states.
 *
 * @returns the words consumed; more than there are where the stream is damaged, and then symbols are meaningless
 */
export function decodeLanes(
  states: Uint32Array,
  words: Uint16Array,
  height: number,
  width: number,
  perLane: number,
  tables: TableSet,
  classes: Classes,
  symbols: Uint16Array,
): number {
  const { symbolBits, probabilityBits } = tables;
  const table = cached(slotTables, tables, slotTable);
  const columnClasses = classes.columns;
  const slotMask = 2 ** probabilityBits - 1;
  const symbolMask = 2 ** symbolBits - 1;
  const frequencyShift = symbolBits + probabilityBits;
  let at = 0;
  for (let i = 0; i < height; i++) {
    const rowClass = classes.rows[i];
    const row = i * width;
    for (let k = 0; k < perLane; k++)
      for (let j = k, lane = 0; j < width; j += perLane, lane++) {
        const state = states[lane];
        const entry = table[((rowClass | columnClasses[j]) << probabilityBits) | (state & slotMask)];
        symbols[row + j] = entry & symbolMask;
        let next = Math.imul(entry >>> frequencyShift, state >>> probabilityBits) + ((entry >>> symbolBits) & slotMask);
        // Past the end a typed array reads as undefined, which counts as zero here and is refused by the caller.
        if (next >>> 16 === 0) next = (next << 16) | words[at++];
        states[lane] = next;
      }
  }
  return at;
}

const slotTables = new WeakMap<TableSet, Uint32Array>();
const symbolTables = new WeakMap<TableSet, Uint32Array>();

/** A table set is expanded once and used for many tiles. */
function cached(store: WeakMap<TableSet, Uint32Array>, tables: TableSet, expand: (tables: TableSet) => Uint32Array): Uint32Array {
  let expanded = store.get(tables);
  if (expanded === undefined) {
    expanded = expand(tables);
    store.set(tables, expanded);
  }
  return expanded;
}
