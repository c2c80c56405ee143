// What an encoder can be told. What it is not told, it decides as annex A says.

import { allowsColumnValues } from '../decoder/3.1-columns.ts';
import { allowsDirect, allowsPairs, DTYPES, type Dtype, type Split } from '../decoder/3-planes.ts';
import { MIN_PROBABILITY_BITS, maxProbabilityBits } from '../decoder/6.1-tables.ts';
import tables from '../tables.json' with { type: 'json' };

/**
 * small: fewest bytes. fast: fewest steps of a decoder, for weights that are decoded again and again. direct: none, for
 * weights that are multiplied as they lie.
 */
export type Profile = (typeof PROFILES)[number];
export const PROFILES = ['small', 'fast', 'direct'] as const;
export type ClassChoice = 'none' | 'rows2' | 'columns2' | 'rows4' | 'columns4' | 'mixed';
/** How a plane is coded: RAW, RANS with this predictor, PAIRS, or DIRECT, which both planes are or none is. */
export type ModeChoice = 'raw' | 'none' | 'left' | 'top' | 'avg' | 'planar' | 'pairs' | 'direct';

/** What is left out, the encoder chooses. */
export interface EncodeOptions {
  readonly profile?: Profile;
  /** H, rows of a tile: 8, 16, 32, 64, 128 (the default) or 256. */
  readonly tileRows?: 8 | 16 | 32 | 64 | 128 | 256;
  /** Columns of the matrix view. */
  readonly columns?: number;
  /** Bits of each plane. */
  readonly split?: Split;
  /** The mode of each plane, for every tile. */
  readonly modes?: readonly ModeChoice[];
  /** N of every table, or less where so many slots do not fit. */
  readonly probabilityBits?: number;
  readonly classes?: ClassChoice;
  /** Whether columns have offsets in PAIRS and DIRECT. */
  readonly columnOffsets?: boolean;
  /** Whether columns have values, where they may and there is a whole row; wide: those of floats have all their bits. */
  readonly columnValues?: boolean | 'wide';
  /** The elements of a base to encode against; beside it, only columns and tile rows can be chosen. */
  readonly base?: Uint8Array;
}

/** @throws TypeError where the format has no such dtype */
export function dtypeNamed(name: string): Dtype {
  const dtype = DTYPES.find((candidate) => candidate.name === name);
  if (dtype === undefined) throw new TypeError(`unknown dtype ${JSON.stringify(name)}`);
  return dtype;
}

/** The profile that a dtype is encoded in: but for BF16, direct is fast. */
export function profileFor(dtype: Dtype, { profile = 'small' }: EncodeOptions): Profile {
  return profile === 'direct' && dtype.name !== 'BF16' ? 'fast' : profile;
}

/** The predictor of a mode: none for RAW, PAIRS and DIRECT. */
export function predictorOf(mode: ModeChoice): number {
  return Math.max(0, tables.predictors.indexOf(mode));
}

/** Whether every plane of this split can be coded so. */
function allows(dtype: Dtype, split: Split, modes: readonly ModeChoice[]): boolean {
  return (
    modes.length === split.length &&
    modes.every((mode, p) => {
      if (mode === 'pairs') return p === 0 && allowsPairs(dtype, split);
      if (mode === 'direct') return allowsDirect(dtype, split) && modes.every((other) => other === 'direct');
      return mode === 'raw' || mode === 'none' || split[p] === 8;
    })
  );
}

/** The splits that the options leave to choose from, in the order in which they are tried. */
export function splitsFor(dtype: Dtype, { profile = 'small', split, modes }: EncodeOptions): readonly Split[] {
  const named = dtype.splits.filter((candidate) => split === undefined || candidate.join() === split.join());
  // 10 + 6 comes before 8 + 8 in small; 4 + 4 before 8 in every profile.
  const isInOrder = profile === 'small' && dtype.wordBits > 8;
  const preferred = isInOrder ? named : named.toReversed();
  // With forced modes there is nothing to compare: the first split that has them.
  if (modes !== undefined) return preferred.filter((candidate) => allows(dtype, candidate, modes)).slice(0, 1);
  // What cannot win is not tried: 10 + 6 in fast and direct.
  return isInOrder || dtype.wordBits === 8 ? preferred : preferred.slice(0, 1);
}

/** The splits that are tried with column values: BF16 has them as in small, or not at all in direct. */
export function splitsWithValues(dtype: Dtype, options: EncodeOptions): readonly Split[] {
  if (profileFor(dtype, options) === 'direct') return [];
  const tried = splitsFor(dtype, dtype.wordBits === 8 ? options : { ...options, profile: 'small' });
  return tried.filter((split) => allowsColumnValues(dtype, split));
}

/** Whether options leave all to the encoder but the profile, columns and tile rows. */
export function leavesChoice(options: EncodeOptions): boolean {
  const { split, modes, classes, columnOffsets, columnValues, probabilityBits } = options;
  return [split, modes, classes, columnOffsets, columnValues, probabilityBits].every((choice) => choice === undefined);
}

/** @throws RangeError for options that the format does not have for this dtype */
export function checkOptions(dtype: Dtype, options: EncodeOptions): void {
  const { split, modes, probabilityBits, base } = options;
  if (base !== undefined && !leavesChoice(options))
    throw new RangeError(
      'against a base, splits, modes, classes, column offsets, column values and probability bits cannot be chosen',
    );
  const splits = splitsFor(dtype, options);
  if (splits.length === 0)
    throw new RangeError(
      `${dtype.name} cannot be coded as ${split?.join(' + ') ?? 'any split'}${modes ? ` in modes ${modes.join(', ')}` : ''}`,
    );
  const most = Math.min(...splits.flat().map(maxProbabilityBits));
  if (probabilityBits !== undefined && !(probabilityBits >= MIN_PROBABILITY_BITS && probabilityBits <= most))
    throw new RangeError(`probability bits must be from ${MIN_PROBABILITY_BITS} to ${most}, not ${probabilityBits}`);
}
