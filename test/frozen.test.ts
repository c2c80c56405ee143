// Vectors of a version that was declared stable stay as they were, for ever (`npm run freeze`). None is frozen yet.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { freeze, frozenVersions, thawed } from '../golden/freeze.ts';
import { committedFiles } from '../golden/generate.ts';

test('all that is frozen is as it was', () => {
  const files = committedFiles();
  for (const [version, frozen] of frozenVersions()) expect(thawed(frozen, files), version).toEqual([]);
});

describe('a set that is made up', () => {
  const files = new Map(Object.entries({ 'stream/a.cllm': 'a', 'input/a.bin': 'b', 'manifest.json': '{}' }));
  const bytesOf = (texts: Map<string, string>) => new Map([...texts].map(([name, text]) => [name, Buffer.from(text)]));
  const frozen = freeze(bytesOf(files));

  test('may get company, and its manifest may grow', () => {
    const more = new Map([...files, ['stream/b.cllm', 'c'], ['manifest.json', '{"b":1}']]);
    expect(thawed(frozen, bytesOf(more))).toEqual([]);
  });

  test('may not change', () => {
    expect(thawed(frozen, bytesOf(new Map([...files, ['stream/a.cllm', 'x']])))).toEqual(['changed: stream/a.cllm']);
  });

  test('may not go', () => {
    const fewer = new Map([...files].filter(([name]) => name !== 'input/a.bin'));
    expect(thawed(frozen, bytesOf(fewer))).toEqual(['missing: input/a.bin']);
  });

  test('is read from its file', () => {
    const folder = mkdtempSync(join(tmpdir(), 'codecllm-frozen-'));
    try {
      writeFileSync(join(folder, '1.json'), JSON.stringify(frozen));
      expect(frozenVersions(pathToFileURL(`${folder}/`))).toEqual([['1.json', frozen]]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
