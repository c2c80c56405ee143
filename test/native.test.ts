// The native host codec against the reference: the same bytes from the encoder, the same tensors from the decoder, and
// the same refusals, on every instruction set that this processor has.
//
// CODECLLM_ADDON names another build of the addon, such as one with sanitizers.

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { Native } from '../cuda/node/addon.d.ts';
import { changed } from '../golden/base.ts';
import { committedFiles } from '../golden/generate.ts';
import { generator, makeTensor } from '../golden/patterns.ts';
import { readFront } from '../spec/decoder/1-front.ts';
import { seal } from '../spec/encoder/front.ts';
import { DTYPES, decodeTensor, type EncodeOptions, encodeTensor, FormatError, streamLengths } from '../spec/index.ts';
import { type Sample, samples } from './samples.ts';
import { SEED } from './seed.ts';

const ADDON =
  process.env.CODECLLM_ADDON ?? fileURLToPath(new URL('../cuda/build/Release/codecllm.node', import.meta.url));
const BUILD = fileURLToPath(new URL('../cuda/build', import.meta.url));
const isBuilt = existsSync(ADDON);
if (!isBuilt) console.warn(`The native codec is not tested: there is no ${ADDON}. "npm run native" builds it.`);

const native = isBuilt ? (createRequire(import.meta.url)(ADDON) as Native) : (undefined as unknown as Native);
const paths = isBuilt ? native.features().paths : [];

const nativeEncode = (
  data: Uint8Array,
  dtype: string,
  shape: readonly number[],
  options?: EncodeOptions,
): Uint8Array => {
  const stream = new Uint8Array(native.encodeBound(dtype, shape, options));
  return stream.subarray(0, native.encode(data, dtype, shape, options, stream));
};

/** Nothing larger is decoded. */
const MAX_BYTES = 2 ** 24;

function nativeDecode(stream: Uint8Array): Uint8Array {
  const opened = native.streamOpen(stream);
  const { tensorBytes } = native.streamInfo(opened);
  native.streamClose(opened);
  const bytes = new Uint8Array(tensorBytes <= MAX_BYTES ? tensorBytes : 0);
  native.decode(stream, bytes);
  return bytes;
}

/** What a call throws, as the reference's errors begin: field and byte; or what else it says. */
function refusal(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    const { message, code } = error as Error & { code?: string };
    if (!(error instanceof FormatError) && code !== 'INVALID_STREAM') return 'another error';
    return /^(.*? at byte \d+): /.exec(message)?.[1] ?? message;
  }
}

const referenceDecode = (stream: Uint8Array): Uint8Array => decodeTensor(stream, { maxBytes: MAX_BYTES }).data;

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** Tensors of BF16 in profile direct, or all of whose tiles are to be DIRECT. */
const directSamples = fc
  .tuple(
    samples(
      60_000,
      DTYPES.filter(({ name }) => name === 'BF16'),
    ),
    fc.boolean(),
  )
  .map(([sample, isForced]): Sample => {
    const modes = isForced ? (['direct', 'direct'] as const) : undefined;
    return { ...sample, options: { ...sample.options, profile: 'direct', split: undefined, modes } };
  });

/** Of any dtype, with any options. */
const anySample = fc.oneof({ weight: 3, arbitrary: samples() }, { weight: 1, arbitrary: directSamples });

/** Does something on every instruction set that this processor has. */
function onEveryPath(work: (path: string) => void): void {
  for (const path of paths) {
    native.usePath(path);
    work(path);
  }
}

// ----------------------------------------------------------------------------------------------------------- tests

