/**
 * How long a proof's action may take: one whose datagram is dropped or whose process does not end must keep neither the
 * agent's start nor the proofs of other sources.
 *
 * Invariant: an action that is done later after all is undone then.
 */
import type { Clock } from "../runtime/clock.ts";

/** Actions take milliseconds; a busy host gets a thousand times as long. */
export const PROOF_LIMIT_MS = 10_000;

/** The action of a proof; rejects when it is not done in time. */
export async function proofWithin<T extends AsyncDisposable | undefined>(
  prove: Promise<T>,
  clock: Pick<Clock, "sleep">,
): Promise<T> {
  const settled = new AbortController();
  const limit = clock.sleep(PROOF_LIMIT_MS, settled.signal).then(() => "over" as const);
  try {
    const first = await Promise.race([prove.then((action) => ({ action })), limit]);
    if (first !== "over") return first.action;
  } finally {
    settled.abort();
    // Aborted: nobody waits for it.
    void Promise.allSettled([limit]);
  }
  void Promise.allSettled([prove.then((action) => action?.[Symbol.asyncDispose]())]);
  throw new Error(`Cannot prove a source: its action was not done in ${PROOF_LIMIT_MS} ms`);
}
