/**
 * Plans of coverage: what agents say of themselves, reduced to the moments at which something changed, and the gaps that
 * were told, those of one kind that follow each other closely as one.
 *
 * Invariants: every row read is narrowed by the principal's scopes; a month of heartbeats without a change is one row.
 */
import { conditionOn } from "../filter.ts";
import { type EventsRequest, type Plan, planWhole } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import { predicatesOf } from "./predicate.ts";
import { mayHoldColumn } from "./pruning.ts";

/** An agent that has not been heard of for so long is silent: three of its heartbeats, µs. */
export const SILENT_US = 90_000_000;
/** Looked back so far for hosts, and for what was on when the range begins, µs. */
export const LOOK_BACK_US = 86_400_000_000;
/** Moments, and gaps, of one host, and of one answer; the first of each host are read before the second of any. */
export const HOST_SIGNS_MAX = 2_000;
export const HOST_GAPS_MAX = 2_000;
export const SIGNS_MAX = 20_000;
export const GAPS_MAX = 10_000;
/** A clock that is no further ahead than this is heard at the time at which its words came, µs. */
const AHEAD_US = 86_400_000_000;
/** After all that may be told of, µs: the last moment that a time in JSON can be. */
const END_OF_TIME_US = Number.MAX_SAFE_INTEGER;
/** Gaps of one kind no further apart are one, µs. */
const MERGE_US = 60_000_000;

/** What an agent says of itself. */
export const SIGNS: readonly string[] = [
  "agent/start",
  "agent/stop",
  "agent/heartbeat",
  "agent/config",
];

/**
 * Rows of what edge agents said, by host and time: `host`, `agent`, `topic`, `time_us`, `version`, `boot`, `config`,
 * `sources` (JSON), `changed` (JSON), `outcome`, and of the sign before it of the agent `before_us` and `before_topic`;
 * `total` is how many there are of the host, of which at most {@link HOST_SIGNS_MAX} are given. A sign counts no later
 * than the broker had it: a clock that is ahead must not make who is gone look alive.
 */
export function planSigns(request: EventsRequest, principal: Principal, view: ReadView): Plan {
  const { fromUs, toUs } = request;
  const range = {
    ...request,
    fromUs: Math.max(0, fromUs - LOOK_BACK_US),
    toUs: toUs + SILENT_US + AHEAD_US,
  };
  return planWhole(range, { principal, view }, ({ source, binder }) => {
    const topics = `topic IN (${SIGNS.map((each) => binder.text(each)).join(", ")})`;
    const beat = binder.text("agent/heartbeat");
    const silent = binder.integer(SILENT_US);
    const signs = (): string => source([topics, "service IS NULL", "host IS NOT NULL"]);
    const told = (name: string): string => `json_extract_string(detail, '$.${name}')`;
    const list = (name: string): string => `json_extract(detail, '$.${name}')::VARCHAR`;
    // What a heartbeat says before its counters is compared as text: JSON is read of the few that are kept.
    return `WITH signs AS (SELECT host, topic, epoch_us(least("time", logged_at)) AS time_us, incarnation, seq, idx,
  agent, hash(split_part(detail, '"counters":', 1)) AS said FROM (\n${signs()}\n)
  WHERE time_us < ${binder.integer(toUs + SILENT_US)}),
placed AS (SELECT *, lag(time_us) OVER told AS before_us, lag(topic) OVER told AS before_topic,
  lead(time_us) OVER told AS next_us, said IS DISTINCT FROM lag(said) OVER told AS is_other
  FROM signs WINDOW told AS (PARTITION BY host, agent ORDER BY time_us, incarnation, seq, idx)),
kept AS (SELECT host, time_us, incarnation, seq, idx, before_us, before_topic,
  count(*) OVER (PARTITION BY host) AS total,
  row_number() OVER (PARTITION BY host ORDER BY time_us, incarnation, seq, idx) AS place
  FROM placed WHERE topic <> ${beat} OR is_other OR before_us IS NULL OR next_us IS NULL
    OR time_us - before_us > ${silent} OR next_us - time_us > ${silent}
  QUALIFY place <= ${binder.integer(HOST_SIGNS_MAX)}
  ORDER BY place, host LIMIT ${binder.integer(SIGNS_MAX)})
SELECT kept.host, agent, topic, kept.time_us, ${told("version")} AS version, ${
      told("boot")
    } AS boot, ${told("config_sha256")} AS config, ${list("sources")} AS sources, ${
      list("changed")
    } AS changed, outcome, before_us, before_topic, total
FROM (\n${signs()}\n) AS signs JOIN kept USING (incarnation, seq, idx)
ORDER BY kept.host, kept.time_us, incarnation, seq, idx`;
  });
}

/**
 * The first and the last sign of each agent before the time that {@link planSigns} looks back, as its rows but for what
 * came before: so that who has been silent for days is missed, and who took its place is known.
 */
export function planEarlierSigns(
  request: EventsRequest,
  principal: Principal,
  { view, lookBackUs }: { readonly view: ReadView; readonly lookBackUs: number },
): Plan {
  const { fromUs } = request;
  const range = {
    ...request,
    fromUs: Math.max(0, fromUs - lookBackUs),
    toUs: Math.max(0, fromUs - LOOK_BACK_US),
  };
  return planWhole(range, { principal, view }, ({ source, binder }) => {
    const topics = `topic IN (${SIGNS.map((each) => binder.text(each)).join(", ")})`;
    const signs = (): string => source([topics, "service IS NULL", "host IS NOT NULL"]);
    const heard = `least("time", logged_at)`;
    return `WITH ends AS (SELECT host, agent, min(${heard}) AS first, max(${heard}) AS last
  FROM (\n${signs()}\n) GROUP BY host, agent ORDER BY last DESC, host, agent LIMIT ${
      binder.integer(SIGNS_MAX / 2)
    })
SELECT signs.host, signs.agent, topic, epoch_us(${heard}) AS time_us,
  json_extract_string(detail, '$.version') AS version,
  json_extract_string(detail, '$.boot') AS boot, json_extract(detail, '$.sources')::VARCHAR AS sources
FROM (\n${signs()}\n) AS signs JOIN ends ON signs.host = ends.host AND signs.agent = ends.agent
  AND ${heard} IN (ends.first, ends.last)
QUALIFY row_number() OVER (PARTITION BY signs.host, signs.agent, ${heard}
  ORDER BY topic DESC, incarnation, seq, idx) = 1
ORDER BY signs.host, time_us, incarnation, seq, idx`;
  });
}

