// Directories that transformers loads: what `compress --for transformers` adds to them, and that `decompress` takes it
// away. That they load is for the Python package to test.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkpoint, codecllm, inDirectory, weights } from './checkpoint.ts';

const MODEL = checkpoint([{ name: 'a', dtype: 'BF16', shape: [100, 130], data: weights(13000, 1) }]);
// As Python writes it: JavaScript would write other numbers.
const CONFIG =
  '{\n  "model_type": "llama",\n  "rms_norm_eps": 1e-05,\n  "rope_theta": 10000.0,\n  "dtype": "bfloat16"\n}';

const FOR = ['--for', 'transformers', '--quiet'];

/** A directory of a model with these files. */
function publish(directory: string, files: Record<string, string>): string {
  const model = join(directory, 'model');
  rmSync(model, { recursive: true, force: true });
  mkdirSync(model);
  writeFileSync(join(model, 'model.safetensors'), MODEL);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(model, name), text);
  return model;
}

function run(...args: string[]): void {
  const { status, stderr } = codecllm(...args);
  expect(stderr).toBe('');
  expect(status).toBe(0);
}

function fail(...args: string[]): string {
  const { status, stderr } = codecllm(...args);
  expect(stderr).toMatch(/^codecllm: [^\n]+\n$/);
  expect(status).toBe(1);
  return stderr;
}

/** The files of a directory, by name. */
function contents(directory: string): Record<string, string> {
  const files = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(files.map(({ name }) => [name, readFileSync(join(directory, name), 'latin1')]));
}

describe('a directory for transformers', () => {
  it.each([
    [{ 'config.json': CONFIG }, 'README.md'],
    [{ 'config.json': `${CONFIG}\n`, 'README.md': 'Mine.' }, 'CODECLLM.md'],
    [{ 'config.json': '{"model_type":"gpt2"}', 'CODECLLM.md': 'Mine.' }, 'README.md'],
  ])('has a config that names the method, and comes back as it was: %#', async (files, readme) => {
    await inDirectory((directory) => {
      const model = publish(directory, files);
      run('compress', model, ...FOR);
      const output = contents(`${model}.codecllm`);
      expect(Object.keys(output).sort()).toEqual(
        [...new Set([...Object.keys(files), 'config.json.original', 'model.safetensors', readme])].sort(),
      );
      expect(output['config.json.original']).toBe(files['config.json']);
      expect(output[readme]).toContain('import codecllm.transformers');
      const stem = files['config.json'].slice(0, files['config.json'].lastIndexOf('}')).trimEnd();
      expect(output['config.json'].startsWith(`${stem},\n  "`)).toBe(true);
      expect(JSON.parse(output['config.json'])).toEqual({
        dtype: 'bfloat16',
        ...JSON.parse(files['config.json']),
        quantization_config: {
          quant_method: 'codecllm',
          stored: 'small',
          profile: 'direct',
          note: expect.stringContaining('import codecllm.transformers'),
        },
      });

      run('verify', `${model}.codecllm`, '--quiet');
      expect(codecllm('inspect', `${model}.codecllm`).status).toBe(0);
      const back = join(directory, 'back');
      run('decompress', `${model}.codecllm`, back, '--quiet');
      expect(contents(back)).toEqual(contents(model));

      // What replaces an output knows these names, too.
      run('compress', model, '--force', ...FOR);
      run('decompress', `${model}.codecllm`, back, '--force', '--quiet');
      expect(fail('compress', model, '--force')).toContain(', which the new directory would not; it is');
    });
  });

  it.each([
    ['fast', 'fast'],
    ['direct', 'direct'],
  ])('stays in profile %s in memory', async (profile, inMemory) => {
    await inDirectory((directory) => {
      const model = publish(directory, { 'config.json': CONFIG });
      run('compress', model, '--profile', profile, ...FOR);
      const { quantization_config } = JSON.parse(readFileSync(join(`${model}.codecllm`, 'config.json'), 'utf8'));
      expect(quantization_config).toMatchObject({ stored: profile, profile: inMemory });
    });
  });

  it('keeps a README that somebody wrote over ours', async () => {
    await inDirectory((directory) => {
      const model = publish(directory, { 'config.json': CONFIG });
      run('compress', model, ...FOR);
      writeFileSync(join(`${model}.codecllm`, 'README.md'), 'Mine.');
      const back = join(directory, 'back');
      run('decompress', `${model}.codecllm`, back, '--quiet');
      expect(contents(back)).toEqual({ ...contents(model), 'README.md': 'Mine.' });
    });
  });

  it('without the option is copied as it is, whatever its files are called', async () => {
    await inDirectory((directory) => {
      const model = publish(directory, { 'config.json': CONFIG, 'config.json.original': 'Mine.' });
      const back = join(directory, 'back');
      run('compress', model, '--quiet');
      run('decompress', `${model}.codecllm`, back, '--quiet');
      expect(contents(back)).toEqual(contents(model));
    });
  });

  it('is refused where transformers would not load it, or where names are taken', async () => {
    await inDirectory((directory) => {
      const refused = (files: Record<string, string>): string => fail('compress', publish(directory, files), ...FOR);
      const path = join(directory, 'model', 'config.json');
      expect(refused({})).toContain('holds no config.json');
      expect(refused({ 'config.json': '{' })).toContain(`${path}: is not valid JSON`);
      for (const text of ['[]', '{}'])
        expect(refused({ 'config.json': text })).toContain('is not the config of a model');
      for (const text of [
        '{"quantization_config":{"quant_method":"gptq"}}',
        '{"text_config":{"quantization_config":{"quant_method":"gptq"}}}',
      ])
        expect(refused({ 'config.json': text })).toContain(`${path}: has a quantization_config already, of "gptq"`);
      const taken = 'a name that is needed here';
      expect(refused({ 'config.json': CONFIG, 'config.json.original': '' })).toContain(
        `config.json.original, ${taken}`,
      );
      expect(refused({ 'config.json': CONFIG, 'README.md': '', 'CODECLLM.md': '' })).toContain(`CODECLLM.md, ${taken}`);
      const file = join(directory, 'model', 'model.safetensors');
      expect(fail('compress', file, ...FOR)).toContain(`${file}: is a file; transformers needs a directory`);
      expect(codecllm('compress', file, '--for', 'vllm').status).toBe(2);
      expect(readdirSync(directory)).toEqual(['model']);
    });
  });
});
