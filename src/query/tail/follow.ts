/**
 * One client's live tail: first what lies behind its place, from archive and hot table, then what comes, without a
 * seam. Whenever the live stream cannot go on from where the client is, it catches up again.
 *
 * Invariants: rows of a stream are given in the order of its sequences, each once; the place given with a row says
 * that everything before it was given as well. What a slow client misses stands in a gap.
 */
import { formatEventId, WHOLE_MESSAGE } from "../../event/event-id.ts";
import type { Executor } from "../executor.ts";
import type { HotTable } from "../hot/table.ts";
import { planEvent } from "../planner.ts";
import { newestLoggedUs } from "../planner/pruning.ts";
import { planBacklog, planStarts, type TailRequest } from "../planner/tail-plan.ts";
import type { Principal } from "../principal.ts";
import { ProblemError } from "../problem.ts";
import type { ReadView } from "../read-view.ts";
import type { Since } from "../request.ts";
import type { StreamPlace, TailPlace } from "../tail-place.ts";
import { parseTime } from "../time-text.ts";
import { type Dispatcher, type Membership, parseTailRow } from "./dispatcher.ts";
import type { Skipped, TailRow } from "./live-queue.ts";
import type { Removals, Removed } from "./removals.ts";

export interface FollowOptions {
  readonly request: TailRequest;
  readonly principal: Principal;
  /** Where an earlier stream ended; before {@link FollowOptions.since} when both are given. */
  readonly place: TailPlace | undefined;
  readonly since: Since | undefined;
  /** Whether the event of {@link FollowOptions.since} is given, too. */
  readonly isSinceIncluded?: boolean;
  /** Ends the tail. */
  readonly signal: AbortSignal;
  /** After so long without an event, the place alone is given. */
  readonly quietMs: number;
  /**
   * Nothing is left out however slow the client is: what it could not take is read from the record. How far it has come
   * is told also where no event was, and so is each time that it has come to the present.
   */
  readonly isDurable?: boolean;
  /** Whether to begin only when it is known what was removed, however long that takes. */
  readonly isPatient?: boolean;
}

export type TailItem =
  | { readonly kind: "row"; readonly row: TailRow; readonly place: TailPlace }
  | { readonly kind: "gap"; readonly skipped: Skipped; readonly place: TailPlace }
  | { readonly kind: "removed"; readonly removed: Removed; readonly place: TailPlace }
  | { readonly kind: "place" | "present"; readonly place: TailPlace };

export interface TailSource {
  readonly hot: HotTable;
  readonly executor: Executor;
  readonly dispatcher: Dispatcher;
  /** Tells where events after {@link FollowOptions.place} may be gone. */
  readonly removals: Removals;
}

/** Rows of a backlog that are read in one go. */
const BACKLOG_LIMIT = 5_000;

/** Items in groups that can be sent at once. Ends when the signal is aborted or the service stops. */
export async function* follow(
  source: TailSource,
  asked: FollowOptions,
): AsyncGenerator<readonly TailItem[], void> {
  const { dispatcher } = source;
  const options = { ...asked, knownUs: newestKnownUs(source, asked) };
  const { request, principal, signal, isDurable = false } = options;
  const join = () => dispatcher.join(request, principal, { isDurable });
  const member = join();
  let membership: Membership | undefined = member;
  try {
    const streams = await beginningOf(source, { ...options, from: member.from });
    // The first place is given at once, so that a client that is cut off before any event resumes from here.
    yield [{ kind: "place", place: placeOf(source, options, streams) }];
    const removed = await removedAfter(source, options);
    if (removed !== undefined) {
      yield [{ kind: "removed", removed, place: placeOf(source, options, streams) }];
    }
    while (!signal.aborted) {
      membership ??= join();
      for (const incarnation of membership.from.keys()) {
        if (!streams.has(incarnation)) {
          streams.set(incarnation, { sequence: 0, idx: WHOLE_MESSAGE });
        }
      }
      yield* catchUp(source, options, { streams, from: membership.from });
      if (isDurable) yield [{ kind: "present", place: placeOf(source, options, streams) }];
      const ended = yield* live(source, options, { streams, membership });
      if (ended === "closed") return;
      membership.leave();
      membership = undefined;
    }
  } finally {
    membership?.leave();
  }
}

type Streams = Map<string, StreamPlace>;

/** `knownUs`: streams that had rows up to this broker's time are among those that are followed, or lie before them. */
type Following = FollowOptions & { readonly knownUs: number };

