/**
 * How long questions take over an archive of `--events` (1,000,000 by default; 100,000,000 is the aim's), 30 days and
 * 200 hosts, beside plain DuckDB on the same files and `ausearch` on the same events. With `--of` they are the first of
 * so many, as close to each other as these.
 *
 * The archive is made in `--folder` day by day and is kept there when one is named: a run that was broken off goes on
 * with the days that lack, and `--make` ends when none does. Measured is what is there. Questions go to the service
 * without a socket; `cold` is a service that was just opened, with an empty cache and the files in the page cache of the
 * system. Times are the 95th percentile and the median of `--rounds` different questions, in milliseconds. The same goes
 * in SQL to DuckDB in turns with the service, with as many threads; `ratio` is of medians. `tallied` is asked when every
 * file has been counted. `ausearch`, where it is installed and the archive has a million events at most, is asked the
 * same over a log of them (`bench/audit-log.ts`, `bench/query-ausearch.ts`); `--only-ausearch` leaves out the rest, and
 * so does `--only-export`, whose processor time is that of service and reader together.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { createLog } from "../src/runtime/log.ts";
import { rowsOfFiles } from "../src/storage/data-rows.ts";
import type { ObjectStore } from "../src/storage/object-store.ts";
import { openStore } from "../src/storage/open-store.ts";
import { createSeededRandom, type SeededRandom } from "../test/support/seeded-random.ts";
import { bytesBesideRecorded, makeArchive, openConnection, type Place } from "./query-archive.ts";
import { type Asked, openAsked, pathsOf, TALLY_INTERVAL_MS } from "./query-asked.ts";
import { besideAusearch } from "./query-ausearch.ts";
import { DAYS, FIRST_DAY, HOSTS, INCARNATION, MESSAGE_LINES, rowsSql } from "./query-events.ts";
import { printReport } from "./report.ts";
import { quantile, spread, timeOf } from "./times.ts";

const { values } = parseArgs({
  options: {
    events: { type: "string", default: "1000000" },
    folder: { type: "string" },
    make: { type: "boolean", default: false },
    of: { type: "string" },
    "only-ausearch": { type: "boolean", default: false },
    "only-export": { type: "boolean", default: false },
    rounds: { type: "string", default: "40" },
    seed: { type: "string", default: "1" },
  },
});
const SEEDED = { seed: Number(values.seed) };

/** Questions of each kind that ausearch is asked too: it reads all of its log for each. */
const AUSEARCH_ROUNDS = 3;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const FIRST_MS = Date.parse(FIRST_DAY);
const log = createLog({ level: "error" });

async function main(): Promise<void> {
  const events = Number(values.events);
  const total = Number(values.of ?? events);
  const own = values.folder === undefined ? await mkdtemp(join(tmpdir(), "probity-query-")) : "";
  const folder = values.folder ?? own;
  try {
    await mkdir(join(folder, "bucket"), { recursive: true });
    await using store = await openStore({ url: pathToFileURL(join(folder, "bucket")).href, log });
    const made = await makeArchive(store, { folder, events, total, ...SEEDED });
    if (values.make) return;
    const random = createSeededRandom(SEEDED.seed);
    const draw = { folder, events, total, random };
    if (values["only-ausearch"]) {
      const count = Math.min(AUSEARCH_ROUNDS, Number(values.rounds));
      const hours = await questionsOf(draw, { hours: 1, count });
      const figures = await besideAusearch({ store, folder, events, hours });
      printReport("query-ausearch", { events, of: total, days: DAYS, hosts: HOSTS, ...figures });
      return;
    }
    if (values["only-export"]) {
      await using asked = await openAsked(store, folder);
      printReport("query-export", { events, ...await exportRate(asked, events) });
      return;
    }
    const bytesByTopic = await bytesBesideRecorded({ folder, ...SEEDED });
    const figures = await measure(store, draw);
    printReport("query", {
      events,
      of: total,
      days: DAYS,
      hosts: HOSTS,
      ...made,
      bytes_by_topic: bytesByTopic,
      ...figures,
    });
  } finally {
    if (own !== "") await rm(own, { recursive: true, force: true });
  }
}

