// `npm run agree -- [--streams N] [--seed S]`: the reference says what streams are, valid ones and mutants, and codecllm_agree
// holds to that the host codec, on every path of this processor, and the GPU decoder, emulated. Both run beside each other,
// and packs go through a pipe. A disagreement is printed with the name of its stream, BATCH/NUMBER, and `--seed BATCH
// --streams 1` makes that batch again; with `--keep FOLDER` its streams are written there. A batch has 2,000.
// Exit codes: 0 all agree, 1 something does not, 3 no CMake.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { SEED } from '../seed.ts';
import { BATCH, batchOf } from './batch.ts';
import { packOf } from './pack.ts';
import { buildIn, endMissing, runs } from './program.ts';

const { values } = parseArgs({
  options: { streams: { type: 'string' }, seed: { type: 'string' }, keep: { type: 'string' } },
});
const streams = Number(values.streams ?? 10_000);
const seed = Number(values.seed ?? SEED);
if (!runs('cmake', '--version')) endMissing('CMake');
const program = join(buildIn('agree', ['-DCODECLLM_WITH_CUDA=OFF'], ['codecllm_agree']), 'codecllm_agree');
const asked = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });

const begin = Date.now();
let wrong = 0;
let answered = 0;
const wrongNames = new Set<string>();
const lines = createInterface(asked.stdout);
lines.on('line', (line) => {
  const summary = /^(\d+) streams, (\d+) wrong$/.exec(line);
  if (summary) {
    answered += Number(summary[1]);
    wrong += Number(summary[2]);
    if (answered % (50 * BATCH) === 0) console.log(`${answered} streams, ${wrong} wrong`);
  } else {
    const name = /^\S+: (\d+\/\d+) /.exec(line)?.[1];
    if (name !== undefined) wrongNames.add(name);
    console.log(line);
  }
});
const closed = once(lines, 'close');
const ended = once(asked, 'exit');

/** Which part of them were taken, which refused by their fronts, and which by their Data. */
const kinds = [0, 0, 0, 0, 0];
for (let number = seed, left = streams; left > 0; number++, left -= BATCH) {
  const entries = batchOf(number);
  for (const { kind } of entries) kinds[kind]++;
  if (values.keep !== undefined) {
    mkdirSync(values.keep, { recursive: true });
    for (const { name, stream } of entries) writeFileSync(join(values.keep, `${name.replace('/', '-')}.cllm`), stream);
  }
  if (!asked.stdin.write(packOf(entries, { batch: number }))) await once(asked.stdin, 'drain');
}
asked.stdin.end();
await closed;
const [status] = await ended;
const [encoded, inFront, inData, inBase, drawn] = kinds;
console.log(
  `${answered} streams from seed ${seed}: ${encoded} of the encoder, ${drawn} others that are valid, ` +
    `${inFront} refused by their fronts, ${inData} by their Data, ${inBase} for their base`,
);
const seconds = ((Date.now() - begin) / 1000).toFixed(0);
console.log(status === 0 ? `everyone agrees after ${seconds} s` : `${wrongNames.size} streams are disagreed about`);
process.exitCode = status === 0 ? 0 : 1;
