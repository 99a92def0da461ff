/**
 * Which files become one: small ones of a day, in order of time, into files of 128 to 512 MB, or one for a day that has
 * less.
 *
 * Invariant: every group has at least two files of one day, none of them held, so each step leaves the table with fewer
 * files and comes to an end. Of a day that still grows, a file is not written again before about a third of it is new.
 */
import { type Hold, isFileHeld } from "../../storage/hold.ts";
import { isCompactedPath } from "../../storage/layout.ts";
import type { DataFile } from "../../storage/table.ts";

/** What a compaction makes of files, in bytes. */
export interface CompactionSizes {
  /** Files of at least this size stay as they are. */
  readonly smallFileBytes: number;
  /** A group is full at so many bytes … */
  readonly groupBytes: number;
  /** … and takes what is left of the day up to so many. */
  readonly groupBytesMax: number;
}

/**
 * Rows take more room in small files than in a large one, the more so the smaller they are: a full group gives a file of
 * 128 to 512 MB whether its files are the roll-up's or large ones already.
 */
export const COMPACTION_SIZES: CompactionSizes = {
  smallFileBytes: 128_000_000,
  groupBytes: 384_000_000,
  groupBytesMax: 512_000_000,
};
/** Files of one group. */
export const GROUP_FILES_MAX = 2_000;
/** Of a day that still grows, so many small files are worth a new one. */
export const OPEN_DAY_FILES_MIN = 8;
/** A sorted file of such a day is written again with new ones of at least this part of its size. */
const NEW_PART_MIN = 1 / 3;
/** A day counts as growing until so long after its end. */
export const DAY_CLOSES_AFTER_MS = 6 * 3_600_000;
const DAY_MS = 86_400_000;

export interface CompactionGroup {
  readonly eventDate: string;
  /** In order of time. */
  readonly files: readonly DataFile[];
}

export interface PlanCompactionOptions {
  readonly holds: readonly Hold[];
  readonly nowMs: number;
  /** {@link COMPACTION_SIZES} by default. */
  readonly sizes?: CompactionSizes;
}

export function planCompaction(
  files: Iterable<DataFile>,
  { holds, nowMs, sizes = COMPACTION_SIZES }: PlanCompactionOptions,
): CompactionGroup[] {
  const days = new Map<string, DataFile[]>();
  for (const file of files) {
    if (file.sizeBytes >= sizes.smallFileBytes || isFileHeld(file, holds)) continue;
    const day = days.get(file.eventDate);
    if (day === undefined) days.set(file.eventDate, [file]);
    else day.push(file);
  }
  return [...days].toSorted(([a], [b]) => a < b ? -1 : 1).flatMap(([eventDate, small]) => {
    const isOpen = nowMs < Date.parse(`${eventDate}T00:00:00Z`) + DAY_MS + DAY_CLOSES_AFTER_MS;
    return groupsOf(isOpen ? worthwhile(small) : small, sizes).map((group) => ({
      eventDate,
      files: group,
    }));
  });
}

/** Of a day that still grows: what is new, and sorted files that are not much larger than it. */
function worthwhile(files: readonly DataFile[]): readonly DataFile[] {
  const isNew = ({ path }: DataFile): boolean => !isCompactedPath(path);
  let newBytes = files.filter(isNew).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const taken = files.filter(isNew);
  for (const file of files.filter((each) => !isNew(each)).toSorted(bySize)) {
    if (newBytes < file.sizeBytes * NEW_PART_MIN) break;
    taken.push(file);
    newBytes += file.sizeBytes;
  }
  return taken.length < OPEN_DAY_FILES_MIN ? [] : taken;
}

function groupsOf(files: readonly DataFile[], sizes: CompactionSizes): DataFile[][] {
  const groups: { readonly files: DataFile[]; bytes: number }[] = [];
  let open: { readonly files: DataFile[]; bytes: number } | undefined;
  for (const file of files.toSorted(byTime)) {
    if (open === undefined) {
      open = { files: [], bytes: 0 };
      groups.push(open);
    }
    open.files.push(file);
    open.bytes += file.sizeBytes;
    if (open.bytes >= sizes.groupBytes || open.files.length >= GROUP_FILES_MAX) open = undefined;
  }
  const [before, last] = groups.slice(-2);
  if (
    before !== undefined && last !== undefined && last.bytes < sizes.smallFileBytes &&
    before.bytes + last.bytes <= sizes.groupBytesMax &&
    before.files.length + last.files.length <= GROUP_FILES_MAX
  ) {
    before.files.push(...last.files);
    groups.pop();
  }
  return groups.map((group) => group.files).filter((group) => group.length > 1);
}

function bySize(a: DataFile, b: DataFile): number {
  return a.sizeBytes - b.sizeBytes;
}

function byTime(a: DataFile, b: DataFile): number {
  const [left, right] = [String(a.minimum["time"] ?? ""), String(b.minimum["time"] ?? "")];
  if (left !== right) return left < right ? -1 : 1;
  return a.path < b.path ? -1 : 1;
}
