/**
 * Regular files that open(2) created are seen twice: by the kernel program of the file source, which knows the open
 * itself, and by fanotify, which knows the name. One create on the host is one event: the file source notes what it
 * reports, the filesystem source takes the note and stays silent.
 *
 * Invariant: each note silences at most one report. Bounded: a note is forgotten after one to two
 * {@link NOTE_LIFETIME_MS}, and beyond {@link NOTES_MAX} the oldest half goes (then a create may be told twice).
 */

/**
 * Notes that no report has taken are of filesystems that fanotify does not watch, or of a storm of names on a busy host:
 * reports were read up to 95 s late there.
 */
export const NOTE_LIFETIME_MS = 120_000;
export const NOTES_MAX = 100_000;

export interface CreatedFiles {
  /** The file source reports that a file was created. */
  note(file: CreatedFile): void;
  /**
   * The file source has noted every create that the kernel had reported by this time of `Clock.elapsedMs` (0: it runs,
   * and has noted none). A source that stops leaves it: the rest is in its ring, and told by the next one. Infinity
   * stays, whatever is said later: the source is off, and nobody is to wait for one that is still ending.
   */
  settle(ms: number): void;
  /** Time given by the last {@link CreatedFiles.settle}; undefined where no file source is. */
  readonly settledMs: number | undefined;
  /** Whether a create was noted; takes the note away. Without a generation, any of the inode number's counts. */
  take(
    file: Omit<CreatedFile, "generation"> & { readonly generation: number | undefined },
  ): boolean;
}

/** Identity of a file: an inode number is used again, but with another generation. */
export interface CreatedFile {
  /** The kernel's `major << 20 | minor`. */
  readonly device: number;
  readonly inode: number;
  /** 0 on overlays, whose inodes bear the numbers of those on the filesystem below, but no generations. */
  readonly generation: number;
  /** Who created it: what an overlay and the filesystem below it agree on. */
  readonly pid: number;
}

export function createCreatedFiles(nowMs: () => number = () => performance.now()): CreatedFiles {
  /** Generations noted, by device and inode, or by process and inode when there is no generation. */
  let young = new Map<string, number[]>();
  let old = new Map<string, number[]>();
  let youngCount = 0;
  let turnedMs = nowMs();
  let settledMs: number | undefined;
  return {
    note({ device, inode, generation, pid }) {
      if (youngCount >= NOTES_MAX / 2 || nowMs() - turnedMs >= NOTE_LIFETIME_MS) {
        old = young;
        young = new Map();
        youngCount = 0;
        turnedMs = nowMs();
      }
      const key = generation === 0 ? `process ${pid}:${inode}` : `${device}:${inode}`;
      const generations = young.get(key);
      if (generations === undefined) young.set(key, [generation]);
      else generations.push(generation);
      youngCount += 1;
    },
    settle(ms) {
      if (settledMs !== Infinity) settledMs = ms;
    },
    get settledMs() {
      return settledMs;
    },
    take({ device, inode, generation, pid }) {
      const key = `${device}:${inode}`;
      const overlayKey = `process ${pid}:${inode}`;
      return takeFrom(old, key, generation) || takeFrom(young, key, generation) ||
        takeFrom(old, overlayKey, 0) || takeFrom(young, overlayKey, 0);
    },
  };
}

/** The kernel's number of a device written `major:minor`. */
export function deviceNumberOf(device: string): number {
  const [major = 0, minor = 0] = device.split(":").map(Number);
  return major * 2 ** 20 + minor;
}

function takeFrom(
  notes: Map<string, number[]>,
  key: string,
  generation: number | undefined,
): boolean {
  const generations = notes.get(key);
  if (generations === undefined) return false;
  const place = generation === undefined ? 0 : generations.indexOf(generation);
  if (place === -1) return false;
  generations.splice(place, 1);
  if (generations.length === 0) notes.delete(key);
  return true;
}
