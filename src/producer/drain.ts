/** At closing, what is on disk is published for so long as {@link DRAIN_MS}; the rest is for the next opening. */
import type { Clock } from "../runtime/clock.ts";

const DRAIN_MS = 2_000;
const DRAIN_STEP_MS = 20;

/** Resolves when nothing is due any more, or the time is over. */
export async function drain(isDue: () => boolean, clock: Clock): Promise<void> {
  const endMs = clock.elapsedMs() + DRAIN_MS;
  while (isDue() && clock.elapsedMs() < endMs) await clock.sleep(DRAIN_STEP_MS);
}
