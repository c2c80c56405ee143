// `npm run mutation -- FILE...`: changes the codec in spec/, one expression at a time, and asks the golden vectors alone
// (vectors.ts), by Stryker. Fails where no vector notices a change that golden/equivalent.json does not explain, or where it
// explains one too many.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Stryker } from '@stryker-mutator/core';

const root = new URL('../../', import.meta.url);
process.chdir(fileURLToPath(root));

const asked = process.argv.slice(2);
const results = await new Stryker({
  mutate: asked.length > 0 ? asked : ['spec/decoder/*.ts', 'spec/encoder/*.ts'],
  testRunner: 'vitest',
  vitest: { configFile: 'test/mutation/vitest.config.ts', related: false },
  plugins: ['@stryker-mutator/vitest-runner', fileURLToPath(new URL('untold.mjs', import.meta.url))],
  ignorers: ['untold'],
  coverageAnalysis: 'perTest',
  concurrency: 2,
  dryRunTimeoutMinutes: 30,
  incremental: true,
  incrementalFile: 'node_modules/.cache/mutation.json',
  tempDirName: 'coverage/mutation',
  ignorePatterns: ['**', '!spec/**/*', '!golden/**/*', '!src/files/*', '!test/mutation/*', '!package.json'],
  reporters: ['progress-append-only'],
  tsconfigFile: 'none',
  warnings: false,
}).runMutationTest();

/** What is changed, as golden/equivalent.json writes it: the file, the line, and what stands there instead of a part of it. */
function nameOf({ fileName, location, replacement }) {
  const file = fileName.slice(fileURLToPath(root).length);
  const line = readFileSync(fileName, 'utf8').split('\n')[location.start.line - 1].trim();
  return `${file}: ${line} => ${replacement.replace(/\s+/g, ' ')}`;
}

const isNoticed = ({ status }) => status === 'Killed' || status === 'Timeout';
const changes = results.filter(({ status }) => status !== 'Ignored');
const noticed = changes.filter(isNoticed).length;
const survivors = changes.filter((mutant) => !isNoticed(mutant)).map(nameOf);
const explained = JSON.parse(readFileSync(new URL('golden/equivalent.json', root), 'utf8')).flatMap(({ changes }) => changes);
const files = new Set(changes.map((mutant) => nameOf(mutant).split(': ')[0]));

const unexplained = survivors.filter((name) => !explained.includes(name));
const noticedNow = explained.filter((name) => files.has(name.split(': ')[0]) && !survivors.includes(name));
for (const name of unexplained) console.log(`no vector notices: ${name}`);
for (const name of noticedNow) console.log(`noticed, or not there, and explained in golden/equivalent.json: ${name}`);
console.log(
  `${changes.length} changes of ${files.size} files: vectors notice ${noticed} (${((100 * noticed) / changes.length).toFixed(1)} %), ` +
    `${survivors.length - unexplained.length} are explained, ${unexplained.length} are not`,
);
process.exitCode = unexplained.length + noticedNow.length > 0 ? 1 : 0;
