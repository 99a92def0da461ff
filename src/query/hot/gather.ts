/** Groups of what is there: waits for the first item, then takes what has arrived already, within limits. */
import { setImmediate as nextTurn } from "node:timers/promises";

export interface GatherOptions<T> {
  /** Items of one group at most. */
  readonly itemsMax: number;
  /** A group ends at this size. */
  readonly sizeMax: number;
  readonly sizeOf: (item: T) => number;
}

export async function* gather<T>(
  items: AsyncIterable<T>,
  { itemsMax, sizeMax, sizeOf }: GatherOptions<T>,
): AsyncGenerator<readonly T[], void> {
  const iterator = items[Symbol.asyncIterator]();
  const ask = (): Promise<IteratorResult<T>> => {
    const result = iterator.next();
    // It may fail while a group is being worked on; the error is met when it is awaited.
    void Promise.allSettled([result]);
    return result;
  };
  try {
    let next = ask();
    for (;;) {
      const first = await next;
      if (first.done === true) return;
      const group = [first.value];
      let size = sizeOf(first.value);
      next = ask();
      while (group.length < itemsMax && size < sizeMax) {
        // An item that is there already is handed over within this turn of the event loop.
        const more = await Promise.race([next, nextTurn(undefined)]);
        if (more === undefined || more.done === true) break;
        group.push(more.value);
        size += sizeOf(more.value);
        next = ask();
      }
      yield group;
    }
  } finally {
    await iterator.return?.();
  }
}
