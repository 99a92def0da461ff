/**
 * One version of the Delta log: the actions of a log entry, read strictly and written in one way only.
 *
 * Invariant: an entry is understood whole or refused with its place and reason. Actions and fields that the protocol
 * lets a reader ignore are ignored. Source: delta-io/delta PROTOCOL.md, "Actions".
 */
import { encodeStatistics, openStatistics } from "./delta-statistics.ts";
import { isObjectKey } from "./object-key.ts";
import { isRecord } from "./json-text.ts";
import type { DataFile, ShardPosition } from "./table.ts";
import { PARTITION_COLUMN } from "../event/columns.ts";

/** Largest log entry, in bytes. */
export const LOG_ENTRY_BYTES_MAX = 64 * 1024 * 1024;

export interface Protocol {
  readonly minReaderVersion: number;
  readonly minWriterVersion: number;
  readonly readerFeatures: readonly string[];
  readonly writerFeatures: readonly string[];
}

export interface Metadata {
  readonly id: string;
  readonly schemaString: string;
  readonly partitionColumns: readonly string[];
  /** The action's body as it was found, for the next one that replaces it. */
  readonly body: Readonly<Record<string, unknown>>;
}

export interface Transaction {
  readonly appId: string;
  readonly version: number;
  readonly lastUpdatedMs: number | undefined;
}

/** What an `add` says beyond the data file itself. */
export interface FileMark {
  readonly modifiedAtMs: number;
  readonly tags: Readonly<Record<string, string>>;
}

/** A file that a version took out of the table; it stays in the bucket for a while, for those who still read it. */
export interface RemovedFile {
  readonly path: string;
  readonly removedAtMs: number;
  /** False when its rows are in other files of the same version. */
  readonly isDataChange: boolean;
  readonly eventDate: string | undefined;
  readonly sizeBytes: number | undefined;
}

/** What a commit says of itself; only what we read back. */
export interface CommitInfo {
  readonly commitId: string | undefined;
  readonly position: Omit<ShardPosition, "version"> | undefined;
  /** Keys of the segments that a roll-up's commit was made from. */
  readonly evidence: readonly string[];
  /** What a change of files says of itself, as it stands there. */
  readonly maintenance: Readonly<Record<string, unknown>> | undefined;
}

export type Action =
  | { readonly kind: "protocol"; readonly protocol: Protocol }
  | { readonly kind: "metadata"; readonly metadata: Metadata }
  | { readonly kind: "transaction"; readonly transaction: Transaction }
  | { readonly kind: "add"; readonly file: DataFile; readonly mark: FileMark }
  | { readonly kind: "remove"; readonly removed: RemovedFile }
  | { readonly kind: "commit"; readonly info: CommitInfo };

/** Name of our own part in `commitInfo`. */
export const COMMIT_DETAIL = "probity";

