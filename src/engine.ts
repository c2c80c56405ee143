// The codec as worker threads call it. All that takes time goes through here, and nothing else of the product does.

import { decodeTileRows } from '../spec/decode.ts';
import { encodeSlice, encodeTensor } from '../spec/encode.ts';
import { gather } from '../spec/statistics.ts';

/** The functions of the reference codec, which say what each does. */
export interface Engine {
  readonly gather: typeof gather;
  readonly encodeSlice: typeof encodeSlice;
  readonly encodeTensor: typeof encodeTensor;
  readonly decodeTileRows: typeof decodeTileRows;
}

export const engine: Engine = { gather, encodeSlice, encodeTensor, decodeTileRows };
