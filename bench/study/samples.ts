// What of a checkpoint is measured: runs of rows of its matrices, the same ones each time.

import { statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DTYPES } from '../../spec/decoder/3-planes.ts';
import { openSafetensors } from '../../src/format/safetensors.ts';

export const KINDS = ['layers', 'embeddings', 'position embeddings', 'first moments', 'second moments'] as const;
export type Kind = (typeof KINDS)[number];

/** Rows of a matrix. */
export interface Sample {
  readonly name: string;
  readonly kind: Kind;
  /** As safetensors names it. */
  readonly dtype: string;
  readonly rows: number;
  readonly columns: number;
  readonly data: Uint8Array;
  /** The part of the matrix's weights that are in the sample. */
  readonly share: number;
}

/** At most so many matrices of a kind, and words of all of them. */
const MATRICES = 18;
const WORDS = 2 ** 21;
/** Rows are taken in runs of a tile's height, as many runs as the budget has. */
const RUN = 128;

export function kindOf(name: string): Kind {
  if (/exp_avg_sq/.test(name)) return 'second moments';
  if (/exp_avg|momentum/.test(name)) return 'first moments';
  if (/position_emb|pos_emb|wpe/i.test(name)) return 'position embeddings';
  return /embed|wte|embd|lm_head|output\.weight$/i.test(name) && !/attn|attention|layer/i.test(name)
    ? 'embeddings'
    : 'layers';
}

/** The number of the layer in a tensor's name; -1 where there is none. */
export const layerOf = (name: string): number => Number(/\.(\d+)\./.exec(name)?.[1] ?? -1);

/** The name without the layer's number: what the matrix is for. */
export const roleOf = (name: string): string => name.replace(/\.\d+\./, '.*.');

/** The first rows of `runs` runs, spread evenly. */
export function runsOf(rows: number, runs: number): number[] {
  const last = Math.floor(rows / RUN) - 1;
  const wanted = Math.min(runs, last + 1);
  return Array.from({ length: wanted }, (_, run) => RUN * Math.floor((run * (last + 1)) / wanted));
}

/** The safetensors files of a path: itself, or those of a directory, in order. */
export async function filesOf(path: string): Promise<string[]> {
  if (!statSync(path).isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => name.endsWith('.safetensors')).sort();
  return names.map((name) => join(path, name));
}

/** @throws FileError */
export async function samplesOf(path: string): Promise<Sample[]> {
  const found: { path: string; name: string; dtype: string; shape: readonly number[]; position: number }[] = [];
  for (const each of await filesOf(path)) {
    const { file, header, dataStart } = await openSafetensors(each);
    await file.close();
    for (const { name, dtype, shape, start } of header.tensors)
      if (shape.length === 2 && shape[0] >= RUN && shape[1] >= RUN && DTYPES.some((known) => known.name === dtype))
        found.push({ path: each, name, dtype, shape, position: dataStart + start });
  }
  const samples: Sample[] = [];
  for (const kind of KINDS) {
    const all = found
      .filter(({ name }) => kindOf(name) === kind)
      .sort((a, b) => layerOf(a.name) - layerOf(b.name) || (a.name < b.name ? -1 : 1));
    // A run of layers in the middle, so that the layer before is there, too.
    const first = Math.max(0, (all.length - MATRICES) >> 1);
    const chosen = all.slice(first, first + MATRICES);
    for (const { path: from, name, dtype, shape, position } of chosen) {
      const [rows, columns] = shape;
      const runs = runsOf(rows, Math.max(1, Math.floor(WORDS / chosen.length / columns / RUN)));
      const { bits } = DTYPES.find((known) => known.name === dtype) ?? DTYPES[0];
      const rowBytes = (columns * bits) / 8;
      const { file } = await openSafetensors(from);
      const parts: Uint8Array[] = [];
      for (const row of runs) parts.push(await file.read(position + row * rowBytes, RUN * rowBytes));
      await file.close();
      const height = runs.length * RUN;
      samples.push({ name, kind, dtype, rows: height, columns, data: Buffer.concat(parts), share: height / rows });
    }
  }
  return samples;
}
