// `npm run packages`: what a release gives to npm, in dist/packages/. That is `codecllm`, and a package for each platform
// that holds the native codec compiled, of which npm installs the one that fits.
//
// Zig compiles for all of Linux on any machine (pip install -r tools/requirements.txt); the others are made on a machine
// of their own, by its compiler. Arguments are the platforms to make, by their names in platforms.json, or `none`; default:
// those that Zig makes.
//
// The packages of the platforms are named in what is published alone, so that a checkout asks no registry for them.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const output = join(root, 'dist', 'packages');
const readJson = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'));
const platforms = readJson('tools/platforms.json');
const { private: _, devDependencies: __, scripts, ...description } = readJson('package.json');
const { version, license, engines } = description;
const packageName = ({ name }) => `@codecllm/${name}`;

/** Runs a program that has to succeed. @returns what it prints */
function run(program, args, { cwd = root, env = process.env } = {}) {
  // npm is a script on Windows.
  const shell = process.platform === 'win32' && program === 'npm';
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, env, encoding: 'utf8', shell });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}\n${error ?? ''}${stdout}${stderr}`);
  return stdout;
}

const pack = (...options) => JSON.parse(run('npm', ['pack', '--ignore-scripts', '--json', ...options]))[0];

/** Packs `files`, by their paths in the package and where they are now. */
function writePackage(json, files) {
  const folder = mkdtempSync(join(tmpdir(), 'codecllm-package-'));
  try {
    for (const [path, from] of files) cpSync(from, join(folder, path));
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify(json, undefined, 2)}\n`);
    console.log(pack('--pack-destination', output, folder).filename);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @returns the path of the addon for a platform */
function compile({ name, os, cpu, target }) {
  const folder = join(root, 'cuda', 'build', name);
  const options = ['--directory', join(root, 'cuda'), '--out', folder, '--CDCODECLLM_WITH_CUDA=OFF'];
  const env = { ...process.env };
  if (target !== undefined) {
    options.push('--CDCMAKE_SYSTEM_NAME=Linux', `--CDCMAKE_SYSTEM_PROCESSOR=${cpu === 'x64' ? 'x86_64' : 'aarch64'}`);
    Object.assign(env, { CXX: `python3 -m ziglang c++ -target ${target}`, LDFLAGS: '-s' });
  } else if (os !== process.platform || cpu !== process.arch) {
    throw new Error(`${name} is made on a machine of its own`);
  }
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  run(process.execPath, [cmakeJs, 'configure', ...options], { env });
  run(process.execPath, [cmakeJs, 'build', ...options, '--target', 'codecllm_addon', '--parallel', '2'], { env });
  return join(folder, 'Release', 'codecllm.node');
}

const named = process.argv.slice(2);
const unknown = named.find((name) => name !== 'none' && platforms.every((platform) => platform.name !== name));
if (unknown !== undefined) throw new Error(`there is no platform ${unknown} in tools/platforms.json`);
const wanted = platforms.filter(({ name, target }) => (named.length > 0 ? named.includes(name) : target !== undefined));

rmSync(output, { recursive: true, force: true });
mkdirSync(output, { recursive: true });

writePackage(
  {
    ...description,
    scripts: { install: scripts.install, native: scripts.native },
    optionalDependencies: Object.fromEntries(platforms.map((platform) => [packageName(platform), version])),
  },
  pack('--dry-run').files.map(({ path }) => [path, join(root, path)]),
);
for (const platform of wanted) {
  const { name, os, cpu, libc } = platform;
  writePackage(
    {
      name: packageName(platform),
      version,
      description: `The native codec of codecllm, compiled for ${name}`,
      license,
      engines,
      os: [os],
      cpu: [cpu],
      ...(libc && { libc: [libc] }),
      main: 'codecllm.node',
      preferUnplugged: true,
    },
    [
      ['LICENSE', join(root, 'LICENSE')],
      ['codecllm.node', compile(platform)],
    ],
  );
}
