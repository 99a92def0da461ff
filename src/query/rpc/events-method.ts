/**
 * `auditEventsGet`: events of some topics as parts, in the order of time; or, where future events are awaited, from a
 * place on and then as they come.
 *
 * Both are the machinery of searches and tails. `seek` is inclusive and `seekEnd` exclusive in either order; `limit`
 * bounds all paths together; a silent path holds up none, since all paths are one condition.
 */
import { findColumn } from "../../event/columns.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Activity } from "../activity.ts";
import type { RowPlace } from "../cursor.ts";
import type { Executor } from "../executor.ts";
import type { Condition } from "../filter.ts";
import type { HotTable } from "../hot/table.ts";
import { TIME_MAX_US } from "../metric/watch.ts";
import { type EventsRequest, planEvents } from "../planner.ts";
import { PAGE_ROWS_MAX } from "../request.ts";
import { rowPlaceOf } from "../row-place.ts";
import { encodeTailPlace } from "../tail-place.ts";
import { follow, type TailItem, type TailSource } from "../tail/follow.ts";
import { removedNotice } from "../tail/gap-notice.ts";
import type { LiveClients } from "../tail/live-clients.ts";
import { comparePlaces, placeOfEvent, timeOfSeek } from "./event-place.ts";
import { reported, type RpcCall, type RpcMethod } from "./method.ts";
import { type EventsParams, parseEventsParams, type Seek, topicsCondition } from "./params.ts";

export interface EventsMethodParts {
  /** For what is looked up, and for answers that are made while they are sent. */
  readonly executor: Executor;
  readonly streams: Executor;
  readonly source: TailSource;
  readonly hot: HotTable;
  /** Clients that follow, and answers that are being sent. */
  readonly clients: LiveClients;
  readonly sending: Activity;
  readonly heartbeatMs: number;
  readonly clock: Clock;
}

/** Longest single wait for a time, in milliseconds: timers of the runtimes overflow after 24.8 days. */
const WAIT_MS = 86_400_000;

export function auditEventsGet(parts: EventsMethodParts): RpcMethod {
  return {
    isEndless: (params) =>
      typeof params === "object" && params !== null && "awaitFutureEvents" in params &&
      params.awaitFutureEvents === true,
    async run(call) {
      const params = parseEventsParams(call.params, call.time);
      const { clients, sending } = parts;
      const end = params.awaitFutureEvents ? clients.admit(call.principal) : sending.begin();
      const sent = { rows: 0 };
      call.report();
      try {
        const give = params.awaitFutureEvents ? giveLive : giveStored;
        const missing = await reported(call, sent, () => give(call, { params, sent }, parts));
        return { events: sent.rows, complete: missing.length === 0 };
      } finally {
        end();
      }
    },
  };
}

interface Work {
  readonly params: EventsParams;
  readonly sent: { rows: number };
}

async function giveStored(
  call: RpcCall,
  { params, sent }: Work,
  parts: EventsMethodParts,
): Promise<readonly string[]> {
  const { principal, signal } = call;
  const asker = { principal, signal };
  using lease = parts.hot.acquire();
  const { view } = lease;
  const bounds = await boundsOf(params, { ...parts, ...asker, view });
  const { limit = Infinity } = params;
  const rowsWanted = limit <= PAGE_ROWS_MAX ? limit : undefined;
  const request = { ...requestOf(params, bounds), limit: rowsWanted };
  const { steps, missing } = planEvents(request, principal, { view, form: "json" });
  const options = { ...asker, ...(limit === Infinity ? {} : { limit }) };
  if (params.topics?.length === 0) return missing;
  for await (const lines of parts.streams.texts(steps, options)) {
    for (const line of lines) {
      if (isBeyond(line, bounds, params.order)) return missing;
      await call.part("auditEvent", membersOf(line));
      sent.rows += 1;
    }
  }
  return missing;
}

/** Begin and end of what is asked for: times, and the events themselves where they were named by id. */
interface Bounds {
  readonly fromUs: number;
  readonly toUs: number;
  readonly first: RowPlace | undefined;
  readonly end: RowPlace | undefined;
}

async function boundsOf(
  { seek, seekEnd }: EventsParams,
  asker: Parameters<typeof placeOfEvent>[2],
): Promise<Bounds> {
  const first = seek?.kind === "event" ? await placeOfEvent("seek", seek, asker) : undefined;
  const end = seekEnd?.kind === "event" ? await placeOfEvent("seekEnd", seekEnd, asker) : undefined;
  const toUs = seekEnd?.kind === "time" ? seekEnd.timeUs : TIME_MAX_US;
  return {
    fromUs: first?.timeUs ?? (seek?.kind === "time" ? seek.timeUs : 0),
    toUs: end === undefined ? toUs : end.timeUs + 1,
    first,
    end,
  };
}

function requestOf(
  { topics, order }: EventsParams,
  { fromUs, toUs, first, end }: Bounds,
): EventsRequest {
  const before = first === undefined ? undefined : { ...first, idx: first.idx - 1 };
  const conditions = topicsCondition(topics);
  const after = order === "asc" ? before : end;
  return { fromUs, toUs, conditions, order, limit: undefined, after, upper: undefined };
}

