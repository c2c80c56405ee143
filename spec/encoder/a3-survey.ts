// FORMAT.md, annex A.3: which split a tensor gets, and what each plane of each tile would best be coded as.

import type { Tile } from '../decoder/2-matrix.ts';
import { allowsPairs, type Dtype, isNibbles, type Split, zeroSymbol } from '../decoder/3-planes.ts';
import tables from '../tables.json' with { type: 'json' };
import { BIT, entropyCost } from './a1-logarithm.ts';
import { type Source, tilesOf, wordsOfTile } from './a2-layout.ts';
import { type EncodeOptions, type Profile, predictorOf, profileFor } from './options.ts';
import { cutPlanes, residual } from './planes.ts';

/** What the survey says of a plane of a tile that is not worth coding; else it says a predictor. */
export const RAW = -1;

export interface Survey {
  readonly split: Split;
  /** For each tile, for each plane: a predictor, or RAW. */
  readonly choices: readonly (readonly number[])[];
  /** What coding the sampled symbols costs, before modes are forced. */
  readonly cost: number;
}

/**
 * A later plane is coded only if that saves so many 256ths of it: what its states and the payload of the plane before it
 * take, and what an estimate may be wrong by; fast decoders would rather copy bits.
 */
const MINIMUM_SAVING: Record<Profile, number> = { small: 4, fast: 16, direct: 16 };

/**
 * The second split has to win by one part of so many: estimates are that good, and 4 + 4, which halves a decoder's steps,
 * may cost it. In small, 8 bits have to make up for final states that carry nothing, and for estimates of 256 symbols.
 */
const PARTS = 32;
const PARTS_OF_BYTES_IN_SMALL = 96;

/** So many rows of a tile are sampled, or all. */
const SAMPLED_ROWS = 8;

/** Half a nat, in units: an entropy estimated from counts is low by so much for each symbol seen but one (Miller 1955). */
const BIAS = 2955;

/** What classes of rows and columns may save of a symbol that is not predicted, which a survey does not see: 1/4 bit. */
const UNSEEN = BIT / 4;

/**
 * Surveys a tensor. Modes that are forced are what it says.
 *
 * @param splits one or two to choose from, in the order in which they are tried
 */
export function survey(source: Source, splits: readonly Split[], options: EncodeOptions): Survey {
  const { modes } = options;
  const profile = profileFor(source.dtype, options);
  const [first, second] = splits.map((split) => surveyAs(source, split, profile));
  const parts = profile === 'small' && source.dtype.wordBits === 8 ? PARTS_OF_BYTES_IN_SMALL : PARTS;
  const best = second !== undefined && second.cost + Math.floor(second.cost / parts) < first.cost ? second : first;
  const forced = modes?.map((mode) => (mode === 'raw' ? RAW : predictorOf(mode)));
  return forced === undefined ? best : { ...best, choices: best.choices.map(() => forced) };
}

function surveyAs(source: Source, split: Split, profile: Profile): Survey {
  const { dtype } = source;
  const tiles = tilesOf(source);
  const cut = tiles.map((tile) => cutPlanes(dtype, split, wordsOfTile(source, tile)));
  const surveyed = split.map((bits, p) => {
    const later = isNibbles(split) ? 256 : MINIMUM_SAVING[profile];
    const planes = tiles.map((tile, index) => ({ tile, symbols: cut[index][p] }));
    const predictors = Array.from({ length: predictorCount(dtype, split, p, profile) }, (_, predictor) =>
      surveyPlane(planes, bits, zeroSymbol(dtype), predictor, p === 0 ? 1 : later),
    );
    return predictors.reduce((best, next) => (next.costTogether < best.costTogether ? next : best));
  });
  return {
    split,
    choices: tiles.map((_, index) => surveyed.map(({ choices }) => choices[index])),
    cost: surveyed.reduce((sum, { cost }) => sum + cost, 0),
  };
}

/** How many predictors a plane may have, of the first: NONE alone, if it is not of 8 bits, or preferred as PAIRS or DIRECT. */
function predictorCount(dtype: Dtype, split: Split, p: number, profile: Profile): number {
  const hasPairs = profile === 'fast' && p === 0 && allowsPairs(dtype, split);
  return split[p] === 8 && !hasPairs && profile !== 'direct' ? tables.predictors.length : 1;
}

/** One of so many rows of a tile is sampled. */
export function rowStep(height: number): number {
  return Math.max(1, Math.floor(height / SAMPLED_ROWS));
}

/** The rows that are sampled: one of every `step`; which one differs, lest the sample fall in step with a pattern. */
function sampledRows(height: number): number[] {
  const step = rowStep(height);
  return Array.from({ length: Math.floor(height / step) }, (_, k) => step * k + ((5 * k + 3) % step));
}

/** What a plane of all tiles is if it has this predictor. */
interface SurveyedPlane {
  /** For each tile: the predictor, or RAW. */
  readonly choices: readonly number[];
  /** What the samples cost, each tile by itself. */
  readonly cost: number;
  /** What they cost with a table for all of them, which is what tells predictors apart. */
  readonly costTogether: number;
}

/** Surveys a plane of all tiles; RAW if less than `minimumSaving` 256ths are saved. */
function surveyPlane(
  planes: readonly { readonly tile: Tile; readonly symbols: Uint16Array }[],
  bits: number,
  zero: number,
  predictor: number,
  minimumSaving: number,
): SurveyedPlane {
  const all = new Float64Array(2 ** bits);
  let [cost, rawCost] = [0, 0];
  const choices = planes.map(({ tile, symbols }) => {
    const { width } = tile;
    const counts = countSample(tile, bits, (i, j) =>
      predictor === 0 ? symbols[i * width + j] : residual(predictor, symbols, width, i, j, zero),
    );
    const raw = sampledRows(tile.height).length * width * bits * BIT;
    const coded = entropyCost(counts) + (distinct(counts) - 1) * BIAS;
    const isRaw = coded * 256 > raw * (256 - minimumSaving);
    cost += isRaw ? raw : coded;
    if (isRaw) rawCost += raw;
    else
      counts.forEach((count, symbol) => {
        all[symbol] += count;
      });
    return isRaw ? RAW : predictor;
  });
  const coded = all.reduce((sum, count) => sum + count, 0);
  const together = entropyCost(all) + distinct(all) * BIAS + (predictor > 0 ? coded * UNSEEN : 0);
  return { choices, cost, costTogether: together + rawCost };
}

/** How often each symbol occurs in the sampled rows of a tile. */
function countSample({ height, width }: Tile, bits: number, symbolAt: (i: number, j: number) => number): Float64Array {
  const counts = new Float64Array(2 ** bits);
  for (const i of sampledRows(height)) for (let j = 0; j < width; j++) counts[symbolAt(i, j)]++;
  return counts;
}

const distinct = (counts: Float64Array): number => counts.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0);
