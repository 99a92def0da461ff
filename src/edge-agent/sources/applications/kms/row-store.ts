/**
 * What the relay must not forget, in `kms.db`: the keys that the KMS gave, messages that are in no batch yet, and batches
 * with the very text that was signed.
 *
 * Invariants: a message is on disk before anybody is told that it was taken; it is in exactly one batch, and its row and
 * its batch change in one transaction. A batch that the KMS has not confirmed is never removed. The file holds keys: it is
 * open to its owner alone.
 */
import { randomUUID } from "node:crypto";
import { chmodSync, closeSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { atOnce } from "../../../transaction.ts";
import { batchText, createSigner, rowText, type SignedRow, type Signer } from "./signatures.ts";

/** How long another process's lock is waited for, in milliseconds. */
const BUSY_TIMEOUT_MS = 2_000;
const SCHEMA_VERSION = 1;
/** Messages that are read at once to be signed. */
const READ_ROWS = 16;
/** Messages beyond so much text wait for the next batch, in UTF-16 units; one alone may be longer. */
export const BATCH_LENGTH_MAX = 4 * 1024 * 1024;

/** Keys that the KMS gave one registration. */
export interface KmsKeys {
  /** The id that was registered; it names the keys in rows. */
  readonly keyId: string;
  readonly rowKey: Uint8Array;
  readonly batchKey: Uint8Array;
}

export interface UnsentBatch {
  readonly id: string;
  readonly signature: string;
}

export interface RowStore extends Disposable {
  /** Keys of the newest registration, whichever process it was; undefined before the first. */
  readonly keyId: string | undefined;
  /** Messages in no batch; batches not confirmed; bytes of the text of both. */
  readonly waitingRows: number;
  readonly unsentBatches: number;
  readonly unsentBytes: number;
  /** Takes messages: durable when it returns. */
  add(messages: readonly string[], nowMs: number): void;
  /** Takes the keys of a new registration: signs what waited for keys, and anew what is not confirmed. */
  adopt(keys: KmsKeys): void;
  /**
   * Makes a batch of the oldest messages, at most `rowsMax` and {@link BATCH_LENGTH_MAX}, or an empty one; false before
   * the first registration.
   */
  makeBatch(rowsMax: number, nowMs: number): boolean;
  /** The oldest batch that is not confirmed. */
  firstUnsent(): UnsentBatch | undefined;
  confirm(id: string): void;
  /** Ids of confirmed batches that were made in a range, both ends inclusive, in the order they were made. */
  batchesBetween(fromMs: number, toMs: number): readonly string[];
  /** Text of a batch; undefined when it is no longer kept. */
  batchData(id: string): string | undefined;
  /** Messages since a moment, as far as they are kept. */
  rowsSince(sinceMs: number): number;
  /** Removes confirmed batches from before a moment, and the oldest ones beyond a size; how many. */
  prune(limits: { readonly beforeMs: number; readonly bytesMax: number }): number;
}

const SCHEMA = `
CREATE TABLE keys (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  key_id TEXT NOT NULL UNIQUE,
  row_key BLOB NOT NULL,
  batch_key BLOB NOT NULL,
  sequence INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE row (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  received_ms INTEGER NOT NULL,
  message TEXT NOT NULL,
  key_id TEXT,
  sequence INTEGER,
  signature TEXT
) STRICT;
CREATE TABLE batch (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  service TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  data TEXT NOT NULL,
  signature TEXT NOT NULL,
  is_confirmed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX batch_by_time ON batch (service, created_ms);
CREATE INDEX batch_unsent ON batch (number) WHERE is_confirmed = 0;
`;

/** Opens or makes the database. Throws when it is damaged: what it holds exists nowhere else, so a person decides. */
export function openRowStore(path: string, service: string): RowStore {
  closeSync(openSync(path, "a", 0o600));
  chmodSync(path, 0o600);
  const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    return new Store(database, service);
  } catch (error) {
    database.close();
    throw new Error(`Cannot use "${path}": it is damaged, or of another version`, { cause: error });
  }
}

interface CurrentKeys {
  readonly keyId: string;
  readonly signer: Signer;
}

class Store implements RowStore {
  readonly #database: DatabaseSync;
  readonly #service: string;
  #keys: CurrentKeys | undefined;
  #sequence = 0;
  #waitingRows = 0;
  #unsentBatches = 0;
  #unsentBytes = 0;

