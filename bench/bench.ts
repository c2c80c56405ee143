// `npm run bench [-- CHECKPOINT ...]`: how small, and how fast on one core of this machine. Without arguments: the demo.
//
// Codecs are timed on the matrices of the checkpoint's layers (codecs.ts). Other compressors, in the same run and on the
// same bytes, say what the numbers mean (peers/cpu.py). Then the commands as a user runs them, on all cores, with files.

import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import { whyNotNative } from '../src/engine/native.ts';
import { fromRoot } from '../src/files/root.ts';
import type { Report } from '../src/index.ts';
import { median, PROFILES, timeCodecs } from './codecs.ts';

/** Commands are run so many times, and the median counts. */
const COMMAND_ROUNDS = 5;

async function codecTable(path: string): Promise<string> {
  const { timed, tensors, bytes, problems } = await timeCodecs(path);
  const table = new Table({
    head: ['one core', 'ratio', 'compress MB/s', 'decompress MB/s'],
    style: { head: [], border: [] },
  });
  for (const each of timed)
    table.push([each.name, each.ratio.toFixed(4), each.compress.toFixed(1), each.decompress.toFixed(1)]);
  return [`${tensors} matrices, ${bytes} bytes`, table.toString(), ...problems].join('\n');
}

/** What a command reports of itself. Its output is not there before: to remove another one takes time, too. */
function run(command: string, input: string, output: string, ...options: string[]): Report {
  rmSync(output, { force: true });
  const cli = fileURLToPath(new URL('../bin/codecllm.js', import.meta.url));
  const words = [cli, command, input, output, ...options, '--json'];
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Report;
}

function commandTable(path: string, folder: string): string {
  const table = new Table({
    head: ['command', 'ratio', 'engine', 'threads', 'compress MB/s', 'decompress MB/s'],
    style: { head: [], border: [] },
  });
  const compressed = join(folder, 'compressed');
  for (const profile of PROFILES) {
    const made: Report[] = [];
    const back: Report[] = [];
    for (let round = 0; round < COMMAND_ROUNDS; round++) {
      made.push(run('compress', path, compressed, '--profile', profile));
      back.push(run('decompress', compressed, join(folder, 'restored')));
    }
    const rates = [made, back].map((reports) => median(reports.map((report) => report.megabytesPerSecond)).toFixed(1));
    const [{ ratio, engine, threads }] = made;
    table.push([`--profile ${profile}`, ratio.toFixed(4), engine, threads, ...rates]);
  }
  return table.toString();
}

async function main(): Promise<void> {
  const demo = fileURLToPath(fromRoot('demo/model.safetensors'));
  const paths = process.argv.slice(2);
  const folder = await mkdtemp(join(tmpdir(), 'codecllm-bench-'));
  try {
    const processors = cpus();
    if (whyNotNative()) console.log(`No native codec: ${whyNotNative()}`);
    console.log(`${processors[0]?.model.trim()}, ${processors.length} cores, Node ${process.version}`);
    for (const path of paths.length > 0 ? paths : [demo]) {
      console.log(`\n${basename(path)}`);
      console.log(await codecTable(path));
      console.log(commandTable(path, folder));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

await main();
