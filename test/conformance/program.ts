// Native programs beside the addon: built on demand with CMake, because `npm ci` does not need them.

import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { fromRoot } from '../../src/files/root.ts';

/** Exit code of a run for which this machine lacks something, such as a GPU or a compiler. */
export const MISSING = 3;

const SOURCE = fileURLToPath(fromRoot('cuda'));

export function runs(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

/** Ends the process, and says why, in one line. */
export function endMissing(what: string): never {
  console.log(`there is no ${what} here`);
  process.exit(MISSING);
}

/** Builds targets in a folder of cuda/build. @returns that folder */
export function buildIn(name: string, definitions: readonly string[], targets: readonly string[]): string {
  const folder = `${SOURCE}/build/${name}`;
  for (const args of [
    ['-S', SOURCE, '-B', folder, '-DCMAKE_BUILD_TYPE=Release', ...definitions],
    ['--build', folder, '--parallel', `${availableParallelism()}`, '--target', ...targets],
  ]) {
    const { status, stdout, stderr } = spawnSync('cmake', args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`cmake ${args.join(' ')}\n${stdout}${stderr}`);
  }
  return folder;
}

/** Builds a target of programs.cmake that needs a GPU. Ends the process where that makes no sense. */
export function buildProgram(target: 'codecllm_conformance' | 'codecllm_benchmark'): string {
  if (!runs('nvidia-smi', '-L')) endMissing('NVIDIA GPU');
  const tool = ['cmake', 'nvcc'].find((name) => !runs(name, '--version'));
  if (tool !== undefined) endMissing(tool);
  return `${buildIn('programs', [], [target])}/${target}`;
}
