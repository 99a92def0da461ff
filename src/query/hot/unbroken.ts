/**
 * Whether what was read of a stream follows what was read before it. What was purged is committed, by a version that is
 * not known here yet: without it what follows would seem to come after batches that are missing, and would not be shown.
 */
import type { StreamMessage } from "../../runtime/stream-message.ts";

/** Throws for messages of which one is not the next after the one before it, or the first after `last`. */
export function requireUnbroken(messages: readonly StreamMessage[], last: number): void {
  let before = last;
  for (const { sequence } of messages) {
    if (sequence !== before + 1) {
      throw new Error(`Cannot read on after message ${before}: the stream goes on at ${sequence}`);
    }
    before = sequence;
  }
}
