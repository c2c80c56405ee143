// Directories as people have them: jobs that are interrupted, links, files that are bad or not there, and no room for a copy.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import { checkpoint, codecllm, inDirectory, type Run, startCodecllm, type TestTensor, weights } from './checkpoint.ts';

const matrix = (name: string, rows: number, columns: number, seed = 1): TestTensor => ({
  name,
  dtype: 'BF16',
  shape: [rows, columns],
  data: weights(rows * columns, seed),
});

const SCHEMA = new Ajv({ strict: true, strictRequired: false }).compile(
  JSON.parse(readFileSync(new URL('../docs/report.schema.json', import.meta.url), 'utf8')),
);

/** Runs it with --json. @returns what it says, which the schema allows */
// biome-ignore lint/suspicious/noExplicitAny: the schema knows.
function json(...args: string[]): Record<string, any> {
  const lines = codecllm(...args, '--json')
    .stdout.trimEnd()
    .split('\n');
  for (const line of lines) {
    SCHEMA(JSON.parse(line));
    expect(SCHEMA.errors, line).toBe(null);
  }
  return JSON.parse(lines[0]);
}

/** Runs it where it has to succeed. */
function run(...args: string[]): string {
  const { status, stdout, stderr } = codecllm(...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

const SHARD_COUNT = 6;
const nameOf = (number: number): string => `model-0000${number}-of-00006.safetensors`;
const SHARDS = Array.from({ length: SHARD_COUNT }, (_, k) => checkpoint([matrix(`t${k}`, 700, 1000, k)]));
const TIME = 1_600_000_000;

/** A model of several shards, an index, and other files. */
function publish(directory: string, name = 'model'): string {
  const model = join(directory, name);
  mkdirSync(join(model, 'tokenizer'), { recursive: true });
  const map: Record<string, string> = {};
  SHARDS.forEach((bytes, k) => {
    writeFileSync(join(model, nameOf(k)), bytes);
    map[`t${k}`] = nameOf(k);
  });
  writeFileSync(join(model, 'model.safetensors.index.json'), JSON.stringify({ weight_map: map }));
  writeFileSync(join(model, 'pytorch_model.bin'), new Uint8Array(100_000));
  writeFileSync(join(model, 'tokenizer', 'vocab.txt'), 'a b c');
  for (const each of readdirSync(model)) utimesSync(join(model, each), TIME, TIME);
  return model;
}

const filesOf = (path: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(path, { recursive: true, encoding: 'utf8' })
      .sort()
      .filter((name) => statSync(join(path, name)).isFile())
      .map((name) => [name, readFileSync(join(path, name)).toString('base64')]),
  );

const temporaryOf = (directory: string): string | undefined => {
  const name = readdirSync(directory).find((each) => each.startsWith('.out.tmp-'));
  return name && join(directory, name);
};

/** The files that a journal says are finished. */
function finishedIn(directory: string): string[] {
  const path = join(temporaryOf(directory) ?? '', 'job.jsonl');
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      try {
        return [JSON.parse(line).name];
      } catch {
        return [];
      }
    });
}

/** Starts a job and ends it when so many files are finished. */
async function interrupt(
  directory: string,
  signal: NodeJS.Signals,
  finished: number,
  ...args: string[]
): Promise<unknown> {
  const child = startCodecllm(...args);
  const ended = once(child, 'exit');
  while (child.exitCode === null && finishedIn(directory).length < finished)
    await new Promise((done) => setTimeout(done, 2));
  child.kill(signal);
  return (await ended).find((each) => each !== null);
}

