/**
 * How far a subscription is, and which rows it was given already.
 *
 * Events are handed out before they are committed, so that live readers need not wait; but a broker can lose what is
 * not committed, and then agents send it again, at other places. So there are two marks: what is in the archive for
 * good, after which reading goes on, and beyond it the last event given of each agent's epoch, which tells what comes
 * again.
 *
 * Invariant: an agent's event (epoch, batch, idx) is passed on at most once, whatever becomes of the broker, as long as
 * no more than {@link AHEAD_MAX} epochs are ahead of the commit.
 */
import { WHOLE_MESSAGE } from "../../event/event-id.ts";
import type { AheadBatch, Subscription, SubscriptionPlace } from "../../storage/subscription.ts";
import type { TailRow } from "../tail/live-queue.ts";
import type { StreamPlace, TailPlace } from "../tail-place.ts";
import { parseTime } from "../time-text.ts";

export type Progress = Pick<Subscription, "place" | "ahead"> & {
  /**
   * Of {@link Progress.ahead}, those that were not met again since reading began: another message may stand by now where
   * they stood, so that a commit up to there does not settle them.
   */
  readonly unmet: ReadonlySet<string>;
};

/** Epochs of agents that are remembered ahead of the commit; of more, the oldest are forgotten. */
export const AHEAD_MAX = 1_000;

const GAP_TOPIC = "agent/gap";

export interface PassOptions {
  /** Where the rows end: everything up to there was seen. */
  readonly end: TailPlace;
  /** Committed sequence of an incarnation. */
  readonly committedOf: (incarnation: string) => number;
}

export interface Passed {
  /** Rows that were not given before. */
  readonly rows: readonly TailRow[];
  readonly progress: Progress;
}

/** Where reading begins: at the mark that is in the archive for good, to meet again what was given beyond it. */
export function progressOf({ place, ahead }: Pick<Subscription, "place" | "ahead">): Progress {
  return { place, ahead, unmet: new Set(Object.keys(ahead)) };
}

/** The same, of which some was met again. */
export function met(progress: Progress, keys: ReadonlySet<string>): Progress {
  return { ...progress, unmet: progress.unmet.difference(keys) };
}

/** Takes rows in their order, and says which of them are news. */
export function pass(
  { place, ahead, unmet: before }: Progress,
  rows: readonly TailRow[],
  { end, committedOf }: PassOptions,
): Passed {
  const known = new Map(Object.entries(ahead));
  const unmet = new Set(before);
  const fresh: TailRow[] = [];
  for (const row of rows) {
    const isCommitted = row.sequence <= committedOf(row.incarnation);
    const isBehind = isAtOrBefore(row, place.reached[row.incarnation]);
    // What is committed, and beyond all that was given, needs no look.
    const isPlain = isCommitted && !isBehind && known.size === 0;
    const origin = isPlain ? undefined : originOf(row);
    const isSettled = (last: AheadBatch): boolean =>
      !unmet.has(origin?.key ?? "") && last.sequence <= committedOf(last.incarnation);
    if (origin !== undefined && isRepeated(row, { origin, known, isBehind, isSettled })) {
      if (moveAlong(row, origin, known)) unmet.delete(origin.key);
      continue;
    }
    fresh.push(row);
    if (origin === undefined || isCommitted && !known.has(origin.key)) continue;
    const { incarnation, sequence, idx } = row;
    // Deleted first, so that the last used stands last.
    known.delete(origin.key);
    known.set(origin.key, { incarnation, sequence, batch: origin.batch, idx });
    unmet.delete(origin.key);
  }
  return { rows: fresh, progress: settle({ place, known, unmet, fresh, end, committedOf }) };
}

/** The place to read on from. */
export function tailPlaceOf({ streams, knownUs }: SubscriptionPlace): TailPlace {
  return { streams: new Map(Object.entries(streams)), knownUs };
}

/** A place at which nothing is ahead of the commit. */
export function placeAtRest(
  { streams, knownUs }: TailPlace,
  reachedUs: number,
): SubscriptionPlace {
  return { streams: Object.fromEntries(streams), reached: {}, knownUs, reachedUs };
}

