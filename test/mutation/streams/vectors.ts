// The vectors of streams alone, which are all that may notice what Stryker changes of the codec. What takes least comes
// first: most changes are found at once. Of errors, nothing is compared (FORMAT.md, section 9).

import { readFileSync, statSync } from 'node:fs';
import { expect, test } from 'vitest';
import { decodeTensor, type EncodeOptions, encodeTensor, FormatError } from '../../../spec/index.ts';
import { fromRoot } from '../../../src/files/root.ts';

interface Vector {
  readonly id: string;
  readonly stream: string;
  readonly base?: string | null;
}

interface ValidVector extends Vector {
  readonly dtype: string;
  readonly shape: number[];
  readonly options?: EncodeOptions;
  readonly input: string;
}

const urlOf = (name: string): URL => fromRoot(`golden/${name}`);
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(urlOf(name)));
const baseOf = ({ base }: Vector): { base?: Uint8Array } => (base ? { base: read(base) } : {});
const sorted = <V extends Vector>(vectors: V[], workOf: (vector: V) => number): V[] => {
  const work = new Map(vectors.map((vector) => [vector, workOf(vector)]));
  return vectors.sort((a, b) => (work.get(a) ?? 0) - (work.get(b) ?? 0));
};
const sizeOf = (name: string): number => statSync(urlOf(name)).size;

const manifest: { valid: ValidVector[]; base: ValidVector[]; invalid: Vector[]; invalidBase: Vector[] } = JSON.parse(
  readFileSync(urlOf('manifest.json'), 'utf8'),
);
const valid = sorted([...manifest.valid, ...manifest.base], ({ input, options }) =>
  Math.max(sizeOf(input), options?.columns ?? 0),
);
const invalid = sorted([...manifest.invalid, ...manifest.invalidBase], ({ stream }) => sizeOf(stream));

/**
 * Tests of some vectors each, which end with the first that is wrong: a test for each would take longer than the vectors.
 * Which of them a change could be noticed by is known of each test.
 */
function testAll<V extends Vector>(what: string, vectors: readonly V[], tests: number, ask: (vector: V) => void): void {
  const each = Math.ceil(vectors.length / tests);
  for (let begin = 0; begin < vectors.length; begin += each)
    test(`${what}, from ${begin} on`, () => {
      for (const vector of vectors.slice(begin, begin + each)) ask(vector);
    });
}

testAll('refuses', invalid, 1, (vector) => {
  expect(() => decodeTensor(read(vector.stream), baseOf(vector)), vector.id).toThrow(FormatError);
});

testAll('decodes', valid, 4, (vector) => {
  const { dtype, shape, data } = decodeTensor(read(vector.stream), baseOf(vector));
  expect({ dtype, shape }, vector.id).toEqual({ dtype: vector.dtype, shape: vector.shape });
  expect(Buffer.compare(data, read(vector.input)), vector.id).toBe(0);
});

const encoded = valid.filter(({ options }) => options);
testAll('encodes', encoded, 16, (vector) => {
  const options = { ...vector.options, ...baseOf(vector) };
  const stream = encodeTensor(read(vector.input), vector.dtype, vector.shape, options);
  expect(Buffer.compare(stream, read(vector.stream)), vector.id).toBe(0);
});
