// The command line: what it prints, how it exits, and what it leaves on the disk, whatever happens.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { InspectedFile, Report } from '../src/index.ts';
import { checkpoint, codecllm, inDirectory, noise, type TestTensor, weights } from './checkpoint.ts';

const matrix = (name: string, rows: number, columns: number, seed = 1): TestTensor => ({
  name,
  dtype: 'BF16',
  shape: [rows, columns],
  data: weights(rows * columns, seed),
});
const bias: TestTensor = { name: 'layer.bias', dtype: 'F32', shape: [5], data: noise(20, 9) };

const SMALL = checkpoint([matrix('layer.weight', 200, 130), bias], { metadata: new Map([['format', 'pt']]) });

/** Runs it where it has to succeed. */
function run(...args: string[]): string {
  const { status, stdout, stderr } = codecllm(...args);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return stdout;
}

/** Runs it where it has to fail, with one clear line. */
function fail(...args: string[]): string {
  const { status, stdout, stderr } = codecllm(...args);
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^codecllm: [^\n]+\n$/);
  expect(status).toBe(1);
  return stderr;
}

describe('one file', () => {
  it('is compressed, verified, shown and restored under the names it suggests', async () => {
    await inDirectory((directory) => {
      const original = join(directory, 'model.safetensors');
      const compressed = join(directory, 'model.codecllm.safetensors');
      writeFileSync(original, SMALL);
      chmodSync(original, 0o640);

      const summary = run('compress', original);
      expect(summary).toContain(`${original} -> ${compressed}\n`);
      expect(summary).toMatch(/52\.\d kB -> 3\d\.\d kB, 6\d\.\d\d % of the original\n1 tensor compressed, 1 kept\n/);
      expect(summary).toMatch(/\d s, \d+\.\d MB\/s with \d+ threads? \((ts|native)\)\n$/);
      expect(statSync(compressed).mode & 0o777).toBe(0o640);

      expect(run('verify', compressed)).toContain(`${compressed}: good; 1 stream decoded`);

      const table = run('inspect', compressed);
      expect(table).toMatch(/\nlayer\.weight +BF16 +\[200,130\] +52000 +3\d{4} +6\d\.\d\d % {2}10\+6: rans \| raw\n/);
      expect(table).toMatch(/\nlayer\.bias +F32 +\[5\] +20 +20 +100\.00 % {2}kept\n/);
      expect(table).toContain('2 tensors: 1 compressed, 1 kept; ');

      expect(fail('decompress', compressed)).toContain(`${original}: exists already`);
      expect(run('decompress', compressed, '--force')).toContain('byte for byte the original');
      expect(readFileSync(original).equals(SMALL)).toBe(true);
      expect(readdirSync(directory).sort()).toEqual(['model.codecllm.safetensors', 'model.safetensors']);
    });
  });

  it('is reported as one JSON object', async () => {
    await inDirectory((directory) => {
      const [original, compressed, back] = ['a.safetensors', 'b', 'c'].map((name) => join(directory, name));
      writeFileSync(original, SMALL);
      const report: Report = JSON.parse(
        run('compress', original, compressed, '--json', '--profile', 'fast', '--threads', '1'),
      );
      expect(report).toMatchObject({
        input: original,
        output: compressed,
        bytesBefore: SMALL.length,
        bytesAfter: statSync(compressed).size,
        threads: 1,
        tensorsCompressed: 1,
        tensorsKept: 1,
        filesCopied: 0,
      });
      expect(report.ratio).toBeCloseTo(report.bytesAfter / report.bytesBefore);
      expect(report.files[0].tensors.map(({ name, compressed: stream }) => [name, stream])).toEqual([
        ['layer.weight', true],
        ['layer.bias', false],
      ]);
      for (const command of [
        ['verify', compressed],
        ['decompress', compressed, back],
      ]) {
        const again: Report = JSON.parse(run(...command, '--json'));
        expect(again).toMatchObject({ bytesBefore: report.bytesBefore, bytesAfter: report.bytesAfter });
        expect(again.files[0]).toMatchObject({ sha256: report.files[0].sha256, tensors: report.files[0].tensors });
      }
      const shown: { files: InspectedFile[] } = JSON.parse(run('inspect', compressed, '--json'));
      expect(shown.files[0].tensors[0].stream).toMatchObject({ dtype: 'BF16', split: [8, 8], tileRows: 128 });
      const plain: { files: InspectedFile[] } = JSON.parse(run('inspect', original, '--json'));
      expect(plain.files[0]).toMatchObject({ compressed: false, bytesBefore: SMALL.length, bytesAfter: SMALL.length });
      expect(run('inspect', original)).toContain('2 tensors; 52.2 kB, not compressed');

      const { status, stdout, stderr } = codecllm('verify', original, '--json');
      expect(status).toBe(1);
      expect(stderr).toBe(`codecllm: ${original}: not a CodecLLM file\n`);
      expect(JSON.parse(stdout)).toMatchObject({ error: `${original}: not a CodecLLM file` });
    });
  });

  it('is compressed in profile direct', async () => {
    await inDirectory((directory) => {
      const [original, compressed] = ['a.safetensors', 'b'].map((name) => join(directory, name));
      writeFileSync(original, SMALL);
      run('compress', original, compressed, '--profile', 'direct', '--engine', 'ts');
      expect(run('verify', compressed, '--engine', 'ts')).toContain(`${compressed}: good; 1 stream decoded`);
      // The tiles of the last two columns are not worth whole blocks.
      expect(run('inspect', compressed)).toMatch(
        /\nlayer\.weight .* 8\+8: direct 50 %, rans 50 % \| direct 50 %, raw 50 %\n/,
      );
    });
  });

  it('is not replaced without --force, and never by itself', async () => {
    await inDirectory((directory) => {
      const [original, other, same] = ['a.safetensors', 'b', 'c'].map((name) => join(directory, name));
      writeFileSync(original, SMALL);
      writeFileSync(other, 'something else');
      linkSync(original, same);
      expect(fail('compress', original, other)).toBe(`codecllm: ${other}: exists already; --force replaces it\n`);
      expect(readFileSync(other, 'utf8')).toBe('something else');
      for (const path of [original, same])
        expect(fail('compress', original, path, '--force')).toContain('is the input itself');
      if (process.platform !== 'win32') {
        const pipe = join(directory, 'pipe');
        spawnSync('mkfifo', [pipe]);
        expect(fail('compress', original, pipe, '--force')).toContain(`${pipe}: is not a file`);
        rmSync(pipe);
      }
      expect(run('compress', original, other, '--force', '--quiet', '--tile-rows', '32')).toBe('');
      expect(run('verify', other, '--quiet')).toBe('');
      expect(readdirSync(directory)).toHaveLength(3);
    });
  });
});

