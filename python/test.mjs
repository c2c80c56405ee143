// `npm test` ends with this: lint and tests of the Python package, where there is a Python with NumPy and what tests need
// (`pip install ./python[test]`). They use the library that `npm ci` built.

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const folder = fileURLToPath(new URL('.', import.meta.url));
const library = `libcodecllm.${process.platform === 'darwin' ? 'dylib' : 'so'}`;
const built = fileURLToPath(new URL(`../cuda/build/Release/${library}`, import.meta.url));
const NEEDED = ['numpy', 'hypothesis', 'ml_dtypes', 'pytest', 'ruff'];

const python = (...args) => spawnSync('python3', args, { cwd: folder, stdio: 'inherit' }).status;

/** Why nothing can be tested here, or undefined. */
function obstacle() {
  const script = `import importlib.util; print(*(name for name in "${NEEDED}".split(",") if not importlib.util.find_spec(name)))`;
  const { status, stdout } = spawnSync('python3', ['-c', script], { encoding: 'utf8' });
  if (status !== 0) return 'there is no Python';
  if (stdout.trim() !== '') return `Python lacks ${stdout.trim().replaceAll(' ', ', ')}`;
  return existsSync(built) ? undefined : 'the native codec is not built';
}

const missing = obstacle();
if (missing !== undefined) {
  console.log(`The Python package is not tested: ${missing}.`);
} else {
  copyFileSync(built, `${folder}codecllm/${library}`);
  process.exitCode =
    python('-m', 'ruff', 'check', '--quiet', '.') || python('-m', 'ruff', 'format', '--check', '--quiet', '.') || python('-m', 'pytest');
}
