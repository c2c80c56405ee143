// Checkpoints in layers of bits, as the product has them: what each prefix of a file gives, and what is refused.

import { appendFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { makeTensor } from '../golden/patterns.ts';
import { coarse, layerOf, layerStarts, layersFrom, refine } from '../spec/layers.ts';
import { checkpoint, codecllm, inDirectory, type TestTensor } from './checkpoint.ts';

// Worker threads run what is built.
const product: typeof import('../src/index.ts') = await import(
  /* @vite-ignore */ new URL('../dist/src/index.js', import.meta.url).href
);
const native = product.doctor().find(({ name }) => name === 'native');
const engines = (['ts', 'native'] as const).filter((name) => name === 'ts' || native?.usable);

const tensor = (name: string, dtype: string, rows: number): TestTensor => ({
  name,
  dtype,
  shape: [rows, 128],
  data: makeTensor(dtype, rows * 128, 128, 'gaussian', rows),
});
const TENSORS: readonly TestTensor[] = [
  tensor('bf16', 'BF16', 260),
  tensor('f32', 'F32', 200),
  tensor('small', 'BF16', 100),
  tensor('i8', 'I8', 300),
  tensor('f16', 'F16', 128),
  { ...tensor('bf16', 'BF16', 260), name: 'tied' },
];
/** What a reader of so many bits gives, of a tensor and of all. */
const coarseOf = ({ dtype, data }: TestTensor, bits: number): Uint8Array => {
  const end = layerStarts(dtype, data.length).find((start) => start >= bits);
  return end === undefined ? data : coarse(data, dtype, end);
};
const prefix = (bits: number): Uint8Array =>
  checkpoint(TENSORS.map((each) => ({ ...each, data: coarseOf(each, bits) })));

test.each(['BF16', 'F16', 'F32'])('every word of %s becomes coarse, and whole again', (dtype) => {
  const bytes = dtype === 'F32' ? 4 : 2;
  const data = new Uint8Array(bytes * 2 ** 16);
  for (let i = 0; i < 2 ** 16; i++) data.set([i * 7, i * 13, i, i >> 8].slice(4 - bytes), bytes * i);
  const values = (of: Uint8Array): number[] => {
    const view = new DataView(of.buffer, of.byteOffset);
    const read = (at: number): number => {
      if (dtype === 'F32') return view.getFloat32(at, true);
      const word = view.getUint16(at, true);
      if (dtype === 'BF16') return new Float32Array(Uint32Array.of(word << 16).buffer)[0];
      const [exponent, fraction] = [(word >> 10) & 31, word & 1023];
      const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
      return (word >> 15 ? -1 : 1) * (exponent < 31 ? size : fraction === 0 ? Number.POSITIVE_INFINITY : Number.NaN);
    };
    return Array.from({ length: of.length / bytes }, (_, i) => read(bytes * i));
  };
  const exact = values(data);
  const starts = layerStarts(dtype, data.length);
  const words = coarse(data, dtype, starts[0]);
  for (const layer of layersFrom(dtype, starts) ?? []) {
    const [before, exponentBits] = [values(words), dtype === 'F16' ? 5 : 8];
    before.forEach((value, i) => {
      if (!Number.isFinite(exact[i])) expect(value).toBe(exact[i]);
      // Half of what a word may be, at most; of subnormals, all.
      else if (Math.abs(value - exact[i]) > Math.abs(exact[i]) * 2 ** (exponentBits - layer.first))
        expect(Math.abs(exact[i])).toBeLessThan(2 ** (dtype === 'F16' ? -14 : -126));
      if (exact[i] === 0) expect(Object.is(value, exact[i])).toBe(true);
    });
    expect(refine(words, dtype, layer, layerOf(data, dtype, layer))).toBe(true);
  }
  expect(Buffer.compare(words, data)).toBe(0);
});

describe.each(engines)('engine %s', (engine) => {
  test('each prefix of the file is a coarse checkpoint, and all of it is the original', async () => {
    await inDirectory(async (directory) => {
      const name = (what: string): string => join(directory, `${what}.safetensors`);
      writeFileSync(name('in'), checkpoint(TENSORS));
      const plain = await product.compress(name('in'), name('plain'), { engine });
      const report = await product.compress(name('in'), name('out'), { engine, progressive: true });
      expect(report).toMatchObject({ tensorsCompressed: 5, tensorsKept: 0, tensorsCopied: 1 });
      expect(report.bytesAfter).toBeLessThan(1.03 * plain.bytesAfter);
      const stored = report.files[0].tensors.reduce((sum, { bytesAfter }) => sum + bytesAfter, 0);
      expect(report.bytesAfter - stored).toBeLessThan(2500);
      const [{ prefixes, tensors }] = await product.inspect(name('out'));
      expect(prefixes.map(({ bits }) => bits)).toEqual([8, 10, 12, 14, 16, 24]);
      expect(tensors.map(({ bytesAfter }) => bytesAfter)).toEqual(
        report.files[0].tensors.map(({ bytesAfter }) => bytesAfter),
      );
      const whole = readFileSync(name('out'));
      for (const { bits, bytes } of prefixes) {
        writeFileSync(name('growing'), whole.subarray(0, bytes));
        await product.decompress(name('growing'), name('coarse'), { engine, bits, force: true });
        expect(Buffer.compare(readFileSync(name('coarse')), prefix(bits))).toBe(0);
        const open = await product.openCheckpoint(name('growing'), { engine, bits });
        // More of it comes.
        appendFileSync(name('growing'), whole.subarray(bytes));
        for (const each of TENSORS) expect(Buffer.compare(await open.read(each.name), coarseOf(each, bits))).toBe(0);
        await open.close();
        truncateSync(name('growing'), bytes - 3);
        await expect(product.openCheckpoint(name('growing'), { engine, bits })).rejects.toThrow(
          /growing.safetensors: incomplete: 3 bytes missing$/,
        );
        await expect(product.decompress(name('growing'), name('none'), { engine, bits })).rejects.toThrow(
          /growing.safetensors: incomplete: 3 bytes missing$/,
        );
        // Without bits, all of it is missed.
        await expect(product.verify(name('growing'), { engine })).rejects.toThrow(
          `incomplete: ${whole.length - bytes + 3} bytes missing`,
        );
      }
      for (const [bytes, missing] of [
        [5, 3],
        [100, null],
      ] as const) {
        writeFileSync(name('growing'), whole.subarray(0, bytes));
        await expect(product.decompress(name('growing'), name('none'), { engine, bits: 10 })).rejects.toThrow(
          new RegExp(`incomplete: ${missing ?? '[0-9]+'} bytes missing$`),
        );
      }
      const original = readFileSync(name('in'));
      writeFileSync(name('growing'), original.subarray(0, original.length - 7));
      await expect(product.openCheckpoint(name('growing'), { engine, bits: 10 })).rejects.toThrow(
        /growing.safetensors: incomplete: 7 bytes missing$/,
      );
      await product.decompress(name('out'), name('between'), { engine, bits: 11 });
      expect(Buffer.compare(readFileSync(name('between')), prefix(12))).toBe(0);
      await product.verify(name('out'), { engine });
      await product.decompress(name('out'), name('back'), { engine });
      expect(Buffer.compare(readFileSync(name('back')), readFileSync(name('in')))).toBe(0);
      const opened = await product.openCheckpoint(name('out'), { engine });
      for (const { name: which, data } of TENSORS) expect(Buffer.compare(await opened.read(which), data)).toBe(0);
      await opened.close();
      // What is coded against it sees it whole.
      await product.compress(name('in'), name('same'), { engine, bases: [name('out')] });
      await product.decompress(name('same'), name('again'), { engine, bases: [name('out')] });
      expect(Buffer.compare(readFileSync(name('again')), readFileSync(name('in')))).toBe(0);
    });
  });
});

test('what does not go together is refused', async () => {
  await inDirectory(async (directory) => {
    const [input, output] = [join(directory, 'in.safetensors'), join(directory, 'out')];
    writeFileSync(input, checkpoint([TENSORS[2]]));
    for (const [options, problem] of [
      [{ bases: [input] }, 'what is coded against a base is not put into layers'],
      [{ for: 'transformers' }, 'transformers loads nothing that is in layers'],
      [{ profile: 'direct' }, 'profile direct stores all bits'],
    ] as const)
      await expect(product.compress(input, output, { ...options, progressive: true })).rejects.toThrow(problem);
    await expect(product.estimate(input, { progressive: true })).rejects.toThrow('cannot be estimated');
    await expect(product.decompress(input, input, { bits: 10, inPlace: true })).rejects.toThrow('replaces nothing');
    // Nothing is large enough for layers: the file is as any other.
    await product.compress(input, output, { progressive: true });
    await product.compress(input, join(directory, 'plain'), {});
    expect(Buffer.compare(readFileSync(output), readFileSync(join(directory, 'plain')))).toBe(0);
  });
});

test('the command line compresses in layers and gives what has come', async () => {
  await inDirectory(async (directory) => {
    const [input, output, coarser] = ['in', 'out', 'coarser'].map((name) => join(directory, `${name}.safetensors`));
    writeFileSync(input, checkpoint(TENSORS));
    expect((await codecllm('compress', input, output, '--progressive')).status).toBe(0);
    const { stdout } = await codecllm('inspect', output);
    expect(stdout).toMatch(/\nin layers: 8 bits in the first [0-9.]+ kB, 10 bits in/);
    const restored = await codecllm('decompress', output, coarser, '--bits', '10');
    expect(restored.stdout).toContain(', coarse, of 10 bits\n');
    expect(Buffer.compare(readFileSync(coarser), prefix(10))).toBe(0);
    expect((await codecllm('decompress', output, coarser, '--bits', '0')).status).toBe(2);
  });
});
