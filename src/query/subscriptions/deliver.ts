/**
 * What a reader of a subscription is given: blocks of events, each reserved before it is given, and gaps where events
 * were left out. Live readers and those that come from time to time get the same, only the end differs.
 *
 * Invariants: nothing is given that was not reserved; whatever is passed over without being given was given before, does
 * not match, or stands in a gap.
 */
import type { Clock } from "../../runtime/clock.ts";
import { formatEventId, parseEventId } from "../../event/event-id.ts";
import type { ReservedBlock, Subscription } from "../../storage/subscription.ts";
import type { TailRequest } from "../planner/tail-plan.ts";
import type { Principal } from "../principal.ts";
import { removedNotice } from "../tail/gap-notice.ts";
import type { TailRow } from "../tail/live-queue.ts";
import { follow, type TailItem, type TailSource } from "../tail/follow.ts";
import type { Removed } from "../tail/removals.ts";
import {
  isAtOrBefore,
  loggedAtOf,
  pass,
  type Passed,
  type PassOptions,
  type Progress,
  progressOf,
  tailPlaceOf,
} from "./progress.ts";
import { commitsOf, confirmed } from "./marks.ts";
import { conditionsOf } from "./request.ts";
import type { Reservation, Session } from "./session.ts";
import { skipToPresent } from "./skip.ts";

/** Events that were not given, or perhaps not. */
export interface SubscriptionGap {
  /** How many; null when that is not known. */
  readonly count: number | null;
  readonly reason: string;
  /** Ids of the first and the last. */
  readonly from: string | undefined;
  readonly to: string | undefined;
}

export type Delivery =
  | { readonly kind: "rows"; readonly rows: readonly TailRow[] }
  | { readonly kind: "gap"; readonly gap: SubscriptionGap }
  /** Nothing came for a while. */
  | { readonly kind: "quiet" };

export interface DeliverOptions {
  readonly session: Session;
  readonly principal: Principal;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** Id of the last event that the reader has; undefined when it does not say. */
  readonly lastId: string | undefined;
  /** `live` goes on until the signal; otherwise it ends at the present, having waited for a first event so long. */
  readonly until: { readonly kind: "live"; readonly quietMs: number } | {
    readonly kind: "present";
    readonly waitMs: number;
  };
  /** Events in all. */
  readonly limit: number;
  /** Whether events are handed out, or passed over as if they had been. */
  readonly what: "give" | "skip";
}

/** Most events that are reserved at once. */
export const BLOCK_EVENTS_MAX = 1_000;
/** How far it has come is written down so often where no event is, in milliseconds. */
const PLACE_INTERVAL_MS = 10_000;

export async function* deliver(
  source: TailSource,
  options: DeliverOptions,
): AsyncGenerator<Delivery, void> {
  const { session, signal, what } = options;
  const reading = new Reading(source, options);
  let { lastId } = options;
  let outcome: "ended" | "again" = "again";
  while (outcome === "again" && !signal.aborted) {
    if (what === "give") yield* missed(session, lastId);
    // What it said is true of what was given to others before.
    lastId = undefined;
    outcome = yield* reading.run();
  }
  session.throwIfLost();
}

/** What was handed out before, and is not certain to have been received. */
function* missed(session: Session, lastId: string | undefined): Generator<Delivery, void> {
  const block = session.untold(lastId);
  const last = session.subscription.lastId;
  if (block !== undefined && isTold(block, lastId)) {
    const { count = null, from, to } = block;
    yield { kind: "gap", gap: { count, reason: UNCERTAIN, from, to } };
  } else if (lastId !== undefined && last !== undefined && lastId !== last) {
    yield { kind: "gap", gap: { count: null, reason: AFTER_LAST, from: undefined, to: last } };
  }
  session.taken();
}

const UNCERTAIN = "reserved for a reader that broke off; it may have received them";
const AFTER_LAST = "given after the event that this reader says it saw last";

