/**
 * `auditEventsGet` as an iteration of events, stored or awaited.
 *
 * Invariant: each event is given once, in the order that was asked for, however often the call is made again: awaited
 * ones go on after the place that came last, stored ones after the last event that was given.
 */
import { objectWith } from "./answer.ts";
import { type RecordedEvent, recordedEvent } from "./record.ts";
import { SILENCE_MS } from "./reconnect.ts";
import type { RpcLink, RpcPart } from "./rpc-link.ts";
import { again, type AgainOptions, partsOf, type Reconnecting } from "./rpc-parts.ts";
import { gapOf, type TailGap } from "./tail.ts";

/** An event's id, ms since 1970, or a time such as `1h` or `2026-01-31T09:30:00Z`. */
export type RpcSeek = string | number;

export interface RpcEventsQuery {
  /** Lists of segments; each contains all paths below it, `[]` all. One question: each event once. */
  readonly paths: readonly (readonly string[])[];
  /** Inclusive; where events are awaited also a place to go on after. */
  readonly seek?: RpcSeek;
  /** Exclusive, whatever the order. */
  readonly seekEnd?: RpcSeek;
  /** `asc` unless told, and where events are awaited. */
  readonly order?: "asc" | "desc";
  /** Of all paths together. */
  readonly limit?: number;
  /** Goes on with what comes, until the signal is aborted or the loop is left; opened again after an outage. */
  readonly awaitFutureEvents?: boolean;
}

export type RpcEventItem =
  | {
    readonly kind: "event";
    readonly event: RecordedEvent;
    readonly path: readonly string[];
    /** Where events are awaited: as `seek`, goes on exactly after it, also in another process. */
    readonly place: string | undefined;
  }
  /** Events after the place to go on from may be gone; what is left follows. */
  | { readonly kind: "gap"; readonly gap: TailGap; readonly place: string | undefined }
  /** The service says at the end that it could not see a part of the record. */
  | { readonly kind: "incomplete" }
  | Reconnecting;

export type OpenLink = (signal: AbortSignal | undefined) => Promise<RpcLink>;

export function rpcEvents(
  open: OpenLink,
  query: RpcEventsQuery,
  options: AgainOptions,
): AsyncGenerator<RpcEventItem, void, undefined> {
  const progress: Progress = { given: 0, lastId: undefined, place: undefined };
  const asked = { open, query, options, progress };
  return query.awaitFutureEvents === true
    ? again((alive) => eventsLeg(asked, alive), options)
    : stored(asked);
}

/** How far the caller has read. */
interface Progress {
  given: number;
  lastId: string | undefined;
  place: string | undefined;
}

interface Asked {
  readonly open: OpenLink;
  readonly query: RpcEventsQuery;
  readonly options: AgainOptions;
  readonly progress: Progress;
}

async function* stored(asked: Asked): AsyncGenerator<RpcEventItem, void, undefined> {
  while ((yield* eventsLeg(asked, () => undefined)) === "more");
}

/** One call, from where the caller is. */
async function* eventsLeg(
  { open, query, options, progress }: Asked,
  alive: () => void,
): AsyncGenerator<RpcEventItem, "done" | "more", undefined> {
  const { signal, silenceMs = SILENCE_MS } = options;
  const { params, repeated } = paramsOf(query, progress);
  if (params.limit !== undefined && params.limit <= 0) return "done";
  const link = await open(signal);
  const parts = partsOf(link, {
    method: "auditEventsGet",
    ...{ params, signal, silenceMs: query.awaitFutureEvents === true ? silenceMs : undefined },
  });
  while (true) {
    const next = await parts.next();
    if (next.done === true) {
      if (next.value.kind === "overflow") return "more";
      const { complete } = objectWith("complete", next.value.result);
      if (complete !== true) yield { kind: "incomplete" };
      return "done";
    }
    alive();
    const { params: part } = next.value;
    const place = typeof part["place"] === "string" ? part["place"] : undefined;
    let isLeft = true;
    try {
      const isRepeated = repeated !== undefined && part["id"] === repeated;
      const item = isRepeated ? undefined : itemOf(next.value, place);
      if (item !== undefined) yield item;
      if (item?.kind === "event") {
        progress.given += 1;
        progress.lastId = String(part["id"]);
      }
      isLeft = false;
    } finally {
      if (isLeft) await parts.return({ kind: "overflow" });
    }
    progress.place = place ?? progress.place;
  }
}

/** What a part tells the caller; nothing where it says only how far it has come. */
function itemOf(
  { method, params }: RpcPart,
  place: string | undefined,
): Extract<RpcEventItem, { readonly kind: "event" | "gap" }> | undefined {
  if (method === "auditGap") return { kind: "gap", gap: gapOf(params), place };
  if (method !== "auditEvent") return undefined;
  return {
    kind: "event",
    event: recordedEvent(params["data"]),
    path: textsOf(params["path"]),
    place,
  };
}

/** What to ask for now, and the event that comes first although it was given. */
function paramsOf(
  query: RpcEventsQuery,
  { given, lastId, place }: Progress,
): { readonly params: RpcEventsQuery; readonly repeated: string | undefined } {
  const left = query.limit === undefined ? {} : { limit: query.limit - given };
  if (query.awaitFutureEvents === true) {
    const seek = place === undefined ? {} : { seek: place };
    return { params: { ...query, ...left, ...seek }, repeated: undefined };
  }
  if (lastId === undefined) return { params: query, repeated: undefined };
  if (query.order === "desc") {
    return { params: { ...query, ...left, seekEnd: lastId }, repeated: undefined };
  }
  // It is inclusive, so one more is asked for, unless nothing is left to ask for.
  const { limit } = left;
  const more = limit === undefined || limit === 0 ? left : { limit: limit + 1 };
  return { params: { ...query, ...more, seek: lastId }, repeated: lastId };
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : [];
}
