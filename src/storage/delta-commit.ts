/**
 * The text of our own commits: what version 0 and a roll-up's round say in the Delta log.
 *
 * Invariant: a commit's id is a digest of its work, so the same work is recognised whoever wrote it and however often.
 * Source: delta-io/delta PROTOCOL.md, "Actions"; reader version 1, writer version 2.
 */
import { createHash, randomUUID } from "node:crypto";
import {
  addAction,
  COMMIT_DETAIL,
  encodeLogEntry,
  type Metadata,
  removeAction,
} from "./delta-actions.ts";
import { shardAppId } from "./delta-replay.ts";
import {
  compareSchema,
  deltaSchema,
  PARTITION_COLUMNS,
  READER_VERSION,
  TABLE_CONFIGURATION,
  WRITER_VERSION,
} from "./delta-schema.ts";
import { canonicalJson } from "./json-text.ts";
import type { Replacement, ShardCommit } from "./table.ts";

const ENGINE = "Probity/0.1.0";

export function commitIdOf({ notAfterMs: _, ...work }: ShardCommit): string {
  return createHash("sha256").update(canonicalJson(work)).digest("hex").slice(0, 32);
}

/** Version 0: a table with no files. */
export function encodeFirstVersion(nowMs: number): Uint8Array {
  return encodeLogEntry([
    {
      commitInfo: {
        timestamp: nowMs,
        operation: "CREATE TABLE",
        operationParameters: {},
        isBlindAppend: true,
        engineInfo: ENGINE,
      },
    },
    { protocol: { minReaderVersion: READER_VERSION, minWriterVersion: WRITER_VERSION } },
    {
      metaData: {
        id: randomUUID(),
        name: "events",
        format: { provider: "parquet", options: {} },
        schemaString: deltaSchema(),
        partitionColumns: PARTITION_COLUMNS,
        configuration: TABLE_CONFIGURATION,
        createdTime: nowMs,
      },
    },
  ]);
}

/** A roll-up's round as this version of the table. Throws when the table's schema is not one we can add to. */
export function encodeShardCommit(
  work: ShardCommit,
  place: { readonly version: number; readonly nowMs: number; readonly metadata: Metadata },
): Uint8Array {
  const { version, nowMs, metadata } = place;
  const { shard, position, firstSequence, files } = work;
  const tags = {
    incarnation: position.incarnation,
    first_seq: String(firstSequence),
    last_seq: String(position.sequence),
  };
  return encodeLogEntry([
    { commitInfo: commitInfo(work, nowMs) },
    ...newerMetadata(metadata),
    { txn: { appId: shardAppId(shard), version, lastUpdated: nowMs } },
    ...files.map((file) => addAction(file, { modifiedAtMs: nowMs, tags, isDataChange: true })),
  ]);
}

/** A change of files as a version of the table. Throws when the table's schema is not one we can add to. */
export function encodeReplacement(
  work: Replacement,
  place: { readonly commitId: string; readonly nowMs: number; readonly metadata: Metadata },
): Uint8Array {
  const { operation, isDataChange, removed, added, detail } = work;
  const { commitId, nowMs, metadata } = place;
  return encodeLogEntry([
    {
      commitInfo: {
        timestamp: nowMs,
        operation,
        operationParameters: {},
        isBlindAppend: false,
        engineInfo: ENGINE,
        txnId: commitId,
        [COMMIT_DETAIL]: { maintenance: detail },
      },
    },
    ...newerMetadata(metadata),
    ...removed.map(({ path, eventDate, sizeBytes }) =>
      removeAction({ path, removedAtMs: nowMs, isDataChange, eventDate, sizeBytes })
    ),
    ...added.map((file) => addAction(file, { modifiedAtMs: nowMs, tags: {}, isDataChange })),
  ]);
}

function commitInfo(work: ShardCommit, nowMs: number): unknown {
  const { shard, startedFrom, position, firstSequence, evidence, counts } = work;
  return {
    timestamp: nowMs,
    operation: "STREAMING UPDATE",
    operationParameters: { outputMode: "Append", shard },
    isBlindAppend: true,
    engineInfo: ENGINE,
    txnId: commitIdOf(work),
    [COMMIT_DETAIL]: {
      shard,
      startedFrom: startedFrom ?? null,
      ...position,
      firstSequence,
      evidence,
      counts,
    },
  };
}

/** Columns that this version of the software knows and the table does not yet are added with its first commit. */
function newerMetadata(metadata: Metadata): unknown[] {
  switch (compareSchema(metadata.schemaString)) {
    case "same":
    case "newer":
      return [];
    case "older":
      return [{ metaData: { ...metadata.body, schemaString: deltaSchema() } }];
    case "different":
      throw new Error("Cannot commit to the table: its columns are not those of an event");
  }
}