describe('an interrupted job', () => {
  it.each(['SIGKILL', 'SIGTERM'] as const)('goes on where it stopped: %s', async (signal) => {
    await inDirectory(async (directory) => {
      const [model, out, expected] = [publish(directory), join(directory, 'out'), join(directory, 'expected')];
      run('compress', model, expected);
      await interrupt(directory, signal, 2, 'compress', model, out);
      expect(existsSync(out)).toBe(false);
      const finished = finishedIn(directory);
      expect(finished.length).toBeGreaterThanOrEqual(2);
      const inodes = finished.map((name) => statSync(join(temporaryOf(directory) ?? '', 'files', name)).ino);
      // One of them is damaged meanwhile, another one's source is changed.
      const damaged = join(temporaryOf(directory) ?? '', 'files', finished[0]);
      const bytes = readFileSync(damaged);
      bytes[bytes.length >> 1] ^= 1;
      writeFileSync(damaged, bytes);
      const { status, stderr } = codecllm('compress', model, out);
      expect(status).toBe(0);
      expect(stderr).toContain(
        `codecllm: ${out}: goes on where a run was interrupted: ${finished.length} of 6 checkpoints are finished\n`,
      );
      expect(stderr).toContain(
        `${join(out, finished[0])}: is made anew: what an interrupted run had finished damaged at tensor`,
      );
      expect(filesOf(out)).toEqual(filesOf(expected));
      // Nothing of the others was done again.
      expect(finished.map((name) => statSync(join(out, name)).ino).slice(1)).toEqual(inodes.slice(1));
      expect(readdirSync(directory).sort()).toEqual(['expected', 'model', 'out']);
    });
  });

  it('is another one with other options, or another input', async () => {
    await inDirectory(async (directory) => {
      const [model, out] = [publish(directory), join(directory, 'out')];
      await interrupt(directory, 'SIGKILL', 1, 'compress', model, out);
      const left = temporaryOf(directory);
      const { status, stderr } = codecllm('compress', model, out, '--profile', 'fast');
      expect({ status, stderr }).toEqual({
        status: 0,
        stderr: `codecllm: ${left}: was left by a run that was killed; codecllm clean ${out} removes it\n`,
      });
      expect(run('clean', out)).toBe(`${left}: removed\n`);
      expect(readdirSync(directory).sort()).toEqual(['model', 'out']);
    });
  });

  it('comes to the right end whenever it is killed, again and again', async () => {
    await inDirectory(async (directory) => {
      const [model, out, expected] = [publish(directory), join(directory, 'out'), join(directory, 'expected')];
      run('compress', model, expected);
      let kills = 0;
      for (let wait = 60; !existsSync(out); wait += 20) {
        const child = startCodecllm('compress', model, out, '--threads', '1');
        const ended = once(child, 'exit');
        const before = finishedIn(directory);
        setTimeout(() => child.kill('SIGKILL'), wait);
        // One that fails by itself would fail for ever.
        const [code] = await ended;
        expect([0, null]).toContain(code);
        if (!existsSync(out)) expect(finishedIn(directory)).toEqual(expect.arrayContaining(before));
        kills++;
      }
      expect(kills).toBeGreaterThan(1);
      expect(filesOf(out)).toEqual(filesOf(expected));
      run('clean', out);
      expect(readdirSync(directory).sort()).toEqual(['expected', 'model', 'out']);
    });
  });

  it('is finished by decompress, too', async () => {
    await inDirectory(async (directory) => {
      const [model, small, out] = [publish(directory), join(directory, 'small'), join(directory, 'out')];
      run('compress', model, small);
      await interrupt(directory, 'SIGKILL', 1, 'decompress', small, out);
      expect(codecllm('decompress', small, out)).toMatchObject({ status: 0 });
      expect(filesOf(out)).toEqual(filesOf(model));
      run('verify', small);
    });
  });
});

