/**
 * Subscriptions by name: made, changed, listed, skipped forward, read and removed; and those that nobody reads any more
 * are removed by themselves.
 *
 * Invariant: one belongs to who made it; only they, and who administers the service, may touch it. Who operates it may
 * look at it.
 */
import { randomBytes } from "node:crypto";
import { formatEventId } from "../../event/event-id.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { isRegistryName, REGISTRY_NAME_LENGTH_MAX } from "../../storage/registry.ts";
import type { Registry, RegistryEntry } from "../../storage/registry.ts";
import type { Subscription } from "../../storage/subscription.ts";
import { isExpired } from "../../storage/subscription-lag.ts";
import type { Action, Principal } from "../principal.ts";
import { ProblemError } from "../problem.ts";
import type { Since } from "../request.ts";
import { refuseDear } from "../tail/live-clients.ts";
import { costOf } from "../tail/matcher.ts";
import { removedAfter, type TailSource } from "../tail/follow.ts";
import type { TailRow } from "../tail/live-queue.ts";
import type { TimeContext } from "../time-text.ts";
import { deliver, type DeliverOptions, type Delivery, requestOf } from "./deliver.ts";
import {
  conditionsOf,
  DEFAULT_EXPIRE_MS,
  DEFAULT_LAG_MAX_MS,
  type FilterTexts,
  type PolicyRequest,
} from "./request.ts";
import { settledAt } from "./marks.ts";
import { Session } from "./session.ts";
import { placeSince, presentPlace, type Skip, skipToPresent, skipToSince } from "./skip.ts";

export type Entry = RegistryEntry<Subscription>;

export interface PutRequest {
  readonly filters: FilterTexts;
  readonly time: TimeContext;
  /** Where a new one begins; at the present without it. */
  readonly since: Since | undefined;
  readonly policy: PolicyRequest;
}

export interface AsPrincipal {
  readonly principal: Principal;
  readonly signal: AbortSignal;
}

export type ReadOptions = Pick<DeliverOptions, "lastId" | "until" | "limit"> & AsPrincipal & {
  /** Keeps all others away until it ends; without it, one block is read as it stands. */
  readonly turn: "own" | "none";
  readonly isTakingOver: boolean;
};

/** The present, a place, or the next so many events that match. */
export type SkipTarget = "now" | Since | { readonly kind: "events"; readonly count: number };

/** A reading that has begun; disposing of it gives the turn back. */
export interface OpenReading extends AsyncDisposable {
  readonly deliveries: AsyncGenerator<Delivery, void>;
  /** States that all of it was sent. */
  settle(): void;
}

export interface Subscriptions extends AsyncDisposable {
  /** Makes it, or changes filters and policy of the one there is, whose place stays. */
  put(
    name: string,
    request: PutRequest,
    as: AsPrincipal,
  ): Promise<{ readonly entry: Entry; readonly isNew: boolean }>;
  get(name: string, as: AsPrincipal): Promise<Entry>;
  list(as: AsPrincipal): Promise<readonly Entry[]>;
  remove(name: string, as: AsPrincipal): Promise<void>;
  /** Puts it forward without reading. */
  skip(name: string, to: SkipTarget, as: AsPrincipal): Promise<Pick<Skip, "count" | "from" | "to">>;
  open(name: string, options: ReadOptions): Promise<OpenReading>;
  /** Removes those that nobody has read for too long, by the record's time; how many. */
  expire(): Promise<number>;
  readonly figures: { readonly readers: number; readonly delivered: number };
}

export interface SubscriptionsOptions {
  readonly source: TailSource;
  readonly registry: Registry<Subscription>;
  readonly clock: Clock;
  readonly log: Log;
  /** Called with what was removed because nobody read it. */
  readonly onExpired?: (entry: Entry) => void;
}

export const SUBSCRIPTIONS_MAX = 1_000;
/** How often those whose time is over are looked for, in milliseconds. */
export const EXPIRY_INTERVAL_MS = 10 * 60_000;

