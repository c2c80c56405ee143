// Runs all of attacks/.

import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'vitest';
import type { Attack, IsPossible, Product } from '../attacks/attack.ts';
import { inDirectory } from './checkpoint.ts';

// Worker threads run what is built.
const product: Product = await import(/* @vite-ignore */ new URL('../dist/src/index.js', import.meta.url).href);

/** What all scripts use. */
const SHARED = ['attack.ts', 'run.ts'];
const folder = fileURLToPath(new URL('../attacks', import.meta.url));
const scripts = readdirSync(folder).filter((name) => name.endsWith('.ts') && !SHARED.includes(name));

for (const name of scripts) {
  const { attack, isPossible = () => true }: { attack: Attack; isPossible?: IsPossible } = await import(
    /* @vite-ignore */ `../attacks/${name}`
  );
  test.skipIf(!isPossible(product))(name.slice(0, -3), { timeout: 120_000 }, () =>
    inDirectory((directory) => attack(directory, product)),
  );
}
