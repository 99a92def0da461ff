/**
 * A lock between processes on one folder, for the rare writes that must compare before they write.
 *
 * Invariant: at most one holder at a time, and the kernel lets go of it when its holder dies: the lock is SQLite's own
 * lock on an empty database file, so nothing has to guess whether a lock file is stale. It is as good as the file
 * system's record locks: local ones and NFS 4 have them.
 */
import { randomInt } from "node:crypto";
import { chmod } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { DatabaseSync } from "node:sqlite";

/** How long a writer waits for its turn, in milliseconds. */
export const LOCK_WAIT_MS = 30_000;
/** Longest pause between two tries, in milliseconds. */
const LOCK_RETRY_MS = 10;

export interface FolderLock extends AsyncDisposable {
  /** Runs an action while nobody else holds the lock. */
  run<T>(action: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

export function openFolderLock(path: string): FolderLock {
  let opening: Promise<DatabaseSync> | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  const exclusively = async <T>(action: () => Promise<T>, signal?: AbortSignal): Promise<T> => {
    opening ??= openDatabase(path);
    const database = await opening;
    await begin(database, path, signal);
    try {
      return await action();
    } finally {
      database.exec("ROLLBACK");
    }
  };
  return {
    run(action, signal) {
      const mine = turn.then(() => exclusively(action, signal));
      turn = Promise.allSettled([mine]);
      return mine;
    },
    async [Symbol.asyncDispose]() {
      await turn;
      if (opening === undefined) return;
      const database = await opening;
      opening = undefined;
      database.close();
    },
  };
}

/** The module is loaded on first use: few processes ever take the lock. */
async function openDatabase(path: string): Promise<DatabaseSync> {
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(path);
  database.exec("PRAGMA busy_timeout = 0");
  await chmod(path, 0o640);
  return database;
}

async function begin(database: DatabaseSync, path: string, signal?: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + LOCK_WAIT_MS;
  for (;;) {
    signal?.throwIfAborted();
    try {
      database.exec("BEGIN IMMEDIATE");
      return;
    } catch (cause) {
      const isHeld = cause instanceof Error && cause.message.includes("database is locked");
      if (!isHeld || performance.now() > deadlineMs) {
        const state = isHeld ? `held by another process for ${LOCK_WAIT_MS} ms` : "not usable";
        throw new Error(`Cannot lock ${JSON.stringify(path)}: ${state}`, { cause });
      }
    }
    await delay(randomInt(1, LOCK_RETRY_MS + 1), undefined, signal === undefined ? {} : { signal });
  }
}