export function openSubscriptions(options: SubscriptionsOptions): Subscriptions {
  const { source, registry, clock, log, onExpired = () => undefined } = options;
  const end = new AbortController();
  const figures = { readers: 0, delivered: 0 };

  const finding = (action: Action) =>
  async (
    name: string,
    { principal, signal }: AsPrincipal,
  ): Promise<Entry> => {
    checkName(name);
    const entry = await registry.get(name, { signal });
    if (entry === undefined) throw absent(name);
    refuseOthers(entry, principal, action);
    return entry;
  };
  const find = finding("administer");
  const expire = async (): Promise<number> => {
    // A clock that jumps ahead shall not remove them all: what brokers say is the time counts as well.
    const nowUs = Math.min(clock.nowUs(), presentPlace(source).knownUs);
    let removed = 0;
    for (const entry of await registry.list({ signal: end.signal })) {
      if (!isExpired(entry.value, nowUs)) continue;
      // Whoever has come back meanwhile has written it anew.
      if (!await registry.remove(entry, { signal: end.signal })) continue;
      log.warn("a subscription that nobody read was removed", { name: entry.name });
      onExpired(entry);
      removed += 1;
    }
    return removed;
  };
  const expiring = (async () => {
    while (!end.signal.aborted) {
      await Promise.allSettled([clock.sleep(EXPIRY_INTERVAL_MS, end.signal)]);
      if (end.signal.aborted) return;
      await expire().catch((error: unknown) =>
        log.warn("subscriptions were not looked through", { error: String(error) })
      );
    }
  })();

  const skipEvents = async (
    name: string,
    { count }: { readonly count: number },
    as: AsPrincipal,
  ): Promise<Pick<Skip, "count" | "from" | "to">> => {
    const { principal, signal } = as;
    const entry = await find(name, as);
    await using session = new Session({ registry, entry, clock, log });
    session.requireFree();
    const until = { kind: "present", waitMs: 0 } as const;
    const more = { session, clock, until, limit: count, lastId: undefined, what: "skip" } as const;
    const rows: TailRow[] = [];
    for await (const delivery of deliver(source, { ...more, principal, signal })) {
      if (delivery.kind === "rows") rows.push(...delivery.rows);
    }
    const [first, last] = [rows[0], rows.at(-1)];
    return {
      count: rows.length,
      from: first && formatEventId(first),
      to: last && formatEventId(last),
    };
  };

  return {
    figures,
    expire,
    get: finding("operate"),
    async put(name, request, as) {
      checkName(name);
      const { signal } = as;
      const known = await registry.get(name, { signal });
      if (known === undefined) {
        await refuseTooMany(registry, signal);
        const value = await createSubscription(source, request, { ...as, clock });
        const entry = await registry.create(name, value, { signal });
        if (entry !== undefined) return { entry, isNew: true };
      }
      for (;;) {
        const entry = await find(name, as);
        const value = await changed(source, entry.value, { ...request, signal });
        if (value === undefined) return { entry, isNew: false };
        const written = await registry.replace(entry, value, { signal });
        if (written !== undefined) return { entry: written, isNew: false };
      }
    },
    async list({ principal, signal }) {
      const all = await registry.list({ signal });
      return all.filter((each) => isOpenTo(each, principal, "operate"));
    },
    async remove(name, as) {
      for (;;) {
        const entry = await find(name, as);
        if (await registry.remove(entry, { signal: as.signal })) return;
      }
    },
    async skip(name, to, as) {
      if (typeof to === "object" && to.kind === "events") return await skipEvents(name, to, as);
      for (;;) {
        const entry = await find(name, as);
        const { principal, signal } = as;
        const { value: subscription } = entry;
        const more = { subscription, request: requestOf(subscription), principal, signal };
        const skip = to === "now"
          ? await skipToPresent(source, more)
          : await skipToSince(source, { ...more, since: to });
        const value = {
          ...subscription,
          place: skip.place,
          ahead: skip.ahead,
          goneFrom: undefined,
          seenUs: clock.nowUs(),
          skipped: subscription.skipped + (skip.count ?? 0),
        };
        // A reader may have gone on meanwhile: what it was given is not skipped.
        if (await registry.replace(entry, value, { signal }) !== undefined) return skip;
      }
    },
    async open(name, readOptions) {
      const { turn, isTakingOver, principal, signal } = readOptions;
      const entry = await find(name, readOptions);
      await using stack = new AsyncDisposableStack();
      const session = stack.use(new Session({ registry, entry, clock, log }));
      await (turn === "own" ? session.begin({ isTakingOver }) : session.requireFree());
      figures.readers += 1;
      stack.defer(() => {
        figures.readers -= 1;
      });
      const all = AbortSignal.any([signal, session.signal]);
      // A reader that leaves before its answer has begun would keep the turn for ever.
      const leave = (): void => void session[Symbol.asyncDispose]();
      signal.addEventListener("abort", leave, { once: true });
      stack.defer(() => signal.removeEventListener("abort", leave));
      const deliveries = counted(
        deliver(source, {
          ...{ ...readOptions, session, principal, clock },
          signal: all,
          what: "give",
        }),
        (count) => figures.delivered += count,
      );
      const owned = stack.move();
      return {
        deliveries,
        settle: () => session.settle(),
        [Symbol.asyncDispose]: () => owned.disposeAsync(),
      };
    },
    async [Symbol.asyncDispose]() {
      end.abort();
      await expiring;
    },
  };
}

