// What decides: the best idea of each kind for each class of tensors, all against one table.

import { BOUNDS } from './ideas/bounds.ts';
import { CONSTANTS, CONSTANTS_AND_TABLES, FEW_BY_MEAN } from './ideas/columns.ts';
import type { Idea } from './ideas/idea.ts';
import { FEW_CLASSES, SHARED } from './ideas/tables.ts';
import { TRANSFORMS, TRANSFORMS_AFTER_COLUMN } from './ideas/transforms.ts';
import { NOTHING, tableOf } from './table.ts';

/** What an idea gains for a class of tensors of a checkpoint. */
export interface Gain {
  readonly checkpoint: string;
  readonly idea: Idea;
  /** The column of the tables: dtype and kind. */
  readonly tensors: string;
  /** Of a weight, and their share of what the base takes. */
  readonly bits: number;
  readonly share: number;
}

function best(gains: readonly Gain[], among: readonly Idea[]): Gain | undefined {
  const [first, ...others] = gains.filter(({ idea }) => among.includes(idea));
  return others.reduce((most, gain) => (gain.share > most.share ? gain : most), first);
}

const percent = (share: number): string => `${share < 0 ? '-' : '+'}${Math.abs(100 * share).toFixed(2)} %`;
const shown = (gain: Gain | undefined): string => (gain ? `${percent(gain.share)} (${gain.idea.name})` : NOTHING);

export function summaryOf(gains: readonly Gain[]): string {
  const nameOf = ({ checkpoint, tensors }: Gain): string => `${checkpoint} | ${tensors}`;
  const rows = [...new Set(gains.map(nameOf))].map((name) => {
    const its = gains.filter((gain) => nameOf(gain) === name);
    const constants = best(its, CONSTANTS);
    const tables = best(its, [...FEW_CLASSES, ...FEW_BY_MEAN]);
    const both = best(its, CONSTANTS_AND_TABLES);
    const transform = best(its, [...TRANSFORMS.ideas, ...TRANSFORMS_AFTER_COLUMN.ideas]);
    const shared = best(its, [SHARED]);
    const without = Math.max(0, constants?.share ?? 0, tables?.share ?? 0, both?.share ?? 0);
    return [
      name,
      shown(constants),
      shown(tables),
      shown(both),
      shown(transform),
      transform ? percent(transform.share - without) : NOTHING,
      shared ? percent(shared.share) : NOTHING,
      shown(best(its, BOUNDS.ideas)),
    ];
  });
  return tableOf(
    [
      ...['checkpoint', 'tensors', 'a constant of the column', 'up to 4 tables', 'both'],
      ...['a transform', 'a transform beyond all of these', 'shared tables', 'the best bound'],
    ],
    rows,
  );
}
