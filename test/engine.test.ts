// The product gives the same bytes with either codec.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
// The compiled product: its threads run compiled code.
import { compress, decompress, doctor } from '../dist/src/index.js';

const checkpoint = fileURLToPath(new URL('../demo/model.safetensors', import.meta.url));
const native = doctor().find(({ name }) => name === 'native');

test.skipIf(!native?.usable)(`the demo's checkpoint, with both engines (native: ${native?.detail})`, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'codecllm-engine-'));
  try {
    for (const profile of ['small', 'fast'] as const) {
      const [ts, fast] = await Promise.all(
        (['ts', 'native'] as const).map(async (engine) => {
          const output = join(folder, `${profile}.${engine}`);
          const { bytesBefore, bytesAfter } = await compress(checkpoint, output, { profile, engine });
          // On real weights both profiles save a third.
          expect(bytesAfter / bytesBefore).toBeLessThan(profile === 'small' ? 0.661 : 0.665);
          const restored = `${output}.restored`;
          await decompress(output, restored, { engine: engine === 'ts' ? 'native' : 'ts' });
          expect((await readFile(restored)).equals(await readFile(checkpoint))).toBe(true);
          return readFile(output);
        }),
      );
      expect(fast.equals(ts)).toBe(true);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
