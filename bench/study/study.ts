// `npm run study -- CHECKPOINT...`: what each idea is worth on the weights of these checkpoints (safetensors files, or
// directories of them). Writes docs/study.md, from template.md, and its pictures.
//
// Pictures, losses of language models (of directories that transformers loads) and peers need the Python that PYTHON
// names; plot.py, loss.py and peers/cpu.py say what it has to have. What is not there is said, and left out. Lengths are
// the same in every run; rates of peers are not.

import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromRoot } from '../../src/files/root.ts';
import { runPython } from '../python.ts';
import { derive, MAIN } from './derived.ts';
import { dtypeTable } from './dtypes.ts';
import { BOUNDS } from './ideas/bounds.ts';
import { OPTIONS, PREDICTORS } from './ideas/codec.ts';
import { COLUMN } from './ideas/columns.ts';
import { type Chapter, measure } from './ideas/idea.ts';
import { TABLES } from './ideas/tables.ts';
import { TRANSFORMS, TRANSFORMS_AFTER_COLUMN } from './ideas/transforms.ts';
import { peerTable, timePeers } from './peers.ts';
import { type Prefix, prefixesOf, prefixTable } from './prefixes.ts';
import { KINDS, type Sample, samplesOf } from './samples.ts';
import { type Gain, summaryOf } from './summary.ts';
import { NOTHING, tableOf } from './table.ts';

/** Tables of more ideas are folded. */
const LONG = 24;
const CHAPTERS: readonly Chapter[] = [PREDICTORS, OPTIONS, COLUMN, TABLES, BOUNDS, TRANSFORMS, TRANSFORMS_AFTER_COLUMN];

/** The samples of a column of a table. */
interface Column {
  readonly title: string;
  readonly samples: readonly Sample[];
}

/** Samples by dtype and kind; a star where the study made the dtype. */
function columnsOf(samples: readonly Sample[]): Column[] {
  return MAIN.flatMap((dtype) =>
    KINDS.flatMap((kind) => {
      const made = samples.flatMap((sample) => (sample.kind === kind ? (derive(sample, dtype) ?? []) : []));
      const star = made.every((sample) => samples.includes(sample)) ? '' : '*';
      return made.length > 0 ? [{ title: `${dtype.name}${star}, ${kind}`, samples: made }] : [];
    }),
  );
}

function chapterTable(checkpoint: string, chapter: Chapter, columns: readonly Column[], gains: Gain[]): string {
  const { title, base, ideas } = chapter;
  const rows = ideas.map((idea) => [
    idea.name,
    ...columns.map(({ title: tensors, samples }) => {
      const measured = measure(idea, base, samples);
      if (measured === undefined) return NOTHING;
      const [bits, share] = [measured.base - measured.bits, 1 - measured.bits / measured.base];
      gains.push({ checkpoint, idea, tensors, bits, share });
      return `${bits < 0 ? '-' : '+'}${Math.abs(bits).toFixed(3)} (${(100 * share).toFixed(1)} %)`;
    }),
    idea.gpu,
  ]);
  const bases = columns.map(({ samples }) => measure(base, base, samples)?.bits.toFixed(3) ?? NOTHING);
  const table = tableOf(
    [title, ...columns.map(({ title: tensors }) => tensors), 'for a GPU'],
    [[`${base.name}: bits a weight`, ...bases, ''], ...rows],
  );
  if (rows.length <= LONG) return table;
  return `<details><summary>${title}: ${rows.length} of them</summary>\n\n${table}\n\n</details>`;
}

/** Draws the pictures; says why where it cannot. */
function draw(gains: readonly Gain[], others: object): void {
  const chapterOf = (gain: Gain): string | undefined => CHAPTERS.find(({ ideas }) => ideas.includes(gain.idea))?.title;
  const named = gains.map((gain) => ({ ...gain, idea: gain.idea.name, chapter: chapterOf(gain) }));
  const { problem } = runPython('bench/study/plot.py', { gains: named, ...others }, fileURLToPath(fromRoot('docs/')));
  if (problem !== undefined) console.log(`No pictures: ${problem}`);
}

async function study(paths: readonly string[]): Promise<void> {
  const gains: Gain[] = [];
  const parts: string[] = [];
  const prefixes: (Prefix & { checkpoint: string })[] = [];
  for (const path of paths) {
    const checkpoint = basename(path, '.safetensors');
    const samples = await samplesOf(path);
    const columns = columnsOf(samples);
    const weights = samples.reduce((sum, { rows, columns: width }) => sum + rows * width, 0);
    parts.push(`<details><summary>${checkpoint}: ${samples.length} matrices, ${weights} weights of them</summary>`);
    for (const chapter of CHAPTERS) {
      parts.push(chapterTable(checkpoint, chapter, columns, gains));
      console.log(`${checkpoint}: ${chapter.title.toLowerCase()}`);
    }
    const { prefixes: its, problem } = prefixesOf(path, samples);
    prefixes.push(...its.map((prefix) => ({ checkpoint, ...prefix })));
    parts.push(dtypeTable(samples), ...(its.length > 0 ? [prefixTable(its, problem)] : []), '</details>');
  }
  const { points, problems } = await timePeers(paths);
  const values: Record<string, string> = {
    command: `npm run study -- ${paths.map((path) => basename(path)).join(' ')}`,
    summary: summaryOf(gains),
    checkpoints: parts.join('\n\n'),
    peers: peerTable(points, problems),
  };
  const template = readFileSync(fromRoot('bench/study/template.md'), 'utf8');
  writeFileSync(
    fromRoot('docs/study.md'),
    template.replace(/\{\{(\w+)\}\}/g, (_, name: string) => values[name]),
  );
  draw(gains, { points, prefixes });
  console.log('docs/study.md is written');
}

const paths = process.argv.slice(2);
if (paths.length === 0) {
  console.error('Usage: npm run study -- CHECKPOINT...');
  process.exitCode = 2;
} else await study(paths);
