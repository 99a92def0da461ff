/**
 * Folders of the directory store: made when an object first needs them, and checked before each use.
 *
 * Invariants: a folder handed out stands below the root with no symbolic link on the way, and its own name is durable,
 * whoever made it. Temporary files that a killed process left behind go when their folder is next written to, beside
 * that write: a folder of a million files takes seconds to look through.
 */
import { lstat, opendir, realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import { codeOf, ensureFolder, removeIfPresent, syncFolder, TEMPORARY_PREFIX } from "./fs-write.ts";

/** A temporary file that nobody has written to for so long belongs to nobody; milliseconds. */
export const TEMPORARY_STALE_MS = 24 * 3_600_000;
/** So many folders are remembered as durable; beyond that they are looked at again. */
const KNOWN_FOLDERS_MAX = 4096;

/** Disposing waits until the folders are looked through. */
export interface Folders extends AsyncDisposable {
  /** The folder, made if missing, ready for a durable write. */
  prepare(folder: string): Promise<void>;
  /** Whether the folder is there; throws when a symbolic link leads elsewhere. */
  check(folder: string): Promise<boolean>;
}

/** `root` is a real path (without symbolic links). */
export function createFolders(root: string): Folders {
  const known = new Set<string>();
  const sweeping = new Set<Promise<unknown>>();
  const check = async (folder: string): Promise<boolean> => {
    try {
      const real = await realpath(folder);
      if (real === folder) return true;
      throw new Error(`${JSON.stringify(folder)} is a symbolic link to ${JSON.stringify(real)}`);
    } catch (cause) {
      const code = codeOf(cause);
      if (code === "ENOENT" || code === "ENOTDIR") return false;
      throw cause;
    }
  };
  const prepare = async (folder: string): Promise<void> => {
    if (known.has(folder) && await check(folder)) return;
    await ensureFolder(root, folder);
    if (!await check(folder)) throw new Error(`${JSON.stringify(folder)} is no folder`);
    for (let at = folder; at !== root; at = dirname(at)) await syncFolder(dirname(at));
    const sweep = Promise.allSettled([removeStale(folder)]).finally(() => sweeping.delete(sweep));
    sweeping.add(sweep);
    if (known.size >= KNOWN_FOLDERS_MAX) known.clear();
    known.add(folder);
  };
  return {
    prepare,
    check,
    async [Symbol.asyncDispose]() {
      await Promise.all(sweeping);
    },
  };
}

/** What it cannot do is left to whoever next opens the folder. */
async function removeStale(folder: string): Promise<void> {
  const beforeMs = Date.now() - TEMPORARY_STALE_MS;
  for await (const { name } of await opendir(folder)) {
    if (!name.startsWith(TEMPORARY_PREFIX)) continue;
    const path = join(folder, name);
    if (await modifiedAtMs(path) < beforeMs) await removeIfPresent(path);
  }
}

/** Infinity when it is gone. */
async function modifiedAtMs(path: string): Promise<number> {
  try {
    return (await lstat(path)).mtimeMs;
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return Infinity;
    throw cause;
  }
}