describe('the command line', () => {
  it('explains itself', () => {
    expect(run('--version')).toMatch(/^\d+\.\d+\.\d+\n$/);
    for (const command of [[], ['compress']]) expect(run(...command, '--help')).toContain('Exit codes:');
  });

  it.each(['', 'compress', 'compress a --tile-rows 100', 'verify a --threads 0', 'inspect a --force'])(
    'exits with 2 where it is not understood: codecllm %s',
    (line) => {
      const { status, stdout, stderr } = codecllm(...line.split(' ').filter((word) => word !== ''));
      expect(status).toBe(2);
      expect(stdout).toBe('');
      expect(stderr).not.toBe('');
    },
  );

  it('exits with 2 where the input gives the output no name', async () => {
    await inDirectory((directory) => {
      const input = join(directory, 'model.bin');
      writeFileSync(input, SMALL);
      for (const command of ['compress', 'decompress']) {
        const { status, stderr } = codecllm(command, input);
        expect(status).toBe(2);
        expect(stderr).toContain(`${input}: nothing to name the output`);
      }
    });
  });
});

describe('what a build writes', () => {
  // Windows runs it through a script of npm's.
  it.skipIf(process.platform === 'win32')('runs by its own name, also when it was built before', async () => {
    await inDirectory((directory) => {
      copyFileSync(fileURLToPath(new URL('../package.json', import.meta.url)), join(directory, 'package.json'));
      const folder = join(directory, 'dist', 'bin');
      const root = fileURLToPath(new URL('..', import.meta.url));
      for (let build = 0; build < 2; build++) {
        const built = spawnSync(process.execPath, ['bundle.mjs', folder], { cwd: root, encoding: 'utf8' });
        expect(built.status, built.stderr).toBe(0);
        const { status, stdout } = spawnSync(join(folder, 'codecllm.js'), ['--version'], { encoding: 'utf8' });
        expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
        expect(status).toBe(0);
      }
    });
  });
});

