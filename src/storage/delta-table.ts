/**
 * The table over an object store: snapshots, and the commit that makes a round of work visible.
 *
 * Invariant: a shard's work is committed only onto the very version of that shard it started from, and the put-if-absent
 * of one log entry decides it. An answer that was lost is read back, never guessed. Source:
 * delta-io/delta PROTOCOL.md, "Delta Log Entries"; the rule for shards is our own.
 */
import { randomBytes } from "node:crypto";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { type Backoff, backoffMs } from "../runtime/retry.ts";
import { isShardName } from "../event/wire.ts";
import {
  checkpointDistance,
  pointedVersion,
  REMOVED_KEPT_MS,
  writeCheckpoint,
} from "./delta-checkpoint-write.ts";
import {
  commitIdOf,
  encodeFirstVersion,
  encodeReplacement,
  encodeShardCommit,
} from "./delta-commit.ts";
import { readVersion } from "./delta-entry.ts";
import { readLog } from "./delta-log.ts";
import { EMPTY_LOG, forgetRemoved, type LogState, requireWritable } from "./delta-replay.ts";
import { compareSchema } from "./delta-schema.ts";
import { deltaLogKey, LAST_CHECKPOINT_KEY } from "./layout.ts";
import { AmbiguousWriteError, type ObjectStore, type RequestOptions } from "./object-store.ts";
import type {
  CommitResult,
  MaintainedTable,
  RemovedDataFile,
  Replacement,
  ShardCommit,
  Table,
  TableSnapshot,
} from "./table.ts";

/** So often a commit is tried at the next version when others took the one before. */
export const COMMIT_ATTEMPTS_MAX = 64;
/** So often a version is written again whose fate stayed unknown. */
export const AMBIGUOUS_ATTEMPTS_MAX = 5;
const BACKOFF: Backoff = { firstMs: 10, maximumMs: 1_000 };

export interface TableOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly log: Log;
}

/** The table in a store; reads nothing yet. The store stays the caller's to close. */
export function openTable(options: TableOptions): Table {
  return new DeltaTable(options, 0);
}

/** The table to those who keep it in order: it remembers for a while which files were taken out. */
export function openMaintainedTable(options: TableOptions): MaintainedTable {
  return new DeltaTable(options, REMOVED_KEPT_MS);
}

class DeltaTable implements MaintainedTable {
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #removedKeptMs: number;
  #state: LogState = EMPTY_LOG;
  #snapshot: TableSnapshot = snapshotOf(EMPTY_LOG);

