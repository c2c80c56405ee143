// `npm run conformance:arm64`: the host codec compiled for ARM64 and run under QEMU, so that its NEON kernels are held to
// the reference on a machine that has none. All golden vectors and random tensors are decoded and encoded on every path,
// then damaged streams are decoded. Exit codes: 0 all agree, 1 something does not, 3 no QEMU or no cross-compiler.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromRoot } from '../../src/files/root.ts';
import { SEED } from '../seed.ts';
import { makePack } from './pack.ts';
import { buildIn, endMissing, runs } from './program.ts';

const RANDOM_STREAMS = 1000;
const FUZZING_SECONDS = 20;

const COMPILER = 'aarch64-linux-gnu-g++';
const EMULATOR = 'qemu-aarch64';

for (const tool of ['cmake', COMPILER, EMULATOR]) if (!runs(tool, '--version')) endMissing(tool);

const programs = buildIn(
  'arm64',
  [
    ...['-DCMAKE_SYSTEM_NAME=Linux', '-DCMAKE_SYSTEM_PROCESSOR=aarch64', `-DCMAKE_CXX_COMPILER=${COMPILER}`],
    // QEMU needs no libraries of the other architecture.
    ...['-DCMAKE_EXE_LINKER_FLAGS=-static', '-DCODECLLM_WITH_CUDA=OFF', '-DCODECLLM_TOOLS=ON'],
  ],
  ['codecllm_paths', 'codecllm_fuzz'],
);

/** Runs a program, and shows what it prints. @throws where it fails */
function run(program: string, ...args: string[]): string {
  const { status, stdout } = spawnSync(EMULATOR, [`${programs}/${program}`, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  process.stdout.write(stdout);
  if (status !== 0) throw new Error(`${program} failed`);
  return stdout;
}

const folder = mkdtempSync(join(tmpdir(), 'codecllm-arm64-'));
try {
  const pack = join(folder, 'pack');
  writeFileSync(pack, makePack(RANDOM_STREAMS));
  if (!run('codecllm_paths', pack).includes('neon: ')) throw new Error('there are no NEON kernels in this build');
  const golden = fileURLToPath(fromRoot('golden/stream'));
  const streams = readdirSync(golden).map((name) => join(golden, name));
  run('codecllm_fuzz', `${FUZZING_SECONDS}`, `${SEED}`, ...streams);
} finally {
  rmSync(folder, { recursive: true });
}
