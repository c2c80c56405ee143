// What the files of a directory are called in the output.

import { dirname } from 'node:path';
import type { Entry } from '../files/directory.ts';
import { restoredName } from '../files/names.ts';
import type { FileReport } from './report.ts';

export interface Arrangement {
  /** @returns the name that a file gets, from the top of the output; undefined: it is left out */
  readonly nameOf: (name: string) => string | undefined;
  /** The names of what is written beside them, */
  readonly added: readonly string[];
  /** and the texts, when all checkpoints are there. */
  readonly textOf: (name: string, checkpoints: readonly FileReport[]) => string;
}

export const AS_IT_IS: Arrangement = { nameOf: (name) => name, added: [], textOf: () => '' };

/**
 * X.codecllm.safetensors becomes X.safetensors again, as it was before it was compressed alone; not where an index or a link
 * may know it by its name, or another has the one that it would get.
 */
export function withOriginalNames(entries: readonly Entry[], arrangement: Arrangement): Arrangement {
  const names = new Set(entries.map(({ name }) => name));
  const isKnown = (name: string): boolean =>
    entries.some(
      (entry) => entry.kind === 'link' || (entry.name.endsWith('.index.json') && dirname(entry.name) === dirname(name)),
    );
  const nameOf = (name: string): string | undefined => {
    const restored = restoredName(name, false);
    return restored === undefined || names.has(restored) || isKnown(name) ? arrangement.nameOf(name) : restored;
  };
  return { ...arrangement, nameOf };
}
