// Has Rocq check the proof in spec/proof/, file after file, and that no theorem there rests on an axiom. Needs `coqc`;
// README.md there says where from.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const LEAST = [8, 16];
const FILES = ['Format', 'Step', 'Tile', 'Example', 'Cases'];

const source = fileURLToPath(new URL('../spec/proof/', import.meta.url));

function fail(message) {
  console.error(message);
  process.exit(1);
}

function theoremsOf(file) {
  return readFileSync(join(source, `${file}.v`), 'utf8').match(/(?<=^Theorem )\w+/gm) ?? [];
}

const found = spawnSync('coqc', ['--print-version'], { encoding: 'utf8' }).stdout ?? '';
const [major, minor] = found.split('.').map((part) => Number.parseInt(part, 10));
if (!(major > LEAST[0] || (major === LEAST[0] && minor >= LEAST[1])))
  fail(`The proof needs Rocq, as coqc ${LEAST.join('.')} or later (spec/proof/README.md); found: ${found.trim() || 'none'}`);
console.log(`Rocq ${found.split(' ')[0]}`);

// What it compiles to does not lie about in the checkout.
const folder = mkdtempSync(join(tmpdir(), 'codecllm-proof-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
const here = ['-Q', '.', 'CodecLLM'];
for (const file of FILES) {
  cpSync(join(source, `${file}.v`), join(folder, `${file}.v`));
  const { status } = spawnSync('coqc', ['-q', ...here, `${file}.v`], { cwd: folder, stdio: 'inherit' });
  if (status !== 0) fail(`spec/proof/${file}.v does not hold`);
  console.log(`${file}.v holds`);
}

// What a proof takes for granted: an axiom, a proof that is not there, a check of Rocq that is turned off.
const asked = FILES.map((file) => `From CodecLLM Require ${file}.\n`).concat(
  FILES.flatMap((file) => theoremsOf(file).map((name) => `Print Assumptions CodecLLM.${file}.${name}.\n`)),
);
writeFileSync(join(folder, 'Assumptions.v'), asked.join(''));
const { status, stdout, stderr } = spawnSync('coqc', ['-q', ...here, 'Assumptions.v'], { cwd: folder, encoding: 'utf8' });
const granted = stdout.replaceAll('Closed under the global context\n', '');
if (status !== 0 || granted !== '') fail(`The proof takes for granted:\n${granted}${stderr}`);
console.log(`${asked.length - FILES.length} theorems, no axioms`);
