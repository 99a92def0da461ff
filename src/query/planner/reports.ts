/**
 * Plans of reports: the events of a kind as cells of text, their counts, uses of cryptography, and which batches the
 * range's events came in.
 *
 * Invariants: every row read is narrowed by the principal's scopes; the order of rows is given whole, so that the same
 * record gives the same report; a cell has at most {@link CELL_LENGTH_MAX} characters.
 */
import { PROOF_KEY } from "../../event/crypto/record.ts";
import { identifierOf, literalOf } from "../../storage/sql-text.ts";
import { type EventsRequest, type Plan, planWhole } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import type { CellSource, ReportKind } from "../reports/kinds.ts";
import type { Binder } from "./binder.ts";
import { topicIs } from "./predicate.ts";
import { timeText } from "./rows.ts";

/** Rows of one table in a report. */
export const REPORT_ROWS_MAX = 5_000;
export const CELL_LENGTH_MAX = 400;

/**
 * Events of a kind, by time: `time`, `host`, the kind's columns, `id`, and `total`: how many there are,
 * of which the first {@link REPORT_ROWS_MAX} are given.
 */
export function planReportEvents(
  request: EventsRequest,
  principal: Principal,
  { view, kind }: { readonly view: ReadView; readonly kind: ReportKind },
): Plan {
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const cells = kind.columns.map(({ name, from }) => `${cellOf(from)} AS ${identifierOf(name)}`);
    return `SELECT ${timeText(`events."time"`)} AS time, ${cut("host")} AS host, ${
      cells.join(", ")
    }, id, count(*) OVER () AS total FROM (\n${source([isOf(kind, binder)])}\n) AS events
ORDER BY events."time", events.host, incarnation, seq, idx LIMIT ${
      binder.integer(REPORT_ROWS_MAX)
    }`;
  });
}

/** Counts of a kind by host and its counted columns: `count`, `first`, `last` and `total`, as above. */
export function planReportCounts(
  request: EventsRequest,
  principal: Principal,
  { view, kind }: { readonly view: ReadView; readonly kind: ReportKind },
): Plan {
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const columns = kind.columns.filter(({ name }) => kind.counted.includes(name));
    const cells = columns.map(({ name, from }) => `${cellOf(from)} AS ${identifierOf(name)}`);
    const names = ["host", ...columns.map(({ name }) => identifierOf(name))].join(", ");
    return `SELECT ${names}, count(*) AS count, ${timeText(`min("time")`)} AS first, ${
      timeText(`max("time")`)
    } AS last, count(*) OVER () AS total FROM (SELECT ${cut("host")} AS host, ${
      cells.join(", ")
    }, "time" FROM (\n${source([isOf(kind, binder)])}\n)) GROUP BY ${names}
ORDER BY ${names} LIMIT ${binder.integer(REPORT_ROWS_MAX)}`;
  });
}

/**
 * Uses of cryptography by host, program and library: `host`, `exe`, `library` (path), `build_id`, `key`, `value`,
 * `processes`, `count`, `first`, `last`, `total`. `keys`: of these alone, so that what a program tells without end of
 * others leaves them room.
 */
export function planCryptoUses(
  request: EventsRequest,
  principal: Principal,
  { view, keys }: { readonly view: ReadView; readonly keys?: readonly string[] },
): Plan {
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const told = (name: string): string => cut(`json_extract_string(detail, '$.${name}')`);
    const is = topicIs("topic", "crypto", binder);
    const isAsked = keys === undefined
      ? `key <> ${literalOf(PROOF_KEY)}`
      : `key IN (${keys.map(literalOf).join(", ")})`;
    const by = "host, exe, library, build_id, key, value";
    return `SELECT ${by}, count(DISTINCT process_id) AS processes, count(*) AS count, ${
      timeText(`min("time")`)
    } AS first, ${timeText(`max("time")`)} AS last, count(*) OVER () AS total
FROM (SELECT ${cut("host")} AS host, ${cut("exe")} AS exe,
  ${told("library")} AS library, ${told("origin")} AS build_id,
  ${told("key")} AS key, ${told("value")} AS value, process_id, "time" FROM (\n${source([is])}\n))
WHERE ${isAsked} AND value IS NOT NULL GROUP BY ${by}
ORDER BY ${by} LIMIT ${binder.integer(REPORT_ROWS_MAX)}`;
  });
}

