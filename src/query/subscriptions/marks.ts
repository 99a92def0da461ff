/**
 * Marks of a subscription that was put somewhere without being given what lies before: which batches it has passed over
 * that are not committed yet, and whether those that it remembers have been committed where they stood.
 *
 * Invariant: a place in the archive for good is never put ahead of the commit; what lies between is remembered by the
 * last event of each agent's epoch, so that what a broker loses and gets again is known for what it is.
 */
import { WHOLE_MESSAGE } from "../../event/event-id.ts";
import type {
  AheadBatch,
  StreamPlaceAtRest,
  Subscription,
  SubscriptionPlace,
} from "../../storage/subscription.ts";
import type { HotTable } from "../hot/table.ts";
import { planBatchesAt, planEpochs } from "../planner/tail-plan.ts";
import { ADMIN_SCOPES, type Principal } from "../principal.ts";
import type { TailSource } from "../tail/follow.ts";
import { AHEAD_MAX, isAtOrBefore, laterOf, met, type Progress } from "./progress.ts";

export type Rest = Pick<Subscription, "place" | "ahead">;

/** Marks are nobody's reading: they are shown to no one. */
const BOOKKEEPER: Principal = { name: "", scopes: ADMIN_SCOPES };

/** Committed sequence of an incarnation, as it is now. */
export function commitsOf(hot: HotTable): (incarnation: string) => number {
  const [committed, loading] = [hot.committed(), hot.progress()];
  // What is no longer written is in the archive with all that it ever will be.
  return (incarnation) => committed.get(incarnation) ?? (loading.has(incarnation) ? 0 : Infinity);
}

export interface SettledAtOptions {
  /** Places in the archive for good that it had before: another service may know of later commits. */
  readonly floor: SubscriptionPlace["streams"];
  readonly signal: AbortSignal;
}

/** The same place with nothing of it ahead of the commit that is not remembered. */
export async function settledAt(
  source: TailSource,
  { place, ahead }: Rest,
  { floor, signal }: SettledAtOptions,
): Promise<Rest> {
  const { hot, executor } = source;
  using lease = hot.acquire();
  const { ranges, ...settled } = behindCommit(place, { floor, committedOf: commitsOf(hot) });
  const known = new Map(Object.entries(ahead));
  for (const range of ranges) {
    const step = planEpochs(BOOKKEEPER, { ...range, view: lease.view });
    const { rows } = await executor.rows(step, { principal: BOOKKEEPER, signal });
    for (const { agent, epoch, batch, seq, idx } of rows) {
      const key = `${String(agent)}/${String(epoch)}`;
      const place = { incarnation: range.incarnation, sequence: Number(seq), idx: Number(idx) };
      const entry = { ...place, batch: Number(batch) };
      if (isLater(entry, known.get(key))) known.set(key, entry);
    }
  }
  const kept = [...known].toSorted(([, left], [, right]) => left.sequence - right.sequence);
  return {
    place: { ...place, ...settled },
    ahead: Object.fromEntries(kept.slice(-AHEAD_MAX)),
  };
}

export interface Range {
  readonly incarnation: string;
  readonly after: number;
  readonly upTo: StreamPlaceAtRest;
}

/** What of a place is in the archive for good, what is ahead of that, and the ranges between. */
export function behindCommit(
  place: Pick<SubscriptionPlace, "streams" | "reached">,
  { floor, committedOf }: Pick<SettledAtOptions, "floor"> & {
    readonly committedOf: (incarnation: string) => number;
  },
): Pick<SubscriptionPlace, "streams" | "reached"> & { readonly ranges: readonly Range[] } {
  const streams: Record<string, StreamPlaceAtRest> = {};
  const reached: Record<string, StreamPlaceAtRest> = { ...place.reached };
  const ranges: Range[] = [];
  for (const [incarnation, upTo] of Object.entries(place.streams)) {
    const committed = committedOf(incarnation);
    streams[incarnation] = upTo;
    if (upTo.sequence <= committed) continue;
    const archived = laterOf({ sequence: committed, idx: WHOLE_MESSAGE }, floor[incarnation]);
    streams[incarnation] = archived;
    if (isAtOrBefore(upTo, archived)) continue;
    reached[incarnation] = laterOf(upTo, reached[incarnation]);
    ranges.push({ incarnation, after: committed, upTo });
  }
  return { streams, reached, ranges };
}

/** What was not met again, as its filter no longer shows it, but stands where it stood. */
export async function confirmed(
  { hot, executor }: TailSource,
  progress: Progress,
  { signal }: { readonly signal: AbortSignal },
): Promise<Progress> {
  using lease = hot.acquire();
  const committedOf = commitsOf(hot);
  const doubtful = Object.entries(progress.ahead).filter(([key, { incarnation, sequence }]) =>
    progress.unmet.has(key) && sequence <= committedOf(incarnation)
  );
  const found = new Set<string>();
  for (const [incarnation, entries] of Map.groupBy(doubtful, ([, each]) => each.incarnation)) {
    const sequences = [...new Set(entries.map(([, { sequence }]) => sequence))];
    const step = planBatchesAt(BOOKKEEPER, { view: lease.view, incarnation, sequences });
    const { rows } = await executor.rows(step, { principal: BOOKKEEPER, signal });
    for (const { agent, epoch, batch, seq } of rows) {
      const key = `${String(agent)}/${String(epoch)}`;
      const entry = progress.ahead[key];
      if (entry?.sequence === Number(seq) && entry.batch === Number(batch)) found.add(key);
    }
  }
  return found.size === 0 ? progress : met(progress, found);
}

function isLater(entry: AheadBatch, known: AheadBatch | undefined): boolean {
  if (known === undefined) return true;
  return entry.batch > known.batch || entry.batch === known.batch && entry.idx > known.idx;
}
