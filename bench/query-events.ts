/**
 * Rows of an invented archive for figures of queries, fitted to a recording (`query-recorded.ts`) of a machine that
 * builds, tests and serves: its shares of topics, lengths of texts, numbers of different paths, programs, commands and
 * processes, how many events share a time, and what of a row no compression can take away. Process ids do not repeat,
 * changes carry diffs. Made by DuckDB out of the number of the row, so that the same seed gives the same rows.
 *
 * A host sends when something happens on it: messages of many lines, as recorded. How small recorded events of each
 * topic are in a sorted file of theirs is known, and a figure of queries is worth nothing where the invented ones are
 * not as small (`bytesBesideRecorded`).
 */
import { COLUMNS } from "../src/event/columns.ts";
import { sqlTypeOf } from "../src/storage/typed-read.ts";
import { RECORDED } from "./query-recorded.ts";
import {
  detailSql,
  drawnSql,
  messageSql,
  pathSql,
  pidSql,
  processText,
  type Random,
  renamedSql,
} from "./query-event-texts.ts";

export const DAYS = 30;
export const HOSTS = 200;
/** Some hosts do much more than others: a part of them, to the power of one through this, is the part of the events. */
export const HOSTS_POWER = 1.6;
/** Midnight, UTC. */
export const FIRST_DAY = "2026-01-01";
export const INCARNATION = "0a1b2c3d";
/** Lines of one message, as an agent sends them; whole runs of rows. */
export const MESSAGE_LINES = 180;
const DAY_US = 86_400_000_000;
/** Between two lines of a message. */
const LINE_US = 3_500;

/** Between the hashed numbers of two salts: more than there are rows. */
const SALT_STEP = 10_000_000_000;
/** Different commands. */
const COMMANDS = 5_000;

export interface RowsRequest {
  readonly seed: number;
  /** Numbers of the rows, over all days. */
  readonly from: number;
  readonly to: number;
  /** Of all days together. */
  readonly total: number;
  /** Of so many hosts alone, of those that do most; of all by default. */
  readonly hosts?: number;
}

/** Rows of each day but the last, which has the rest: whole messages. */
export function rowsOfDay(total: number): number {
  return Math.ceil(total / DAYS / MESSAGE_LINES) * MESSAGE_LINES;
}

export function sequencesOf({ from, to }: Pick<RowsRequest, "from" | "to">) {
  return { first: Math.floor(from / MESSAGE_LINES) + 1, last: Math.ceil(to / MESSAGE_LINES) };
}

