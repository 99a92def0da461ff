/**
 * Paths that are to be looked at, and what was said of them meanwhile: who wrote, how, what they were called before.
 *
 * Invariants: what is said of a path before its look belongs to that look and to no other; a look waits for quiet, but
 * never longer than {@link WAIT_MAX_MS}, unless the file's own size makes looks costly. Pure but for the clock given.
 */
import type { AncestorFacts, LookedUpActor } from "../../process-lookup.ts";

/** A look waits until nothing was said of the path for this long … */
export const QUIET_MS = 100;
/** … and no longer than this after the first word. */
export const WAIT_MAX_MS = 200;
/** A file whose looks take long is looked at for at most this part of the time. */
const DUTY = 1 / 20;
/** Looks that take less are never held back. */
const COSTLY_MS = 10;
/** Writers that are told of one look. */
const WRITERS_MAX = 16;
/** Paths that wait at once: some hundred bytes each. */
export const PENDING_MAX = 50_000;
/** Files whose costs are remembered. */
const COSTS_MAX = 1024;

/** By what a file changed; the earlier of the list tell more. */
export const HOWS = [
  "mmap",
  "io_uring",
  "truncate",
  "write",
  "exchange",
  "rename",
  "link",
  "create",
  "delete",
  "attribute",
] as const;
export type How = typeof HOWS[number];

export interface Writer {
  readonly pid: number;
  readonly actor: LookedUpActor;
  /** Parent first; undefined when they are not known. */
  readonly ancestors: readonly AncestorFacts[] | undefined;
  readonly how: How;
  /** µs since the Unix epoch. */
  readonly atUs: number;
  /** Seen in the kernel at the write itself, not at the close or by name. */
  readonly isSeenWriting: boolean;
}

/** Why a look is taken: something was said of the path, or nobody was there to hear it. */
export type Origin =
  | { readonly kind: "live" }
  /** No agent ran. */
  | { readonly kind: "offline" }
  /** Reports were lost between two times, µs since the Unix epoch. */
  | { readonly kind: "reconciled"; readonly fromUs: number; readonly toUs: number };

/** What is said of a path. */
export interface Word {
  readonly how: How | undefined;
  readonly writer: Writer | undefined;
  readonly oldPath?: string;
  readonly newPath?: string;
  /** Nobody has closed the file since it was written. */
  readonly isOpen?: boolean;
  readonly origin?: Origin;
}

export interface PendingLook {
  readonly path: string;
  readonly hows: readonly How[];
  /** One per process, in the order of their last words. */
  readonly writers: readonly Writer[];
  /** The name that was moved here. */
  readonly oldPath: string | undefined;
  /** Where what was here went. */
  readonly newPath: string | undefined;
  readonly isOpen: boolean;
  readonly origin: Origin;
  readonly attempt: number;
}

export interface PendingLooks {
  /** Drops the word, and says so, when {@link PENDING_MAX} other paths wait. */
  add(path: string, word: Word, nowMs: number): void;
  /** Takes the paths whose time has come: names that something was moved to first. */
  due(nowMs: number): readonly PendingLook[];
  /** Gives one back: it is to be looked at again after a time. */
  retry(look: PendingLook, atMs: number): void;
  /** Takes one that waited elsewhere. */
  resume(look: PendingLook, nowMs: number): void;
  /** What a look took, so that the next may be held back. */
  spent(path: string, tookMs: number, nowMs: number): void;
  /** Everything, as if its time had come. */
  rest(): readonly PendingLook[];
  /** Whether one waits for a path. */
  has(path: string): boolean;
  readonly length: number;
}

interface Waiting {
  firstMs: number;
  lastMs: number;
  notBeforeMs: number;
  attempt: number;
  readonly hows: Set<How>;
  readonly writers: Map<number, Writer>;
  oldPath: string | undefined;
  newPath: string | undefined;
  isOpen: boolean;
  origin: Origin;
}

const LIVE: Origin = { kind: "live" };

