// Batches of streams that all codecs are asked about: some of the encoder, some drawn, and mutants of both.

import { encodeTensor } from '../../spec/index.ts';
import { Draw, type Drawn, drawStream, drawTensor } from './draw.ts';
import { MOST_BYTES, mutantOf } from './mutants.ts';
import { type Entry, judged } from './pack.ts';

/** Streams of a batch. */
export const BATCH = 2000;
const ENCODED = 20;
const DRAWN = 180;
/** Words of most tensors, and of some. */
const [FEW, MANY] = [150, 4000];

/** A batch: the same number gives the same one. */
export function batchOf(number: number): Entry[] {
  const draw = new Draw(number);
  const entries = Array.from({ length: ENCODED }, (_, index): Entry => {
    const { dtype, shape, bytes, options } = drawTensor(draw, draw.one(10) ? MANY : FEW);
    const stream = encodeTensor(bytes, dtype, shape, options);
    return { name: `${number}/${index}`, kind: 0, stream, bytes, options, base: options.base };
  });
  const add = ({ stream, base }: Drawn): void => {
    try {
      entries.push(judged(`${number}/${entries.length}`, stream, base, MOST_BYTES));
    } catch (error) {
      // Of a mutant that says that it is larger, nobody is asked.
      if (!(error instanceof RangeError)) throw error;
    }
  };
  while (entries.length < ENCODED + DRAWN) add(drawStream(draw, draw.one(40) ? MANY : FEW));
  const sources = entries.filter(({ stream }) => stream.length < 3000);
  while (entries.length < BATCH) {
    const { stream, base } = draw.pick(sources);
    add(mutantOf(draw, { stream, base }));
  }
  return entries;
}
