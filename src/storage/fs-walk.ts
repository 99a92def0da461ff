/**
 * Listing of a folder tree in key order, which is not the order of a walk: `a-b` comes before `a/b`.
 *
 * Invariant: every object that stands there during the whole walk is listed once, in order; what comes or goes
 * meanwhile may or may not be. Dot names, symbolic links and anything but regular files are no objects.
 */
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "./fs-write.ts";
import { isObjectKey } from "./object-key.ts";
import type { ObjectEntry } from "./object-store.ts";

/** So many files are looked at together. */
const STAT_BATCH = 64;
/** Entries that one call reads from a folder. */
const FOLDER_BUFFER = 1024;

export interface WalkOptions {
  readonly prefix: string;
  readonly startAfter: string;
  readonly signal: AbortSignal | undefined;
}

/** Objects below the root folder whose keys begin with `prefix` and come after `startAfter`. */
export async function* walkFolder(root: string, options: WalkOptions): AsyncIterable<ObjectEntry> {
  const at = options.prefix.lastIndexOf("/") + 1;
  yield* walkLevel(root, options.prefix.slice(0, at), options);
}

async function* walkLevel(
  root: string,
  level: string,
  options: WalkOptions,
): AsyncIterable<ObjectEntry> {
  const names = await readLevel(root, level, options);
  for (let from = 0; from < names.length; from += STAT_BATCH) {
    options.signal?.throwIfAborted();
    const batch = names.slice(from, from + STAT_BATCH);
    const entries = await Promise.all(batch.map((name) => entryOf(root, name)));
    for (const [place, name] of batch.entries()) {
      const entry = entries[place];
      if (name.endsWith("/")) yield* walkLevel(root, name, options);
      else if (entry !== undefined) yield entry;
    }
  }
}

/** Keys of the files, and keys with a slash of the folders, that can hold what is asked for; in key order. */
async function readLevel(root: string, level: string, options: WalkOptions): Promise<string[]> {
  const { prefix, startAfter } = options;
  const names: string[] = [];
  try {
    for await (const item of await opendir(join(root, level), { bufferSize: FOLDER_BUFFER })) {
      // What is most often in the way is asked first: a log has a million files, and a list of it begins at the last.
      if (item.isFile()) {
        const key = level + item.name;
        if (key > startAfter && key.startsWith(prefix) && isObjectKey(key)) names.push(key);
      } else if (item.isDirectory()) {
        const key = `${level}${item.name}/`;
        const isWanted = key.startsWith(prefix) || prefix.startsWith(key);
        const isAfter = key > startAfter || startAfter.startsWith(key);
        if (isWanted && isAfter && isObjectKey(level + item.name)) names.push(key);
      }
    }
  } catch (cause) {
    if (!isGone(cause)) throw cause;
  }
  return names.sort((left, right) => (left < right ? -1 : 1));
}

async function entryOf(root: string, key: string): Promise<ObjectEntry | undefined> {
  if (key.endsWith("/")) return undefined;
  try {
    const { size, mtimeMs } = await lstat(join(root, key));
    return { key, sizeBytes: size, modifiedAtMs: Math.floor(mtimeMs) };
  } catch (cause) {
    if (isGone(cause)) return undefined;
    throw cause;
  }
}

function isGone(cause: unknown): boolean {
  const code = codeOf(cause);
  return code === "ENOENT" || code === "ENOTDIR";
}