/** All columns of the rows, message after message, as a roll-up takes them from the log. */
export function rowsSql({ seed, from, to, total, hosts = HOSTS }: RowsRequest): string {
  // Numbers of two salts are independent: a hash of two values would be that of the one, changed alike for every row.
  const random: Random = (salt, below, of = "n") =>
    `(hash(${of} + ${(seed * 1000 + salt) * SALT_STEP}) % ${below})::BIGINT`;
  const perDay = rowsOfDay(total);
  // No message goes on after midnight.
  const stepUs = (DAY_US - 2_000_000) / (perDay / MESSAGE_LINES);
  const base = `
    SELECT range AS n, range // ${MESSAGE_LINES} AS message_number,
      range % ${MESSAGE_LINES} AS line,
      ${topicSql(random)} AS topic
    FROM range(${from}, ${to})`;
  const sent = `
    SELECT *,
      TIMESTAMPTZ '${FIRST_DAY} 00:00:00Z' + to_microseconds((n // ${perDay}) * ${DAY_US} +
        (((n % ${perDay}) // ${MESSAGE_LINES} + ${random(1, 1000, "message_number")} / 1000.0)
          * ${stepUs})::BIGINT) AS sent_at,
      floor(${HOSTS} * pow(${
    random(2, 1_000_000, "message_number")
  } / 1000000.0, ${HOSTS_POWER}))::BIGINT AS h,
      split_part(topic, '/', 1) AS area,
      -- Fork, exec and exit are of one process; other processes go on for longer, some beside each other.
      CASE WHEN topic LIKE 'process/%' THEN 0 ELSE 1 + ${random(3, 2)} END AS beside
    FROM (${base})`;
  const placed =
    `SELECT *, ${blockSql} AS first, ${parentRowsSql} AS parent_rows FROM (${sent}) WHERE h < ${hosts}`;
  const facts = `
    SELECT *, 'host-' || lpad(h::VARCHAR, 3, '0') AS host, lower(to_hex(2300000000 + h)) AS boot,
      CASE WHEN area = 'process' THEN n // 90 * 90 ELSE n // parent_rows * parent_rows + h * 3 END AS parent_first,
      3 + ${random(10, 2, "first + beside")} AS parent_beside,
      CASE topic WHEN 'file/rename' THEN line // 18 * 18 WHEN 'file/delete' THEN line // 60 * 60
          WHEN 'service/stop' THEN line // 90 * 90 ELSE line END * ${LINE_US} +
        CASE WHEN area = 'auth' OR topic IN ('file/rename', 'file/delete', 'service/stop') THEN 0
          ELSE ${random(11, 3_000)} END AS after_us,
      CASE WHEN area = 'network' THEN ${random(12, 10, "first + beside")}
        WHEN topic IN ('file/link', 'file/change') THEN ${random(12, 9, "first + beside")}
        WHEN area = 'file' THEN ${random(12, 28, "first + beside")}
        WHEN topic = 'process/setuid' THEN ${random(12, 9, "first")}
        WHEN topic = 'process/fork' THEN ${random(12, 21, "n // 9")}
        ELSE ${random(14, COMMANDS, "first")} % 90 END AS exe_number,
      ${random(14, COMMANDS, "first")} AS command_number,
      CASE WHEN topic = 'auth/su' THEN 0 WHEN area IN ('auth', 'app') THEN 1 + ${random(16, 6)}
        WHEN ${random(15, 10, "first + beside")} > 0 THEN 0
        WHEN area = 'process' THEN ${random(16, 10, "first")} ELSE 7 + ${
    random(16, 3, "first + beside")
  } END AS user_number,
      ${random(17, 120, "n")} AS place,
      topic LIKE 'process/%' AND ${random(18, 10, "first")} = 0 AS is_session,
      topic LIKE 'process/%' AND ${random(19, 10, "first")} = 1 AS is_unit
    FROM (${placed})`;
  const shown = `
    SELECT *, '/usr/bin/program-' || exe_number AS exe_text,
      ${drawnSql(random)},
      ['root', 'ann', 'bob', 'carol', 'dave', 'erin', 'frank', 'deploy', 'backup', 'www-data'][user_number + 1] AS user_text,
      ${processText("first", "beside")} AS process_text,
      ${processText("parent_first", "parent_beside")} AS parent_text,
      'program-' || exe_number || ' --task ' || command_number || ' -o build/' || (command_number * 7) AS command_text
    FROM (${facts})`;
  const named = `SELECT *, ${pathSql(random)} AS path_text, ${
    renamedSql(random)
  } AS old_path_text FROM (${shown})`;
  const values = valuesOf(random);
  const columns = COLUMNS.map((column) =>
    `CAST(${values[column.name] ?? "NULL"} AS ${sqlTypeOf(column)}) AS "${column.name}"`
  );
  return `SELECT ${columns.join(", ")} FROM (${named})`;
}

/** First row of those that a process did, or two beside each other; those that go on for longer are of one host. */
const blockSql = `CASE topic WHEN 'process/setuid' THEN n // 12 * 12
  WHEN 'process/fork' THEN n // 3 * 3 WHEN 'process/exec' THEN n // 3 * 3 WHEN 'process/exit' THEN n // 3 * 3
  WHEN 'file/create' THEN n // 21000 * 21000 + h * 3
  WHEN 'network/accept' THEN n // 252000 * 252000 + h * 3 WHEN 'network/listen' THEN n // 252000 * 252000 + h * 3
  WHEN 'file/change' THEN n // 252000 * 252000 + h * 3 ELSE n // 42000 * 42000 + h * 3 END`;

/** Rows, of all hosts, whose processes have one parent on a host, or two. */
const parentRowsSql = `CASE topic WHEN 'file/create' THEN 63000 WHEN 'file/delete' THEN 63000
  WHEN 'network/close' THEN 252000 WHEN 'network/connect' THEN 252000 WHEN 'network/accept' THEN 756000
  WHEN 'network/listen' THEN 756000 WHEN 'file/link' THEN 756000 WHEN 'file/change' THEN 10080000 ELSE 126000 END`;

