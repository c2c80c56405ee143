// Fuzzing of TypeScript, guided by coverage: what libFuzzer does, for a module that exports `fuzz(bytes)`. Istanbul counts
// how often each statement and branch runs; an input that runs one of them more often than all before, in powers of two,
// is kept, and changed further. (Jazzer.js would do, but that its native part needs glibc 2.38.)
//
// `node guided.js MODULE SECONDS SEED FOUND CORPUS...` writes what it keeps to the folder FOUND, and what fails to
// fuzz-failures/. Exit codes: 0 nothing failed, 1 something did.

import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createInstrumenter } from 'istanbul-lib-instrument';
import { rolldown } from 'rolldown';
import { Draw } from '../conformance/draw.ts';

type Fuzz = (input: Uint8Array) => void;

/** The most bytes of an input. */
const LENGTH = 8192;
const COVERAGE = '__coverage__';

/** Istanbul's counters: of statements, of functions, and of the sides of branches. */
interface Counters {
  readonly s: Record<string, number>;
  readonly f: Record<string, number>;
  readonly b: Record<string, number[]>;
}

/** Loads a module with all that it imports of this repository, counted. */
async function load(module: string): Promise<{ fuzz: Fuzz; counters: Counters }> {
  const bundle = await rolldown({ input: module, platform: 'node' });
  const { output } = await bundle.generate({ format: 'es' });
  const instrumenter = createInstrumenter({ esModules: true, coverageVariable: COVERAGE, compact: true });
  const folder = mkdtempSync(join(tmpdir(), 'codecllm-fuzz-'));
  try {
    const file = join(folder, 'counted.mjs');
    writeFileSync(file, instrumenter.instrumentSync(output[0].code, file));
    const { fuzz } = await import(pathToFileURL(file).href);
    const [counters] = Object.values((globalThis as Record<string, unknown>)[COVERAGE] as Record<string, Counters>);
    return { fuzz, counters };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What runs: for each counter, the highest power of two that it has reached. */
class Coverage {
  private readonly most: number[] = [];

  constructor(private readonly counters: Counters) {}

  /** Sets all counters to 0. @returns whether one had reached more than ever */
  take(): boolean {
    let more = false;
    let at = 0;
    const look = (count: number): 0 => {
      const power = 32 - Math.clz32(count);
      if (power > (this.most[at] ?? 0)) {
        this.most[at] = power;
        more = true;
      }
      at++;
      return 0;
    };
    const { s, f, b } = this.counters;
    for (const key in s) s[key] = look(s[key]);
    for (const key in f) f[key] = look(f[key]);
    for (const sides of Object.values(b))
      for (let side = 0; side < sides.length; side++) sides[side] = look(sides[side]);
    return more;
  }

  get reached(): number {
    return this.most.filter((power) => power > 0).length;
  }
}

/** Numbers and other pieces of text that mean something, found in an input. */
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|[[\]{},:]/g;
const NUMBERS = ['0', '-0', '1', '-1', '7', '64', '1e3', '1.0', '01', '4294967296', '9007199254740993', '1e400'];

/** Puts `piece` in the place of bytes `from` to before `to`. */
const replaced = (input: Buffer, from: number, to: number, piece: Uint8Array): Buffer =>
  Buffer.concat([input.subarray(0, from), piece, input.subarray(to)]);

/** A changed copy: of bytes, of numbers, of tokens of text, or with a part of another input. */
function mutated(draw: Draw, input: Buffer, other: Buffer): Buffer {
  const at = draw.below(input.length + 1);
  switch (draw.below(7)) {
    case 0: {
      const copy = Buffer.from(input);
      for (let n = draw.from(1, 4); n > 0 && copy.length > 0; n--) copy[draw.below(copy.length)] ^= 1 << draw.below(8);
      return copy;
    }
    case 1:
      return replaced(input, at, at + draw.below(16), draw.bytes(draw.below(4)));
    case 2: {
      const from = draw.below(other.length + 1);
      return replaced(input, at, at + draw.below(64), other.subarray(from, from + draw.below(200)));
    }
    case 3: {
      // In strings, too, which are one token.
      const numbers = [...input.toString('latin1').matchAll(/\d{1,15}/g)].slice(0, 400);
      if (numbers.length === 0) return replaced(input, at, at, draw.bytes(1));
      const { 0: digits, index } = draw.pick(numbers);
      const piece = draw.pick([...NUMBERS, `${Number(digits) + 1}`, `${Number(digits) - 1}`]);
      return replaced(input, index, index + digits.length, Buffer.from(piece));
    }
    default: {
      const text = input.toString('latin1');
      const [mine, others] = [text, other.toString('latin1')].map((each) => [...each.matchAll(TOKEN)].slice(0, 400));
      if (mine.length === 0) return replaced(input, at, at, draw.bytes(1));
      const { 0: token, index } = draw.pick(mine);
      // Mostly with one of its kind.
      const alike = [...mine, ...others].map(([each]) => each).filter((each) => each[0] === token[0] || draw.one(10));
      const piece = draw.pick([...alike, ...(/\d/.test(token[0]) ? NUMBERS : []), '', token + token]);
      return replaced(input, index, index + token.length, Buffer.from(piece, 'latin1'));
    }
  }
}

const [, , module, seconds, seed, found, ...folders] = process.argv;
const { fuzz, counters } = await load(module);
const coverage = new Coverage(counters);
const draw = new Draw(Number(seed));
const inputs: Buffer[] = [];
let runs = 0;

/** @param keep whether a new one is written, too @throws what `fuzz` throws */
function run(input: Buffer, keep: boolean): void {
  runs++;
  const name = (): string => createHash('sha1').update(input).digest('hex');
  try {
    fuzz(input);
  } catch (error) {
    mkdirSync('fuzz-failures', { recursive: true });
    writeFileSync(join('fuzz-failures', `crash-${name()}`), input);
    throw error;
  }
  if (!coverage.take()) return;
  inputs.push(input);
  if (keep) writeFileSync(join(found, name()), input);
}

const end = Date.now() + 1000 * Number(seconds);
try {
  coverage.take();
  run(Buffer.alloc(0), false);
  for (const folder of folders)
    for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
      const file = join(folder, name);
      if (statSync(file).isFile()) run(readFileSync(file).subarray(0, LENGTH), false);
    }
  const before = coverage.reached;
  while (Date.now() < end) run(mutated(draw, draw.pick(inputs), draw.pick(inputs)).subarray(0, LENGTH), true);
  console.log(`${runs} runs; ${inputs.length} inputs reach ${coverage.reached} places, and began with ${before}`);
} catch (error) {
  console.log(error);
  console.log('an input of fuzz-failures/ does this');
  process.exitCode = 1;
}
