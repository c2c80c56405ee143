// The codec's parts on their own: checks, bit strings, logarithm, frequency tables, lanes, RAW planes.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matrixView, tileAt } from '../spec/decoder/2-matrix.ts';
import { BitReader, readFrequencies, tableOf } from '../spec/decoder/6.1-tables.ts';
import { decodeLanes, STATE_FLOOR } from '../spec/decoder/6.2-rans.ts';
import { blocksBytes, unpackBlocks } from '../spec/decoder/6.5-direct.ts';
import { rawBytes, unpackRaw } from '../spec/decoder/7-raw.ts';
import { crc32, tileCheck } from '../spec/decoder/8-checks.ts';
import { log2Units } from '../spec/encoder/a1-logarithm.ts';
import { defaultColumns } from '../spec/encoder/a2-layout.ts';
import { quantileBins } from '../spec/encoder/a4-levels.ts';
import { chooseOffsets } from '../spec/encoder/a5-windows.ts';
import { joinBins } from '../spec/encoder/a7-classes.ts';
import { normalise } from '../spec/encoder/a8-tables.ts';
import { otherOptions } from '../spec/encoder/a13-shortest.ts';
import { packBlocks } from '../spec/encoder/direct.ts';
import { BitWriter, writeFrequencies } from '../spec/encoder/front.ts';
import { dtypeNamed } from '../spec/encoder/options.ts';
import { encodeLanes } from '../spec/encoder/rans.ts';
import { packRaw, payloadOf } from '../spec/encoder/raw.ts';
import { DTYPES, type EncodeOptions, wordCount } from '../spec/index.ts';
import { SEED } from './seed.ts';

const runs = { numRuns: 300, seed: SEED };

test('CRC-32 is the one of zlib', () => {
  expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf43926);
  expect(crc32(new Uint8Array(0))).toBe(0);
});

test('a tile check is the sum that FORMAT.md says', () => {
  const primes = Array.from({ length: 900 }, (_, i) => 258 + i).filter((n) => {
    for (let divisor = 2; divisor < n; divisor++) if (n % divisor === 0) return false;
    return true;
  });
  const sum = (words: Uint32Array, height: number, width: number, wordBits: number, entries: Uint32Array): number => {
    const packed = new Array<bigint>(height * 4 * wordBits).fill(0n);
    for (let i = 0; i < height; i++)
      for (let j = 0; j < width; j++) {
        const bit = (i * 128 + j) * wordBits;
        packed[Math.floor(bit / 32)] |= BigInt(words[i * width + j]) << BigInt(bit % 32);
      }
    const rowWords = 4 * wordBits;
    const weighted = [...packed, ...Array.from(entries, BigInt)].map((word, i) => {
      const row = Math.floor(i / rowWords);
      return BigInt(row < height ? height - row : row + 1) * BigInt(primes[i % rowWords]) * word;
    });
    return Number(weighted.reduce((total, each) => total + each, 0n) % (2n ** 32n - 1n));
  };
  const shape = fc.record({
    height: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 9 }) }, fc.integer({ min: 1, max: 256 })),
    width: fc.integer({ min: 1, max: 128 }),
    wordBits: fc.constantFrom(8, 16, 32),
    seed: fc.nat(),
  });
  const outliers = fc.oneof(fc.uint32Array({ maxLength: 6 }), fc.uint32Array({ maxLength: 510, size: 'max' }));
  fc.assert(
    fc.property(shape, outliers, ({ height, width, wordBits, seed }, entries) => {
      const words = Uint32Array.from(
        { length: height * width },
        (_, i) => (Math.imul(i + seed, 2654435761) >>> 0) % 2 ** wordBits,
      );
      expect(tileCheck(words, { height, width }, wordBits, entries)).toBe(sum(words, height, width, wordBits, entries));
    }),
    runs,
  );
  // The largest that there is, less one lest all be 0: nothing is lost in doubles.
  const full = new Uint32Array(256 * 128).fill(0xfffffffe);
  const entries = new Uint32Array(510).fill(0xfffffffe);
  expect(tileCheck(full, { height: 256, width: 128 }, 32, entries)).toBe(sum(full, 256, 128, 32, entries));
});

