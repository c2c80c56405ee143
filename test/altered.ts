// The reference decoder, of which one expression at a time can be another: for tests of what the vectors notice.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';
import type { Tensor } from '../spec/index.ts';
import { fromRoot } from '../src/files/root.ts';

/** In a file of spec/decoder, what is there once, and what is there instead. */
export type Change = readonly [file: string, expression: string, instead: string];

/** Decodes a stream against a base, if it has one, with one of the changes, or as it is. @throws what the decoder throws */
export type AlteredDecoder = (stream: Uint8Array, base: Uint8Array | undefined, change?: string) => Tensor;

declare global {
  /** The change that is made. */
  var codecllmChange: string | undefined;
}

/** @throws Error where an expression is not in its file, or not once */
export async function alteredDecoder(changes: Readonly<Record<string, Change>>): Promise<AlteredDecoder> {
  const left = new Set(Object.keys(changes));
  const altering = {
    name: 'altering',
    transform(code: string, id: string) {
      let text = code;
      for (const [name, [file, expression, instead]] of Object.entries(changes)) {
        if (!id.endsWith(`/spec/decoder/${file}.ts`)) continue;
        if (code.split(expression).length !== 2 || !text.includes(expression))
          throw new Error(`${name}: ${file} does not have once: ${expression}`);
        left.delete(name);
        text = text.replace(expression, `(globalThis.codecllmChange === '${name}' ? (${instead}) : (${expression}))`);
      }
      return text;
    },
  };
  const bundle = await rolldown({ input: fromRoot('spec/index.ts').pathname, plugins: [altering] });
  const { output } = await bundle.generate({ format: 'es' });
  if (left.size > 0) throw new Error(`there is no file for ${[...left]}`);
  const folder = mkdtempSync(join(tmpdir(), 'codecllm-altered-'));
  try {
    const file = join(folder, 'altered.mjs');
    writeFileSync(file, output[0].code);
    const { decodeTensor } = await import(pathToFileURL(file).href);
    return (stream, base, change) => {
      globalThis.codecllmChange = change;
      try {
        return decodeTensor(stream, { base });
      } finally {
        globalThis.codecllmChange = undefined;
      }
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
