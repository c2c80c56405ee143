// golden/certify.mjs asks programs for every vector: it passes those that are right, and finds what others do wrong. The
// manifest is as its schema says.

import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, describe, expect, test } from 'vitest';
import tables from '../spec/tables.json' with { type: 'json' };

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BUILD = join(ROOT, 'cuda', 'build');
const readJson = (path: string) => JSON.parse(readFileSync(join(ROOT, path), 'utf8'));
const manifest = readJson('golden/manifest.json');
const schema = readJson('golden/schema.json');

/** Runs the suite. @returns its exit code, and what it prints */
function certify(...command: string[]): Promise<{ status: number | null; printed: string }> {
  const child = spawn(process.execPath, [join(ROOT, 'golden', 'certify.mjs'), ...command]);
  let printed = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => {
      printed += text;
    });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, printed }));
  });
}

const folder = mkdtempSync(join(tmpdir(), 'codecllm-certify-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A program that a shell runs: $1 is the verb, $2 the input, $3 the output. */
function script(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

const decoded = [...manifest.valid, ...manifest.base];
const encoded = decoded.filter(({ options }) => options).length;
const refused = [...manifest.invalid, ...manifest.invalidBase];
const [valid, invalid] = [decoded.length, refused.length];

const isBuilt = existsSync(join(BUILD, 'CMakeCache.txt'));
if (!isBuilt) console.warn(`The native codec is not asked for vectors: it was not built in ${BUILD}.`);

describe.concurrent('passes', { timeout: 300_000 }, () => {
  test.runIf(isBuilt)('the native codec, which encodes, too', async () => {
    const built = spawnSync('cmake', ['--build', BUILD, '--target', 'codecllm_codec'], { encoding: 'utf8' });
    expect(built.status, `${built.stdout}${built.stderr}`).toBe(0);
    const { status, printed } = await certify('--encode', join(BUILD, 'codecllm_codec'));
    expect(printed).toBe(
      `${valid} of ${valid} valid streams decoded\n${invalid} of ${invalid} invalid streams refused\n` +
        `${encoded} of ${encoded} streams encoded\n`,
    );
    expect(status).toBe(0);
  });

  // What `python3` starts may be a script that takes longer than a decoder.
  const { stdout: python } = spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' });

  test.runIf(python)('the decoder of spec/decoder.py', async () => {
    const { status, printed } = await certify(python.trim(), '-I', '-S', join(ROOT, 'spec', 'decoder.py'));
    expect(printed).toBe(
      `${valid} of ${valid} valid streams decoded\n${invalid} of ${invalid} invalid streams refused\n`,
    );
    expect(status).toBe(0);
  });
});

describe.concurrent('finds a program that', () => {
  test('accepts everything, and says by which rule it should not', async () => {
    const { status, printed } = await certify(script('accepts', 'echo > "$3"'));
    expect(printed).toContain(`0 of ${invalid} invalid streams refused`);
    expect(printed).toMatch(/tile-rows-4: accepted it\. H = 4\n/);
    expect(printed).toMatch(/(\d+) of \1 wrong of header\.tileRowsLog2\n/);
    expect(printed).toMatch(/rans-then-raw: wrote other bytes, from byte 0 on\. /);
    expect(printed).toMatch(/\d+ of (\d+) wrong of pairs: PAIRS, /);
    expect(status).toBe(1);
  });

  test('refuses everything, and writes output all the same', async () => {
    const { status, printed } = await certify(script('writes', 'echo no >&2; echo > "$3"; exit 1'));
    expect(printed).toContain(`0 of ${invalid} invalid streams refused`);
    expect(printed).toMatch(/magic: refused it, but wrote OUTPUT\. /);
    expect(printed).toMatch(/scalar: failed with exit code 1: no\. /);
    expect(status).toBe(1);
  });

  test('crashes, which is no refusal', async () => {
    const { status, printed } = await certify(script('crashes', 'kill -SEGV $$'));
    expect(printed).toContain(`0 of ${invalid} invalid streams refused`);
    expect(printed).toMatch(/magic: was ended by SIGSEGV\. /);
    expect(status).toBe(1);
  });

  test('fails in a way that it did not mean', async () => {
    const { printed } = await certify(script('throws', 'printf "Traceback:\\n  NameError\\n" >&2; exit 1'));
    expect(printed).toContain(`0 of ${invalid} invalid streams refused`);
    expect(printed).toMatch(/magic: said why in 2 lines, not in one\. /);
  });

  test('knows the bytes, but not what they are', async () => {
    const input = '$(echo "$2" | sed "s:/stream/:/input/:; s:cllm$:bin:")';
    const { printed } = await certify(script('silent', `cp "${input}" "$3" 2> /dev/null || { echo no >&2; exit 1; }`));
    expect(printed).toMatch(/scalar: printed "", not "dtype=BF16 shape="\. /);
    expect(printed).toContain(`${invalid} of ${invalid} invalid streams refused`);
  });

  test('does not end', async () => {
    const { printed } = await certify(
      script('waits', 'case "$2" in */magic.cllm) sleep 1000; esac; echo no >&2; exit 1'),
    );
    expect(printed).toContain(`${invalid - 1} of ${invalid} invalid streams refused\n  magic: took more than 30 s. `);
  });

  test('does not exist', async () => {
    const { status, printed } = await certify(join(folder, 'nothing'));
    expect(printed).toMatch(/nothing cannot be run: /);
    expect(status).toBe(2);
  });
});

describe('the manifest', () => {
  const validate = new Ajv2020({ allErrors: true }).compile(schema);

  test('is as its schema says', () => {
    validate(manifest);
    expect(validate.errors).toBeNull();
  });

  test('could be otherwise', () => {
    const [vector] = manifest.valid;
    for (const wrong of [
      { ...vector, options: { ...vector.options, columnOffset: true } },
      { ...vector, dtype: 'BF17' },
      { ...vector, stream: '../stream.cllm' },
      { ...vector, flags: ['edge', 'edge'] },
    ])
      expect(validate({ ...manifest, valid: [wrong] })).toBe(false);
  });

  test('has a meaning for every flag, and a vector', () => {
    const used = [...decoded, ...refused].flatMap(({ flags }) => flags);
    expect([...new Set(used)].sort()).toEqual(Object.keys(manifest.flags).sort());
  });

  test('has the options of the format', () => {
    const { dtype, options } = schema.$defs;
    expect(dtype.enum).toEqual(tables.dtypes.map(({ name }) => name));
    expect(options.properties.profile.enum).toEqual(tables.profiles);
    expect(options.properties.tileRows.enum).toEqual(tables.tileRows);
    expect(options.properties.classes.enum).toEqual(tables.classChoices);
    const splits = new Set(tables.dtypes.flatMap(({ splits }) => splits.map(String)));
    expect(options.properties.split.enum.map(String).sort()).toEqual([...splits].sort());
  });
});