test('bit strings give back what was written, and say when they end', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(2 ** 20), fc.boolean())), (numbers) => {
      const writer = new BitWriter();
      for (const [value, gamma] of numbers) gamma ? writer.writeGamma(value + 1) : writer.write(value, 21);
      const reader = new BitReader(writer.finish());
      for (const [value, gamma] of numbers) expect(gamma ? reader.readGamma(21) - 1 : reader.read(21)).toBe(value);
      expect(reader.atEnd()).toBe(true);
      reader.read(8);
      expect(reader.exhausted).toBe(true);
    }),
    runs,
  );
  expect(new BitReader(Uint8Array.of(0, 0)).readGamma(5)).toBe(0);
});

test('the logarithm is exact for powers of two, never falls, and is close', () => {
  for (let e = 0; e < 53; e++) expect(log2Units(2 ** e)).toBe(4096 * e);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 52 }), (x) => {
      expect(log2Units(x + 1)).toBeGreaterThanOrEqual(log2Units(x));
      expect(Math.abs(log2Units(x) / 4096 - Math.log2(x))).toBeLessThan(0.001);
    }),
    runs,
  );
});

const histograms = fc.array(fc.oneof(fc.constant(0), fc.nat(50), fc.nat(2 ** 33)), { minLength: 256, maxLength: 256 });

describe('frequency tables', () => {
  test('add up, keep every symbol, and survive being stored', () => {
    fc.assert(
      fc.property(histograms, fc.integer({ min: 8, max: 12 }), fc.boolean(), (counts, bits, dropRare) => {
        const frequencies = normalise(counts, bits, dropRare);
        if (counts.every((count) => count === 0)) return expect(frequencies).toBeUndefined();
        const table = frequencies as Uint16Array;
        expect(table.reduce((sum, frequency) => sum + frequency, 0)).toBe(2 ** bits);
        expect(Math.max(...table)).toBeLessThan(2 ** bits);
        if (!dropRare) expect(counts.every((count, s) => count === 0 || table[s] > 0)).toBe(true);
        const writer = new BitWriter();
        writeFrequencies(writer, 8, table);
        expect(readFrequencies(new BitReader(writer.finish()), 8, bits)).toEqual(table);
      }),
      runs,
    );
  });

  test('one symbol leaves a slot to its neighbour; too many symbols do not fit', () => {
    const counts = new Array<number>(256).fill(0);
    counts[255] = 9;
    const table = normalise(counts, 10, false) as Uint16Array;
    expect([table[255], table[254]]).toEqual([1023, 1]);
    expect(normalise(new Array(1024).fill(1), 9, false)).toBeUndefined();
  });

  test('a table that ends early is refused', () => {
    const writer = new BitWriter();
    writeFrequencies(writer, 8, normalise(new Array(256).fill(3), 12, false) as Uint16Array);
    const bytes = writer.finish();
    for (let length = 0; length < bytes.length; length++)
      expect(readFrequencies(new BitReader(bytes.slice(0, length)), 8, 12)).toMatch(/ends inside|no table has/);
    const long = new BitWriter();
    for (const [value, count] of [
      [0, 8],
      [0, 8],
    ])
      long.write(value, count);
    long.writeGamma(26);
    expect(readFrequencies(new BitReader(long.finish()), 8, 12)).toMatch(/14 bits where 12 is the limit/);
  });
});

test('lanes give back symbols, finals and units, with and without classes', () => {
  const cases = fc.record({
    height: fc.integer({ min: 1, max: 20 }),
    width: fc.integer({ min: 1, max: 128 }),
    perLane: fc.constantFrom(2, 4),
    seed: fc.nat(),
    bits: fc.integer({ min: 8, max: 12 }),
  });
  fc.assert(
    fc.property(cases, ({ height, width, perLane, seed, bits }) => {
      if (Math.ceil(width / perLane) > 32) return;
      const symbols = Uint16Array.from({ length: height * width }, (_, i) => (Math.imul(i + seed, 40503) >>> 7) % 11);
      const frequencies = [1, 2].map(
        (step) =>
          normalise(
            Array.from({ length: 256 }, (_, s) => (s < 11 ? s * step + 1 : 0)),
            bits,
            false,
          ) as Uint16Array,
      );
      const tables = {
        probabilityBits: bits,
        tables: frequencies.map(tableOf),
        width,
        classes: Uint8Array.from({ length: height * width }, (_, at) => Math.floor(at / width) & 1),
      };
      const finals = Uint32Array.from({ length: Math.ceil(width / perLane) }, (_, lane) => STATE_FLOOR + lane);
      const { states, units } = encodeLanes(symbols, finals, perLane, tables);
      const stored = states.slice();
      expect(decodeLanes(states, units, perLane, tables)).toEqual({ symbols, finals, used: units.length });
      expect(states).toEqual(stored);
    }),
    runs,
  );
});

