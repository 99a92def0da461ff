/**
 * Plans of contexts: events that belong to a context of cryptography or of an application, in the order in which their
 * trees grow, and where one context is found.
 *
 * Invariant: every row read is narrowed by the principal's scopes; an answer reads at most {@link CONTEXT_EVENTS_MAX}.
 */
import { type EventsRequest, type Plan, planWhole } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import type { Binder } from "./binder.ts";
import { topicIs } from "./predicate.ts";

/** Events that one answer is made of. */
export const CONTEXT_EVENTS_MAX = 20_000;
/** Longest value, in characters. */
const VALUE_LENGTH_MAX = 1_000;

/**
 * Rows by time: `host`, `context`, `parent`, `time_us`, `topic`, `exe`, `origin`, `key`, `kind` (of value, as probes
 * call it), `value` and `is_number`. One more than {@link CONTEXT_EVENTS_MAX} says that there are more.
 */
export function planContextEvents(
  request: EventsRequest,
  principal: Principal,
  view: ReadView,
): Plan {
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const told = (name: string): string =>
      `left(json_extract_string(detail, '$.${name}'), ${VALUE_LENGTH_MAX}) AS ${name}`;
    return `SELECT host, context, parent_context AS parent, epoch_us("time") AS time_us, topic, exe,
  ${told("origin")}, ${told("key")}, ${
      told("value")
    }, json_extract_string(detail, '$.type') AS kind,
  json_type(detail, '$.value') IN ('BIGINT', 'UBIGINT', 'DOUBLE') AS is_number
FROM (\n${source(spanning(binder))}\n)
ORDER BY "time", incarnation, seq, idx LIMIT ${binder.integer(CONTEXT_EVENTS_MAX + 1)}`;
  });
}

/** Rows of where a context is found: `host`, `pid`, `from_us`, `to_us`; at most two, for one place is wanted. */
export function planContextPlace(
  request: EventsRequest,
  principal: Principal,
  { view, context }: { readonly view: ReadView; readonly context: string },
): Plan {
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const is = `context = ${binder.text(context)}`;
    return `SELECT host, min(pid) AS pid, count(DISTINCT pid) AS pids,
  epoch_us(min("time")) AS from_us, epoch_us(max("time")) AS to_us
FROM (\n${source([...spanning(binder), is])}\n) GROUP BY host ORDER BY host LIMIT 2`;
  });
}

function spanning(binder: Binder): string[] {
  const topics = ["crypto", "app"].map((topic) => topicIs("topic", topic, binder));
  return [`(${topics.join(" OR ")})`, "context IS NOT NULL", "host IS NOT NULL"];
}
