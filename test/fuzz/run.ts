// `npm run fuzz -- [--seconds N] [NAME...]`: fuzzers guided by coverage, one after the other, N seconds in all. Those of
// native code are libFuzzer's (cuda/programs/fuzz/), built by Clang with sanitizers: `host` decodes on each instruction
// set, `gpu` on the emulated GPU, too, `encoder` encodes; `container` is guided.ts's. They begin with the golden vectors, the
// encoder with tensors of their patterns, and with what corpus/ keeps: inputs that reached what those do not. With --keep,
// that is chosen anew out of it and of what is found. What fails is a file of fuzz-failures/. Exit codes: 0 nothing failed, 1
// something did, 3 nothing did, but there is no CMake or Clang to build all that was asked for.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeTensor, PATTERNS } from '../../golden/patterns.ts';
import { DTYPES } from '../../spec/index.ts';
import { fromRoot } from '../../src/files/root.ts';
import { Draw } from '../conformance/draw.ts';
import { buildIn, MISSING, runs } from '../conformance/program.ts';
import { SEED } from '../seed.ts';

const path = (name: string): string => fileURLToPath(fromRoot(name));

const STREAMS = { corpus: 'streams', seeds: () => ['golden/stream', 'golden/invalid'].map(path) };
/** A folder of corpus/, and what each begins with beside it. */
const FUZZERS: Readonly<Record<string, { readonly corpus: string; readonly seeds: () => string[] }>> = {
  host: STREAMS,
  gpu: STREAMS,
  encoder: { corpus: 'encoder', seeds: () => [tensors()] },
  container: {
    corpus: 'container',
    seeds: () => ['compressed', 'invalid', 'original'].map((name) => path(`golden/checkpoint/${name}`)),
  },
};
/** The most bytes of an input. */
const LENGTH = 8192;
/** Of the encoder's inputs: choices before the elements, a byte each, of which the first is the dtype. */
const CHOICES = 16;
const TENSORS = 400;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' }, keep: { type: 'boolean' } },
});
const names = positionals.length > 0 ? positionals : Object.keys(FUZZERS);
const seconds = Math.max(1, Math.floor(Number(values.seconds) / names.length));
const failures = path('fuzz-failures/');
mkdirSync(failures, { recursive: true });

/** Are removed in the end. */
const folders: string[] = [];
function temporary(): string {
  folders.push(mkdtempSync(join(tmpdir(), 'codecllm-fuzz-')));
  return `${folders.at(-1)}`;
}

/** What the encoder's fuzzer begins with: any choices, and tensors. @returns a folder of it */
function tensors(): string {
  const folder = temporary();
  const draw = new Draw(SEED);
  for (let n = 0; n < TENSORS; n++) {
    const choices = draw.bytes(CHOICES);
    const dtype = DTYPES[choices[0] % DTYPES.length];
    const words = draw.below((8 * (LENGTH - CHOICES)) / dtype.wordBits);
    const elements = makeTensor(dtype.name, words, draw.from(1, 300), draw.pick(PATTERNS), n);
    writeFileSync(join(folder, `${n}`), Buffer.concat([choices, elements]));
  }
  return folder;
}

/** Runs one of libFuzzer's. @returns whether nothing failed */
function runNative(name: string, program: string): boolean {
  const { corpus, seeds } = FUZZERS[name];
  const kept = path(`test/fuzz/corpus/${corpus}`);
  const found = temporary();
  const begun = [kept, ...seeds()];
  const options = [
    ...[`-max_total_time=${seconds}`, `-max_len=${LENGTH}`, '-timeout=60', '-rss_limit_mb=4096'],
    ...[`-artifact_prefix=${failures}`, '-print_final_stats=1', '-verbosity=1'],
  ];
  const { status } = spawnSync(program, [...options, found, ...begun], { stdio: 'inherit' });
  if (values.keep) keep(program, kept, begun, found);
  return status === 0;
}

/** Keeps of a corpus and of what is found what reaches a place that the seeds do not, be it once or often. */
function keep(program: string, kept: string, [, ...seeds]: readonly string[], found: string): void {
  const all = temporary();
  for (const folder of seeds) cpSync(folder, all, { recursive: true });
  const before = new Set(readdirSync(all));
  spawnSync(program, ['-merge=1', '-use_counters=0', `-max_len=${LENGTH}`, all, kept, found], { stdio: 'inherit' });
  rmSync(kept, { recursive: true });
  mkdirSync(kept);
  for (const name of readdirSync(all)) if (!before.has(name)) cpSync(join(all, name), join(kept, name));
}

/** The same of TypeScript, which adds what it finds itself. */
function runContainer(): boolean {
  const { corpus, seeds } = FUZZERS.container;
  const kept = path(`test/fuzz/corpus/${corpus}`);
  const args = ['guided.js', 'container.js'].map((name) => path(`dist/test/fuzz/${name}`));
  const folders = [values.keep ? kept : temporary(), kept, ...seeds()];
  const { status } = spawnSync(process.execPath, [...args, `${seconds}`, `${SEED}`, ...folders], { stdio: 'inherit' });
  return status === 0;
}

/** Builds fuzzers of native code. @returns the folder of the programs; undefined where there is nothing to build with */
function build(natives: readonly string[]): string | undefined {
  const missing = ['cmake', 'clang++'].find((tool) => !runs(tool, '--version'));
  if (missing !== undefined) {
    console.log(`not fuzzed, because there is no ${missing} here: ${natives.join(', ')}`);
    return undefined;
  }
  const definitions = ['-DCODECLLM_WITH_CUDA=OFF', '-DCODECLLM_SANITIZE=ON', '-DCODECLLM_FUZZ=ON'];
  const targets = natives.map((name) => `codecllm_fuzz_${name}`);
  return buildIn('fuzz', [...definitions, '-DCMAKE_CXX_COMPILER=clang++'], targets);
}

const natives = names.filter((name) => name !== 'container');
const programs = natives.length > 0 ? build(natives) : undefined;
let failed = false;
for (const name of names) {
  if (name !== 'container' && programs === undefined) continue;
  console.log(`${name}: ${seconds} s`);
  const ok = name === 'container' ? runContainer() : runNative(name, join(`${programs}`, `codecllm_fuzz_${name}`));
  failed ||= !ok;
}
for (const folder of folders) rmSync(folder, { recursive: true });
console.log(failed ? 'something failed: fuzz-failures/ has it' : 'nothing failed');
if (natives.length > 0 && programs === undefined) process.exitCode = MISSING;
if (failed) process.exitCode = 1;
