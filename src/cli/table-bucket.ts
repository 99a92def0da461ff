/**
 * The bucket as the `table` commands work on it: directly, beside whatever runs on it.
 *
 * Invariant: nothing is written that the owner of a directory bucket could not read and change: started as root on one
 * that belongs to another user, the command becomes that user.
 */
import { existsSync, statSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { MaintenanceContext } from "../pipeline/maintenance/context.ts";
import type { Log } from "../runtime/log.ts";
import { openStore } from "../storage/open-store.ts";
import { CommandError, EXIT } from "./exit.ts";
import type { GlobalSettings } from "./command.ts";
import type { STORE_OPTIONS, Values } from "./options.ts";
import { storeOptionsOf } from "./store-options.ts";
import { dataFolderAt } from "./up/data-folder.ts";

/** Bound of DuckDB's memory, in bytes: a command has the machine more to itself than the schedule. */
const MEMORY_BYTES = 512 * 1024 * 1024;
const THREADS = 2;

export interface TableBucketOptions {
  readonly settings: Values<typeof STORE_OPTIONS>;
  readonly global: GlobalSettings;
  readonly log: Log;
  /** Whether the work changes the table or its holds: it is proven then that the store keeps its conditions. */
  readonly isWriting?: boolean;
}

/** Runs work on the table of the bucket that the settings name. Throws when there is no table in it. */
export async function withTable<T>(
  { settings, global, log, isWriting = false }: TableBucketOptions,
  work: (context: MaintenanceContext) => Promise<T>,
): Promise<T> {
  const folder = dataFolderAt(global.data);
  const options = storeOptionsOf(settings, folder);
  becomeOwnerOf(options.url);
  const { openMaintenanceContext } = await import("../pipeline/maintenance/context.ts");
  await using store = await openStore({ ...options, log });
  if (isWriting) await store.verifyConditionalPut();
  await using context = await openMaintenanceContext({
    store,
    scratchDirectory: join(folder.cache, "table"),
    memoryLimitBytes: MEMORY_BYTES,
    threads: THREADS,
    log,
  });
  if ((await context.table.refresh()).version < 0) {
    throw new CommandError(EXIT.failed, `Cannot read the table in "${options.url}": there is none`);
  }
  return await work(context);
}

/** Who does it, as the record has it. */
export function operatorName(): string {
  return `${nameOfUser()}@${hostname()}`;
}

let startedAs: string | undefined;

function nameOfUser(): string {
  return startedAs ?? userInfo().username;
}

function becomeOwnerOf(url: string): void {
  if (!url.startsWith("file:") || process.getuid?.() !== 0) return;
  const path = fileURLToPath(url);
  if (!existsSync(path)) return;
  const { uid, gid } = statSync(path);
  if (uid === 0) return;
  startedAs = userInfo().username;
  const { setgroups, setgid, setuid } = process;
  if (setgroups === undefined || setgid === undefined || setuid === undefined) {
    throw new CommandError(EXIT.failed, `Cannot use "${path}": run the command as its owner`);
  }
  setgroups([]);
  setgid(gid);
  setuid(uid);
}
