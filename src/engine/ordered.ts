// Work that is started ahead and taken in order: the one place where it is bounded how much waits for its turn.

/** At most so many items, and so many bytes by `weigh`, are under way or wait; one always may be. */
export interface Limits {
  readonly count: number;
  readonly bytes: number;
}

/**
 * Starts work on items of `source` as they come, and yields the results in the same order. While the caller looks at
 * one result, the next ones are under way.
 *
 * @param weigh bytes that an item holds until its result is taken
 * @throws what `start` throws, when its turn comes
 */
export async function* inOrder<Item, Result>(
  source: Iterable<Item> | AsyncIterable<Item>,
  limits: Limits,
  weigh: (item: Item) => number,
  start: (item: Item) => Promise<Result>,
): AsyncGenerator<Result, void, void> {
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  const started: { weight: number; result: Promise<Result> }[] = [];
  let held = 0;
  let next = await iterator.next();
  const fill = async (): Promise<void> => {
    while (!next.done) {
      const weight = weigh(next.value);
      if (started.length > 0 && (started.length >= limits.count || held + weight > limits.bytes)) return;
      const result = start(next.value);
      // Its turn to be reported may never come.
      result.catch(() => {});
      started.push({ weight, result });
      held += weight;
      next = await iterator.next();
    }
  };
  await fill();
  for (let head = started.shift(); head !== undefined; head = started.shift()) {
    held -= head.weight;
    const result = await head.result;
    await fill();
    yield result;
  }
}
