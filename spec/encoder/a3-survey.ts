// FORMAT.md, annex A.3: which split a tensor gets, and what each plane of each tile would best be coded as.

import type { Tile } from '../decoder/2-matrix.ts';
import { isNibbles, type Split, zeroSymbol } from '../decoder/3-planes.ts';
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
  const { split, choices, cost } =
    second !== undefined && second.cost + Math.floor(second.cost / parts) < first.cost ? second : first;
  const forced = modes?.map((mode) => (mode === 'raw' ? RAW : predictorOf(mode)));
  return { split, choices: forced === undefined ? choices : choices.map(() => forced), cost };
}

function surveyAs(source: Source, split: Split, profile: Profile): Survey {
  const zero = zeroSymbol(source.dtype);
  const found = tilesOf(source).map((tile) =>
    cutPlanes(source.dtype, split, wordsOfTile(source, tile)).map((symbols, p) => {
      const later = isNibbles(split) ? 256 : MINIMUM_SAVING[profile];
      const predictors = split[p] === 8 && profile !== 'direct' ? tables.predictors.length : 1;
      return surveyPlane(symbols, tile, split[p], zero, predictors, p === 0 ? 1 : later);
    }),
  );
  const isPredicted = split.map((_, p) => predicts(found.map((planes) => planes[p])));
  const taken = found.map((planes) => planes.map((plane, p) => (isPredicted[p] ? plane.best : plane.unpredicted)));
  return {
    split,
    choices: taken.map((planes) => planes.map(({ predictor }) => predictor)),
    cost: taken.flat().reduce((sum, { cost }) => sum + cost, 0),
  };
}

/** What a plane of a tile may be: a predictor or RAW, and what that costs the sample. */
interface Choice {
  readonly predictor: number;
  readonly cost: number;
}

interface SurveyedPlane {
  readonly best: Choice;
  /** Without prediction. */
  readonly unpredicted: Choice;
  /** Symbols in the sample. */
  readonly sampled: number;
}

/**
 * Whether tiles of a plane are predicted: residuals lie elsewhere than symbols, and to share tables with them costs up
 * to what telling them apart would. Classes may lower that; so half of it has to be saved.
 */
function predicts(tiles: readonly SurveyedPlane[]): boolean {
  let saved = 0;
  const symbols = [0, 0];
  for (const { best, unpredicted, sampled } of tiles) {
    saved += unpredicted.cost - best.cost;
    if (best.predictor !== RAW) symbols[best.predictor === 0 ? 0 : 1] += sampled;
  }
  return 2 * saved > entropyCost(symbols);
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

/** What coding the sampled symbols costs, if each is what `symbolAt` says. */
function estimate(
  rows: readonly number[],
  width: number,
  bits: number,
  symbolAt: (i: number, j: number) => number,
): number {
  const counts = new Uint32Array(2 ** bits);
  for (const i of rows) for (let j = 0; j < width; j++) counts[symbolAt(i, j)]++;
  const seen = counts.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0);
  return entropyCost(counts) + (seen - 1) * BIAS;
}

/**
 * The predictor, of the first `predictors`, that codes a plane of a tile best: another than NONE if it saves more than
 * 1/32 and 64 bits; RAW if even so less than `minimumSaving` 256ths are saved.
 */
function surveyPlane(
  symbols: Uint16Array,
  { height, width }: Tile,
  bits: number,
  zero: number,
  predictors: number,
  minimumSaving: number,
): SurveyedPlane {
  const rows = sampledRows(height);
  const costs = [estimate(rows, width, bits, (i, j) => symbols[i * width + j])];
  for (let predictor = 1; predictor < predictors; predictor++)
    costs.push(estimate(rows, width, bits, (i, j) => residual(predictor, symbols, width, i, j, zero)));
  let best = costs.indexOf(Math.min(...costs));
  if (costs[best] + Math.floor(costs[0] / 32) + 64 * BIT >= costs[0]) best = 0;
  const sampled = rows.length * width;
  const raw = sampled * bits * BIT;
  const orRaw = (predictor: number): Choice =>
    costs[predictor] * 256 > raw * (256 - minimumSaving)
      ? { predictor: RAW, cost: raw }
      : { predictor, cost: costs[predictor] };
  return { best: orRaw(best), unpredicted: orRaw(0), sampled };
}
