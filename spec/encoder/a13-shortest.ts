// FORMAT.md, A.13: small is larger than no other profile.

import { type EncodeOptions, leavesChoice, PROFILES } from './options.ts';

/** With which options a tensor is encoded beside its own, of which it takes the shortest stream: those of other profiles. */
export function otherOptions(options: EncodeOptions): readonly EncodeOptions[] {
  const { profile: own = 'small' } = options;
  if (own !== 'small' || !leavesChoice(options)) return [];
  return PROFILES.filter((profile) => profile !== own).map((profile) => ({ ...options, profile }));
}