/** The newest time that was known before it was looked which streams there are: what is loaded may know less of them. */
function newestKnownUs({ hot }: TailSource, { place }: FollowOptions): number {
  using lease = hot.acquire();
  // What was logged at that very time is known.
  return Math.max(place?.knownUs ?? 0, newestLoggedUs(lease.view.files) + 1);
}

function placeOf({ hot }: TailSource, { knownUs }: Following, streams: Streams): TailPlace {
  return { streams: new Map(streams), knownUs: Math.max(knownUs, hot.knownUs) };
}

/** What may be gone of what is asked for, at where it begins. */
export async function removedAfter(
  source: TailSource,
  { place, since, request, principal, signal, isPatient = false }: Pick<
    FollowOptions,
    "place" | "since" | "request" | "principal" | "signal" | "isPatient"
  >,
): Promise<Removed | undefined> {
  const { hot, removals } = source;
  if (place === undefined && since === undefined) return undefined;
  const options = { request, principal, signal, isPatient, view: presentView(hot) };
  if (place !== undefined) return await removals.after(place, options);
  if (since === undefined) return undefined;
  if (since.kind === "time") return await removals.since(since.timeUs, options);
  const knownUs = await loggedAtOf(source, options, since);
  const streams = new Map([[since.place.incarnation, since.place]]);
  return await removals.after({ streams, knownUs }, options);
}

/** As it is now; what it names may be gone, for it is not held. */
function presentView(hot: HotTable): ReadView {
  using lease = hot.acquire();
  return lease.view;
}

type Beginning = FollowOptions & { readonly from: ReadonlyMap<string, number> };

/** Where each stream is read from. Streams that are not named begin with their first message. */
async function beginningOf(source: TailSource, options: Beginning): Promise<Streams> {
  const { place, since, from } = options;
  // The order of a map is that of its first entries, their values those of the last: what lies behind comes first.
  const now: Streams = new Map(
    [...from].map(([incarnation, sequence]) => [incarnation, { sequence, idx: WHOLE_MESSAGE }]),
  );
  if (place !== undefined) {
    const except = [...place.streams.keys(), ...from.keys()];
    const column = "logged_at" as const;
    const later = await startsOf(source, options, {
      except,
      since: { column, fromUs: place.knownUs },
    });
    return new Map([...place.streams, ...later]);
  }
  if (since === undefined) return now;
  if (since.kind === "time") {
    const fromUs = since.timeUs;
    const starts = await startsOf(source, options, {
      except: [],
      since: { column: "time", fromUs },
    });
    return new Map([...starts, ...now, ...starts]);
  }
  const { incarnation } = since.place;
  const fromUs = await loggedAtOf(source, options, since);
  const starts = await startsOf(source, options, {
    except: [incarnation],
    since: { column: "logged_at", fromUs },
  });
  const begin = options.isSinceIncluded === true ? placeBefore(since.place) : since.place;
  const { sequence, idx } = begin;
  const named: Streams = new Map([[incarnation, { sequence, idx }], ...starts]);
  return new Map([...named, ...now, ...named]);
}

function placeBefore({ sequence, idx }: StreamPlace): StreamPlace {
  return idx === 0 ? { sequence: sequence - 1, idx: WHOLE_MESSAGE } : { sequence, idx: idx - 1 };
}

async function startsOf(
  { hot, executor }: TailSource,
  { principal, signal }: FollowOptions,
  request: Parameters<typeof planStarts>[0],
): Promise<Streams> {
  using lease = hot.acquire();
  const plan = planStarts(request, principal, lease.view);
  // Who was here a moment ago knows all streams: one query less for each client that comes back.
  const isKnown = lease.view.hot.every(({ incarnation }) => request.except.includes(incarnation));
  if (isKnown && plan.files.length === 0) return new Map();
  const { rows } = await executor.rows(plan, { principal, signal });
  return new Map(rows.map(({ incarnation, first }) => [
    String(incarnation),
    { sequence: Number(first) - 1, idx: WHOLE_MESSAGE },
  ]));
}

async function loggedAtOf(
  { hot, executor }: TailSource,
  { principal, signal }: Pick<FollowOptions, "principal" | "signal">,
  since: Extract<Since, { kind: "event" }>,
): Promise<number> {
  using lease = hot.acquire();
  const { steps } = planEvent(since.place, principal, lease.view);
  for await (const [line] of executor.texts(steps, { principal, signal })) {
    const loggedAt: unknown = line === undefined ? undefined : JSON.parse(line).logged_at;
    const timeUs = parseTime(String(loggedAt), { nowUs: 0, bootUs: 0 });
    if (timeUs !== undefined) return timeUs;
  }
  throw new ProblemError(400, `There is no event "${formatEventId(since.place)}" to begin after`, {
    parameter: "since",
    accepted: "the id of an event, or a time",
  });
}

