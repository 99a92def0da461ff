/**
 * Plans of one process: its family as the record tells it, what is known of each member, and what it did itself.
 *
 * Invariants: every row read is narrowed by the principal's scopes; families of two hosts never mix; a process has one
 * parent, that of its fork if it was seen, so that no walk goes in a circle for ever.
 */
import { type Condition, conditionOn } from "../filter.ts";
import { type EventsRequest, type Plan, planWhole } from "../planner.ts";
import type { Principal } from "../principal.ts";
import type { ReadView } from "../read-view.ts";
import type { Binder } from "./binder.ts";

/** Members of a list in the answer, unless its own limit is named. */
export const LIST_MAX = 100;
export const DESCENDANTS_MAX = 1_000;
/** Generations that are followed. */
export const ANCESTORS_DEPTH = 64;
export const DESCENDANTS_DEPTH = 256;
/** Of the ancestors that one event names, so many are read; agents name eight. */
const TOLD_MAX = 64;
/** What tells a parent better comes first: a fork, then any event of the process, then what others say. */
const RANK_US = 4_503_599_627_370_496;
/** Topics whose events name ancestors. */
const TELLING_TOPICS = ["process/exec", "file/change"];

export interface ProcessRequest extends EventsRequest {
  /** `<boot>-<pid>-<start>`. */
  readonly processId: string;
}

/**
 * Rows with `host`, `role` (`process`, `ancestor` or `descendant`), `process_id`, `parent` (its `process_id`), `depth`
 * (generations from the process), `exe` and `comm` (as events of others name it), and `total` (how many of the role on
 * the host there are). None when nothing names the process.
 */
export function planFamily(request: ProcessRequest, principal: Principal, view: ReadView): Plan {
  const { processId } = request;
  const narrowed = withConditions(request, sameBoot(processId));
  return planWhole(narrowed, { principal, view }, ({ source, binder }) => {
    const id = binder.text(processId);
    const boot = binder.text(bootOf(processId));
    const telling = `topic IN (${TELLING_TOPICS.map((each) => binder.text(each)).join(", ")})`;
    const naming = `(process_id = ${id} OR contains(detail, ${binder.text(`"${processId}"`)}))`;
    const fork = binder.text("process/fork");
    return `WITH RECURSIVE
lists AS (SELECT host, from_json(detail::JSON->'ancestors', '${ANCESTORS}') AS list FROM (\n${
      source([telling, naming])
    }\n)),
told AS MATERIALIZED (SELECT host, list[place].process_id AS process_id, list[place].exe AS exe,
  list[place].comm AS comm, list[place + 1].process_id AS parent
  FROM lists, unnest(range(1, least(len(list), ${TOLD_MAX}) + 1)) AS places(place)
  WHERE starts_with(list[place].process_id, ${boot})),
names AS (SELECT host, process_id, max(exe) AS exe, max(comm) AS comm FROM told GROUP BY ALL),
edges AS MATERIALIZED (SELECT host, process_id, arg_min(nullif(parent, process_id), rank) AS parent
  FROM (SELECT host, process_id, parent_process_id AS parent,
    epoch_us("time") + CASE WHEN topic = ${fork} THEN 0 ELSE ${RANK_US} END AS rank FROM (\n${
      source([])
    }\n) UNION ALL SELECT host, process_id, parent, 2 * ${RANK_US} AS rank FROM told)
  WHERE host IS NOT NULL GROUP BY host, process_id),
roots AS (SELECT DISTINCT host FROM edges WHERE process_id = ${id} OR parent = ${id}),
down(host, process_id, parent, depth) AS (
  SELECT host, process_id, parent, 1 FROM edges WHERE parent = ${id}
  UNION ALL SELECT edges.host, edges.process_id, edges.parent, depth + 1
  FROM down JOIN edges ON edges.host = down.host AND edges.parent = down.process_id
  WHERE edges.process_id <> ${id} AND depth < ${DESCENDANTS_DEPTH}),
up(host, process_id, depth) AS (
  SELECT host, parent, 1 FROM edges WHERE process_id = ${id} AND parent IS NOT NULL
  UNION ALL SELECT edges.host, edges.parent, depth + 1
  FROM up JOIN edges ON edges.host = up.host AND edges.process_id = up.process_id
  WHERE edges.parent <> ${id} AND depth < ${ANCESTORS_DEPTH}),
family AS (
  SELECT host, 'process' AS role, ${id} AS process_id, 0 AS depth FROM roots
  UNION ALL SELECT host, 'ancestor', process_id, depth FROM up
  UNION ALL SELECT host, 'descendant', process_id, depth FROM down)
SELECT host, role, process_id, edges.parent, depth, exe, comm, total FROM (
  SELECT *, count(*) OVER (PARTITION BY host, role) AS total FROM family
  QUALIFY row_number() OVER (PARTITION BY host, role ORDER BY depth, process_id)
    <= ${binder.integer(DESCENDANTS_MAX)})
LEFT JOIN edges USING (host, process_id) LEFT JOIN names USING (host, process_id)
ORDER BY host, role, depth, process_id`;
  });
}

