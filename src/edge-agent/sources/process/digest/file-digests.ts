/**
 * Digests of files by what they are (see {@link FileVersion}), computed once for each version. Bounded by count; the
 * least recently asked goes first.
 *
 * Invariant: a descriptor that is given is closed, now or when its file has been hashed. A version whose file was
 * changed a moment before it was looked at is not remembered: it could be changed again within the same tick.
 */
import { type Libc, STATX_BYTES } from "../../../libc.ts";
import type { Clock } from "../../../../runtime/clock.ts";
import {
  type DigestOutcome,
  type DigestQueue,
  FILE_BYTES_MAX,
  type MissingReason,
} from "./digest-queue.ts";
import { type FileVersion, readFileVersion } from "./file-version.ts";

/** Versions that are remembered; about 4 MB. */
export const VERSIONS_MAX = 8192;
/** A change so shortly before is not told apart from the next one: the coarsest clock of Linux ticks every 10 ms. */
const TICK_US = 20_000;

/** A version with its digest, once it is there. */
export interface FileDigest {
  readonly version: FileVersion;
  readonly outcome: DigestOutcome | undefined;
  /** Called when the outcome comes; at most one listener for each caller. */
  onOutcome(listener: () => void): void;
}

export interface FileDigests {
  /**
   * Takes a descriptor of a file; undefined when it is none of a regular file. `look` is called before it may be closed.
   */
  of(fd: number, look?: (file: FileDigest) => void): FileDigest | undefined;
  readonly size: number;
}

export interface FileDigestsOptions {
  readonly libc: Libc;
  readonly queue: DigestQueue;
  readonly clock: Clock;
  readonly versionsMax?: number;
}

class Entry implements FileDigest {
  readonly version: FileVersion;
  outcome: DigestOutcome | undefined;
  #listeners: (() => void)[] = [];

  constructor(version: FileVersion) {
    this.version = version;
  }

  onOutcome(listener: () => void): void {
    this.#listeners.push(listener);
  }

  settle(outcome: DigestOutcome): void {
    this.outcome = outcome;
    for (const listener of this.#listeners.splice(0)) listener();
  }
}

export function createFileDigests(options: FileDigestsOptions): FileDigests {
  const { libc, queue, clock, versionsMax = VERSIONS_MAX } = options;
  const entries = new Map<string, Entry>();
  const statx = new Uint8Array(STATX_BYTES);
  const refused = (version: FileVersion, reason: MissingReason): FileDigest => {
    const entry = new Entry(version);
    entry.settle({ reason });
    return entry;
  };
  const remember = (entry: Entry): void => {
    entries.set(entry.version.key, entry);
    if (entries.size <= versionsMax) return;
    const [oldest] = entries.keys();
    if (oldest !== undefined) entries.delete(oldest);
  };
  return {
    of(fd, look) {
      const version = readFileVersion(libc, fd, statx);
      if (version === undefined || !version.isRegular) {
        libc.close(fd);
        return undefined;
      }
      const known = entries.get(version.key);
      if (known !== undefined) {
        look?.(known);
        libc.close(fd);
        entries.delete(version.key);
        entries.set(version.key, known);
        return known;
      }
      if (version.sizeBytes > FILE_BYTES_MAX || queue.isFull) {
        const reason = queue.isFull ? "rate" : "size";
        const entry = refused(version, reason);
        look?.(entry);
        libc.close(fd);
        return entry;
      }
      const entry = new Entry(version);
      remember(entry);
      look?.(entry);
      const isFresh = clock.nowUs() - version.ctimeUs < TICK_US;
      queue.submit(fd, version, (outcome) => {
        const isLasting = "sha256" in outcome && !outcome.isTouched && !isFresh;
        if (!isLasting) entries.delete(version.key);
        entry.settle(outcome);
      });
      return entry;
    },
    get size() {
      return entries.size;
    },
  };
}