describe('failures leave nothing behind', () => {
  it('what cannot be read', async () => {
    await inDirectory((directory) => {
      const output = join(directory, 'out');
      const missing = join(directory, 'missing.safetensors');
      expect(fail('compress', missing, output)).toBe(`codecllm: ${missing}: no such file or directory\n`);
      expect(fail('compress', '/dev/null', output)).toContain('/dev/null: is not a regular file');
      const text = join(directory, 'text.safetensors');
      writeFileSync(text, 'version https://git-lfs.github.com/spec/v1\n');
      expect(fail('compress', text, output)).toContain(`${text}: not a safetensors file`);
      expect(fail('decompress', text, output)).toContain(`${text}: not a safetensors file`);
      expect(fail('inspect', text)).toContain(`${text}: not a safetensors file`);
      expect(readdirSync(directory)).toEqual(['text.safetensors']);
    });
  });

  it.skipIf(process.getuid?.() === 0)('what one may not read or write (skipped for root, who may)', async () => {
    await inDirectory((directory) => {
      const input = join(directory, 'a.safetensors');
      const closed = join(directory, 'closed');
      writeFileSync(input, SMALL);
      mkdirSync(closed, 0o500);
      expect(fail('compress', input, join(closed, 'out'))).toContain('permission denied');
      chmodSync(input, 0);
      expect(fail('compress', input, join(directory, 'out'))).toBe(`codecllm: ${input}: permission denied\n`);
      expect(readdirSync(directory)).toHaveLength(2);
    });
  });

  it('no directory for the output', async () => {
    await inDirectory((directory) => {
      const input = join(directory, 'a.safetensors');
      writeFileSync(input, SMALL);
      const output = join(directory, 'missing', 'out');
      expect(fail('compress', input, output)).toBe(`codecllm: ${output}: no such file or directory\n`);
    });
  });

  it('a file that was damaged', async () => {
    await inDirectory((directory) => {
      const [original, compressed, back] = ['a.safetensors', 'b', 'c'].map((name) => join(directory, name));
      writeFileSync(original, SMALL);
      run('compress', original, compressed);
      const bytes = readFileSync(compressed);
      bytes[Math.floor(bytes.length / 2)] ^= 1;
      writeFileSync(compressed, bytes);
      expect(fail('verify', compressed)).toContain(`${compressed}: damaged at tensor "layer.weight": tile.`);
      expect(fail('decompress', compressed, back)).toContain(`${compressed}: damaged at tensor "layer.weight": tile.`);
      expect(existsSync(back)).toBe(false);
      expect(readdirSync(directory)).toHaveLength(2);
    });
  });
});

describe('a limit', () => {
  it('is one that can be understood', () => {
    for (const value of ['', 'G', '-1', '1.5G', '99999999T'])
      expect(codecllm('verify', 'x', '--max-bytes', value)).toMatchObject({ status: 2, stdout: '' });
  });
});

describe('names', () => {
  it('of what was killed are said, and removed where nobody can go on from it', async () => {
    await inDirectory((directory) => {
      const [original, output] = ['a', 'b'].map((name) => join(directory, name));
      const machine = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
      // No process has this number: it is above what Linux gives.
      const left = join(directory, `.b.tmp-${machine}-99999999-0123abcd`);
      const [elsewhere, old] = ['tmp-00000000-1-0123abcd', 'old-00000000-1-0123abcd'].map((name) =>
        `${output}.${name}`.replace(/b\.(?=tmp|old)/, '.b.'),
      );
      for (const path of [original, left, elsewhere, old]) writeFileSync(path, SMALL);
      const { status, stderr } = codecllm('compress', original, output);
      expect(status).toBe(0);
      expect(stderr.split('\n').sort()).toEqual(
        [
          '',
          `codecllm: ${old}: is what ${output} was before: a run was killed while it replaced it`,
          `codecllm: ${left}: was left by a run that was killed; it is removed`,
          `codecllm: ${elsewhere}: was left by a run that was killed, or goes on elsewhere; codecllm clean ${output} removes it`,
        ].sort(),
      );
      expect(run('clean', output)).toBe(`${elsewhere}: removed\n`);
      expect(readdirSync(directory).sort()).toEqual(['.b.old-00000000-1-0123abcd', 'a', 'b']);
      expect(run('compress', original, output, '--force', '--quiet')).toBe('');
    });
  });
});

