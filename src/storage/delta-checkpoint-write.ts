/**
 * Writing a checkpoint: the sum of all versions up to one as a Parquet file, the checksum of that version beside it, and
 * the pointer to the newest.
 *
 * Invariant: a checkpoint holds exactly what the log up to its version says, so it does not matter who writes it, or how
 * often; the pointer only ever moves forward, and only to a checkpoint that stands there whole. Log entries stay.
 * Source: delta-io/delta PROTOCOL.md, "Checkpoints", "Last Checkpoint File", "Version Checksum File".
 */
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { putContent, putContentFile } from "./content-object.ts";
import {
  addAction,
  encodeLogEntry,
  type Metadata,
  type Protocol,
  removeAction,
  transactionAction,
} from "./delta-actions.ts";
import type { LogState } from "./delta-replay.ts";
import { isRecord } from "./json-text.ts";
import { checkpointKey, checksumKey, LAST_CHECKPOINT_KEY } from "./layout.ts";
import { AmbiguousWriteError, type ObjectStore, type RequestOptions } from "./object-store.ts";
import { literalOf } from "./sql-text.ts";

/** A checkpoint is due after so many versions … */
export const CHECKPOINT_VERSIONS_MIN = 100;
/** … or, of a large table, which takes long to write, after at most so many. */
export const CHECKPOINT_VERSIONS_MAX = 1_000;
/** Files of a table for which the distance grows by one version. */
const FILES_PER_VERSION = 100;
/** Removed files are remembered for so long, in milliseconds: longer than any of them is kept in the bucket. */
export const REMOVED_KEPT_MS = 14 * 24 * 3_600_000;
/** Memory and spill space, in bytes. */
const MEMORY_BYTES = 192_000_000;
const SPILL_BYTES = 4_000_000_000;
/** So many actions are written to the disk together. */
const ACTIONS_AT_ONCE = 500;
/** So often the pointer is tried when others move it. */
const POINTER_ATTEMPTS_MAX = 5;

/** How many versions may follow a checkpoint before the next is due. */
export function checkpointDistance(files: number): number {
  const distance = Math.ceil(files / FILES_PER_VERSION);
  return Math.min(CHECKPOINT_VERSIONS_MAX, Math.max(CHECKPOINT_VERSIONS_MIN, distance));
}

