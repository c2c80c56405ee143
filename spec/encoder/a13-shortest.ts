// FORMAT.md, A.13: small is larger than no other profile.

import type { Source } from './a2-layout.ts';
import { type EncodeOptions, leavesChoice, PROFILES } from './options.ts';

/** Of tensors of fewer words, small tries all profiles. */
const TRIED_BELOW_WORDS = 2 ** 17;

/** The options of which the shortest stream is taken, the first of equals: those of each profile that is tried. */
export function triedOptions({ matrix, base }: Source, options: EncodeOptions): readonly EncodeOptions[] {
  const { profile = 'small' } = options;
  if (profile !== 'small' || base || !leavesChoice(options) || matrix.words >= TRIED_BELOW_WORDS) return [options];
  return PROFILES.map((tried) => ({ ...options, profile: tried }));
}
