/**
 * The table's state as the sum of its log entries: a fold of versions, without I/O.
 *
 * Invariant: entries are applied in order without a hole, and the result depends on nothing else; so every reader of
 * a version sees the same files and positions. Source: delta-io/delta PROTOCOL.md, "Action Reconciliation".
 */
import { PARTITION_COLUMNS, READER_VERSION, WRITER_VERSION } from "./delta-schema.ts";
import type {
  Action,
  FileMark,
  Metadata,
  Protocol,
  RemovedFile,
  Transaction,
} from "./delta-actions.ts";
import type { DataFile, ShardPosition } from "./table.ts";

/** What a shard's last commit was. */
export interface ShardTip {
  readonly position: ShardPosition;
  readonly commitId: string | undefined;
}

export interface LogState {
  /** -1 while there is no table. */
  readonly version: number;
  readonly protocol: Protocol | undefined;
  readonly metadata: Metadata | undefined;
  readonly files: ReadonlyMap<string, DataFile>;
  /** What the log says beyond that of each file. */
  readonly marks: ReadonlyMap<string, FileMark>;
  /** Files that were taken out and not added again; those of long ago may be missing. */
  readonly removed: ReadonlyMap<string, RemovedFile>;
  readonly tips: ReadonlyMap<string, ShardTip>;
  /** The last of each application, shards and foreign ones alike. */
  readonly transactions: ReadonlyMap<string, Transaction>;
}

export const EMPTY_LOG: LogState = {
  version: -1,
  protocol: undefined,
  metadata: undefined,
  files: new Map(),
  marks: new Map(),
  removed: new Map(),
  tips: new Map(),
  transactions: new Map(),
};

/**
 * The state without the files that were taken out more than `keptMs` before the last one that was: a table that lives
 * long takes out more than it ever holds.
 */
export function forgetRemoved(state: LogState, keptMs: number): LogState {
  let lastMs = -Infinity;
  for (const { removedAtMs } of state.removed.values()) lastMs = Math.max(lastMs, removedAtMs);
  const kept = [...state.removed].filter(([, { removedAtMs }]) => removedAtMs > lastMs - keptMs);
  return kept.length === state.removed.size ? state : { ...state, removed: new Map(kept) };
}

/** `appId` of a shard's `txn` actions. */
export function shardAppId(shard: string): string {
  return `${SHARD_APP}${shard}`;
}

const SHARD_APP = "shard:";

/** Further features that a reader or writer of protocol 3 or 7 may name and we honour. */
const READER_FEATURES: readonly string[] = [];
const WRITER_FEATURES: readonly string[] = ["appendOnly", "invariants"];

export interface Replay {
  /** Applies the actions of the next version; throws SyntaxError when they are not a whole, readable commit. */
  apply(version: number, actions: readonly Action[]): void;
  /** The state so far; the replay may go on afterwards only through a new one. */
  state(): LogState;
}

/** Starts from a state, which stays as it is. */
export function createReplay(start: LogState): Replay {
  const files = new Map(start.files);
  const marks = new Map(start.marks);
  const removed = new Map(start.removed);
  const tips = new Map(start.tips);
  const transactions = new Map(start.transactions);
  let { version, protocol, metadata } = start;
  return {
    apply(next, actions) {
      if (next !== version + 1) throw new SyntaxError(`it does not follow version ${version}`);
      const touched = new Set<string>();
      for (const action of actions) {
        if (action.kind === "protocol") protocol = readable(action.protocol);
        if (action.kind === "metadata") metadata = partitioned(action.metadata);
        if (action.kind === "transaction") {
          transactions.set(action.transaction.appId, action.transaction);
        }
        if (action.kind !== "add" && action.kind !== "remove") continue;
        const { path } = action.kind === "add" ? action.file : action.removed;
        if (touched.has(path)) throw new SyntaxError(`it names ${JSON.stringify(path)} twice`);
        touched.add(path);
        if (action.kind === "add") {
          files.set(path, action.file);
          marks.set(path, action.mark);
          removed.delete(path);
        } else {
          files.delete(path);
          marks.delete(path);
          removed.set(path, action.removed);
        }
      }
      for (const tip of tipsOf(next, actions)) tips.set(tip.position.shard, tip);
      if (protocol === undefined || metadata === undefined) throw incomplete();
      version = next;
    },
    state: () => ({ version, protocol, metadata, files, marks, removed, tips, transactions }),
  };
}