describe('in place', () => {
  it('every checkpoint is replaced, and a killed run goes on', async () => {
    await inDirectory(async (directory) => {
      const [model, other] = [publish(directory), publish(directory, 'other')];
      linkSync(join(model, nameOf(0)), join(model, 'alias.safetensors'));
      run('compress', other, join(directory, 'expected'));
      for (let wait = 80; ; wait += 40) {
        const child = startCodecllm('compress', '--in-place', model);
        const ended = once(child, 'exit');
        setTimeout(() => child.kill('SIGKILL'), wait);
        const [code] = await ended;
        if (code === 0) break;
        expect(code).toBe(null);
        // Each is what it was, or what it becomes.
        for (const [k, bytes] of SHARDS.entries()) {
          const found = readFileSync(join(model, nameOf(k)));
          if (!found.equals(bytes))
            expect(found.equals(readFileSync(join(directory, 'expected', nameOf(k))))).toBe(true);
        }
      }
      expect(statSync(join(model, 'alias.safetensors')).ino).toBe(statSync(join(model, nameOf(0))).ino);
      rmSync(join(model, 'alias.safetensors'));
      codecllm('compress', '--in-place', model);
      expect(filesOf(model)).toEqual(filesOf(join(directory, 'expected')));
      expect(statSync(join(model, nameOf(1))).mtimeMs).toBe(TIME * 1000);
      run('decompress', '--in-place', model);
      expect(filesOf(model)).toEqual(filesOf(other));
    });
  });

  it.each([
    ['is placed', false],
    ['is not, where the file has changed since', true],
  ])('another name that a killed run had not placed %s', async (_, hasChanged) => {
    await inDirectory(async (directory) => {
      const model = publish(directory);
      const [first, alias] = [join(model, nameOf(0)), join(model, 'alias.safetensors')];
      run('compress', '--in-place', model);
      const { pid } = spawnSync('true');
      const machine = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
      const place = () => linkSync(first, join(model, `.alias.safetensors.tmp-${machine}-${pid}-00000000`));
      if (hasChanged) place();
      // Times of files have some milliseconds.
      await delay(50);
      writeFileSync(alias, SHARDS[1]);
      if (!hasChanged) place();
      const said = hasChanged ? expect.stringContaining('was left by a run that was killed; it is removed') : '';
      expect(codecllm('compress', '--in-place', model)).toMatchObject({ status: 0, stderr: said });
      expect(statSync(alias).ino === statSync(first).ino).toBe(!hasChanged);
      expect(readdirSync(model).filter((name) => name.startsWith('.'))).toEqual([]);
      run('decompress', '--in-place', model);
      expect(readFileSync(alias).equals(SHARDS[hasChanged ? 1 : 0])).toBe(true);
    });
  });

  it('a file that is damaged is not replaced', async () => {
    await inDirectory((directory) => {
      const [original, file] = [join(directory, 'a.safetensors'), join(directory, 'b')];
      writeFileSync(original, SHARDS[0]);
      run('compress', original, file);
      const bytes = readFileSync(file);
      bytes[bytes.length >> 1] ^= 1;
      writeFileSync(file, bytes);
      expect(codecllm('decompress', '--in-place', file)).toMatchObject({ status: 1, stdout: '' });
      expect(readFileSync(file).equals(bytes)).toBe(true);
      expect(readdirSync(directory).sort()).toEqual(['a.safetensors', 'b']);
    });
  });
});

