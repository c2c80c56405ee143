// What `npm pack` and a source archive of python/ hold, and that it is enough: each is installed in an empty folder, builds
// the native codec there, and compresses and restores a file. They are the same bytes from both.
//
// It packs the dist/ that `npm run build` wrote. npm and pip get what the packages depend on from their registries.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DEMO = join(ROOT, 'demo', 'model.safetensors');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

// The GPU codec takes minutes to compile.
const ENVIRONMENT: NodeJS.ProcessEnv = { ...process.env, CODECLLM_CUDA: '0', CMAKE_ARGS: '-DCODECLLM_WITH_CUDA=OFF' };
// What surrounds the tests is not what a user has: npm tells its scripts, and so these tests, of its own configuration.
for (const name of Object.keys(ENVIRONMENT))
  if (/^npm_(package|lifecycle|command)/.test(name)) delete ENVIRONMENT[name];

const runs = (program: string, ...args: string[]): boolean =>
  spawnSync(program, args, { stdio: 'ignore', env: ENVIRONMENT }).status === 0;

/** Runs a program where it has to succeed. @returns what it prints */
function run(cwd: string, program: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, encoding: 'utf8', env: ENVIRONMENT });
  expect(status, `${program} ${args.join(' ')}\n${error ?? ''}${stdout}${stderr}`).toBe(0);
  return stdout;
}

const canCompile = runs('cmake', '--version') && ['c++', 'g++', 'clang++'].some((name) => runs(name, '--version'));
const outside = mkdtempSync(join(tmpdir(), 'codecllm-packages-'));
afterAll(() => rmSync(outside, { recursive: true, force: true }));

function emptyFolder(name: string): string {
  const folder = join(outside, name);
  mkdirSync(folder);
  return folder;
}

/**
 * Compresses, verifies, inspects and restores the demonstration's checkpoint with the command of a package.
 *
 * @returns what `compress` prints
 */
function useCommand(cwd: string, ...command: [string, ...string[]]): string {
  const call = (...args: string[]): string => run(cwd, command[0], ...command.slice(1), ...args);
  expect(call('--version')).toContain(version);
  const printed = call('compress', DEMO, 'small.safetensors');
  expect(call('verify', 'small.safetensors')).toContain('good');
  expect(call('inspect', 'small.safetensors')).toContain('compressed');
  call('decompress', 'small.safetensors', 'restored.safetensors');
  expect(readFileSync(join(cwd, 'restored.safetensors')).equals(readFileSync(DEMO))).toBe(true);
  return printed;
}

