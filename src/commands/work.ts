// What all work on files shares.

import type { Engine } from '../engine/engine.ts';

export interface Work {
  readonly engine: Engine;
  /** To be told of every so many bytes of input that are done. */
  readonly onProgress: (bytes: number) => void;
}
