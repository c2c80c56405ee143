// FORMAT.md, A.13: small is larger than no other profile.

import type { Source } from './a2-layout.ts';
import type { Survey } from './a3-survey.ts';
import { type EncodeOptions, leavesChoice, PROFILES } from './options.ts';

/** Tensors of fewer words are encoded in all profiles, and larger ones that are not plain. */
const TRIED_BELOW_WORDS = 2 ** 17;

/** With which options a tensor is encoded beside its own, of which it takes the shortest stream: those of other profiles. */
export function otherOptions(
  { matrix }: Source,
  options: EncodeOptions,
  { isPlain }: Pick<Survey, 'isPlain'>,
): readonly EncodeOptions[] {
  const { profile: own = 'small' } = options;
  const isTried = own === 'small' && leavesChoice(options) && (matrix.words < TRIED_BELOW_WORDS || !isPlain);
  return isTried ? PROFILES.filter((profile) => profile !== own).map((profile) => ({ ...options, profile })) : [];
}