describe('the package of npm', { timeout: 300_000 }, () => {
  let files: string[] = [];
  let archive = '';

  beforeAll(() => {
    const packed = run(ROOT, 'npm', 'pack', '--ignore-scripts', '--json', '--pack-destination', outside);
    const [{ filename, files: found }] = JSON.parse(packed);
    files = found.map(({ path }: { path: string }) => path);
    archive = join(outside, filename);
  }, 60_000);

  function install(name: string, ...options: string[]): { folder: string; printed: string } {
    const folder = emptyFolder(name);
    writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
    const quiet = ['--no-audit', '--no-fund', '--prefer-offline'];
    const printed = run(folder, 'npm', 'install', ...quiet, ...options, '--foreground-scripts', archive);
    return { folder, printed };
  }

  test('holds no module that nothing leads to', () => {
    const reached = new Set<string>();
    const follow = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      expect(files).toContain(file);
      const text = readFileSync(join(ROOT, file), 'utf8').replace(/\/\*.*?\*\//gs, '');
      // Imports, and files that threads are started with. Declarations name sources; those of the addon are not public.
      const found = text.matchAll(
        /(?:\bfrom|\bimport|\bURL\()\s*\(?\s*["'](\.{1,2}\/[^"']+\.(?:js|json|(?<!\.d\.)ts))["']/g,
      );
      for (const [, path] of found) follow(join(dirname(file), path.replace(/\.ts$/, '.d.ts')).replaceAll('\\', '/'));
      const types = file.replace(/\.js$/, '.d.ts');
      if (files.includes(types)) follow(types);
    };
    for (const entry of ['bin/codecllm', 'src/index', 'spec/index']) follow(`dist/${entry}.js`);
    const moduleOf = (file: string): string => file.replace(/\.(js|d\.ts)$/, '');
    const modules = new Set(Array.from(reached, moduleOf));
    expect(files.filter((file) => file.startsWith('dist/') && !modules.has(moduleOf(file)))).toEqual([]);
  });

  test('holds the sources of the native codec, and nothing that only this repository needs', () => {
    const rest = files.filter((file) => !/^(dist\/(bin|spec|src)|cuda\/(gpu|host|node))\//.test(file));
    expect(rest.sort()).toEqual([
      'LICENSE',
      'README.md',
      'cuda/CMakeLists.txt',
      'cuda/codecllm.h',
      'cuda/gpu.cmake',
      'cuda/package.json',
      'package.json',
      'spec/FORMAT.md',
    ]);
    expect(files.filter((file) => /emulat(ed|ion)\b|\.node$|\.o$/.test(file))).toEqual([]);
  });

  test.skipIf(!canCompile)(
    `builds the native codec${canCompile ? '' : ' (skipped: there is no CMake, or no compiler)'}`,
    () => {
      const { folder, printed } = install('native');
      expect(printed).toContain('codecllm: built the native codec');
      const said = useCommand(folder, 'npx', '--no', '--', 'codecllm');
      expect(said).toMatch(/\(native\)\n$/);
      expect(said).not.toContain('TypeScript');
    },
  );

  test('serves without, says so, and has types', () => {
    const { folder } = install('typescript', '--ignore-scripts');
    const said = useCommand(folder, 'npx', '--no', '--', 'codecllm');
    expect(said).toMatch(/\(ts\)\n$/);
    expect(said).toMatch(
      /^The TypeScript codec did this.* no native codec: it is not built: npm --prefix .* native builds it\n/,
    );

    writeFileSync(
      join(folder, 'use.ts'),
      `import { compress, decompress, FileError, inspect, type Report, verify } from 'codecllm';
import { decodeTensor, encodeTensor, FormatError } from 'codecllm/spec';

const report: Report = await compress('restored.safetensors', 'again.safetensors', { profile: 'small', force: true });
await verify('again.safetensors', { threads: 1 });
const [file] = await inspect('again.safetensors');
await decompress('again.safetensors', 'back.safetensors');
const { data } = decodeTensor(encodeTensor(new Uint8Array(512), 'BF16', [16, 16], { profile: 'fast' }));
// @ts-expect-error: there is no such profile
const wrong = compress('none', 'none', { profile: 'smallest' }).catch((error) => error instanceof FileError);
console.log(report.bytesAfter === file.bytesAfter, data.length, await wrong, typeof FormatError);
`,
    );
    const types = join(ROOT, 'node_modules', '@types');
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: { module: 'nodenext', target: 'es2022', strict: true, typeRoots: [types], types: ['node'] },
        files: ['use.ts'],
      }),
    );
    run(folder, process.execPath, join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'));
    expect(run(folder, process.execPath, 'use.js')).toBe('true 512 true function\n');
    expect(readFileSync(join(folder, 'back.safetensors')).equals(readFileSync(DEMO))).toBe(true);
  });
});

const requirement = /^requires = \["(scikit-build-core==[^"]+)"\]$/m.exec(
  readFileSync(join(ROOT, 'python', 'pyproject.toml'), 'utf8'),
)?.[1] as string;

/** Makes an environment that builds source archives. @returns why not, or '' */
function prepare(environment: string): string {
  if (!canCompile) return 'there is no CMake, or no compiler';
  if (!runs('python3', '-m', 'venv', environment)) return 'there is no python3 that makes environments with pip';
  return runs(join(environment, 'bin', 'pip'), 'install', requirement) ? '' : `pip cannot get ${requirement}`;
}

const builder = join(outside, 'builder');
const obstacle = prepare(builder);
const skipped = obstacle && ` (skipped: ${obstacle})`;

describe.skipIf(obstacle !== '')(`the source archive of Python${skipped}`, { timeout: 300_000 }, () => {
  const archives = join(outside, 'archives');
  let archive = '';

  beforeAll(() => {
    const hook = 'import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])';
    run(join(ROOT, 'python'), join(builder, 'bin', 'python'), '-c', hook, archives);
    const found = readdirSync(archives);
    expect(found).toEqual([`codecllm-${version}.tar.gz`]);
    archive = join(archives, found[0]);
  }, 60_000);

  test('holds the sources of the library, and nothing that only this repository needs', () => {
    const files = run(outside, 'tar', '-tzf', archive).trim().split('\n');
    const inside = files.map((file) => file.slice(file.indexOf('/') + 1));
    expect(inside.filter((file) => !/^(codecllm\/\w+\.py|cuda\/(gpu|host)\/.*)$/.test(file)).sort()).toEqual([
      'CMakeLists.txt',
      'LICENSE',
      'PKG-INFO',
      'README.md',
      'codecllm/py.typed',
      'cuda/CMakeLists.txt',
      'cuda/codecllm.h',
      'cuda/gpu.cmake',
      'pyproject.toml',
    ]);
    expect(inside.filter((file) => /emulat(ed|ion)\b/.test(file))).toEqual([]);
  });

  test('is installed, and writes what the package of npm writes', () => {
    const folder = emptyFolder('python');
    run(folder, 'python3', '-m', 'venv', 'environment');
    const bin = join(folder, 'environment', 'bin');
    run(folder, join(bin, 'pip'), 'install', archive);
    useCommand(folder, join(bin, 'codecllm'));
    run(folder, join(bin, 'python'), '-m', 'codecllm', 'selftest');
    const other = join(outside, 'typescript', 'small.safetensors');
    if (existsSync(other))
      expect(readFileSync(join(folder, 'small.safetensors')).equals(readFileSync(other))).toBe(true);
  });
});