/** Whether a block names all that a reader may miss that has everything up to an event. */
function isTold({ after, from, to }: ReservedBlock, lastId: string | undefined): boolean {
  if (lastId === undefined || lastId === after) return true;
  const [first, seen, last] = [from, lastId, to].map((id) => parseEventId(id));
  if (first === undefined || seen === undefined || last === undefined) return false;
  const isOneStream = first.incarnation === seen.incarnation &&
    seen.incarnation === last.incarnation;
  return isOneStream && isAtOrBefore(first, seen) && isAtOrBefore(seen, last);
}

/** Guards what is passed over but not written down yet. */
class Reading {
  readonly #source: TailSource;
  readonly #options: DeliverOptions;
  #progress: Progress | undefined;
  #given = 0;
  #writtenMs = performance.now();
  #hasReachedPresent = false;
  #hasToldRemoval = false;
  /** Whether reading begins anew for a doubt about what was loaded, not because the subscription was changed. */
  #isDoubted = false;

  constructor(source: TailSource, options: DeliverOptions) {
    this.#source = source;
    this.#options = options;
  }

  /** Reads from the place that is written down until all ends, or until that has to be looked at anew. */
  async *run(): AsyncGenerator<Delivery, "ended" | "again"> {
    const { session, principal, signal, until, what } = this.#options;
    const { hot } = this.#source;
    const { generation } = hot;
    const { subscription } = session;
    if (what === "give" && subscription.goneFrom !== undefined && !this.#hasToldRemoval) {
      this.#hasToldRemoval = true;
      yield {
        kind: "gap",
        gap: removedGap({ from: [subscription.goneFrom], beforeUs: undefined }),
      };
    }
    const known = this.#isDoubted ? this.#progress : undefined;
    this.#progress = progressOf(known ?? subscription);
    this.#isDoubted = false;
    this.#hasReachedPresent = false;
    const items = follow(this.#source, {
      request: requestOf(subscription),
      principal,
      place: tailPlaceOf(this.#progress.place),
      since: undefined,
      signal,
      quietMs: Math.max(1, until.kind === "live" ? until.quietMs : until.waitMs),
      isDurable: true,
    });
    for await (const group of items) {
      // What was loaded may have been of messages that the broker lost: what is ahead of the commit is met again.
      this.#isDoubted = hot.generation !== generation;
      if (this.#isDoubted) return "again";
      const outcome = yield* this.#give(group);
      if (outcome !== "on") return outcome;
    }
    return "ended";
  }

  async *#give(group: readonly TailItem[]): AsyncGenerator<Delivery, "on" | "ended" | "again"> {
    const { session, limit, until, clock, what } = this.#options;
    const [begin] = group;
    if (begin?.kind === "removed") {
      if (what === "give" && !this.#hasToldRemoval) {
        yield { kind: "gap", gap: removedGap(begin.removed) };
      }
      this.#hasToldRemoval = true;
      return "on";
    }
    const rows = group.flatMap((item) => item.kind === "row" ? [item] : []);
    // As they are now: while rows of the group are handed out, the stream may be read anew.
    const committedOf = commitsOf(this.#source.hot);
    for (let from = 0; from < rows.length;) {
      const chunk = rows.slice(from, from + Math.min(BLOCK_EVENTS_MAX, limit - this.#given));
      from += chunk.length;
      const end = chunk.at(-1)?.place;
      if (end === undefined) return "ended";
      const passed = this.#pass(chunk.map(({ row }) => row), { end, committedOf });
      const isBehind = what === "give" &&
        isTooFarBehind(session.subscription, passed.rows[0], clock.nowUs());
      if (isBehind) return yield* this.#skip();
      if (passed.rows.length === 0) this.#progress = passed.progress;
      else if (await this.#reserve(passed) === "moved") return "again";
      else yield { kind: "rows", rows: passed.rows };
      session.taken();
      if (this.#given >= limit) return "ended";
    }
    const last = group.at(-1);
    if (last === undefined || last.kind === "row") {
      return until.kind === "present" && this.#hasReachedPresent && this.#given > 0
        ? "ended"
        : "on";
    }
    if (last.kind === "present") this.#hasReachedPresent = true;
    const isDue = performance.now() - this.#writtenMs >= PLACE_INTERVAL_MS;
    if (this.#progress !== undefined && (last.kind === "present" || isDue)) {
      this.#progress = await confirmed(this.#source, this.#progress, this.#options);
    }
    this.#progress = this.#atPresent(this.#pass([], { end: last.place, committedOf }).progress);
    if (until.kind === "live") {
      if (last.kind === "place") yield { kind: "quiet" };
      return isDue && await this.#write() === "moved" ? "again" : "on";
    }
    const isDone = this.#hasReachedPresent &&
      (this.#given > 0 || until.waitMs === 0 || last.kind === "place");
    if (!isDone) return isDue && await this.#write() === "moved" ? "again" : "on";
    return await this.#write() === "moved" && this.#given === 0 ? "again" : "ended";
  }

  #pass(rows: readonly TailRow[], options: PassOptions): Passed {
    return pass(this.#progress ?? progressOf(this.#options.session.subscription), rows, options);
  }

  /** Without an event to show for it, it has come as far as the log has now. */
  #atPresent(progress: Progress): Progress {
    if (!this.#hasReachedPresent) return progress;
    const { place } = progress;
    const reachedUs = Math.max(place.reachedUs, this.#options.clock.nowUs());
    return { ...progress, place: { ...place, reachedUs } };
  }

  async #reserve({ rows, progress }: Passed): Promise<Reservation> {
    const { session, what } = this.#options;
    const [first, last] = [rows[0], rows.at(-1)];
    if (first === undefined || last === undefined) return "reserved";
    const count = rows.length;
    const { place, ahead } = progress;
    const block = { count, from: formatEventId(first), to: formatEventId(last) };
    const reservation = what === "give"
      ? await session.reserve(block, (current) => ({
        ...{ ...current, place, ahead, goneFrom: undefined },
        delivered: current.delivered + count,
      }))
      : await session.note((current) => ({
        ...{ ...current, place, ahead, goneFrom: undefined },
        skipped: current.skipped + count,
      }));
    if (reservation === "moved") return "moved";
    this.#progress = progress;
    this.#given += count;
    this.#writtenMs = performance.now();
    return "reserved";
  }

  /** Writes down how far it has come. */
  async #write(): Promise<Reservation> {
    const { place, ahead } = this.#progress ?? this.#options.session.subscription;
    this.#writtenMs = performance.now();
    return await this.#options.session.note((current) => ({ ...current, place, ahead }));
  }

  async *#skip(): AsyncGenerator<Delivery, "ended" | "again"> {
    const { session, principal, signal } = this.#options;
    const { place, ahead, ...skipped } = await skipToPresent(this.#source, {
      subscription: session.subscription,
      request: requestOf(session.subscription),
      principal,
      signal,
    });
    const reservation = await session.note((current) => ({
      ...{ ...current, place, ahead, goneFrom: undefined },
      skipped: current.skipped + (skipped.count ?? 0),
    }));
    if (reservation === "moved") return "again";
    yield {
      kind: "gap",
      gap: { ...skipped, reason: "the reader was further behind than the subscription allows" },
    };
    return "again";
  }
}

/** Told until an event that is left moves the place beyond it: again to a reader that may not have received it. */
function removedGap(removed: Removed): SubscriptionGap {
  const { count, reason, from } = removedNotice(removed);
  return { count, reason, from, to: undefined };
}

function isTooFarBehind(
  { policy }: Subscription,
  row: TailRow | undefined,
  nowUs: number,
): boolean {
  if (policy.whenBehind !== "skip" || row === undefined) return false;
  return nowUs - (loggedAtOf(row) ?? nowUs) > policy.lagMaxMs * 1_000;
}

export function requestOf({ filters, filterTime, sinceUs }: Subscription): TailRequest {
  return { conditions: conditionsOf(filters, filterTime), sinceUs };
}
