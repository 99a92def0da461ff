/**
 * Which files each process has opened for execution lately, in order, and which of them an exec was of.
 *
 * Invariant: a file is taken for the image of an exec only when process and inode agree, and for its script only when
 * it was opened before the image in the same exec. Bounded by processes and by opens of each. Pure.
 */
import type { FileDigest } from "./file-digests.ts";

/** Processes and opens of one that are remembered; a script has at most five interpreters (fs/exec.c). */
export const PROCESSES_MAX = 4096;
const OPENS_MAX = 16;

export interface NotedOpen {
  readonly file: FileDigest;
  /** Name of the file where it was opened, without folders; undefined when it is known to be no script. */
  readonly name: string | undefined;
  /** Boot time at which the descriptor was looked at, ns. */
  readonly seenNs: number;
}

/** An image as its record names it. */
export interface Executed {
  readonly pid: number;
  /** `major:minor` of the kernel. */
  readonly device: string;
  readonly inodeLow: number;
  readonly inodeHigh: number;
  /** Boot time of the exec, ns. */
  readonly timeNs: number;
}

export interface ExecFiles {
  readonly image: FileDigest;
  /** Opened before the image in the same exec, first one first; with `isMerged`, others may be among them. */
  readonly before: readonly NotedOpen[];
  /** The kernel had merged the report of the image with that of an earlier exec. */
  readonly isMerged: boolean;
}

export interface ExecOpens {
  note(pid: number, open: NotedOpen): void;
  /** Finds the image of an exec; what it finds is not found for a later one, unless the kernel merged the two. */
  take(executed: Executed): ExecFiles | undefined;
}

interface Noted {
  opens: NotedOpen[];
  /** Up to where execs were found. */
  taken: number;
}

export function createExecOpens(): ExecOpens {
  const byPid = new Map<number, Noted>();
  return {
    note(pid, open) {
      const noted = byPid.get(pid) ?? { opens: [], taken: 0 };
      byPid.delete(pid);
      byPid.set(pid, noted);
      noted.opens.push(open);
      if (noted.opens.length > OPENS_MAX) {
        noted.opens.shift();
        noted.taken = Math.max(0, noted.taken - 1);
      }
      if (byPid.size <= PROCESSES_MAX) return;
      const [oldest] = byPid.keys();
      if (oldest !== undefined) byPid.delete(oldest);
    },
    take(executed) {
      const noted = byPid.get(executed.pid);
      if (noted === undefined) return undefined;
      const { opens, taken } = noted;
      const place = placeOf(noted, executed);
      const image = opens[place]?.file;
      if (image === undefined) return undefined;
      if (place < taken) return { image, before: opens.slice(taken), isMerged: true };
      noted.taken = place + 1;
      return { image, before: opens.slice(taken, place), isMerged: false };
    },
  };
}

/** The same device first; on overlay and btrfs the kernel's own number is another than that of the file. */
function placeOf({ opens, taken }: Noted, executed: Executed): number {
  for (const isSame of [isSameFile, isSameInode]) {
    for (let place = taken; place < opens.length; place += 1) {
      if (isSame(opens[place], executed)) return place;
    }
    // Equal reports that wait are merged: the earlier one stands for this exec, too, if it was read after it.
    for (let place = taken - 1; place >= 0; place -= 1) {
      const open = opens[place];
      if (isSame(open, executed) && open !== undefined && open.seenNs >= executed.timeNs) {
        return place;
      }
    }
  }
  return -1;
}

function isSameFile(open: NotedOpen | undefined, executed: Executed): boolean {
  return isSameInode(open, executed) && open?.file.version.device === executed.device;
}

function isSameInode(open: NotedOpen | undefined, { inodeLow, inodeHigh }: Executed): boolean {
  return open?.file.version.inodeLow === inodeLow && open.file.version.inodeHigh === inodeHigh;
}
