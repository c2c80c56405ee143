// A directory that Hugging Face's transformers loads as it is, compressed: its `config.json` names the method that the
// Python package registers there. The original of that file is kept beside it, so that `decompress` gives it back.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Profile } from '../../spec/index.ts';
import type { Entry } from '../files/directory.ts';
import { FileError, fileErrorOf } from '../files/errors.ts';
import { type Arrangement, AS_IT_IS } from './arrangement.ts';
import type { FileReport } from './report.ts';

const CONFIG = 'config.json';
const ORIGINAL = 'config.json.original';
/** The second is for a model that has a README of its own. */
const READMES = ['README.md', 'CODECLLM.md'];
const METHOD = 'codecllm';

/** @throws FileError where it is not the directory of a model, or of one that another method has quantised */
export async function arrangeForTransformers(
  input: string,
  entries: readonly Entry[],
  profile: Profile = 'small',
): Promise<Arrangement> {
  const names = entries.map(({ name }) => name);
  if (!names.includes(CONFIG)) throw new FileError(input, `holds no ${CONFIG}, by which transformers knows a model`);
  const path = join(input, CONFIG);
  const text = await readText(path);
  const config = parse(path, text);
  for (const each of [config, config.text_config])
    if (isObject(each) && isObject(each.quantization_config))
      throw new FileError(
        path,
        `has a quantization_config already, of ${JSON.stringify(each.quantization_config.quant_method ?? null)}`,
      );
  const readme = READMES.find((name) => !names.includes(name));
  if (readme === undefined || names.includes(ORIGINAL))
    throw new FileError(input, `holds ${readme === undefined ? READMES[1] : ORIGINAL}, a name that is needed here`);
  return {
    nameOf: (name) => (name === CONFIG ? ORIGINAL : name),
    added: [CONFIG, readme],
    textOf: (name, checkpoints) =>
      name === readme ? README : configText(text, Boolean(config.dtype ?? config.torch_dtype), profile, checkpoints),
  };
}

/** Undoes `arrangeForTransformers`, where it was done. @throws FileError where a file cannot be read */
export async function arrangeOriginal(input: string, entries: readonly Entry[]): Promise<Arrangement> {
  const names = entries.map(({ name }) => name);
  if (!names.includes(ORIGINAL) || !names.includes(CONFIG)) return AS_IT_IS;
  const path = join(input, CONFIG);
  const config = parse(path, await readText(path));
  if (!isObject(config.quantization_config) || config.quantization_config.quant_method !== METHOD) return AS_IT_IS;
  const left = [CONFIG];
  for (const name of READMES)
    if (names.includes(name) && (await readText(join(input, name))).startsWith(MARK)) left.push(name);
  return {
    ...AS_IT_IS,
    nameOf: (name) => (name === ORIGINAL ? CONFIG : left.includes(name) ? undefined : name),
  };
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error) => {
    throw fileErrorOf(path, error);
  });
}

function parse(path: string, text: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new FileError(path, 'is not valid JSON');
  }
  if (!isObject(parsed) || Object.keys(parsed).length === 0) throw new FileError(path, 'is not the config of a model');
  return parsed;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The original's text with entries at its end: JSON.stringify would write other numbers than it has, 1 for 1.0. */
function configText(text: string, hasDtype: boolean, profile: Profile, checkpoints: readonly FileReport[]): string {
  const added = [
    ...(hasDtype ? [] : dtypeOf(checkpoints).map((dtype) => ['dtype', JSON.stringify(dtype)])),
    ['quantization_config', JSON.stringify(quantizationConfig(profile), undefined, 2).replaceAll('\n', '\n  ')],
  ];
  const entries = added.map(([key, value]) => `,\n  "${key}": ${value}`).join('');
  return `${text.slice(0, text.lastIndexOf('}')).trimEnd()}${entries}\n}\n`;
}

function quantizationConfig(profile: Profile): Record<string, string> {
  return {
    quant_method: METHOD,
    stored: profile,
    profile: profile === 'small' ? 'direct' : profile,
    note: 'Compressed by CodecLLM: install its Python package, and `import codecllm.transformers` before from_pretrained.',
  };
}

/** What transformers calls the dtype of a model whose config does not say it: that of the first weight of floats. */
function dtypeOf(checkpoints: readonly FileReport[]): string[] {
  const names: Record<string, string> = { F64: 'float64', F32: 'float32', F16: 'float16', BF16: 'bfloat16' };
  for (const { tensors } of checkpoints) for (const { dtype } of tensors) if (dtype in names) return [names[dtype]];
  return [];
}

/** The first line of a README of ours. */
const MARK = '<!-- Written by CodecLLM -->';
const README = `${MARK}

# A model compressed by CodecLLM

The weights here are compressed without losing a bit. With transformers and the Python package of CodecLLM,
\`codecllm[transformers]\`, the model is loaded as any other, and stays compressed in memory:

\`\`\`python
import codecllm.transformers
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained("this directory", device_map="auto")
\`\`\`

Without that import transformers warns of an unknown quantization type, \`codecllm\`, and cannot use the weights.
\`codecllm decompress\` gives back the original directory, byte for byte.
`;
