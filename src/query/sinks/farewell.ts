/**
 * Taking leave of another side: it may answer, but is not waited for longer than a moment. A server that hangs would keep
 * the sink, or the end of the service, waiting.
 */
import { setTimeout as delay } from "node:timers/promises";

/** In milliseconds. */
const FAREWELL_LIMIT_MS = 1_000;

/** Resolves whatever comes of it; `cut` ends what is left of the connection. */
export async function takeLeave(close: () => Promise<unknown>, cut: () => void): Promise<void> {
  const end = new AbortController();
  try {
    await Promise.race([
      Promise.allSettled([close()]),
      delay(FAREWELL_LIMIT_MS, undefined, { signal: end.signal }),
    ]);
  } finally {
    end.abort();
    cut();
  }
}
