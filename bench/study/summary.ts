// What decides: the best idea of each kind for each class of tensors, all against one table.

import { BOUNDS } from './ideas/bounds.ts';
import { COLUMN, TABLES } from './ideas/tables.ts';
import { TRANSFORMS, TRANSFORMS_AFTER_COLUMN } from './ideas/transforms.ts';
import { NOTHING, tableOf } from './table.ts';

/** What an idea gains for a class of tensors of a checkpoint. */
export interface Gain {
  readonly checkpoint: string;
  readonly chapter: string;
  readonly idea: string;
  readonly column: string;
  /** Of a weight, and their share of what the base takes. */
  readonly bits: number;
  readonly share: number;
}

const titles = (...chapters: readonly { title: string }[]): readonly string[] => chapters.map(({ title }) => title);

/** Classes that the format has, or could have in its room for tables. */
const isSmall = (idea: string): boolean => /^[24] (classes|tables)|^2 x 2/.test(idea);

function best(
  gains: readonly Gain[],
  chapters: readonly string[],
  wanted: (idea: string) => boolean,
): Gain | undefined {
  const among = gains.filter(({ chapter, idea }) => chapters.includes(chapter) && wanted(idea));
  return among.length === 0 ? undefined : among.reduce((most, gain) => (gain.share > most.share ? gain : most));
}

const percent = (share: number): string => `${share < 0 ? '-' : '+'}${Math.abs(100 * share).toFixed(2)} %`;
const shown = (gain: Gain | undefined): string => (gain ? `${percent(gain.share)} (${gain.idea})` : NOTHING);

export function summaryOf(gains: readonly Gain[]): string {
  const classes = [...new Set(gains.map(({ checkpoint, column }) => JSON.stringify([checkpoint, column])))];
  const rows = classes.map((name) => {
    const [checkpoint, column] = JSON.parse(name) as [string, string];
    const its = gains.filter((gain) => gain.checkpoint === checkpoint && gain.column === column);
    const all = (): boolean => true;
    const constants = best(its, titles(COLUMN), (idea) => !/^\d/.test(idea));
    const tables = best(its, titles(TABLES, COLUMN), isSmall);
    const transform = best(its, titles(TRANSFORMS, TRANSFORMS_AFTER_COLUMN), all);
    const shared = best(its, titles(TABLES), (idea) => idea.startsWith('one table'));
    const without = Math.max(0, constants?.share ?? 0, tables?.share ?? 0);
    return [
      checkpoint,
      column,
      shown(constants),
      shown(tables),
      shown(transform),
      transform ? percent(transform.share - without) : NOTHING,
      shared ? percent(shared.share) : NOTHING,
      shown(best(its, titles(BOUNDS), all)),
    ];
  });
  return tableOf(
    [
      ...['checkpoint', 'tensors', 'a constant of the column', 'up to 4 tables', 'a transform'],
      ...['a transform beyond both', 'shared tables', 'the best bound'],
    ],
    rows,
  );
}
