// `npm run study -- CHECKPOINT...`: what each idea is worth on the weights of these checkpoints (safetensors files, or
// directories of them). Writes docs/study.md, from template.md, and its pictures. Without arguments: the demo.
//
// Pictures need matplotlib 3.11.2 for the Python that PYTHON names, and peers what peers/cpu.py says. What is not there is
// said, and left out. Lengths are the same in every run; rates of peers are not.

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native } from '../../src/engine/native.ts';
import { fromRoot } from '../../src/files/root.ts';
import { timeCodecs } from '../codecs.ts';
import { DERIVED, derive, unpacked } from './derived.ts';
import { BOUNDS } from './ideas/bounds.ts';
import { OPTIONS, PREDICTORS, streamBits } from './ideas/codec.ts';
import { type Chapter, measure } from './ideas/idea.ts';
import { COLUMN, ONE_TABLE, TABLES } from './ideas/tables.ts';
import { TRANSFORMS, TRANSFORMS_AFTER_COLUMN } from './ideas/transforms.ts';
import { lengthIn, paid } from './lengths.ts';
import { errorOf, prefixBits } from './prefixes.ts';
import { KINDS, type Kind, type Sample, samplesOf } from './samples.ts';
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

const ofKind = (samples: readonly Sample[], kind: Kind): Sample[] => samples.filter((sample) => sample.kind === kind);

const isSample = (sample: Sample | undefined): sample is Sample => sample !== undefined;

/** Samples in BF16 and I8; a star where the study made them. */
function columnsOf(samples: readonly Sample[]): Column[] {
  return ['BF16', 'I8 by row'].flatMap((dtype) =>
    KINDS.map((kind) => {
      const originals = ofKind(samples, kind);
      const made = originals.map((sample) => derive(sample, dtype)).filter(isSample);
      const star = made.some((sample) => !originals.includes(sample)) ? '*' : '';
      return { title: `${dtype}${star}, ${kind}`, samples: made };
    }).filter((column) => column.samples.length > 0 || column.title.endsWith('layers')),
  );
}

/** Bits a weight gained, and of it the share in parts of a thousand of what the base takes. */
function gain(chapter: Chapter, at: number, samples: readonly Sample[]): { bits: number; share: number } | undefined {
  const measured = measure(chapter.ideas[at], chapter.base, samples);
  return measured && { bits: measured.base - measured.bits, share: 1 - measured.bits / measured.base };
}

function chapterTable(checkpoint: string, chapter: Chapter, columns: readonly Column[], gains: Gain[]): string {
  const bases = columns.map(({ samples }) => measure(chapter.base, chapter.base, samples));
  const rows = chapter.ideas.map(({ name, gpu }, at) => [
    name,
    ...columns.map(({ title, samples }) => {
      const its = gain(chapter, at, samples);
      if (its === undefined) return NOTHING;
      gains.push({ checkpoint, chapter: chapter.title, idea: name, column: title, ...its });
      const sign = its.bits < 0 ? '-' : '+';
      return `${sign}${Math.abs(its.bits).toFixed(3)} (${(100 * its.share).toFixed(1)} %)`;
    }),
    gpu,
  ]);
  const first = [`*${chapter.base.name}*: bits a weight`, ...bases.map((base) => base?.bits.toFixed(3) ?? NOTHING), ''];
  const table = tableOf([chapter.title, ...columns.map(({ title }) => title), 'for a GPU'], [first, ...rows]);
  if (rows.length <= LONG) return table;
  return `<details><summary>${chapter.title}: ${rows.length} of them</summary>\n\n${table}\n\n</details>`;
}

/** By dtype: what a weight takes by one table of its elements, and in the codec's streams. */
function dtypeTable(samples: readonly Sample[]): string {
  const kinds = [...new Set(samples.map(({ kind }) => kind))];
  const ratio = (bits: number, weights: number, whole: number): string =>
    weights === 0 ? NOTHING : `${(bits / weights).toFixed(3)} (${((100 * bits) / weights / whole).toFixed(1)} %)`;
  const own = [...new Set(samples.map(({ dtype }) => dtype))];
  const names = [
    ...own.filter((dtype) => !DERIVED.some(({ name }) => name === dtype) && dtype !== 'I8'),
    ...DERIVED.map(({ name }) => name),
  ];
  const rows = names.map((name) => {
    const cells = kinds.flatMap((kind) => {
      const pairs = ofKind(samples, kind).map((sample) => [sample, derive(sample, name)] as const);
      const made = pairs.filter((pair): pair is readonly [Sample, Sample] => pair[1] !== undefined);
      const bits = DERIVED.find((each) => each.name === name)?.bits ?? 32;
      const weights = made.reduce((sum, [{ rows: height, columns }]) => sum + height * columns, 0);
      const order0 = made.reduce(
        (sum, [, each]) =>
          sum + (bits === 4 ? lengthIn(paid(each.share), unpacked(each)) : (ONE_TABLE.bits(each, []) ?? 0)),
        0,
      );
      const stored = made.reduce(
        (sum, [, each]) => sum + Math.min(8 * each.data.length, streamBits(each, {}) ?? Number.POSITIVE_INFINITY),
        0,
      );
      return [ratio(order0, weights, bits), ratio(stored, weights, bits)];
    });
    return [own.includes(name) || (name === 'I8 by row' && own.includes('I8')) ? name : `${name}*`, ...cells];
  });
  return tableOf(['dtype', ...kinds.flatMap((kind) => [`${kind}, one table`, `${kind}, *small*`])], rows);
}

