// Checkpoints against a base, and tensors that are stored once, as the product has them: files that are large, folders,
// chains, and what is said where a base is missing.

import { mkdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { trained } from '../golden/base.ts';
import { makeTensor } from '../golden/patterns.ts';
import { bomb, checkpoint, codecllm, inDirectory, type TestTensor } from './checkpoint.ts';

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
      expect(inspected.bases).toEqual([first.files[0].sha256]);
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
      const beside = 'none of the compressed files in its folder is it';
      expect((await refusal()).replace(hash, '#')).toBe(`${wanted}${beside}, and none is given (--base)`);
      expect((await refusal(name('other'))).replace(hash, '#')).toBe(`${wanted}${name('other')} has #, and ${beside}`);
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

  test('a folder is coded against the files of another: first those of the same names, then any', async () => {
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
      expect(inspected.map(({ bases }) => bases.length)).toEqual([1, 1, 1]);
      await product.decompress(name('out'), name('back'), { engine, bases: [name('old')] });
      for (const shard of ['a', 'b', 'c'])
        expect(
          readFileSync(name('back', `${shard}.safetensors`)).equals(readFileSync(name('new', `${shard}.safetensors`))),
        ).toBe(true);
      for (const { bytesBefore, bytesAfter } of files) expect(bytesAfter).toBeLessThan(bytesBefore / 4);
    });
  });

  test('tensors that were renamed, and are in other files, are found', async () => {
    await inDirectory(async (directory) => {
      const name = (...parts: string[]): string => join(directory, ...parts);
      for (const folder of ['old', 'new']) mkdirSync(name(folder));
      const layer = (number: number, step: number): Uint8Array => {
        const data = makeTensor('BF16', 40 * 64, 64, 'gaussian', 10 + number);
        return step === 0 ? data : trained(data, 2 ** -9, step);
      };
      const shard = (prefix: string, layers: readonly number[], step: number): Uint8Array =>
        checkpoint(layers.map((number) => weights(`${prefix}${number}.weight`, layer(number, step))));
      writeFileSync(name('old', 'a.safetensors'), shard('', [0, 1, 2, 3], 0));
      writeFileSync(name('old', 'b.safetensors'), shard('', [4, 5], 0));
      writeFileSync(name('new', '1.safetensors'), shard('model.', [5, 0, 1], 1));
      writeFileSync(name('new', '2.safetensors'), shard('model.', [4, 2, 7], 1));
      const { files } = await product.compress(name('new'), name('out'), { engine, bases: [name('old')] });
      const small = (index: number): boolean[] =>
        files[index].tensors.map(({ bytesBefore, bytesAfter }) => bytesAfter < bytesBefore / 4);
      expect([small(0), small(1)]).toEqual([
        [true, true, true],
        [true, true, false],
      ]);
      await product.decompress(name('out'), name('back'), { engine, bases: [name('old')] });
      for (const file of ['1', '2'])
        expect(
          readFileSync(name('back', `${file}.safetensors`)).equals(readFileSync(name('new', `${file}.safetensors`))),
        ).toBe(true);
    });
  });

  test('what equals a tensor of a file beside it is stored once, and found there', async () => {
    await inDirectory(async (directory) => {
      const name = (...parts: string[]): string => join(directory, ...parts);
      mkdirSync(name('in', 'deeper'), { recursive: true });
      const [first, other, third] = [3, 4, 5].map((seed) => makeTensor('BF16', 400 * 64, 64, 'gaussian', seed));
      const files = {
        '1.safetensors': [weights('a', first), weights('b', other)],
        '2.safetensors': [weights('c', other), weights('a', first), weights('tied', other)],
        '3.safetensors': [weights('d', other), weights('x', third)],
        'deeper/4.safetensors': [weights('a', first)],
      };
      for (const [file, tensors] of Object.entries(files)) writeFileSync(name('in', file), checkpoint(tensors));
      await product.compress(name('in'), name('out'), { engine });
      const size = (file: string): number => statSync(name('out', file)).size;
      expect(size('2.safetensors')).toBeLessThan(size('1.safetensors') / 40);
      expect(size('3.safetensors')).toBeLessThan(0.55 * size('1.safetensors'));
      expect(size('deeper/4.safetensors')).toBeGreaterThan(0.4 * size('1.safetensors'));
      await product.verify(name('out'), { engine });
      await product.decompress(name('out'), name('back'), { engine });
      for (const file of Object.keys(files))
        expect(readFileSync(name('back', file)).equals(readFileSync(name('in', file)))).toBe(true);
      // One file of them, given alone.
      await product.decompress(name('out', '2.safetensors'), name('two'), { engine });
      expect(readFileSync(name('two')).equals(readFileSync(name('in', '2.safetensors')))).toBe(true);
      const opened = await product.openCheckpoint(name('out', '3.safetensors'), { engine });
      expect(Buffer.compare(await opened.read('d'), other)).toBe(0);
      await opened.close();
      const [inspected] = await product.inspect(name('out', '3.safetensors'));
      expect(inspected.tensors.map(({ stream }) => stream?.unchangedTiles === stream?.tileCount)).toEqual([
        true,
        false,
      ]);
      // A file that nobody can read is no base, and no matter.
      writeFileSync(name('out', '0.safetensors'), 'damaged');
      await product.verify(name('out', '3.safetensors'), { engine });
      // Where files are replaced one by one, none is coded against another.
      await product.compress(name('in'), name('in'), { engine, inPlace: true });
      expect(statSync(name('in', '2.safetensors')).size).toBeGreaterThan(size('1.safetensors') / 2);
      await product.verify(name('in'), { engine });
      unlinkSync(name('out', '1.safetensors'));
      await expect(product.verify(name('out', '3.safetensors'), { engine })).rejects.toThrow(
        /3\.safetensors: is coded against a base, the file whose SHA-256 is [0-9a-f]{64}; none of the compressed files in/,
      );
    });
  });
});

test('a base that becomes very large has to be given', async () => {
  await inDirectory(async (directory) => {
    const name = (what: string): string => join(directory, what);
    const bytes = bomb();
    writeFileSync(name('zeros.safetensors'), bytes);
    // Of the same original, as it says, and against a tensor of it.
    const base = { name: 'w', dtype: 'BF16', shape: [40, 64], data: SMALL.slice(0, 5120) };
    writeFileSync(name('old'), checkpoint([base]));
    writeFileSync(name('new'), checkpoint([{ ...base, data: trained(base.data, 2 ** -9, 1) }]));
    await product.compress(name('new'), name('out'), { bases: [name('old')] });
    const out = readFileSync(name('out'));
    const at = out.indexOf('"codecllm.base":"') + '"codecllm.base":"'.length;
    out.fill('0', at, at + 64);
    const dataStart = 8 + Number(out.readBigUInt64LE());
    const digits = '{"__metadata__":{"codecllm.check":"'.length + 8;
    out.write(
      crc32(out.subarray(digits + 8, dataStart))
        .toString(16)
        .padStart(8, '0'),
      digits,
    );
    writeFileSync(name('out'), out);
    await expect(product.verify(name('out'))).rejects.toThrow(
      'zeros.safetensors: becomes more than 100 times as large, and is a base only where it is given (--base)',
    );
    await expect(product.verify(name('out'), { bases: [directory] })).rejects.toThrow('of its base, which lacks it');
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