/** Reads the text of a log entry; throws SyntaxError that names line and fault. */
export function parseLogEntry(text: string): Action[] {
  const actions: Action[] = [];
  for (const [place, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    try {
      const action = parseAction(JSON.parse(line));
      if (action !== undefined) actions.push(action);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new SyntaxError(`line ${place + 1}: ${reason}`, { cause });
    }
  }
  return actions;
}

/** Reads one action, an object with one key; undefined for those that a reader ignores. */
export function parseAction(value: unknown): Action | undefined {
  if (!isRecord(value)) throw new SyntaxError("expected an object with one action");
  const [entry, second] = Object.entries(value).filter(([, body]) => body !== null);
  if (entry === undefined || second !== undefined) {
    throw new SyntaxError(`expected one action, not ${Object.keys(value).length}`);
  }
  const [kind, body] = entry;
  if (!isRecord(body)) throw new SyntaxError(`${kind} is no object`);
  switch (kind) {
    case "protocol":
      return { kind, protocol: parseProtocol(body) };
    case "metaData":
      return { kind: "metadata", metadata: parseMetadata(body) };
    case "txn":
      return { kind: "transaction", transaction: parseTransaction(body) };
    case "add":
      return { kind, file: parseAdd(body), mark: parseMark(body) };
    case "remove":
      return { kind, removed: parseRemove(body) };
    case "commitInfo":
      return { kind: "commit", info: parseCommitInfo(body) };
    default:
      return undefined;
  }
}

/** The action that makes a data file part of the table. */
export function addAction(
  file: DataFile,
  options: FileMark & { readonly isDataChange: boolean },
): unknown {
  return {
    add: {
      path: encodePath(file.path),
      partitionValues: { [PARTITION_COLUMN]: file.eventDate },
      size: file.sizeBytes,
      modificationTime: options.modifiedAtMs,
      dataChange: options.isDataChange,
      stats: encodeStatistics(file),
      tags: { ...options.tags, ...(file.sha256 === "" ? {} : { sha256: file.sha256 }) },
    },
  };
}

/** The action that takes a data file out of the table. */
export function removeAction(removed: RemovedFile): unknown {
  const { path, removedAtMs, isDataChange, eventDate, sizeBytes } = removed;
  const isExtended = eventDate !== undefined && sizeBytes !== undefined;
  return {
    remove: {
      path: encodePath(path),
      deletionTimestamp: removedAtMs,
      dataChange: isDataChange,
      ...(isExtended
        ? {
          extendedFileMetadata: true,
          partitionValues: { [PARTITION_COLUMN]: eventDate },
          size: sizeBytes,
        }
        : {}),
    },
  };
}

/** The action that says how far an application is. */
export function transactionAction({ appId, version, lastUpdatedMs }: Transaction): unknown {
  const lastUpdated = lastUpdatedMs === undefined ? {} : { lastUpdated: lastUpdatedMs };
  return { txn: { appId, version, ...lastUpdated } };
}

/** The text of a log entry. */
export function encodeLogEntry(actions: readonly unknown[]): Uint8Array {
  return new TextEncoder().encode(actions.map((each) => `${JSON.stringify(each)}\n`).join(""));
}

/** Paths in the log are URIs relative to the table; `=` of folder names stays as it is. */
export function encodePath(path: string): string {
  return path.split("/").map((part) => encodeURIComponent(part).replaceAll("%3D", "="))
    .join("/");
}

type Fields = Readonly<Record<string, unknown>>;

function parseProtocol(body: Fields): Protocol {
  return {
    minReaderVersion: naturalOf(body, "protocol", "minReaderVersion"),
    minWriterVersion: naturalOf(body, "protocol", "minWriterVersion"),
    readerFeatures: textsOf(body.readerFeatures ?? [], "protocol.readerFeatures"),
    writerFeatures: textsOf(body.writerFeatures ?? [], "protocol.writerFeatures"),
  };
}

function parseMetadata(body: Fields): Metadata {
  const format = body.format;
  if (!isRecord(format) || format.provider !== "parquet") {
    throw new SyntaxError(`metaData.format is not "parquet"`);
  }
  return {
    id: textOf(body, "metaData", "id"),
    schemaString: textOf(body, "metaData", "schemaString"),
    partitionColumns: textsOf(body.partitionColumns, "metaData.partitionColumns"),
    // A checkpoint has a column for each field and nulls for those that are absent.
    body: Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null)),
  };
}

function parseTransaction(body: Fields): Transaction {
  const { lastUpdated } = body;
  return {
    appId: textOf(body, "txn", "appId"),
    version: naturalOf(body, "txn", "version"),
    lastUpdatedMs: typeof lastUpdated === "number" ? lastUpdated : undefined,
  };
}

