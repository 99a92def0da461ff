/**
 * The same questions to the service and to `ausearch`, over the same events: an hour of one host, one event, what
 * happened to one path, what one executable did. Each is answered to the end, with all that is known of each event, and
 * it throws when they do not find as many.
 *
 * The service answers in NDJSON; `ausearch` as its default is, and with names (`-i`, as the service's answers have them).
 * `warm` is a question that was asked before. `cold` is one after the system's page cache was dropped, which takes root:
 * to a service that was opened and asked nothing, and to one that is opened in the time that is taken (`opened`, without
 * the start of a process). Processor time depends less than the rest on what else the machine does.
 */
import { execFileSync } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import type { ObjectStore } from "../src/storage/object-store.ts";
import { rowsOfFiles } from "../src/storage/data-rows.ts";
import type { Connection } from "../src/storage/duckdb.ts";
import { serialsOf, writeAuditLog } from "./audit-log.ts";
import { ausearch, type AusearchForm, ausearchRange, isInstalled } from "./ausearch.ts";
import { openConnection } from "./query-archive.ts";
import { type Asked, openAsked, pathsOf } from "./query-asked.ts";
import { DAYS, FIRST_DAY, INCARNATION } from "./query-events.ts";
import { quantile, rounded } from "./times.ts";

export interface HourOfHost {
  readonly host: string;
  readonly from: string;
  readonly to: string;
}

export interface BesideAusearchOptions {
  readonly store: ObjectStore;
  readonly folder: string;
  readonly events: number;
  /** As many questions of each kind are asked as there are hours. */
  readonly hours: readonly HourOfHost[];
}

/** Its log of more events would take hours to read. */
const EVENTS_MAX = 1_000_000;
const NDJSON = "application/x-ndjson";
const LAST_MS = Date.parse(FIRST_DAY) + DAYS * 86_400_000;
const EVERYTHING = `from=${FIRST_DAY}&to=${new Date(LAST_MS).toISOString()}`;
const DROP_CACHES = "/proc/sys/vm/drop_caches";

/** One question, in both languages. */
interface Question {
  readonly path: string;
  readonly words: readonly string[];
}

interface Sample {
  readonly events: number;
  readonly ms: number;
  readonly processorMs: number;
}

