/**
 * A watched file as `agent.db` keeps it: one row per path.
 *
 * Invariant: paths and handles are binary strings outside (one character per byte) and blobs inside.
 */
import type { FileFacts, FileType } from "./file-look.ts";
import type { FileKind } from "./kinds/file-kind.ts";

/** What is known of a file. */
export interface FileRecord extends FileFacts {
  /** Binary. */
  readonly path: string;
  readonly kind: FileKind;
  /** Hexadecimal; undefined for what has no content, or too much. */
  readonly sha256: string | undefined;
  /** Kept content as one zstd frame, or why there is none. */
  readonly content: Uint8Array | undefined;
  readonly contentMissing: string | undefined;
  /** When it was looked at, µs since the Unix epoch. */
  readonly lookedAtUs: number;
  /** It may have changed since without a trace in its times: it was mapped or open for writing. */
  readonly isHot: boolean;
}

/** A record's place in walks over all of them. */
export interface PlacedRecord extends FileRecord {
  readonly id: number;
}

export const RECORD_SCHEMA = `
CREATE TABLE file (
  id INTEGER PRIMARY KEY,
  path BLOB NOT NULL UNIQUE,
  handle BLOB NOT NULL,
  kind TEXT NOT NULL,
  type TEXT NOT NULL,
  device TEXT NOT NULL,
  inode INTEGER NOT NULL,
  generation INTEGER,
  mode INTEGER NOT NULL,
  uid INTEGER NOT NULL,
  gid INTEGER NOT NULL,
  links INTEGER NOT NULL,
  size INTEGER NOT NULL,
  times TEXT NOT NULL,
  changed_us INTEGER NOT NULL,
  sha256 TEXT,
  content BLOB,
  content_missing TEXT,
  looked_us INTEGER NOT NULL,
  is_hot INTEGER NOT NULL
) STRICT;
CREATE INDEX file_handle ON file (handle);
CREATE INDEX file_inode ON file (inode);
CREATE INDEX file_accounts ON file (path) WHERE kind = 'accounts';
`;

export const RECORD_COLUMNS = [
  "path",
  "handle",
  "kind",
  "type",
  "device",
  "inode",
  "generation",
  "mode",
  "uid",
  "gid",
  "links",
  "size",
  "times",
  "changed_us",
  "sha256",
  "content",
  "content_missing",
  "looked_us",
  "is_hot",
] as const;

type Row = Readonly<Record<string, unknown>>;

/** In the order of {@link RECORD_COLUMNS}. */
export function valuesOf(record: FileRecord): (string | number | Uint8Array | null)[] {
  return [
    blobOf(record.path),
    blobOf(record.handle),
    record.kind,
    record.type,
    record.device,
    record.inode,
    record.generation ?? null,
    record.mode,
    record.uid,
    record.gid,
    record.links,
    record.sizeBytes,
    record.times,
    record.changedAtUs,
    record.sha256 ?? null,
    record.content ?? null,
    record.contentMissing ?? null,
    record.lookedAtUs,
    record.isHot ? 1 : 0,
  ];
}

export function recordOf(row: Row): PlacedRecord {
  // as: the table is STRICT, and only this agent writes it
  const { kind, type, content } = row as { kind: FileKind; type: FileType; content: unknown };
  return {
    id: Number(row["id"]),
    path: binaryOf(row["path"]),
    handle: binaryOf(row["handle"]),
    kind,
    type,
    device: String(row["device"]),
    inode: Number(row["inode"]),
    generation: row["generation"] === null ? undefined : Number(row["generation"]),
    mode: Number(row["mode"]),
    uid: Number(row["uid"]),
    gid: Number(row["gid"]),
    links: Number(row["links"]),
    sizeBytes: Number(row["size"]),
    times: String(row["times"]),
    changedAtUs: Number(row["changed_us"]),
    sha256: row["sha256"] === null ? undefined : String(row["sha256"]),
    content: content instanceof Uint8Array ? content : undefined,
    contentMissing: row["content_missing"] === null ? undefined : String(row["content_missing"]),
    lookedAtUs: Number(row["looked_us"]),
    isHot: row["is_hot"] === 1,
  };
}

export function blobOf(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}

export function binaryOf(value: unknown): string {
  return value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : "";
}
