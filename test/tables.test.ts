import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

test('what C++ and Python have of spec/tables.json is what the generator makes of it', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['tools/generate-tables.mjs', '--check'], {
    encoding: 'utf8',
  });
  expect(stdout + stderr).toBe('');
  expect(status).toBe(0);
});
