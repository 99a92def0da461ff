/**
 * How fast a roll-up's files become large, sorted ones, with how much memory, and how small events are in them, by topic.
 *
 * Arguments: a capture by `capture-events.ts` (without one, events are invented), megabytes of JSON (1,000 by default;
 * files of 128 MB need about 8,000), which a roll-up of many short rounds makes files of, and MiB of DuckDB's memory
 * (512 by default, as the command has). Compaction runs in a process of its own, whose peak of memory is reported;
 * fetching, both proofs and the commit are in its time. A plain COPY is DuckDB's alone, of the same rows as they come,
 * with the same options of writing, in one more process.
 *
 * Bytes by topic are of the capture once, since copies of it would repeat what never repeats: `alone` in a file of that
 * topic, `added` by that topic to a file of all, which is what rare ones cost.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { compactTable } from "../src/pipeline/maintenance/compaction.ts";
import { openMaintenanceContext } from "../src/pipeline/maintenance/context.ts";
import { fetchSources } from "../src/pipeline/maintenance/rewrite-files.ts";
import { openRollup } from "../src/pipeline/rollup.ts";
import { createLog } from "../src/runtime/log.ts";
import { createMetrics } from "../src/runtime/metrics.ts";
import { rowsOfFiles } from "../src/storage/data-rows.ts";
import { openDirectoryStore } from "../src/storage/fs-store.ts";
import { SORTED_WRITE_OPTIONS, writeSortedFile } from "../src/storage/sorted-file.ts";
import { literalOf } from "../src/storage/sql-text.ts";
import { openNatsServer } from "../test/support/nats-server.ts";
import { printReport } from "./report.ts";
import { fillStream, inventBatches, readCapture } from "./stream-filling.ts";

const log = createLog({ level: "warn" });
/** JSON of one round: files are as small as those of a machine with little to do. */
const ROUND_BYTES = 24e6;
const THREADS = 2;
/** Far enough from every event for its day to be over. */
const LATER = {
  nowUs: () => (Date.now() + 3 * 86_400_000) * 1000,
  elapsedMs: () => performance.now(),
  sleep: () => Promise.resolve(),
};

