// rANS with one coder a lane (FORMAT.md, section 6). READ THIS FIRST; three things go wrong for everyone:
//
//  1. The encoder runs backwards: last row, last step and last lane first, writing words from the end of its buffer
//     to the front. The decoder then reads everything forwards.
//  2. A lane renormalises *after* decoding a symbol and *before* encoding one, at most once.
//  3. All lanes share one sequence of words. At each step the lanes that need a word take one each, in lane order;
//     a lane whose column does not exist takes no part in that step.
//
// Duda, "Asymmetric numeral systems", arXiv:1311.2540; Giesen, "Interleaved entropy coders", arXiv:1402.3392.

import { SUBSTITUTED, slotTable, symbolTable, type TableSet } from './frequency.ts';

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
  /** Indices, rising, of the symbols that have no slot: the likeliest of their table was coded for them. */
  readonly substituted: readonly number[];
}

/**
 * Encodes `height` x `width` symbols, lane l owning the columns from l x perLane.
 *
 * @param symbols row by row
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
  const table = symbolTableOf(tables);
  const columnClasses = classes.columns;
  const states = finals.slice();
  // One word more than there can be, in front: a word is always written, and kept by moving on.
  const buffer = new Uint16Array(height * width + 1);
  const high = 32 - probabilityBits;
  const substituted: number[] = [];
  let at = buffer.length;
  for (let i = height - 1; i >= 0; i--) {
    const rowClass = classes.rows[i];
    const row = i * width;
    for (let k = Math.min(perLane, width) - 1; k >= 0; k--) {
      let lane = Math.floor((width - 1 - k) / perLane);
      for (let j = lane * perLane + k; lane >= 0; lane--, j -= perLane) {
        const entry = table[((rowClass | columnClasses[j]) << symbolBits) | symbols[row + j]];
        if (entry >= SUBSTITUTED) substituted.push(row + j);
        const frequency = entry & 0xffff;
        let state = states[lane];
        // 1 if the state would leave its interval, without a branch that could be mispredicted.
        const renormalise = (frequency - 1 - (state >>> high)) >>> 31;
        buffer[at - 1] = state;
        at -= renormalise;
        state >>>= renormalise << 4;
        const quotient = (state / frequency) >>> 0;
        states[lane] =
          (quotient << probabilityBits) + ((entry >>> 16) & 0xfff) + (state - Math.imul(quotient, frequency));
      }
    }
  }
  return { states, words: buffer.slice(at), substituted: substituted.sort((a, b) => a - b) };
}

/**
 * Decodes `height` x `width` symbols into `symbols`. `states` begin as stored and end as the final states.
 *
 * @param words those of the stream and one more, of any value
 * @returns the words consumed; more than the stream has where it is damaged, and then symbols are meaningless
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
  const table = slotTableOf(tables);
  const columnClasses = classes.columns;
  const slotMask = (1 << probabilityBits) - 1;
  const symbolMask = (1 << symbolBits) - 1;
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
        const next =
          (Math.imul(entry >>> frequencyShift, state >>> probabilityBits) + ((entry >>> symbolBits) & slotMask)) | 0;
        // 1 if the state is below 2^16, without a branch that could be mispredicted.
        const renormalise = ((next >>> 16) - 1) >>> 31;
        states[lane] = (next << (renormalise << 4)) | (words[at] & -renormalise);
        at += renormalise;
      }
  }
  return at;
}

/** Remembers what `expand` makes of a table set: it is expanded once and used for many tiles. */
export function remembered<T>(expand: (tables: TableSet) => T): (tables: TableSet) => T {
  const store = new WeakMap<TableSet, T>();
  return (tables) => {
    let expanded = store.get(tables);
    if (expanded === undefined) {
      expanded = expand(tables);
      store.set(tables, expanded);
    }
    return expanded;
  };
}

const slotTableOf = remembered(slotTable);
const symbolTableOf = remembered(symbolTable);
