// The vectors of streams alone, which are all that may notice what Stryker changes of the codec. What takes least comes
// first: most changes are found at once. Of errors, nothing is compared (FORMAT.md, section 9).

import assert from 'node:assert';
import { readFileSync, statSync } from 'node:fs';
import { decodeTensor, type EncodeOptions, encodeTensor, FormatError } from '../../spec/index.ts';
import { fromRoot } from '../../src/files/root.ts';
import type { Question } from './runner.mjs';

interface Vector {
  readonly id: string;
  readonly stream: string;
  readonly base?: string | null;
}

interface ValidVector extends Vector {
  readonly dtype: string;
  readonly shape: number[];
  /** Undefined if the encoder makes no such stream. */
  readonly options?: EncodeOptions;
  readonly input: string;
}

const urlOf = (name: string): URL => fromRoot(`golden/${name}`);
const read = (name: string): Uint8Array => new Uint8Array(readFileSync(urlOf(name)));
const baseOf = ({ base }: Vector): { base?: Uint8Array } => (base ? { base: read(base) } : {});
const sizeOf = (name: string): number => statSync(urlOf(name)).size;

const manifest: { valid: ValidVector[]; base: ValidVector[]; invalid: Vector[]; invalidBase: Vector[] } = JSON.parse(
  readFileSync(urlOf('manifest.json'), 'utf8'),
);

const refusals = [...manifest.invalid, ...manifest.invalidBase].map((vector) => ({
  name: `refuses ${vector.id}`,
  work: sizeOf(vector.stream),
  ask: () => assert.throws(() => decodeTensor(read(vector.stream), baseOf(vector)), FormatError),
}));

const valid = [...manifest.valid, ...manifest.base];
const workOf = ({ input, options }: ValidVector): number => Math.max(sizeOf(input), options?.columns ?? 0);

const decodings = valid.map((vector) => ({
  name: `decodes ${vector.id}`,
  work: workOf(vector),
  ask: () => {
    const { dtype, shape, data } = decodeTensor(read(vector.stream), baseOf(vector));
    assert.deepEqual({ dtype, shape }, { dtype: vector.dtype, shape: vector.shape });
    assert.equal(Buffer.compare(data, read(vector.input)), 0);
  },
}));

const encodings = valid.flatMap((vector) => {
  const { id, dtype, shape, input, stream, options } = vector;
  if (options === undefined) return [];
  const ask = () => {
    const encoded = encodeTensor(read(input), dtype, shape, { ...options, ...baseOf(vector) });
    assert.equal(Buffer.compare(encoded, read(stream)), 0);
  };
  // Encoding takes longer, and in small in all profiles.
  return [{ name: `encodes ${id}`, work: (options.profile === undefined ? 9 : 3) * workOf(vector), ask }];
});

export const questions: readonly Question[] = [...refusals, ...decodings, ...encodings].sort((a, b) => a.work - b.work);
