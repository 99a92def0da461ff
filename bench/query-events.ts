/**
 * Rows of an invented archive for figures of queries: what a day of building software and serving was recorded to hold,
 * in its shares of topics, lengths, and numbers of different paths, programs, users and processes. Process ids do not
 * repeat, changes carry diffs. Made by DuckDB out of the number of the row, so that the same seed gives the same rows.
 */
import { COLUMNS } from "../src/event/columns.ts";
import { sqlTypeOf } from "../src/storage/typed-read.ts";

export const DAYS = 30;
export const HOSTS = 200;
/** Midnight, UTC. */
export const FIRST_DAY = "2026-01-01";
export const INCARNATION = "0a1b2c3d";
/** Lines of one message, as an agent sends them. */
export const MESSAGE_LINES = 400;

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

export interface RowsRequest {
  readonly seed: number;
  /** Numbers of the rows, over all days. */
  readonly from: number;
  readonly to: number;
  /** Of all days together. */
  readonly total: number;
}

export function sequencesOf({ from, to }: Pick<RowsRequest, "from" | "to">) {
  return { first: Math.floor(from / MESSAGE_LINES) + 1, last: Math.ceil(to / MESSAGE_LINES) };
}

/** All columns of the rows, sorted as a compaction sorts them. */
export function rowsSql({ seed, from, to, total }: RowsRequest): string {
  const random = (salt: number, below: number | string): string =>
    `(hash(n, ${seed * 100 + salt}) % ${below})::BIGINT`;
  const stepUs = (DAYS * 86_400_000_000) / total;
  const base = `
    SELECT range AS n,
      TIMESTAMPTZ '${FIRST_DAY} 00:00:00Z' + to_microseconds((range * ${stepUs})::BIGINT) AS time,
      ${topicSql(`(hash(range, ${seed}) % 10000)`)} AS topic,
      -- Some hosts do much more than others.
      floor(${HOSTS} * pow((hash(range, ${seed + 1}) % 1000000) / 1000000.0, 1.6))::BIGINT AS h
    FROM range(${from}, ${to})`;
  const facts = `
    SELECT *, 'host-' || lpad(h::VARCHAR, 3, '0') AS host,
      -- A process has about eight events of one kind or another.
      (n // ${HOSTS * 8}) * ${HOSTS} + h AS process,
      ${random(2, 57)} AS exe_number, ${random(3, 4)} AS user_number,
      ${random(4, 36_000)} AS path_number, ${random(5, 900)} AS command_number
    FROM (${base})`;
  const values: Readonly<Record<string, string>> = {
    time: "time",
    incarnation: `'${INCARNATION}'`,
    seq: `n // ${MESSAGE_LINES} + 1`,
    idx: `n % ${MESSAGE_LINES}`,
    host: "host",
    topic: "topic",
    logged_at: "time + INTERVAL 400 MILLISECOND",
    outcome: "CASE WHEN n % 97 = 0 THEN 'failure' ELSE 'success' END",
    errno: "CASE WHEN n % 97 = 0 THEN 13 END",
    severity: "CASE WHEN topic LIKE 'auth/%' THEN 'medium' ELSE 'info' END",
    user: "['root', 'www-data', 'postgres', 'deploy'][user_number + 1]",
    uid: "[0, 33, 105, 1000][user_number + 1]",
    euid: "[0, 33, 105, 1000][user_number + 1]",
    gid: "[0, 33, 105, 1000][user_number + 1]",
    pid: "300 + process % 4000000",
    ppid: "300 + (process // 7) % 4000000",
    process_id:
      "lower(to_hex(2300000000 + h)) || '-' || (300 + process % 4000000) || '-' || process * 131",
    parent_process_id:
      "lower(to_hex(2300000000 + h)) || '-' || (300 + (process // 7) % 4000000) || '-' || (process // 7) * 131",
    exe: "'/usr/bin/program-' || exe_number",
    comm: "'program-' || exe_number",
    path:
      `CASE WHEN topic LIKE 'file/%' THEN '/srv/app/build/' || (path_number % 90) || '/object-' || path_number || '.o' END`,
    src_ip: `CASE WHEN topic LIKE 'network/%' THEN '10.0.' || ${random(6, 4)} || '.' || ${
      random(7, 250)
    } END`,
    src_port: `CASE WHEN topic LIKE 'network/%' THEN 32768 + ${random(8, 28_000)} END`,
    dst_ip: "CASE WHEN topic LIKE 'network/%' THEN '10.0.0.' || h END",
    dst_port: "CASE WHEN topic LIKE 'network/%' THEN [443, 5432, 8080, 22][exe_number % 4 + 1] END",
    protocol: "CASE WHEN topic LIKE 'network/%' THEN 'tcp' END",
    cmdline:
      "CASE topic WHEN 'process/exec' THEN 'program-' || exe_number || ' --run task-' || command_number || ' -o /srv/app/build/' || path_number END",
    cwd: "CASE topic WHEN 'process/exec' THEN '/srv/app/' || (command_number % 40) END",
    old_path: "CASE topic WHEN 'file/rename' THEN '/srv/app/build/tmp-' || path_number END",
    message: "'/usr/bin/program-' || exe_number || ' (' || topic || ') ' || path_number",
    detail: detailSql(random),
    agent: "'agent-' || h",
    epoch: "'e' || h",
    batch: `n // ${MESSAGE_LINES}`,
  };
  const columns = COLUMNS.map((column) =>
    `CAST(${values[column.name] ?? "NULL"} AS ${sqlTypeOf(column)}) AS "${column.name}"`
  );
  return `SELECT ${columns.join(", ")} FROM (${facts}) ORDER BY host, time, seq, idx`;
}

