/**
 * How fast a stream becomes committed Parquet, how small, and with how much memory.
 *
 * Arguments: a capture by `capture-events.ts` ("": events are invented), megabytes of JSON (1,000 by default: the batches
 * are sent again under other names until there are so many), and where to (a directory by default; `S3`: Ceph's gateway
 * on this machine, which keeps everything in memory and has a share of its processors). Bytes per event are those of the
 * batches as captured. The baseline is DuckDB's COPY alone over the same payloads, without the stream, acceptance,
 * checks, evidence and commit. The roll-up runs in a process of its own, whose peak of memory is reported.
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openRollup } from "../src/pipeline/rollup.ts";
import { DEFAULT_MEMORY_LIMIT_BYTES } from "../src/pipeline/rollup-parts.ts";
import { parseSegment } from "../src/pipeline/segment.ts";
import { systemClock } from "../src/runtime/clock.ts";
import { createLog } from "../src/runtime/log.ts";
import { createMetrics } from "../src/runtime/metrics.ts";
import { openTable } from "../src/storage/delta-table.ts";
import { openDatabase } from "../src/storage/duckdb.ts";
import { openDirectoryStore } from "../src/storage/fs-store.ts";
import { dataFileKey } from "../src/storage/layout.ts";
import { ROW_GROUP_ROWS_MAX, writeDataFiles } from "../src/storage/parquet.ts";
import { listOf, literalOf } from "../src/storage/sql-text.ts";
import { createMessageTable, typedRead } from "../src/storage/typed-read.ts";
import { openNatsServer } from "../test/support/nats-server.ts";
import { openStoreAt, STORE_KINDS, type StorePlace } from "../test/support/real-stores.ts";
import { printReport } from "./report.ts";
import { type Batch, fillStream, inventBatches, readCapture } from "./stream-filling.ts";

const log = createLog({ level: "warn" });

async function main(args: readonly string[]): Promise<void> {
  const [capture = "", megabytes = "1000", to = "a directory"] = args;
  const folder = await mkdtemp(join(tmpdir(), "probity-bench-"));
  try {
    const batches = capture === "" ? await inventBatches() : await readCapture(capture);
    await using server = await openNatsServer();
    const jsonBytes = await fillStream(server.url, batches, Number(megabytes) * 1e6);
    await using place = await placeOf(to);
    const bucket = place.newUrl();
    const { environment } = place;
    const scratch = join(folder, "scratch");
    const rollup = await inProcess(["roll-up", server.url, bucket, scratch], environment);
    const baseline = await inProcess(["copy-alone", bucket, folder], environment);
    const rate = (ms: number): number => Math.round(jsonBytes / 1000 / ms);
    printReport("rollup", {
      events_from: capture === "" ? "invented" : "captured",
      to,
      json_mb: Math.round(jsonBytes / 1e6),
      ...rollup,
      json_mb_per_s: rate(rollup["rollup_ms"] ?? NaN),
      ...baseline,
      copy_alone_mb_per_s: rate(baseline["copy_alone_ms"] ?? NaN),
      ratio_to_copy_alone: Math.round(
        100 * (baseline["copy_alone_ms"] ?? NaN) / (rollup["rollup_ms"] ?? NaN),
      ) / 100,
      bytes_per_event: await bytesPerEvent(batches, folder),
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function placeOf(name: string): Promise<StorePlace> {
  const kind = STORE_KINDS.find((each) => each.name === name && each.isPresent);
  if (kind === undefined) throw new Error(`Cannot write to ${JSON.stringify(name)}: not there`);
  return await kind.open();
}

/** Runs a part of this file in a process of its own; the figures it prints. */
async function inProcess(
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, number>>> {
  const script = fileURLToPath(import.meta.url);
  const env = { ...process.env, ...environment };
  const { stdout } = await promisify(execFile)(process.execPath, [script, ...args], { env });
  return JSON.parse(stdout);
}

async function rollUp([url = "", bucket = "", scratchDirectory = ""]: readonly string[]) {
  await using store = await openStoreAt(bucket, process.env["TEST_S3_ENDPOINT"]);
  await using rollup = await openRollup({
    store,
    nats: { url },
    shard: "0",
    scratchDirectory,
    log,
    metrics: createMetrics(),
  });
  const started = performance.now();
  const startedCpu = process.cpuUsage();
  const { commits, rows } = await rollup.runOnce();
  const elapsedMs = performance.now() - started;
  const cpu = cpuMs(startedCpu);
  const files = (await openTable({ store, clock: systemClock, log }).refresh()).files.values();
  const parquetBytes = [...files].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return {
    events: rows,
    commits,
    rollup_ms: Math.round(elapsedMs),
    rollup_cpu_ms: cpu,
    parquet_mb: parquetBytes / 1e6,
    peak_rss_mb: Math.round(process.resourceUsage().maxRSS / 1024),
  };
}

/** The payloads as they lie in the evidence, segment by segment, to Parquet with DuckDB's own settings. */
async function copyAlone([bucket = "", folder = ""]: readonly string[]) {
  await using store = await openStoreAt(bucket, process.env["TEST_S3_ENDPOINT"]);
  await using database = await openDatabase({
    memoryLimitBytes: 2 * DEFAULT_MEMORY_LIMIT_BYTES,
    threads: 2,
    tempDirectory: join(folder, "spill"),
    tempLimitBytes: 4e9,
  });
  await using connection = await database.connect();
  await connection.run(createMessageTable("none"));
  let elapsedMs = 0;
  let cpu = 0;
  for await (const { key } of store.list("evidence/")) {
    const stored = await store.get(key);
    const payloads = join(folder, "payloads");
    await mkdir(payloads);
    const paths: string[] = [];
    for (const { sequence, payload } of parseSegment(stored?.body ?? new Uint8Array()).messages) {
      paths.push(join(payloads, `${sequence}.ndjson.zst`));
      await writeFile(paths.at(-1) ?? "", payload);
    }
    // The columns of the typed read, taken from its own text, and nothing else of it.
    const columns = /columns = (\{[^}]*\})/.exec(typedRead({ files: ["x"], messages: "none" }))
      ?.[1];
    const started = performance.now();
    const startedCpu = process.cpuUsage();
    await connection.run(
      `COPY (SELECT * FROM read_json(${
        listOf(paths)
      }, format = 'newline_delimited', columns = ${columns}))
       TO ${
        literalOf(join(folder, "alone.parquet"))
      } (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE ${ROW_GROUP_ROWS_MAX})`,
    );
    elapsedMs += performance.now() - started;
    cpu += cpuMs(startedCpu);
    await rm(payloads, { recursive: true });
  }
  return { copy_alone_ms: Math.round(elapsedMs), copy_alone_cpu_ms: cpu };
}

