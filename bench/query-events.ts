/**
 * Rows of an invented archive for figures of queries, fitted to a recording of a machine that builds, tests and serves:
 * its shares of topics, lengths of texts, numbers of different paths, programs, commands and processes, how many events
 * share a time, and what of a row no compression can take away. Process ids do not repeat, changes carry diffs. Made by
 * DuckDB out of the number of the row, so that the same seed gives the same rows.
 *
 * A host sends when something happens on it: messages of many lines, as recorded. {@link RECORDED_BYTES} says how small
 * the recorded events of each topic are in a sorted file of theirs, and a figure of queries is worth nothing where the
 * invented ones are not as small.
 */
import { COLUMNS } from "../src/event/columns.ts";
import { sqlTypeOf } from "../src/storage/typed-read.ts";
import { detailSql, messageSql, pathSql, type Random, renamedSql } from "./query-event-texts.ts";

export const DAYS = 30;
export const HOSTS = 200;
/** Midnight, UTC. */
export const FIRST_DAY = "2026-01-01";
export const INCARNATION = "0a1b2c3d";
/** Lines of one message, as an agent sends them. */
export const MESSAGE_LINES = 400;
const DAY_US = 86_400_000_000;
/** Between two lines of a message. */
const LINE_US = 750;

/** Shares of topics in 10,000, as recorded; what is rare is there more often than in the recording. */
const SHARES: readonly (readonly [topic: string, share: number])[] = [
  ["file/create", 2_900],
  ["file/delete", 1_250],
  ["process/exit", 1_230],
  ["process/fork", 1_230],
  ["process/exec", 1_210],
  ["network/connect", 480],
  ["network/accept", 470],
  ["file/write", 400],
  ["file/rename", 320],
  ["network/close", 200],
  ["file/link", 180],
  ["file/change", 60],
  ["auth/login", 20],
  ["auth/sudo", 20],
  ["service/start", 15],
  ["network/listen", 15],
];

/**
 * Recorded events and bytes of each in a sorted file of the topic alone (`bench/compaction.ts` on a recording of 140,843
 * events); of topics of which enough was recorded to say so.
 */
export const RECORDED_BYTES: Readonly<
  Record<string, { readonly events: number; readonly bytes: number }>
> = {
  "file/create": { events: 43_887, bytes: 23.4 },
  "file/delete": { events: 18_014, bytes: 29.1 },
  "process/exit": { events: 17_582, bytes: 16.4 },
  "process/fork": { events: 17_575, bytes: 12.6 },
  "process/exec": { events: 17_227, bytes: 29.2 },
  "network/connect": { events: 6_920, bytes: 7.6 },
  "network/accept": { events: 6_753, bytes: 10 },
  "file/write": { events: 5_233, bytes: 14.8 },
  "file/rename": { events: 4_600, bytes: 48.2 },
  "file/link": { events: 2_846, bytes: 53.5 },
};

export interface RowsRequest {
  readonly seed: number;
  /** Numbers of the rows, over all days. */
  readonly from: number;
  readonly to: number;
  /** Of all days together. */
  readonly total: number;
}

/** Rows of each day but the last, which has the rest: whole messages. */
export function rowsOfDay(total: number): number {
  return Math.ceil(total / DAYS / MESSAGE_LINES) * MESSAGE_LINES;
}

export function sequencesOf({ from, to }: Pick<RowsRequest, "from" | "to">) {
  return { first: Math.floor(from / MESSAGE_LINES) + 1, last: Math.ceil(to / MESSAGE_LINES) };
}

