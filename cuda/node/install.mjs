// `npm ci` runs this: it builds the native codec where there are a C++ compiler and CMake, with the GPU decoder where
// there is nvcc, and says in one line what it built or why not. It never fails: without the native codec the TypeScript
// codec serves. `npm run native` runs it too, and shows what the compiler says.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('..', import.meta.url));
const addon = fileURLToPath(new URL('../build/Release/codecllm.node', import.meta.url));
const verbose = process.argv.includes('--verbose');

const runs = (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0;

/** Why nothing can be built here, or undefined. */
function obstacle() {
  if (!runs('cmake')) return 'there is no CMake';
  if (![process.env.CXX, 'c++', 'g++', 'clang++'].some((compiler) => compiler && runs(compiler)))
    return 'there is no C++ compiler';
  return undefined;
}

/** @returns why it failed, or undefined */
function build(withCuda) {
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  const cuda = `--CDCODECLLM_WITH_CUDA=${withCuda ? 'ON' : 'OFF'}`;
  const options = ['--directory', folder, '--out', `${folder}build`, '--parallel', '2', cuda];
  const stdio = verbose ? 'inherit' : 'pipe';
  const run = (step) => spawnSync(process.execPath, [cmakeJs, step, ...options], { encoding: 'utf8', stdio });
  // Building alone would keep what an earlier run was configured for; and CMake refuses what it finds in a folder that was
  // moved.
  let result = run('configure');
  if (result.status !== 0) result = run('reconfigure');
  if (result.status === 0) result = run('build');
  if (result.status === 0 && existsSync(addon)) return undefined;
  const lines = `${result.stdout ?? ''}\n${result.stderr ?? ''}`.split('\n');
  return lines.find((line) => /error/i.test(line))?.trim() ?? 'npm run native shows why';
}

const missing = obstacle();
const failure = missing ?? build(true);
// It may have been CUDA that failed: an nvcc that does not go with the C++ compiler, say.
const failureWithoutCuda = missing ?? (failure && build(false));
if (failureWithoutCuda !== undefined) {
  const reason = missing ?? `it does not build: ${failureWithoutCuda}`;
  console.log(`codecllm: no native codec, the TypeScript codec serves: ${reason}`);
} else {
  const { cuda } = createRequire(import.meta.url)(addon).features();
  const without = failure === undefined ? 'there is no nvcc' : `it does not build: ${failure}`;
  console.log(`codecllm: built the native codec${cuda ? ' and the GPU decoder' : `, without the GPU decoder: ${without}`}`);
}