function topicSql(share: string): string {
  let upTo = 0;
  const cases = SHARES.map(([topic, part]) => `WHEN ${share} < ${upTo += part} THEN '${topic}'`);
  return `CASE ${cases.join(" ")} ELSE '${SHARES[0]?.[0]}' END`;
}

/** Lengths as recorded: 430 characters of an exec, 130 of a file, 40 of the others; a diff has two to ten lines. */
function detailSql(random: (salt: number, below: number) => string): string {
  const ancestors = [1, 2, 3].map((depth) =>
    `'{"pid":' || (300 + (process // ${7 ** depth}) % 4000000) || ',"process_id":"' || ` +
    `lower(to_hex(2300000000 + h)) || '-' || (process // ${
      7 ** depth
    }) * 131 || '","exe":"/usr/bin/bash"}'`
  ).join(` || ',' || `);
  const line = `'\\\\n+option_' || ${random(9, 500)} || ' = ' || ${random(10, 100_000)}`;
  return `CASE
    WHEN topic = 'process/exec' THEN '{"argv":["program-' || exe_number || '","--run","task-' ||
      command_number || '"],"argv_bytes":' || (20 + command_number % 80) || ',"ancestors":[' || ${ancestors} || ']}'
    WHEN topic = 'process/exit' THEN '{"exit_code":0,"duration_ms":' || ${random(11, 90_000)} || '}'
    WHEN topic = 'file/change' THEN '{"kind":"content-diff","diff":"--- a\\\\n+++ b\\\\n@@ -1 +1 @@' ||
      repeat(${line}, 2 + ${random(12, 9)}) || '","sha256_after":"' || sha256(n::VARCHAR) || '"}'
    WHEN topic LIKE 'file/%' THEN '{"inode":' || ${
    random(13, 6_000_000)
  } || ',"device":"254:0","generation":' ||
      ${random(14, 4_000_000_000)} || ',"mode":"0100644","size":' || ${
    random(15, 100_000)
  } || ',"links":1,"how":"open"}'
    ELSE '{"family":"ipv4"}' END`;
}