/** The last visible event of each host before the range, no further back than is told: rows of `host` and `last_us`. */
export function planLastHeard(
  request: EventsRequest,
  principal: Principal,
  { view, lookBackUs }: { readonly view: ReadView; readonly lookBackUs: number },
): Plan {
  const { fromUs } = request;
  const range = { ...request, fromUs: Math.max(0, fromUs - lookBackUs), toUs: fromUs };
  return planWhole(
    range,
    { principal, view },
    ({ source, binder }) =>
      `SELECT host, epoch_us(max("time")) AS last_us FROM (\n${source(["host IS NOT NULL"])}\n)
GROUP BY host ORDER BY last_us DESC, host LIMIT ${binder.integer(SIGNS_MAX)}`,
  );
}

/**
 * Rows of gaps that lie in the range at least in part, whenever they were told: a spool may wait for days before it
 * says what it gave up. By time: `host` (null when all hosts are concerned: what the stream lost, and who sent it is not
 * known), `agent`, `class`, `sources` (JSON), `from_us`,
 * `to_us`, `lost` (null when unknowable), `reason`, `reasons` (how many different ones), `events` and `id` (of the first
 * event that told it); `total` is how many there are of the host, of which at most {@link HOST_GAPS_MAX} are given.
 */
export function planGaps(request: EventsRequest, principal: Principal, view: ReadView): Plan {
  const isGap = {
    ...conditionOn("topic"),
    matches: [{ kind: "equal", value: "agent/gap" }],
  } as const;
  const files = view.files.filter((file) => mayHoldColumn(file, isGap));
  const range = { ...request, toUs: END_OF_TIME_US, conditions: [] };
  const told = planWhole(range, { principal, view: { ...view, files } }, ({ source, binder }) => {
    // A host says when its loss began and ended; what it cannot mean is cut to the time at which it said so.
    const moment = (name: string): string =>
      `CASE WHEN isfinite(${name}_time) AND ${name}_time BETWEEN make_timestamptz(0) AND "time"
    THEN epoch_us(${name}_time) END`;
    const kind = "host, agent, class, sources";
    const order = "from_us, class, sources, agent, id";
    const ofStream = `json_extract_string(detail, '$.class') = 'stream'`;
    const ofHost = ["host IS NOT NULL", ...predicatesOf(request.conditions, binder)].join(" AND ");
    const of = `(${ofStream} OR (${ofHost}))`;
    return `WITH told AS (SELECT CASE WHEN ${ofStream} THEN NULL ELSE host END AS host, agent, id, "time",
  coalesce(json_extract_string(detail, '$.class'), 'unknown') AS class,
  TRY_CAST(json_extract_string(detail, '$.count') AS BIGINT) AS lost,
  json_extract_string(detail, '$.reason') AS reason,
  json_extract(detail, '$.sources')::VARCHAR AS sources,
  TRY_CAST(json_extract_string(detail, '$.from') AS TIMESTAMPTZ) AS from_time,
  TRY_CAST(json_extract_string(detail, '$.to') AS TIMESTAMPTZ) AS to_time
FROM (\n${source([`topic = ${binder.text("agent/gap")}`, of])}\n)
WHERE class NOT IN ('throttle_begin', 'throttle_end')),
gaps AS (SELECT *, least(coalesce(${moment("from")}, epoch_us("time")), to_us) AS from_us FROM (
  SELECT *, coalesce(${moment("to")}, epoch_us("time")) AS to_us FROM told)),
apart AS (SELECT *, coalesce(from_us > max(to_us) OVER before + ${MERGE_US}, true) AS is_new
  FROM gaps WHERE from_us < ${binder.integer(request.toUs)}
    AND to_us >= ${binder.integer(request.fromUs)}
  WINDOW before AS (PARTITION BY ${kind} ORDER BY from_us, to_us, id
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
numbered AS (SELECT *, sum(is_new::INTEGER) OVER (PARTITION BY ${kind} ORDER BY from_us, to_us, id
  ROWS UNBOUNDED PRECEDING) AS number FROM apart),
joined AS (SELECT ${kind}, min(from_us) AS from_us, max(to_us) AS to_us,
  CASE WHEN count(lost) = count(*) THEN least(sum(lost), 9007199254740991)::BIGINT END AS lost,
  arg_min(reason, (from_us, to_us, id)) AS reason, count(DISTINCT reason) AS reasons,
  count(*) AS events, arg_min(id, (from_us, to_us, id)) AS id
FROM numbered GROUP BY ${kind}, number),
few AS (SELECT *, count(*) OVER (PARTITION BY host) AS total,
  row_number() OVER (PARTITION BY host ORDER BY ${order}) AS place FROM joined
  QUALIFY place <= ${binder.integer(HOST_GAPS_MAX)}
  ORDER BY place, host LIMIT ${binder.integer(GAPS_MAX)})
SELECT * FROM few ORDER BY host, ${order}`;
  });
  return { ...told, prunedFiles: told.prunedFiles + view.files.length - files.length };
}
