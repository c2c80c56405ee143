// The golden vectors alone, which are all that may notice what Stryker changes. The smallest come first: most changes are
// found at once. Of errors, nothing is compared (FORMAT.md, section 9).

import { readFileSync, statSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { decodeTensor, type EncodeOptions, encodeTensor, FormatError } from '../../spec/index.ts';
import { fromRoot } from '../../src/files/root.ts';

interface Vector {
  readonly id: string;
  readonly stream: string;
  readonly base?: string | null;
}

interface ValidVector extends Vector {
  readonly dtype: string;
  readonly shape: number[];
  readonly options: EncodeOptions;
  readonly input: string;
}

const urlOf = (name: string): URL => fromRoot(`golden/${name}`);
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(urlOf(name)));
const baseOf = ({ base }: Vector): { base?: Uint8Array } => (base ? { base: read(base) } : {});
const sorted = <V extends Vector>(vectors: V[], nameOf: (vector: V) => string): V[] => {
  const sizes = new Map(vectors.map((vector) => [vector, statSync(urlOf(nameOf(vector))).size]));
  return vectors.sort((a, b) => (sizes.get(a) ?? 0) - (sizes.get(b) ?? 0));
};

const manifest: { valid: ValidVector[]; base: ValidVector[]; invalid: Vector[]; invalidBase: Vector[] } = JSON.parse(
  readFileSync(urlOf('manifest.json'), 'utf8'),
);
const valid = sorted([...manifest.valid, ...manifest.base], ({ input }) => input);
const invalid = sorted([...manifest.invalid, ...manifest.invalidBase], ({ stream }) => stream);

describe('refuses', () => {
  test.each(invalid)('$id', (vector) => {
    expect(() => decodeTensor(read(vector.stream), baseOf(vector))).toThrow(FormatError);
  });
});

describe('decodes', () => {
  test.each(valid)('$id', (vector) => {
    const { dtype, shape, data } = decodeTensor(read(vector.stream), baseOf(vector));
    expect({ dtype, shape }).toEqual({ dtype: vector.dtype, shape: vector.shape });
    expect(Buffer.compare(data, read(vector.input))).toBe(0);
  });
});

describe('encodes', () => {
  test.each(valid)('$id', (vector) => {
    const options = { ...vector.options, ...baseOf(vector) };
    const stream = encodeTensor(read(vector.input), vector.dtype, vector.shape, options);
    expect(Buffer.compare(stream, read(vector.stream))).toBe(0);
  });
});
