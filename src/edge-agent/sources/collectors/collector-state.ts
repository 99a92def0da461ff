/**
 * What one collector remembers and what it has told that is not known to be durable, in `agent-<name>.db` in the data
 * folder.
 *
 * Invariants: memory changes in the same transaction that writes the lines telling of it, so whatever ends the process,
 * either both are there or neither; lines leave only when the spool has them on disk, and until then they are told again,
 * letter by letter, under the same numbers.
 */
import { randomUUID } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { lineFields } from "../../../event/event.ts";
import { openPrivateDatabase, OtherVersion } from "../../private-database.ts";
import { atOnce } from "../../transaction.ts";
import type { Collection, Memory } from "./collector.ts";

export interface CollectedLine {
  /** Goes up by one with each line of this database. */
  readonly number: number;
  /** See `lineFields`. */
  readonly fields: string;
  readonly timeUs: number;
}

export interface CollectorState extends Disposable {
  /** Of this database: another one's numbers mean nothing to it. */
  readonly id: string;
  /** Whether what was there before could not be read, and was put aside. */
  readonly wasDamaged: boolean;
  readonly memory: Memory;
  /** Remembers and tells, all or nothing; the lines of the events, in their order. Throws when the disk refuses. */
  commit(collection: Collection): readonly CollectedLine[];
  /** The first lines after a number that are not known to be durable. */
  pending(after: number): readonly CollectedLine[];
  /** Everything up to a number is durable in the spool. */
  release(number: number): void;
}

const SCHEMA_VERSION = 1;
/** How long another process's lock is waited for. */
const BUSY_TIMEOUT_MS = 2000;
const CACHE_KIB = 256;
/** Lines of one {@link CollectorState.pending}. */
export const PENDING_MAX = 1000;

const SCHEMA = `
CREATE TABLE memory (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE line (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  time_us INTEGER NOT NULL,
  fields TEXT NOT NULL
) STRICT;
CREATE TABLE identity (id TEXT NOT NULL) STRICT;
`;

/**
 * Opens the database, mode 0600. One that is no database, or of another version, is put aside as `<path>.damaged`.
 * Throws when there can be none.
 */
export function openCollectorState(path: string): CollectorState {
  return openPrivateDatabase(path, ({ wasDamaged }) => open(path, wasDamaged));
}

function open(path: string, wasDamaged: boolean): CollectorState {
  const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
  try {
    const id = prepare(database);
    return createState(database, { id, wasDamaged });
  } catch (error) {
    database.close();
    throw error;
  }
}

function createState(
  database: DatabaseSync,
  { id, wasDamaged }: { readonly id: string; readonly wasDamaged: boolean },
): CollectorState {
  let isOpen = true;
  const get = database.prepare("SELECT value FROM memory WHERE key = ?");
  // Text compares by bytes, and UTF-8 keeps the order of code points: nothing begins with U+10FFFF twice.
  const within = database.prepare(
    "SELECT key, value FROM memory WHERE key >= ? AND key < ? ORDER BY key",
  );
  const put = database.prepare(
    "INSERT INTO memory VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
  );
  const forget = database.prepare("DELETE FROM memory WHERE key = ?");
  const append = database.prepare(
    "INSERT INTO line (time_us, fields) VALUES (?, ?) RETURNING number",
  );
  const after = database.prepare(
    "SELECT number, time_us, fields FROM line WHERE number > ? ORDER BY number LIMIT ?",
  );
  const release = database.prepare("DELETE FROM line WHERE number <= ?");
  return {
    id,
    wasDamaged,
    memory: {
      get: (key) => textOf(get.get(key)?.["value"]),
      entries: (prefix = "") =>
        new Map(
          within.all(prefix, `${prefix}\u{10ffff}`)
            .map((row) => [String(row["key"]), String(row["value"])]),
        ),
    },
    commit: ({ events, put: known = new Map(), forget: unknown = [] }) =>
      atOnce(database, () => {
        for (const key of unknown) forget.run(key);
        for (const [key, value] of known) put.run(key, value);
        return events.map((event) => {
          const fields = lineFields(event);
          const number = Number(append.get(event.timeUs, fields)?.["number"]);
          return { number, fields, timeUs: event.timeUs };
        });
      }),
    pending: (number) =>
      after.all(number, PENDING_MAX).map((row) => ({
        number: Number(row["number"]),
        timeUs: Number(row["time_us"]),
        fields: String(row["fields"]),
      })),
    release(number) {
      if (isOpen) release.run(number);
    },
    [Symbol.dispose]() {
      if (!isOpen) return;
      isOpen = false;
      database.close();
    },
  };
}

/** Makes the tables where they are missing; the database's id. */
function prepare(database: DatabaseSync): string {
  // Without fsync: what counts is fsynced by the spool. After a power cut what was forgotten is found, and told, again.
  database.exec(
    `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -${CACHE_KIB}`,
  );
  const version = Number(database.prepare("PRAGMA user_version").get()?.["user_version"]);
  if (version !== SCHEMA_VERSION && version !== 0) {
    throw new OtherVersion(`Cannot use a collector's memory: its version is ${version}`);
  }
  if (version === 0) {
    database.exec(
      `BEGIN IMMEDIATE; ${SCHEMA} INSERT INTO identity VALUES ('${randomUUID()}'); ` +
        `PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`,
    );
  }
  const id = textOf(database.prepare("SELECT id FROM identity").get()?.["id"]);
  if (id === undefined) throw new OtherVersion("Cannot use a collector's memory: it has no id");
  return id;
}

function textOf(value: unknown): string | undefined {
  return value === undefined ? undefined : String(value);
}