/** Writes the checkpoint of a state and points to it. Throws when the store or the disk does. */
export async function writeCheckpoint(
  store: ObjectStore,
  state: LogState,
  options: RequestOptions & { readonly nowMs: number },
): Promise<void> {
  const { version, protocol, metadata } = state;
  if (protocol === undefined || metadata === undefined) {
    throw new RangeError(`Cannot write a checkpoint of ${store.url}: there is no table`);
  }
  const folder = await mkdtemp(join(tmpdir(), "probity-checkpoint-"));
  try {
    const path = join(folder, "checkpoint.parquet");
    const { actions, sizeBytes } = await writeActions(
      checkpointActions(state, { protocol, metadata, nowMs: options.nowMs }),
      { ...options, folder, path },
    );
    await putContentFile(store, { key: checkpointKey(version), path }, options);
    const checksum = checksumOf(state, { protocol, metadata });
    await putContent(
      store,
      { key: checksumKey(version), body: encodeLogEntry([checksum]) },
      options,
    );
    const pointer = {
      version,
      size: actions,
      sizeInBytes: sizeBytes,
      numOfAddFiles: state.files.size,
    };
    await movePointer(store, pointer, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface TableText {
  readonly protocol: Protocol;
  readonly metadata: Metadata;
}

function* checkpointActions(
  state: LogState,
  { protocol, metadata, nowMs }: TableText & { readonly nowMs: number },
): Generator<unknown> {
  yield { protocol: protocolBody(protocol) };
  yield { metaData: metadata.body };
  for (const transaction of state.transactions.values()) yield transactionAction(transaction);
  for (const file of state.files.values()) {
    const mark = state.marks.get(file.path) ?? { modifiedAtMs: 0, tags: {} };
    yield addAction(file, { ...mark, isDataChange: false });
  }
  for (const removed of state.removed.values()) {
    if (nowMs - removed.removedAtMs < REMOVED_KEPT_MS) yield removeAction(removed);
  }
}

/** Features are named from reader version 3 and writer version 7 on only. */
function protocolBody(protocol: Protocol): unknown {
  const { minReaderVersion, minWriterVersion, readerFeatures, writerFeatures } = protocol;
  return {
    minReaderVersion,
    minWriterVersion,
    ...(minReaderVersion < 3 ? {} : { readerFeatures }),
    ...(minWriterVersion < 7 ? {} : { writerFeatures }),
  };
}

const TEXTS = "MAP(VARCHAR, VARCHAR)";
/** The columns of a classic checkpoint, in DuckDB's types; their JSON is that of the log. */
const CHECKPOINT_COLUMNS: Readonly<Record<string, string>> = {
  txn: "STRUCT(appId VARCHAR, version BIGINT, lastUpdated BIGINT)",
  add: `STRUCT(path VARCHAR, partitionValues ${TEXTS}, size BIGINT, modificationTime BIGINT,
    dataChange BOOLEAN, stats VARCHAR, tags ${TEXTS})`,
  remove: `STRUCT(path VARCHAR, deletionTimestamp BIGINT, dataChange BOOLEAN,
    extendedFileMetadata BOOLEAN, partitionValues ${TEXTS}, size BIGINT)`,
  metaData: `STRUCT(id VARCHAR, name VARCHAR, description VARCHAR,
    format STRUCT(provider VARCHAR, options ${TEXTS}), schemaString VARCHAR,
    partitionColumns VARCHAR[], configuration ${TEXTS}, createdTime BIGINT)`,
  protocol: `STRUCT(minReaderVersion INTEGER, minWriterVersion INTEGER, readerFeatures VARCHAR[],
    writerFeatures VARCHAR[])`,
};

async function writeActions(
  actions: Iterable<unknown>,
  options: RequestOptions & { readonly folder: string; readonly path: string },
): Promise<{ readonly actions: number; readonly sizeBytes: number }> {
  const { folder, path } = options;
  const lines = join(folder, "actions.ndjson");
  let count = 0;
  {
    await using file = await open(lines, "wx");
    let waiting: unknown[] = [];
    for (const action of actions) {
      waiting.push(action);
      count += 1;
      if (waiting.length < ACTIONS_AT_ONCE) continue;
      options.signal?.throwIfAborted();
      await file.appendFile(encodeLogEntry(waiting));
      waiting = [];
    }
    await file.appendFile(encodeLogEntry(waiting));
  }
  // DuckDB is large, and most processes never write a checkpoint.
  const { openDatabase } = await import("./duckdb.ts");
  await using database = await openDatabase({
    memoryLimitBytes: MEMORY_BYTES,
    threads: 1,
    tempDirectory: join(folder, "spill"),
    tempLimitBytes: SPILL_BYTES,
  });
  await using connection = await database.connect();
  const columns = Object.entries(CHECKPOINT_COLUMNS)
    .map(([name, type]) => `${literalOf(name)}: ${literalOf(type)}`).join(", ");
  const { rows } = await connection.query(
    `COPY (SELECT * FROM read_json(${literalOf(lines)}, format = 'newline_delimited',
       columns = {${columns}})) TO ${literalOf(path)}
     (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v1, ROW_GROUP_SIZE 20480, RETURN_STATS true)`,
    options,
  );
  if (Number(rows[0]?.["count"]) !== count) {
    throw new Error(`Cannot write a checkpoint: ${count} actions became ${rows[0]?.["count"]}`);
  }
  return { actions: count, sizeBytes: Number(rows[0]?.["file_size_bytes"]) };
}

function checksumOf(state: LogState, { protocol, metadata }: TableText): unknown {
  let tableSizeBytes = 0;
  for (const { sizeBytes } of state.files.values()) tableSizeBytes += sizeBytes;
  return {
    tableSizeBytes,
    numFiles: state.files.size,
    numMetadata: 1,
    numProtocol: 1,
    setTransactions: [...state.transactions.values()].map(
      ({ appId, version, lastUpdatedMs }) => ({
        appId,
        version,
        ...(lastUpdatedMs === undefined ? {} : { lastUpdated: lastUpdatedMs }),
      }),
    ),
    metadata: metadata.body,
    protocol: protocolBody(protocol),
  };
}

/** The version that a pointer names; undefined when it names none. */
export function pointedVersion(pointer: Uint8Array): number | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(pointer));
  } catch {
    return undefined;
  }
  const version = isRecord(value) ? value.version : undefined;
  return typeof version === "number" && Number.isSafeInteger(version) ? version : undefined;
}

async function movePointer(
  store: ObjectStore,
  pointer: { readonly version: number },
  options: RequestOptions,
): Promise<void> {
  const body = new TextEncoder().encode(JSON.stringify(pointer));
  for (let attempt = 1; attempt <= POINTER_ATTEMPTS_MAX; attempt++) {
    const standing = await store.get(LAST_CHECKPOINT_KEY, options);
    if ((standing === undefined ? -1 : pointedVersion(standing.body) ?? -1) >= pointer.version) {
      return;
    }
    try {
      const outcome = standing === undefined
        ? await store.putIfAbsent(LAST_CHECKPOINT_KEY, body, options)
        : await store.replace(LAST_CHECKPOINT_KEY, body, standing.etag, options);
      if (outcome === "created" || outcome === "replaced") return;
    } catch (error) {
      if (!(error instanceof AmbiguousWriteError)) throw error;
    }
  }
  throw new Error(`Cannot point to the checkpoint of ${store.url}: others move the pointer`);
}