interface Course {
  readonly streams: Streams;
  /** Last sequence of each stream that the live queue does not bring. */
  readonly from: ReadonlyMap<string, number>;
}

/** Gives what lies between the client's place and where its queue begins. */
async function* catchUp(
  source: TailSource,
  options: Following,
  { streams, from }: Course,
): AsyncGenerator<readonly TailItem[]> {
  for (const incarnation of [...streams.keys()]) {
    let hasMore = true;
    while (hasMore && !options.signal.aborted) {
      const rows = await backlog(source, options, { streams, from, incarnation });
      hasMore = rows.hasMore;
      const hasMoved = rows.hasMore && options.isDurable === true;
      if (rows.items.length > 0) yield rows.items;
      else if (hasMoved) yield [{ kind: "place", place: placeOf(source, options, streams) }];
    }
  }
}

/** The next rows of one stream; moves the client's place over them. */
async function backlog(
  source: TailSource,
  options: Following,
  { streams, from, incarnation }: Course & { readonly incarnation: string },
): Promise<{ readonly items: readonly TailItem[]; readonly hasMore: boolean }> {
  const { request, principal, signal } = options;
  using lease = source.hot.acquire();
  const { view } = lease;
  const after = streams.get(incarnation) ?? { sequence: 0, idx: WHOLE_MESSAGE };
  // A stream that is no longer written ends with the last of its rows in the archive.
  const end = from.get(incarnation) ?? view.upper.get(incarnation);
  const upTo = end ?? Number.MAX_SAFE_INTEGER;
  const isDone = after.sequence > upTo || after.sequence === upTo && after.idx === WHOLE_MESSAGE;
  if (isDone) return { items: [], hasMore: false };
  const limit = BACKLOG_LIMIT;
  const step = planBacklog(request, principal, { view, incarnation, after, upTo, limit });
  const items: TailItem[] = [];
  for await (const lines of source.executor.texts([step], { principal, signal })) {
    for (const line of lines) {
      const row = parseTailRow(line, incarnation);
      streams.set(incarnation, { sequence: row.sequence, idx: row.idx });
      items.push({ kind: "row", row, place: placeOf(source, options, streams) });
    }
  }
  if (items.length >= limit) return { items, hasMore: true };
  if (step.upTo === Number.MAX_SAFE_INTEGER) return { items, hasMore: false };
  streams.set(incarnation, { sequence: step.upTo, idx: WHOLE_MESSAGE });
  return { items, hasMore: step.upTo < upTo };
}

/** Gives what comes until the client must catch up again or all ends. */
async function* live(
  source: TailSource,
  options: Following,
  { streams, membership }: { readonly streams: Streams; readonly membership: Membership },
): AsyncGenerator<readonly TailItem[], "again" | "closed"> {
  const { signal, quietMs, isDurable } = options;
  const { queue } = membership;
  // What did not fit while the client caught up is read from the record, not left out.
  if (queue.hasSkipped) return "again";
  while (true) {
    const taken = await queue.take({ signal, quietMs });
    switch (taken.kind) {
      case "rows": {
        const rows = taken.rows.filter((row) => isAfter(row, streams.get(row.incarnation)));
        yield rows.map((row) => {
          streams.set(row.incarnation, { sequence: row.sequence, idx: row.idx });
          return { kind: "row", row, place: placeOf(source, options, streams) };
        });
        break;
      }
      case "skipped":
        if (isDurable === true) return "again";
        for (const { last: { incarnation, sequence, idx } } of taken.skipped.ranges) {
          streams.set(incarnation, { sequence, idx });
        }
        yield [{ kind: "gap", skipped: taken.skipped, place: placeOf(source, options, streams) }];
        break;
      case "quiet":
        advance(streams, source.dispatcher.dispatched);
        yield [{ kind: "place", place: placeOf(source, options, streams) }];
        break;
      case "broken":
        return "again";
      case "closed":
        return "closed";
    }
  }
}

function isAfter(row: TailRow, place: StreamPlace | undefined): boolean {
  if (place === undefined) return true;
  return row.sequence > place.sequence || row.sequence === place.sequence && row.idx > place.idx;
}

/** Nothing waits for the client: it has seen all of what was handed out. */
function advance(streams: Streams, dispatched: ReadonlyMap<string, number>): void {
  for (const [incarnation, sequence] of dispatched) {
    const place = streams.get(incarnation);
    if (place !== undefined && sequence > place.sequence) {
      streams.set(incarnation, { sequence, idx: WHOLE_MESSAGE });
    }
  }
}