const LINKS = '--follow-links';

describe('a directory', () => {
  const SHARDS = {
    'model-00001-of-00002.safetensors': checkpoint([matrix('a', 100, 130, 1)], { python: true }),
    'model-00002-of-00002.safetensors': checkpoint([matrix('b', 100, 130, 2)]),
  };
  const INDEX = JSON.stringify({
    metadata: { total_size: 52000 },
    weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' },
  });

  /** A checkpoint as the cache of the Hugging Face Hub holds it: links to blobs. */
  function publish(directory: string): string {
    const blobs = join(directory, 'blobs');
    const model = join(directory, 'model');
    mkdirSync(blobs);
    mkdirSync(join(model, 'tokenizer'), { recursive: true });
    Object.entries(SHARDS).forEach(([name, bytes], index) => {
      writeFileSync(join(blobs, String(index)), bytes);
      symlinkSync(join('..', 'blobs', String(index)), join(model, name));
    });
    writeFileSync(join(model, 'model.safetensors.index.json'), INDEX);
    writeFileSync(join(model, 'pytorch_model.bin.index.json'), '{"weight_map":{"a":"pytorch_model.bin"}}');
    writeFileSync(join(model, 'tokenizer', 'vocab.txt'), 'a b c');
    return model;
  }

  it('becomes a directory with the same names, and comes back', async () => {
    await inDirectory((directory) => {
      const model = publish(directory);
      const back = join(directory, 'back');
      const report: Report = JSON.parse(run('compress', `${model}/`, '--json', '--follow-links'));
      expect(report).toMatchObject({ output: `${model}.codecllm`, tensorsCompressed: 2, filesCopied: 3 });
      expect(report.files.map(({ output }) => output)).toEqual(
        Object.keys(SHARDS).map((name) => join(`${model}.codecllm`, name)),
      );
      const names = readdirSync(model, { recursive: true }).sort();
      expect(readdirSync(`${model}.codecllm`, { recursive: true }).sort()).toEqual(names);
      expect(run('verify', `${model}.codecllm`)).toContain('good; 2 streams decoded');
      expect(run('inspect', `${model}.codecllm`)).toContain('2 checkpoints: ');

      // A shard that is not compressed is copied.
      const second = 'model-00002-of-00002.safetensors';
      writeFileSync(join(`${model}.codecllm`, second), SHARDS[second]);
      run('decompress', `${model}.codecllm`, back);
      expect(readdirSync(back, { recursive: true }).sort()).toEqual(names);
      for (const [name, bytes] of Object.entries(SHARDS))
        expect(readFileSync(join(back, name)).equals(bytes)).toBe(true);
      expect(readFileSync(join(back, 'model.safetensors.index.json'), 'utf8')).toBe(INDEX);
      expect(readFileSync(join(back, 'tokenizer', 'vocab.txt'), 'utf8')).toBe('a b c');

      expect(fail('compress', model, '--follow-links')).toContain('exists already');
      run('compress', model, '--force', '--follow-links');
      writeFileSync(join(`${model}.codecllm`, 'tokenizer', 'notes.txt'), 'mine');
      expect(fail('compress', model, '--force', '--follow-links')).toContain(`holds ${join('tokenizer', 'notes.txt')}`);
      expect(readdirSync(directory).sort()).toEqual(['back', 'blobs', 'model', 'model.codecllm']);
    });
  });

  it('may have an index in a folder below, beside the shards that it names', async () => {
    await inDirectory((directory) => {
      const [model, output] = [join(directory, 'model'), join(directory, 'out')];
      mkdirSync(join(model, 'text'), { recursive: true });
      const [first, second] = Object.entries(SHARDS);
      writeFileSync(join(model, 'text', first[0]), first[1]);
      writeFileSync(join(model, 'text', second[0]), second[1]);
      writeFileSync(join(model, 'text', 'model.safetensors.index.json'), INDEX);
      run('compress', model, output);
      expect(readdirSync(join(output, 'text'))).toHaveLength(3);
      // One of its name in another folder is another.
      rmSync(output, { recursive: true });
      rmSync(join(model, 'text', second[0]));
      writeFileSync(join(model, second[0]), second[1]);
      expect(fail('compress', model, output)).toContain(
        `${second[0]}: is missing; model.safetensors.index.json names it`,
      );
      expect(readdirSync(directory)).toEqual(['model']);
    });
  });

  it('is refused where something is missing or wrong, and nothing is left', async () => {
    await inDirectory((directory) => {
      const model = publish(directory);
      const output = join(directory, 'out');
      expect(fail('decompress', model, output, LINKS)).toContain(`${model}: holds no CodecLLM file`);
      expect(fail('verify', model, LINKS)).toContain(`${model}: holds no CodecLLM file`);
      expect(fail('compress', model, join(model, 'out'), LINKS)).toContain('would be in the input');
      expect(fail('compress', model, directory, '--force', LINKS)).toContain('holds the input');
      expect(fail('compress', model, model, '--force', LINKS)).toContain('is the input itself');

      writeFileSync(join(directory, 'blobs', '1'), 'not a checkpoint');
      const wrong = fail('compress', model, output, LINKS);
      writeFileSync(join(directory, 'blobs', '1'), SHARDS['model-00002-of-00002.safetensors']);
      expect(wrong).toContain(`${join(model, 'model-00002-of-00002.safetensors')}: not a safetensors file`);

      writeFileSync(join(model, 'model.safetensors.index.json'), '{"weight_map":{"c":"gone.safetensors"}}');
      expect(fail('compress', model, output, LINKS)).toContain(
        'gone.safetensors: is missing; model.safetensors.index.json names it',
      );
      writeFileSync(join(model, 'model.safetensors.index.json'), '{');
      expect(fail('compress', model, output, LINKS)).toContain('model.safetensors.index.json: is not valid JSON');
      expect(fail('compress', join(model, 'tokenizer'), output, LINKS)).toContain('holds no .safetensors file');
      rmSync(join(model, 'model.safetensors.index.json'));
      symlinkSync('../..', join(model, 'tokenizer', 'up'));
      expect(fail('compress', model, output, LINKS)).toContain('leads back');
      expect(readdirSync(directory).sort()).toEqual(['blobs', 'model']);
      expect(readdirSync(model)).not.toContain('out');
    });
  });
});

