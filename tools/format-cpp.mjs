// Formats what is C++, CUDA or C in cuda/, as cuda/.clang-format has it; with --check it changes nothing, and fails where
// something is to be changed. Versions of clang-format differ in what they write, so that only one will do, that of
// requirements.txt; where it is missing, this says so and does nothing.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const requirements = new URL('requirements.txt', import.meta.url);
const version = /^clang-format==(.*)$/m.exec(readFileSync(requirements, 'utf8'))[1];
const folder = fileURLToPath(new URL('../cuda/', import.meta.url));

const files = readdirSync(folder, { recursive: true }).filter(
  (path) => !path.startsWith('build') && /\.(h|hpp|cpp|cu|cuh)$/.test(path),
);
const found = spawnSync('clang-format', ['--version'], { encoding: 'utf8' }).stdout ?? '';
if (!found.includes(version)) {
  console.log(`C++ is not formatted: there is no clang-format ${version} (pip install -r tools/requirements.txt)`);
} else {
  const how = process.argv.includes('--check') ? ['--dry-run', '--Werror'] : ['-i'];
  process.exitCode = spawnSync('clang-format', [...how, ...files], { cwd: folder, stdio: 'inherit' }).status;
}