interface Question {
  readonly host: string;
  readonly from: string;
  readonly to: string;
}

interface Draw extends Place {
  /** Events are the first of so many. */
  readonly total: number;
  readonly random: SeededRandom;
}

/** Hours and days around events drawn at random, and so of hosts as often as they have events. */
async function questionsOf(
  { folder, events, total, random }: Draw,
  { hours, count }: { readonly hours: number; readonly count: number },
): Promise<Question[]> {
  await using opened = await openConnection(folder);
  const questions: Question[] = [];
  while (questions.length < count) {
    const number = random.between(0, events - 1);
    const one = rowsSql({ ...SEEDED, from: number, to: number + 1, total });
    const { rows } = await opened.connection.query(
      `SELECT host, epoch_ms(time) AS ms FROM (${one})`,
    );
    const eventMs = Number(rows[0]?.["ms"]);
    const lastMs = FIRST_MS + DAYS * DAY_MS - hours * HOUR_MS;
    const fromMs = Math.min(lastMs, Math.floor(eventMs / HOUR_MS) * HOUR_MS);
    questions.push({
      host: String(rows[0]?.["host"]),
      from: new Date(fromMs).toISOString(),
      to: new Date(fromMs + hours * HOUR_MS).toISOString(),
    });
  }
  return questions;
}

async function measure(store: ObjectStore, draw: Draw) {
  const { folder, events, random } = draw;
  const rounds = Number(values.rounds);
  const hours = await questionsOf(draw, { hours: 1, count: rounds });
  const days = await questionsOf(draw, { hours: 24, count: rounds });
  const page = ({ host, from, to }: Question): string =>
    `/v1/events?host=${host}&from=${from}&to=${to}`;
  const cold: number[] = [];
  for (const question of hours.slice(0, Math.ceil(rounds / 4))) {
    await using asked = await openAsked(store, folder);
    cold.push(await timeOf(async () => await (await asked.get(page(question))).text()));
  }
  await using asked = await openAsked(store, folder);
  const text = async (path: string): Promise<string> => await (await asked.get(path)).text();
  const warm = async (paths: readonly string[]): Promise<number[]> => {
    for (const path of paths) await text(path);
    const times: number[] = [];
    for (const path of paths) times.push(await timeOf(() => text(path)));
    return times;
  };
  const ids = Array.from({ length: rounds }, () => {
    const number = random.between(0, events - 1);
    return { seq: Math.floor(number / MESSAGE_LINES) + 1, idx: number % MESSAGE_LINES };
  });
  const range = ({ from, to }: Question): string => `from=${from}&to=${to}`;
  const ranged = (name: string, more = ""): string[] =>
    days.map((each) => `/v1/${name}?${range(each)}${more}`);
  return {
    page_cold_ms: spread(cold),
    facets_24h_ms: spread(await warm(ranged("facets", "&by=exe"))),
    hits_24h_ms: spread(await warm(ranged("hits", "&by=topic"))),
    ...await besideDuckDb({ store, folder }, {
      page_warm: hours.map((hour) => ({ ours: () => text(page(hour)), sql: pageSql(hour) })),
      event_warm: ids.map(({ seq, idx }) => ({
        ours: () => text(`/v1/events/${INCARNATION}-${seq}-${idx}`),
        sql: `SELECT * FROM events
          WHERE incarnation = '${INCARNATION}' AND seq = ${seq} AND idx = ${idx}`,
      })),
      ...Object.fromEntries(
        Object.entries(STATEMENTS).map(([name, sql]) => {
          const question = { ours: () => asked.sql(sql), sql };
          return [name, Array.from({ length: Math.min(rounds, 10) }, () => question)];
        }),
      ),
    }),
    ...await exportRate(asked, events),
    ...await fromTallies(store, folder, rounds),
    ...await besideAusearch({ store, folder, events, hours: hours.slice(0, AUSEARCH_ROUNDS) }),
  };
}

