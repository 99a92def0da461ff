/**
 * Events that were read and wait for their turn, and what the later of them say about the earlier: a directory's entry
 * as of an event is the one that the first rename or removal after it took away. That is how a path is told although
 * the directory was moved or removed before anyone could look.
 *
 * Invariant: events leave in the order in which they were read. Bounded by {@link WAITING_EVENTS_MAX}.
 */
import {
  type DirectoryEntry,
  FAN_CREATE,
  FAN_DELETE,
  FAN_ONDIR,
  FAN_RENAME,
  type FanotifyEvent,
} from "./fanotify-event.ts";
import type { FileHandle } from "./file-handle.ts";

/** Reading stops while this many events wait; about 20 MB. */
export const WAITING_EVENTS_MAX = 32_768;

export interface WaitingEvent extends FanotifyEvent {
  /** When it was read, µs since the Unix epoch. */
  readonly readAtUs: number;
  /** When the queue was last seen empty before. */
  readonly notBeforeUs: number;
  /** The same as boot time, ns. */
  readonly notBeforeNs: number;
}

export interface WaitingEvents {
  push(event: WaitingEvent): void;
  /** The next event; it stays the present one until the next call. */
  shift(): WaitingEvent | undefined;
  /** The events that come after the present one, at most so many. */
  upcoming(count: number): readonly WaitingEvent[];
  /** Name and parent that a directory had as of the present event, if a waiting event tells. */
  entryOf(directory: FileHandle): DirectoryEntry | undefined;
  /** The waiting second half of an exchange that the present event opens. */
  exchangeOf(event: WaitingEvent): WaitingEvent | undefined;
  readonly length: number;
}

interface Told {
  readonly number: number;
  readonly entry: DirectoryEntry;
}

/** The halves of an exchange are queued one after the other; others may come between on other processors. */
const EXCHANGE_DISTANCE_MAX = 16;

/** Room of events that left is given back in steps of this many. */
const COMPACT_EVENTS = 1024;

export function createWaitingEvents(): WaitingEvents {
  let queue: WaitingEvent[] = [];
  let head = 0;
  /** Number of the present event: events are numbered as they come. */
  let present = 0;
  const told = new Map<string, Told[]>();
  /**
   * Entries of directories whose removal was merged with their creation: the report stands where the creation was, but
   * the removal came later.
   */
  const removedLater = new Map<string, DirectoryEntry>();
  return {
    push(event) {
      queue.push(event);
      const { target, entry, mask } = event;
      const takesAway = (mask & FAN_ONDIR) !== 0 && (mask & (FAN_RENAME | FAN_DELETE)) !== 0;
      if (!takesAway || target === undefined || entry === undefined) return;
      if ((mask & FAN_CREATE) !== 0) {
        removedLater.set(target, entry);
        return;
      }
      const number = present + queue.length - head;
      const known = told.get(target);
      if (known === undefined) told.set(target, [{ number, entry }]);
      else known.push({ number, entry });
    },
    shift() {
      const event = queue[head];
      if (event === undefined) return undefined;
      head += 1;
      present += 1;
      if (head === queue.length) {
        told.clear();
        removedLater.clear();
        queue = [];
        head = 0;
      } else if (head >= COMPACT_EVENTS && head * 2 >= queue.length) {
        queue = queue.slice(head);
        head = 0;
      }
      return event;
    },
    upcoming: (count) => queue.slice(head, head + count),
    entryOf(directory) {
      const tellings = told.get(directory) ?? [];
      while (tellings[0] !== undefined && tellings[0].number < present) tellings.shift();
      if (tellings.length === 0) told.delete(directory);
      return tellings[0]?.entry ?? removedLater.get(directory);
    },
    exchangeOf(event) {
      if ((event.mask & FAN_RENAME) === 0) return undefined;
      for (let at = head; at < Math.min(queue.length, head + EXCHANGE_DISTANCE_MAX); at += 1) {
        const other = queue[at];
        if (other !== undefined && isSwap(event, other)) return other;
      }
      return undefined;
    },
    get length() {
      return queue.length - head;
    },
  };
}

function isSwap(one: FanotifyEvent, other: FanotifyEvent): boolean {
  return (other.mask & FAN_RENAME) !== 0 && one.pid === other.pid &&
    one.target !== other.target && isSameEntry(one.entry, other.newEntry) &&
    isSameEntry(one.newEntry, other.entry);
}

function isSameEntry(one: DirectoryEntry | undefined, other: DirectoryEntry | undefined): boolean {
  return one !== undefined && other !== undefined && one.name === other.name &&
    one.directory === other.directory;
}
