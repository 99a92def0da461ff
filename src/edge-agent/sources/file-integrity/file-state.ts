/**
 * What is known of every watched file, in `agent.db`: one row per path, with what was kept of its content, and the
 * lines that tell changes until they are durable in the spool.
 *
 * Invariants: a row takes a new content in the same transaction that writes the lines telling of it, so whatever ends
 * the process, either both are there or neither; lines leave only when the spool has them on disk, and until then they
 * are told again, letter by letter. Paths and handles are binary strings outside and blobs inside.
 */
import { randomUUID } from "node:crypto";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { openPrivateDatabase, OtherVersion } from "../../private-database.ts";
import { atOnce } from "../../transaction.ts";
import type { FileHandle } from "../filesystem/file-handle.ts";
import {
  binaryOf,
  blobOf,
  type FileRecord,
  type PlacedRecord,
  RECORD_COLUMNS,
  RECORD_SCHEMA,
  recordOf,
  valuesOf,
} from "./file-record.ts";

const SCHEMA_VERSION = 1;
/** How long another process's lock is waited for. */
const BUSY_TIMEOUT_MS = 2000;

export interface Line {
  /** See `lineFields`. */
  readonly fields: string;
  readonly timeUs: number;
}

export interface StateChange {
  readonly put: readonly FileRecord[];
  /** Paths. */
  readonly remove: readonly string[];
  readonly lines: readonly Line[];
}

export interface NumberedLine extends Line {
  readonly number: number;
}

export interface FileState extends Disposable {
  /** Of this database: another one's numbers mean nothing to it. */
  readonly id: string;
  /** Whether a damaged database was put aside for this one. */
  readonly wasDamaged: boolean;
  byPath(path: string): FileRecord | undefined;
  /** Records of an inode: several when it has several watched names. */
  byHandle(handle: FileHandle): readonly FileRecord[];
  /** The same as paths alone. */
  pathsOf(handle: FileHandle): readonly string[];
  pathsOfInode(device: string, inode: number): readonly string[];
  /** Paths below a directory, at most `limit`. */
  below(directory: string, limit: number): readonly string[];
  /** Records of the kind `accounts`, by path, at most `limit`. */
  accounts(limit: number): readonly FileRecord[];
  /** Records after a place, in the order of their places, without contents. */
  after(id: number, limit: number): readonly PlacedRecord[];
  /** Writes records and lines, all or nothing; the lines with their numbers. Throws when the disk refuses. */
  write(change: StateChange): readonly NumberedLine[];
  /** As {@link FileState.write}, but the lines are held back; the numbers by which they are held. */
  hold(change: StateChange): readonly number[];
  /** Held lines, in their order. */
  held(numbers: readonly number[]): readonly Line[];
  /** Tells lines in the place of held ones. */
  replace(numbers: readonly number[], lines: readonly Line[]): readonly NumberedLine[];
  /** Tells every held line as it is: whoever held them is gone. */
  unholdAll(): void;
  /** Lines not known to be durable. */
  pending(): readonly NumberedLine[];
  /** Everything up to a number is durable in the spool. */
  release(number: number): void;
  setting(name: string): string | undefined;
  setSetting(name: string, value: string): void;
  readonly files: number;
  /** Bytes of all kept contents. */
  readonly contentBytes: number;
}

const SCHEMA = `
${RECORD_SCHEMA}
CREATE TABLE line (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  time_us INTEGER NOT NULL,
  fields TEXT NOT NULL
) STRICT;
CREATE TABLE held (
  number INTEGER PRIMARY KEY,
  time_us INTEGER NOT NULL,
  fields TEXT NOT NULL
) STRICT;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
`;

/**
 * Opens the database, mode 0600. One that is no database, or of another version, is put aside as `<path>.damaged`.
 * Throws when there can be none.
 */
export function openFileState(path: string): FileState {
  return openPrivateDatabase(path, ({ wasDamaged }) => new State(path, wasDamaged));
}

