/**
 * Subscriptions as readers of the log: what they have neither read nor skipped stays, except for those that are too far
 * behind or left alone for too long.
 *
 * Invariant: what is known of a subscription may be old, which only keeps more: its place never goes back.
 */
import type { Clock } from "../runtime/clock.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { createSubscriptionRegistry, type Subscription } from "../storage/subscription.ts";
import { readByAll } from "../storage/subscription-lag.ts";
import type { LogReaders } from "./truncation.ts";

export interface SubscriptionReadersOptions {
  /** The bucket whose registry holds them. */
  readonly store: ObjectStore;
  readonly clock: Clock;
}

/** The registry is read again only after so long, in milliseconds, however many shards ask. */
export const SUBSCRIPTIONS_READ_MS = 30_000;

export function createSubscriptionReaders(
  { store, clock }: SubscriptionReadersOptions,
): LogReaders {
  const registry = createSubscriptionRegistry({ store });
  let known: { readonly all: readonly Subscription[]; readonly untilUs: number } | undefined;

  const subscriptions = async (): Promise<readonly Subscription[]> => {
    const nowUs = clock.nowUs();
    if (known !== undefined && nowUs < known.untilUs) return known.all;
    const all = (await registry.list()).map(({ value }) => value);
    known = { all, untilUs: nowUs + SUBSCRIPTIONS_READ_MS * 1_000 };
    return all;
  };

  return {
    async lowestNeeded({ incarnation, lastSequence }) {
      const upper = new Map([[incarnation, lastSequence]]);
      const end = { upper, nowUs: clock.nowUs() };
      const read = readByAll(await subscriptions(), end).get(incarnation) ?? lastSequence;
      return read < lastSequence ? read + 1 : undefined;
    },
  };
}
