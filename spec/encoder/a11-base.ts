// FORMAT.md, annex A.11: a tensor against a base. Its planes, what counts of them, and the classes of levels.

import { baseTile, differenceOf, LEVELS, levelOf } from '../decoder/3.2-base.ts';
import type { Dtype, Split } from '../decoder/3-planes.ts';
import { PAIR_BITS } from '../decoder/6.1-tables.ts';
import { type Source, tilesOf } from './a2-layout.ts';
import type { Counts } from './a6-counts.ts';
import { isConstant } from './planes.ts';

/** At most one element of so many is long. */
const LONG_ONE_OF = 256;

/** So many changes are listed: 8 states of 4 bytes, and units, take more. */
const LISTED = 16;

/** The split of a dtype against a base: bytes. */
export function splitOfBytes({ splits }: Dtype): Split {
  return splits.find((split) => split.every((bits) => bits === 8)) as Split;
}

/** The planes of a tile's differences, and the elements that become outliers before anything is coded. */
export interface Differences {
  readonly planes: readonly Uint16Array[];
  readonly listed: readonly number[];
}

/** @param words @param base height x width each */
export function cutDifferences(dtype: Dtype, words: Uint32Array, base: Uint32Array): Differences {
  const differences = Array.from(words, (word, at) => differenceOf(dtype, base[at], word));
  const planes = Array.from({ length: dtype.wordBits / 8 }, (_, p) =>
    Uint16Array.from(differences, (difference) => Math.floor(difference / 256 ** p) % 256),
  );
  const places = [...differences.keys()];
  const changed = places.filter((at) => differences[at] !== 0);
  const long = dtype.wordBits === 16 ? places.filter((at) => planes[1][at] !== 0) : [];
  const listed = changed.length <= LISTED ? changed : long.length * LONG_ONE_OF <= words.length ? long : [];
  for (const at of listed) for (const plane of planes) plane[at] = 0;
  return { planes, listed };
}

/** The tiles' symbols by the level of the base: [level x 256 + symbol]. */
export function countDifferences({ dtype, matrix, words, base }: Source): Counts {
  const planes = splitOfBytes(dtype).map(() => new Float64Array(LEVELS * 256));
  for (const tile of tilesOf({ matrix })) {
    const before = baseTile(matrix, base as Uint32Array, tile);
    cutDifferences(dtype, baseTile(matrix, words, tile), before).planes.forEach((symbols, p) => {
      if (isConstant(symbols)) return;
      for (const [at, symbol] of symbols.entries()) planes[p][256 * levelOf(dtype, before[at]) + symbol]++;
    });
  }
  return { planes, pairs: new Float64Array(2 ** PAIR_BITS) };
}
