// Transform coding: blocks of 4, 8 or 16 points along rows, along columns or both, a table for each band.

import { lengthIn, paid } from '../lengths.ts';
import { FAMILIES, type Lifting, lift, liftingOf } from '../lifting.ts';
import { centred, type Symbols, symbolsOf } from '../symbols.ts';
import type { Chapter, Idea } from './idea.ts';
import { ONE_TABLE } from './tables.ts';

type Direction = 'rows' | 'columns' | 'both';

/** Transforms all whole blocks, in place, and names the band of each element. What is left over has the last band. */
export function transform(
  values: Int32Array,
  { rows, columns }: Pick<Symbols, 'rows' | 'columns'>,
  lifting: Lifting,
  direction: Direction,
): { bands: number; bandOf: (at: number) => number } {
  const { points, bands } = lifting;
  const [along, across] = [direction !== 'columns', direction !== 'rows'];
  if (along)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j + points <= columns; j += points) lift(lifting, values, i * columns + j, 1);
  if (across)
    for (let i = 0; i + points <= rows; i += points)
      for (let j = 0; j < columns; j++) lift(lifting, values, i * columns + j, columns);
  const last = 2 * points - 1;
  const [wholeRows, wholeColumns] = [rows - (rows % points), columns - (columns % points)];
  const bandOf = (at: number): number => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    if ((along && j >= wholeColumns) || (across && i >= wholeRows)) return last;
    return (along ? bands[j % points] : 0) + (across ? bands[i % points] : 0);
  };
  return { bands: last + 1, bandOf };
}

function transformed(lifting: Lifting, direction: Direction, valuesOf: (symbols: Symbols) => Int32Array): Idea['bits'] {
  return (sample) => {
    const symbols = symbolsOf(sample);
    const values = valuesOf(symbols).slice();
    const { bands, bandOf } = transform(values, symbols, lifting, direction);
    return lengthIn(paid(sample.share), values, bands, bandOf) + values.length * symbols.rawBits;
  };
}

const IDEAS = FAMILIES.flatMap((family) =>
  [4, 8, 16].flatMap((points) =>
    (['rows', 'columns', 'both'] as const).map((direction) => {
      const lifting = liftingOf(family, points);
      const size = direction === 'both' ? `${points} x ${points}` : `${points} along ${direction}`;
      const steps = (lifting.steps.length / points) * (direction === 'both' ? 2 : 1);
      const gpu = `${steps.toFixed(1)} multiplications a weight${direction === 'columns' ? '' : ', between lanes'}`;
      return { name: `${family} ${size}`, gpu, lifting, direction };
    }),
  ),
);

const chapter = (title: string, valuesOf: (symbols: Symbols) => Int32Array): Chapter => ({
  title,
  base: ONE_TABLE,
  ideas: IDEAS.map(({ name, gpu, lifting, direction }) => ({
    name,
    gpu,
    bits: transformed(lifting, direction, valuesOf),
  })),
});

export const TRANSFORMS = chapter('Transforms, tables by band', ({ values }) => values);
export const TRANSFORMS_AFTER_COLUMN = chapter('Transforms after subtracting the mean of the column', centred);