async function* counted(
  deliveries: AsyncGenerator<Delivery, void>,
  count: (rows: number) => void,
): AsyncGenerator<Delivery, void> {
  for await (const delivery of deliveries) {
    if (delivery.kind === "rows") count(delivery.rows.length);
    yield delivery;
  }
}

async function createSubscription(
  source: TailSource,
  { filters, time, since, policy }: PutRequest,
  { principal, signal, clock }: AsPrincipal & { readonly clock: Clock },
): Promise<Subscription> {
  const sinceUs = since?.kind === "time" ? since.timeUs : undefined;
  const request = { conditions: conditionsOf(filters, time), sinceUs };
  refuseDear(costOf(request.conditions));
  const nowUs = clock.nowUs();
  const begin = since === undefined
    ? presentPlace(source)
    : await placeSince(source, { request, principal, signal, since });
  const removed = await removedAfter(source, {
    ...{ request, principal, signal, since, place: undefined },
  });
  const { place, ahead } = await settledAt(source, { place: begin, ahead: {} }, {
    ...{ floor: {}, signal },
  });
  return {
    id: randomBytes(8).toString("hex"),
    owner: principal.name,
    createdUs: nowUs,
    filters,
    filterTime: { nowUs: time.nowUs, bootUs: time.bootUs },
    sinceUs,
    policy: {
      whenBehind: policy.whenBehind ?? "pause",
      lagMaxMs: policy.lagMaxMs ?? DEFAULT_LAG_MAX_MS,
      expireMs: policy.expireMs ?? DEFAULT_EXPIRE_MS,
    },
    // How far behind it is counts from now on, wherever it begins.
    place: { ...place, reachedUs: nowUs },
    reader: undefined,
    reserved: undefined,
    lastId: undefined,
    goneFrom: removed?.from[0],
    ahead,
    seenUs: nowUs,
    delivered: 0,
    skipped: 0,
  };
}

/** What a further `PUT` makes of it; undefined when that changes nothing. */
async function changed(
  source: TailSource,
  current: Subscription,
  { filters, time, policy: wanted, signal }: PutRequest & { readonly signal: AbortSignal },
): Promise<Subscription | undefined> {
  const policy = {
    whenBehind: wanted.whenBehind ?? current.policy.whenBehind,
    lagMaxMs: wanted.lagMaxMs ?? current.policy.lagMaxMs,
    expireMs: wanted.expireMs ?? current.policy.expireMs,
  };
  const isSame = JSON.stringify([filters, policy]) ===
    JSON.stringify([current.filters, current.policy]);
  if (isSame) return undefined;
  refuseDear(costOf(conditionsOf(filters, time)));
  // What was passed over ahead of the commit stays passed over, though it may match now.
  const { place, ahead } = current;
  const streams = { ...place.streams, ...place.reached };
  return {
    ...current,
    ...await settledAt(source, { place: { ...place, streams, reached: {} }, ahead }, {
      ...{ floor: place.streams, signal },
    }),
    filters,
    filterTime: { nowUs: time.nowUs, bootUs: time.bootUs },
    policy,
  };
}

function isOpenTo(
  { value }: Pick<Entry, "value">,
  { name, scopes }: Principal,
  action: Action,
): boolean {
  return value.owner === name || scopes.actions.has(action);
}

/** Lets its owner pass, and who may do this with everybody's. */
function refuseOthers(
  entry: Pick<Entry, "name" | "value">,
  principal: Principal,
  action: Action,
): void {
  if (isOpenTo(entry, principal, action)) return;
  throw new ProblemError(403, `Subscription "${entry.name}" belongs to somebody else`);
}

async function refuseTooMany(registry: Registry<Subscription>, signal: AbortSignal): Promise<void> {
  if ((await registry.list({ signal })).length < SUBSCRIPTIONS_MAX) return;
  throw new ProblemError(429, `There are ${SUBSCRIPTIONS_MAX} subscriptions already`);
}

function checkName(name: string): void {
  if (isRegistryName(name)) return;
  throw new ProblemError(400, `"${name.slice(0, 100)}" cannot be the name of a subscription`, {
    parameter: "name",
    accepted: `1 to ${REGISTRY_NAME_LENGTH_MAX} letters, digits, ".", "_" and "-", ` +
      "beginning with a letter or digit",
  });
}

function absent(name: string): ProblemError {
  return new ProblemError(404, `There is no subscription "${name}"`);
}
