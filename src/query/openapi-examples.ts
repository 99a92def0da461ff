/** One answer of each route, and one body, as the description shows them; a test holds them against the types. */
import type { Route } from "./route.ts";

const EVENT = {
  id: "0a1b2c3d-17-0",
  time: "2026-06-01T09:30:00.000000Z",
  incarnation: "0a1b2c3d",
  seq: 17,
  idx: 0,
  host: "web-1",
  topic: "process/exec",
  logged_at: "2026-06-01T09:30:00.412000Z",
  outcome: "success",
  severity: "info",
  user: "www",
  uid: 33,
  pid: 4711,
  exe: "/usr/bin/id",
  message: "www ran /usr/bin/id",
  detail: { argv: ["id"] },
};
const GAP = { count: 3, reason: "the reader left", from: "0a1b2c3d-17-0", to: "0a1b2c3d-17-2" };
const RANGE = { from: "2026-06-01T00:00:00.000000Z", to: "2026-06-02T00:00:00.000000Z" };
const FIGURES = {
  count: 2,
  first: "2026-06-01T09:30:00.000000Z",
  last: "2026-06-01T09:31:00.000000Z",
};
const PROCESS = { process_id: "8975aece-8084-5727563", pid: 8084, exe: "/usr/sbin/sshd" };
const COVERED = { ...RANGE, agents_visible: true, cut: false };
const HOST = {
  host: "web-1",
  last_seen: "2026-06-01T09:30:00.000000Z",
  count: 7,
  state: "watched",
  since: "2026-06-01T00:00:00.000000Z",
  version: "0.1.0",
};
const CONTEXT = {
  ...RANGE,
  cut: false,
  contexts: [{
    ...{ host: "web-1", context: "7f00aa", origin: "27bb", executable: "curl" },
    ...{ start: 1_780_306_200.25, end: 1_780_306_200.5 },
    events: { name: "tls::handshake", "tls::protocol_version": 772 },
  }],
};
const CONTEXTS = { ...CONTEXT, next: null };

const SUBSCRIPTION = {
  name: "siem",
  state: "idle",
  filters: { topic: ["auth"] },
  owner: "ann",
  created: "2026-06-01T09:30:00.000000Z",
  last_seen: "2026-06-01T09:45:00.000000Z",
  expires: "2026-08-30T09:45:00.000000Z",
  when_behind: "pause",
  lag_max: "7d",
  expire: "90d",
  position: "MX4xNzgwMzA2MjAwMDAwMDAwfjBhMWIyYzNkLjE3Lg",
  lag: { messages: 0, seconds: 0 },
  delivered: 120,
  skipped: 0,
};
const SINK = {
  name: "siem",
  type: "webhook",
  topics: ["auth"],
  filters: {},
  state: "running",
  last_id: "0a1b2c3d-17-2",
  created: "2026-06-01T09:00:00.000000Z",
  lag: { messages: 0, seconds: 0.4 },
  delivered: 120,
  retries: 1,
  dead: 1,
  gaps: [{
    from: "0a1b2c3d-12-0",
    before: "2026-05-02T00:00:00.000000Z",
    count: null,
    reason: "retention may have removed events after the place to go on from",
    time: "2026-06-01T09:00:02.000000Z",
    told: true,
  }],
};

const HOLD = {
  name: "case-7",
  reason: "court order 17/26",
  hosts: ["web-*"],
  from: "2026-03-01T00:00:00.000Z",
  set: "2026-06-01T09:30:00.000Z",
};
const TOKEN = {
  name: "ann",
  role: "analyst",
  hosts: ["web-*"],
  topics: ["process"],
  created: "2026-06-01T09:30:00.000Z",
  expires: "2026-07-01T09:30:00.000Z",
  expired: false,
  by: "admin",
};

const METRIC = {
  topic: "process/exec",
  ...RANGE,
  total: 86_400,
  rate_per_second: 1,
  average_per_minute: 60,
  average_per_hour: 3_600,
  average_per_day: 86_400,
  first: "2026-06-01T00:00:01.000000Z",
  last: "2026-06-01T23:59:59.000000Z",
};