describe.skipIf(!isBuilt)('against a base', () => {
  afterAll(() => native.usePath('best'));

  const encode = (data: Uint8Array, dtype: string, shape: readonly number[], { base, ...options }: EncodeOptions) => {
    const stream = new Uint8Array(2 * data.length + 2 ** 16);
    return stream.subarray(0, native.encode(data, dtype, shape, options, stream, base));
  };
  const files = committedFiles();
  const manifest = JSON.parse(new TextDecoder().decode(files.get('manifest.json')));
  const fileNamed = (name: string): Uint8Array => new Uint8Array(files.get(name) as Uint8Array);

  test('golden vectors: the bytes of the reference, and back, over the base', () => {
    expect(manifest.base.length).toBeGreaterThan(20);
    for (const { id, dtype, shape, options, base, input, stream } of manifest.base)
      onEveryPath((path) => {
        const encoded = encode(fileNamed(input), dtype, shape, { ...options, base: fileNamed(base) });
        expect(same(encoded, fileNamed(stream)), `${id} ${path}`).toBe(true);
        const place = fileNamed(base).slice();
        native.decode(fileNamed(stream), place, place);
        expect(same(place, fileNamed(input)), `${id} ${path}`).toBe(true);
      });
  });

  test('golden vectors: the refusals of the reference', () => {
    for (const { id, base, stream, error } of manifest.invalidBase) {
      const before = base === null ? undefined : fileNamed(base);
      const bytes = before?.slice() ?? new Uint8Array(2 ** 17);
      const said = refusal(() => native.decode(fileNamed(stream), bytes, before));
      expect(said, id).toBe(`${error.field} at byte ${error.offset}`);
    }
  });

  test('any tensor: the bytes of the reference, and back', () => {
    const cases = fc.record({
      sample: samples(30_000),
      every: fc.constantFrom(1, 3, 50, 1000),
      most: fc.constantFrom(0, 1, 100, 20_000),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(cases, ({ sample: { dtype, shape, data: base, options }, every, most, seed }) => {
        const data = changed(base, dtype.wordBits / 8, every, most, seed);
        const { columns, tileRows } = options;
        const stream = encodeTensor(data, dtype.name, shape, { columns, tileRows, base });
        onEveryPath((path) => {
          expect(same(encode(data, dtype.name, shape, { columns, tileRows, base }), stream), path).toBe(true);
          const bytes = new Uint8Array(data.length);
          native.decode(stream, bytes, base);
          expect(same(bytes, data), path).toBe(true);
        });
      }),
      { seed: SEED, numRuns: 100 },
    );
  });

  test('damaged Data: refused for the same field, or decoded to the same bytes', () => {
    const vectors = manifest.base.filter(({ id }: { id: string }) => /trained|long|raw|listed|noise/.test(id));
    const random = generator(SEED);
    for (const { id, base, stream } of vectors)
      for (let run = 0; run < 20; run++) {
        const damaged = fileNamed(stream).slice();
        const { frontBytes } = readFront(damaged);
        if (damaged.length === frontBytes) continue;
        damaged[frontBytes + (random() % (damaged.length - frontBytes))] ^= 1 << (random() % 8);
        const before = fileNamed(base);
        const expected = refusal(() => decodeTensor(damaged, { base: before }));
        onEveryPath((path) => {
          const bytes = new Uint8Array(before.length);
          expect(
            refusal(() => native.decode(damaged, bytes, before)),
            `${id} ${path}`,
          ).toBe(expected);
        });
      }
  });
});

describe.skipIf(!isBuilt)('native and reference', () => {
  afterAll(() => native.usePath('best'));

  test('any tensor, any options: the bytes of the reference, and back', () => {
    fc.assert(
      fc.property(anySample, ({ dtype, shape, data, options }) => {
        const stream = encodeTensor(data, dtype.name, shape, options);
        onEveryPath((path) => {
          expect(same(nativeEncode(data, dtype.name, shape, options), stream), path).toBe(true);
          expect(same(nativeDecode(stream), data), path).toBe(true);
        });
      }),
      { numRuns: 500, seed: SEED },
    );
  });

  const files = isBuilt ? committedFiles() : new Map<string, Uint8Array>();
  const manifest = isBuilt ? JSON.parse(new TextDecoder().decode(files.get('manifest.json'))) : {};
  const fileNamed = (name: string): Uint8Array => new Uint8Array(files.get(name) as Uint8Array);

  test('valid golden vectors', () => {
    for (const { id, dtype, shape, options, input, stream } of manifest.valid)
      onEveryPath((path) => {
        const encoded = options ? nativeEncode(fileNamed(input), dtype, shape, options) : fileNamed(stream);
        expect(same(encoded, fileNamed(stream)), `${id} ${path}`).toBe(true);
        expect(same(nativeDecode(fileNamed(stream)), fileNamed(input)), `${id} ${path}`).toBe(true);
      });
  });

  test('invalid golden vectors are refused for the same field', () => {
    for (const { id, stream, error } of manifest.invalid)
      onEveryPath((path) => {
        const field = refusal(() => nativeDecode(fileNamed(stream)));
        expect(field, `${id} ${path}`).toBe(`${error.field} at byte ${error.offset}`);
      });
  });

  test('damaged streams are refused for the same field, or decode to the same tensor', () => {
    const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(anySample, changes, fc.boolean(), ({ dtype, shape, data, options }, list, inFront) => {
        const stream = encodeTensor(data, dtype.name, shape, options);
        const { front } = streamLengths(stream);
        for (const [where, value] of list) {
          if (inFront) stream[where % front] = value;
          else if (stream.length > front) stream[front + (where % (stream.length - front))] ^= value;
        }
        if (inFront) seal(stream.subarray(0, front));
        const expected = refusal(() => referenceDecode(stream));
        const decoded = expected === undefined ? referenceDecode(stream) : undefined;
        onEveryPath((path) => {
          expect(
            refusal(() => nativeDecode(stream)),
            path,
          ).toBe(expected);
          if (decoded !== undefined) expect(same(nativeDecode(stream), decoded), path).toBe(true);
        });
      }),
      { numRuns: 500, seed: SEED },
    );
  });

  test('a stream that does not fit is not made, and nothing is written beyond its room', () => {
    fc.assert(
      fc.property(anySample, ({ dtype, shape, data, options }) => {
        const { length } = encodeTensor(data, dtype.name, shape, options);
        const guarded = new Uint8Array(length + 128).fill(0xa5);
        const encode = (room: number): number =>
          native.encode(data, dtype.name, shape, options, guarded.subarray(0, room));
        for (const room of [0, length >> 1, length - 1]) {
          expect(encode(room)).toBe(0);
          expect(guarded.subarray(room).every((byte) => byte === 0xa5)).toBe(true);
        }
        expect(encode(length)).toBe(length);
        expect(guarded.subarray(length).every((byte) => byte === 0xa5)).toBe(true);
      }),
      { numRuns: 100, seed: SEED + 2 },
    );
  });

  test('slices, in any order, make the same stream; and are decoded one by one', () => {
    fc.assert(
      fc.property(anySample, fc.integer(), ({ dtype, shape, data, options }, seed) => {
        const expected = encodeTensor(data, dtype.name, shape, options);
        const random = generator(seed);
        const encoder = native.encoderOpen(dtype.name, shape, options);
        const { tensorBytes, bands, bandBytes } = native.encoderLayout(encoder);
        expect(tensorBytes).toBe(data.length);
        /** Calls `visit` for each of some slices that make up the tensor, in a random order. */
        const forSlices = (visit: (first: number, count: number, bytes: Uint8Array) => void): void => {
          const slices: [number, number][] = [];
          for (let first = 0; first < bands; ) {
            const count = 1 + (random() % Math.min(3, bands - first));
            slices.splice(random() % (slices.length + 1), 0, [first, count]);
            first += count;
          }
          for (const [first, count] of slices)
            visit(first, count, data.subarray(first * bandBytes, (first + count) * bandBytes));
        };
        const parts = new Map<number, Uint8Array>();
        for (let pass = native.encoderPass(encoder); pass !== 'front'; pass = native.encoderPass(encoder)) {
          if (pass === 'encode') parts.clear();
          forSlices((first, count, bytes) => {
            if (pass === 'gather') return native.encoderGather(encoder, first, count, bytes);
            const part = new Uint8Array(native.encoderEncodeBound(encoder, count));
            parts.set(first, part.subarray(0, native.encoderEncode(encoder, first, count, bytes, part)));
          });
          native.encoderAdvance(encoder);
        }
        const front = native.encoderFront(encoder);
        expect(front.length).toBe(native.encoderFrontSize(encoder));
        native.encoderClose(encoder);
        const ordered = [...parts].sort(([a], [b]) => a - b).map(([, part]) => part);
        expect(same(Buffer.concat([front, ...ordered]), expected)).toBe(true);

        const stream = native.streamOpen(front);
        const info = native.streamInfo(stream);
        expect(info).toMatchObject({ dtype: dtype.name, shape, tensorBytes, bands, bandBytes });
        expect(native.streamLengths(front)).toEqual({ front: info.frontBytes, data: info.dataBytes });
        const decoded = new Uint8Array(data.length);
        forSlices((first, count, { length }) => {
          const { start, end } = native.streamRange(stream, first, count);
          const part = expected.subarray(front.length + start, front.length + end);
          const to = first * bandBytes;
          native.streamDecode(stream, first, count, part, decoded.subarray(to, to + length));
        });
        native.streamClose(stream);
        expect(same(decoded, data)).toBe(true);
      }),
      { numRuns: 200, seed: SEED },
    );
  });

  test('nothing is written beyond what was decoded', () => {
    fc.assert(
      fc.property(anySample, ({ dtype, shape, data, options }) => {
        const whole = encodeTensor(data, dtype.name, shape, options);
        const { frontBytes, matrix } = readFront(whole);
        const stream = native.streamOpen(whole);
        const guarded = new Uint8Array(data.length + 256).fill(0xa5);
        const bytes = guarded.subarray(128, 128 + data.length);
        native.streamDecode(stream, 0, matrix.tileCount / matrix.tilesAcross, whole.subarray(frontBytes), bytes);
        native.streamClose(stream);
        expect(same(bytes, data)).toBe(true);
        expect([...guarded.subarray(0, 128), ...guarded.subarray(128 + data.length)].every((b) => b === 0xa5)).toBe(
          true,
        );
      }),
      { numRuns: 100, seed: SEED + 1 },
    );
  });
});