const STATEMENTS = {
  count_by_topic: "SELECT topic, count(*) AS n FROM events GROUP BY topic ORDER BY topic",
  failures_by_host: "SELECT host, count(*) AS n FROM events WHERE outcome = 'failure' " +
    "AND time >= TIMESTAMPTZ '2026-01-10 00:00:00Z' AND time < TIMESTAMPTZ '2026-01-12 00:00:00Z' " +
    "GROUP BY host ORDER BY n DESC, host LIMIT 20",
};

function pageSql({ host, from, to }: Question): string {
  return `SELECT * FROM events
    WHERE host = '${host}' AND "time" >= TIMESTAMPTZ '${from}' AND "time" < TIMESTAMPTZ '${to}'
    ORDER BY "time" DESC, incarnation DESC, seq DESC, idx DESC LIMIT 100`;
}

/** A question to the service, with its rights and its gate, and to DuckDB on the bare files. */
interface Pair {
  readonly ours: () => Promise<unknown>;
  readonly sql: string;
}

/** Both in turns, after both were asked once to fill their caches. */
async function besideDuckDb(
  { store, folder }: { readonly store: ObjectStore; readonly folder: string },
  kinds: Readonly<Record<string, readonly Pair[]>>,
) {
  await using opened = await openConnection(folder);
  const { connection } = opened;
  await connection.run("SET enable_external_file_cache = true");
  await connection.run(`CREATE VIEW events AS SELECT * FROM ${rowsOfFiles(await pathsOf(store))}`);
  const figures: Record<string, unknown> = {};
  for (const [name, pairs] of Object.entries(kinds)) {
    const [ours, plain]: [number[], number[]] = [[], []];
    for (const pair of new Set(pairs)) {
      await pair.ours();
      await connection.query(pair.sql);
    }
    for (const pair of pairs) {
      ours.push(await timeOf(pair.ours));
      plain.push(await timeOf(() => connection.query(pair.sql)));
    }
    figures[`${name}_ms`] = spread(ours);
    figures[`${name}_duckdb_ms`] = spread(plain);
    figures[`${name}_ratio`] = Number((quantile(ours, 0.5) / quantile(plain, 0.5)).toFixed(2));
  }
  return figures;
}

/** Statements that tallies answer, by a service that has made them. */
async function fromTallies(store: ObjectStore, folder: string, rounds: number) {
  await using asked = await openAsked(store, folder, { isCounting: true });
  const countingMs = await timeOf(async () => {
    while (
      (await asked.get(`/v1/topics?from=${FIRST_DAY}`)).headers.get("probity-scanned-files") !== "0"
    ) {
      await setTimeout(TALLY_INTERVAL_MS);
    }
  });
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    times.push(await timeOf(() => asked.sql(STATEMENTS.count_by_topic)));
  }
  return { counting_s: Math.round(countingMs / 1000), count_by_topic_tallied_ms: spread(times) };
}

async function exportRate(asked: Asked, events: number) {
  // About a million events, whatever there are.
  const days = Math.max(1, Math.min(DAYS, Math.floor(DAYS * 1e6 / events)));
  const to = new Date(FIRST_MS + days * DAY_MS).toISOString();
  let [rows, bytes] = [0, 0];
  const before = process.cpuUsage();
  const elapsedMs = await timeOf(async () => {
    const path = `/v1/events?from=${FIRST_DAY}&to=${to}&order=asc`;
    const { body } = await asked.get(path, "application/x-ndjson");
    for await (const chunk of body ?? []) {
      bytes += chunk.length;
      for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) rows += 1;
    }
  });
  const { user, system } = process.cpuUsage(before);
  return {
    export_events: rows,
    export_events_per_s: Math.round(rows / elapsedMs * 1000),
    export_processor_us_per_event: Number(((user + system) / rows).toFixed(1)),
    export_mb_per_s: Math.round(bytes / 1000 / elapsedMs),
  };
}

await main();