function valuesOf(random: Random): Readonly<Record<string, string>> {
  const uid = "[0, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 33][user_number + 1]";
  const isProcess = "area IN ('process', 'file', 'network')";
  const ofProcess = (value: string): string => `CASE WHEN ${isProcess} THEN ${value} END`;
  const ofNetwork = (value: string): string => `CASE WHEN area = 'network' THEN ${value} END`;
  const isRefused = `topic = 'network/connect' AND ${random(9, 16)} = 0`;
  const isUnheard = "topic = 'network/close' AND in_thousand < 160";
  return {
    time: "sent_at + to_microseconds(after_us)",
    incarnation: `'${INCARNATION}'`,
    seq: "message_number + 1",
    idx: "line",
    host: "host",
    topic: "topic",
    logged_at: "sent_at + INTERVAL 700 MILLISECOND",
    outcome: `CASE WHEN topic = 'process/exit' OR area = 'app' THEN NULL
      WHEN topic = 'auth/failure' OR ${isRefused} THEN 'failure' ELSE 'success' END`,
    errno: `CASE WHEN ${isRefused} THEN 111 END`,
    severity: "CASE WHEN topic = 'auth/failure' THEN 'medium' ELSE 'info' END",
    user: "CASE WHEN area <> 'service' THEN user_text END",
    uid: `CASE WHEN area NOT IN ('service', 'app') THEN ${uid} END`,
    euid: ofProcess(uid),
    gid: ofProcess(uid),
    auid: `CASE WHEN is_session THEN ${uid} END`,
    auid_user: "CASE WHEN is_session THEN user_text END",
    pid:
      `CASE WHEN ${isProcess} OR topic IN ('auth/login', 'auth/logout', 'auth/failure', 'auth/su')
      THEN ${pidSql("first", "beside")} END`,
    ppid: ofProcess(pidSql("parent_first", "parent_beside")),
    process_id: ofProcess("process_text"),
    parent_process_id: ofProcess("parent_text"),
    exe: ofProcess("exe_text"),
    comm: ofProcess("'program-' || exe_number"),
    path: "path_text",
    src_ip: `CASE WHEN area IN ('network', 'app') THEN '127.0.0.1'
      WHEN topic IN ('auth/login', 'auth/logout', 'auth/failure') THEN peer END`,
    src_port: `CASE WHEN topic = 'network/listen' AND in_thousand < 700 THEN peer_port
      WHEN topic = 'network/listen' OR ${isUnheard} THEN known_port
      WHEN topic IN ('auth/login', 'auth/failure') OR area IN ('network', 'app') THEN peer_port END`,
    dst_ip: ofNetwork(
      `CASE WHEN topic <> 'network/listen' AND NOT (${isUnheard}) THEN '127.0.0.1' END`,
    ),
    dst_port: ofNetwork(
      `CASE WHEN topic <> 'network/listen' AND NOT (${isUnheard}) THEN known_port END`,
    ),
    protocol: "CASE WHEN area IN ('network', 'app') THEN 'tcp' END",
    session: `CASE WHEN is_session OR topic IN ('auth/login', 'auth/logout') AND in_thousand < 550
      THEN (100 + n // 540)::VARCHAR END`,
    service: `CASE area WHEN 'auth' THEN ['sshd', 'sudo', 'su'][1 +
      CASE topic WHEN 'auth/sudo' THEN 1 WHEN 'auth/su' THEN 2 ELSE 0 END]
      WHEN 'app' THEN split_part(topic, '/', 2) END`,
    cmdline: `CASE topic WHEN 'process/exec' THEN command_text
      WHEN 'auth/sudo' THEN '/usr/bin/program-' || place % 7 END`,
    cwd: `CASE topic WHEN 'process/exec' THEN '/srv/app/' || ${random(20, 22, "n // 12")} END`,
    old_path: "old_path_text",
    unit: `CASE WHEN area = 'service' OR is_unit THEN unit_name END`,
    message: messageSql(),
    detail: detailSql(random),
    agent: "'agent-' || h",
    epoch: "'e' || h",
    batch: "message_number",
  };
}

/** Rows of a run: many connections of one server, many lines of one log, many calls of one program. */
const RUN_ROWS = 6;
const RUNS: ReadonlySet<string> = new Set([
  "network/connect",
  "network/accept",
  "network/close",
  "file/write",
  "process/setuid",
  "network/listen",
  "auth/sudo",
  "service/start",
  "service/stop",
  "service/change",
]);
/** What is read from logs is told of some seconds together. */
const isInRuns = (topic: string): boolean => RUNS.has(topic) || topic.startsWith("app/");

/** One process each: the three rows of a run are its beginning, its program and its end. */
const LIVES = ["process/fork", "process/exec", "process/exit"] as const;

/** Topic of a row: of its whole run, of its process, or of the row alone. */
function topicSql(drawOf: Random): string {
  const shares = Object.entries(RECORDED).map(([topic, { events }]) => [topic, events] as const);
  const inRuns = shares.filter(([topic]) => isInRuns(topic));
  const isLife = (topic: string): boolean => LIVES.some((life) => life === topic);
  const alone = shares.filter(([topic]) => !isInRuns(topic) && !isLife(topic));
  const lives = sumOf(shares.filter(([topic]) => isLife(topic)));
  const draw = drawOf(4, lives + sumOf(alone), `range // ${LIVES.length}`);
  return `CASE ${casesOf(inRuns, drawOf(5, sumOf(shares), `range // ${RUN_ROWS}`))}
    ELSE CASE WHEN ${draw} < ${lives} THEN ['${LIVES.join("', '")}'][1 + range % 3]
      ELSE CASE ${casesOf(alone, drawOf(6, sumOf(alone), "range"))} END END END`;
}

function casesOf(shares: readonly (readonly [string, number])[], draw: string): string {
  let upTo = 0;
  return shares.map(([topic, part]) => `WHEN ${draw} < ${upTo += part} THEN '${topic}'`).join(" ");
}

function sumOf(shares: readonly (readonly [string, number])[]): number {
  return shares.reduce((sum, [, part]) => sum + part, 0);
}