test('RAW planes give back symbols and payload, in the size that is said', () => {
  const cases = fc.record({
    height: fc.integer({ min: 1, max: 40 }),
    width: fc.integer({ min: 1, max: 128 }),
    bits: fc.constantFrom(4, 6, 8, 10),
    seed: fc.nat(),
    withPayload: fc.boolean(),
  });
  fc.assert(
    fc.property(cases, ({ height, width, bits, seed, withPayload }) => {
      const symbols = Uint16Array.from(
        { length: height * width },
        (_, i) => (Math.imul(i + seed, 2654435761) >>> 3) & (2 ** bits - 1),
      );
      const tile = { height, width };
      const payload = withPayload ? payloadOf(symbols, tile, bits) : undefined;
      const packed = packRaw(symbols, tile, bits, withPayload);
      expect(packed.length).toBe(rawBytes(tile, bits, withPayload));
      expect(unpackRaw(packed, tile, bits, payload)).toEqual(symbols);
    }),
    runs,
  );
});

describe('blocks of DIRECT', () => {
  const cases = fc.record({
    height: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 256 })),
    width: fc.integer({ min: 1, max: 128 }),
    seed: fc.nat(),
  });
  const random = (length: number, seed: number, bits: number): Uint16Array =>
    Uint16Array.from({ length }, (_, i) => (Math.imul(i + seed, 2654435761) >>> 3) & (2 ** bits - 1));

  test('give back codes and symbols, and refuse what the tile does not have', () => {
    fc.assert(
      fc.property(cases, fc.nat(), ({ height, width, seed }, where) => {
        const tile = { height, width };
        const codes = Uint8Array.from(random(height * width, seed, 4));
        const symbols = random(height * width, seed + 1, 8);
        const starts = Uint8Array.from({ length: width }, (_, j) => (seed + 7 * j) % 241);
        const packed = packBlocks(codes, symbols, tile);
        expect(packed.length).toBe(blocksBytes(tile));
        const exponents = Uint16Array.from(codes, (code, at) => starts[at % width] + code);
        expect(unpackBlocks(packed, starts, tile)).toEqual([exponents, symbols]);
        // Another bit is another element, or one that the tile does not have.
        const bit = where % (8 * packed.length);
        packed[bit >> 3] ^= 1 << (bit & 7);
        expect(unpackBlocks(packed, starts, tile)).not.toEqual([exponents, symbols]);
      }),
      { ...runs, numRuns: 60 },
    );
  });

  test('an element lies where FORMAT.md says', () => {
    const [height, width] = [40, 100];
    const codes = Uint8Array.from(random(height * width, 1, 4));
    const symbols = random(height * width, 2, 8);
    const view = new DataView(packBlocks(codes, symbols, { height, width }).buffer);
    const seen = new Set<number>();
    for (let block = 0; block < 3 * 2; block++)
      for (let l = 0; l < 32; l++)
        for (let f = 0; f < 4; f++) {
          const u32 = (part: number, n: number): number =>
            view.getUint32(1536 * block + 512 * part + 16 * l + 4 * n, true);
          const code = u32(0, f);
          const others = [0, 1].map((number) => {
            // u32 number n of part 1 is the u32 n % 2 of fragment n / 2; part 2 has fragments 2 and 3.
            const n = 2 * (f % 2) + number;
            return u32(f < 2 ? 1 : 2, n);
          });
          for (let r = 0; r < 2; r++)
            for (let c = 0; c < 4; c++) {
              const row = 16 * Math.floor(block / 2) + Math.floor(l / 4) + 8 * r;
              const column = 64 * (block % 2) + 32 * Math.floor(f / 2) + 8 * (l % 4) + 4 * (f % 2) + c;
              const a = r + 2 * Math.floor(c / 2);
              const h = c % 2;
              const at = row * width + column;
              const isThere = row < height && column < width;
              if (isThere) seen.add(at);
              expect((code >>> (4 * a + 16 * h)) & 15).toBe(isThere ? codes[at] : 0);
              const symbol = (others[Math.floor(a / 2)] >>> (8 * (2 * (a % 2) + h))) & 255;
              expect(symbol).toBe(isThere ? symbols[at] : 0);
            }
        }
    expect(seen.size).toBe(height * width);
  });
});

