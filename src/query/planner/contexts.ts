/**
 * Plans of contexts: events that belong to a context of cryptography or of an application, in an order in which their
 * trees grow, or those of contexts that are named.
 *
 * Invariant: every row read is narrowed by the principal's scopes; a plan reads at most {@link CONTEXT_EVENTS_MAX}.
 */
import {
  beyond,
  type EventsRequest,
  PAGE_SLICE,
  type Plan,
  planSlices,
  rangeOf,
} from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import type { Binder } from "./binder.ts";
import { topicIs } from "./predicate.ts";

/** Events that a page, or what is looked for before or after it, is made of. */
export const CONTEXT_EVENTS_MAX = 20_000;
/** Longest value, in characters. */
const VALUE_LENGTH_MAX = 1_000;

/** Contexts that are looked for: by their own id, or also by that of the one they lie in. */
export interface Wanted {
  readonly contexts: readonly string[];
  readonly by: "context" | "context or parent";
}

/**
 * Rows in the request's order: `host`, `context`, `parent`, `time_us`, `incarnation`, `seq`, `idx`, `topic`, `exe`,
 * `origin`, `key`, `kind` (of value, as probes call it), `value` and `is_number`. Each step gives up to one more than is
 * asked for, which says that there are more.
 */
export function planContextEvents(
  request: EventsRequest,
  principal: Principal,
  { view, wanted, eventsMax = CONTEXT_EVENTS_MAX }: {
    readonly view: ReadView;
    readonly wanted?: Wanted | undefined;
    readonly eventsMax?: number;
  },
): Plan {
  const { order, after } = request;
  const slicing = { ...PAGE_SLICE, order };
  return planSlices(
    request,
    principal,
    { view, range: rangeOf(request), slicing },
    ({ source, binder }) => {
      const told = (name: string): string =>
        `left(json_extract_string(detail, '$.${name}'), ${VALUE_LENGTH_MAX}) AS ${name}`;
      const predicates = [
        ...spanning(binder),
        ...(after === undefined ? [] : [beyond(after, order, binder)]),
        ...(wanted === undefined ? [] : [isWanted(wanted, binder)]),
      ];
      const by = [`"time"`, "incarnation", "seq", "idx"].map((name) => `${name} ${order}`);
      return `SELECT host, context, parent_context AS parent, epoch_us("time") AS time_us, incarnation, seq, idx,
  topic, exe, ${told("origin")}, ${told("key")}, ${
        told("value")
      }, json_extract_string(detail, '$.type') AS kind,
  json_type(detail, '$.value') IN ('BIGINT', 'UBIGINT', 'DOUBLE') AS is_number
FROM (\n${source(predicates)}\n)
ORDER BY ${by.join(", ")} LIMIT ${binder.integer(eventsMax + 1)}`;
    },
  );
}

function isWanted({ contexts, by }: Wanted, binder: Binder): string {
  const list = `(SELECT unnest(CAST(${binder.text(JSON.stringify(contexts))}::JSON AS VARCHAR[])))`;
  const is = `context IN ${list}`;
  return by === "context" ? is : `(${is} OR parent_context IN ${list})`;
}

function spanning(binder: Binder): string[] {
  const topics = ["crypto", "app"].map((topic) => topicIs("topic", topic, binder));
  return [`(${topics.join(" OR ")})`, "context IS NOT NULL", "host IS NOT NULL"];
}