/**
 * Batches whose events lie in the range: `host`, `agent`, `epoch`, `first_batch`, `last_batch`, `batches`, `events`, of
 * them `archived`, `archived_to` (the last archived batch) and `total`.
 */
export function planBatches(request: EventsRequest, principal: Principal, view: ReadView): Plan {
  return planWhole(request, { principal, view }, ({ source, binder }) => {
    const waiting = view.hot.map(({ incarnation, after }) =>
      `(incarnation = ${binder.text(incarnation)} AND seq > ${binder.integer(after)})`
    );
    const archived = waiting.length === 0 ? "true" : `NOT (${waiting.join(" OR ")})`;
    return `SELECT host, agent, epoch, min(batch) AS first_batch, max(batch) AS last_batch,
  count(DISTINCT batch) AS batches, count(*) AS events, count(*) FILTER (is_archived) AS archived,
  max(batch) FILTER (is_archived) AS archived_to, count(*) OVER () AS total
FROM (SELECT *, ${archived} AS is_archived FROM (\n${source([])}\n))
GROUP BY host, agent, epoch ORDER BY host, agent, min(batch), epoch
LIMIT ${binder.integer(REPORT_ROWS_MAX)}`;
  });
}

function isOf({ topics, withGains }: ReportKind, binder: Binder): string {
  const alternatives = topics.map((topic) => topicIs("topic", topic, binder));
  if (withGains === true) {
    alternatives.push(
      `(topic = ${binder.text("process/exec")} AND contains(detail, '"caps_gained"'))`,
    );
  }
  return `(${alternatives.join(" OR ")}) AND (${OWN_PROOFS}) IS NOT TRUE`;
}

/**
 * What agents do each minute to prove that they see: they write to a file of their own, and try to trace themselves, which
 * the kernel refuses every process. With them no report of an hour could state that nothing happened.
 */
const OWN_PROOFS = `topic = 'file/change' AND contains(detail, '"canary":true') OR ` +
  `topic = 'process/ptrace' AND outcome = 'failure' AND ` +
  `json_extract_string(detail, '$.target_process_id') = process_id`;

function cellOf(from: CellSource): string {
  return cut(textOf(from));
}

function textOf(from: CellSource): string {
  if ("column" in from) return `${identifierOf(from.column)}::VARCHAR`;
  if ("detail" in from) return `json_extract_string(detail, ${literalOf(`$.${from.detail}`)})`;
  if ("changes" in from) return changesOf(from.changes);
  if ("either" in from) return `coalesce(${from.either.map(textOf).join(", ")})`;
  return `substr(topic, ${from.topicBelow.length + 2})`;
}

/** `user/shell ann: /bin/sh → /bin/bash; user/add eve: uid=1001; job/remove root: before * * * * * true` */
function changesOf(name: string): string {
  const member = (key: string) => `json_extract_string(change, '$.${key}')`;
  const [before, after] = [member("before"), member("after")];
  const text = `concat_ws(' ', ${member("what")}, ${member("who")}) || coalesce(': ' || CASE ` +
    `WHEN ${before} IS NULL THEN ${after} WHEN ${after} IS NULL THEN 'before ' || ${before} ` +
    `ELSE ${before} || ' → ' || ${after} END, '')`;
  const changes = `json_extract(detail, ${literalOf(`$.${name}[*]`)})`;
  return `nullif(array_to_string([${text} FOR change IN ${changes}], '; '), '')`;
}

function cut(text: string): string {
  return `CASE WHEN length(${text}) > ${CELL_LENGTH_MAX} THEN left(${text}, ${
    CELL_LENGTH_MAX - 1
  }) || '…' ELSE ${text} END`;
}
