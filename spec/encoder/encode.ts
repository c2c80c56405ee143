// The encoder. FORMAT.md's annex A says what it decides, and each file of this folder executes the part whose number it
// has; this one puts them together. planes.ts, rans.ts, raw.ts,
// direct.ts and front.ts undo what a decoder does.
//
// All decisions are integer arithmetic, and ties go to what comes first, so that another encoder that counts alike
// writes the same bytes.

import { layOut, tilesOf, wordsOfTile } from './a2-layout.ts';
import { levelsOf } from './a4-levels.ts';
import { chooseWindows, wishesOf } from './a5-windows.ts';
import { binRowsAndColumns, countSymbols } from './a6-counts.ts';
import { chooseTables } from './a8-tables.ts';
import { encodeTile } from './a9-tiles.ts';
import { surveyColumns } from './a10-columns.ts';
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
  const { source, surveyed } = surveyColumns(layOut(data, dtype, shape, options), options);
  const levels = levelsOf(source);
  const windows = chooseWindows(source, surveyed, levels.columns, options);
  const forced = options.modes !== undefined;
  const wishes = wishesOf(source, surveyed, windows, forced);
  const bins = binRowsAndColumns(source, levels, windows, options);
  const counts = countSymbols(source, surveyed, windows, wishes, bins, forced);
  const header = chooseTables(source, surveyed, windows, wishes, bins, counts, options);

  const tiles = tilesOf(source).map((tile, index) =>
    encodeTile(header, tile, wordsOfTile(source, tile), wishes[index], forced),
  );
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
