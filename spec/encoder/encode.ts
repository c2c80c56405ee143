// The encoder. FORMAT.md's annex A says what it decides, and each file of this folder executes the part whose number it
// has; this one puts them together. planes.ts, rans.ts, raw.ts,
// direct.ts and front.ts undo what a decoder does.
//
// All decisions are integer arithmetic, and ties go to what comes first, so that another encoder that counts alike
// writes the same bytes.

import type { Header } from '../decoder/1-front.ts';
import { baseTile } from '../decoder/3.2-base.ts';
import { Mode } from '../decoder/4-metadata.ts';
import { layOut, type Source, tilesOf, wordsOfTile } from './a2-layout.ts';
import { levelsOf } from './a4-levels.ts';
import { chooseWindows, type Wish, wishesOf } from './a5-windows.ts';
import { binRowsAndColumns, countSymbols } from './a6-counts.ts';
import { chooseTables } from './a8-tables.ts';
import { type EncodedTile, encodeTile } from './a9-tiles.ts';
import { surveyColumns } from './a10-columns.ts';
import { countDifferences, splitOfBytes } from './a11-base.ts';
import { otherOptions } from './a13-shortest.ts';
import { writeFront } from './front.ts';
import type { EncodeOptions } from './options.ts';

/**
 * Encodes a tensor.
 *
 * @param data little-endian elements in C order
 * @param dtype a dtype's name as safetensors gives it
 * @param shape in elements, outermost dimension first
 * @returns the stream
 * @throws TypeError for an unknown dtype, RangeError for a shape, bytes or options that the format does not have
 */
export function encodeTensor(
  data: Uint8Array,
  dtype: string,
  shape: readonly number[],
  options: EncodeOptions = {},
): Uint8Array {
  const laidOut = layOut(data, dtype, shape, options);
  if (laidOut.base) return streamOf(decideAgainstBase(laidOut, options));
  const streams = [options, ...otherOptions(options)].map((tried) => streamOf(decide(laidOut, tried)));
  return streams.reduce((shortest, stream) => (stream.length < shortest.length ? stream : shortest));
}

/** The stream of a tensor of which all is decided. */
function streamOf({ source, header, wishes, forced }: Decisions): Uint8Array {
  const tiles = tilesOf(source).map((tile, index) => {
    const base = source.base && baseTile(source.matrix, source.base, tile);
    const words = base ? baseTile(source.matrix, source.words, tile) : wordsOfTile(source, tile);
    return encodeTile(header, tile, words, wishes[index], forced, base);
  });
  return joinStream(header, tiles);
}

/** The stream that tiles make, in order. */
export function joinStream(header: Header, tiles: readonly EncodedTile[]): Uint8Array {
  let dataBytes = 0;
  const metadata = tiles.map(({ check, planes, data: { length } }) => {
    const offset = dataBytes;
    dataBytes += length;
    return { offset, check, planes };
  });
  const front = writeFront(header, metadata, dataBytes);
  const stream = new Uint8Array(front.length + dataBytes);
  stream.set(front);
  tiles.forEach((tile, index) => {
    stream.set(tile.data, front.length + metadata[index].offset);
  });
  return stream;
}

/** What is said once for all tiles, and what each plane of each tile is wished for. */
interface Decisions {
  /** If columns have values, with coded words. */
  readonly source: Source;
  readonly header: Header;
  readonly wishes: readonly (readonly Wish[])[];
  /** Whether modes are. */
  readonly forced: boolean;
}

function decide(laidOut: Source, options: EncodeOptions): Decisions {
  const { source, surveyed } = surveyColumns(laidOut, options);
  const levels = levelsOf(source);
  const windows = chooseWindows(source, surveyed, levels.columns, options);
  const forced = options.modes !== undefined;
  const wishes = wishesOf(source, surveyed, windows, forced);
  const bins = binRowsAndColumns(source, levels, windows, options);
  const counts = countSymbols(source, surveyed, windows, wishes, bins, forced);
  const header = chooseTables(source, surveyed, windows, wishes, bins, counts, options);
  return { source, header, wishes, forced };
}

/** The same against a base (A.11): nothing is surveyed. */
function decideAgainstBase(source: Source, options: EncodeOptions): Decisions {
  const split = splitOfBytes(source.dtype);
  const surveyed = { split, choices: tilesOf(source).map(() => split.map(() => 0)) };
  const wishes = surveyed.choices.map((planes) => planes.map(() => ({ mode: Mode.RANS, predictor: 0 })));
  const header = chooseTables(source, surveyed, undefined, wishes, undefined, countDifferences(source), options);
  return { source, header, wishes, forced: false };
}