export async function besideAusearch(options: BesideAusearchOptions) {
  const { store, folder, events } = options;
  if (events > EVENTS_MAX || !isInstalled("ausearch")) return { ausearch: "not measured" };
  const scratch = join(folder, "beside");
  await mkdir(scratch, { recursive: true });
  const log = join(scratch, "audit.log");
  try {
    const { bytes, kinds } = await prepare(options, log);
    const canDrop = await dropCaches();
    const figures: Record<string, unknown> = {};
    for (const [kind, questions] of Object.entries(kinds)) {
      const samples = await samplesOf(questions, { store, scratch, log, canDrop });
      figures[kind] = figuresOf(samples);
    }
    return { audit_log_bytes_per_event: Math.round(bytes / events), beside_ausearch: figures };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Writes the log, and draws questions that find something. */
async function prepare({ store, folder, hours }: BesideAusearchOptions, log: string) {
  const paths = await pathsOf(store);
  await using opened = await openConnection(folder);
  const { connection } = opened;
  const { bytes } = await writeAuditLog(connection, { paths, path: log });
  const draw = { paths, count: hours.length };
  const places = await drawn(connection, { ...draw, column: "seq || '-' || idx" });
  const files = await drawn(connection, {
    ...draw,
    column: "path",
    condition: "topic = 'file/write'",
  });
  // A name that is a part of another's is found with it by ausearch.
  const programs = await drawn(connection, {
    ...draw,
    column: "exe",
    condition: "regexp_matches(exe, '-[0-9]{2}$')",
  });
  const serials = await serialsOf(connection, paths, places);
  const kinds: Readonly<Record<string, readonly Question[]>> = {
    hour_of_host: hours.map(({ host, from, to }) => ({
      path: `/v1/events?host=${host}&from=${from}&to=${to}`,
      words: ["--node", host, ...ausearchRange(from, to)],
    })),
    one_event: serials.map(({ place, host, serial }) => ({
      path: `/v1/events/${INCARNATION}-${place}`,
      words: ["--node", host, "-a", String(serial)],
    })),
    one_path: files.map((file) => ({
      path: `/v1/events?path=${encodeURIComponent(file)}&${EVERYTHING}`,
      words: ["-f", file],
    })),
    one_executable: programs.map((program) => ({
      path: `/v1/events?exe=${encodeURIComponent(program)}&${EVERYTHING}`,
      words: ["-x", program],
    })),
  };
  return { bytes, kinds };
}

async function drawn(
  connection: Connection,
  { paths, count, column, condition = "true" }: {
    readonly paths: readonly string[];
    readonly count: number;
    readonly column: string;
    readonly condition?: string;
  },
): Promise<string[]> {
  const { rows } = await connection.query(
    `SELECT ${column} AS value FROM ${rowsOfFiles(paths)} WHERE ${condition}
     ORDER BY hash(seq, idx) LIMIT ${count}`,
  );
  return rows.map((row) => String(row["value"]));
}

const FORMS: readonly AusearchForm[] = ["default", "interpreted"];

/** By who answered and how warm: `warm`, `cold` and `opened` are the service's. */
type Samples = Readonly<Record<SampleName, Sample[]>>;
type SampleName = "warm" | "cold" | "opened" | `ausearch_${AusearchForm}_${"warm" | "cold"}`;

async function samplesOf(
  questions: readonly Question[],
  { store, scratch, log, canDrop }: {
    readonly store: ObjectStore;
    readonly scratch: string;
    readonly log: string;
    readonly canDrop: boolean;
  },
): Promise<Samples> {
  const samples: Samples = {
    ...{ warm: [], cold: [], opened: [] },
    ...{ ausearch_default_warm: [], ausearch_default_cold: [] },
    ...{ ausearch_interpreted_warm: [], ausearch_interpreted_cold: [] },
  };
  const folders = { warm: join(scratch, "warm"), cold: join(scratch, "cold") };
  for (const each of Object.values(folders)) await mkdir(each, { recursive: true });
  await using warm = await openAsked(store, folders.warm);
  for (const { path, words } of questions) {
    await ask(warm, path);
    samples.warm.push(await sampleOf(() => ask(warm, path)));
    // The page cache was dropped for the question before.
    execFileSync("cat", [log], { stdio: "ignore" });
    for (const form of FORMS) samples[`ausearch_${form}_warm`].push(ausearch(log, { words, form }));
    if (!canDrop) continue;
    {
      await using cold = await openAsked(store, folders.cold);
      await dropCaches();
      samples.cold.push(await sampleOf(() => ask(cold, path)));
    }
    await dropCaches();
    {
      await using stack = new AsyncDisposableStack();
      samples.opened.push(
        await sampleOf(async () => ask(stack.use(await openAsked(store, folders.cold)), path)),
      );
    }
    for (const form of FORMS) {
      await dropCaches();
      samples[`ausearch_${form}_cold`].push(ausearch(log, { words, form }));
    }
  }
  return samples;
}

/** Reads an answer to its end; how many events it has. */
async function ask(asked: Asked, path: string): Promise<number> {
  if (!path.startsWith("/v1/events?")) {
    await (await asked.get(path)).text();
    return 1;
  }
  const { body } = await asked.get(path, NDJSON);
  let events = 0;
  for await (const chunk of body ?? []) {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) events += 1;
  }
  return events;
}

async function sampleOf(work: () => Promise<number>): Promise<Sample> {
  const started = performance.now();
  const from = process.cpuUsage();
  const events = await work();
  const ms = performance.now() - started;
  const { user, system } = process.cpuUsage(from);
  return { events, ms, processorMs: (user + system) / 1000 };
}

function figuresOf(samples: Samples) {
  const found = samples.warm.map(({ events }) => events);
  const figures: Record<string, unknown> = { events: quantile(found, 0.5) };
  const median = (name: SampleName, of: "ms" | "processorMs"): number =>
    quantile(samples[name].map((each) => each[of]), 0.5);
  for (const [name, each] of namedSamples(samples)) {
    if (each.some(({ events }, place) => events !== found[place])) {
      const events = each.map((one) => one.events).join(", ");
      throw new Error(`Cannot compare: "${name}" found ${events} events, not ${found.join(", ")}`);
    }
    if (each.length === 0) continue;
    figures[`${name}_ms`] = rounded(median(name, "ms"));
    figures[`${name}_processor_ms`] = rounded(median(name, "processorMs"));
  }
  const pairs: readonly (readonly [name: "warm" | "cold" | "opened", warmth: "warm" | "cold"])[] = [
    ["warm", "warm"],
    ["cold", "cold"],
    ["opened", "cold"],
  ];
  for (const [name, warmth] of pairs) {
    if (samples[name].length === 0) continue;
    for (const form of FORMS) {
      const ratio = (of: "ms" | "processorMs"): number =>
        Math.round(median(`ausearch_${form}_${warmth}`, of) / median(name, of));
      figures[`times_faster_${name}_${form}`] = ratio("ms");
      figures[`times_less_processor_${name}_${form}`] = ratio("processorMs");
    }
  }
  return figures;
}

function namedSamples(samples: Samples): (readonly [SampleName, Sample[]])[] {
  // as: the keys of a record that has no others.
  return Object.entries(samples) as [SampleName, Sample[]][];
}

/** Throws away what the system holds of files in memory; whether it could. */
async function dropCaches(): Promise<boolean> {
  execFileSync("sync");
  try {
    await writeFile(DROP_CACHES, "1");
    return true;
  } catch (error) {
    const isForbidden = error instanceof Error && "code" in error &&
      ["EACCES", "EROFS", "ENOENT"].includes(String(error.code));
    if (isForbidden) return false;
    throw error;
  }
}