/** Whether a line, and with it all that follow, lies beyond the bound that the order comes to last. */
function isBeyond(line: string, { first, end }: Bounds, order: "asc" | "desc"): boolean {
  if (order === "asc") return end !== undefined && comparePlaces(rowPlaceOf(line), end) >= 0;
  return first !== undefined && comparePlaces(rowPlaceOf(line), first) < 0;
}

async function giveLive(
  call: RpcCall,
  { params, sent }: Work,
  parts: EventsMethodParts,
): Promise<readonly string[]> {
  const { hot, source, heartbeatMs } = parts;
  const { seek, limit = Infinity } = params;
  if (seek?.kind === "event") await timeOf(call, { parameter: "seek", seek }, parts);
  const due = await openDue(call, params, parts);
  // Whatever happens from here on, nothing waits for the end any more.
  try {
    if (params.topics?.length === 0) return hot.missing();
    const signal = AbortSignal.any([call.signal, due.signal]);
    const items = follow(source, {
      request: {
        conditions: [...topicsCondition(params.topics), ...due.conditions],
        sinceUs: seek?.kind === "time" ? seek.timeUs : undefined,
      },
      principal: call.principal,
      place: seek?.kind === "place" ? seek.place : undefined,
      since: seek?.kind === "place" ? undefined : seek ?? { kind: "time", timeUs: 0 },
      isSinceIncluded: true,
      isDurable: true,
      quietMs: heartbeatMs,
      signal,
    });
    for await (const group of items) {
      for (const item of group) {
        if (item.kind === "present") due.isPresent();
        if (item.kind === "place" || item.kind === "present") {
          // Who is cut off before any event resumes from here, and who hears nothing else hears that we are there.
          await call.part("auditPlace", `"place":${JSON.stringify(encodeTailPlace(item.place))}`);
        }
        if (item.kind === "removed") await call.part("auditGap", gapMembersOf(item));
        if (item.kind !== "row") continue;
        await call.part("auditEvent", liveMembersOf(item));
        sent.rows += 1;
        if (sent.rows >= limit) return hot.missing();
      }
    }
    call.signal.throwIfAborted();
    return hot.missing();
  } finally {
    due.stop();
  }
}

/** The end of a call that awaits events: when its time has come, and what was before it was given. */
interface Due {
  readonly signal: AbortSignal;
  readonly conditions: readonly Condition[];
  isPresent(): void;
  stop(): void;
}

async function openDue(
  call: RpcCall,
  { seekEnd }: EventsParams,
  parts: EventsMethodParts,
): Promise<Due> {
  const ended = new AbortController();
  const stopped = new AbortController();
  const column = findColumn("time");
  if (seekEnd === undefined || column === undefined) {
    return { signal: ended.signal, conditions: [], isPresent: nothing, stop: nothing };
  }
  const toUs = await timeOf(call, { parameter: "seekEnd", seek: seekEnd }, parts);
  let isPresent = false;
  let isDue = false;
  const settle = (): void => {
    if (isPresent && isDue) ended.abort();
  };
  void waitUntil(toUs, parts.clock, stopped.signal).then(() => {
    isDue = true;
    settle();
  });
  return {
    signal: ended.signal,
    conditions: [{
      column,
      isNegated: false,
      matches: [{ kind: "compare", operator: "<", value: toUs }],
    }],
    isPresent() {
      isPresent = true;
      settle();
    },
    stop: () => stopped.abort(),
  };
}

function nothing(): void {}

async function timeOf(
  { principal, signal }: RpcCall,
  { parameter, seek }: { readonly parameter: string; readonly seek: Seek },
  parts: EventsMethodParts,
): Promise<number> {
  using lease = parts.hot.acquire();
  const asker = { ...parts, view: lease.view, principal, signal };
  return await timeOfSeek(parameter, seek, asker) ?? TIME_MAX_US;
}

/** Resolves at a time, or when the signal is aborted. */
async function waitUntil(timeUs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && clock.nowUs() < timeUs) {
    const leftMs = Math.ceil((timeUs - clock.nowUs()) / 1_000);
    await Promise.allSettled([clock.sleep(Math.min(WAIT_MS, leftMs), signal)]);
  }
}

function gapMembersOf({ removed, place }: Extract<TailItem, { kind: "removed" }>): string {
  const { count, reason, from } = removedNotice(removed);
  return JSON.stringify({ count, reason, from, place: encodeTailPlace(place) }).slice(1, -1);
}

function liveMembersOf({ row, place }: Extract<TailItem, { kind: "row" }>): string {
  return `${membersOf(row.json)},"place":${JSON.stringify(encodeTailPlace(place))}`;
}

/** `id`, `path` and `data` of an event. */
function membersOf(line: string): string {
  const event: unknown = JSON.parse(line);
  const { id = "", topic = "" } = typeof event === "object" && event !== null
    ? Object.fromEntries(Object.entries(event))
    : {};
  const path = topic === "" ? [] : String(topic).split("/");
  return `"id":${JSON.stringify(id)},"path":${JSON.stringify(path)},"data":${line}`;
}
