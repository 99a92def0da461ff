/**
 * Looks up what a report leaves open: paths, the object's attributes, whether a create was a link, whether a rename was
 * half of an exchange. Keeps the path cache in step with the events.
 *
 * A create is a link if the inode was there before: its birth is older than the moment at which the queue was last
 * empty, or an earlier report already told its creation.
 */
import type { Libc } from "../../libc.ts";
import { knownPathOf, type Observation } from "./describe.ts";
import { FAN_CREATE, FAN_ONDIR, FAN_RENAME, type FanotifyEvent } from "./fanotify-event.ts";
import { inodeOf } from "./file-handle.ts";
import { type Attributes, createHandleReader, type FilesystemByFsid } from "./handle-reader.ts";
import { createPathCache } from "./path-cache.ts";
import { createPathResolver } from "./path-resolver.ts";
import { createWaitingEvents, type WaitingEvent } from "./waiting-events.ts";

/** Inodes are born on the kernel's coarse clock, which lags by up to a tick; generous, in µs. */
const BIRTH_CLOCK_LAG_US = 50_000;
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
  const cache = createPathCache();
  const reader = createHandleReader(libc, filesystemOf);
  const resolver = createPathResolver({ cache, waiting, reader, pump });
  const recentCreates = new Set<string>();
  /**
   * Directories renamed since the queue was empty. The kernel merges equal reports that wait, so of one that is renamed
   * to and fro the last may be missing: its path is then asked for, not computed.
   */
  const renamed = new Set<string>();
  /** Second halves of exchanges whose first half was looked at. */
  const exchanged = new WeakSet<FanotifyEvent>();

  const isLink = (event: WaitingEvent, attributes: Attributes | undefined): boolean => {
    const isDirectory = (event.mask & FAN_ONDIR) !== 0;
    if ((event.mask & FAN_CREATE) === 0 || isDirectory || event.target === undefined) return false;
    const { key } = event.target;
    const wasThere = recentCreates.has(key) ||
      (attributes?.bornAtUs === undefined
        ? (attributes?.links ?? 1) > 1
        : attributes.bornAtUs < event.notBeforeUs - BIRTH_CLOCK_LAG_US);
    if (recentCreates.size >= RECENT_CREATES_MAX) recentCreates.clear();
    recentCreates.add(key);
    return wasThere;
  };
  const isExchange = (event: WaitingEvent): boolean => {
    const other = waiting.exchangeOf(event);
    if (other !== undefined) exchanged.add(other);
    return other !== undefined || exchanged.has(event);
  };
  const keepCache = (event: WaitingEvent, seen: Observation): void => {
    if ((event.mask & FAN_ONDIR) === 0 || !seen.path.isComplete) return;
    const { path, newPath, isExchange } = seen;
    if ((event.mask & FAN_RENAME) !== 0) {
      const isFirst = event.target !== undefined && !renamed.has(event.target.key);
      if (event.target !== undefined) renamed.add(event.target.key);
      if (newPath?.isComplete === true) {
        if (isFirst && !isExchange) cache.move(path.path, newPath.path);
        else cache.forget(newPath.path);
      }
      cache.forget(path.path);
    } else if ((event.mask & FAN_CREATE) !== 0 && event.target !== undefined) {
      cache.set(event.target.key, path.path);
    }
  };
  const look = (event: WaitingEvent): Observation => {
    const { entry, newEntry, target, mask } = event;
    const filesystem = target === undefined ? undefined : filesystemOf(target.fsid);
    const isCreate = (mask & FAN_CREATE) !== 0;
    const object = target !== undefined && (isCreate || (mask & FAN_RENAME) !== 0)
      ? reader.object(target)
      : undefined;
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
      keepCache(event, seen);
      return { event, seen };
    },
    get waiting() {
      return waiting.length;
    },
    pathOf: (path) => reader.pathOf(path),
    forgetPaths: () => cache.clear(),
    release: () => reader.release(),
  };
}
