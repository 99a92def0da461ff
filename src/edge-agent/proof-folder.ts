/**
 * Folders for proofs: what a source is to see needs a name. Where they may be, and what becomes of one whose agent was
 * killed while it proved.
 *
 * Invariant: what is removed is this user's own, has the name of such a folder and is older than any proof takes.
 */
import { lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** In order of preference; some filesystems hide inodes, names or programs from a proof. */
export const PROOF_PLACES: readonly string[] = [tmpdir(), "/run", "/dev/shm", "/var/tmp"];
const PREFIX = "probity-probe-";
/** The longest proof takes some seconds. */
export const PROOF_AGE_MAX_MS = 600_000;
/** Entries of a place that are looked at. */
const ENTRIES_MAX = 100_000;
/** Places that were looked through since this process began. */
const cleaned = new Set<string>();

/** A new folder that its maker removes, or undefined where none can be made. */
export function makeProofFolder(place: string): string | undefined {
  if (!cleaned.has(place)) removeAbandoned(place);
  cleaned.add(place);
  try {
    return mkdtempSync(join(place, PREFIX));
  } catch (error) {
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

/** The same in the first place alone. Throws when none can be made there. */
export function requireProofFolder(): string {
  const [place = tmpdir()] = PROOF_PLACES;
  const folder = makeProofFolder(place);
  if (folder === undefined) throw new Error(`Cannot make a folder for a proof: not in "${place}"`);
  return folder;
}

/** Removes folders of proofs that were not ended; one that cannot be removed stays. */
export function removeAbandoned(place: string): void {
  for (const path of entriesOf(place)) {
    try {
      const { uid, mtimeMs } = lstatSync(path);
      const isAbandoned = uid === process.getuid?.() && Date.now() - mtimeMs > PROOF_AGE_MAX_MS;
      if (isAbandoned) rmSync(path, { recursive: true, force: true });
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error; // Another agent was there first.
    }
  }
}

function entriesOf(place: string): readonly string[] {
  try {
    return readdirSync(place).slice(0, ENTRIES_MAX).filter((name) => name.startsWith(PREFIX))
      .map((name) => join(place, name));
  } catch (error) {
    if (error instanceof Error && "code" in error) return [];
    throw error;
  }
}
