// What all work on files shares.

import type { Pool } from './pool.ts';

export interface Work {
  readonly pool: Pool;
  /** To be told of every so many bytes of input that are done. */
  readonly onProgress: (bytes: number) => void;
}
