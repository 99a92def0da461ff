/**
 * Looks up what a report leaves open: paths, the object's attributes, whether a create was a link, whether a rename was
 * half of an exchange. Keeps the known directories in step with the events.
 *
 * A create is a link if the inode was there before: an earlier report told its creation, or its birth is much older than
 * the moment at which the queue was last empty.
 */
import { HANDLES_MAX, type Libc } from "../../libc.ts";
import { knownPathOf, type Observation } from "./describe.ts";
import { FAN_CREATE, FAN_ONDIR, FAN_RENAME, type FanotifyEvent } from "./fanotify-event.ts";
import { type FileHandle, fsidOf, inodeOf } from "./file-handle.ts";
import { type Attributes, createHandleReader, type FilesystemByFsid } from "./handle-reader.ts";
import { createDirectoryTree } from "./directory-tree.ts";
import { createPathResolver } from "./path-resolver.ts";
import { createWaitingEvents, type WaitingEvent } from "./waiting-events.ts";

/**
 * How much older than the last empty queue an inode may be and still be new: its maker may be stopped between birth and
 * report, and inodes take their times from a clock that lags. In µs.
 */
const BIRTH_SLACK_US = 5_000_000;
/** Handles of recent creates that are remembered, to tell a later link. */
const RECENT_CREATES_MAX = 65_536;

export interface ObserverOptions {
  readonly libc: Libc;
  readonly filesystemOf: FilesystemByFsid;
  /** Reads what the kernel has queued by now and {@link Observer.push}es it. */
  readonly pump: () => void;
}

export interface Observer {
  push(event: WaitingEvent): void;
  /** Looks up the next waiting report; undefined when none waits. */
  next(): { readonly event: WaitingEvent; readonly seen: Observation } | undefined;
  readonly waiting: number;
  /** The path by which events would name a directory that is there now. */
  pathOf(path: string): string | undefined;
  /** Reports were lost, or mounts changed: paths are asked for anew. */
  forgetPaths(): void;
  /** Closes what was opened for a run of lookups. */
  release(): void;
}

export function createObserver({ libc, filesystemOf, pump }: ObserverOptions): Observer {
  const waiting = createWaitingEvents();
  const tree = createDirectoryTree();
  const reader = createHandleReader(libc, filesystemOf);
  const resolver = createPathResolver({ tree, waiting, reader, pump });
  const recentCreates = new Set<FileHandle>();
  /**
   * Directories renamed since the queue was empty. The kernel merges equal reports that wait, so of one that is renamed
   * to and fro the last may be missing: where it is must then be asked.
   */
  const renamed = new Set<FileHandle>();
  /** Second halves of exchanges whose first half was looked at. */
  const exchanged = new WeakSet<FanotifyEvent>();

  const isLink = (event: WaitingEvent, attributes: Attributes | undefined): boolean => {
    const isDirectory = (event.mask & FAN_ONDIR) !== 0;
    if ((event.mask & FAN_CREATE) === 0 || isDirectory || event.target === undefined) return false;
    const wasThere = recentCreates.has(event.target) ||
      (attributes?.bornAtUs === undefined
        ? (attributes?.links ?? 1) > 1
        : attributes.bornAtUs < event.notBeforeUs - BIRTH_SLACK_US);
    if (recentCreates.size >= RECENT_CREATES_MAX) recentCreates.clear();
    recentCreates.add(event.target);
    return wasThere;
  };
  const isExchange = (event: WaitingEvent): boolean => {
    const other = waiting.exchangeOf(event);
    if (other !== undefined) exchanged.add(other);
    return other !== undefined || exchanged.has(event);
  };
  /** What the event changes of the directories that are known. */
  const followDirectory = ({ mask, target, entry, newEntry }: WaitingEvent): void => {
    if ((mask & FAN_ONDIR) === 0 || target === undefined) return;
    if ((mask & FAN_CREATE) !== 0 && entry !== undefined) tree.set(target, entry);
    if ((mask & FAN_RENAME) === 0 || newEntry === undefined) return;
    if (renamed.has(target)) tree.forget(target);
    else tree.set(target, newEntry);
    renamed.add(target);
  };
  /** Events until objects are opened ahead again. */
  let untilAhead = 0;
  const openAhead = (event: WaitingEvent): void => {
    untilAhead -= 1;
    if (untilAhead > 0 || waiting.length === 0) return;
    const soon = [event, ...waiting.upcoming(HANDLES_MAX - 1)];
    untilAhead = soon.length;
    reader.openAhead(soon.flatMap((each) => objectOf(each) ?? []));
  };
  const look = (event: WaitingEvent): Observation => {
    const { entry, newEntry, target, mask } = event;
    const filesystem = target === undefined ? undefined : filesystemOf(fsidOf(target));
    openAhead(event);
    const looked = objectOf(event);
    const object = looked === undefined ? undefined : reader.object(looked);
    const path = knownPathOf(entry && resolver.directory(entry.directory), entry?.name ?? "");
    const newPath = newEntry && knownPathOf(resolver.directory(newEntry.directory), newEntry.name);
    return {
      mask,
      readAtUs: event.readAtUs,
      path,
      newPath,
      isExchange: isExchange(event),
      isLink: isLink(event, object?.attributes),
      device: filesystem?.device,
      inode: target === undefined ? undefined : inodeOf(target, filesystem?.type ?? ""),
      attributes: object?.attributes,
      linkText: object?.linkText,
    };
  };

  return {
    push: (event) => waiting.push(event),
    next() {
      const event = waiting.shift();
      if (event === undefined) {
        renamed.clear();
        return undefined;
      }
      const seen = look(event);
      followDirectory(event);
      return { event, seen };
    },
    get waiting() {
      return waiting.length;
    },
    pathOf(path) {
      const handle = reader.handleOf(path);
      return handle && resolver.directory(handle);
    },
    forgetPaths: () => tree.clear(),
    release() {
      untilAhead = 0;
      reader.release();
    },
  };
}

/** What is looked at of an event: what was made or renamed. */
function objectOf({ mask, target }: FanotifyEvent): FileHandle | undefined {
  return (mask & (FAN_CREATE | FAN_RENAME)) === 0 ? undefined : target;
}