const python = spawnSync('python3', ['-c', 'import safetensors, numpy']);
const withoutPython = python.status === 0 ? '' : ' (skipped: python3 cannot import safetensors and numpy)';

describe('other software', () => {
  it.skipIf(withoutPython !== '')(`safetensors for Python opens what is written${withoutPython}`, async () => {
    await inDirectory((directory) => {
      const [original, compressed] = ['a.safetensors', 'b.safetensors'].map((name) => join(directory, name));
      const tensors = [matrix('größe', 300, 200), bias, { ...bias, name: 'empty', shape: [0], data: new Uint8Array() }];
      writeFileSync(original, checkpoint(tensors, { metadata: new Map([['format', 'pt']]) }));
      run('compress', original, compressed);
      const script = `
import json, sys
from safetensors import safe_open
with safe_open(sys.argv[1], "numpy") as f:
    print(json.dumps({"metadata": f.metadata(), "tensors": {k: f.get_tensor(k).tobytes().hex() for k in f.keys()}}))
`;
      const { stdout, stderr } = spawnSync('python3', ['-c', script, compressed], {
        encoding: 'utf8',
        maxBuffer: 2 ** 26,
      });
      expect(stderr).toBe('');
      const opened: { metadata: Record<string, string>; tensors: Record<string, string> } = JSON.parse(stdout);
      expect(opened.metadata).toMatchObject({ format: 'pt', 'codecllm.version': '1', 'codecllm.streams': '1' });
      expect(Object.keys(opened.tensors).sort()).toEqual(['empty', 'größe', 'layer.bias']);
      expect(opened.tensors['layer.bias']).toBe(Buffer.from(bias.data).toString('hex'));
      expect(Buffer.from(opened.tensors.größe, 'hex').toString('latin1', 0, 4)).toBe('CLLM');
    });
  });
});
