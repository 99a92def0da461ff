import { expect, test } from "vitest";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { openDataFiles } from "../../src/query/data-files.ts";
import { openExecutors } from "../../src/query/executors.ts";
import type { Step } from "../../src/query/planner.ts";
import { RELIEF_LEAST_MS } from "../../src/query/turns.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { openStore } from "../../src/storage/open-store.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const { signal } = new AbortController();
const stepOf = (sql: string): Step => ({ files: [], statement: { sql, parameters: [] } });
/** A list of so many numbers, which cannot be spilled. */
const listOf = (count: number) => `(SELECT list(range) AS l FROM range(${count}))`;

test("memory that somebody has who used more is made free for a query that needs it", async () => {
  await using folder = await openTemporaryFolder("executor");
  await mkdir(join(folder.path, "bucket"));
  const log = createLog({ level: "error", write: () => undefined });
  await using store = await openStore({
    url: pathToFileURL(join(folder.path, "bucket")).href,
    log,
  });
  const cacheDirectory = join(folder.path, "cache");
  const files = await openDataFiles({ store, cacheDirectory, cacheLimitBytes: 1e6 });
  await using database = await openDatabase({
    memoryLimitBytes: 100_000_000,
    threads: 1,
    tempDirectory: join(folder.path, "spill"),
    tempLimitBytes: 0,
  });
  await using executors = openExecutors({
    ...{ database, narrow: database, files, scratchDirectory: folder.path, clock: systemClock },
    metrics: createMetrics(),
  });
  const heavy = { principal: { name: "heavy" }, signal };
  const light = { principal: { name: "light" }, signal };
  const count = stepOf(`SELECT len(l)::INT AS n FROM ${listOf(2_000_000)}`);

  const held = stepOf(`SELECT unnest(l)::VARCHAR FROM ${listOf(4_000_000)}`);
  const texts = executors.streams.texts([held], heavy)[Symbol.asyncIterator]();
  await texts.next();
  // Nobody's query is ended for that before it had its time.
  await delay(RELIEF_LEAST_MS);
  // Whoever has used the most has nobody to take from.
  await expect(executors.pages.rows(count, heavy)).rejects.toMatchObject({
    problem: { status: 422 },
  });
  expect((await executors.pages.rows(count, light)).rows).toEqual([{ n: 2_000_000 }]);
  await expect(texts.next()).rejects.toMatchObject({ problem: { status: 429 } });
});
