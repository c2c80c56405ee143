// Frequency tables (FORMAT.md, section 6): how probable each symbol is, in slots of 2^N.

import type { BitReader, BitWriter } from './bits.ts';
import { BIT, log2Units } from './logarithm.ts';

export const MIN_PROBABILITY_BITS = 8;

/** N may be at most this, so that frequency, offset and symbol of a slot fit into one 32-bit word. */
export function maxProbabilityBits(symbolBits: number): number {
  return Math.min(12, (32 - symbolBits) >> 1);
}

/** All tables of a tensor have at most this many slots together: 80 KiB, which the shared memory of every GPU holds. */
export const MAX_SLOTS = 20480;

/** The frequency tables of one plane: one, or one for each class. */
export interface TableSet {
  readonly symbolBits: number;
  readonly probabilityBits: number;
  /** frequencies[class][symbol]; each class adds up to 2^probabilityBits. */
  readonly frequencies: readonly Uint16Array[];
}

/** Whether a symbol counted `count` times of `total` is too rare to deserve a slot where outliers may be listed. */
function isRare(count: number, total: number, probabilityBits: number): boolean {
  return count * 2 ** (probabilityBits + 4) < total;
}

/**
 * Frequencies that add up to 2^probabilityBits, by Webster's method with at least one slot for each symbol kept: the
 * next slot goes to, or comes from, the symbol where count / (2 x frequency +- 1) says that it matters most or least.
 *
 * @param dropRare leave out symbols that are cheaper as outliers
 * @returns undefined where nothing was counted or the symbols do not fit
 */
export function normalise(
  counts: ArrayLike<number>,
  probabilityBits: number,
  dropRare: boolean,
): Uint16Array | undefined {
  const slots = 2 ** probabilityBits;
  const frequencies = new Uint16Array(counts.length);
  let counted = 0;
  for (let s = 0; s < counts.length; s++) counted += counts[s];
  const kept: number[] = [];
  let total = 0;
  for (let s = 0; s < counts.length; s++)
    if (counts[s] > 0 && !(dropRare && isRare(counts[s], counted, probabilityBits))) {
      kept.push(s);
      total += counts[s];
    }
  if (kept.length === 0 || kept.length > slots) return undefined;
  if (kept.length === 1) {
    // No frequency may be 2^N: a neighbour gets the last slot.
    frequencies[kept[0]] = slots - 1;
    frequencies[kept[0] ^ 1] = 1;
    return frequencies;
  }
  let missing = slots;
  for (const s of kept) {
    frequencies[s] = Math.max(1, Math.floor((2 * counts[s] * slots + total) / (2 * total)));
    missing -= frequencies[s];
  }
  for (; missing > 0; missing--) {
    let best = kept[0];
    for (const s of kept)
      if (counts[s] * (2 * frequencies[best] + 1) > counts[best] * (2 * frequencies[s] + 1)) best = s;
    frequencies[best]++;
  }
  for (; missing < 0; missing++) {
    let best = -1;
    for (const s of kept)
      if (
        frequencies[s] > 1 &&
        (best < 0 || counts[s] * (2 * frequencies[best] - 1) < counts[best] * (2 * frequencies[s] - 1))
      )
        best = s;
    frequencies[best]--;
  }
  return frequencies;
}

/** What coding the counted symbols costs with these frequencies, in units; a symbol without a slot costs `outlierBits`. */
export function codingCost(
  counts: ArrayLike<number>,
  frequencies: Uint16Array,
  probabilityBits: number,
  outlierBits: number,
): number {
  let cost = 0;
  for (let s = 0; s < counts.length; s++)
    if (counts[s] > 0)
      cost += counts[s] * (frequencies[s] > 0 ? probabilityBits * BIT - log2Units(frequencies[s]) : outlierBits * BIT);
  return cost;
}

const bitLength = (value: number): number => 32 - Math.clz32(value);

