// The GPU codec on the CPU, its kernels emulated: what `npm run conformance` asks of a GPU, with fewer streams, and the
// engine `gpu` of the commands. It needs what the native codec is built with, CMake and a C++ compiler.

import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { trained } from '../golden/base.ts';
import { makeTensor } from '../golden/patterns.ts';
import { encodeTensor, inspectTensor } from '../spec/index.ts';
import { Bases } from '../src/commands/bases.ts';
import { decompressFile } from '../src/commands/decompress.ts';
import { GpuEngine } from '../src/engine/gpu-engine.ts';
import { compress } from '../src/index.ts';
import { batchOf } from './conformance/batch.ts';
import { makePack, packOf } from './conformance/pack.ts';
import { SEED } from './seed.ts';

const RANDOM_STREAMS = 150;
/** Of which so many are damaged, too. */
const DAMAGED = 40;
/** Products of weights that the program makes: some for each tile height. */
const PRODUCTS = 18;

const BUILD = fileURLToPath(new URL('../cuda/build', import.meta.url));
const isBuilt = existsSync(`${BUILD}/CMakeCache.txt`);
if (!isBuilt) console.warn(`The GPU kernels are not tested on the CPU: the native codec was not built in ${BUILD}.`);

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  expect(status, `${stdout}${stderr}`).toBe(0);
  return stdout;
}

describe.runIf(isBuilt)('the GPU codec, emulated', { timeout: 300_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'codecllm-emulation-'));
  beforeAll(() => {
    run('cmake', '--build', BUILD, '--parallel', '2', '--target', 'codecllm_emulations');
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true }));

  test('agrees with the reference', () => {
    const pack = join(folder, 'pack');
    writeFileSync(pack, makePack(RANDOM_STREAMS));
    expect(run(`${BUILD}/codecllm_emulation`, pack, '--damaged', `${DAMAGED}`, '--products', `${PRODUCTS}`)).toContain(
      'everything agrees',
    );
  });

  test('and the host codec agree with the reference about drawn streams and mutants', () => {
    const pack = join(folder, 'batch');
    writeFileSync(pack, packOf(batchOf(SEED), {}));
    expect(run(`${BUILD}/codecllm_agree`, pack)).toMatch(/ 0 wrong\nasked: plain.* gpu\n$/);
  });

  test('shares tiles of DIRECT between eight warps, four and two', () => {
    // The emulated device is small: so many tiles are enough for it that each has fewer warps.
    const tensors = [
      { rows: 288, columns: 256, tileRows: 256, tiles: 4 },
      { rows: 128, columns: 2048, tileRows: 128, tiles: 16 },
      { rows: 64, columns: 4096, tileRows: 64, tiles: 32 },
    ] as const;
    const entries = tensors.map(({ rows, columns, tileRows, tiles }) => {
      const bytes = makeTensor('BF16', rows * columns, columns, 'gaussian', tiles);
      const options = { profile: 'direct', columns, tileRows } as const;
      const stream = encodeTensor(bytes, 'BF16', [rows, columns], options);
      expect(inspectTensor(stream).modes[0]).toEqual({ direct: tiles });
      return { name: `${rows} x ${columns}`, kind: 0 as const, stream, bytes, options };
    });
    const pack = join(folder, 'direct');
    writeFileSync(pack, packOf(entries, {}));
    expect(run(`${BUILD}/codecllm_emulation`, pack, '--damaged', '3', '--products', '0')).toContain(
      'everything agrees',
    );
  });

  test('refuses what is coded against a base, and has the host restore it', async () => {
    const codec = createRequire(import.meta.url)(`${BUILD}/Release/codecllm_emulated.node`);
    const base = makeTensor('BF16', 64 * 128, 128, 'gaussian', 1);
    const stream = encodeTensor(trained(base, 2 ** -9, 1), 'BF16', [64, 128], { base });
    await expect(codec.gpuDecoderOpenAsync(stream)).rejects.toThrow(
      'coded against a base, which a GPU does not take here, and the host can',
    );
    const path = join(folder, 'against');
    writeFileSync(path, stream);
    const file = openSync(path, 'r');
    const engine = new GpuEngine(2, codec);
    const whole = { start: 0, length: stream.length, tensorBytes: base.length, base };
    const decoded = await engine.decodeBatch({ fd: file, position: 0, length: stream.length }, [whole]);
    expect(Buffer.compare(decoded, trained(base, 2 ** -9, 1))).toBe(0);
    await engine.close();
    closeSync(file);
  });

  test('restores a checkpoint, and names what is damaged', async () => {
    const codec = createRequire(import.meta.url)(`${BUILD}/Release/codecllm_emulated.node`);
    const demo = fileURLToPath(new URL('../demo/model.safetensors', import.meta.url));
    const [compressed, restored] = [join(folder, 'compressed'), join(folder, 'restored')];
    await compress(demo, compressed, { engine: 'native', profile: 'fast' });
    const decompress = async (): Promise<void> => {
      const engine = new GpuEngine(2, codec);
      try {
        await decompressFile(
          compressed,
          restored,
          { force: true },
          {
            engine,
            bases: new Bases([], engine),
            onProgress: () => {},
          },
        );
      } finally {
        await engine.close();
      }
    };
    await decompress();
    expect(readFileSync(restored).equals(readFileSync(demo))).toBe(true);
    const bytes = readFileSync(compressed);
    // In the data of a stream: kept tensors, which are few, come last.
    bytes[Math.floor(bytes.length / 2)] ^= 1;
    writeFileSync(compressed, bytes);
    await expect(decompress()).rejects.toThrow(/: damaged at tensor ".*": tile \d+: its data are damaged/);
  });
});
