/**
 * Places that a subscription is put to without being read: the present, or after a time or an event; and what lies
 * between, so that what is left out can be told.
 */
import { formatEventId, WHOLE_MESSAGE } from "../../event/event-id.ts";
import type { StreamPlaceAtRest, SubscriptionPlace } from "../../storage/subscription.ts";
import { withinTime } from "../executor.ts";
import type { HotTable } from "../hot/table.ts";
import { newestLoggedUs, sequenceRangeOf } from "../planner/pruning.ts";
import { planBetween, type TailRequest } from "../planner/tail-plan.ts";
import type { Principal } from "../principal.ts";
import { ProblemError } from "../problem.ts";
import type { ReadView } from "../read-view.ts";
import type { Since } from "../request.ts";
import { follow, type TailSource } from "../tail/follow.ts";
import type { StreamPlace, TailPlace } from "../tail-place.ts";
import { type Rest, settledAt } from "./marks.ts";

export interface SkipOptions {
  readonly subscription: Rest;
  readonly request: TailRequest;
  readonly principal: Principal;
  readonly signal: AbortSignal;
}

/** Where it goes on, and what was left out on the way. */
export interface Skip extends Rest {
  /** Null when counting took too long. */
  readonly count: number | null;
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** Longest time that is spent on counting what is left out, in milliseconds. */
const COUNT_LIMIT_MS = 10_000;

const NOTHING: SubscriptionPlace = { streams: {}, reached: {}, knownUs: 0, reachedUs: 0 };

/** The end of the log as it is known, for one that gets what comes from now on. */
export function presentPlace({ hot }: Pick<TailSource, "hot">): SubscriptionPlace {
  using lease = hot.acquire();
  return endOf(hot, lease.view, NOTHING);
}

/** Where one begins that gets what came since a time or an event. */
export async function placeSince(
  source: TailSource,
  options: Omit<SkipOptions, "subscription"> & { readonly since: Since },
): Promise<SubscriptionPlace> {
  const { streams } = await firstPlace(source, options);
  using lease = source.hot.acquire();
  const { knownUs } = endOf(source.hot, lease.view, NOTHING);
  return { streams: Object.fromEntries(streams), reached: {}, knownUs, reachedUs: 0 };
}

export async function skipToPresent(source: TailSource, options: SkipOptions): Promise<Skip> {
  const { place } = options.subscription;
  using lease = source.hot.acquire();
  return await skipTo(source, options, endOf(source.hot, lease.view, place));
}

/** Never goes back: what lies behind its place already stays behind. */
export async function skipToSince(
  source: TailSource,
  options: SkipOptions & { readonly since: Since },
): Promise<Skip> {
  const { place } = options.subscription;
  const target = await firstPlace(source, options);
  using lease = source.hot.acquire();
  const end = endOf(source.hot, lease.view, place);
  const streams: Record<string, StreamPlaceAtRest> = {};
  for (const [incarnation, last] of Object.entries(end.streams)) {
    const wanted = target.streams.get(incarnation) ?? last;
    const least = place.streams[incarnation];
    streams[incarnation] = least !== undefined && isBefore(wanted, least) ? least : wanted;
  }
  return await skipTo(source, options, { ...end, streams });
}

async function skipTo(
  source: TailSource,
  { subscription, request, principal, signal }: SkipOptions,
  target: SubscriptionPlace,
): Promise<Skip> {
  const { place, ahead } = subscription;
  // What was given ahead of the commit stays given.
  const reached = Object.fromEntries(
    Object.entries(place.reached).filter(([incarnation, each]) =>
      isBefore(target.streams[incarnation] ?? START, each)
    ),
  );
  const ranges = Object.entries(target.streams).map(([incarnation, upTo]) => {
    const after = place.reached[incarnation] ?? place.streams[incarnation] ?? START;
    return { incarnation, after, upTo };
  }).filter(({ after, upTo }) => isBefore(after, upTo));
  const counted = await withinTime(
    signal,
    (limited) => countBetween(source, { ranges, request, principal, signal: limited }),
    COUNT_LIMIT_MS,
  ).catch((error: unknown) => {
    signal.throwIfAborted();
    if (!(error instanceof ProblemError && error.problem.status === 422)) throw error;
    return { count: null, from: undefined, to: undefined };
  });
  const rest = await settledAt(source, { place: { ...target, reached }, ahead }, {
    ...{ floor: place.streams, signal },
  });
  return { ...counted, ...rest };
}

interface Between {
  readonly incarnation: string;
  readonly after: StreamPlace;
  readonly upTo: StreamPlace;
}

async function countBetween(
  { hot, executor }: TailSource,
  { ranges, request, principal, signal }: Omit<SkipOptions, "subscription"> & {
    readonly ranges: readonly Between[];
  },
): Promise<Omit<Skip, keyof Rest>> {
  using lease = hot.acquire();
  let count = 0;
  let from: string | undefined;
  let to: string | undefined;
  for (const range of ranges) {
    const step = planBetween(request, principal, { ...range, view: lease.view });
    const [row] = (await executor.rows(step, { principal, signal })).rows;
    if (Number(row?.["rows"] ?? 0) === 0) continue;
    count += Number(row?.["rows"]);
    from ??= idOf(range.incarnation, row?.["first"]);
    to = idOf(range.incarnation, row?.["last"]);
  }
  return { count, from, to };
}

function idOf(incarnation: string, place: unknown): string {
  const [sequence, idx] = String(place).split("-").map(Number);
  return formatEventId({ incarnation, sequence: sequence ?? 0, idx: idx ?? 0 });
}

/** The first place that a tail gives is where it begins. */
async function firstPlace(
  source: TailSource,
  { request, principal, since, signal }: Omit<SkipOptions, "subscription"> & {
    readonly since: Since;
  },
): Promise<TailPlace> {
  const items = follow(source, {
    ...{ request, principal, since, signal },
    place: undefined,
    quietMs: 1,
    isDurable: true,
  });
  for await (const [item] of items) {
    if (item !== undefined) return item.place;
  }
  signal.throwIfAborted();
  throw new DOMException("The service is stopping", "AbortError");
}

const START: StreamPlace = { sequence: 0, idx: WHOLE_MESSAGE };

/** The end of every stream that a place names or that is written now. */
function endOf(hot: HotTable, view: ReadView, place: SubscriptionPlace): SubscriptionPlace {
  const incarnations = new Set([...Object.keys(place.streams), ...view.upper.keys()]);
  const streams = Object.fromEntries(
    [...incarnations].map((incarnation) => {
      const known = place.streams[incarnation] ?? START;
      const sequence = view.upper.get(incarnation) ?? lastOf(view, incarnation);
      const end = { sequence, idx: WHOLE_MESSAGE };
      return [incarnation, isBefore(known, end) ? end : known] as const;
    }),
  );
  const knownUs = Math.max(hot.knownUs, place.knownUs, newestLoggedUs(view.files));
  return { streams, reached: {}, knownUs, reachedUs: knownUs };
}

/** Last sequence in the archive of a stream that is no longer written. */
function lastOf({ files }: ReadView, incarnation: string): number {
  let last = 0;
  for (const file of files) {
    const to = sequenceRangeOf(file, incarnation)?.to ?? 0;
    if (Number.isFinite(to)) last = Math.max(last, to);
  }
  return last;
}

function isBefore(left: StreamPlace, right: StreamPlace): boolean {
  return left.sequence < right.sequence ||
    left.sequence === right.sequence && left.idx < right.idx;
}
