/**
 * Reading a checkpoint of the table: the sum of all versions up to one, so that a reader need not begin at the first.
 *
 * Invariant: a checkpoint only saves time. Log entries are never deleted, so one that is missing, damaged or of a kind
 * we do not read is passed over with a warning, and the log is read from its beginning. Checkpoints do not carry
 * `commitInfo`: the position of a shard is read from the entry that its `txn` names.
 * Source: delta-io/delta PROTOCOL.md, "Checkpoints" and "Last Checkpoint File"; classic ones of one part are read.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Log } from "../runtime/log.ts";
import { type Action, parseAction } from "./delta-actions.ts";
import { readVersion } from "./delta-entry.ts";
import {
  type LogState,
  shardOf,
  type ShardTip,
  stateOfCheckpoint,
  tipsOf,
} from "./delta-replay.ts";
import { isRecord } from "./json-text.ts";
import { checkpointKey, checksumKey, LAST_CHECKPOINT_KEY } from "./layout.ts";
import type { ObjectStore, RequestOptions } from "./object-store.ts";
import { literalOf } from "./sql-text.ts";

/** Memory and spill space for reading a checkpoint, in bytes. */
const MEMORY_BYTES = 256_000_000;
const SPILL_BYTES = 2_000_000_000;

export interface ReadCheckpointOptions {
  readonly log: Log;
  readonly signal?: AbortSignal | undefined;
}

/** The state at the newest checkpoint; undefined when there is none that can be read. */
export async function readCheckpoint(
  store: ObjectStore,
  options: ReadCheckpointOptions,
): Promise<LogState | undefined> {
  const { log, signal } = options;
  const request: RequestOptions = signal === undefined ? {} : { signal };
  const pointer = await store.get(LAST_CHECKPOINT_KEY, request);
  if (pointer === undefined) return undefined;
  try {
    const version = versionOf(pointer.body);
    const actions = await actionsOf(store, version, request);
    const tips = await readTips(store, actions, signal);
    const state = stateOfCheckpoint(version, actions, tips);
    await requireChecksum(store, state, request);
    return state;
  } catch (cause) {
    signal?.throwIfAborted();
    const error = cause instanceof Error ? cause.message : String(cause);
    log.warn("cannot read the table's checkpoint; reading its whole log", { error });
    return undefined;
  }
}

function versionOf(pointer: Uint8Array): number {
  const value: unknown = JSON.parse(new TextDecoder().decode(pointer));
  const version = isRecord(value) ? value.version : undefined;
  if (typeof version !== "number" || !Number.isSafeInteger(version) || version < 0) {
    throw new SyntaxError("its pointer names no version");
  }
  if (isRecord(value) && typeof value.parts === "number") {
    throw new SyntaxError("it has several parts");
  }
  return version;
}

/** Compares with the checksum of the version, where there is one. */
async function requireChecksum(
  store: ObjectStore,
  { version, files }: LogState,
  request: RequestOptions,
): Promise<void> {
  const found = await store.get(checksumKey(version), request);
  if (found === undefined) return;
  const value: unknown = JSON.parse(new TextDecoder().decode(found.body));
  const numFiles = isRecord(value) ? value.numFiles : undefined;
  const tableSizeBytes = isRecord(value) ? value.tableSizeBytes : undefined;
  let sizeBytes = 0;
  for (const file of files.values()) sizeBytes += file.sizeBytes;
  if (numFiles === files.size && tableSizeBytes === sizeBytes) return;
  throw new SyntaxError(
    `version ${version} has ${numFiles} files of ${tableSizeBytes} bytes by its checksum, and ` +
      `${files.size} of ${sizeBytes} by its checkpoint`,
  );
}

/** Copies the checkpoint to this machine unless it lies there, and reads its rows as the log's JSON. */
async function actionsOf(
  store: ObjectStore,
  version: number,
  request: RequestOptions,
): Promise<Action[]> {
  const key = checkpointKey(version);
  const folder = await mkdtemp(join(tmpdir(), "probity-checkpoint-"));
  try {
    const standing = store.localPath(key);
    const path = standing ?? join(folder, "checkpoint.parquet");
    if (standing === undefined && !await store.download(key, path, request)) {
      throw new Error(`"${key}" is missing`);
    }
    return await readRows(path, { ...request, spill: join(folder, "spill") });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readRows(
  path: string,
  options: RequestOptions & { readonly spill: string },
): Promise<Action[]> {
  // DuckDB is large, and most tables are read without a checkpoint.
  const { openDatabase } = await import("./duckdb.ts");
  await using database = await openDatabase({
    memoryLimitBytes: MEMORY_BYTES,
    threads: 1,
    tempDirectory: options.spill,
    tempLimitBytes: SPILL_BYTES,
  });
  await using connection = await database.connect();
  const sql = `SELECT CAST(to_json(entry) AS VARCHAR) FROM read_parquet(${
    literalOf(path)
  }) AS entry`;
  const actions: Action[] = [];
  for await (const texts of connection.streamText(sql, options)) {
    for (const text of texts) {
      const action = parseAction(JSON.parse(text));
      if (action !== undefined) actions.push(action);
    }
  }
  return actions;
}

async function readTips(
  store: ObjectStore,
  actions: readonly Action[],
  signal: AbortSignal | undefined,
): Promise<ShardTip[]> {
  const tips: ShardTip[] = [];
  for (const action of actions) {
    if (action.kind !== "transaction" || shardOf(action.transaction) === undefined) continue;
    const { appId, version } = action.transaction;
    const [tip] = tipsOf(version, await readVersion(store, version, signal) ?? []);
    if (tip === undefined || tip.position.shard !== shardOf(action.transaction)) {
      throw new Error(`version ${version} has no position of ${appId}`);
    }
    tips.push(tip);
  }
  return tips;
}