describe('verify and inspect', () => {
  it('say something of every file, name every bad tensor, and tell by the exit code', async () => {
    await inDirectory((directory) => {
      const [model, out] = [publish(directory), join(directory, 'out')];
      writeFileSync(
        join(model, nameOf(1)),
        checkpoint(Array.from({ length: 5 }, (_, k) => matrix(`t1.${k}`, 300, 300, k))),
      );
      run('compress', model, out);
      const all = run('verify', out);
      for (let k = 0; k < SHARD_COUNT; k++) expect(all).toContain(`${join(out, nameOf(k))}: good\n`);
      expect(all).toContain(`${join(out, 'pytorch_model.bin')}: not checked: is of another format\n`);

      writeFileSync(join(out, nameOf(0)), SHARDS[0]);
      rmSync(join(out, nameOf(3)));
      const unchecked = codecllm('verify', out);
      expect(unchecked.status).toBe(3);
      expect(unchecked.stderr).toBe(
        `codecllm: ${join(out, nameOf(3))}: is missing; model.safetensors.index.json names it\ncodecllm: ${join(out, nameOf(0))}: is not compressed\n`,
      );
      expect(unchecked.stdout).not.toContain(`${out}: good`);

      // Two tensors of a file, a front among them, and the end of another file.
      const bytes = readFileSync(join(out, nameOf(1)));
      const length = 8 + Number(bytes.readBigUInt64LE());
      const at = JSON.parse(bytes.toString('utf8', 8, length));
      bytes[length + at['t1.1'].data_offsets[1] - 100] ^= 1;
      bytes[length + at['t1.3'].data_offsets[0] + 70] ^= 1;
      writeFileSync(join(out, nameOf(1)), bytes);
      truncateSync(join(out, nameOf(2)), statSync(join(out, nameOf(2))).size - 123);
      const bad: Run = codecllm('verify', out);
      expect(bad.status).toBe(1);
      expect(bad.stderr).toMatch(/model-00001-of-00006\.safetensors: damaged at tensor "t1\.1": /);
      expect(bad.stderr).toMatch(/model-00001-of-00006\.safetensors: damaged at tensor "t1\.3": /);
      expect(bad.stderr).toMatch(/model-00002-of-00006\.safetensors: incomplete: 123 bytes missing; /);
      expect(bad.stdout).toContain(`${join(out, nameOf(5))}: good\n`);
      const report = json('verify', out);
      expect(report.files).toHaveLength(2);
      expect(report.problems.filter(({ checked }: { checked: boolean }) => checked)).toHaveLength(3);

      const shown = codecllm('inspect', out);
      expect(shown.status).toBe(1);
      expect(shown.stderr).toMatch(/damaged at tensor "t1\.3"/);
      expect(shown.stdout).toContain(join(out, nameOf(5)));
      json('inspect', out);
    });
  });

  it('say what a file is that is none', async () => {
    await inDirectory((directory) => {
      const path = join(directory, 'a.safetensors');
      writeFileSync(path, '');
      expect(codecllm('inspect', path).stderr).toContain('not a safetensors file: it has 0 bytes');
      writeFileSync(path, 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n');
      expect(codecllm('inspect', path).stderr).toContain('a pointer of Git LFS');
    });
  });
});

describe('links', () => {
  it('stay links in a Hugging Face cache, of which nothing is compressed twice', async () => {
    await inDirectory((directory) => {
      const model = join(directory, 'models--a--b');
      for (const each of ['blobs', 'snapshots/1', 'snapshots/2']) mkdirSync(join(model, each), { recursive: true });
      SHARDS.slice(0, 2).forEach((bytes, k) => {
        writeFileSync(join(model, 'blobs', `hash${k}`), bytes);
        for (const snapshot of ['1', '2'])
          symlinkSync(`../../blobs/hash${k}`, join(model, 'snapshots', snapshot, `${k}.safetensors`));
      });
      const out = join(directory, 'out');
      const report = json('compress', model, out);
      expect(report.files.map(({ output }: { output: string }) => output)).toEqual([
        join(out, 'blobs', 'hash0'),
        join(out, 'blobs', 'hash1'),
      ]);
      const size = (path: string): number =>
        ['hash0', 'hash1'].reduce((sum, name) => sum + statSync(join(path, 'blobs', name)).size, 0);
      expect(report.directory).toMatchObject({ bytesBefore: size(model), bytesAfter: size(out) });
      expect(readlinkSync(join(out, 'snapshots', '2', '1.safetensors'))).toBe('../../blobs/hash1');
      run('verify', out);
      run('decompress', out, join(directory, 'back'));
      expect(filesOf(join(directory, 'back'))).toEqual(filesOf(model));
      expect(lstatSync(join(directory, 'back', 'snapshots', '1', '0.safetensors')).isSymbolicLink()).toBe(true);

      // A snapshot alone has links that lead out of it.
      const snapshot = join(model, 'snapshots', '1');
      const refused = codecllm('compress', snapshot, join(directory, 'snapshot'));
      expect(refused.status).toBe(1);
      expect(refused.stderr).toBe(
        `${[0, 1].map((k) => `codecllm: ${join(snapshot, `${k}.safetensors`)}: leads out of the directory, to ../../blobs/hash${k}; --follow-links follows it`).join('\n')}\n`,
      );
      symlinkSync('../../blobs/hash0', join(snapshot, 'again.safetensors'));
      const followed = json('compress', snapshot, join(directory, 'snapshot'), '--follow-links');
      expect(followed.files).toHaveLength(2);
      const names = readdirSync(join(directory, 'snapshot'));
      expect(names).toEqual(['0.safetensors', '1.safetensors', 'again.safetensors']);
      const [zero, , again] = names.map((name) => statSync(join(directory, 'snapshot', name)).ino);
      expect(again).toBe(zero);
    });
  });

  it('that lead nowhere are named', async () => {
    await inDirectory((directory) => {
      const model = publish(directory);
      symlinkSync('gone', join(model, 'b.safetensors'));
      const { status, stderr } = codecllm('compress', model);
      expect(status).toBe(1);
      expect(stderr).toBe(`codecllm: ${join(model, 'b.safetensors')}: is a link to gone, which is missing\n`);
    });
  });
});

describe('inputs and outputs', () => {
  it('several, into a folder, whatever the capitals of their names; times stay', async () => {
    await inDirectory((directory) => {
      const [a, b, out] = ['a.safetensors', 'B.SafeTensors', 'out'].map((name) => join(directory, name));
      for (const path of [a, b]) {
        writeFileSync(path, SHARDS[0]);
        utimesSync(path, TIME, TIME);
      }
      expect(codecllm('compress', a, b, join(directory, 'missing')).status).toBe(2);
      mkdirSync(out);
      run('compress', a, b, out);
      expect(readdirSync(out).sort()).toEqual(['B.codecllm.SafeTensors', 'a.codecllm.safetensors']);
      const compressed = readdirSync(out).map((name) => join(out, name));
      for (const path of compressed) expect(statSync(path).mtimeMs).toBe(TIME * 1000);
      expect(run('verify', ...compressed).match(/: good; /g)).toHaveLength(2);
      mkdirSync(join(directory, 'back'));
      run('decompress', ...compressed, join(directory, 'back'));
      expect(filesOf(join(directory, 'back'))).toEqual({
        'B.SafeTensors': Buffer.from(SHARDS[0]).toString('base64'),
        'a.safetensors': Buffer.from(SHARDS[0]).toString('base64'),
      });
      // The others have their turn.
      const { status, stderr, stdout } = codecllm('inspect', join(directory, 'gone'), a);
      expect({ status, stderr }).toEqual({
        status: 1,
        stderr: `codecllm: ${join(directory, 'gone')}: no such file or directory\n`,
      });
      expect(stdout).toContain('1 tensor; ');
    });
  });

  it('names in a directory are those of the originals, and what is compressed already is kept', async () => {
    await inDirectory((directory) => {
      const model = join(directory, 'model');
      mkdirSync(model);
      for (const k of [0, 1]) writeFileSync(join(model, `${k}.safetensors`), SHARDS[k]);
      run('compress', join(model, '0.safetensors'));
      rmSync(join(model, '0.safetensors'));
      const report = json('compress', model, join(directory, 'out'));
      expect(report).toMatchObject({ filesKept: 1, filesCopied: 1 });
      expect(report.files).toHaveLength(1);
      run('decompress', join(directory, 'out'), join(directory, 'back'));
      expect(readdirSync(join(directory, 'back'))).toEqual(['0.safetensors', '1.safetensors']);
      run('compress', '--in-place', model);
      expect(codecllm('compress', model, join(directory, 'more')).stderr).toContain(
        'holds no checkpoint that is not compressed',
      );
    });
  });

  it('other weights are copied, and said to be', async () => {
    await inDirectory((directory) => {
      const model = publish(directory);
      expect(run('compress', model)).toMatch(
        /\nthe whole directory: 8\.50 MB -> \d\.\d\d MB, \d\d\.\d\d % of the original; 100 kB of them, 1\.18 %, are 1 file of other formats /,
      );
    });
  });

  it('an estimate is near, and writes nothing', async () => {
    await inDirectory((directory) => {
      const model = publish(directory);
      const estimate = json('compress', model, '--dry-run');
      expect(readdirSync(directory)).toEqual(['model']);
      const report = json('compress', model);
      expect(Math.abs(estimate.ratio / report.ratio - 1)).toBeLessThan(0.01);
      // With an output as without one, so that the option is all that has to be taken away.
      for (const output of [[], [join(directory, 'out')], ['-']]) {
        const { status, stdout } = codecllm('compress', model, ...output, '--dry-run');
        expect(status).toBe(0);
        expect(stdout.match(/estimated from/g)).toHaveLength(1);
      }
    });
  });

  it('standard streams', async () => {
    await inDirectory((directory) => {
      const path = join(directory, 'a.safetensors');
      writeFileSync(path, SHARDS[0]);
      run('compress', path);
      const cli = fileURLToPath(new URL('../dist/bin/codecllm.js', import.meta.url));
      const pipe = (input: Uint8Array, ...args: string[]): Buffer => {
        const { stdout, stderr } = spawnSync(process.execPath, [cli, ...args], { input, maxBuffer: 2 ** 26 });
        expect(stderr.toString()).toBe('');
        return stdout;
      };
      const compressed = readFileSync(join(directory, 'a.codecllm.safetensors'));
      expect(pipe(SHARDS[0], 'compress', '-', '-').equals(compressed)).toBe(true);
      expect(pipe(compressed, 'decompress', '-', '-').equals(SHARDS[0])).toBe(true);
      expect(pipe(compressed, 'verify', '-').toString()).toMatch(/^standard input: good; 1 stream decoded/);
      const bad = spawnSync(process.execPath, [cli, 'decompress', '-', '-'], { input: compressed.subarray(0, -7) });
      expect(bad.stdout).toHaveLength(0);
      expect(bad.stderr.toString()).toMatch(/^codecllm: standard input: incomplete: 7 bytes missing; /);
    });
  });

  it('every report is as the schema says', async () => {
    await inDirectory((directory) => {
      const path = join(directory, 'a.safetensors');
      writeFileSync(path, SHARDS[0]);
      for (const args of [['compress', path], ['verify', path], ['inspect', path, join(directory, 'gone')], ['doctor']])
        expect(json(...args)).toMatchObject({ reportVersion: 1, command: args[0] });
      expect(SCHEMA({ reportVersion: 1, command: 'compress' })).toBe(false);
    });
  });
});