async function main(
  [capture = "", megabytes = "1000", memory = "512"]: readonly string[],
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "probity-bench-"));
  try {
    const bucket = join(folder, "bucket");
    {
      const batches = capture === "" ? await inventBatches() : await readCapture(capture);
      await using server = await openNatsServer();
      await fillStream(server.url, batches, Number(megabytes) * 1e6);
      await using store = await openDirectoryStore({ directory: bucket });
      const scratchDirectory = join(folder, "scratch");
      await using rollup = await openRollup({
        ...{ store, nats: { url: server.url }, shard: "0", scratchDirectory, log },
        segmentMaxBytes: ROUND_BYTES,
        metrics: createMetrics(),
      });
      await rollup.runOnce();
    }
    const script = fileURLToPath(import.meta.url);
    const run = async (part: string) => {
      const { stdout } = await promisify(execFile)(process.execPath, [
        script,
        part,
        bucket,
        memory,
      ]);
      return JSON.parse(stdout);
    };
    const bytesByTopic = await run("topics");
    const plain = await run("copy");
    const figures = await run("compact");
    printReport("compaction", {
      events_from: capture === "" ? "invented" : "captured",
      ...figures,
      plain_copy: plain,
      part_of_plain_copy: Number((figures.rows_per_s / plain.rows_per_s).toFixed(2)),
      bytes_per_event_by_topic: bytesByTopic,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function openParts(bucket: string, memoryMib: number) {
  await using stack = new AsyncDisposableStack();
  const store = stack.use(await openDirectoryStore({ directory: bucket }));
  const context = stack.use(
    await openMaintenanceContext({
      store,
      scratchDirectory: join(bucket, "..", "maintenance"),
      memoryLimitBytes: memoryMib * 2 ** 20,
      threads: THREADS,
      log,
      clock: LATER,
    }),
  );
  const resources = stack.move();
  return { context, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

type Parts = Awaited<ReturnType<typeof openParts>>;

async function measure<T>(work: () => Promise<T>) {
  const started = performance.now();
  const startedCpu = process.cpuUsage();
  const done = await work();
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(startedCpu);
  return { done, seconds, cpuSeconds: (user + system) / 1e6 };
}

const rounded = (value: number, places = 1): number => Number(value.toFixed(places));

async function compact({ context }: Parts) {
  const { done, seconds, cpuSeconds } = await measure(() => compactTable(context));
  const after = [...(await context.table.refresh()).files.values()];
  return {
    files: done.filesRemoved,
    mb_of_files_after: after.map(({ sizeBytes }) => rounded(sizeBytes / 1e6)),
    rows: done.rows,
    seconds: rounded(seconds, 2),
    cpu_seconds: rounded(cpuSeconds, 2),
    rows_per_s: Math.round(done.rows / seconds),
    mb_before: rounded(done.bytesBefore / 1e6),
    mb_after: rounded(done.bytesAfter / 1e6),
    bytes_per_event_before: rounded(done.bytesBefore / done.rows),
    bytes_per_event: rounded(done.bytesAfter / done.rows),
    memory_limit_mb: Math.round(context.memoryLimitBytes / 1e6),
    peak_rss_mb: Math.round(process.resourceUsage().maxRSS * 1024 / 1e6),
  };
}

/** Of all hosts, or of the first alone. */
async function openRows(
  { context }: Parts,
  { folder, isOnce }: { readonly folder: string; readonly isOnce: boolean },
) {
  const all = [...(await context.table.refresh()).files.values()].toSorted((a, b) =>
    String(a.minimum["time"]) < String(b.minimum["time"]) ? -1 : 1
  );
  const [host = ""] = all.map(({ minimum }) => String(minimum["host"])).toSorted();
  const files = isOnce ? all.filter(({ minimum }) => minimum["host"] === host) : all;
  const sources = await fetchSources(context, files, { folder, signal: undefined });
  const database = await context.database();
  return { host, sources, database, rows: rowsOfFiles(sources.map(({ path }) => path)) };
}

async function plainCopy(parts: Parts) {
  await using folder = await parts.context.scratch.openFolder();
  const { database, rows } = await openRows(parts, { folder: folder.path, isOnce: false });
  await using connection = await database.connect();
  await connection.run("SET preserve_insertion_order = false");
  const path = join(folder.path, "plain.parquet");
  const { done, seconds, cpuSeconds } = await measure(() =>
    connection.query(`COPY (SELECT * FROM ${rows}) TO ${literalOf(path)} (${SORTED_WRITE_OPTIONS})`)
  );
  const count = Number(done.rows[0]?.["count"]);
  return {
    seconds: rounded(seconds, 2),
    cpu_seconds: rounded(cpuSeconds, 2),
    rows_per_s: Math.round(count / seconds),
    bytes_per_event: rounded((await stat(path)).size / count),
    peak_rss_mb: Math.round(process.resourceUsage().maxRSS * 1024 / 1e6),
  };
}

/** Of each topic and of those above them: size of its rows, sorted, over their number. */
async function bytesByTopic(parts: Parts) {
  await using folder = await parts.context.scratch.openFolder();
  const opened = await openRows(parts, { folder: folder.path, isOnce: true });
  const { host, sources, database, rows } = opened;
  await using connection = await database.connect();
  const once = `host = ${literalOf(host)}`;
  const bytesOf = async (where: string): Promise<number> => {
    const written = await writeSortedFile(database, {
      sources,
      where: `${once} AND ${where}`,
      folder: folder.path,
      id: `topic-${Math.random().toString(36).slice(2)}`,
      threads: THREADS,
    });
    return written?.file.sizeBytes ?? 0;
  };
  const all = await bytesOf("true");
  const topics = await connection.query(
    `SELECT * FROM (SELECT topic, count(*) AS n FROM ${rows} WHERE ${once} GROUP BY topic
       UNION ALL SELECT split_part(topic, '/', 1) || '/**', count(*) FROM ${rows} WHERE ${once} GROUP BY 1)
     WHERE n >= 20 ORDER BY n DESC`,
  );
  const sizes: Record<string, { events: number; alone: number; added: number }> = {};
  for (const { topic, n } of topics.rows) {
    const isIt = `topic LIKE ${literalOf(String(topic).replace("**", "%"))}`;
    sizes[String(topic)] = {
      events: Number(n),
      alone: rounded(await bytesOf(isIt) / Number(n)),
      added: rounded((all - await bytesOf(`NOT ${isIt}`)) / Number(n)),
    };
  }
  return sizes;
}

const PARTS = { compact, copy: plainCopy, topics: bytesByTopic };

const [part = "", ...rest] = process.argv.slice(2);
const work = Object.entries(PARTS).find(([name]) => name === part)?.[1];
if (work === undefined) await main([part, ...rest]);
else {
  const [bucket = "", memory = ""] = rest;
  await using parts = await openParts(bucket, Number(memory));
  process.stdout.write(JSON.stringify(await work(parts)));
}