interface Origin {
  readonly key: string;
  readonly batch: number;
  readonly isGap: boolean;
}

function originOf({ json }: TailRow): Origin {
  const { agent, epoch, batch, topic } = fieldsOf(json);
  return {
    key: `${String(agent)}/${String(epoch)}`,
    batch: Number(batch ?? 0),
    isGap: topic === GAP_TOPIC,
  };
}

function isRepeated(
  row: TailRow,
  { origin, known, isBehind, isSettled }: {
    readonly origin: Origin;
    readonly known: ReadonlyMap<string, AheadBatch>;
    readonly isBehind: boolean;
    readonly isSettled: (last: AheadBatch) => boolean;
  },
): boolean {
  // A gap belongs to the place that revealed it, and carries the number of a batch that need not have been taken.
  if (origin.isGap) return isBehind;
  const last = known.get(origin.key);
  if (last === undefined) return isBehind && known.size >= AHEAD_MAX;
  const isLater = row.incarnation === last.incarnation && row.sequence > last.sequence;
  // Behind what is committed acceptance takes a lower number only of a batch that was given up before it came.
  if (origin.batch < last.batch && isLater && isSettled(last)) return isBehind;
  return origin.batch < last.batch || origin.batch === last.batch && row.idx <= last.idx;
}

/** Whether it is the batch that was given last: it may stand somewhere else now, and its commit there settles it. */
function moveAlong(row: TailRow, origin: Origin, known: Map<string, AheadBatch>): boolean {
  const last = known.get(origin.key);
  if (origin.isGap || last === undefined || last.batch !== origin.batch) return false;
  const { incarnation, sequence } = row;
  known.set(origin.key, { ...last, incarnation, sequence });
  return true;
}

function settle({ place, known, unmet, fresh, end, committedOf }: PassOptions & {
  readonly place: SubscriptionPlace;
  readonly known: ReadonlyMap<string, AheadBatch>;
  readonly unmet: ReadonlySet<string>;
  readonly fresh: readonly TailRow[];
}): Progress {
  const streams: Record<string, StreamPlace> = { ...place.streams };
  const reached: Record<string, StreamPlace> = {};
  for (const [incarnation, seen] of end.streams) {
    const committed = committedOf(incarnation);
    const settled = seen.sequence <= committed ? seen : { sequence: committed, idx: WHOLE_MESSAGE };
    streams[incarnation] = laterOf(settled, place.streams[incarnation]);
    const furthest = laterOf(seen, place.reached[incarnation]);
    if (!isAtOrBefore(furthest, streams[incarnation])) reached[incarnation] = furthest;
  }
  const ahead = [...known].filter(([key, { incarnation, sequence }]) => {
    // A place may be ahead of the commit for having been put there: nothing is settled by that.
    if (unmet.has(key) || sequence > committedOf(incarnation)) return true;
    const at = streams[incarnation];
    return at === undefined || sequence > at.sequence ||
      sequence === at.sequence && at.idx !== WHOLE_MESSAGE;
  }).slice(-AHEAD_MAX);
  const reachedUs = Math.max(place.reachedUs, loggedAtOf(fresh.at(-1)) ?? 0);
  return {
    place: { streams, reached, knownUs: end.knownUs, reachedUs },
    ahead: Object.fromEntries(ahead),
    unmet,
  };
}

/** When the broker stored the message of a row, µs. */
export function loggedAtOf(row: TailRow | undefined): number | undefined {
  if (row === undefined) return undefined;
  return parseTime(String(fieldsOf(row.json).logged_at), { nowUs: 0, bootUs: 0 });
}

function fieldsOf(json: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(json);
  return typeof value === "object" && value !== null ? { ...value } : {};
}

export function isAtOrBefore(
  { sequence, idx }: StreamPlace,
  place: StreamPlace | undefined,
): boolean {
  if (place === undefined) return false;
  return sequence < place.sequence || sequence === place.sequence && idx <= place.idx;
}

export function laterOf(left: StreamPlace, right: StreamPlace | undefined): StreamPlace {
  return right === undefined || isAtOrBefore(right, left) ? left : right;
}
