/**
 * What each group of an imported file was, in its place: eight bytes of its SHA-256, so that a file that begins like an
 * imported one is told from it wherever it differs, and also when it is shorter.
 *
 * Invariants: only what is known to be in the record is compared; memory holds two blocks, however long the file is. What
 * cannot be noted is unknown later, and never taken for the same.
 */
import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
} from "node:fs";

/** Of one group, in bytes. */
export const GROUP_DIGEST_BYTES = 8;
/** Groups whose digests are read at once, and most that are noted before they are written. */
export const BLOCK_GROUPS = 8192;

/** `unknown`: whatever was imported in its place, nobody noted it. */
export type GroupMatch = "same" | "other" | "unknown";

export interface GroupDigests extends Disposable {
  /** Compares the file's next group with what was imported in its place, and notes one that is not known. */
  next(bytes: Uint8Array): GroupMatch;
  /** Writes what was noted, once the file is known to be the one that was imported. */
  keep(): void;
  sync(): void;
}

/** Of a file of which so many groups are in the record: what is noted of others was of events that did not last. */
export function openGroupDigests(path: string, groups: number): GroupDigests {
  const fd = openSync(path, "a+", 0o600);
  const known = Math.min(groups, Math.floor(fstatSync(fd).size / GROUP_DIGEST_BYTES));
  ftruncateSync(fd, known * GROUP_DIGEST_BYTES);
  const block = Buffer.alloc(BLOCK_GROUPS * GROUP_DIGEST_BYTES);
  let [place, blockPlace] = [0, -BLOCK_GROUPS];
  const noted = Buffer.alloc(block.length);
  let notedGroups = 0;
  let isNoting = true;
  const before = (): Buffer => {
    if (place >= blockPlace + BLOCK_GROUPS) {
      blockPlace = place;
      readSync(fd, block, 0, block.length, place * GROUP_DIGEST_BYTES);
    }
    const at = (place - blockPlace) * GROUP_DIGEST_BYTES;
    return block.subarray(at, at + GROUP_DIGEST_BYTES);
  };
  return {
    next(bytes) {
      const digest = createHash("sha256").update(bytes).digest().subarray(0, GROUP_DIGEST_BYTES);
      const match = place >= known ? "unknown" : before().equals(digest) ? "same" : "other";
      place += 1;
      if (match !== "unknown" || !isNoting) return match;
      // Places have no holes: what comes after one that was not noted is not noted either.
      isNoting = notedGroups < BLOCK_GROUPS;
      if (isNoting) digest.copy(noted, notedGroups++ * GROUP_DIGEST_BYTES);
      return match;
    },
    keep() {
      appendFileSync(fd, noted.subarray(0, notedGroups * GROUP_DIGEST_BYTES));
      notedGroups = 0;
    },
    sync: () => fsyncSync(fd),
    [Symbol.dispose]: () => closeSync(fd),
  };
}