  constructor({ store, clock, log }: TableOptions, removedKeptMs: number) {
    this.#removedKeptMs = removedKeptMs;
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  current(): TableSnapshot {
    return this.#snapshot;
  }

  async refresh(signal?: AbortSignal): Promise<TableSnapshot> {
    await this.#readOn(signal);
    return this.#snapshot;
  }

  async commit(work: ShardCommit, signal?: AbortSignal): Promise<CommitResult> {
    if (!isShardName(work.shard)) {
      throw new RangeError(`Cannot commit shard ${JSON.stringify(work.shard)}: not a shard's name`);
    }
    const commitId = commitIdOf(work);
    let lost = 0;
    let unknown = 0;
    while (lost <= COMMIT_ATTEMPTS_MAX && unknown <= AMBIGUOUS_ATTEMPTS_MAX) {
      const state = await this.#readOn(signal);
      const tip = state.tips.get(work.shard);
      if (tip !== undefined && tip.commitId === commitId) {
        return { kind: "committed", version: tip.position.version };
      }
      if (tip?.position.version !== work.startedFrom) return { kind: "superseded" };
      const nowMs = Math.floor(this.#clock.nowUs() / 1000);
      requireInTime(work, nowMs);
      const entry = entryOf(state, work, nowMs);
      const outcome = await this.#putEntry(entry, commitId, signal);
      if (outcome === "written" && entry.isWork) {
        return { kind: "committed", version: entry.version };
      }
      if (outcome === "lost") lost += 1;
      if (outcome === "unknown") unknown += 1;
      if (outcome !== "written") {
        await this.#clock.sleep(backoffMs(lost + unknown, { backoff: BACKOFF }), signal);
      }
    }
    const why = lost > COMMIT_ATTEMPTS_MAX ? "other writers came first" : "the answer was lost";
    throw new Error(`Cannot commit to the table in ${this.#store.url}: ${why}, time after time`);
  }

  async replace(work: Replacement, signal?: AbortSignal): Promise<CommitResult> {
    const commitId = randomBytes(16).toString("hex");
    /** Versions of ours whose fate stayed unknown. */
    const unknown: number[] = [];
    for (let attempt = 0; attempt <= COMMIT_ATTEMPTS_MAX; attempt++) {
      const state = await this.#readOn(signal);
      for (const version of unknown) {
        if (await this.#isOurs(version, commitId, signal)) return { kind: "committed", version };
      }
      const isLive = work.removed.every(({ path }) => state.files.has(path));
      if (!isLive) return { kind: "superseded" };
      if (await work.confirm?.() === false) {
        if (unknown.length === 0) return { kind: "superseded" };
        // The files to add must not be taken for unneeded: what was sent may still be written.
        throw new Error(
          `Cannot tell whether files of the table in ${this.#store.url} were changed: ` +
            `the answer was lost, and the change is not wanted any more`,
        );
      }
      const { protocol, metadata } = state;
      if (protocol === undefined || metadata === undefined) return { kind: "superseded" };
      requireWritable(protocol);
      const version = state.version + 1;
      const nowMs = Math.floor(this.#clock.nowUs() / 1000);
      if (work.added.length > 0) requireInTime(work, nowMs);
      const body = encodeReplacement(work, { commitId, nowMs, metadata });
      const outcome = await this.#putEntry({ version, body, isWork: true }, commitId, signal);
      if (outcome === "written") return { kind: "committed", version };
      if (outcome === "unknown") unknown.push(version);
      if (unknown.length > AMBIGUOUS_ATTEMPTS_MAX) break;
      await this.#clock.sleep(backoffMs(attempt + 1, { backoff: BACKOFF }), signal);
    }
    throw new Error(`Cannot change files of the table in ${this.#store.url}: time after time`);
  }

  async checkpoint(signal?: AbortSignal): Promise<number | undefined> {
    const request: RequestOptions = signal === undefined ? {} : { signal };
    const state = await this.#readOn(signal);
    const pointer = await this.#store.get(LAST_CHECKPOINT_KEY, request);
    const last = pointer === undefined ? 0 : pointedVersion(pointer.body) ?? 0;
    if (state.version - last < checkpointDistance(state.files.size)) return undefined;
    const nowMs = Math.floor(this.#clock.nowUs() / 1000);
    await writeCheckpoint(this.#store, state, { ...request, nowMs });
    return state.version;
  }

  removed(): ReadonlyMap<string, RemovedDataFile> {
    return this.#state.removed;
  }

  addedAtMs(path: string): number | undefined {
    return this.#state.marks.get(path)?.modifiedAtMs;
  }

  knowsAllColumns(): boolean {
    const { metadata } = this.#state;
    return metadata === undefined || compareSchema(metadata.schemaString) !== "newer";
  }

  async #isOurs(version: number, commitId: string, signal?: AbortSignal): Promise<boolean> {
    const actions = await readVersion(this.#store, version, signal) ?? [];
    return actions.some((action) => action.kind === "commit" && action.info.commitId === commitId);
  }

  /** Puts a log entry; `lost` when another has its version, `unknown` when even reading back does not tell. */
  async #putEntry(
    entry: Entry,
    commitId: string,
    signal: AbortSignal | undefined,
  ): Promise<"written" | "lost" | "unknown"> {
    const { version, body } = entry;
    const options: RequestOptions = signal === undefined ? {} : { signal };
    try {
      const outcome = await this.#store.putIfAbsent(deltaLogKey(version), body, options);
      return outcome === "created" ? "written" : "lost";
    } catch (cause) {
      if (!(cause instanceof AmbiguousWriteError)) throw cause;
      const error = cause.message;
      this.#log.warn("the answer to a commit was lost; reading it back", { version, error });
      const actions = await readVersion(this.#store, version, signal);
      if (actions === undefined) return "unknown";
      const found = actions.find((action) => action.kind === "commit")?.info.commitId;
      return entry.isWork && found === commitId ? "written" : "lost";
    }
  }

  async #readOn(signal: AbortSignal | undefined): Promise<LogState> {
    const state = await readLog(this.#store, this.#state, { log: this.#log, signal });
    if (state.version > this.#state.version) {
      this.#state = forgetRemoved(state, this.#removedKeptMs);
      this.#snapshot = snapshotOf(this.#state);
    }
    return this.#state;
  }
}

interface Entry {
  readonly version: number;
  readonly body: Uint8Array;
  /** False for version 0, which only makes the table. */
  readonly isWork: boolean;
}

/** The next log entry: version 0 when there is no table yet, else the work. */
function entryOf(state: LogState, work: ShardCommit, nowMs: number): Entry {
  const version = state.version + 1;
  const { protocol, metadata } = state;
  if (protocol === undefined || metadata === undefined) {
    return { version, body: encodeFirstVersion(nowMs), isWork: false };
  }
  requireWritable(protocol);
  requireProgress(state, work);
  return { version, body: encodeShardCommit(work, { version, nowMs, metadata }), isWork: true };
}

/**
 * Who stood still for a day between its puts and its commit must not name what a vacuum took meanwhile. A store takes no
 * request that is signed minutes ago, so that none can stand still after this.
 */
function requireInTime({ notAfterMs = Infinity }: { readonly notAfterMs?: number }, nowMs: number) {
  if (nowMs <= notAfterMs) return;
  throw new Error(
    `Cannot commit after ${
      new Date(notAfterMs).toISOString()
    }: what the work names may be vacuumed`,
  );
}

/** Committing a sequence twice would double its events, whatever the caller believes. */
function requireProgress(state: LogState, work: ShardCommit): void {
  const before = state.tips.get(work.shard)?.position;
  if (before === undefined || before.incarnation !== work.position.incarnation) return;
  if (work.firstSequence > before.sequence && work.position.sequence >= before.sequence) return;
  throw new RangeError(
    `Cannot commit sequences ${work.firstSequence} to ${work.position.sequence} of shard ` +
      `"${work.shard}": ${before.sequence} is committed`,
  );
}

function snapshotOf({ version, files, tips }: LogState): TableSnapshot {
  const shards = new Map([...tips].map(([shard, { position }]) => [shard, position]));
  return { version, files, shards };
}