/** All columns of the rows, message after message, as a roll-up takes them from the log. */
export function rowsSql({ seed, from, to, total }: RowsRequest): string {
  const random: Random = (salt, below, of = "n") =>
    `(hash(${of}, ${seed * 100 + salt}) % ${below})::BIGINT`;
  const perDay = rowsOfDay(total);
  // No message goes on after midnight.
  const stepUs = (DAY_US - 1_000_000) / (perDay / MESSAGE_LINES);
  const base = `
    SELECT range AS n, range // ${MESSAGE_LINES} AS message_number,
      range % ${MESSAGE_LINES} AS line,
      ${topicSql((rows, below) => `(hash(${rows}, ${seed}) % ${below})`)} AS topic
    FROM range(${from}, ${to})`;
  const sent = `
    SELECT *,
      TIMESTAMPTZ '${FIRST_DAY} 00:00:00Z' + to_microseconds((n // ${perDay}) * ${DAY_US} +
        (((n % ${perDay}) // ${MESSAGE_LINES} + ${random(1, 1000, "message_number")} / 1000.0)
          * ${stepUs})::BIGINT) AS sent_at,
      -- Some hosts do much more than others.
      floor(${HOSTS} * pow(${
    random(2, 1_000_000, "message_number")
  } / 1000000.0, 1.6))::BIGINT AS h,
      -- How many events in a row have one time, and one process.
      CASE topic WHEN 'file/create' THEN 2 WHEN 'file/delete' THEN 8 WHEN 'file/rename' THEN 3
        WHEN 'file/link' THEN 5 ELSE 1 END AS same_time,
      CASE WHEN topic LIKE 'process/%' THEN n // 3 * 50 WHEN topic LIKE 'network/%' THEN n // 400 * 50 + 2
        WHEN topic = 'file/write' THEN n // 400 * 50 + 4
        WHEN topic LIKE 'file/%' THEN n // 50 * 50 + 1 ELSE n // 400 * 50 + 3 END AS process
    FROM (${base})`;
  const facts = `
    SELECT *, 'host-' || lpad(h::VARCHAR, 3, '0') AS host,
      line // same_time * same_time * ${LINE_US} +
        CASE WHEN topic LIKE 'process/%' THEN ${random(3, 500)} ELSE 0 END AS after_us,
      CASE WHEN topic LIKE 'network/%' THEN ${random(4, 4, "process")}
        WHEN topic LIKE 'file/%' THEN ${random(4, 18, "process")}
        WHEN topic = 'process/fork' THEN ${random(4, 9, "n // 400")}
        ELSE ${random(5, 900, "process")} % 57 END AS exe_number,
      ${random(5, 900, "process")} AS command_number,
      ${random(6, 2, "process")} AS user_number,
      300 + (process // 50) % 4000000 AS pid_number,
      lower(to_hex(2300000000 + h)) AS boot,
      n // 400 * 50 + 3 AS parent
    FROM (${sent})`;
  const shown = `
    SELECT *, '/usr/bin/program-' || exe_number AS exe_text, ${pathSql(random)} AS path_text,
      boot || '-' || pid_number || '-' || process AS process_text,
      boot || '-' || (300 + (parent // 50) % 4000000) || '-' || parent AS parent_text,
      'program-' || exe_number || ' --run task-' || command_number || ' -o /srv/app/build/output-' ||
        (command_number * 7) AS command_text,
      32768 + (n // 9) % 28000 +
        CASE topic WHEN 'network/accept' THEN ${random(8, 3)} ELSE 0 END AS port
    FROM (${facts})`;
  const values = valuesOf(random);
  const columns = COLUMNS.map((column) =>
    `CAST(${values[column.name] ?? "NULL"} AS ${sqlTypeOf(column)}) AS "${column.name}"`
  );
  return `SELECT ${columns.join(", ")} FROM (${shown})`;
}

function valuesOf(random: Random): Readonly<Record<string, string>> {
  const user = "['root', 'deploy'][user_number + 1]";
  const uid = "[0, 1000][user_number + 1]";
  const isNetwork = "topic LIKE 'network/%'";
  return {
    time: "sent_at + to_microseconds(after_us)",
    incarnation: `'${INCARNATION}'`,
    seq: "message_number + 1",
    idx: "line",
    host: "host",
    topic: "topic",
    logged_at: "sent_at + INTERVAL 400 MILLISECOND",
    outcome:
      "CASE WHEN topic = 'process/exit' THEN NULL WHEN n % 97 = 0 THEN 'failure' ELSE 'success' END",
    errno: "CASE WHEN topic <> 'process/exit' AND n % 97 = 0 THEN 13 END",
    severity: "CASE WHEN topic LIKE 'auth/%' THEN 'medium' ELSE 'info' END",
    user,
    uid,
    euid: uid,
    gid: uid,
    pid: "pid_number",
    ppid: "300 + (parent // 50) % 4000000",
    process_id: "process_text",
    parent_process_id: "parent_text",
    exe: "exe_text",
    comm: "'program-' || exe_number",
    path: "path_text",
    src_ip: `CASE WHEN ${isNetwork} THEN '127.0.0.1' END`,
    src_port: `CASE WHEN ${isNetwork} THEN port END`,
    dst_ip: `CASE WHEN ${isNetwork} AND topic <> 'network/listen' THEN '127.0.0.1' END`,
    dst_port: `CASE WHEN ${isNetwork} AND topic <> 'network/listen' THEN 41000 + ${
      random(7, 180, "message_number")
    } END`,
    protocol: `CASE WHEN ${isNetwork} THEN 'tcp' END`,
    cmdline: "CASE topic WHEN 'process/exec' THEN command_text END",
    cwd: "CASE topic WHEN 'process/exec' THEN '/srv/app/' || (command_number % 17) END",
    old_path: `CASE topic WHEN 'file/rename' THEN ${renamedSql(random)} END`,
    message: messageSql(random),
    detail: detailSql(random),
    agent: "'agent-' || h",
    epoch: "'e' || h",
    batch: "message_number",
  };
}

/** Events of these come in runs: many connections of one server, many lines of one log. */
const RUNS: ReadonlySet<string> = new Set([
  "network/connect",
  "network/accept",
  "network/close",
  "network/listen",
  "file/write",
]);
const RUN_LINES = 6;

/** Topic of a row: of its whole run, or of the row alone. */
function topicSql(drawOf: (rows: string, below: number) => string): string {
  const inRuns = SHARES.filter(([topic]) => RUNS.has(topic));
  const alone = SHARES.filter(([topic]) => !RUNS.has(topic));
  const runs = casesOf(inRuns, drawOf(`range // ${RUN_LINES}`, 10_000));
  return `CASE ${runs} ELSE CASE ${casesOf(alone, drawOf("range", sharesOf(alone)))} END END`;
}

function casesOf(shares: typeof SHARES, draw: string): string {
  let upTo = 0;
  return shares.map(([topic, part]) => `WHEN ${draw} < ${upTo += part} THEN '${topic}'`).join(" ");
}

function sharesOf(shares: typeof SHARES): number {
  return shares.reduce((sum, [, part]) => sum + part, 0);
}
