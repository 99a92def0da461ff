/**
 * Paths of directories as of the event that is being looked at, although looking happens later.
 *
 * What the kernel says of a handle is name and parent now. They were the same then, unless a rename or removal came
 * between; each of those has queued its event, so after every look the queue is read again, and what the waiting events
 * tell goes before what was seen. Of a directory that is gone, the event of its removal tells name and parent.
 */
import { type DirectoryTree, joinPath, type Whereabouts } from "./directory-tree.ts";
import type { FileHandle } from "./file-handle.ts";
import type { HandleReader } from "./handle-reader.ts";
import type { WaitingEvents } from "./waiting-events.ts";

/** Directories above each other: a path of 4096 bytes has no more, but a directory may lie deeper than any path says. */
const DEPTH_MAX = 2048;
/** Paths computed since the tree last changed. */
const PATHS_MAX = 4096;

export interface PathResolverOptions {
  readonly tree: DirectoryTree;
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
  const { tree, waiting, reader, pump } = options;
  const paths = new Map<string, string>();
  let version = tree.version;

  const look = (handle: FileHandle): Whereabouts | undefined => {
    const told = waiting.entryOf(handle);
    if (told !== undefined) return told;
    const seen = reader.directory(handle);
    pump();
    return waiting.entryOf(handle) ?? seen;
  };
  const resolve = (handle: FileHandle, depth: number): string | undefined => {
    const computed = paths.get(handle);
    if (computed !== undefined) return computed;
    const known = tree.get(handle);
    const whereabouts = known ?? look(handle);
    if (whereabouts === undefined || depth > DEPTH_MAX) return undefined;
    if (known === undefined) tree.set(handle, whereabouts);
    const path = "root" in whereabouts ? whereabouts.root : inside(whereabouts, depth);
    if (path !== undefined) paths.set(handle, path);
    return path;
  };
  const inside = (
    { directory, name }: Exclude<Whereabouts, { root: string }>,
    depth: number,
  ): string | undefined => {
    const above = resolve(directory, depth + 1);
    return above === undefined ? undefined : joinPath(above, name);
  };
  return {
    directory(handle) {
      if (version !== tree.version || paths.size > PATHS_MAX) {
        paths.clear();
        version = tree.version;
      }
      return resolve(handle, 0);
    },
  };
}
