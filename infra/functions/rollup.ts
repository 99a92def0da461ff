/**
 * The roll-up as a scheduled function: each call commits what the log holds, then ends. Calls may overlap or be cut off
 * at any point; the table decides which of them counts.
 */
import { join } from "node:path";
import process from "node:process";
import { shardNames } from "../../src/cli/shards.ts";
import { openRollup } from "../../src/pipeline/rollup.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { openStore } from "../../src/storage/open-store.ts";
import { type Environment, readFunctionSettings } from "./settings.ts";

/** What one call did to a shard. */
export interface ShardRound {
  readonly shard: string;
  readonly commits: number;
  readonly rows: number;
  /** Sequence up to which the shard's stream is in the table. */
  readonly sequence: number;
}

/** How long a call waits for the broker, in milliseconds. */
const CONNECT_LIMIT_MS = 30_000;

/** Entry point for a scheduler: `handler()` of a function runtime. Rejects when a shard could not be committed. */
export async function handler(): Promise<readonly ShardRound[]> {
  return await rollUpOnce(process.env);
}

export async function rollUpOnce(environment: Environment): Promise<readonly ShardRound[]> {
  const { folder, log, ...settings } = readFunctionSettings(environment);
  const { intervalMs, segmentMaxBytes, shards } = settings.rollup;
  const nats = settings.nats();
  await using store = await openStore(settings.store);
  const rounds: ShardRound[] = [];
  for (const shard of shardNames(shards)) {
    await using rollup = await openRollup({
      store,
      nats,
      shard,
      intervalMs,
      segmentMaxBytes,
      scratchDirectory: join(folder.cache, "rollup", shard),
      log,
      metrics: createMetrics(),
      signal: AbortSignal.timeout(CONNECT_LIMIT_MS),
    });
    const { commits, rows, sequence } = await rollup.runOnce();
    rounds.push({ shard, commits, rows, sequence });
  }
  return rounds;
}
