// `npm run sanitize`: the host codec, built with the sanitizers of the compiler, over all golden vectors and some random
// streams: memory errors and undefined behaviour in one build, data races in another, with all instruction sets that this
// processor has and several threads at the same time. Exit codes: 0 nothing found, 1 something, 3 no compiler.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makePack } from './pack.ts';
import { buildIn, endMissing, runs } from './program.ts';

const RANDOM_STREAMS = 100;

const SANITIZERS: Readonly<Record<string, string>> = {
  'address, undefined': 'CODECLLM_SANITIZE',
  thread: 'CODECLLM_SANITIZE_THREADS',
};

for (const tool of ['cmake', 'c++']) if (!runs(tool, '--version')) endMissing(tool);

const folder = mkdtempSync(join(tmpdir(), 'codecllm-sanitize-'));
try {
  const pack = join(folder, 'pack');
  writeFileSync(pack, makePack(RANDOM_STREAMS));
  for (const [name, option] of Object.entries(SANITIZERS)) {
    const options = ['-DCODECLLM_WITH_CUDA=OFF', '-DCODECLLM_TOOLS=ON', `-D${option}=ON`];
    const programs = buildIn(option.toLowerCase(), options, ['codecllm_paths']);
    console.log(`${name}:`);
    const { status } = spawnSync(join(programs, 'codecllm_paths'), [pack], { stdio: 'inherit' });
    if (status !== 0) process.exitCode = 1;
  }
  console.log(process.exitCode === 1 ? 'something was found' : 'nothing was found');
} finally {
  rmSync(folder, { recursive: true });
}