/** By method and path. A route that answers nothing needs none. */
const ANSWERS: Readonly<Record<string, unknown>> = {
  "GET /v1/events": { events: [EVENT], next: null },
  "GET /v1/events/{id}": EVENT,
  "GET /v1/tail": EVENT,
  "GET /v1/hits": {
    ...RANGE,
    step_seconds: 43_200,
    by: "topic",
    total: 7,
    times: ["2026-06-01T00:00:00.000000Z", "2026-06-01T12:00:00.000000Z"],
    series: [
      { value: "process/exec", total: 5, counts: [5, 0] },
      { others: true, total: 2, counts: [1, 1] },
    ],
  },
  "GET /v1/facets": {
    facets: [{
      column: "user",
      distinct: 2,
      present: 7,
      values: [{ value: "www", count: 5 }, { value: "root", count: 2 }],
    }],
  },
  "GET /v1/topics": {
    topics: [{ topic: "process", count: 7 }, { topic: "process/exec", count: 7 }],
  },
  "GET /v1/hosts": { ...COVERED, hosts: [{ ...HOST, gaps: 1 }] },
  "GET /v1/hosts/{host}": {
    ...COVERED,
    ...HOST,
    presence: { total: 1, values: [{ ...RANGE, state: "here", version: "0.1.0" }] },
    sources: [{
      source: "process",
      ranges: { total: 1, values: [{ ...RANGE, state: "partial", cause: "lost", count: 12 }] },
    }],
    gaps: {
      total: 1,
      values: [{ ...RANGE, class: "lost", count: 12, sources: ["process"], events: 1 }],
    },
    changes: { total: 0, values: [] },
  },
  "GET /v1/reports/{name}": {
    ...{ report: "packages", title: "Packages", ...RANGE, hosts: ["web-1"] },
    ...{ sees: { topics: "all", hosts: "all" }, no_change: false, watched: true, whole: true },
    statements: ["All hosts were watched for this all the time."],
    tables: [{
      ...{ table: "counts", title: "Packages: counts", total: 1 },
      columns: [{ name: "host", title: "Host" }, { name: "count", title: "Count" }],
      rows: [{ host: "web-1", count: 2 }],
    }],
    evidence: { events: 7, archived: 7, statements: ["…"], not_yet_verifiable: ["…"] },
  },
  "GET /v1/contexts": CONTEXTS,
  "GET /v1/contexts/{id}": CONTEXT,
  "GET /v1/metrics/{topic}": METRIC,
  "GET /v1/metrics/{topic}/tail": { ...METRIC, complete: true },
  "GET /v1/processes/{process_id}": {
    ...RANGE,
    host: "web-1",
    process: { ...PROCESS, started: "2026-06-01T08:00:00.000000Z", user: "root", events: 12 },
    ancestors: [{
      process_id: "8975aece-1-12",
      pid: 1,
      exe: "/usr/lib/systemd/systemd",
      events: 0,
    }],
    ancestors_cut: false,
    descendants: { total: 0, cut: false, processes: [] },
    activity: {
      topics: { total: 1, values: [{ topic: "network/accept", ...FIGURES }] },
      peers: {
        total: 1,
        values: [{ direction: "in", address: "192.0.2.7", port: 22, protocol: "tcp", ...FIGURES }],
      },
      files: { total: 0, values: [] },
    },
  },
  "GET /v1/files/history": {
    path: "/etc/ssh/sshd_config",
    ...RANGE,
    names: [{ host: "web-1", path: "/etc/ssh/sshd_config.new", ...RANGE }],
    names_cut: false,
    cut: false,
    events: [{ ...EVENT, topic: "file/change", path: "/etc/ssh/sshd_config" }],
  },
  "POST /v1/sql": {
    columns: [{ name: "user", type: "VARCHAR" }, { name: "n", type: "BIGINT" }],
    rows: [{ user: "www", n: 5 }],
    truncated: false,
  },
  "GET /v1/subscriptions": { subscriptions: [SUBSCRIPTION] },
  "GET /v1/subscriptions/{name}": SUBSCRIPTION,
  "PUT /v1/subscriptions/{name}": SUBSCRIPTION,
  "POST /v1/subscriptions/{name}/skip": {
    skipped: { count: 3, from: "0a1b2c3d-17-0", to: "0a1b2c3d-17-2" },
    subscription: SUBSCRIPTION,
  },
  "GET /v1/subscriptions/{name}/events": { events: [EVENT], gaps: [GAP] },
  "GET /v1/sinks": { sinks: [SINK] },
  "GET /v1/sinks/{name}": SINK,
  "POST /v1/sinks/{name}/skip": { skipped: 3, sink: SINK },
  "GET /v1/sinks/{name}/dead-letters": {
    dead_letters: [{
      id: "0a1b2c3d-17-2",
      time: "2026-06-01T09:30:10.000000Z",
      reason: "the server answered 422",
    }],
  },
  "GET /v1/table": {
    version: 41,
    files: 12,
    rows: 86_120,
    bytes: 2_411_008,
    days: 2,
    first_day: "2026-05-31",
    last_day: "2026-06-01",
    shards: [{ shard: "0", incarnation: "0a1b2c3d", sequence: 9_120, version: 41 }],
  },
  "GET /v1/table/history": {
    versions: [{
      version: 41,
      time: "2026-06-01T09:30:10.000Z",
      operation: "WRITE",
      shard: "0",
      files_added: 1,
      files_removed: 0,
      rows_added: 210,
      bytes_added: 9_120,
      schema_changed: false,
    }],
  },
  "GET /v1/holds": { holds: [HOLD] },
  "PUT /v1/holds/{name}": HOLD,
  "GET /v1/tokens": { tokens: [TOKEN] },
  "PUT /v1/tokens/{name}": { ...TOKEN, token: "prb_…" },
  "GET /healthz": { healthy: true },
  "GET /readyz": { ready: false, parts: [{ name: "bucket", reason: "it does not answer" }] },
  "GET /metrics": "probity_table_version 41\n",
  "GET /openapi.json": { openapi: "3.1.0" },
  "GET /docs": "<!doctype html>",
};

const BODIES: Readonly<Record<string, unknown>> = {
  "POST /v1/sql": {
    sql: "SELECT user, count(*) AS n FROM process_exec WHERE host = $host GROUP BY user",
    parameters: { host: "web-1" },
  },
};

/** The answer of a route's first media type; undefined when there is none yet. */
export function exampleOf({ method, path }: Pick<Route, "method" | "path">): unknown {
  return ANSWERS[`${method} ${path}`];
}

export function bodyExampleOf({ method, path }: Pick<Route, "method" | "path">): unknown {
  return BODIES[`${method} ${path}`];
}
