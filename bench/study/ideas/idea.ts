// An idea: how many bits it takes for a sample, and what it asks of a GPU that decodes it.

import type { Sample } from '../samples.ts';

export interface Idea {
  readonly name: string;
  /** What a GPU's decoder has to do more, or less. */
  readonly gpu: string;
  /** Bits of the whole sample; undefined where the idea is none for it. `all`: the samples of its kind. */
  bits(sample: Sample, all: readonly Sample[]): number | undefined;
}

export interface Chapter {
  readonly title: string;
  /** What all ideas of the chapter are compared with. */
  readonly base: Idea;
  readonly ideas: readonly Idea[];
}

const known = new WeakMap<Sample, Map<Idea, number | undefined>>();

/** What the idea takes for the sample; measured once, as most ideas of a chapter are compared with one. */
function bitsOf(idea: Idea, sample: Sample, all: readonly Sample[]): number | undefined {
  const ofSample = known.get(sample) ?? new Map<Idea, number | undefined>();
  known.set(sample, ofSample);
  if (!ofSample.has(idea)) ofSample.set(idea, idea.bits(sample, all));
  return ofSample.get(idea);
}

/** Bits a weight over the samples for which there is the idea, and of the base over the same. */
export function measure(
  idea: Idea,
  base: Idea,
  samples: readonly Sample[],
): { bits: number; base: number } | undefined {
  let [bits, baseBits, weights] = [0, 0, 0];
  for (const sample of samples) {
    const its = bitsOf(idea, sample, samples);
    const bases = bitsOf(base, sample, samples);
    if (its === undefined || bases === undefined) continue;
    bits += its;
    baseBits += bases;
    weights += sample.rows * sample.columns;
  }
  return weights === 0 ? undefined : { bits: bits / weights, base: baseBits / weights };
}
