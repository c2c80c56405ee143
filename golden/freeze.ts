// `npm run freeze -- VERSION`: writes down the hashes of all vectors as they are, under the name of a version of the format
// that is declared stable. From then on test/frozen.test.ts holds the vectors of that version to them, for ever: they may
// get company, but none may change or go. A version is frozen once.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { committedFiles, GOLDEN } from './generate.ts';

/** By the name of each file, its SHA-256 in hexadecimal. */
export type Frozen = Readonly<Record<string, string>>;

/** What a version is to have for ever: all vectors. The manifests grow, and are none. */
export function freeze(files: ReadonlyMap<string, Uint8Array>): Frozen {
  const vectors = [...files].filter(([name]) => !name.endsWith('manifest.json')).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(vectors.map(([name, bytes]) => [name, createHash('sha256').update(bytes).digest('hex')]));
}

/** What is no longer as it was frozen, a line each. */
export function thawed(frozen: Frozen, files: ReadonlyMap<string, Uint8Array>): string[] {
  const now = freeze(files);
  return Object.entries(frozen)
    .filter(([name, sha256]) => now[name] !== sha256)
    .map(([name]) => `${name in now ? 'changed' : 'missing'}: ${name}`);
}

/** Versions that are frozen, and what they have. */
export function frozenVersions(folder = new URL('frozen/', GOLDEN)): [string, Frozen][] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((name) => [name, JSON.parse(readFileSync(new URL(name, folder), 'utf8'))]);
}

function main(version: string | undefined): void {
  if (version === undefined || !/^[1-9][0-9]*$/.test(version)) throw new Error('npm run freeze -- VERSION, a number');
  const folder = new URL('frozen/', GOLDEN);
  const file = new URL(`${version}.json`, folder);
  if (existsSync(file)) throw new Error(`version ${version} is frozen already: ${fileURLToPath(file)}`);
  const frozen = freeze(committedFiles());
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, `${JSON.stringify(frozen, undefined, 1)}\n`);
  console.log(`${Object.keys(frozen).length} vectors of version ${version} are frozen: ${fileURLToPath(file)}`);
}

if (process.argv[1]?.endsWith('freeze.js') && import.meta.url.endsWith('/dist/golden/freeze.js')) main(process.argv[2]);
