// `npm ci` in a checkout runs this, and `npm install` of the package: unless a package of this platform brought the native
// codec, it builds it where there are a C++ compiler and CMake, and says in one line what is there or why not. It fails only
// where CUDA was asked for and is not built: without the native codec the TypeScript codec serves.
//
// The GPU codec takes minutes to compile, so it is built where there is an NVIDIA GPU, or where CODECLLM_CUDA=1 asks for
// it; CODECLLM_CUDA=0 leaves it out. `npm run native` runs this, too, and shows what the compiler says; there, --cuda and
// --no-cuda ask for the same.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('..', import.meta.url));
const addon = fileURLToPath(new URL('../build/Release/codecllm.node', import.meta.url));
const verbose = process.argv.includes('--verbose');

const require = createRequire(import.meta.url);
const runs = (program, ...args) => spawnSync(program, args, { stdio: 'ignore' }).status === 0;

/** Whether CUDA was asked for, or not to be built; undefined where nothing was said. */
function asked() {
  if (process.argv.includes('--cuda')) return true;
  if (process.argv.includes('--no-cuda')) return false;
  return process.env.CODECLLM_CUDA ? process.env.CODECLLM_CUDA !== '0' : undefined;
}

/** Why nothing can be built here, or undefined. */
function obstacle() {
  if (!runs('cmake', '--version')) return 'there is no CMake';
  if (![process.env.CXX, 'c++', 'g++', 'clang++'].some((compiler) => compiler && runs(compiler, '--version')))
    return 'there is no C++ compiler';
  return undefined;
}

/** The package that brought the native codec, or undefined: npm installs the one that fits this platform. */
function prebuilt() {
  const { optionalDependencies = {} } = require('../../package.json');
  return Object.keys(optionalDependencies).find((name) => {
    try {
      return require(name);
    } catch {
      return false;
    }
  });
}

/** @returns why it failed, or undefined */
function build(withCuda) {
  const cmakeJs = require.resolve('cmake-js/bin/cmake-js');
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

const wanted = asked();
const withCuda = wanted ?? (existsSync('/dev/nvidia0') || runs('nvidia-smi', '-L'));
// Who calls for a build gets one.
const brought = verbose ? undefined : prebuilt();
const missing = obstacle();
const failure = brought && !withCuda ? undefined : (missing ?? build(withCuda));
// It may have been CUDA that failed: an nvcc that does not go with the C++ compiler, say.
const failureWithoutCuda = brought ? undefined : (missing ?? (failure && (withCuda ? build(false) : failure)));

/** Why the GPU codec was not built. */
function whyNoCuda() {
  if (missing !== undefined && withCuda) return missing;
  if (failure !== undefined) return `it does not build: ${failure}`;
  if (withCuda) return 'there is no nvcc';
  return wanted === false ? 'as was asked for' : 'there is no NVIDIA GPU; CODECLLM_CUDA=1 asks for it';
}

let hasCuda = false;
if (failureWithoutCuda !== undefined) {
  const reason = missing ?? `it does not build: ${failureWithoutCuda}`;
  console.log(`codecllm: no native codec, the TypeScript codec serves: ${reason}`);
} else {
  hasCuda = existsSync(addon) && require(addon).features().cuda;
  const what = brought && !hasCuda ? `the native codec is that of ${brought}` : 'built the native codec';
  console.log(`codecllm: ${what}${hasCuda ? ' and the GPU codec' : `, without the GPU codec: ${whyNoCuda()}`}`);
}
if (wanted && !hasCuda) process.exitCode = 1;
