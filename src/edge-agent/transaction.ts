/** One transaction of a database that this process keeps something in: all of it or nothing. */
import type { DatabaseSync } from "node:sqlite";

/** What `act` returns, once what it wrote is committed; when it or the commit throws, nothing was written. */
export function atOnce<T>(database: DatabaseSync, act: () => T): T {
  database.exec("BEGIN IMMEDIATE");
  try {
    const result = act();
    database.exec("COMMIT");
    return result;
  } catch (error) {
    // A full disk ends the transaction by itself.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}
