// FORMAT.md's example, read out of the document: the codec is held to what is written there.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readFront } from '../spec/decoder/1-front.ts';
import { decodeTensor, encodeTensor } from '../spec/index.ts';

const document = readFileSync(new URL('../spec/FORMAT.md', import.meta.url), 'utf8');

/** The text of the document's code block of this name. */
function block(name: string): string {
  const match = new RegExp(`\`\`\`${name}\n([^\`]*)\`\`\``).exec(document);
  if (match === null) throw new Error(`FORMAT.md has no block ${name}`);
  return match[1];
}

const words = Uint16Array.from(block('words').trim().split(/\s+/), (word) => Number.parseInt(word, 16));
const data = new Uint8Array(words.buffer);
const stream = Uint8Array.from(
  block('stream')
    .trim()
    .split('\n')
    .flatMap((line) => line.split(/\s{2,}/)[0].split(' ')),
  (byte) => Number.parseInt(byte, 16),
);
const frequencies = new Map(
  block('frequencies')
    .trim()
    .split(' ')
    .map((pair) => pair.split(':').map(Number) as [number, number]),
);
const steps = block('steps')
  .trim()
  .split('\n')
  .slice(2)
  .map((line) =>
    line
      .split('|')
      .map((cell) => cell.trim())
      .slice(1, -1),
  );

test('the words encode to the stream, and the stream decodes to the words', () => {
  const options = {
    split: [10, 6],
    columns: 5,
    tileRows: 32,
    probabilityBits: 8,
    modes: ['none', 'raw'],
    classes: 'none',
  } as const;
  expect(encodeTensor(data, 'BF16', [4, 5], options)).toEqual(stream);
  expect(decodeTensor(stream)).toEqual({ dtype: 'BF16', shape: [4, 5], data });
});

test('the planes are those of the words', () => {
  const rows = block('planes')
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  rows.forEach((row, i) => {
    for (let j = 0; j < 5; j++) {
      const word = words[5 * i + j];
      const magnitude = word & 0x7fff;
      expect(row[j]).toBe(magnitude >> 5);
      expect(row[5 + j]).toBe(((word >> 15) << 5) | (magnitude & 31));
    }
  });
});

test('the table is the one in the stream', () => {
  const table = readFront(stream).tables[0]?.tables[0].frequency ?? [];
  expect(new Map([...table.entries()].filter(([, frequency]) => frequency > 0))).toEqual(frequencies);
});

test('the steps follow section 6.2, from the stored states to the payloads', () => {
  const slots: { symbol: number; frequency: number; cumulative: number }[] = [];
  for (const [symbol, frequency] of frequencies) {
    const cumulative = slots.length;
    for (let k = 0; k < frequency; k++) slots.push({ symbol, frequency, cumulative });
  }
  expect(slots.length).toBe(256);
  const view = new DataView(stream.buffer);
  const states = [view.getUint32(160, true), view.getUint32(164, true)];
  let nextWord = 176;
  for (const [row, k, lane, before, slot, symbol, word, after] of steps) {
    const state = states[Number(lane)];
    expect(state.toString(16).padStart(8, '0')).toBe(before);
    expect(state & 255).toBe(Number(slot));
    const found = slots[state & 255];
    expect(found.symbol).toBe(Number(symbol));
    expect(found.symbol).toBe((words[5 * Number(row) + 4 * Number(lane) + Number(k)] & 0x7fff) >> 5);
    let next = found.frequency * Math.floor(state / 256) + (state & 255) - found.cumulative;
    if (next < 65536) {
      const taken = view.getUint16(nextWord, true);
      nextWord += 2;
      expect(word).toBe(taken.toString(16).padStart(4, '0'));
      next = next * 65536 + taken;
    } else expect(word).toBe('-');
    expect(next.toString(16).padStart(8, '0')).toBe(after);
    states[Number(lane)] = next;
  }
  expect(states).toEqual([0x13e47, 0x10000]);
});