/** `onFull` is told of every word that was dropped: everything is to be compared. */
export function createPendingLooks(onFull: () => void): PendingLooks {
  const waiting = new Map<string, Waiting>();
  /** When the next look at a costly file may be. */
  const costs = new Map<string, number>();

  const waitingOf = (path: string, nowMs: number): Waiting => {
    const known = waiting.get(path);
    if (known !== undefined) return known;
    const made: Waiting = {
      firstMs: nowMs,
      lastMs: nowMs,
      notBeforeMs: costs.get(path) ?? 0,
      attempt: 0,
      hows: new Set(),
      writers: new Map(),
      oldPath: undefined,
      newPath: undefined,
      isOpen: false,
      origin: LIVE,
    };
    waiting.set(path, made);
    return made;
  };
  /** What was said meanwhile is newer. */
  const giveBack = (
    look: PendingLook,
    { fromMs, attempt }: { readonly fromMs: number; readonly attempt: number },
  ): void => {
    const isSaidAnew = waiting.has(look.path);
    const again = waitingOf(look.path, fromMs);
    again.notBeforeMs = fromMs;
    again.attempt = attempt;
    for (const how of look.hows) again.hows.add(how);
    for (const writer of look.writers) noteWriter(again.writers, writer);
    again.oldPath ??= look.oldPath;
    again.newPath ??= look.newPath;
    again.origin = look.origin;
    if (!isSaidAnew) again.isOpen = look.isOpen;
  };
  const take = (isDue: (look: Waiting) => boolean): readonly PendingLook[] => {
    const taken: PendingLook[] = [];
    for (const [path, look] of waiting) {
      if (!isDue(look)) continue;
      waiting.delete(path);
      taken.push(pendingOf(path, look));
    }
    return taken.sort((left, right) =>
      Number(left.oldPath === undefined) - Number(right.oldPath === undefined)
    );
  };
  return {
    add(path, word, nowMs) {
      if (waiting.size >= PENDING_MAX && !waiting.has(path)) {
        onFull();
        return;
      }
      const look = waitingOf(path, nowMs);
      look.lastMs = nowMs;
      if (word.how !== undefined) look.hows.add(word.how);
      if (word.writer !== undefined) noteWriter(look.writers, word.writer);
      look.oldPath = word.oldPath ?? look.oldPath;
      look.newPath = word.newPath ?? look.newPath;
      look.isOpen = word.isOpen ?? look.isOpen;
      look.origin = word.origin ?? look.origin;
    },
    due: (nowMs) =>
      take((look) =>
        nowMs >= look.notBeforeMs &&
        (nowMs - look.lastMs >= QUIET_MS || nowMs - look.firstMs >= WAIT_MAX_MS)
      ),
    retry: (look, atMs) => giveBack(look, { fromMs: atMs, attempt: look.attempt + 1 }),
    resume: (look, nowMs) => giveBack(look, { fromMs: nowMs, attempt: look.attempt }),
    spent(path, tookMs, nowMs) {
      if (tookMs < COSTLY_MS) return;
      if (costs.size >= COSTS_MAX) costs.clear();
      costs.set(path, nowMs + tookMs / DUTY);
    },
    rest: () => take(() => true),
    has: (path) => waiting.has(path),
    get length() {
      return waiting.size;
    },
  };
}

/** Who was seen at the write itself is told rather than as the one who closed. */
function noteWriter(writers: Map<number, Writer>, writer: Writer): void {
  const known = writers.get(writer.pid);
  if (known === undefined && writers.size >= WRITERS_MAX) return;
  if (known?.isSeenWriting === true && !writer.isSeenWriting) return;
  writers.delete(writer.pid);
  writers.set(writer.pid, writer);
}

function pendingOf(path: string, look: Waiting): PendingLook {
  return {
    path,
    hows: HOWS.filter((how) => look.hows.has(how)),
    writers: [...look.writers.values()],
    oldPath: look.oldPath,
    newPath: look.newPath,
    isOpen: look.isOpen,
    origin: look.origin,
    attempt: look.attempt,
  };
}
