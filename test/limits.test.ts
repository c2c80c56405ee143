// What work holds at a time, and where it ends: neither shows in what comes out.

import { closeSync, ftruncateSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { decodeTensor, encodeTensor } from '../spec/index.ts';
import { Bases } from '../src/commands/bases.ts';
import { compressFile } from '../src/commands/compress.ts';
import { Folder } from '../src/commands/copies.ts';
import { verifyFile } from '../src/commands/decompress.ts';
import type { Work } from '../src/commands/work.ts';
import type { Engine } from '../src/engine/engine.ts';
import type { Native } from '../src/engine/native.ts';
import { NativeEngine } from '../src/engine/native-engine.ts';
import { readFullySync } from '../src/files/input.ts';
import { referenceFronts } from '../src/format/compressed.ts';
import { checkpoint, inDirectory, noise, rawFile } from './checkpoint.ts';

// Worker threads run what is built.
const built = async (path: string) => import(/* @vite-ignore */ new URL(`../dist/src/${path}`, import.meta.url).href);
const product: typeof import('../src/index.ts') = await built('index.js');
const { ReferenceEngine }: typeof import('../src/engine/reference-engine.ts') =
  await built('engine/reference-engine.js');

const hasNative = product.doctor().some(({ name, usable }) => name === 'native' && usable);
const MEBIBYTE = 2 ** 20;
const soon = (): Promise<void> => new Promise((done) => setTimeout(done, 2));

describe('whole tensors', () => {
  /** An engine that says how many bytes of tensors it held at most. */
  function countingEngine(bytes: number): { engine: Engine; most: () => number } {
    let [held, most] = [0, 0];
    const holding = async <T>(length: number, work: () => T): Promise<T> => {
      held += length;
      most = Math.max(most, held);
      await soon();
      held -= length;
      return work();
    };
    const read = (fd: number, position: number, length: number): Uint8Array => {
      const found = new Uint8Array(length);
      readFullySync(fd, found, position);
      return found;
    };
    const engine: Engine = {
      threads: 8,
      limits: { count: 8, bytes },
      fronts: referenceFronts,
      slicing: undefined,
      encodeBatch: ({ fd, position, length }, [{ dtype, shape }], options) =>
        holding(length, () => {
          const original = read(fd, position, length);
          const streams = encodeTensor(original, dtype, shape, options);
          return { original, streams, lengths: [streams.length] };
        }),
      encode: (bytes, dtype, shape, options) => holding(bytes.length, () => encodeTensor(bytes, dtype, shape, options)),
      decodeBatch: ({ fd, position, length }, [{ tensorBytes }]) =>
        holding(tensorBytes, () => decodeTensor(read(fd, position, length)).data),
      take: (length) => new Uint8Array(length),
      release: () => {},
      close: async () => {},
    };
    return { engine, most: () => most };
  }

  test('are held no more at a time than the engine says', async () => {
    await inDirectory(async (directory) => {
      const tensors = Array.from({ length: 6 }, (_, index) => ({
        name: `${index}`,
        dtype: 'U8',
        shape: [3 * MEBIBYTE],
        data: new Uint8Array(3 * MEBIBYTE).fill(index),
      }));
      const [input, output] = [join(directory, 'in'), join(directory, 'out')];
      writeFileSync(input, checkpoint(tensors));
      const workOf = (engine: Engine): Work => ({ engine, bases: new Bases([], engine), onProgress: () => {} });
      for (const [limit, expected] of [
        [5 * MEBIBYTE, 3 * MEBIBYTE],
        [7 * MEBIBYTE, 6 * MEBIBYTE],
      ]) {
        const encoding = countingEngine(limit);
        await compressFile(input, output, { force: true }, {}, [], new Folder(), workOf(encoding.engine));
        expect(encoding.most()).toBe(expected);
        const decoding = countingEngine(limit);
        await verifyFile(output, workOf(decoding.engine));
        expect(decoding.most()).toBe(expected);
      }
    });
  });

  test('have bounds in the TypeScript engine', async () => {
    const engine = new ReferenceEngine(3);
    expect(engine.limits.bytes).toBeLessThanOrEqual(256 * MEBIBYTE);
    expect(engine.limits.count).toBeLessThanOrEqual(2 * engine.threads + 4);
    await engine.close();
  });

  test('that do not fit buffers need the native codec', async () => {
    const needed = /its 2147483648 bytes do not fit Node's buffers: it needs the native codec/;
    await inDirectory(async (directory) => {
      const [input, output] = [join(directory, 'in'), join(directory, 'out')];
      const bytes = 2 ** 31;
      const header = rawFile(JSON.stringify({ w: { dtype: 'U8', shape: [bytes], data_offsets: [0, bytes] } }));
      const file = openSync(input, 'w');
      writeSync(file, header);
      // A hole: it takes no room.
      ftruncateSync(file, header.length + bytes);
      closeSync(file);
      await expect(product.compress(input, output, { engine: 'ts' })).rejects.toThrow(needed);
      await expect(product.compress(input, output, { engine: 'ts' })).rejects.toThrow(`${input}: "w": `);
    });
    const engine = new ReferenceEngine(1);
    const stream = { start: 0, length: 1, tensorBytes: 2 ** 31, base: undefined };
    await expect(engine.decodeBatch({ fd: 0, position: 0, length: 1 }, [stream])).rejects.toThrow(needed);
    await engine.close();
  });
});

describe('the native engine', () => {
  /** A codec that does nothing, and says how often it was asked for memory and how much went on at a time. */
  function idleCodec() {
    const seen = { allocated: 0, running: 0, most: 0 };
    const codec = {
      allocate: (size: number) => {
        seen.allocated++;
        return new Uint8Array(size);
      },
      decodeFileAsync: async () => {
        seen.running++;
        seen.most = Math.max(seen.most, seen.running);
        await soon();
        seen.running--;
        return 0;
      },
    };
    return { seen, codec: codec as unknown as Native };
  }

  test('runs as much at a time as it has threads, and one that reads', async () => {
    const { seen, codec } = idleCodec();
    const engine = new NativeEngine(2, codec);
    const range = { fd: 0, position: 0, length: 1 };
    await Promise.all(Array.from({ length: 12 }, () => engine.decodeBatch(range, [])));
    expect(seen.most).toBe(3);
    await engine.close();
  });

  test('uses a buffer again, but does not keep a large one', async () => {
    const { seen, codec } = idleCodec();
    const engine = new NativeEngine(1, codec);
    const takeTwice = (bytes: number): number => {
      const before = seen.allocated;
      engine.release(engine.take(bytes));
      engine.release(engine.take(bytes));
      return seen.allocated - before;
    };
    expect(takeTwice(MEBIBYTE)).toBe(1);
    expect(takeTwice(8 * MEBIBYTE)).toBe(1);
    expect(takeTwice(9 * MEBIBYTE)).toBe(2);
    expect(takeTwice(64 * MEBIBYTE)).toBe(2);
    await engine.close();
  });
});

describe('a stream exactly as long as its tensor', () => {
  // All tiles are RAW, but for those of the last row that are constant: they save what the front takes.
  const [rows, columns] = [128 + 1, 3 * 128 + 80];
  const front = 64 + 2 * 8 + 2 * 4 * 16;
  const data = noise(rows * columns, 5);
  data.fill(7, data.length - 80);
  data.fill(7, (rows - 1) * columns, (rows - 1) * columns + front - 80);

  test.each(['ts', ...(hasNative ? (['native'] as const) : [])] as const)('is not written: %s', async (engine) => {
    expect(encodeTensor(data, 'U8', [rows, columns]).length).toBe(data.length);
    await inDirectory(async (directory) => {
      const [input, output] = [join(directory, 'in'), join(directory, 'out')];
      writeFileSync(input, checkpoint([{ name: 'w', dtype: 'U8', shape: [rows, columns], data }]));
      expect(await product.compress(input, output, { engine })).toMatchObject({ tensorsKept: 1, tensorsCompressed: 0 });
      expect(statSync(output).size).toBeGreaterThan(data.length);
      expect(readFileSync(output).subarray(-data.length).equals(data)).toBe(true);
    });
  });
});
