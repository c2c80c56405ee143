// What the packages of npm and a source archive of python/ hold, and that it is enough: each is installed in an empty folder,
// has the native codec there, compiled before or built then, and compresses and restores a file. They are the same bytes from
// all.
//
// It packs the dist/ that `npm run build` wrote. npm and pip get what the packages depend on from their registries.

import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../src/engine/native.ts';

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

/** The package of this platform, as tools/platforms.json names it. */
const here = `${process.platform}-${process.arch}-${existsSync('/etc/alpine-release') ? 'musl' : 'gnu'}`;
const PACKED = join(ROOT, 'dist', 'packages');
const canCross = runs('cmake', '--version') && runs('python3', '-m', 'ziglang', 'version');
const canCompile = runs('cmake', '--version') && ['c++', 'g++', 'clang++'].some((name) => runs(name, '--version'));
/** How long a compilation may take, in ms, where others compile, too. */
const BUSY = 600_000;

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

/** What the package.json in an archive says. */
const readPacked = (archive: string) => JSON.parse(run(outside, 'tar', '-xzOf', archive, 'package/package.json'));

describe('the packages of npm', { timeout: BUSY }, () => {
  let files: string[] = [];
  let archive = '';

  beforeAll(() => {
    run(ROOT, process.execPath, 'tools/packages.mjs', ...(canCross ? [here] : ['none']));
    for (const name of readdirSync(PACKED)) cpSync(join(PACKED, name), join(outside, name));
    archive = join(outside, `codecllm-${version}.tgz`);
    const listed = run(outside, 'tar', '-tzf', archive).trim().split('\n');
    files = listed.map((path) => path.slice('package/'.length));
  }, BUSY);

  /** Installs `codecllm`, and what else is given, in an empty folder. */
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

  test('names a package for each platform, and has no script but those that build the codec', () => {
    const { optionalDependencies, devDependencies, private: kept, scripts } = readPacked(archive);
    expect(Object.keys(optionalDependencies)).toEqual([
      ...['@codecllm/linux-x64-gnu', '@codecllm/linux-x64-musl', '@codecllm/linux-arm64-gnu'],
      ...['@codecllm/linux-arm64-musl', '@codecllm/darwin-arm64', '@codecllm/darwin-x64', '@codecllm/win32-x64'],
    ]);
    expect([...new Set(Object.values(optionalDependencies))]).toEqual([version]);
    expect(Object.keys(scripts)).toEqual(['install', 'native']);
    expect([devDependencies, kept]).toEqual([undefined, undefined]);
  });

  test('has a reference codec that needs nothing of Node', () => {
    for (const file of files.filter((path) => /^dist\/spec\/.*\.js$/.test(path))) {
      const imports = readFileSync(join(ROOT, file), 'utf8').matchAll(/^(?:import|export)\b.*?\bfrom\s+'([^']+)'/gms);
      for (const [, path] of imports) expect(path, file).toMatch(/^\.{1,2}\//);
    }
  });

  test.skipIf(!canCross)(
    `has the native codec where nothing can be compiled${canCross ? '' : ' (skipped: there is no CMake, or no ziglang)'}`,
    () => {
      const platform = join(outside, `codecllm-${here}-${version}.tgz`);
      const { name, os, cpu } = readPacked(platform);
      expect([name, os, cpu]).toEqual([`@codecllm/${here}`, [process.platform], [process.arch]]);

      // Nothing but Node and the shell that npm runs scripts with.
      const bin = emptyFolder('bin');
      for (const tool of ['node', 'npm', 'npx', 'sh'])
        symlinkSync(realpathSync(run(outside, 'sh', '-c', `command -v ${tool}`).trim()), join(bin, tool));
      const { PATH } = ENVIRONMENT;
      ENVIRONMENT.PATH = bin;
      try {
        for (const tool of ['cmake', 'c++', 'python3']) expect(runs(tool, '--version')).toBe(false);
        const { folder, printed } = install('prebuilt', platform);
        expect(printed).toContain(`codecllm: the native codec is that of @codecllm/${here}`);
        expect(existsSync(join(folder, 'node_modules', 'codecllm', 'cuda', 'build'))).toBe(false);
        const said = useCommand(folder, 'npx', '--no', '--', 'codecllm');
        expect(said).toMatch(/\(native\)\n$/);
        expect(said).not.toContain('TypeScript');
        // The same kernels as a build of this machine's own compiler has.
        const doctor = run(folder, 'npx', '--no', '--', 'codecllm', 'doctor');
        expect(doctor).toContain(native()?.features().paths.join(', ') ?? 'native');
      } finally {
        ENVIRONMENT.PATH = PATH;
      }
    },
  );

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
      /^The TypeScript codec did this.* it is not built, and no package for \w+ \w+ is installed: npm .* native builds it\n/,
    );

    writeFileSync(
      join(folder, 'use.ts'),
      `import { compress, decompress, FileError, inspect, openCheckpoint, type Report, verify } from 'codecllm';
import { decodeTensor, encodeTensor, FormatError } from 'codecllm/spec';

const report: Report = await compress('restored.safetensors', 'again.safetensors', { profile: 'small', force: true });
await verify('again.safetensors', { threads: 1 });
const [file] = await inspect('again.safetensors');
await decompress('again.safetensors', 'back.safetensors');
const { data } = decodeTensor(encodeTensor(new Uint8Array(512), 'BF16', [16, 16], { profile: 'fast' }));
const opened = await openCheckpoint('again.safetensors');
const { name, bytes } = opened.tensors[0];
const whole: boolean = (await opened.read(name)).length === bytes;
await opened.close();
// @ts-expect-error: there is no such profile
const wrong = compress('none', 'none', { profile: 'smallest' }).catch((error) => error instanceof FileError);
console.log(whole && report.bytesAfter === file.bytesAfter, data.length, await wrong, typeof FormatError);
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

describe.skipIf(obstacle !== '')(`the source archive of Python${skipped}`, { timeout: BUSY }, () => {
  const archives = join(outside, 'archives');
  let archive = '';

  beforeAll(() => {
    const hook = 'import sys; from scikit_build_core.build import build_sdist; build_sdist(sys.argv[1])';
    run(join(ROOT, 'python'), join(builder, 'bin', 'python'), '-c', hook, archives);
    const found = readdirSync(archives);
    expect(found).toEqual([`codecllm-${version}.tar.gz`]);
    archive = join(archives, found[0]);
  });

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

  test('makes a wheel, which is installed and writes what the package of npm writes', () => {
    const folder = emptyFolder('python');
    run(folder, 'python3', '-m', 'venv', 'environment');
    const bin = join(folder, 'environment', 'bin');
    run(folder, join(bin, 'pip'), 'wheel', '--no-deps', '--wheel-dir', 'wheels', archive);
    const [wheel, ...others] = readdirSync(join(folder, 'wheels'));
    expect(others).toEqual([]);
    expect(wheel).toMatch(new RegExp(`^codecllm-${version}-py3-none-`));
    run(folder, join(bin, 'pip'), 'install', join('wheels', wheel));
    useCommand(folder, join(bin, 'codecllm'));
    run(folder, join(bin, 'python'), '-m', 'codecllm', 'selftest');
    const other = join(outside, 'typescript', 'small.safetensors');
    if (existsSync(other))
      expect(readFileSync(join(folder, 'small.safetensors')).equals(readFileSync(other))).toBe(true);
  });
});
