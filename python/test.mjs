// `npm test` ends with this: lint and tests of the Python package, where there is a Python with what they need
// (`pip install ./python[test]`); it says what is missing. They use the library that `npm ci` built.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('.', import.meta.url));
const library = `libcodecllm.${process.platform === 'darwin' ? 'dylib' : 'so'}`;
const built = fileURLToPath(new URL(`../cuda/build/Release/${library}`, import.meta.url));

const python = (...args) => spawnSync('python3', args, { cwd: folder, stdio: 'inherit' }).status;

/** The packages of these that Python does not have; undefined if there is no Python. */
function lacking(...packages) {
  const script = 'import importlib.util, sys; print(*(name for name in sys.argv[1:] if not importlib.util.find_spec(name)))';
  const { status, stdout } = spawnSync('python3', ['-c', script, ...packages], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Why nothing can be tested here, or undefined. */
function obstacle() {
  const missing = lacking('numpy', 'pytest', 'hypothesis');
  if (missing === undefined) return 'there is no Python';
  if (missing !== '') return `Python lacks ${missing.replaceAll(' ', ', ')}`;
  return existsSync(built) ? undefined : 'the native codec is not built';
}

const reason = obstacle();
if (reason !== undefined) {
  console.log(`The Python package is not tested: ${reason}.`);
} else {
  copyFileSync(built, `${folder}codecllm/${library}`);
  let failed = 0;
  if (lacking('ruff') === '') failed = python('-m', 'ruff', 'check', '.') || python('-m', 'ruff', 'format', '--check', '.');
  else console.log('The Python package is not linted: Python lacks ruff.');
  process.exitCode = failed || python('-m', 'pytest');
}
