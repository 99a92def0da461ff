/**
 * How fast a roll-up's files become one sorted file, with how much memory, and how small events are in it, by topic.
 *
 * Arguments: a capture by `capture-events.ts` (without one, events are invented), and megabytes of JSON (1,000 by
 * default), which a roll-up of many short rounds makes files of. Compaction runs in a process of its own, whose peak of
 * memory is reported; fetching, both proofs and the commit are in its time. Bytes by topic are those of a file of that
 * topic alone, written as compaction writes.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
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
import { writeSortedFile } from "../src/storage/sorted-file.ts";
import { literalOf } from "../src/storage/sql-text.ts";
import { openNatsServer } from "../test/support/nats-server.ts";
import { printReport } from "./report.ts";
import { fillStream, inventBatches, readCapture } from "./stream-filling.ts";

const log = createLog({ level: "warn" });
/** JSON of one round: files are as small as those of a machine with little to do. */
const ROUND_BYTES = 24e6;
/** Far enough from every event for its day to be over. */
const LATER = {
  nowUs: () => (Date.now() + 3 * 86_400_000) * 1000,
  elapsedMs: () => performance.now(),
  sleep: () => Promise.resolve(),
};

async function main([capture = "", megabytes = "1000"]: readonly string[]): Promise<void> {
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
      const { stdout } = await promisify(execFile)(process.execPath, [script, part, bucket]);
      return JSON.parse(stdout);
    };
    const figures = await run("compact");
    printReport("compaction", {
      events_from: capture === "" ? "invented" : "captured",
      ...figures,
      bytes_per_event_by_topic: await run("topics"),
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function openParts(bucket: string) {
  await using stack = new AsyncDisposableStack();
  const store = stack.use(await openDirectoryStore({ directory: bucket }));
  const context = stack.use(
    await openMaintenanceContext({
      store,
      scratchDirectory: join(bucket, "..", "maintenance"),
      threads: 2,
      log,
      clock: LATER,
    }),
  );
  const resources = stack.move();
  return { context, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

async function compact(bucket: string) {
  await using parts = await openParts(bucket);
  const started = performance.now();
  const startedCpu = process.cpuUsage();
  const done = await compactTable(parts.context);
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(startedCpu);
  return {
    files: done.filesRemoved,
    files_after: done.filesAdded,
    rows: done.rows,
    seconds: Number(seconds.toFixed(2)),
    cpu_seconds: Number(((user + system) / 1e6).toFixed(2)),
    rows_per_s: Math.round(done.rows / seconds),
    mb_before: Number((done.bytesBefore / 1e6).toFixed(1)),
    mb_after: Number((done.bytesAfter / 1e6).toFixed(1)),
    bytes_per_event_before: Number((done.bytesBefore / done.rows).toFixed(1)),
    bytes_per_event: Number((done.bytesAfter / done.rows).toFixed(1)),
    peak_rss_mb: Math.round(process.resourceUsage().maxRSS / 1024),
  };
}

/** Of each frequent topic: size of its rows alone, sorted, over their number. */
async function bytesByTopic(bucket: string) {
  await using parts = await openParts(bucket);
  const { context } = parts;
  await using folder = await context.scratch.openFolder();
  const files = [...(await context.table.refresh()).files.values()];
  const sources = await fetchSources(context, files, { folder: folder.path, signal: undefined });
  const database = await context.database();
  await using connection = await database.connect();
  const topics = await connection.query(
    `SELECT topic, count(*) AS n FROM ${rowsOfFiles(sources.map(({ path }) => path))}
     GROUP BY topic HAVING n >= 1000 ORDER BY n DESC`,
  );
  const sizes: Record<string, { events: number; bytes_per_event: number }> = {};
  for (const [place, { topic, n }] of topics.rows.entries()) {
    const written = await writeSortedFile(database, {
      sources,
      where: `topic = ${literalOf(String(topic))}`,
      folder: folder.path,
      id: `topic-${place}`,
      memoryLimitBytes: context.memoryLimitBytes,
    });
    const bytes = (written?.file.sizeBytes ?? 0) / Number(n);
    sizes[String(topic)] = { events: Number(n), bytes_per_event: Number(bytes.toFixed(1)) };
  }
  return sizes;
}

const [part = "", ...rest] = process.argv.slice(2);
if (part === "compact" || part === "topics") {
  const [bucket = ""] = rest;
  const figures = part === "compact" ? await compact(bucket) : await bytesByTopic(bucket);
  process.stdout.write(JSON.stringify(figures));
} else await main([part, ...rest]);
