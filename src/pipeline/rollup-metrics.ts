/** The roll-up's figures for Prometheus: how far it is behind, what it wrote, and what it would not take. */
import type { Metrics } from "../runtime/metrics.ts";

/** Where the roll-up stands now. */
export interface RollupPosition {
  readonly committedSequence: number;
  readonly lastSequence: number;
  /** When the broker stored the oldest message that was read and is not committed, µs; undefined when there is none. */
  readonly oldestUs: number | undefined;
  /** The same of the oldest that waits to be read, as last looked at. */
  readonly waitingSinceUs: number | undefined;
}

export interface RollupMetrics {
  /** A round became part of the table: figures of its log entry, and how long it took from its last message on. */
  committed(counts: Readonly<Record<string, number>>, seconds: number): void;
  /** Data files of a commit, and their bytes. */
  written(files: number, sizeBytes: number): void;
  /** Another roll-up came first and the work was thrown away. */
  conflicted(): void;
  /** A round, or the way to it, failed and is tried again. */
  failed(): void;
  /** The stream was found made again or shorter. */
  streamChanged(): void;
}

/** The figures of a process, whichever shards it serves. */
export interface RollupFigures {
  /** Figures of one shard, whose position is shown until they are disposed of. */
  ofShard(shard: string, position: () => RollupPosition): RollupMetrics & Disposable;
}

export interface RollupFiguresOptions {
  readonly metrics: Metrics;
  readonly nowUs: () => number;
}

const COMMIT_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Figures of a log entry that are counted on; the name of the metric and what it tells. */
const COUNTED: Readonly<Record<string, readonly [name: string, help: string]>> = {
  messages: ["messages", "Messages of the stream that were decided on and committed."],
  rows: ["rows", "Rows committed, gap rows among them."],
  gapRows: ["gap_rows", "Gap rows committed."],
  holes: ["holes", "Times that sequences of the stream were missing: a broker lost messages."],
  contentBytes: ["json_bytes", "JSON of committed payloads, in bytes."],
  evidenceBytes: ["evidence_bytes", "Evidence segments committed, in bytes."],
  duplicate: ["duplicates", "Batches that were part of the record already."],
  fork: ["forks", "Batches that did not continue their agent's chain."],
  ahead: ["ahead", "Batches that came before one that is missing."],
  refused: ["refused", "Messages with wrong headers or digest."],
  void: ["voids", "Batches that their agent no longer has."],
  unreadable: ["unreadable", "Accepted batches that could not be read."],
  quarantined: ["quarantined", "Payloads set aside: of forks, refused and unreadable messages."],
};

export function createRollupFigures({ metrics, nowUs }: RollupFiguresOptions): RollupFigures {
  const positions = new Map<string, () => RollupPosition>();
  const labels = ["shard"];
  const counter = (name: string, help: string) => {
    const metric = metrics.counter(`probity_rollup_${name}_total`, { help, labels });
    return (shard: string, amount = 1): void => metric.add(amount, { shard });
  };
  const counted = Object.entries(COUNTED)
    .map(([key, [name, help]]) => ({ key, add: counter(name, help) }));
  const commits = counter("commits", "Commits to the table.");
  const files = counter("files", "Data files committed.");
  const fileBytes = counter("file_bytes", "Data files committed, in bytes.");
  const conflicts = counter("conflicts", "Rounds thrown away since another roll-up came first.");
  const failures = counter("failures", "Rounds or starts that failed and were tried again.");
  const changes = counter("stream_changes", "Times the stream was found made again or shorter.");
  const all = [
    ...counted.map(({ add }) => add),
    ...[commits, files, fileBytes, conflicts, failures, changes],
  ];
  const latency = metrics.histogram("probity_rollup_commit_seconds", {
    help: "From a round's last message to its commit.",
    labels,
    buckets: COMMIT_SECONDS,
  });
  const observed = (name: string, help: string, of: (position: RollupPosition) => number): void =>
    metrics.observedEach(
      name,
      { help, labels },
      () =>
        [...positions].map(([shard, position]) =>
          [{ shard }, Math.max(0, of(position()))] as const
        ),
    );
  observed(
    "probity_rollup_lag_messages",
    "Sequences of the stream that are not committed, as last looked at.",
    ({ lastSequence, committedSequence }) => lastSequence - committedSequence,
  );
  observed(
    "probity_rollup_lag_seconds",
    "Age of the oldest message that is not committed, as last looked at.",
    ({ oldestUs, waitingSinceUs }) => {
      const sinceUs = oldestUs ?? waitingSinceUs;
      return sinceUs === undefined ? 0 : (nowUs() - sinceUs) / 1_000_000;
    },
  );
  return {
    ofShard(shard, position) {
      positions.set(shard, position);
      for (const add of all) add(shard, 0);
      return {
        committed(counts, seconds) {
          commits(shard);
          latency.observe(seconds, { shard });
          for (const { key, add } of counted) add(shard, counts[key] ?? 0);
        },
        written(count, sizeBytes) {
          files(shard, count);
          fileBytes(shard, sizeBytes);
        },
        conflicted: () => conflicts(shard),
        failed: () => failures(shard),
        streamChanged: () => changes(shard),
        [Symbol.dispose]() {
          if (positions.get(shard) === position) positions.delete(shard);
        },
      };
    },
  };
}
