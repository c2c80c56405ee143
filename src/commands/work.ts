// What all work on files shares.

import type { Engine } from '../engine/engine.ts';
import type { Bases } from './bases.ts';

export interface Work {
  readonly engine: Engine;
  readonly bases: Bases;
  /** To be told of every so many bytes of input that are done. */
  readonly onProgress: (bytes: number) => void;
}
