/** Waiting for another side that may never answer, only as long as somebody wants to know. */

/** What `opening` gives, or the signal's reason as soon as it is aborted; what comes later goes to `discard`. */
export async function untilAborted<T>(
  opening: Promise<T>,
  { signal, discard }: {
    readonly signal: AbortSignal;
    readonly discard: (opened: T) => unknown;
  },
): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const stop = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  try {
    return await Promise.race([opening, aborted.promise]);
  } catch (error) {
    // Whoever is told that it ended closes nothing any more.
    if (signal.aborted) void Promise.allSettled([opening.then(discard)]);
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
