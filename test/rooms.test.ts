// Imports go one way: through the wings of src/ downwards, into spec/ through its door, and there never from the decoder to
// the encoder. decoder/ can be read beside FORMAT.md, without the encoder and in an afternoon.

import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DOOR = 'spec/index.ts';

const textOf = (name: string): string => readFileSync(join(ROOT, name), 'utf8');

/** What a file imports of the checkout, dynamically or not, from its top. */
function importsOf(file: string): string[] {
  const found = textOf(file).matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'(\.[^']*)'/g);
  return Array.from(found, ([, path]) => join(dirname(file), path).replaceAll('\\', '/'));
}

function filesIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name).replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.ts'));
}

/** All arrows from these files that a rule does not allow. */
function wrong(files: readonly string[], allowed: (from: string, to: string) => boolean): string[] {
  expect(files.length).toBeGreaterThan(0);
  return files.flatMap((from) =>
    importsOf(from)
      .filter((to) => !allowed(from, to))
      .map((to) => `${from} -> ${to}`),
  );
}

test('in src/, from the command line down to files', () => {
  const FLOORS = ['src/cli.ts', 'src/index.ts', 'src/commands/', 'src/engine/', 'src/format/', 'src/files/'];
  const floorOf = (file: string): number => FLOORS.findIndex((floor) => file.startsWith(floor));
  const files = filesIn('src');
  expect(files.filter((file) => floorOf(file) < 0)).toEqual([]);
  const allowed = (from: string, to: string): boolean =>
    to === DOOR ||
    (to === 'cuda/node/addon.d.ts' && from === 'src/engine/native.ts') ||
    (floorOf(to) >= floorOf(from) && to !== from);
  expect(wrong(files, allowed)).toEqual([]);
});

test('into spec/ through its door, and out of it never', () => {
  expect(wrong(filesIn('spec'), (_, to) => to.startsWith('spec/'))).toEqual([]);
  // The study measures what the encoder is made of.
  const measured = filesIn('bench').filter((file) => !file.startsWith('bench/study/'));
  const users = [...measured, ...filesIn('demo'), 'cuda/node/addon.d.ts'];
  expect(wrong(users, (_, to) => !to.startsWith('spec/') || to === DOOR)).toEqual([]);
});

test('the types of the addon need no engine', () => {
  expect(wrong(['cuda/node/addon.d.ts'], (_, to) => to === DOOR)).toEqual([]);
});

test('the decoder imports its own files, errors and tables, and nothing else', () => {
  const outside = filesIn('spec/decoder').flatMap((name) =>
    importsOf(name).filter((imported) => !imported.startsWith('spec/decoder/')),
  );
  expect([...new Set(outside)].sort()).toEqual(['spec/errors.ts', 'spec/tables.json']);
});

test('the encoder imports the decoder, its own files, and tables', () => {
  const outside = filesIn('spec/encoder').flatMap((name) =>
    importsOf(name).filter((imported) => !/^spec\/(decoder|encoder)\//.test(imported)),
  );
  expect([...new Set(outside)]).toEqual(['spec/tables.json']);
});

test('the decoder has at most 1150 lines of code', () => {
  const lines = filesIn('spec/decoder')
    .flatMap((name) => textOf(name).split('\n'))
    .filter((line) => !/^\s*($|\/\/|\/\*\*|\*)/.test(line));
  expect(lines.length).toBeGreaterThan(500);
  expect(lines.length).toBeLessThanOrEqual(1150);
});

test('sections of FORMAT.md and files have the same numbers', () => {
  const document = textOf('spec/FORMAT.md');
  const numbered = filesIn('spec/decoder').flatMap((name) => /^[\d.]+(?=-)/.exec(basename(name)) ?? []);
  for (const number of numbered) expect(document).toMatch(new RegExp(`^##+ ${number.replace('.', '\\.')}\\.? `, 'm'));
  const annex = filesIn('spec/encoder').flatMap((name) => /^a(\d+)(?=-)/.exec(basename(name))?.[1] ?? []);
  for (const number of annex) expect(document).toContain(`**A.${number} `);
});
