// Names of files and tensors, and those in an index, hold what would move a terminal's cursor or turn its text.
//
// What must happen: they reach the terminal, and lines of JSON, as escapes; who reads the JSON has them as they are.

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkpoint, codecllm, noise, weights } from '../test/checkpoint.ts';

const EVIL = 'a\u001b[2J\n\u202egpj\u2066\u009b';
const SHOWN = '\\u202egpj\\u2066\\u009b';
const HIDDEN = /[\p{Cc}\p{Bidi_Control}]/u;

export async function attack(directory: string): Promise<void> {
  const original = join(directory, `${EVIL}.safetensors`);
  const tensors = [
    { name: EVIL, dtype: 'F32', shape: [5], data: noise(20, 9) },
    { name: 'w', dtype: 'BF16', shape: [200, 130], data: weights(26_000, 1) },
  ];
  writeFileSync(original, checkpoint(tensors));
  const compressed = original.replace('.safetensors', '.codecllm.safetensors');
  const left = join(directory, `.${EVIL}.codecllm.safetensors.tmp-01234567-1-01234567`);
  writeFileSync(left, '');
  const runs = [original, compressed].flatMap((path) => [
    codecllm('compress', path),
    codecllm('inspect', path),
    codecllm('inspect', path, '--json'),
    codecllm('verify', path),
    codecllm('verify', path, '--json'),
  ]);
  rmSync(left);
  const model = join(directory, 'model');
  mkdirSync(model);
  copyFileSync(original, join(model, 'a.safetensors'));
  const index = JSON.stringify({ weight_map: { a: `${EVIL}.safetensors` } });
  writeFileSync(join(model, 'model.safetensors.index.json'), index);
  runs.push(codecllm('inspect', model));
  for (const { stdout, stderr } of runs) {
    for (const line of `${stdout}${stderr}`.split('\n')) assert.doesNotMatch(line, HIDDEN);
    assert(`${stdout}${stderr}`.includes(SHOWN));
  }
  assert.equal(JSON.parse(runs[2].stdout).files[0].tensors[0].name, EVIL);
}