describe('layout', () => {
  test('takes the shortest run of trailing dimensions that reaches 128', () => {
    const columns = (dtype: string, shape: number[], tileRows = 128): number =>
      defaultColumns(dtypeNamed(dtype), shape, tileRows);
    expect(columns('BF16', [384, 1536])).toBe(1536);
    expect(columns('BF16', [512, 512, 3])).toBe(1536);
    expect(columns('BF16', [64, 4096])).toBe(128);
    expect(columns('BF16', [64, 4096], 64)).toBe(4096);
    expect(columns('BF16', [130, 2 ** 19])).toBe(128);
    expect(columns('BF16', [100])).toBe(100);
    expect(columns('I64', [300, 16])).toBe(128);
    expect(columns('F4', [500, 512])).toBe(256);
    expect(columns('BF16', [])).toBe(1);
    expect(columns('BF16', [0])).toBe(1);
  });

  test('tiles cover the matrix', () => {
    const matrix = matrixView(33 * 130, 130, 32);
    const tiles = Array.from({ length: matrix.tileCount }, (_, index) => tileAt(matrix, index));
    expect(tiles.map(({ height, width }) => height * width)).toEqual([32 * 128, 64, 128, 2]);
  });

  test('dtypes have the codes of their places', () => {
    DTYPES.forEach((dtype, code) => {
      expect(dtype.code).toBe(code);
      expect(wordCount(dtype, [24])).toBe((24 * dtype.bits) / dtype.wordBits);
    });
  });
});

describe('decisions', () => {
  test('quantile bins are about equally full and keep equal values together', () => {
    const levels = Array.from({ length: 1000 }, (_, i) => Math.floor(i / 3));
    const bins = quantileBins(levels, 8);
    const sizes = new Array(8).fill(0);
    for (const bin of bins) sizes[bin]++;
    for (const size of sizes) expect(Math.abs(size - 125)).toBeLessThan(8);
    expect(levels.every((value, i) => i === 0 || levels[i - 1] !== value || bins[i] === bins[i - 1])).toBe(true);
  });

  test('bins that are alike are joined', () => {
    const histogram = (at: number): Float64Array => Float64Array.from({ length: 16 }, (_, s) => (s === at ? 1000 : 3));
    const bins = [histogram(1), histogram(9), new Float64Array(16), histogram(1), histogram(5), histogram(9)];
    expect([...joinBins(bins, 3)]).toEqual([0, 1, 0, 0, 2, 1]);
    // Nothing is left to join: like bins are apart only where there are classes for them.
    expect([...joinBins(bins, 5)]).toEqual([0, 1, 0, 2, 3, 4]);
    expect([...joinBins(bins, 4)]).toEqual([0, 1, 0, 0, 2, 3]);
  });

  test('offsets follow whole binades, and are left out where columns are alike', () => {
    const levels = Array.from({ length: 64 }, (_, j) => 7000 + 64 * (j % 3) + (j % 5));
    expect([...(chooseOffsets(levels, 4096, undefined) ?? [])]).toEqual(levels.map((_, j) => j % 3));
    expect(
      chooseOffsets(
        levels.map((_, j) => 7000 + (j % 5)),
        4096,
        undefined,
      ),
    ).toBeUndefined();
    expect(chooseOffsets(levels, 4096, false)).toBeUndefined();
  });

  test('small tries other profiles if no more is chosen than columns and tile rows', () => {
    const profilesOf = (options: EncodeOptions): unknown[] => otherOptions(options).map(({ profile }) => profile);
    expect(profilesOf({})).toEqual(['fast', 'direct']);
    expect(profilesOf({ tileRows: 8, columns: 64 })).toEqual(['fast', 'direct']);
    for (const options of [{ profile: 'fast' }, { split: [8] }, { classes: 'none' }, { columnValues: false }] as const)
      expect(profilesOf(options)).toEqual([]);
  });
});
