// Checkpoints against a base, and tensors that are stored once, as the product has them: files that are large, folders,
// chains, and what is said where a base is missing.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { trained } from '../golden/base.ts';
import { makeTensor } from '../golden/patterns.ts';
import { checkpoint, codecllm, inDirectory, type TestTensor } from './checkpoint.ts';

// Worker threads run what is built.
const product: typeof import('../src/index.ts') = await import(
  /* @vite-ignore */ new URL('../dist/src/index.js', import.meta.url).href
);
const native = product.doctor().find(({ name }) => name === 'native');
const engines = (['ts', 'native'] as const).filter((name) => name === 'ts' || native?.usable);

/** More than the native engine works on at a time, and less. */
const LARGE = makeTensor('BF16', 1200 * 1024, 1024, 'gaussian', 1);
const SMALL = makeTensor('BF16', 40 * 64, 64, 'gaussian', 2);
const weights = (name: string, data: Uint8Array, shape: readonly number[] = [data.length / 128, 64]): TestTensor => ({
  name,
  dtype: 'BF16',
  shape,
  data,
});

/** A checkpoint after so many steps of training. */
function stepped(steps: number, rows: number): TestTensor[] {
  const large = LARGE.slice(0, 2048 * rows);
  const step = (data: Uint8Array): Uint8Array => (steps === 0 ? data : trained(data, 2 ** -9, steps));
  return [weights('large', step(large)), weights('small', step(SMALL)), weights('tied', step(large))];
}

describe.each(engines)('engine %s', (engine) => {
  const rows = engine === 'native' ? 1200 : 100;

  test('a chain of files comes back, found in a folder or given one by one', async () => {
    await inDirectory(async (directory) => {
      const name = (what: string): string => join(directory, `${what}.safetensors`);
      for (const step of [0, 1, 2]) writeFileSync(name(`${step}`), checkpoint(stepped(step, rows)));
      const first = await product.compress(name('1'), name('first'), { engine, bases: [name('0')] });
      expect(first.ratio).toBeLessThan(0.2);
      expect(first).toMatchObject({ tensorsCompressed: 2, tensorsKept: 0, tensorsCopied: 1 });
      const bases = [name('first'), name('0')];
      await product.compress(name('2'), name('second'), { engine, bases });
      const [inspected] = await product.inspect(name('second'));
      expect(inspected.base).toBe(first.files[0].sha256);
      expect(inspected.tensors.map(({ stream, copyOf }) => [stream?.againstBase, copyOf])).toEqual([
        [true, undefined],
        [true, undefined],
        [true, 'large'],
      ]);
      for (const given of [bases, [directory]]) {
        await product.decompress(name('second'), name('back'), { engine, bases: given, force: true });
        expect(readFileSync(name('back')).equals(readFileSync(name('2')))).toBe(true);
      }
      const opened = await product.openCheckpoint(name('second'), { engine, bases });
      expect(Buffer.compare(await opened.read('tied'), stepped(2, rows)[0].data)).toBe(0);
      await opened.close();
    });
  });

  test('a base may be equal; a file is no base of itself', async () => {
    await inDirectory(async (directory) => {
      const name = (what: string): string => join(directory, what);
      for (const path of ['base', 'new']) writeFileSync(name(path), checkpoint(stepped(1, rows)));
      const { ratio } = await product.compress(name('new'), name('out'), { engine, bases: [name('base')] });
      expect(ratio).toBeLessThan(0.02);
      await product.decompress(name('out'), name('back'), { engine, bases: [name('out'), name('base')] });
      expect(readFileSync(name('back')).equals(readFileSync(name('new')))).toBe(true);
      await expect(product.verify(name('out'), { engine, bases: [name('out')] })).rejects.toThrow(
        'is coded against a base that leads back to it',
      );
    });
  });

  test('a base that is another, damaged, or not there is refused before anything is written', async () => {
    await inDirectory(async (directory) => {
      const name = (what: string): string => join(directory, what);
      const [base, other] = [checkpoint([weights('w', SMALL)]), checkpoint([weights('w', trained(SMALL, 1, 9))])];
      for (const [path, bytes] of Object.entries({ base, other })) writeFileSync(name(path), bytes);
      writeFileSync(name('new'), checkpoint([weights('w', trained(SMALL, 2 ** -9, 1))]));
      await product.compress(name('new'), name('out'), { engine, bases: [name('base')] });
      const refusal = async (...bases: string[]): Promise<string> =>
        product.decompress(name('out'), name('back'), { engine, bases }).then(
          () => 'none',
          (error) => error.message,
        );
      const hash = /[0-9a-f]{64}/g;
      const wanted = `${name('out')}: is coded against a base, the file whose SHA-256 is #; `;
      expect((await refusal()).replace(hash, '#')).toBe(`${wanted}it is not given (--base)`);
      expect((await refusal(name('other'))).replace(hash, '#')).toBe(`${wanted}${name('other')} has #`);
      expect(await refusal(name('other'), name('new'))).toContain('; none of the 2 files given is it');
      // A compressed base says its SHA-256 itself; that it is another shows in the tensor.
      await product.compress(name('base'), name('small'), { engine });
      const bytes = readFileSync(name('small'));
      bytes[bytes.length - 20] ^= 1;
      writeFileSync(name('small'), bytes);
      expect(await refusal(name('small'))).toContain(`${name('small')}: damaged at tensor "w": `);
      expect(await refusal(name('base'))).toBe('none');
    });
  });

  test('a folder is coded against the files of the same names in another', async () => {
    await inDirectory(async (directory) => {
      const name = (...parts: string[]): string => join(directory, ...parts);
      for (const folder of ['old', 'new']) mkdirSync(name(folder));
      for (const shard of ['a', 'b', 'c']) {
        const tensor = (step: number): TestTensor => weights(shard, step === 0 ? SMALL : trained(SMALL, 2 ** -9, step));
        if (shard !== 'c') writeFileSync(name('old', `${shard}.safetensors`), checkpoint([tensor(0)]));
        writeFileSync(name('new', `${shard}.safetensors`), checkpoint([tensor(1)]));
      }
      const { files } = await product.compress(name('new'), name('out'), { engine, bases: [name('old')] });
      const inspected = await product.inspect(name('out'));
      expect(inspected.map(({ base }) => base !== undefined)).toEqual([true, true, false]);
      await product.decompress(name('out'), name('back'), { engine, bases: [name('old')] });
      for (const shard of ['a', 'b', 'c'])
        expect(
          readFileSync(name('back', `${shard}.safetensors`)).equals(readFileSync(name('new', `${shard}.safetensors`))),
        ).toBe(true);
      expect(files[0].bytesAfter).toBeLessThan(files[2].bytesAfter / 2);
    });
  });
});