describe.skipIf(!isBuilt)('addon', () => {
  test('threads share an encoder and a stream', async () => {
    const shape = [700, 256];
    const data = makeTensor('BF16', 700 * 256, 256, 'columns', 3);
    const encoder = native.encoderOpen('BF16', shape, { profile: 'fast', tileRows: 32 });
    const { bands, bandBytes } = native.encoderLayout(encoder);
    const shared = new SharedArrayBuffer(data.length);
    new Uint8Array(shared).set(data);
    const program = `
      const { parentPort, workerData } = require('node:worker_threads');
      const native = require(workerData.addon);
      const bytes = new Uint8Array(workerData.shared);
      parentPort.on('message', ({ call, handle, first, count, data }) => {
        const slice = bytes.subarray(first * workerData.bandBytes, (first + count) * workerData.bandBytes);
        if (call === 'gather') native.encoderGather(handle, first, count, slice);
        const part = call === 'encode' ? new Uint8Array(native.encoderEncodeBound(handle, count)) : undefined;
        const written = part && native.encoderEncode(handle, first, count, slice, part);
        const decoded = call === 'decode' ? new Uint8Array(slice.length) : undefined;
        if (decoded) native.streamDecode(handle, first, count, data, decoded);
        parentPort.postMessage(decoded ?? part?.subarray(0, written));
      });`;
    const workerData = { addon: ADDON, shared, bandBytes };
    const workers = Array.from({ length: 3 }, () => new Worker(program, { eval: true, workerData }));
    const ask = async (worker: Worker, message: unknown): Promise<Uint8Array> => {
      worker.postMessage(message);
      const [answer] = await once(worker, 'message');
      return answer;
    };
    /** Deals bands out to the workers; what they answer is in the order of the bands. */
    const deal = async (
      call: string,
      handle: bigint,
      dataOf?: (first: number) => Uint8Array,
    ): Promise<Uint8Array[]> => {
      const answers: Uint8Array[] = [];
      await Promise.all(
        workers.map(async (worker, w) => {
          for (let first = w; first < bands; first += workers.length)
            answers[first] = await ask(worker, { call, handle, first, count: 1, data: dataOf?.(first) });
        }),
      );
      return answers;
    };
    while (native.encoderPass(encoder) === 'gather') {
      await deal('gather', encoder);
      native.encoderAdvance(encoder);
    }
    const coded = await deal('encode', encoder);
    native.encoderAdvance(encoder);
    const front = native.encoderFront(encoder);
    native.encoderClose(encoder);
    const expected = encodeTensor(data, 'BF16', shape, { profile: 'fast', tileRows: 32 });
    expect(same(Buffer.concat([front, ...coded]), expected)).toBe(true);
    const stream = native.streamOpen(front);
    const decoded = await deal('decode', stream, (first) => coded[first]);
    native.streamClose(stream);
    expect(same(Buffer.concat(decoded), data)).toBe(true);
    await Promise.all(workers.map((worker) => worker.terminate()));
  });

  test('arguments are checked', () => {
    const call = <T>(work: () => T): string => {
      try {
        work();
        return 'nothing thrown';
      } catch (error) {
        return (error as { code?: string }).code ?? 'no code';
      }
    };
    const bytes = new Uint8Array(8);
    const wrong: (() => unknown)[] = [
      () => nativeEncode(bytes, 'I9', [8]),
      () => nativeEncode(bytes, 'U8', [9]),
      () => nativeEncode(bytes, 'U8', [-1]),
      () => nativeEncode(bytes, 'U8', [2 ** 52]),
      () => nativeEncode(bytes, 'U8', [8.5]),
      () => nativeEncode(bytes, 'F4', [15]),
      () => nativeEncode('bytes' as unknown as Uint8Array, 'U8', [8]),
      () => nativeEncode(new Uint16Array(4) as unknown as Uint8Array, 'U8', [8]),
      () => nativeEncode(bytes, 'U8', [8], { tileRows: 48 as 32 }),
      () => nativeEncode(bytes, 'U8', [8], { columns: 0 }),
      () => nativeEncode(bytes, 'U8', [8], { columns: 2 ** 18 + 1 }),
      () => nativeEncode(bytes, 'U8', [8], { split: [5, 3] }),
      () => nativeEncode(bytes, 'BF16', [4], { split: [10, 6], modes: ['left', 'raw'] }),
      () => nativeEncode(bytes, 'U8', [8], { modes: ['pairs'] }),
      () => nativeEncode(bytes, 'F16', [4], { modes: ['direct', 'direct'] }),
      () => nativeEncode(bytes, 'U8', [8], { split: [4, 4], modes: ['direct', 'direct'] }),
      () => nativeEncode(bytes, 'BF16', [4], { split: [10, 6], modes: ['direct', 'direct'] }),
      () => nativeEncode(bytes, 'BF16', [4], { modes: ['direct', 'raw'] }),
      () => nativeEncode(bytes, 'BF16', [4], { modes: ['none', 'direct'] }),
      () => nativeEncode(bytes, 'BF16', [4], { modes: ['direct'] }),
      () => nativeEncode(bytes, 'U8', [8], { modes: ['left', 'none'] }),
      () => nativeEncode(bytes, 'U8', [8], { probabilityBits: 13 }),
      () => nativeEncode(bytes, 'BF16', [4], { probabilityBits: 12 }),
      () => nativeEncode(bytes, 'U8', [8], { profile: 'tiny' as 'small' }),
      () => native.decode(nativeEncode(bytes, 'U8', [8]), new Uint8Array(7)),
      () => native.usePath('sse' as 'plain'),
      () => native.encoderLayout(123456789n),
      () => native.streamInfo(0n),
    ];
    expect(wrong.map(call)).toEqual(wrong.map(() => 'INVALID_ARGUMENT'));

    const encoder = native.encoderOpen('U8', [8]);
    expect(call(() => native.encoderAdvance(encoder))).toBe('INVALID_ARGUMENT');
    expect(call(() => native.encoderFront(encoder))).toBe('INVALID_ARGUMENT');
    expect(call(() => native.encoderGather(encoder, 0, 2, bytes))).toBe('INVALID_ARGUMENT');
    expect(call(() => native.encoderGather(encoder, 0, 1, bytes.subarray(1)))).toBe('INVALID_ARGUMENT');
    native.encoderGather(encoder, 0, 1, bytes);
    expect(call(() => native.encoderGather(encoder, 0, 1, bytes))).toBe('INVALID_ARGUMENT');
    native.encoderClose(encoder);
    native.encoderClose(encoder);
    expect(call(() => native.encoderPass(encoder))).toBe('INVALID_ARGUMENT');
  });

  test('reads files on its threads, and says what is wrong with them', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'codecllm-addon-'));
    const tensors = [
      { data: makeTensor('BF16', 64 * 256, 256, 'gaussian', 1), dtype: 'BF16', shape: [64, 256] },
      { data: makeTensor('U8', 64 * 64, 64, 'bytes', 2), dtype: 'U8', shape: [64, 64] },
      { data: makeTensor('F32', 64 * 128, 128, 'gaussian', 3), dtype: 'F32', shape: [64, 128] },
    ];
    let start = 0;
    const parts = tensors.map(({ data, dtype, shape }) => {
      const part = { start, length: data.length, dtype, shape };
      start += data.length;
      return part;
    });
    const whole = Buffer.concat(tensors.map(({ data }) => data));
    const path = join(folder, 'tensors');
    await writeFile(path, whole);
    const file = await open(path, 'r+');
    const { fd } = file;
    const failure = (promise: Promise<unknown>): Promise<unknown> =>
      promise.then(
        () => undefined,
        ({ message, errno, code, item }) => ({ message, errno, code, item }),
      );
    try {
      const range = { fd, position: 0, length: whole.length };
      const [read, streams] = [new Uint8Array(whole.length), new Uint8Array(whole.length)];
      const lengths = new Float64Array(tensors.length);
      const total = await native.encodeFileAsync(range, parts, undefined, read, streams, lengths);
      expect(whole.equals(read)).toBe(true);
      const alone = tensors.map(({ data, dtype, shape }) => nativeEncode(data, dtype, shape));
      // Bytes without a pattern have no stream that is smaller.
      expect([...lengths]).toEqual([alone[0].length, 0, alone[2].length]);
      expect(Buffer.concat([alone[0], alone[2]]).equals(streams.subarray(0, total))).toBe(true);

      await file.write(streams, 0, total, 0);
      const stored = [
        { start: 0, length: lengths[0], tensorBytes: tensors[0].data.length },
        { start: lengths[0], length: lengths[2], tensorBytes: tensors[2].data.length },
      ];
      const bytes = new Uint8Array(stored[0].tensorBytes + stored[1].tensorBytes);
      await native.decodeFileAsync({ fd, position: 0, length: total }, stored, bytes);
      expect(Buffer.concat([tensors[0].data, tensors[2].data]).equals(bytes)).toBe(true);

      await file.write(Buffer.from([2]), 0, 1, lengths[0] + 4);
      const decoded = failure(native.decodeFileAsync({ fd, position: 0, length: total }, stored, bytes));
      expect(await decoded).toMatchObject({ code: 'INVALID_STREAM', item: 1 });
      const beyond = { fd, position: whole.length - 10, length: 100 };
      expect(await failure(native.decodeFileAsync(beyond, [], bytes))).toEqual({
        message: `ends at byte ${whole.length}, where byte ${whole.length + 90} was expected`,
      });
      const outside = [{ start: total - 8, length: 16, tensorBytes: 1 }];
      expect(() => native.decodeFileAsync({ fd, position: 0, length: total }, outside, bytes)).toThrow('not within');
      const folderOpen = await open(folder, 'r');
      const unreadable = failure(native.decodeFileAsync({ fd: folderOpen.fd, position: 0, length: 9 }, [], bytes));
      // As Node's own errors of the system have it.
      expect(await unreadable).toMatchObject({ errno: -constants.errno.EISDIR });
      await folderOpen.close();
    } finally {
      await file.close();
      await rm(folder, { recursive: true });
    }
  });
});

/** What the compiler made of kernels_*.cpp, where the addon was built here. */
const kernelObjects = (existsSync(BUILD) ? readdirSync(BUILD, { recursive: true, encoding: 'utf8' }) : [])
  .filter((path) => /^CMakeFiles.*kernels_[^/]*\.o$/.test(path))
  .map((path) => join(BUILD, path));
const hasNm = spawnSync('nm', ['--version']).status === 0;

test.runIf(hasNm && kernelObjects.length > 0)('no function for one instruction set may be taken for all', () => {
  // The linker keeps one of several weak symbols that have the same name: maybe one that was compiled for AVX-512.
  for (const object of kernelObjects) {
    const { stdout, status } = spawnSync('nm', ['-C', object], { encoding: 'utf8' });
    expect(status).toBe(0);
    expect(stdout).not.toBe('');
    expect(stdout.split('\n').filter((line) => / [uVvWw] /.test(line))).toEqual([]);
  }
});
