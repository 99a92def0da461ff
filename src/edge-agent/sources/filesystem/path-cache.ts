/**
 * Paths of directories by their handles, kept up to date with the renames that the event stream tells, in its order.
 *
 * Invariant: an entry is the directory's path as of the event that is being looked at, or it is not there. Bounded by
 * count; the least recently used goes first. Paths are binary strings.
 */

/** At most this many directories are remembered. */
export const PATH_CACHE_ENTRIES_MAX = 8192;

export interface PathCache {
  get(key: string): string | undefined;
  set(key: string, path: string): void;
  /** A directory moved: what lies below it moves along. What lay at the new place is forgotten. */
  move(from: string, to: string): void;
  /** Forgets a directory and what lies below it. */
  forget(path: string): void;
  clear(): void;
  readonly size: number;
}

export function createPathCache(entriesMax: number = PATH_CACHE_ENTRIES_MAX): PathCache {
  const paths = new Map<string, string>();
  const forget = (path: string): void => {
    for (const [key, each] of paths) if (isUnder(each, path)) paths.delete(key);
  };
  return {
    get(key) {
      const path = paths.get(key);
      if (path === undefined) return undefined;
      paths.delete(key);
      paths.set(key, path);
      return path;
    },
    set(key, path) {
      paths.delete(key);
      paths.set(key, path);
      if (paths.size <= entriesMax) return;
      const [oldest] = paths.keys();
      if (oldest !== undefined) paths.delete(oldest);
    },
    move(from, to) {
      forget(to);
      for (const [key, path] of paths) {
        if (isUnder(path, from)) paths.set(key, to + path.slice(from.length));
      }
    },
    forget,
    clear: () => paths.clear(),
    get size() {
      return paths.size;
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
