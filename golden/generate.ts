// `npm run golden`: makes the vectors anew and says what changed. A change of the format shows here first.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fromRoot } from '../src/files/root.ts';
import { baseVectors, invalidBaseVectors } from './base.ts';
import { checkpointFiles } from './checkpoints.ts';
import { invalidVectors } from './invalid.ts';
import { validVectors } from './vectors.ts';

/** All files of the vectors and checkpoints: name and bytes. The manifests say what the others are. */
export function goldenFiles(): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const valid = validVectors();
  const against = baseVectors();
  const manifest = {
    format: 'codecllm-vectors-1',
    valid: valid.map(({ id, comment, flags, dtype, shape, options, input, stream }) => {
      files.set(`input/${id}.bin`, input);
      files.set(`stream/${id}.cllm`, stream);
      return { id, comment, flags, dtype, shape, options, input: `input/${id}.bin`, stream: `stream/${id}.cllm` };
    }),
    invalid: invalidVectors(valid).map(({ id, comment, flags, stream, error }) => {
      files.set(`invalid/${id}.cllm`, stream);
      return { id, comment, flags, stream: `invalid/${id}.cllm`, error };
    }),
    base: against.map(({ id, comment, dtype, shape, options, base, input, stream }) => {
      files.set(`base/${id}.bin`, base);
      files.set(`input/${id}.bin`, input);
      files.set(`stream/${id}.cllm`, stream);
      const names = { base: `base/${id}.bin`, input: `input/${id}.bin`, stream: `stream/${id}.cllm` };
      return { id, comment, dtype, shape, options, ...names };
    }),
    invalidBase: invalidBaseVectors(against).map(({ id, comment, stream, base, baseOf, error }) => {
      files.set(`invalid/${id}.cllm`, stream);
      const name = base ? `base/${baseOf ?? `invalid-${id}`}.bin` : null;
      if (base && !baseOf) files.set(name as string, base);
      return { id, comment, base: name, stream: `invalid/${id}.cllm`, error };
    }),
  };
  files.set('manifest.json', new TextEncoder().encode(`${JSON.stringify(manifest, undefined, 1)}\n`));
  return new Map([...files, ...checkpointFiles()]);
}

/** The folder that holds the vectors. */
export const GOLDEN = fromRoot('golden/');

/** The files that are there now. */
export function committedFiles(): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (const found of readdirSync(GOLDEN, { recursive: true, encoding: 'utf8' })) {
    const name = found.replaceAll('\\', '/');
    if (/\.(bin|cllm|safetensors)$|manifest\.json$/.test(name)) files.set(name, readFileSync(new URL(name, GOLDEN)));
  }
  return files;
}

/** Names of files that differ, with what is to be done. */
export function differences(made: Map<string, Uint8Array>, present: Map<string, Uint8Array>): string[] {
  const changes = [...made]
    .filter(([name, bytes]) => Buffer.compare(bytes, present.get(name) ?? Buffer.of(0)) !== 0 || !present.has(name))
    .map(([name]) => `${present.has(name) ? 'changed' : 'new'}: ${name}`);
  const removed = [...present.keys()].filter((name) => !made.has(name)).map((name) => `removed: ${name}`);
  return [...changes, ...removed];
}

function main(): void {
  const made = goldenFiles();
  const changes = differences(made, committedFiles());
  for (const change of changes) {
    const [what, name] = change.split(': ');
    const file = new URL(name, GOLDEN);
    mkdirSync(new URL('.', file), { recursive: true });
    if (what === 'removed') rmSync(file);
    else writeFileSync(file, made.get(name) as Uint8Array);
    console.log(change);
  }
  console.log(`${made.size} files, ${changes.length} changed`);
}

if (
  process.argv[1] !== undefined &&
  import.meta.url.endsWith('/dist/golden/generate.js') &&
  process.argv[1].endsWith('generate.js')
)
  main();
