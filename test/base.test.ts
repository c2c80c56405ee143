// A tensor against a base (FORMAT.md, 3.2 and A.11): it comes back, in few bits, and no other base will do.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { changed } from '../golden/base.ts';
import { makeTensor } from '../golden/patterns.ts';
import { readFront } from '../spec/decoder/1-front.ts';
import { differenceOf, wordAfter } from '../spec/decoder/3.2-base.ts';
import { DTYPES, decodeTensor, decodeTile, encodeTensor, FormatError, inspectTensor } from '../spec/index.ts';
import { SEED } from './seed.ts';

const runs = { seed: SEED };

const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof FormatError) return error.field;
    throw error;
  }
  return 'none';
};

describe('differences', () => {
  test('lead back to the word, for every pair of 8 bits and many of others', () => {
    for (const dtype of DTYPES.filter(({ wordBits }) => wordBits === 8))
      for (let base = 0; base < 256; base += 5)
        for (let word = 0; word < 256; word++)
          expect(wordAfter(dtype, base, differenceOf(dtype, base, word))).toBe(word);
    for (const dtype of DTYPES.filter(({ wordBits }) => wordBits > 8)) {
      const word = fc.integer({ min: 0, max: 2 ** dtype.wordBits - 1 });
      fc.assert(
        fc.property(word, word, (base, next) => wordAfter(dtype, base, differenceOf(dtype, base, next)) === next),
        runs,
      );
    }
  });

  test('of floats count units in the last place, across exponents and through zero', () => {
    const bf16 = DTYPES[6];
    expect([differenceOf(bf16, 0x3f7f, 0x3f80), differenceOf(bf16, 0x3f80, 0x3f7f)]).toEqual([2, 1]);
    expect([differenceOf(bf16, 0xbf7f, 0xbf80), differenceOf(bf16, 0x8000, 0x0000)]).toEqual([1, 2]);
  });
});

describe('against a base', () => {
  test('every dtype comes back', () => {
    const cases = fc.record({
      dtype: fc.constantFrom(...DTYPES),
      rows: fc.integer({ min: 0, max: 40 }),
      columns: fc.integer({ min: 1, max: 150 }),
      every: fc.constantFrom(1, 7, 300),
      most: fc.constantFrom(0, 1, 100, 40000),
      tileRows: fc.constantFrom(8 as const, 16 as const, 128 as const),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(cases, ({ dtype, rows, columns, every, most, tileRows, seed }) => {
        const shape = [rows, columns * 8];
        const words = (rows * columns * dtype.bits) / dtype.wordBits;
        const base = makeTensor(dtype.name, 8 * words, columns, 'gaussian', seed % 100);
        const data = changed(base, dtype.wordBits / 8, every, most, seed);
        // A width that leaves the last row short.
        const stream = encodeTensor(data, dtype.name, shape, { base, tileRows, columns: columns * 5 + 3 });
        expect(Buffer.compare(decodeTensor(stream, { base }).data, data)).toBe(0);
      }),
      { ...runs, numRuns: 60 },
    );
  });

  const shape = [300, 256];
  const base = makeTensor('BF16', 300 * 256, 256, 'gaussian', 1);
  const data = changed(base, 2, 20, 1, 5);
  const stream = encodeTensor(data, 'BF16', shape, { base });

  test('what has not changed takes no data', () => {
    const same = encodeTensor(base, 'BF16', shape, { base });
    expect(readFront(same).dataBytes).toBe(0);
    expect(inspectTensor(same)).toMatchObject({ againstBase: true, unchangedTiles: 4, tileCount: 4 });
  });

  test('a step in twenty takes less than 10 bits, tables and all', () => {
    let count = 0;
    for (let at = 0; at < data.length; at += 2) if (data[at] !== base[at]) count++;
    expect((8 * stream.length) / count).toBeLessThan(10);
  });

  test('a wrong base, none, or one too many is refused', () => {
    const other = base.slice();
    other[77]++;
    expect(refusal(() => decodeTensor(stream, { base: other }))).toBe('base.crc');
    expect(refusal(() => decodeTensor(stream, { base: base.subarray(2) }))).toBe('base.crc');
    expect(refusal(() => decodeTensor(stream))).toBe('header.flags');
    expect(refusal(() => decodeTile(stream, 0))).toBe('header.flags');
    expect(refusal(() => decodeTensor(encodeTensor(data, 'BF16', shape), { base }))).toBe('header.flags');
  });

  test('what cannot be chosen beside a base is refused', () => {
    expect(() => encodeTensor(data, 'BF16', shape, { base, classes: 'rows2' })).toThrow(RangeError);
    expect(() => encodeTensor(data, 'BF16', shape, { base: base.subarray(2) })).toThrow(RangeError);
  });
});