const ANCESTORS = `[{"process_id":"VARCHAR","exe":"VARCHAR","comm":"VARCHAR"}]`;

export interface MembersRequest extends ProcessRequest {
  readonly host: string;
  /** Of the family, all of the same boot. */
  readonly members: readonly string[];
}

/**
 * Rows with what is known of each member that has events: `process_id`, `exe`, `comm`, `cmdline`, `cwd`, `user`, `uid`,
 * `auid`, `auid_user`, `session`, `container`, `unit` as they were last, `forked`, `exited`, `duration_ms`, `exit_code`,
 * `signal`, `execs`, `rows`, and `told`, when it last did something.
 */
export function planMembers(request: MembersRequest, principal: Principal, view: ReadView): Plan {
  const { members, processId, host } = request;
  const narrowed = withConditions(request, sameBoot(processId));
  return planWhole(narrowed, { principal, view }, ({ source, binder }) => {
    const ids = `process_id IN (${members.map((each) => binder.text(each)).join(", ")})`;
    const is = (topic: string): string => `FILTER (topic = ${binder.text(`process/${topic}`)})`;
    const latest = [...IMAGE, ...OWNER].map((name) => `arg_max("${name}", "time") AS "${name}"`);
    const ended = ["duration_ms", "exit_code", "signal"].map((name) =>
      `max(TRY_CAST(json_extract_string(detail, '$.${name}') AS DOUBLE)) ${is("exit")} AS ${name}`
    );
    return `SELECT process_id, ${latest.join(", ")}, min("time") ${is("fork")} AS forked,
  max("time") ${is("exit")} AS exited, ${ended.join(", ")}, count(*) ${is("exec")} AS execs,
  count(*) AS rows, max("time") AS told
FROM (\n${source([ids, hostIs(host, binder)])}\n) GROUP BY process_id`;
  });
}

/**
 * At most one row: the last login of a session before a moment, `time`, `id`, `user`, `session`, `src_ip`, and of its
 * detail `remote`, `method` and `tty`. Numbers of sessions are used again after a boot: it is the last one that counts.
 */
export function planLogin(
  request: EventsRequest & { readonly host: string; readonly session: string },
  principal: Principal,
  view: ReadView,
): Plan {
  const { host, session } = request;
  const narrowed = withConditions(request, [equal("session", session)]);
  return planWhole(narrowed, { principal, view }, ({ source, binder }) => {
    const told = ["remote", "method", "tty"].map((name) =>
      `left(json_extract_string(detail, '$.${name}'), ${TOLD_LENGTH_MAX}) AS ${name}`
    );
    const is = `topic = ${binder.text("auth/login")} AND outcome IS DISTINCT FROM 'failure'`;
    return `SELECT "time", id, "user", session, src_ip, ${told.join(", ")}
FROM (\n${source([is, hostIs(host, binder)])}\n) ORDER BY "time" DESC, id DESC LIMIT 1`;
  });
}

