/** Rounds of a roll-up as tests need them: small, valid, and all different. */
import type { DataFile, ShardCommit } from "../../src/storage/table.ts";

export interface WorkOptions {
  readonly shard?: string;
  readonly startedFrom: number | undefined;
  readonly first: number;
  readonly last: number;
  readonly incarnation?: string;
  readonly files?: readonly DataFile[];
  /** In an hour by default. */
  readonly notAfterMs?: number;
}

export function shardWork(options: WorkOptions): ShardCommit {
  const { shard = "0", startedFrom, first, last, incarnation = "0a1b2c3d" } = options;
  const digest = String(last).padStart(64, "0");
  return {
    shard,
    startedFrom,
    position: { incarnation, sequence: last, digest, state: `state/${shard}/${digest}` },
    firstSequence: first,
    evidence: [`evidence/${incarnation}/${first}-${last}-${digest.slice(0, 12)}.segment`],
    files: options.files ?? [dataFile(`event_date=2026-01-02/${shard}-${first}-${last}.parquet`)],
    notAfterMs: options.notAfterMs ?? Date.now() + 3_600_000,
    counts: { messages: last - first + 1, rows: 10 },
  };
}

export function dataFile(path: string, rows = 10): DataFile {
  return {
    path,
    sizeBytes: 1234,
    rows,
    eventDate: "2026-01-02",
    minimum: { time: "2026-01-02T00:00:00.000Z", seq: 1, host: "web-1" },
    maximum: { time: "2026-01-02T00:00:01.000Z", seq: 9, host: "web-2" },
    nullCount: { time: 0, seq: 0, host: 3 },
    sha256: "ab".repeat(32),
  };
}
