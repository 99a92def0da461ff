/**
 * Several sequences as one, in the order in which their items come.
 *
 * Invariants: a sequence is not asked on before its item was taken and the next was asked for; when one fails, or the whole
 * is left, the others are told to end and waited for.
 */

/** Each is started with a signal that is aborted when the whole ends. */
export async function* merged<T>(
  starts: readonly ((signal: AbortSignal) => AsyncIterable<T>)[],
  signal: AbortSignal,
): AsyncGenerator<T> {
  const leaving = new AbortController();
  const either = AbortSignal.any([signal, leaving.signal]);
  const iterators = starts.map((start) => start(either)[Symbol.asyncIterator]());
  const ask = async (iterator: AsyncIterator<T>) => ({ iterator, result: await iterator.next() });
  const waiting = new Map(iterators.map((iterator) => [iterator, ask(iterator)]));
  try {
    while (waiting.size > 0) {
      const { iterator, result } = await Promise.race(waiting.values());
      if (result.done === true) {
        waiting.delete(iterator);
        continue;
      }
      yield result.value;
      waiting.set(iterator, ask(iterator));
    }
  } finally {
    leaving.abort();
    await Promise.allSettled([...waiting.values()]);
    await Promise.allSettled(iterators.map((iterator) => iterator.return?.()));
  }
}