/** Longest text of a login, in characters. */
const TOLD_LENGTH_MAX = 300;

/** What it ran, and as whom. */
const IMAGE = ["exe", "comm", "cmdline", "cwd"];
const OWNER = ["user", "uid", "auid", "auid_user", "session", "container", "unit"];

/**
 * Rows of what the process did, by `kind`: `topic` has `topic`; `peer` has `direction` (`out` or `in`), `address`,
 * `port`, `protocol`, `bytes_in` and `bytes_out`; `file` has `path` and `topics`. All have `rows`, `first`, `last`, and
 * `total`: how many of the kind there are, of which the most frequent {@link LIST_MAX} are given.
 */
export function planDeeds(
  request: ProcessRequest & Pick<MembersRequest, "host">,
  principal: Principal,
  view: ReadView,
): Plan {
  const narrowed = withConditions(request, [equal("process_id", request.processId)]);
  return planWhole(narrowed, { principal, view }, ({ source, binder }) => {
    const most = (order: string): string =>
      `QUALIFY row_number() OVER (ORDER BY rows DESC, ${order}) <= ${binder.integer(LIST_MAX)}`;
    const figures = `count(*) AS rows, min("time") AS first, max("time") AS last`;
    const bytes = ["bytes_in", "bytes_out"].map((name) =>
      `sum(TRY_CAST(json_extract_string(detail, '$.${name}') AS BIGINT))::BIGINT AS ${name}`
    ).join(", ");
    return `WITH own AS MATERIALIZED (SELECT topic, "time", path, src_ip, dst_ip, dst_port, protocol,
  CASE WHEN starts_with(topic, 'network/') THEN detail END AS detail FROM (\n${
      source([hostIs(request.host, binder)])
    }\n)),
topics AS (SELECT 'topic' AS kind, topic, ${figures}, count(*) OVER () AS total
  FROM own GROUP BY topic ${most("topic")}),
peers AS (SELECT 'peer' AS kind, direction, CASE direction WHEN 'out' THEN dst_ip ELSE src_ip END
  AS address, dst_port AS port, protocol, ${bytes}, ${figures}, count(*) OVER () AS total FROM (
    SELECT *, CASE replace(CASE WHEN topic = 'network/close' THEN
      json_extract_string(detail, '$.ends') ELSE topic END, 'network/', '')
      WHEN 'connect' THEN 'out' WHEN 'accept' THEN 'in' END AS direction FROM own
      WHERE topic IN ('network/connect', 'network/accept', 'network/close'))
  WHERE direction IS NOT NULL GROUP BY direction, address, port, protocol
  ${most("direction, address, port")}),
files AS (SELECT 'file' AS kind, path, list_sort(list(DISTINCT topic)) AS topics, ${figures},
  count(*) OVER () AS total FROM own WHERE path IS NOT NULL AND starts_with(topic, 'file/')
  GROUP BY path ${most("path")})
SELECT * FROM (FROM topics UNION ALL BY NAME FROM peers UNION ALL BY NAME FROM files)
ORDER BY kind, rows DESC, topic, direction, address, port, path`;
  });
}

/** The first part of an id, with the sign that ends it. */
function bootOf(processId: string): string {
  return processId.slice(0, processId.indexOf("-") + 1);
}

function sameBoot(processId: string): Condition[] {
  return [{
    ...conditionOn("process_id"),
    matches: [{ kind: "glob", parts: [bootOf(processId), { wildcard: "*" }] }],
  }];
}

function equal(name: string, value: string): Condition {
  return { ...conditionOn(name), matches: [{ kind: "equal", value }] };
}

function hostIs(host: string, binder: Binder): string {
  return `host = ${binder.text(host)}`;
}

function withConditions<R extends EventsRequest>(request: R, more: readonly Condition[]): R {
  return { ...request, conditions: [...request.conditions, ...more] };
}