test('the command line takes a base, and shows what it is coded against', async () => {
  await inDirectory((directory) => {
    const name = (what: string): string => join(directory, what);
    const run = (...args: string[]): string => {
      const { status, stdout, stderr } = codecllm(...args);
      expect([status, stderr]).toEqual([0, '']);
      return stdout;
    };
    writeFileSync(name('old'), checkpoint([weights('w', SMALL), weights('tied', SMALL)]));
    writeFileSync(
      name('new'),
      checkpoint([weights('w', trained(SMALL, 2 ** -9, 1)), weights('v', SMALL), weights('x', SMALL)]),
    );
    expect(run('compress', name('old'), name('once'))).toContain(
      '1 tensor compressed, 0 kept, 1 stored once with another',
    );
    run('compress', name('new'), name('out'), '--base', name('once'));
    const shown = run('inspect', name('out'));
    expect(shown).toMatch(/\nagainst the file whose SHA-256 is [0-9a-f]{64}\n/);
    expect(shown).toMatch(/\nw .* against the base, 0 % of the tiles unchanged; 8\+8: /);
    expect(shown).toMatch(/\nx .* 0\.00 % {2}as v\n/);
    run('verify', name('out'), '--base', name('old'));
    run('decompress', name('out'), name('back'), '--base', name('once'));
    expect(
      codecllm('compress', directory, name('../never'), '--for', 'transformers', '--base', name('old')).stderr,
    ).toBe(`codecllm: ${directory}: transformers loads nothing that is coded against a base\n`);
  });
});