function prefixTable(samples: readonly Sample[]): string {
  const layers = ofKind(samples, 'layers')
    .map((sample) => derive(sample, 'BF16'))
    .filter(isSample);
  if (layers.length === 0) return NOTHING;
  const weights = layers.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  const rows = Array.from({ length: 9 }, (_, k) => k + 8).map((bits) => [
    `${bits}`,
    (layers.reduce((sum, sample) => sum + prefixBits(sample, bits), 0) / weights).toFixed(3),
    `${(100 * errorOf(layers, bits)).toFixed(2)} %`,
    NOTHING,
  ]);
  return tableOf(['first bits of BF16', 'bits a weight, one table', 'error', 'loss of a model'], rows);
}

const escaped = (name: string): string => name.replaceAll('|', '\\|');

async function peerTable(paths: readonly string[], points: object[]): Promise<string> {
  const rows: string[][] = [];
  const problems = new Set<string>();
  for (const path of paths.filter((each) => each.endsWith('.safetensors'))) {
    const { timed, problems: its } = await timeCodecs(path);
    for (const problem of its) problems.add(problem);
    // The reference writes the same bytes as the native codec.
    const others = native() ? timed.filter(({ name }) => !name.endsWith('(TypeScript)')) : timed;
    for (const { name, ratio, compress, decompress } of others) {
      points.push({ checkpoint: basename(path), name, ratio, decompress });
      rows.push([basename(path), escaped(name), ratio.toFixed(4), compress.toFixed(0), decompress.toFixed(0)]);
    }
  }
  return [
    tableOf(['file', 'codec', 'ratio', 'compress MB/s', 'decompress MB/s'], rows),
    ...[...problems].map((problem) => `\n${problem}`),
  ].join('\n');
}

/** Draws the pictures; says why where it cannot. */
function draw(record: object): void {
  const script = fileURLToPath(fromRoot('bench/study/plot.py'));
  const { status, stderr, error } = spawnSync(
    process.env.PYTHON ?? 'python3',
    [script, fileURLToPath(fromRoot('docs/'))],
    { input: JSON.stringify(record), encoding: 'utf8' },
  );
  if (error || status !== 0) console.log(`No pictures: ${error?.message ?? stderr.trim().split('\n').at(-1)}`);
}

async function main(): Promise<void> {
  const arguments_ = process.argv.slice(2);
  const paths = arguments_.length > 0 ? arguments_ : [fileURLToPath(fromRoot('demo/model.safetensors'))];
  const gains: Gain[] = [];
  const parts: string[] = [];
  for (const path of paths) {
    const checkpoint = basename(path).replace(/\.safetensors$/, '');
    const samples = await samplesOf(path);
    const columns = columnsOf(samples);
    const weights = samples.reduce((sum, { rows, columns: width }) => sum + rows * width, 0);
    parts.push(`<details><summary>${checkpoint}: ${samples.length} matrices, ${weights} weights of them</summary>`);
    for (const chapter of CHAPTERS) {
      parts.push(chapterTable(checkpoint, chapter, columns, gains));
      console.log(`${checkpoint}: ${chapter.title.toLowerCase()}`);
    }
    parts.push(dtypeTable(samples), prefixTable(samples), '</details>');
  }
  const points: object[] = [];
  const peers = await peerTable(paths, points);
  const template = readFileSync(fromRoot('bench/study/template.md'), 'utf8');
  const text = template
    .replace('{{summary}}', () => summaryOf(gains))
    .replace('{{checkpoints}}', () => parts.join('\n\n'))
    .replace('{{peers}}', () => peers);
  writeFileSync(fromRoot('docs/study.md'), text);
  draw({ gains, points });
  console.log('docs/study.md is written');
}

await main();
