/**
 * Paths of directories as of the event that is being looked at, although looking happens later.
 *
 * What the kernel says of a handle is the path now. It is the path then, too, unless a rename came between; every such
 * rename has queued its event, so after each look the queue is read again: if a directory rename waits, the path is
 * built from parents and from what the waiting events tell. Of a directory that is gone, the event of its removal
 * tells name and parent.
 */
import type { DirectoryEntry } from "./fanotify-event.ts";
import type { FileHandle } from "./file-handle.ts";
import type { HandleReader } from "./handle-reader.ts";
import { joinPath, type PathCache } from "./path-cache.ts";
import type { WaitingEvents } from "./waiting-events.ts";

/** Directories above each other; a path of 4096 bytes cannot have more with names of one byte than twice this. */
const DEPTH_MAX = 1024;

export interface PathResolverOptions {
  readonly cache: PathCache;
  readonly waiting: WaitingEvents;
  readonly reader: HandleReader;
  /** Reads what the kernel has queued by now into `waiting`. */
  readonly pump: () => void;
}

export interface PathResolver {
  /** The directory's path, binary; undefined when nothing tells it any more. */
  directory(handle: FileHandle): string | undefined;
}

export function createPathResolver(options: PathResolverOptions): PathResolver {
  const { cache, waiting, reader, pump } = options;

  const resolve = (handle: FileHandle, depth: number): string | undefined => {
    const cached = cache.get(handle.key);
    if (cached !== undefined || depth > DEPTH_MAX) return cached;
    const path = look(handle, depth);
    if (path !== undefined) cache.set(handle.key, path);
    return path;
  };
  const look = (handle: FileHandle, depth: number): string | undefined => {
    const told = waiting.entryOf(handle.key);
    if (told !== undefined) return resolveEntry(told, depth);
    const seen = reader.directory(handle);
    pump();
    const toldSince = waiting.entryOf(handle.key);
    if (toldSince !== undefined) return resolveEntry(toldSince, depth);
    if (seen === undefined) return undefined;
    if (seen.isRoot || !waiting.hasDirectoryRename) return seen.path;
    const parent = seen.parent();
    if (parent === undefined) return seen.path;
    const name = seen.path.slice(seen.path.lastIndexOf("/") + 1);
    return resolveEntry({ directory: parent, name }, depth);
  };
  const resolveEntry = ({ directory, name }: DirectoryEntry, depth: number): string | undefined => {
    const path = resolve(directory, depth + 1);
    return path === undefined ? undefined : joinPath(path, name);
  };
  return { directory: (handle) => resolve(handle, 0) };
}
