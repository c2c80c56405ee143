// Runs all of attacks/.

import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { Attack, Product } from '../attacks/attack.ts';
import { inDirectory } from './checkpoint.ts';

// Worker threads run what is built.
const product: Product = await import(/* @vite-ignore */ new URL('../dist/src/index.js', import.meta.url).href);

const scripts: Readonly<Record<string, () => Promise<{ attack: Attack }>>> = {
  flips: () => import('../attacks/flips.ts'),
  headers: () => import('../attacks/headers.ts'),
  killed: () => import('../attacks/killed.ts'),
  truncated: () => import('../attacks/truncated.ts'),
};

test('all scripts are run', () => {
  const files = readdirSync(fileURLToPath(new URL('../attacks', import.meta.url)));
  const names = files.filter((name) => name.endsWith('.ts') && name !== 'attack.ts');
  expect(names.sort()).toEqual(Object.keys(scripts).map((name) => `${name}.ts`));
});

test.each(Object.entries(scripts))('%s', { timeout: 120_000 }, async (_, load) => {
  const { attack } = await load();
  await inDirectory((directory) => attack(directory, product));
});
