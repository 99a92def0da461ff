/**
 * Subscriptions as readers of the log: what they have neither read nor skipped stays, except for those that are too far
 * behind or left alone for too long.
 *
 * Invariant: what is known of a subscription may be old, which only keeps more: its place never goes back. While nobody
 * knows which there are, everything stays.
 */
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { createSubscriptionRegistry, type Subscription } from "../storage/subscription.ts";
import { readByAll } from "../storage/subscription-lag.ts";
import type { LogReaders } from "./truncation.ts";

export interface SubscriptionReadersOptions {
  /** The bucket whose registry holds them. */
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly log: Log;
}

/** The registry is read again only after so long, in milliseconds, however many shards ask and whether it could be read. */
export const SUBSCRIPTIONS_READ_MS = 30_000;

export function createSubscriptionReaders(
  { store, clock, log }: SubscriptionReadersOptions,
): LogReaders {
  const registry = createSubscriptionRegistry({ store });
  let known: { readonly all: Promise<Subscriptions>; readonly untilUs: number } | undefined;

  const read = async (): Promise<Subscriptions> => {
    try {
      return (await registry.list()).map(({ value }) => value);
    } catch (error) {
      log.warn("subscriptions cannot be read; the log keeps everything until they can", {
        error: String(error),
      });
      return undefined;
    }
  };
  const subscriptions = (): Promise<Subscriptions> => {
    const nowUs = clock.nowUs();
    if (known === undefined || nowUs >= known.untilUs) {
      known = { all: read(), untilUs: nowUs + SUBSCRIPTIONS_READ_MS * 1_000 };
    }
    return known.all;
  };

  return {
    async lowestNeeded({ incarnation, lastSequence }) {
      const all = await subscriptions();
      if (all === undefined) return 1;
      const upper = new Map([[incarnation, lastSequence]]);
      const end = { upper, nowUs: clock.nowUs() };
      const read = readByAll(all, end).get(incarnation) ?? lastSequence;
      return read < lastSequence ? read + 1 : undefined;
    },
  };
}

/** Undefined when nobody knows. */
type Subscriptions = readonly Subscription[] | undefined;
