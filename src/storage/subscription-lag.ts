/**
 * How far subscriptions are behind, which of them the log waits for, and up to where all of those have read it.
 *
 * Invariant: the log never waits for one that is further behind than it may be, nor for one that nobody reads any more.
 */
import { WHOLE_MESSAGE } from "../event/event-id.ts";
import type { StreamPlaceAtRest, Subscription } from "./subscription.ts";

/** What decides how far behind one is. */
export interface LogEnd {
  /** Last sequence of every stream, by incarnation. */
  readonly upper: ReadonlyMap<string, number>;
  readonly nowUs: number;
}

export interface Lag {
  /** Messages of the log that were not looked at. */
  readonly messages: number;
  /** Since the newest event it covers; 0 when no message is left. */
  readonly seconds: number;
}

/** A turn that ends later than this is one of a clock that was wrong, in µs. */
const TURN_FAR_US = 600_000_000;

/** Whether somebody reads now. */
export function isRead({ reader }: Pick<Subscription, "reader">, nowUs: number): boolean {
  if (reader === undefined) return false;
  return reader.untilUs > nowUs && reader.untilUs - nowUs <= TURN_FAR_US;
}

/** Whether nobody has read it for longer than it may be left alone. */
export function isExpired(subscription: Subscription, nowUs: number): boolean {
  const { seenUs, policy } = subscription;
  return !isRead(subscription, nowUs) && nowUs - seenUs > policy.expireMs * 1_000;
}

export function lagOf({ place }: Pick<Subscription, "place">, { upper, nowUs }: LogEnd): Lag {
  let messages = 0;
  for (const [incarnation, last] of upper) {
    const at = place.reached[incarnation] ?? place.streams[incarnation];
    messages += Math.max(0, last - (at?.sequence ?? 0));
  }
  const seconds = messages === 0 ? 0 : Math.max(0, nowUs - place.reachedUs) / 1_000_000;
  return { messages, seconds };
}

/** Whether it is further behind than it may be: the log no longer waits for it. */
export function isFarBehind(
  subscription: Pick<Subscription, "place" | "policy">,
  end: LogEnd,
): boolean {
  return lagOf(subscription, end).seconds > subscription.policy.lagMaxMs / 1_000;
}

/**
 * The last sequence of each stream of `end` that every subscription has read or skipped as a whole; the stream's last
 * where no subscription counts. Those that are too far behind or expired do not count.
 */
export function readByAll(
  subscriptions: Iterable<Subscription>,
  end: LogEnd,
): ReadonlyMap<string, number> {
  const lowest = new Map(end.upper);
  for (const subscription of subscriptions) {
    if (isExpired(subscription, end.nowUs) || isFarBehind(subscription, end)) continue;
    for (const [incarnation, sequence] of lowest) {
      const read = wholeSequenceOf(subscription.place.streams[incarnation]);
      lowest.set(incarnation, Math.min(sequence, read));
    }
  }
  return lowest;
}

/** The last message of which nothing is left to read; 0 when there is none. */
function wholeSequenceOf(place: StreamPlaceAtRest | undefined): number {
  if (place === undefined) return 0;
  return place.idx === WHOLE_MESSAGE ? place.sequence : place.sequence - 1;
}
