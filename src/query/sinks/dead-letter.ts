/**
 * Keeping what a sink refused for good.
 *
 * Invariant: one letter for each event, however often it is refused, and never more than {@link DEAD_LETTERS_MAX}: what
 * finds no room is not forgotten but keeps the sink where it is.
 */
import type { Registry } from "../../storage/registry.ts";
import { DEAD_LETTERS_MAX, type DeadLetter } from "../../storage/sink.ts";

/** Throws when there is no room until somebody has cleared them. */
export async function keepDeadLetter(
  deadLetters: Registry<readonly DeadLetter[]>,
  { sink, letter, signal }: {
    readonly sink: string;
    readonly letter: DeadLetter;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  let isFull = false;
  await deadLetters.change(sink, (current = []) => {
    const others = current.filter(({ id }) => id !== letter.id);
    isFull = others.length >= DEAD_LETTERS_MAX;
    return isFull ? undefined : [...others, letter];
  }, { signal });
  if (isFull) throw new Error(`${DEAD_LETTERS_MAX} dead letters wait to be cleared`);
}
