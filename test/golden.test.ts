// The golden vectors: regenerating them changes no byte, and the reference codec does with each what the manifest says.

import { describe, expect, test } from 'vitest';
import { committedFiles, differences, goldenFiles } from '../golden/generate.ts';
import { allowsDirect, allowsPairs } from '../spec/decoder/3-planes.ts';
import { DTYPES, decodeTensor, type EncodeOptions, encodeTensor, FormatError, inspectTensor } from '../spec/index.ts';

interface Manifest {
  valid: {
    id: string;
    comment: string;
    dtype: string;
    shape: number[];
    options?: EncodeOptions;
    input: string;
    stream: string;
  }[];
  invalid: { id: string; comment: string; stream: string; error: { field: string; offset: number } }[];
  base: (Manifest['valid'][number] & { base: string })[];
  invalidBase: (Manifest['invalid'][number] & { base: string | null })[];
}

const files = committedFiles();
const manifest: Manifest = JSON.parse(new TextDecoder().decode(files.get('manifest.json')));
const fileNamed = (name: string): Uint8Array => new Uint8Array(files.get(name) as Uint8Array);

test('regenerating changes nothing', () => {
  expect(differences(goldenFiles(), files)).toEqual([]);
});

test('there are enough of them, each with its own id and sentence', () => {
  expect(manifest.valid.length).toBeGreaterThanOrEqual(60);
  expect(manifest.invalid.length).toBeGreaterThanOrEqual(20);
  const all = [...manifest.valid, ...manifest.invalid, ...manifest.base, ...manifest.invalidBase];
  expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
  for (const { comment } of all) expect(comment.length).toBeGreaterThan(4);
});

test('every mode and predictor of every dtype and split is there', () => {
  const seen = new Set<string>();
  for (const { dtype, stream } of manifest.valid) {
    const { split, modes } = inspectTensor(fileNamed(stream));
    modes.forEach((plane, p) => {
      for (const mode of Object.keys(plane)) seen.add(`${dtype} ${split.join('+')} ${p} ${mode}`);
    });
  }
  const missing = DTYPES.flatMap((dtype) =>
    dtype.splits.flatMap((split) =>
      split.flatMap((bits, p) => {
        const modes = ['const', 'raw', 'rans', ...(bits === 8 ? ['left', 'top', 'avg', 'planar'] : [])];
        if (p === 0 && allowsPairs(dtype, split)) modes.push('pairs');
        if (allowsDirect(dtype, split)) modes.push('direct');
        return modes.map((mode) => `${dtype.name} ${split.join('+')} ${p} ${mode}`);
      }),
    ),
  ).filter((combination) => !seen.has(combination));
  expect(missing).toEqual([]);
});

describe('valid', () => {
  test.each(manifest.valid)('$id', ({ dtype, shape, options, input, stream }) => {
    const data = fileNamed(input);
    if (options) expect(Buffer.compare(encodeTensor(data, dtype, shape, options), fileNamed(stream))).toBe(0);
    const decoded = decodeTensor(fileNamed(stream));
    expect({ dtype: decoded.dtype, shape: decoded.shape }).toEqual({ dtype, shape });
    expect(Buffer.compare(decoded.data, data)).toBe(0);
  });
});

describe('against a base', () => {
  test.each(manifest.base)('$id', ({ dtype, shape, options, base: baseName, input, stream }) => {
    const base = fileNamed(baseName);
    const data = fileNamed(input);
    expect(Buffer.compare(encodeTensor(data, dtype, shape, { ...options, base }), fileNamed(stream))).toBe(0);
    expect(Buffer.compare(decodeTensor(fileNamed(stream), { base }).data, data)).toBe(0);
  });
});

describe('invalid', () => {
  test.each([...manifest.invalid.map((vector) => ({ ...vector, base: null })), ...manifest.invalidBase])(
    '$id',
    ({ stream, base, error }) => {
      let refused: unknown;
      try {
        decodeTensor(fileNamed(stream), base === null ? {} : { base: fileNamed(base) });
      } catch (thrown) {
        refused = thrown;
      }
      expect(refused).toBeInstanceOf(FormatError);
      const { field, offset } = refused as FormatError;
      expect({ field, offset }).toEqual(error);
    },
  );
});
