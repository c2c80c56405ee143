// The native programs that need a GPU: built on demand with CMake and nvcc, because `npm ci` does not need them.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { fromRoot } from '../../src/files/root.ts';

/** Exit code of a run for which there is no GPU, or no way to build for one. */
export const NO_GPU = 3;

const SOURCE = fileURLToPath(fromRoot('cuda'));
const BUILD = `${SOURCE}/build/programs`;

function runs(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

/** Builds a target of programs.cmake. Ends the process with NO_GPU, and says why, where that makes no sense. */
export function buildProgram(target: 'codecllm_conformance' | 'codecllm_benchmark'): string {
  const missing = !runs('nvidia-smi', '-L')
    ? 'there is no NVIDIA GPU here'
    : ['cmake', 'nvcc'].find((tool) => !runs(tool, '--version'));
  if (missing !== undefined) {
    console.log(missing.startsWith('there') ? missing : `there is no ${missing} here`);
    process.exit(NO_GPU);
  }
  for (const args of [
    ['-S', SOURCE, '-B', BUILD, '-DCMAKE_BUILD_TYPE=Release'],
    ['--build', BUILD, '--parallel', '--target', target],
  ]) {
    const { status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`cmake ${args.join(' ')}\n${stdout}${stderr}`);
  }
  return `${BUILD}/${target}`;
}
