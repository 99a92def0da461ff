/**
 * The directories that are known, each by its handle with its parent and name, kept up to date with the renames that
 * the event stream tells, in its order. A rename changes one entry, however much lies below it.
 *
 * Invariant: an entry is what was true as of the event that is being looked at, or it is not there. Bounded by count;
 * the least recently asked goes first. Names and paths are binary strings.
 */
import type { DirectoryEntry } from "./fanotify-event.ts";
import type { FileHandle } from "./file-handle.ts";

/** At most this many directories are remembered; about 4 MB. */
export const DIRECTORIES_MAX = 16_384;

/** Where a directory is: in another one, or at a path of its own because it is the root of what is mounted. */
export type Whereabouts = DirectoryEntry | { readonly root: string };

export interface DirectoryTree {
  get(directory: FileHandle): Whereabouts | undefined;
  set(directory: FileHandle, whereabouts: Whereabouts): void;
  forget(directory: FileHandle): void;
  clear(): void;
  /** Changes whenever a path may have: what was computed before is then stale. */
  readonly version: number;
  readonly size: number;
}

export function createDirectoryTree(entriesMax: number = DIRECTORIES_MAX): DirectoryTree {
  const entries = new Map<string, Whereabouts>();
  let version = 0;
  return {
    get(key) {
      const found = entries.get(key);
      if (found === undefined) return undefined;
      entries.delete(key);
      entries.set(key, found);
      return found;
    },
    set(key, whereabouts) {
      if (entries.delete(key)) version += 1;
      entries.set(key, whereabouts);
      if (entries.size <= entriesMax) return;
      const [oldest] = entries.keys();
      if (oldest !== undefined) entries.delete(oldest);
    },
    forget(key) {
      if (entries.delete(key)) version += 1;
    },
    clear() {
      entries.clear();
      version += 1;
    },
    get version() {
      return version;
    },
    get size() {
      return entries.size;
    },
  };
}

/** A directory's path with a name in it. */
export function joinPath(directory: string, name: string): string {
  return directory.endsWith("/") ? directory + name : `${directory}/${name}`;
}

/** Whether a path is a directory or lies below it. */
export function isUnder(path: string, directory: string): boolean {
  return path.startsWith(directory) &&
    (path.length === directory.length || path[directory.length] === "/" ||
      directory.endsWith("/"));
}