function parseAdd(body: Fields): DataFile {
  const path = parsePath(body, "add");
  if (isRecord(body.deletionVector)) {
    throw new SyntaxError(`add of ${JSON.stringify(path)} has a deletion vector`);
  }
  const { tags } = body;
  const eventDate = dateOf(body);
  if (eventDate === undefined) {
    throw new SyntaxError(`add of ${JSON.stringify(path)} has no ${PARTITION_COLUMN}`);
  }
  const statistics = openStatistics(textOf(body, "add", "stats"));
  if (statistics === undefined) {
    throw new SyntaxError(`add of ${JSON.stringify(path)} has no row count in its stats`);
  }
  const sha256 = isRecord(tags) ? tags.sha256 : undefined;
  // Not copied: that would read the bounds.
  return Object.assign(statistics, {
    path,
    sizeBytes: naturalOf(body, "add", "size"),
    eventDate,
    sha256: typeof sha256 === "string" ? sha256 : "",
  });
}

function parseMark({ modificationTime, tags }: Fields): FileMark {
  const texts = Object.entries(isRecord(tags) ? tags : {}).filter(
    (entry): entry is [string, string] => typeof entry[1] === "string",
  );
  return {
    modifiedAtMs: typeof modificationTime === "number" ? modificationTime : 0,
    tags: Object.fromEntries(texts.filter(([name]) => name !== "sha256")),
  };
}

function parseRemove(body: Fields): RemovedFile {
  const { deletionTimestamp, dataChange, size } = body;
  return {
    path: parsePath(body, "remove"),
    removedAtMs: typeof deletionTimestamp === "number" ? deletionTimestamp : 0,
    isDataChange: dataChange !== false,
    eventDate: dateOf(body),
    sizeBytes: typeof size === "number" ? size : undefined,
  };
}

function dateOf({ partitionValues }: Fields): string | undefined {
  const date = isRecord(partitionValues) ? partitionValues[PARTITION_COLUMN] : undefined;
  const isDate = typeof date === "string" && /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(date);
  return isDate ? date : undefined;
}

function parsePath(body: Fields, kind: string): string {
  const encoded = textOf(body, kind, "path");
  let path: string;
  try {
    path = decodeURIComponent(encoded);
  } catch (cause) {
    throw new SyntaxError(`${kind}.path ${JSON.stringify(encoded)} is no URI`, { cause });
  }
  if (!isObjectKey(path)) {
    throw new SyntaxError(`${kind}.path ${JSON.stringify(encoded)} is not inside the table`);
  }
  return path;
}

/** Foreign commits say what they like; only our own part is read, and that strictly. */
function parseCommitInfo(body: Fields): CommitInfo {
  const detail = body[COMMIT_DETAIL];
  const commitId = typeof body.txnId === "string" ? body.txnId : undefined;
  if (!isRecord(detail) || detail.shard === undefined) {
    const found = isRecord(detail) ? detail.maintenance : undefined;
    const maintenance = isRecord(found) ? found : undefined;
    return { commitId, position: undefined, evidence: [], maintenance };
  }
  const name = `commitInfo.${COMMIT_DETAIL}`;
  return {
    commitId,
    position: {
      shard: textOf(detail, name, "shard"),
      incarnation: textOf(detail, name, "incarnation"),
      sequence: naturalOf(detail, name, "sequence"),
      digest: textOf(detail, name, "digest"),
      state: textOf(detail, name, "state"),
    },
    evidence: textsOf(detail.evidence ?? [], `${name}.evidence`),
    maintenance: undefined,
  };
}

function textOf(body: Fields, kind: string, name: string): string {
  const value = body[name];
  if (typeof value === "string") return value;
  throw new SyntaxError(`${kind}.${name} is no text`);
}

function naturalOf(body: Fields, kind: string, name: string): number {
  const value = body[name];
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw new SyntaxError(`${kind}.${name} is no number from 0 to 2^53`);
}

function textsOf(value: unknown, name: string): readonly string[] {
  const isTexts = (each: unknown): each is readonly string[] =>
    Array.isArray(each) && each.every((text) => typeof text === "string");
  if (isTexts(value)) return value;
  throw new SyntaxError(`${name} is no list of texts`);
}