/** The state that a checkpoint holds; throws SyntaxError when it is not a whole one. */
export function stateOfCheckpoint(
  version: number,
  actions: readonly Action[],
  tips: readonly ShardTip[],
): LogState {
  const protocol = actions.find((action) => action.kind === "protocol")?.protocol;
  const metadata = actions.find((action) => action.kind === "metadata")?.metadata;
  if (protocol === undefined || metadata === undefined) throw incomplete();
  const files = new Map<string, DataFile>();
  const marks = new Map<string, FileMark>();
  const removed = new Map<string, RemovedFile>();
  const transactions = new Map<string, Transaction>();
  for (const action of actions) {
    if (action.kind === "add") {
      files.set(action.file.path, action.file);
      marks.set(action.file.path, action.mark);
    }
    if (action.kind === "remove") removed.set(action.removed.path, action.removed);
    if (action.kind === "transaction") {
      transactions.set(action.transaction.appId, action.transaction);
    }
  }
  return {
    version,
    protocol: readable(protocol),
    metadata: partitioned(metadata),
    files,
    marks,
    removed,
    tips: new Map(tips.map((tip) => [tip.position.shard, tip])),
    transactions,
  };
}

/** The shard that a `txn` action speaks of, if any. */
export function shardOf({ appId }: Pick<Transaction, "appId">): string | undefined {
  return appId.startsWith(SHARD_APP) ? appId.slice(SHARD_APP.length) : undefined;
}

/** Throws when the table asks of its writers what we do not do. */
export function requireWritable({ minWriterVersion, writerFeatures }: Protocol): void {
  const isKnown = minWriterVersion <= WRITER_VERSION ||
    (minWriterVersion === 7 && writerFeatures.every((name) => WRITER_FEATURES.includes(name)));
  if (!isKnown) throw new Error(refusal("writer", minWriterVersion, writerFeatures));
}

function readable(protocol: Protocol): Protocol {
  const { minReaderVersion, readerFeatures } = protocol;
  const isKnown = minReaderVersion <= READER_VERSION ||
    (minReaderVersion === 3 && readerFeatures.every((name) => READER_FEATURES.includes(name)));
  if (!isKnown) throw new SyntaxError(refusal("reader", minReaderVersion, readerFeatures));
  return protocol;
}

function refusal(role: string, version: number, features: readonly string[]): string {
  const named = features.length === 0 ? "" : ` with ${features.join(", ")}`;
  return `the table needs ${role} version ${version}${named}, which is not known here`;
}

function partitioned(metadata: Metadata): Metadata {
  if (metadata.partitionColumns.join() === PARTITION_COLUMNS.join()) return metadata;
  throw new SyntaxError(`the table is not partitioned by ${PARTITION_COLUMNS.join(", ")}`);
}

function incomplete(): SyntaxError {
  return new SyntaxError("the table has no protocol or metaData");
}

/** The shards that a version moves, with their places in `commitInfo`: at most one, so that one entry can name it. */
export function tipsOf(version: number, actions: readonly Action[]): ShardTip[] {
  const info = actions.find((action) => action.kind === "commit")?.info;
  const tips: ShardTip[] = [];
  for (const action of actions) {
    const shard = action.kind === "transaction" ? shardOf(action.transaction) : undefined;
    if (action.kind !== "transaction" || shard === undefined) continue;
    if (action.transaction.version !== version) {
      throw new SyntaxError(`txn of shard "${shard}" names version ${action.transaction.version}`);
    }
    if (info?.position?.shard !== shard || tips.length > 0) {
      throw new SyntaxError(`txn of shard "${shard}" has no position in commitInfo`);
    }
    tips.push({ position: { ...info.position, version }, commitId: info.commitId });
  }
  return tips;
}
