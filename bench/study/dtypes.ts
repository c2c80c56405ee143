// What a weight takes in each dtype.

import { DERIVED, derive, unpacked } from './derived.ts';
import { streamBits } from './ideas/codec.ts';
import { withOneTable } from './ideas/tables.ts';
import { lengthIn, paid } from './lengths.ts';
import { KINDS, type Sample } from './samples.ts';
import { NOTHING, tableOf } from './table.ts';

/** By dtype and kind of tensors: bits a weight with one table, of packed dtypes for codes of 4 bits, and in streams. */
export function dtypeTable(samples: readonly Sample[]): string {
  const kinds = KINDS.filter((kind) => samples.some((sample) => sample.kind === kind));
  const rows = DERIVED.map((dtype) => {
    let star = '';
    const cells = kinds.flatMap((kind) => {
      let [weights, oneTable, streams] = [0, 0, 0];
      for (const sample of samples) {
        const made = sample.kind === kind ? derive(sample, dtype) : undefined;
        if (made === undefined) continue;
        if (made !== sample) star = '*';
        weights += sample.rows * sample.columns;
        oneTable += dtype.bits === 4 ? lengthIn(paid(made.share), unpacked(made)) : withOneTable(made);
        streams += Math.min(8 * made.data.length, streamBits(made, {}) ?? Number.POSITIVE_INFINITY);
      }
      return [oneTable, streams].map((bits) =>
        weights === 0
          ? NOTHING
          : `${(bits / weights).toFixed(3)} (${((100 * bits) / weights / dtype.bits).toFixed(1)} %)`,
      );
    });
    return [`${dtype.name}${star}`, ...cells];
  });
  return tableOf(['dtype', ...kinds.flatMap((kind) => [`${kind}, one table`, `${kind}, *small*`])], rows);
}
