// `npm run certify -- [--encode] COMMAND`: asks a program for every vector, and says what it got wrong. README.md beside
// this file says what the program has to do.
//
// It needs Node and the files of this folder, nothing else, so that it runs from the archive of the vectors as well.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** How long a call may take, in ms. The largest tensor has 128 KiB, for which a decoder in Python takes a second. */
const LIMIT = 30_000;
/** Characters of what a program prints that are kept. */
const KEPT = 1000;

const pathOf = (name) => fileURLToPath(new URL(name, import.meta.url));

/** A value as a call has it: lists with commas. */
const wordsOf = (values) => Object.entries(values).map(([name, value]) => `${name}=${value}`);

/** Every call that there is to make: its arguments around the name of the output, and what has to come of it. */
function callsOf(manifest, withEncoder) {
  const valid = [...manifest.valid, ...manifest.base];
  const describe = ({ dtype, shape }) => wordsOf({ dtype, shape });
  const baseOf = ({ base }) => (base ? wordsOf({ base: pathOf(base) }) : []);
  const decoding = valid.map((vector) => ({
    vector,
    kind: 'decode',
    rules: vector.flags,
    args: (output) => ['decode', pathOf(vector.stream), output, ...baseOf(vector)],
    output: vector.input,
    line: describe(vector).join(' '),
  }));
  const refusing = [...manifest.invalid, ...manifest.invalidBase].map((vector) => ({
    vector,
    kind: 'refuse',
    // The rule that it breaks is that of its field, whichever plane or tile it is in.
    rules: [vector.error.field.replaceAll(/\[\d+\]/g, '')],
    args: (output) => ['decode', pathOf(vector.stream), output, ...baseOf(vector)],
  }));
  const encoding = valid.filter(({ options }) => options).map((vector) => ({
    vector,
    kind: 'encode',
    rules: vector.flags,
    args: (output) => [
      ...['encode', pathOf(vector.input), output],
      ...[...describe(vector), ...wordsOf(vector.options), ...baseOf(vector)],
    ],
    output: vector.stream,
  }));
  return [...decoding, ...refusing, ...(withEncoder ? encoding : [])];
}

/** Runs a program to its end, or until the time is over. */
function run([program, ...first], args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...first, ...args], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const printed = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'])
      child[stream].setEncoding('utf8').on('data', (text) => {
        printed[stream] = (printed[stream] + text).slice(0, KEPT);
      });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      // With what it started: the program may be a script.
      process.kill(-child.pid, 'SIGKILL');
    }, LIMIT);
    child.on('error', reject);
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      resolve({ status, signal, late, ...printed });
    });
  });
}

/** What is wrong with what a program did, in a few words; undefined where nothing is. */
function problemWith(call, { status, signal, late, stdout, stderr }, output) {
  if (late) return `took more than ${LIMIT / 1000} s`;
  // A shell says so of a program that a signal ended.
  if (signal !== null || status > 128) return `was ended by ${signal ?? `signal ${status - 128}`}`;
  if (call.kind === 'refuse') {
    if (status === 0) return 'accepted it';
    if (existsSync(output)) return 'refused it, but wrote OUTPUT';
    // An exception that nobody caught, or a panic, has other exit codes than 0, too.
    const lines = stderr.split('\n').filter((text) => text.trim() !== '').length;
    return lines === 1 ? undefined : `said why in ${lines} lines, not in one`;
  }
  if (status !== 0) return `failed with exit code ${status}: ${stderr.trim().split('\n').at(-1)}`;
  if (!existsSync(output)) return 'wrote no OUTPUT';
  const bytes = readFileSync(output);
  const expected = readFileSync(pathOf(call.output));
  if (!bytes.equals(expected)) {
    const at = bytes.findIndex((byte, i) => byte !== expected[i]);
    return `wrote other bytes, from byte ${at < 0 ? Math.min(bytes.length, expected.length) : at} on`;
  }
  if (call.line !== undefined && stdout.trim() !== call.line)
    return `printed ${JSON.stringify(stdout.trim())}, not ${JSON.stringify(call.line)}`;
  return undefined;
}

/** Makes all calls, some at a time. Sets `problem` of those that went wrong. */
async function makeCalls(command, calls) {
  const folder = mkdtempSync(join(tmpdir(), 'codecllm-certify-'));
  const queue = calls.entries();
  const work = async () => {
    for (const [i, call] of queue) {
      const output = join(folder, `${i}`);
      call.problem = problemWith(call, await run(command, call.args(output)), output);
      rmSync(output, { force: true, recursive: true });
    }
  };
  try {
    await Promise.all(Array.from({ length: availableParallelism() }, work));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Of what was asked for and of each rule, how much was right. */
function report(calls, { flags }) {
  const titles = { decode: 'valid streams decoded', refuse: 'invalid streams refused', encode: 'streams encoded' };
  for (const [kind, title] of Object.entries(titles)) {
    const asked = calls.filter((call) => call.kind === kind);
    if (asked.length === 0) continue;
    const wrong = asked.filter(({ problem }) => problem !== undefined);
    console.log(`${asked.length - wrong.length} of ${asked.length} ${title}`);
    for (const { vector, problem } of wrong) console.log(`  ${vector.id}: ${problem}. ${vector.comment}`);
    for (const rule of new Set(wrong.flatMap(({ rules }) => rules))) {
      const ofRule = (list) => list.filter(({ rules }) => rules.includes(rule)).length;
      const meaning = kind === 'refuse' ? '' : `: ${flags[rule]}`;
      console.log(`  ${ofRule(wrong)} of ${ofRule(asked)} wrong of ${rule}${meaning}`);
    }
  }
}

const [first, ...others] = process.argv.slice(2);
const withEncoder = first === '--encode';
const command = withEncoder ? others : [first, ...others];
if (command[0] === undefined) {
  console.error('npm run certify -- [--encode] COMMAND');
  process.exit(2);
}
const manifest = JSON.parse(readFileSync(pathOf('manifest.json'), 'utf8'));
const calls = callsOf(manifest, withEncoder);
try {
  await makeCalls(command, calls);
} catch (error) {
  console.error(`${command[0]} cannot be run: ${error.message}`);
  process.exit(2);
}
report(calls, manifest);
process.exitCode = calls.some(({ problem }) => problem !== undefined) ? 1 : 0;
