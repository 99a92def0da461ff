/**
 * One process per spool. The lock is SQLite's own on an empty database file: the kernel lets go of it when the process
 * dies in any way, so it is never stale, and it excludes a second opening by the same process too.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** Locks the folder until it is disposed. Throws when another holds it. */
export function lockSpool(directory: string): Disposable {
  const database = new DatabaseSync(join(directory, "lock"));
  try {
    database.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    throw new Error(`Cannot open spool "${directory}": another process uses it`, { cause });
  }
  let isOpen = true;
  return {
    [Symbol.dispose]() {
      if (isOpen) database.close();
      isOpen = false;
    },
  };
}