/** Appends one table: first symbol, number of symbols less one, then each frequency. */
export function writeTable(writer: BitWriter, symbolBits: number, frequencies: Uint16Array): void {
  let first = 0;
  while (frequencies[first] === 0) first++;
  let last = frequencies.length - 1;
  while (frequencies[last] === 0) last--;
  writer.write(first, symbolBits);
  writer.write(last - first, symbolBits);
  let previous = 1;
  for (let s = first; s <= last; s++) {
    const length = bitLength(frequencies[s]);
    const change = length - previous;
    writer.writeGamma(change > 0 ? 2 * change : 1 - 2 * change);
    // The leading one is known.
    if (length > 1) writer.write(frequencies[s], length - 1);
    previous = length;
  }
}

/** @returns the frequencies, or what is wrong with them. */
export function readTable(reader: BitReader, symbolBits: number, probabilityBits: number): Uint16Array | string {
  const frequencies = new Uint16Array(2 ** symbolBits);
  const first = reader.read(symbolBits);
  const last = first + reader.read(symbolBits);
  if (last >= frequencies.length) return `symbols up to ${last} where ${frequencies.length - 1} is the last`;
  let sum = 0;
  let length = 1;
  for (let s = first; s <= last; s++) {
    const code = reader.readGamma(5);
    if (code === 0) return 'a change of length that no table has';
    length += code & 1 ? -(code >>> 1) : code >>> 1;
    if (length < 0 || length > probabilityBits)
      return `a frequency of ${length} bits where ${probabilityBits} is the limit`;
    if (length > 0) frequencies[s] = reader.read(length - 1) + 2 ** (length - 1);
    sum += frequencies[s];
  }
  if (reader.exhausted) return 'the section ends inside a table';
  if (sum !== 2 ** probabilityBits) return `frequencies add up to ${sum}, not to ${2 ** probabilityBits}`;
  return frequencies;
}

/**
 * The decoder's view of a table set: for each slot of each class, the symbol in the low bits, above it the slot's
 * offset within the symbol (N bits), above that the symbol's frequency (N bits). Index: (class << N) | slot.
 */
export function slotTable({ symbolBits, probabilityBits, frequencies }: TableSet): Uint32Array {
  const slots = new Uint32Array(frequencies.length << probabilityBits);
  let at = 0;
  for (const table of frequencies)
    for (let symbol = 0; symbol < table.length; symbol++)
      for (let offset = 0; offset < table[symbol]; offset++)
        slots[at++] = (table[symbol] << (symbolBits + probabilityBits)) | (offset << symbolBits) | symbol;
  return slots;
}

/** Set in an entry of `symbolTable` that stands for another symbol. */
export const SUBSTITUTED = 2 ** 31;

/** The symbol of the highest frequency, the lowest of equals. */
export function likeliest(frequencies: Uint16Array): number {
  return frequencies.indexOf(frequencies.reduce((high, frequency) => Math.max(high, frequency), 0));
}

/**
 * The encoder's view: frequency in bits 0 to 15, cumulative frequency from bit 16 on. A symbol without a slot has the
 * entry of the likeliest one, and SUBSTITUTED. Index: (class << bits) | symbol.
 */
export function symbolTable({ symbolBits, frequencies }: TableSet): Uint32Array {
  const symbols = new Uint32Array(frequencies.length << symbolBits);
  frequencies.forEach((table, index) => {
    const entries = symbols.subarray(index << symbolBits, (index + 1) << symbolBits);
    let cumulative = 0;
    for (let symbol = 0; symbol < table.length; symbol++) {
      entries[symbol] = table[symbol] | (cumulative << 16);
      cumulative += table[symbol];
    }
    const substitute = entries[likeliest(table)] + SUBSTITUTED;
    for (let symbol = 0; symbol < table.length; symbol++) if (table[symbol] === 0) entries[symbol] = substitute;
  });
  return symbols;
}
