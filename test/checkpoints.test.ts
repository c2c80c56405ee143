// The golden checkpoints: the specification, and the product with every engine, do with each what the manifest says.

import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { committedFiles } from '../golden/generate.ts';
import {
  bytesToLookAt,
  CHECKED_BYTES,
  type Container,
  checkBaseTensor,
  checkKept,
  checkPiece,
  checkStream,
  HeaderSpace,
  isCompressed,
  isItselfStream,
  planLayers,
  readContainer,
  restoreHeader,
} from '../spec/container.ts';
import { decodeTensor, type EncodeOptions, inspectTensor, streamLengths } from '../spec/index.ts';
import { refine } from '../spec/layers.ts';
import { ContainerError, headerLength, headerText, LENGTH_BYTES, parseHeader } from '../spec/safetensors.ts';
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

/** What is refused, and how far one had to look. */
class Refused extends Error {
  constructor(
    readonly step: string,
    readonly place: string,
  ) {
    super(`${step}: ${place}`);
  }
}

/** Gives an original back as section 11 says. @param given where its bases are @throws Refused */
function restore(file: Uint8Array, given: readonly Uint8Array[] = [], above: readonly string[] = []): Uint8Array {
  const at = <T>(step: string, place: string, work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw new Refused(step, error instanceof ContainerError ? error.place : place);
    }
  };
  const { dataStart, container } = at('header', '', () => {
    const length = headerLength(file.subarray(0, LENGTH_BYTES), file.length);
    const start = LENGTH_BYTES + length;
    const text = headerText(file.subarray(LENGTH_BYTES, start));
    return { dataStart: start, container: readContainer(parseHeader(text, file.length - start), text, start) };
  });
  const bytesOf = ({ start, end }: { start: number; end: number }): Uint8Array =>
    file.subarray(dataStart + start, dataStart + end);
  for (const tensor of container.tensors)
    at('front', tensor.name, () => {
      const begin = bytesOf(tensor).subarray(0, tensor.look);
      if (tensor.isStream) checkStream(tensor, streamLengths(begin));
      else checkKept(tensor, begin);
    });
  for (const layer of container.layers)
    at('front', layer.name, () => checkStream(layer, streamLengths(bytesOf(layer))));
  const original = at('front', '', () =>
    restoreHeader(container, (tensor) =>
      at('front', tensor.name, () => {
        const { dtype, shape, tensorBytes, againstBase } = inspectTensor(bytesOf(tensor));
        return { dtype, shape, bytes: tensorBytes, againstBase };
      }),
    ),
  );
  const coded = original.tensors.filter(({ againstBase }) => againstBase);
  const bases = coded.length > 0 ? container.bases.map((base) => baseOf(base, container, given, above)) : [];
  const before = new Map<string, Uint8Array>();
  for (const tensor of coded) {
    const { name, copyOf = name, against } = tensor;
    const { tensors, bytes, dataStart: begin } = bases[against?.base ?? 0];
    const found = against ? tensors[against.tensor] : tensors.find((each) => each.name === copyOf);
    at('base', name, () => checkBaseTensor(tensor, found));
    before.set(name, bytes.subarray(begin + (found?.start ?? 0), begin + (found?.end ?? 0)));
  }
  const header = new TextEncoder().encode(original.headerText);
  const restored = new Uint8Array(original.bytes);
  new DataView(restored.buffer).setBigUint64(0, BigInt(header.length), true);
  restored.set(header, LENGTH_BYTES);
  for (const tensor of original.tensors) {
    const { name, dtype, start, isStream, stored, layers } = tensor;
    const bytes = bytesOf(stored);
    if (!isStream)
      for (let begin = 0; begin < bytes.length; begin += CHECKED_BYTES) {
        const piece = bytes.subarray(begin, begin + CHECKED_BYTES);
        at('data', name, () => checkPiece(tensor, begin / CHECKED_BYTES, crc32(piece)));
      }
    const decoded = isStream ? at('data', name, () => decodeTensor(bytes, { base: before.get(name) }).data) : bytes;
    for (const layer of layers)
      at('data', layer.name, () => {
        if (!refine(decoded, dtype, layer, decodeTensor(bytesOf(layer.stored)).data)) throw new Error('no layer');
      });
    restored.set(decoded, 8 + header.length + start);
  }
  if (createHash('sha256').update(restored).digest('hex') !== container.sha256)
    throw new Refused('data', '__metadata__.codecllm.sha256');
  return restored;
}

/** What stands in a safetensors file. */
function partsOf(file: Uint8Array) {
  const dataStart = LENGTH_BYTES + headerLength(file.subarray(0, LENGTH_BYTES), file.length);
  const text = headerText(file.subarray(LENGTH_BYTES, dataStart));
  return { dataStart, text, header: parseHeader(text, file.length - dataStart) };
}

/** The original of a base, by its SHA-256. */
function baseOf(base: string, { sha256 }: Container, given: readonly Uint8Array[], above: readonly string[]) {
  const trail = [...above, sha256];
  const found = given.find((file) => {
    const { header, text, dataStart } = partsOf(file);
    const hash = createHash('sha256').update(file).digest('hex');
    return (isCompressed(header) ? readContainer(header, text, dataStart).sha256 : hash) === base;
  });
  if (found === undefined || trail.includes(base)) throw new Refused('base', '__metadata__.codecllm.base');
  const bytes = isCompressed(partsOf(found).header) ? restore(found, given, trail) : found;
  const { dataStart, header } = partsOf(bytes);
  return { bytes, dataStart, tensors: header.tensors };
}

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
    const bytes = fileNamed(file);
    const dataStart = LENGTH_BYTES + headerLength(bytes.subarray(0, LENGTH_BYTES), bytes.length);
    const text = headerText(bytes.subarray(LENGTH_BYTES, dataStart));
    const header = parseHeader(text, bytes.length - dataStart);
    if (error.step === 'header')
      expect(() => new HeaderSpace(header, text, { layersOf: options?.progressive && planLayers })).toThrow(
        ContainerError,
      );
    else {
      const streams = header.tensors.filter((tensor) =>
        isItselfStream(bytes.subarray(dataStart + tensor.start).subarray(0, bytesToLookAt(tensor))),
      );
      expect(streams.map(({ name }) => name)).toEqual([error.place]);
    }
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
