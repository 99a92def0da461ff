/**
 * What does a commit take beyond its Parquet data, with `--agents` agents (1,000) that all have something in it?
 *
 * Counted from the moment the rows lie in files on this machine, without the time in which those files are put into
 * the bucket (a folder): the rest of the evidence, another look at the stream, state object and log entry. What the
 * agents are told follows the commit and is counted apart, and so is the making of the rows. Median and 95th of
 * `--commits` commits (50) after a few to warm up.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { commitSubjectOf } from "../src/event/wire.ts";
import { DEFAULT_MEMORY_LIMIT_BYTES } from "../src/pipeline/rollup-parts.ts";
import { writeRoundRows } from "../src/pipeline/round-rows.ts";
import { createLog } from "../src/runtime/log.ts";
import { frameShapeOf } from "../src/runtime/zstd.ts";
import { openDatabase } from "../src/storage/duckdb.ts";
import { TABLE_PREFIX } from "../src/storage/layout.ts";
import type { ObjectStore } from "../src/storage/object-store.ts";
import { createBatchAgent, numberedEvent, publishAll } from "../test/support/batches.ts";
import { openRollupRig } from "../test/support/rollup-rig.ts";
import { unreliable } from "../test/support/unreliable-store.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    agents: { type: "string", default: "1000" },
    commits: { type: "string", default: "50" },
  },
});
const WARM_UP = 5;
/** Numbers of events from here on have the same length. */
const FIRST_NUMBER = 1_000_000;

/** When each step of the round under way was done, by `performance.now()`; and how long its files took. */
const marks = { startedMs: 0, rowsMs: 0, putMs: 0, stateBytes: 0, committedMs: 0 };

await using rig = await openRollupRig();
await using database = await openDatabase({
  memoryLimitBytes: DEFAULT_MEMORY_LIMIT_BYTES,
  threads: 2,
  tempDirectory: join(rig.folder, "spill"),
  tempLimitBytes: 1e9,
});
const agents = Array.from(
  { length: Number(values.agents) },
  (_, place) => createBatchAgent(`agent-${place}`),
);
const { payload } = await createBatchAgent("a").batch([numberedEvent(FIRST_NUMBER)]);
await using rollup = await rig.open({
  // One batch of each agent makes a round full.
  segmentMaxBytes: agents.length * (frameShapeOf(payload)?.contentBytes ?? 0),
  store: watched(rig.store),
  rows: {
    database,
    async write(connection, options) {
      marks.startedMs = performance.now();
      marks.putMs = 0;
      const rows = await writeRoundRows(connection, options);
      marks.rowsMs = performance.now();
      return rows;
    },
  },
  log: createLog({
    level: "info",
    write: (line) => {
      if (line.includes("message=committed")) marks.committedMs = performance.now();
    },
  }),
});
const told = rig.connection.subscribe(commitSubjectOf("0"))[Symbol.asyncIterator]();
const end = new AbortController();
const running = rollup.run(end.signal);
const figures: Record<"rows" | "files" | "commit" | "telling", number>[] = [];
while (figures.length < WARM_UP + Number(values.commits)) {
  await Promise.all(agents.map(async (agent, place) => {
    const event = numberedEvent(FIRST_NUMBER + figures.length * agents.length + place);
    await publishAll(rig.connection, [await agent.batch([event])]);
  }));
  await told.next();
  const { startedMs, rowsMs, putMs, committedMs } = marks;
  figures.push({
    rows: rowsMs - startedMs,
    files: putMs,
    commit: committedMs - rowsMs - putMs,
    telling: performance.now() - committedMs,
  });
}
end.abort();
await running;
printReport("commit", {
  agents: agents.length,
  commits: figures.length - WARM_UP,
  state_bytes: marks.stateBytes,
  ...spread("overhead", ({ commit }) => commit),
  ...spread("telling_agents", ({ telling }) => telling),
  ...spread("putting_files", ({ files }) => files),
  ...spread("making_rows", ({ rows }) => rows),
});

/** The store, measuring the puts of data files. */
function watched(store: ObjectStore): ObjectStore {
  return {
    ...unreliable(store),
    async putFileIfAbsent(key, path, options) {
      const startedMs = performance.now();
      const outcome = await store.putFileIfAbsent(key, path, options);
      if (key.startsWith(TABLE_PREFIX)) marks.putMs += performance.now() - startedMs;
      return outcome;
    },
    async putIfAbsent(key, body, options) {
      if (key.startsWith("state/")) marks.stateBytes = body.length;
      return await store.putIfAbsent(key, body, options);
    },
  };
}

/** Median and 95th percentile, in milliseconds. */
function spread(
  name: string,
  of: (each: (typeof figures)[number]) => number,
): Readonly<Record<string, number>> {
  const sorted = figures.slice(WARM_UP).map(of).sort((left, right) => left - right);
  const at = (part: number): number =>
    Math.round(10 * (sorted[Math.floor(part * (sorted.length - 1))] ?? NaN)) / 10;
  return { [`${name}_median_ms`]: at(0.5), [`${name}_p95_ms`]: at(0.95) };
}