  constructor(database: DatabaseSync, service: string) {
    this.#database = database;
    this.#service = service;
    prepare(database);
    const keys = this.#one("SELECT * FROM keys ORDER BY number DESC LIMIT 1");
    if (keys !== undefined) {
      this.#keys = {
        keyId: String(keys["key_id"]),
        signer: createSigner(bytesOf(keys["row_key"]), bytesOf(keys["batch_key"])),
      };
      this.#sequence = Number(keys["sequence"]);
    }
    this.#count();
  }

  get keyId(): string | undefined {
    return this.#keys?.keyId;
  }

  get waitingRows(): number {
    return this.#waitingRows;
  }

  get unsentBatches(): number {
    return this.#unsentBatches;
  }

  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  add(messages: readonly string[], nowMs: number): void {
    const insert = this.#database.prepare(
      "INSERT INTO row (received_ms, message, key_id, sequence, signature) VALUES (?, ?, ?, ?, ?)",
    );
    this.#atOnce(() => {
      for (const message of messages) {
        const signed = this.#signed(message, nowMs);
        const { keyId = null, sequence = null } = signed?.row ?? {};
        insert.run(nowMs, message, keyId, sequence, signed?.signature ?? null);
        this.#unsentBytes += Buffer.byteLength(message);
      }
      this.#waitingRows += messages.length;
      this.#keepSequence();
    });
  }

  adopt({ keyId, rowKey, batchKey }: KmsKeys): void {
    const signer = createSigner(rowKey, batchKey);
    const sign = this.#database.prepare(
      "UPDATE row SET key_id = ?, sequence = ?, signature = ? WHERE number = ?",
    );
    const signBatch = this.#database.prepare("UPDATE batch SET signature = ? WHERE id = ?");
    this.#atOnce(() => {
      this.#database.prepare("INSERT INTO keys (key_id, row_key, batch_key) VALUES (?, ?, ?)")
        .run(keyId, rowKey, batchKey);
      // What the earlier ones signed keeps its signatures; nothing else needs them.
      this.#database.prepare("DELETE FROM keys WHERE key_id <> ?").run(keyId);
      [this.#keys, this.#sequence] = [{ keyId, signer }, 0];
      for (const one of this.#unsignedRows()) {
        const signed = this.#signed(String(one["message"]), Number(one["received_ms"]));
        if (signed === undefined) continue;
        sign.run(keyId, signed.row.sequence, signed.signature, Number(one["number"]));
      }
      // The KMS verifies a batch with the key of the registration that sends it.
      const unsent = this.#database.prepare("SELECT id FROM batch WHERE is_confirmed = 0").all();
      for (const { id } of unsent) {
        const data = this.batchData(String(id));
        if (data !== undefined) signBatch.run(signer.batch(data), String(id));
      }
      this.#keepSequence();
    });
  }

  makeBatch(rowsMax: number, nowMs: number): boolean {
    const keys = this.#keys;
    if (keys === undefined) return false;
    const rows = this.#oldestRows(rowsMax);
    const data = batchText(rows.map(signedRow));
    this.#atOnce(() => {
      this.#database.prepare(
        "INSERT INTO batch (id, service, created_ms, rows, data, signature) VALUES (?, ?, ?, ?, ?, ?)",
      ).run(randomUUID(), this.#service, nowMs, rows.length, data, keys.signer.batch(data));
      this.#database.prepare("DELETE FROM row WHERE number <= ?")
        .run(Number(rows.at(-1)?.["number"] ?? 0));
    });
    this.#waitingRows -= rows.length;
    this.#unsentBatches += 1;
    this.#unsentBytes += Buffer.byteLength(data);
    for (const row of rows) this.#unsentBytes -= Buffer.byteLength(String(row["message"]));
    return true;
  }

  /** Read some at a time, since all together may be as much as may ever wait; each is to be signed before the next. */
  *#unsignedRows(): Iterable<Record<string, unknown>> {
    const next = this.#database.prepare(
      "SELECT number, message, received_ms FROM row WHERE key_id IS NULL AND number > ? " +
        "ORDER BY number LIMIT ?",
    );
    let rows = next.all(0, READ_ROWS);
    while (rows.length > 0) {
      yield* rows;
      rows = next.all(Number(rows.at(-1)?.["number"]), READ_ROWS);
    }
  }

  #oldestRows(rowsMax: number): readonly Record<string, unknown>[] {
    const rows: Record<string, unknown>[] = [];
    let length = 0;
    const oldest = this.#database.prepare("SELECT * FROM row ORDER BY number LIMIT ?");
    for (const row of oldest.iterate(rowsMax)) {
      length += String(row["message"]).length;
      if (rows.length > 0 && length > BATCH_LENGTH_MAX) break;
      rows.push(row);
    }
    return rows;
  }

  firstUnsent(): UnsentBatch | undefined {
    const row = this.#one(
      "SELECT id, signature FROM batch WHERE is_confirmed = 0 ORDER BY number LIMIT 1",
    );
    return row && { id: String(row["id"]), signature: String(row["signature"]) };
  }

  confirm(id: string): void {
    const confirmed = this.#database.prepare(
      "UPDATE batch SET is_confirmed = 1 WHERE id = ? AND is_confirmed = 0 RETURNING octet_length(data) b",
    ).get(id);
    if (confirmed === undefined) return;
    this.#unsentBatches -= 1;
    this.#unsentBytes -= Number(confirmed["b"]);
  }

  batchesBetween(fromMs: number, toMs: number): readonly string[] {
    return this.#database.prepare(
      "SELECT id FROM batch WHERE service = ? AND created_ms BETWEEN ? AND ? AND is_confirmed = 1 ORDER BY number",
    ).all(this.#service, fromMs, toMs).map((row) => String(row["id"]));
  }

  batchData(id: string): string | undefined {
    const row = this.#database.prepare("SELECT data FROM batch WHERE id = ?").get(id);
    return row && String(row["data"]);
  }

  rowsSince(sinceMs: number): number {
    const batched = this.#database.prepare("SELECT sum(rows) n FROM batch WHERE created_ms >= ?");
    const waiting = this.#database.prepare("SELECT count(*) n FROM row WHERE received_ms >= ?");
    return Number(batched.get(sinceMs)?.["n"] ?? 0) + Number(waiting.get(sinceMs)?.["n"] ?? 0);
  }

  prune({ beforeMs, bytesMax }: { beforeMs: number; bytesMax: number }): number {
    const old = this.#database.prepare(
      "DELETE FROM batch WHERE is_confirmed = 1 AND created_ms < ?",
    )
      .run(beforeMs);
    // Newest first, up to the size; what comes after is beyond it.
    const many = this.#database.prepare(
      "DELETE FROM batch WHERE is_confirmed = 1 AND number IN (SELECT number FROM (" +
        "SELECT number, sum(octet_length(data)) OVER (ORDER BY number DESC) bytes FROM batch) WHERE bytes > ?)",
    ).run(bytesMax);
    return Number(old.changes) + Number(many.changes);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }

  #signed(message: string, receivedMs: number): SignedRow | undefined {
    if (this.#keys === undefined) return undefined;
    const { keyId, signer } = this.#keys;
    this.#sequence += 1;
    const timestamp = new Date(receivedMs).toISOString();
    const row = { keyId, sequence: this.#sequence, message, timestamp };
    return { row, signature: signer.row(rowText(row)) };
  }

  #keepSequence(): void {
    if (this.#keys === undefined) return;
    this.#database.prepare("UPDATE keys SET sequence = ? WHERE key_id = ?")
      .run(this.#sequence, this.#keys.keyId);
  }

  #count(): void {
    const rows = this.#one("SELECT count(*) n, sum(octet_length(message)) b FROM row");
    const batches = this.#one(
      "SELECT count(*) n, sum(octet_length(data)) b FROM batch WHERE is_confirmed = 0",
    );
    this.#waitingRows = Number(rows?.["n"] ?? 0);
    this.#unsentBatches = Number(batches?.["n"] ?? 0);
    this.#unsentBytes = Number(rows?.["b"] ?? 0) + Number(batches?.["b"] ?? 0);
  }

  #one(sql: string): Record<string, unknown> | undefined {
    return this.#database.prepare(sql).get();
  }

  /** All or nothing, in memory too. */
  #atOnce(act: () => void): void {
    const before = [this.#sequence, this.#keys] as const;
    try {
      atOnce(this.#database, act);
    } catch (error) {
      [this.#sequence, this.#keys] = before;
      this.#count();
      throw error;
    }
  }
}

function signedRow(row: Record<string, unknown>): SignedRow {
  return {
    row: {
      keyId: String(row["key_id"]),
      sequence: Number(row["sequence"]),
      message: String(row["message"]),
      timestamp: new Date(Number(row["received_ms"])).toISOString(),
    },
    signature: String(row["signature"]),
  };
}

function prepare(database: DatabaseSync): void {
  // With fsync: whoever is told that a message was taken may forget it.
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  const version = Number(database.prepare("PRAGMA user_version").get()?.["user_version"]);
  if (version === SCHEMA_VERSION) return;
  if (version !== 0) throw new Error(`Cannot read version ${version}`);
  database.exec(`BEGIN IMMEDIATE; ${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw new Error("Cannot read a key: it is none");
}
