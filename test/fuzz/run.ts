// `npm run fuzz -- [--seconds N] [NAME...]`: fuzzers guided by coverage, one after the other, N seconds in all. Those of
// native code are libFuzzer's (cuda/programs/fuzz/), built by Clang with sanitizers: `host` decodes on each instruction
// set, `gpu` on the emulated GPU, too, `encoder` encodes; `container` is guided.ts's. They begin with the golden vectors and
// with what corpus/ keeps: short inputs that reached what vectors do not. With --keep, what is found is added to it. What
// fails is a file of fuzz-failures/. Exit codes: 0 nothing failed, 1 something did, 3 no CMake or Clang.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fromRoot } from '../../src/files/root.ts';
import { buildIn, endMissing, runs } from '../conformance/program.ts';
import { SEED } from '../seed.ts';

const path = (name: string): string => fileURLToPath(fromRoot(name));

/** What each begins with, beside its corpus. */
const SEEDS: Readonly<Record<string, readonly string[]>> = {
  host: ['golden/stream', 'golden/invalid'],
  gpu: ['golden/stream', 'golden/invalid'],
  encoder: [],
  container: ['golden/checkpoint/compressed', 'golden/checkpoint/invalid', 'golden/checkpoint/original'],
};
/** The most bytes of an input. */
const LENGTH = 8192;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' }, keep: { type: 'boolean' } },
});
const names = positionals.length > 0 ? positionals : Object.keys(SEEDS);
const seconds = Math.max(1, Math.floor(Number(values.seconds) / names.length));
const failures = path('fuzz-failures/');
mkdirSync(failures, { recursive: true });

/** Runs one of libFuzzer's, in a folder for what it finds. @returns whether nothing failed */
function run(name: string, program: string): boolean {
  const found = mkdtempSync(join(tmpdir(), 'codecllm-fuzz-'));
  const options = [
    ...[`-max_total_time=${seconds}`, `-max_len=${LENGTH}`, '-timeout=10', '-rss_limit_mb=4096'],
    ...[`-artifact_prefix=${failures}`, '-print_final_stats=1', '-verbosity=1'],
  ];
  const corpora = [found, ...[`test/fuzz/corpus/${name}`, ...SEEDS[name]].map(path)];
  console.log(`${name}: ${seconds} s`);
  const { status } = spawnSync(program, [...options, ...corpora], { stdio: 'inherit' });
  if (values.keep) merge(name, program, found);
  rmSync(found, { recursive: true });
  return status === 0;
}

/** Adds to a corpus what reaches something that is reached by none of it, nor by the seeds. */
function merge(name: string, program: string, found: string): void {
  const kept = path(`test/fuzz/corpus/${name}`);
  spawnSync(program, ['-merge=1', `-max_len=${LENGTH}`, kept, ...SEEDS[name].map(path), found], {
    stdio: 'inherit',
  });
}

/** The same of TypeScript, which adds what it finds itself. */
function runContainer(): boolean {
  const corpus = path('test/fuzz/corpus/container');
  const found = values.keep ? corpus : mkdtempSync(join(tmpdir(), 'codecllm-fuzz-'));
  const args = ['guided.js', 'container.js'].map((name) => path(`dist/test/fuzz/${name}`));
  console.log(`container: ${seconds} s`);
  const folders = [corpus, ...SEEDS.container.map(path)];
  const { status } = spawnSync(process.execPath, [...args, `${seconds}`, `${SEED}`, found, ...folders], {
    stdio: 'inherit',
  });
  if (!values.keep) rmSync(found, { recursive: true });
  return status === 0;
}

/** Builds what is needed of native code. @returns the folder of the programs */
function build(): string {
  for (const tool of ['cmake', 'clang++']) if (!runs(tool, '--version')) endMissing(tool);
  const definitions = ['-DCODECLLM_WITH_CUDA=OFF', '-DCODECLLM_SANITIZE=ON', '-DCODECLLM_FUZZ=ON'];
  const targets = names.filter((name) => name !== 'container').map((name) => `codecllm_fuzz_${name}`);
  return buildIn('fuzz', [...definitions, '-DCMAKE_CXX_COMPILER=clang++'], targets);
}

const programs = names.some((name) => name !== 'container') ? build() : '';
let failed = false;
for (const name of names) {
  const ok = name === 'container' ? runContainer() : run(name, join(programs, `codecllm_fuzz_${name}`));
  failed ||= !ok;
}
console.log(failed ? 'something failed: fuzz-failures/ has it' : 'nothing failed');
process.exitCode = failed ? 1 : 0;
