// What drawn streams must have, that they show what few or no vectors do: each feature in one tile at least of the pack.

import { MAX_COLUMNS, MAX_SLOTS, readFront } from '../../spec/decoder/1-front.ts';
import { tileAt } from '../../spec/decoder/2-matrix.ts';
import { areWide } from '../../spec/decoder/3.1-columns.ts';
import { isCoded, Mode, type TilePlane } from '../../spec/decoder/4-metadata.ts';
import { MAX_START } from '../../spec/decoder/6.3-pairs.ts';
import { DTYPES } from '../../spec/index.ts';
import tables from '../../spec/tables.json' with { type: 'json' };

const isPredicted = ({ predictor }: TilePlane): boolean => predictor > 0;

/** The features of a valid stream. */
export function featuresOf(stream: Uint8Array): Set<string> {
  const { dtype, shape, split, matrix, tiles, selectors, windows, ...front } = readFront(stream);
  const sets = [...front.tables, front.pairs];
  const found = new Set<string>();
  const add = (feature: string, holds = true): unknown => holds && found.add(feature);
  const { classes, rows, columns } = selectors;
  sets.forEach((set, p) => {
    const name = p < split.length ? `plane ${p}` : 'PAIRS';
    if (set !== undefined && classes > 1 && set.tables.length === classes) add(`${name}: a table a class`);
    if (set !== undefined) add(`N = ${set.probabilityBits} of ${set.symbolBits} bits`);
  });
  const slots = sets.reduce((sum, set) => sum + (set ? set.tables.length * 2 ** set.probabilityBits : 0), 0);
  add('20,480 slots', slots === MAX_SLOTS);
  add(
    'selectors that overlap',
    rows?.some((row) => columns?.some((column) => (row & column) !== 0)),
  );
  add('column values', front.columnValues !== undefined);
  add(`${dtype.name}: wide column values`, areWide(dtype, front.columnValues));
  add('2^18 columns', matrix.columns === MAX_COLUMNS);
  add('200 dimensions', shape.length >= 200);
  add('no elements', matrix.words === 0);
  if (front.base) add(`against a base, ${classes} classes`);
  tiles.forEach(({ planes }, index) => {
    const tile = tileAt(matrix, index);
    const [first, second] = planes;
    const modes = planes.map(({ mode }) => tables.modes[mode]);
    for (const mode of modes) if (modes.includes('const')) add(`CONST beside ${mode}`);
    for (let p = 2; p < planes.length; p++)
      if (planes[p].mode === Mode.RAW && planes[p - 1].mode === Mode.CONST)
        add(
          'coded, CONST, RAW',
          planes.slice(0, p - 1).some(({ mode }) => isCoded(mode)),
        );
    add('predicted, then RAW', second?.mode === Mode.RAW && isPredicted(first));
    if (first.outliers > 0 && !front.base) add(`${dtype.name}: outliers in ${tables.modes[first.mode]}`);
    add('outliers, another plane predicted', first.outliers > 0 && planes.some(isPredicted));
    add('255 outliers', first.outliers === 255);
    const hasWindows = first.mode === Mode.DIRECT || (first.mode === Mode.PAIRS && split[0] === 8);
    const starts = windows.offsets?.subarray(tile.column, tile.column + tile.width);
    add('a window at 240', hasWindows && windows.base + Math.max(0, ...(starts ?? [])) === MAX_START);
    add('offsets of other columns than the first 128', hasWindows && tile.column > 0 && starts !== undefined);
  });
  return found;
}

/** All that there have to be. */
export const FEATURES: readonly string[] = [
  ...['plane 0', 'plane 1', 'plane 2', 'plane 3', 'PAIRS'].map((name) => `${name}: a table a class`),
  ...[8, 9, 10, 11, 12].flatMap((N) => [4, 8].map((bits) => `N = ${N} of ${bits} bits`)),
  ...[8, 9, 10, 11].map((N) => `N = ${N} of 10 bits`),
  ...['20,480 slots', 'selectors that overlap', 'column values', '2^18 columns', '200 dimensions', 'no elements'],
  ...[1, 2, 4, 8].map((classes) => `against a base, ${classes} classes`),
  ...['const', 'raw', 'rans', 'pairs'].map((mode) => `CONST beside ${mode}`),
  ...['coded, CONST, RAW', 'predicted, then RAW', 'outliers, another plane predicted', '255 outliers'],
  ...['a window at 240', 'offsets of other columns than the first 128'],
  ...['F16', 'BF16'].map((name) => `${name}: wide column values`),
  ...DTYPES.map(({ name }) => `${name}: outliers in rans`),
  ...['BF16', 'U8', 'BOOL', 'I8', 'F8_E4M3', 'F8_E5M2'].map((name) => `${name}: outliers in pairs`),
  'BF16: outliers in direct',
];
