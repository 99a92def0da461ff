/**
 * A limit of time as a signal. As `AbortSignal.timeout`, but for one thing: no runtime stays for it.
 *
 * Invariant: a limit ends what waits, and keeps nothing alive: neither a process whose work is done (Deno 2.9 does not
 * end while anybody listens to an `AbortSignal.timeout`) nor what somebody waited for before.
 */
import { setTimeout } from "node:timers";

/** Is aborted after `limitMs`, with the same `TimeoutError` in both runtimes. */
export function timeLimit(limitMs: number): AbortSignal {
  const limit = new AbortController();
  setTimeout(() => {
    limit.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
  }, limitMs).unref();
  return limit.signal;
}