/** The captured batches rolled up once, then each topic's rows written alone as a data file is. */
async function bytesPerEvent(
  batches: readonly Batch[],
  folder: string,
): Promise<Readonly<Record<string, number>>> {
  await using server = await openNatsServer();
  await fillStream(server.url, batches, 1);
  const bucket = join(folder, "once");
  const { events = 1, parquet_mb: parquet = 0 } = await rollUp([
    server.url,
    `file://${bucket}`,
    folder,
  ]);
  await using store = await openDirectoryStore({ directory: bucket });
  const { files } = await openTable({ store, clock: systemClock, log }).refresh();
  const paths = [...files.values()].map(({ path }) => store.localPath(dataFileKey(path)) ?? "");
  await using database = await openDatabase({
    memoryLimitBytes: 1e9,
    threads: 2,
    tempDirectory: join(folder, "spill"),
    tempLimitBytes: 4e9,
  });
  await using connection = await database.connect();
  await connection.run(
    `CREATE VIEW rows AS SELECT * FROM read_parquet(${listOf(paths)}, hive_partitioning = true)`,
  );
  const sizes: Record<string, number> = { all: round(parquet * 1e6 / events) };
  const { rows } = await connection.query(
    "SELECT topic FROM rows GROUP BY topic HAVING count(*) >= 1000 ORDER BY topic",
  );
  for (const { topic } of rows) {
    const written = await writeDataFiles(connection, {
      select: `SELECT * FROM rows WHERE topic = ${literalOf(String(topic))}`,
      folder,
      range: { incarnation: "00000000", first: 1, last: 1 },
    });
    const bytes = written.reduce((sum, { file }) => sum + file.sizeBytes, 0);
    const count = written.reduce((sum, { file }) => sum + file.rows, 0);
    sizes[String(topic)] = round(bytes / count);
  }
  return sizes;
}

function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return Math.round((user + system) / 1000);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

const [part, ...rest] = process.argv.slice(2);
if (part === "roll-up") process.stdout.write(JSON.stringify(await rollUp(rest)));
else if (part === "copy-alone") process.stdout.write(JSON.stringify(await copyAlone(rest)));
else await main(process.argv.slice(2));
