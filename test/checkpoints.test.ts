// The golden checkpoints: the specification, and the product with every engine, do with each what the manifest says.

import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compress, Refused, restore } from '../golden/container.ts';
import { committedFiles } from '../golden/generate.ts';
import { planLayers } from '../spec/container.ts';
import type { EncodeOptions } from '../spec/index.ts';
import { inDirectory } from './checkpoint.ts';

// Worker threads run what is built.
const product: typeof import('../src/index.ts') = await import(
  /* @vite-ignore */ new URL('../dist/src/index.js', import.meta.url).href
);

type Options = Pick<EncodeOptions, 'profile' | 'tileRows'> & { progressive?: true };
type Refusal = {
  options?: Options;
  id: string;
  comment: string;
  file: string;
  bases?: string[];
  error: { place: string; step: string };
};
interface Manifest {
  valid: { id: string; comment: string; options?: Options; original: string; compressed: string; bases?: string[] }[];
  invalid: Refusal[];
  refused: Refusal[];
}

const files = committedFiles();
const fileNamed = (name: string): Uint8Array => new Uint8Array(files.get(`checkpoint/${name}`) as Uint8Array);
const pathOf = (name: string): string => fileURLToPath(new URL(`../golden/checkpoint/${name}`, import.meta.url));
const manifest: Manifest = JSON.parse(new TextDecoder().decode(fileNamed('manifest.json')));

test('there are enough of them, each with its own id and sentence', () => {
  for (const [list, least] of [
    [manifest.valid, 12],
    [manifest.invalid, 60],
    [manifest.refused, 4],
  ] as const) {
    expect(list.length).toBeGreaterThanOrEqual(least);
    expect(new Set(list.map(({ id }) => id)).size).toBe(list.length);
    for (const { comment } of list) expect(comment.length).toBeGreaterThan(4);
  }
});

// ------------------------------------------------------------------------------------------------- the specification

describe('the specification', () => {
  test.each(manifest.valid)('restores $id', ({ original, compressed, bases = [] }) => {
    expect(Buffer.compare(restore(fileNamed(compressed), bases.map(fileNamed)), fileNamed(original))).toBe(0);
  });

  test.each(manifest.invalid)('refuses $id', ({ file, bases = [], error }) => {
    let refused: unknown;
    try {
      restore(fileNamed(file), bases.map(fileNamed));
    } catch (thrown) {
      refused = thrown;
    }
    expect(refused).toBeInstanceOf(Refused);
    const { place, step } = refused as Refused;
    expect({ place, step }).toEqual(error);
  });

  test.each(manifest.refused)('compresses no $id', ({ options, file, error }) => {
    let refused: unknown;
    try {
      compress(fileNamed(file), {}, [], true, options?.progressive && planLayers);
    } catch (thrown) {
      refused = thrown;
    }
    expect(refused).toBeInstanceOf(Refused);
    const { place, step } = refused as Refused;
    expect({ place, step }).toEqual(error);
  });
});

// -------------------------------------------------------------------------------------------------------- the product

const native = product.doctor().find(({ name }) => name === 'native');
const engines = (['ts', 'native'] as const).filter((name) => name === 'ts' || native?.usable);

/** Copies of files, each in a folder of its own: beside them is none that could be found there. */
function apart(directory: string, names: readonly string[]): string[] {
  return names.map((name, index) => {
    const folder = join(directory, `${index}`);
    mkdirSync(folder);
    copyFileSync(pathOf(name), join(folder, 'base'));
    return join(folder, 'base');
  });
}

describe.each(engines)('the product, engine %s', (engine) => {
  const work = { engine, threads: 1 };

  test.each(manifest.valid)('$id', async ({ options, original, compressed, bases: names = [] }) => {
    await inDirectory(async (directory) => {
      const bases = apart(directory, names);
      const [output, restored] = [join(directory, 'output'), join(directory, 'restored')];
      await product.decompress(pathOf(compressed), restored, { ...work, bases });
      expect(Buffer.compare(readFileSync(restored), fileNamed(original))).toBe(0);
      if (options === undefined) return;
      await product.compress(pathOf(original), output, { ...options, ...work, bases });
      expect(Buffer.compare(readFileSync(output), fileNamed(compressed))).toBe(0);
    });
  });

  test.each(manifest.invalid)('refuses $id', async ({ file, bases: names = [], error }) => {
    // Which decodes nothing, and asks for no base.
    if (error.step === 'header' || error.step === 'front')
      await expect(product.inspect(pathOf(file))).rejects.toThrow(product.FileError);
    await inDirectory(async (directory) => {
      const bases = apart(directory, names);
      const folders = readdirSync(directory);
      const refusal = await product
        .decompress(pathOf(file), join(directory, 'out'), { ...work, bases })
        .catch((error) => error);
      expect(refusal).toBeInstanceOf(product.FileError);
      expect(refusal.message).toMatch(/^[^\n]*: [^\n]+$/);
      expect(readdirSync(directory)).toEqual(folders);
      await expect(product.verify(pathOf(file), { ...work, bases })).rejects.toThrow(refusal.message);
    });
  });

  test.each(manifest.refused)('compresses no $id', async ({ options, file }) => {
    await inDirectory(async (directory) => {
      const path = join(directory, 'in');
      writeFileSync(path, fileNamed(file));
      const refusal = await product
        .compress(path, join(directory, 'out'), { ...options, ...work })
        .catch((error) => error);
      expect(refusal).toBeInstanceOf(product.FileError);
      expect(readdirSync(directory)).toEqual(['in']);
    });
  });
});
