/**
 * How fast a table is made again from its evidence, and how fast it is proved equal.
 *
 * Arguments: megabytes of JSON (500 by default), of invented events. Both buckets are folders.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { proveReplay } from "../src/pipeline/replay-proof.ts";
import { replayEvidence } from "../src/pipeline/replay.ts";
import { openRollup } from "../src/pipeline/rollup.ts";
import { createLog } from "../src/runtime/log.ts";
import { createMetrics } from "../src/runtime/metrics.ts";
import { openDirectoryStore } from "../src/storage/fs-store.ts";
import { openNatsServer } from "../test/support/nats-server.ts";
import { printReport } from "./report.ts";
import { fillStream, inventBatches } from "./stream-filling.ts";

const log = createLog({ level: "warn" });

async function main([megabytes = "500"]: readonly string[]): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "probity-bench-"));
  try {
    await using source = await openDirectoryStore({ directory: join(folder, "bucket") });
    const jsonBytes = await rollUp(source, { folder, jsonBytes: Number(megabytes) * 1e6 });
    await using target = await openDirectoryStore({ directory: join(folder, "made") });
    const scratchDirectory = join(folder, "scratch");
    const started = performance.now();
    const replay = await replayEvidence({
      ...{ source, target, scratchDirectory, log },
      evidenceOnly: false,
      isKept: false,
    });
    const replayed = performance.now();
    const proof = await proveReplay({ source, target, replay, scratchDirectory });
    const proved = performance.now();
    const rows = replay.shards.reduce((sum, each) => sum + each.rows.rows, 0);
    printReport("replay", {
      json_mb: Math.round(jsonBytes / 1e6),
      rows,
      replay_ms: Math.round(replayed - started),
      json_mb_per_s: Math.round(jsonBytes / 1000 / (replayed - started)),
      proof_ms: Math.round(proved - replayed),
      proof_rows_per_s: Math.round(rows / ((proved - replayed) / 1000)),
      is_equal: proof.shards.every(({ differences }) => differences === undefined),
      rss_peak_mb: Math.round(process.resourceUsage().maxRSS / 1024),
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function rollUp(
  store: Awaited<ReturnType<typeof openDirectoryStore>>,
  { folder, jsonBytes }: { readonly folder: string; readonly jsonBytes: number },
): Promise<number> {
  await using server = await openNatsServer();
  const filled = await fillStream(server.url, await inventBatches(), jsonBytes);
  await using rollup = await openRollup({
    store,
    nats: { url: server.url },
    shard: "0",
    scratchDirectory: join(folder, "rollup"),
    log,
    metrics: createMetrics(),
  });
  await rollup.runOnce();
  return filled;
}

await main(process.argv.slice(2));
