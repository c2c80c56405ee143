// The GPU decoder's kernels against the reference, on the CPU: what `npm run conformance` asks of a GPU, with fewer
// streams. It needs what the native codec is built with, CMake and a C++ compiler.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { makePack } from './conformance/pack.ts';

const RANDOM_STREAMS = 150;
/** Of which so many are damaged, too. */
const DAMAGED = 40;

const BUILD = fileURLToPath(new URL('../cuda/build', import.meta.url));
const isBuilt = existsSync(`${BUILD}/CMakeCache.txt`);
if (!isBuilt) console.warn(`The GPU kernels are not tested on the CPU: the native codec was not built in ${BUILD}.`);

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  expect(status, `${stdout}${stderr}`).toBe(0);
  return stdout;
}

test.runIf(isBuilt)('the kernels of the GPU decoder agree with the reference', { timeout: 300_000 }, () => {
  run('cmake', '--build', BUILD, '--parallel', '2', '--target', 'codecllm_emulation');
  const folder = mkdtempSync(join(tmpdir(), 'codecllm-emulation-'));
  try {
    const pack = join(folder, 'pack');
    writeFileSync(pack, makePack(RANDOM_STREAMS));
    expect(run(`${BUILD}/codecllm_emulation`, pack, '--damaged', `${DAMAGED}`)).toContain('everything agrees');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
