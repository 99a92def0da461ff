/**
 * Regular files that open(2) created are seen twice: by the kernel program of the file source, which knows the open
 * itself, and by fanotify, which knows the name. One create on the host is one event: the file source notes what it
 * reports, the filesystem source takes the note and stays silent.
 *
 * Invariant: each note silences at most one report. Bounded: a note is forgotten after one to two
 * {@link NOTE_LIFETIME_MS}, and beyond {@link NOTES_MAX} the oldest half goes (then a create may be told twice).
 */

/** Notes that no report has taken are of filesystems that fanotify does not watch. */
export const NOTE_LIFETIME_MS = 30_000;
export const NOTES_MAX = 100_000;

export interface CreatedFiles {
  /** The file source reports that an inode of a device (the kernel's `major << 20 | minor`) was created. */
  note(device: number, inode: number): void;
  /** The file source has noted every create that the kernel had reported by this time; undefined when it stops. */
  settle(us: number | undefined): void;
  /** Time given by the last {@link CreatedFiles.settle}; undefined while no file source runs. */
  readonly settledUs: number | undefined;
  /** Whether a create was noted; takes the note away. */
  take(device: number, inode: number): boolean;
}

export function createCreatedFiles(nowMs: () => number = Date.now): CreatedFiles {
  let young = new Map<string, number>();
  let old = new Map<string, number>();
  let turnedMs = nowMs();
  let settledUs: number | undefined;
  return {
    note(device, inode) {
      if (young.size >= NOTES_MAX / 2 || nowMs() - turnedMs >= NOTE_LIFETIME_MS) {
        old = young;
        young = new Map();
        turnedMs = nowMs();
      }
      const key = `${device}:${inode}`;
      young.set(key, (young.get(key) ?? 0) + 1);
    },
    settle(us) {
      settledUs = us;
    },
    get settledUs() {
      return settledUs;
    },
    take(device, inode) {
      const key = `${device}:${inode}`;
      return takeFrom(old, key) || takeFrom(young, key);
    },
  };
}

/** The kernel's number of a device written `major:minor`. */
export function deviceNumberOf(device: string): number {
  const [major = 0, minor = 0] = device.split(":").map(Number);
  return major * 2 ** 20 + minor;
}

function takeFrom(notes: Map<string, number>, key: string): boolean {
  const count = notes.get(key);
  if (count === undefined) return false;
  if (count === 1) notes.delete(key);
  else notes.set(key, count - 1);
  return true;
}
