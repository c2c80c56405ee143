// Scripts of Python that measure what Node cannot.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { fromRoot } from '../src/files/root.ts';

/** A script may take so long: a model's losses, on one thread. */
const MINUTES = 20;

/**
 * Runs a script of this repository with the Python that PYTHON names.
 *
 * @param request what it reads, as JSON
 * @returns what it printed, or why it could not
 */
export function runPython(
  script: string,
  request: object,
  ...args: readonly string[]
): { printed: string; problem?: undefined } | { printed?: undefined; problem: string } {
  const { error, status, stdout, stderr } = spawnSync(
    process.env.PYTHON ?? 'python3',
    [fileURLToPath(fromRoot(script)), ...args],
    { input: JSON.stringify(request), encoding: 'utf8', timeout: MINUTES * 60_000 },
  );
  if (!error && status === 0) return { printed: stdout };
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT')
    return { problem: `it took more than ${MINUTES} minutes` };
  return { problem: error?.message ?? stderr.trim().split('\n').at(-1) ?? `it ended with ${status}` };
}
