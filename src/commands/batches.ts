// Small tensors that are neighbours in a file are read, hashed and written together: handing each from thread to thread
// would take longer than working on it.

import { SLICE_BYTES } from '../engine/slices.ts';

/**
 * Consecutive items that `follow` one another and have `SLICE_BYTES` together at most, or one that has more.
 *
 * @param bytesOf of the original
 */
export function* batchesOf<Item>(
  items: readonly Item[],
  bytesOf: (item: Item) => number,
  follow: (before: Item, item: Item) => boolean = () => true,
): Generator<readonly Item[], void, void> {
  let batch: Item[] = [];
  let bytes = 0;
  for (const item of items) {
    const before = batch.at(-1);
    if (before !== undefined && (bytes + bytesOf(item) > SLICE_BYTES || !follow(before, item))) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(item);
    bytes += bytesOf(item);
  }
  if (batch.length > 0) yield batch;
}
