// The vectors of checkpoints alone, which are all that may notice what Stryker changes of the container. What is refused is
// refused in its step (FORMAT.md, section 11); more is not compared.

import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import { compress, opened, Refused, restore, type Step } from '../../golden/container.ts';
import { planLayers } from '../../spec/container.ts';
import type { EncodeOptions } from '../../spec/index.ts';
import { fromRoot } from '../../src/files/root.ts';
import type { Question } from './runner.mjs';

interface Vector {
  readonly id: string;
  readonly options?: Pick<EncodeOptions, 'profile' | 'tileRows'> & { readonly progressive?: true };
  readonly bases?: readonly string[];
}

interface ValidVector extends Vector {
  readonly flags: readonly string[];
  readonly original: string;
  readonly compressed: string;
}

interface InvalidVector extends Vector {
  readonly file: string;
  readonly error: { readonly step: Step };
}

const read = (name: string): Uint8Array => new Uint8Array(readFileSync(fromRoot(`golden/checkpoint/${name}`)));
const basesOf = ({ bases = [] }: Vector): Uint8Array[] => bases.map(read);

const manifest: { valid: ValidVector[]; invalid: InvalidVector[]; refused: InvalidVector[] } = JSON.parse(
  new TextDecoder().decode(read('manifest.json')),
);

/** What the reference compressor makes with the options of a vector. @param bases their originals */
function compressAs({ options = {} }: Vector, original: Uint8Array, bases: readonly Uint8Array[] = []): Uint8Array {
  const { progressive, ...encoding } = options;
  return compress(original, encoding, bases, true, progressive && planLayers);
}

function stepOf(work: () => unknown): Step | undefined {
  try {
    work();
  } catch (error) {
    if (error instanceof Refused) return error.step;
    throw error;
  }
  return undefined;
}

const question = (what: string, { id }: Vector, ask: () => void): Question => ({ name: `${what} ${id}`, ask });

export const questions: readonly Question[] = [
  ...manifest.invalid.map((vector) =>
    question('refuses', vector, () =>
      assert.equal(
        stepOf(() => restore(read(vector.file), basesOf(vector))),
        vector.error.step,
      ),
    ),
  ),
  ...manifest.refused.map((vector) =>
    question('compresses no', vector, () =>
      assert.equal(
        stepOf(() => compressAs(vector, read(vector.file))),
        vector.error.step,
      ),
    ),
  ),
  ...manifest.valid.map((vector) =>
    question('restores', vector, () => {
      const restored = restore(read(vector.compressed), basesOf(vector));
      assert.equal(Buffer.compare(restored, read(vector.original)), 0);
    }),
  ),
  ...manifest.valid.map((vector) =>
    question('finds checks in', vector, () =>
      assert.equal(opened(read(vector.compressed)).container.isChecked, !vector.flags.includes('unchecked')),
    ),
  ),
  ...manifest.valid
    .filter(({ options }) => options !== undefined)
    .map((vector) =>
      question('compresses', vector, () => {
        const bases = (vector.bases ?? []).map((name) =>
          name.startsWith('compressed/') ? restore(read(name), basesOf(vector)) : read(name),
        );
        const compressed = compressAs(vector, read(vector.original), bases);
        assert.equal(Buffer.compare(compressed, read(vector.compressed)), 0);
      }),
    ),
];
