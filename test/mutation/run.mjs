// `npm run mutation -- FILE...`: changes spec/, one expression at a time, and asks the golden vectors alone (streams.ts,
// checkpoints.ts), by Stryker. Fails where no vector notices a change that golden/equivalent.json does not explain, or where
// it explains one too many.
//
// A run is of one file: what Stryker could change is slow, so that all else stays as it is.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Stryker } from '@stryker-mutator/core';

const root = new URL('../../', import.meta.url);
process.chdir(fileURLToPath(root));

const asked = process.argv.slice(2);
const all = readdirSync('spec', { recursive: true }).filter((name) => name.endsWith('.ts'));
const files = asked.length > 0 ? asked : all.map((name) => `spec/${name.replaceAll('\\', '/')}`).sort();

/** The codec is asked by streams, the container by checkpoints. */
const vectorsOf = (file) =>
  /^spec\/(decoder|encoder)\//.test(file) && !file.includes('/a12-') ? 'streams' : 'checkpoints';

/** Where it is kept what became of each change of a file. */
const recordOf = (file) => `node_modules/.cache/mutation/${file.replaceAll('/', '-')}.json`;

/** Makes that all changes that no vector noticed are asked again: Stryker does not know which vectors are new. */
function forgetSurvivors(record) {
  if (!existsSync(record)) return;
  const { files, ...rest } = JSON.parse(readFileSync(record, 'utf8'));
  for (const file of Object.values(files)) file.mutants = file.mutants.filter(isNoticed);
  writeFileSync(record, JSON.stringify({ ...rest, files }));
}

/** Changes a file. @returns what became of each change */
const changesOf = (file) =>
  new Stryker({
    mutate: [file],
    testRunner: 'vectors',
    vectors: { file: `test/mutation/${vectorsOf(file)}.ts` },
    plugins: ['runner.mjs', 'untold.mjs'].map((name) => fileURLToPath(new URL(name, import.meta.url))),
    ignorers: ['untold'],
    coverageAnalysis: 'perTest',
    concurrency: 2,
    timeoutMS: 60_000,
    timeoutFactor: 4,
    dryRunTimeoutMinutes: 30,
    incremental: true,
    incrementalFile: recordOf(file),
    tempDirName: 'coverage/mutation',
    ignorePatterns: ['**', '!spec/**/*', '!golden/**/*', '!src/files/*', '!test/mutation/**/*', '!package.json'],
    reporters: [],
    tsconfigFile: 'none',
    warnings: false,
  }).runMutationTest();

/** What is changed, as golden/equivalent.json writes it: the file, the line, and what stands there instead of a part of it. */
function nameOf({ fileName, location, replacement }) {
  const file = fileName.slice(fileURLToPath(root).length);
  const line = readFileSync(fileName, 'utf8').split('\n')[location.start.line - 1].trim();
  return `${file}: ${line} => ${replacement.replace(/\s+/g, ' ')}`;
}

const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;
const isNoticed = ({ status }) => status === 'Killed' || status === 'Timeout';
const explained = JSON.parse(readFileSync(new URL('golden/equivalent.json', root), 'utf8')).flatMap(({ changes }) => changes);

const sums = { changes: 0, noticed: 0, explained: 0, wrong: 0 };
for (const file of files) {
  const begin = Date.now();
  forgetSurvivors(recordOf(file));
  const changes = (await changesOf(file)).filter(({ status }) => status !== 'Ignored');
  const noticed = changes.filter(isNoticed).length;
  const survivors = changes.filter((mutant) => !isNoticed(mutant)).map(nameOf);
  const unexplained = survivors.filter((name) => !explained.includes(name));
  // What only takes longer is noticed by some computers.
  const unkilled = changes.filter((mutant) => mutant.status !== 'Killed').map(nameOf);
  const noticedNow = explained.filter((name) => name.startsWith(`${file}: `) && !unkilled.includes(name));
  for (const name of unexplained) console.log(`no vector notices: ${name}`);
  for (const name of noticedNow) console.log(`noticed, or not there, and explained in golden/equivalent.json: ${name}`);
  if (changes.length > 0)
    console.log(
      `${file}: vectors notice ${noticed} of ${changes.length} changes (${percent(noticed, changes.length)}) after ` +
        `${((Date.now() - begin) / 1000).toFixed(0)} s`,
    );
  sums.changes += changes.length;
  sums.noticed += noticed;
  sums.explained += survivors.length - unexplained.length;
  sums.wrong += unexplained.length + noticedNow.length;
}
console.log(
  `${sums.changes} changes of ${files.length} files: vectors notice ${sums.noticed} (${percent(sums.noticed, sums.changes)}), ` +
    `${sums.explained} are explained, ${sums.wrong} are not`,
);
process.exitCode = sums.wrong > 0 ? 1 : 0;