class State implements FileState {
  readonly id: string;
  readonly wasDamaged: boolean;
  readonly #database: DatabaseSync;
  readonly #byPath: StatementSync;
  readonly #byHandle: StatementSync;
  readonly #pathsOf: StatementSync;
  readonly #pathsOfInode: StatementSync;
  readonly #below: StatementSync;
  readonly #accounts: StatementSync;
  readonly #after: StatementSync;
  readonly #put: StatementSync;
  readonly #remove: StatementSync;
  readonly #line: StatementSync;
  #isOpen = true;
  #contentBytes: number;
  #files: number;

  constructor(path: string, wasDamaged: boolean) {
    const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    try {
      prepare(database);
      this.#database = database;
      this.wasDamaged = wasDamaged;
      const all = `SELECT id, ${RECORD_COLUMNS.join(", ")} FROM file`;
      this.#byPath = database.prepare(`${all} WHERE path = ?`);
      this.#byHandle = database.prepare(`${all} WHERE handle = ? ORDER BY id LIMIT 64`);
      const paths = "SELECT path FROM file WHERE";
      this.#pathsOf = database.prepare(`${paths} handle = ? ORDER BY id LIMIT 64`);
      this.#pathsOfInode = database.prepare(
        `${paths} inode = ? AND device = ? ORDER BY id LIMIT 64`,
      );
      this.#below = database.prepare(
        "SELECT path FROM file WHERE path > ? AND path < ? ORDER BY path LIMIT ?",
      );
      this.#accounts = database.prepare(`${all} WHERE kind = 'accounts' ORDER BY path LIMIT ?`);
      const light = all.replace(" content,", " NULL content,");
      this.#after = database.prepare(`${light} WHERE id > ? ORDER BY id LIMIT ?`);
      const names = RECORD_COLUMNS.join(", ");
      const set = RECORD_COLUMNS.slice(1).map((name) => `${name} = excluded.${name}`).join(", ");
      this.#put = database.prepare(
        `INSERT INTO file (${names}) VALUES (${RECORD_COLUMNS.map(() => "?").join(", ")}) ` +
          `ON CONFLICT (path) DO UPDATE SET ${set}`,
      );
      this.#remove = database.prepare("DELETE FROM file WHERE path = ?");
      this.#line = database.prepare(
        "INSERT INTO line (time_us, fields) VALUES (?, ?) RETURNING number",
      );
      this.id = this.setting("id") ?? this.#introduce();
      const sums = database.prepare("SELECT count(*) n, sum(length(content)) b FROM file").get();
      this.#files = Number(sums?.["n"] ?? 0);
      this.#contentBytes = Number(sums?.["b"] ?? 0);
    } catch (error) {
      database.close();
      throw error;
    }
  }

  get files(): number {
    return this.#files;
  }

  get contentBytes(): number {
    return this.#contentBytes;
  }

  byPath(path: string): FileRecord | undefined {
    const row = this.#byPath.get(blobOf(path));
    return row === undefined ? undefined : recordOf(row);
  }

  byHandle(handle: FileHandle): readonly FileRecord[] {
    return handle === "" ? [] : this.#byHandle.all(blobOf(handle)).map(recordOf);
  }

  pathsOf(handle: FileHandle): readonly string[] {
    return this.#pathsOf.all(blobOf(handle)).map((row) => binaryOf(row["path"]));
  }

  pathsOfInode(device: string, inode: number): readonly string[] {
    return this.#pathsOfInode.all(inode, device).map((row) => binaryOf(row["path"]));
  }

  below(directory: string, limit: number): readonly string[] {
    const base = directory.endsWith("/") ? directory.slice(0, -1) : directory;
    // "0" comes right after "/".
    return this.#below.all(blobOf(`${base}/`), blobOf(`${base}0`), limit)
      .map((row) => binaryOf(row["path"]));
  }

  accounts(limit: number): readonly FileRecord[] {
    return this.#accounts.all(limit).map(recordOf);
  }

  after(id: number, limit: number): readonly PlacedRecord[] {
    return this.#after.all(id, limit).map(recordOf);
  }

  write(change: StateChange): readonly NumberedLine[] {
    return this.#atOnce(() => {
      this.#putAll(change);
      return change.lines.map((line) => this.#append(line));
    });
  }

  hold(change: StateChange): readonly number[] {
    const insert = this.#database.prepare(
      "INSERT INTO held (time_us, fields) VALUES (?, ?) RETURNING number",
    );
    return this.#atOnce(() => {
      this.#putAll(change);
      return change.lines.map(({ timeUs, fields }) =>
        Number(insert.get(timeUs, fields)?.["number"])
      );
    });
  }

  held(numbers: readonly number[]): readonly Line[] {
    const select = this.#database.prepare("SELECT time_us, fields FROM held WHERE number = ?");
    return numbers.flatMap((number) => {
      const row = select.get(number);
      return row === undefined
        ? []
        : [{ timeUs: Number(row["time_us"]), fields: String(row["fields"]) }];
    });
  }

  replace(numbers: readonly number[], lines: readonly Line[]): readonly NumberedLine[] {
    const remove = this.#database.prepare("DELETE FROM held WHERE number = ?");
    return this.#atOnce(() => {
      for (const number of numbers) remove.run(number);
      return lines.map((line) => this.#append(line));
    });
  }

  unholdAll(): void {
    this.#atOnce(() =>
      this.#database.exec(
        "INSERT INTO line (time_us, fields) SELECT time_us, fields FROM held ORDER BY number; " +
          "DELETE FROM held",
      )
    );
  }

  pending(): readonly NumberedLine[] {
    return this.#database.prepare("SELECT number, time_us, fields FROM line ORDER BY number").all()
      .map((row) => ({
        number: Number(row["number"]),
        timeUs: Number(row["time_us"]),
        fields: String(row["fields"]),
      }));
  }

  release(number: number): void {
    if (this.#isOpen) this.#database.prepare("DELETE FROM line WHERE number <= ?").run(number);
  }

  setting(name: string): string | undefined {
    const row = this.#database.prepare("SELECT value FROM setting WHERE name = ?").get(name);
    return row === undefined ? undefined : String(row["value"]);
  }

  setSetting(name: string, value: string): void {
    this.#database.prepare(
      "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    ).run(name, value);
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#database.close();
  }

  /** All or nothing, in memory too. */
  #atOnce<T>(act: () => T): T {
    const [files, contentBytes] = [this.#files, this.#contentBytes];
    try {
      return atOnce(this.#database, act);
    } catch (error) {
      [this.#files, this.#contentBytes] = [files, contentBytes];
      throw error;
    }
  }

  #append(line: Line): NumberedLine {
    return { ...line, number: Number(this.#line.get(line.timeUs, line.fields)?.["number"]) };
  }

  #putAll({ put, remove }: StateChange): void {
    for (const path of remove) {
      const known = this.byPath(path);
      if (known === undefined) continue;
      this.#files -= 1;
      this.#contentBytes -= known.content?.byteLength ?? 0;
      this.#remove.run(blobOf(path));
    }
    for (const record of put) {
      const known = this.byPath(record.path);
      this.#files += known === undefined ? 1 : 0;
      this.#contentBytes += (record.content?.byteLength ?? 0) - (known?.content?.byteLength ?? 0);
      this.#put.run(...valuesOf(record));
    }
  }

  #introduce(): string {
    const id = randomUUID();
    this.setSetting("id", id);
    return id;
  }
}

function prepare(database: DatabaseSync): void {
  // Without fsync: what counts is fsynced by the spool, and a change that the disk forgot is found again.
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
  const version = Number(database.prepare("PRAGMA user_version").get()?.["user_version"]);
  if (version === SCHEMA_VERSION) return;
  if (version !== 0) throw new OtherVersion(`Cannot use agent.db: its version is ${version}`);
  database.exec(`BEGIN IMMEDIATE; ${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
}
