// `npm run conformance`: decodes all golden vectors and 10,000 random streams on this machine's GPU, encodes their
// tensors, compares every byte, and writes a record to conformance/. Exit codes: 0 all agree, 1 something does not, 3 no GPU.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makePack } from './pack.ts';
import { buildProgram } from './program.ts';

const RANDOM_STREAMS = 10_000;

/** The first line that a program prints. */
function answer(program: string, ...args: string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8' }).split('\n')[0].trim();
  } catch {
    return 'unknown';
  }
}

const program = buildProgram('codecllm_conformance');
const benchmark = buildProgram('codecllm_benchmark');
const folder = mkdtempSync(join(tmpdir(), 'codecllm-conformance-'));
try {
  const pack = join(folder, 'pack');
  console.log(`making ${RANDOM_STREAMS} streams with the reference codec ...`);
  writeFileSync(pack, makePack(RANDOM_STREAMS));
  mkdirSync('conformance', { recursive: true });
  const commit = answer('git', 'rev-parse', 'HEAD');
  const driver = answer('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader');
  const args = [pack, '--record', 'conformance/local.json', '--commit', commit, '--driver', driver];
  process.exitCode = spawnSync(program, args, { stdio: 'inherit' }).status ?? 1;
  if (process.exitCode === 0) {
    console.log('\nits speed, beside what this GPU was predicted to do (bench/NOTES.md):');
    process.exitCode = spawnSync(benchmark, ['--quick'], { stdio: 'inherit' }).status ?? 1;
  }
} finally {
  rmSync(folder, { recursive: true });
}
