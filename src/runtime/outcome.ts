/** Waiting for work that may never end. */

/** What came of the work, or the error that it failed with; an error as well once the signal is aborted. */
export async function outcomeOf<T>(work: Promise<T>, signal: AbortSignal): Promise<T | Error> {
  const aborted = Promise.withResolvers<Error>();
  const abort = (): void => aborted.resolve(new Error("aborted", { cause: signal.reason }));
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, aborted.promise]);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
