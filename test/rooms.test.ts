// The specification's folders: decoder/ can be read beside FORMAT.md, without the encoder and in an afternoon.

import { readdirSync, readFileSync } from 'node:fs';
import { basename, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SPEC = fileURLToPath(new URL('../spec', import.meta.url));

const textOf = (name: string): string => readFileSync(`${SPEC}/${name}`, 'utf8');

const filesOf = (folder: string): string[] => readdirSync(`${SPEC}/${folder}`).map((name) => `${folder}/${name}`);

/** The files that a file imports, as paths from spec/. */
function importsOf(name: string): string[] {
  const found = textOf(name).matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'([^']+)'/g);
  return [...found].map(([, specifier]) => {
    if (!specifier.startsWith('.')) return specifier;
    return relative(SPEC, fileURLToPath(new URL(specifier, `file://${SPEC}/${name}`)));
  });
}

test('the decoder imports its own files, errors and tables, and nothing else', () => {
  const outside = filesOf('decoder').flatMap((name) =>
    importsOf(name).filter((imported) => !imported.startsWith('decoder/')),
  );
  expect([...new Set(outside)].sort()).toEqual(['errors.ts', 'tables.json']);
});

test('the encoder imports the decoder, its own files, and tables', () => {
  const outside = filesOf('encoder').flatMap((name) =>
    importsOf(name).filter((imported) => !/^(decoder|encoder)\//.test(imported)),
  );
  expect([...new Set(outside)]).toEqual(['tables.json']);
});

test('the decoder has at most 900 lines of code', () => {
  const lines = filesOf('decoder')
    .flatMap((name) => textOf(name).split('\n'))
    .filter((line) => !/^\s*($|\/\/|\/\*\*|\*)/.test(line));
  expect(lines.length).toBeGreaterThan(500);
  expect(lines.length).toBeLessThanOrEqual(900);
});

test('sections of FORMAT.md and files have the same numbers', () => {
  const document = textOf('FORMAT.md');
  const numbered = filesOf('decoder').flatMap((name) => /^[\d.]+(?=-)/.exec(basename(name)) ?? []);
  for (const number of numbered) expect(document).toMatch(new RegExp(`^##+ ${number.replace('.', '\\.')}\\.? `, 'm'));
  const annex = filesOf('encoder').flatMap((name) => /^a(\d)(?=-)/.exec(basename(name))?.[1] ?? []);
  for (const number of annex) expect(document).toContain(`**A.${number} `);
});
