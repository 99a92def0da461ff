/** Broker, bucket and roll-ups for tests, and what the archive holds in the end. */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openRollup, type Rollup, type RollupOptions } from "../../src/pipeline/rollup.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import {
  connectNats,
  ensureStream,
  type NatsConnection,
  openBucket,
} from "../../src/runtime/nats.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { openDatabase, type SqlRow } from "../../src/storage/duckdb.ts";
import { openDirectoryStore } from "../../src/storage/fs-store.ts";
import { dataFileKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import type { TableSnapshot } from "../../src/storage/table.ts";
import { MESSAGE_BYTES_MAX, streamOf, subjectsOf } from "../../src/event/wire.ts";
import { parseWatermark, WATERMARK_BUCKET } from "../../src/event/watermark.ts";
import { type BatchAgent, numberedEvent, publishAll } from "./batches.ts";
import { type NatsServer, openNatsServer } from "./nats-server.ts";
import { openTemporaryFolder } from "./temporary-folder.ts";

export const quietLog = createLog({ level: "error", write: () => undefined });

export interface RollupRig extends AsyncDisposable {
  readonly folder: string;
  readonly server: NatsServer;
  readonly connection: NatsConnection;
  readonly store: ObjectStore;
  /** A roll-up of shard 0; the caller disposes of it. */
  open(options?: Partial<RollupOptions>): Promise<Rollup>;
  /** One run over what the stream holds now. */
  once(options?: Partial<RollupOptions>): ReturnType<Rollup["runOnce"]>;
  snapshot(): Promise<TableSnapshot>;
  /** Answer of a query over all rows of the archive, which it calls `events`. */
  query(sql: string): Promise<readonly SqlRow[]>;
  /** `pid` of every event of topic app/test, in order. */
  numbers(): Promise<number[]>;
}

export interface RollupRigOptions {
  readonly bucket?: string;
}

export async function openRollupRig(options: RollupRigOptions = {}): Promise<RollupRig> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await openTemporaryFolder("rollup")).path;
  const server = stack.use(await openNatsServer());
  const connection = stack.use(
    await connectNats({ url: server.url, name: "test", log: quietLog }),
  );
  await makeStream(connection);
  const bucket = options.bucket ?? join(folder, "bucket");
  const store = stack.use(await openDirectoryStore({ directory: bucket }));
  const snapshot = () => openTable({ store, clock: systemClock, log: quietLog }).refresh();
  const open = (more: Partial<RollupOptions> = {}): Promise<Rollup> =>
    openRollup({
      store,
      nats: { url: server.url },
      shard: "0",
      scratchDirectory: join(folder, "scratch"),
      log: quietLog,
      metrics: createMetrics(),
      ...more,
    });
  const query = async (sql: string) => queryFiles(store, await snapshot(), sql);
  const resources = stack.move();
  return {
    folder,
    server,
    connection,
    store,
    open,
    async once(more) {
      await using rollup = await open(more);
      return await rollup.runOnce();
    },
    snapshot,
    query,
    async numbers() {
      const rows = await query("SELECT pid FROM events WHERE topic = 'app/test' ORDER BY pid");
      return rows.map(({ pid }) => Number(pid));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** The stream of a shard, as the roll-up would make it. */
export async function makeStream(connection: NatsConnection, shard = "0"): Promise<void> {
  await ensureStream(connection, {
    name: streamOf(shard),
    subjects: [subjectsOf(shard)],
    messageBytesMax: MESSAGE_BYTES_MAX,
  });
}

/** Path of a script that runs a roll-up as a process of its own. */
export const ROLLUP_SCRIPT = fileURLToPath(new URL("rollup-process.ts", import.meta.url));

async function queryFiles(
  store: ObjectStore,
  { files }: TableSnapshot,
  sql: string,
): Promise<readonly SqlRow[]> {
  if (files.size === 0) return [];
  const paths = [...files.values()].map(({ path }) => `'${store.localPath(dataFileKey(path))}'`);
  await using database = await openDatabase({
    memoryLimitBytes: 300_000_000,
    threads: 2,
    tempDirectory: "/nonexistent",
    tempLimitBytes: 0,
  });
  await using connection = await database.connect();
  await connection.run(
    `CREATE VIEW events AS SELECT *, incarnation || '-' || seq || '-' || idx AS id
     FROM read_parquet([${paths.join(", ")}], hive_partitioning = true)`,
  );
  return (await connection.query(sql)).rows;
}

/** Whole numbers from the first up to, and without, the second. */
export const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, place) => from + place);

/** Publishes one batch of numbered events. */
export async function publishNumbers(
  rig: RollupRig,
  agent: BatchAgent,
  numbers: readonly number[],
) {
  const batch = await agent.batch(numbers.map((number) => numberedEvent(number)));
  return await publishAll(rig.connection, [batch]);
}

/** What an agent is told. */
export async function watermarkOf(rig: RollupRig, agent: string) {
  const bucket = await openBucket(rig.connection, WATERMARK_BUCKET);
  return parseWatermark(await bucket.get(`0.${agent}`) ?? "");
}

export function isConnected(rig: RollupRig): Promise<boolean> {
  return rig.connection.rtt().then(() => true, () => false);
}

/** Resolves once it holds; rejects when that takes too long. */
export async function until(holds: () => Promise<boolean>, limitMs = 60_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms`);
    await delay(50);
  }
}
