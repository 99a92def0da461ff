/**
 * Hashes files by their descriptors, one piece at a time, with a bound on bytes per second: the smallest rest first, so
 * that a large file delays none of the small ones.
 *
 * Invariants: a descriptor that was submitted is closed, whatever happens; a digest is told only when the file is after
 * the last piece what it was before the first. Reading is done by the runtime's threads: a slow disk stops nobody.
 */
import { createHash, type Hash } from "node:crypto";
import { type Libc, STATX_BYTES } from "../../../libc.ts";
import type { Clock } from "../../../../runtime/clock.ts";
import { type FileVersion, readFileVersion } from "./file-version.ts";

/** Files that wait or are being hashed, at most: each holds a descriptor, and its filesystem cannot be unmounted. */
export const JOBS_MAX = 512;
/** A file that was not read to its end after this time is given up. */
export const JOB_MS_MAX = 60_000;
/** A larger file is not hashed at all. */
export const FILE_BYTES_MAX = 2 * 1024 * 1024 * 1024;
const PIECE_BYTES_MAX = 256 * 1024;
const PIECE_BYTES_MIN = 4096;
/** Pieces in a second when the rate is low. */
const PIECES_PER_SECOND = 8;

/** Why there is no digest. */
export type MissingReason =
  /** The file was changed before or while it was read. */
  | "changed"
  /** It is larger than {@link FILE_BYTES_MAX}. */
  | "size"
  /** More was executed than the rate allows to read. */
  | "rate"
  | "unreadable"
  /** The process was gone before its image could be asked for. */
  | "gone"
  /** The image is on a filesystem that another machine or process serves. */
  | "remote"
  /** The image is on a filesystem that is mounted nowhere any more. */
  | "unmounted";

export type DigestOutcome =
  | { readonly sha256: string; readonly isScript: boolean; readonly isTouched: boolean }
  | { readonly reason: MissingReason };

export interface DigestQueue extends AsyncDisposable {
  /** Takes the descriptor over. `onDone` is called once, never within this call, and not after dispose. */
  submit(fd: number, version: FileVersion, onDone: (outcome: DigestOutcome) => void): void;
  readonly isFull: boolean;
}

export interface DigestQueueOptions {
  readonly libc: Libc;
  /** Above 0. */
  readonly bytesPerSecond: number;
  readonly clock: Clock;
}

interface Job {
  readonly fd: number;
  readonly version: FileVersion;
  readonly onDone: (outcome: DigestOutcome) => void;
  readonly hash: Hash;
  readonly sinceMs: number;
  readBytes: number;
  isScript: boolean;
}

export function createDigestQueue(options: DigestQueueOptions): DigestQueue {
  const { libc, bytesPerSecond, clock } = options;
  const jobs: Job[] = [];
  const ended = new AbortController();
  const pieceBytes = Math.min(
    PIECE_BYTES_MAX,
    Math.max(PIECE_BYTES_MIN, Math.ceil(bytesPerSecond / PIECES_PER_SECOND)),
  );
  const piece = Buffer.alloc(pieceBytes);
  const statx = new Uint8Array(STATX_BYTES);
  let allowance = bytesPerSecond;
  let refilledMs = clock.elapsedMs();
  let running: Promise<void> | undefined;

  const finish = (job: Job, outcome: DigestOutcome): void => {
    jobs.splice(jobs.indexOf(job), 1);
    libc.close(job.fd);
    if (!ended.signal.aborted) job.onDone(outcome);
  };
  const giveUpOld = (): void => {
    const nowMs = clock.elapsedMs();
    for (const job of [...jobs]) {
      if (nowMs - job.sinceMs > JOB_MS_MAX) finish(job, { reason: "rate" });
    }
  };
  /** Waits until a piece may be read; what a second allows may be saved up. */
  const allow = async (sizeBytes: number): Promise<void> => {
    const nowMs = clock.elapsedMs();
    allowance += (nowMs - refilledMs) / 1000 * bytesPerSecond;
    allowance = Math.min(allowance, bytesPerSecond);
    refilledMs = nowMs;
    if (allowance < sizeBytes) {
      await clock.sleep(Math.ceil((sizeBytes - allowance) / bytesPerSecond * 1000), ended.signal);
    }
    allowance -= sizeBytes;
  };
  const readPiece = async (job: Job): Promise<void> => {
    const restBytes = job.version.sizeBytes - job.readBytes;
    if (restBytes > 0) {
      const wanted = piece.subarray(0, Math.min(pieceBytes, restBytes));
      await allow(wanted.byteLength);
      const length = await libc.readAsync(job.fd, wanted);
      if (length < 0) return finish(job, { reason: "unreadable" });
      if (length === 0) return finish(job, { reason: "changed" });
      if (job.readBytes === 0) job.isScript = wanted[0] === 0x23 && wanted[1] === 0x21;
      job.hash.update(wanted.subarray(0, length));
      job.readBytes += length;
    }
    if (job.readBytes === job.version.sizeBytes) finish(job, outcomeOf(job));
  };
  const outcomeOf = (job: Job): DigestOutcome => {
    const { version } = job;
    const after = readFileVersion(libc, job.fd, statx);
    if (after?.mtimeUs !== version.mtimeUs || after.sizeBytes !== version.sizeBytes) {
      return { reason: "changed" };
    }
    // A name was removed, or an attribute changed: the content need not have been, but times can be set back.
    const isTouched = after.key !== version.key;
    return { sha256: job.hash.digest("hex"), isScript: job.isScript, isTouched };
  };
  const run = async (): Promise<void> => {
    try {
      while (!ended.signal.aborted) {
        giveUpOld();
        const job = smallestOf(jobs);
        if (job === undefined) return;
        try {
          await readPiece(job);
        } catch {
          if (!ended.signal.aborted) finish(job, { reason: "unreadable" });
        }
      }
    } finally {
      running = undefined;
    }
  };
  return {
    submit(fd, version, onDone) {
      const job: Job = {
        fd,
        version,
        onDone,
        hash: createHash("sha256"),
        sinceMs: clock.elapsedMs(),
        readBytes: 0,
        isScript: false,
      };
      jobs.push(job);
      // In a turn of its own: whoever submits has noted it first.
      running ??= Promise.resolve().then(run);
    },
    get isFull() {
      return jobs.length >= JOBS_MAX;
    },
    async [Symbol.asyncDispose]() {
      ended.abort(new Error("the queue was closed"));
      await running;
      for (const { fd } of jobs.splice(0)) libc.close(fd);
    },
  };
}

function smallestOf(jobs: readonly Job[]): Job | undefined {
  let found: Job | undefined;
  let leastBytes = Infinity;
  for (const job of jobs) {
    const restBytes = job.version.sizeBytes - job.readBytes;
    if (restBytes < leastBytes) [found, leastBytes] = [job, restBytes];
  }
  return found;
}
