/**
 * Compaction: small files become large, sorted ones, group by group, each with a commit of its own.
 *
 * Invariant: the table has the same rows before and after every commit. Roll-ups never stand in its way; when another
 * compaction, a retention or a hold took one of a group's files, the group's work is thrown away and planned anew.
 */
import { isFileHeld } from "../../storage/hold.ts";
import type { CommitResult, DataFile } from "../../storage/table.ts";
import { type MaintenanceContext, nowMsOf, readHolds, readTable } from "./context.ts";
import { type CompactionGroup, planCompaction } from "./plan-compaction.ts";
import { DamagedFileError, discardFile, rewriteFiles } from "./rewrite-files.ts";

export interface CompactionSummary {
  /** New files. */
  readonly filesAdded: number;
  readonly filesRemoved: number;
  readonly rows: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Groups whose work was thrown away because others changed their files. */
  readonly conflicts: number;
  /** Files that cannot be read as they were committed. */
  readonly damaged: readonly string[];
}

/** A run ends when others took its groups so often. */
export const COMPACTION_CONFLICTS_MAX = 8;
/** A run ends when the files of so many groups and one more could not be compacted. */
export const GROUP_FAILURES_MAX = 3;

export interface CompactOptions {
  /** Called before a group's work is committed, and again after every conflict. */
  readonly onGroup?: (group: CompactionGroup) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

/** What a run would do now, without the files of these paths. */
export async function findCompactions(
  context: MaintenanceContext,
  options: { readonly without?: ReadonlySet<string>; readonly signal?: AbortSignal | undefined } =
    {},
): Promise<readonly CompactionGroup[]> {
  const { without = new Set(), signal } = options;
  const { files } = await readTable(context, signal);
  const holds = await readHolds(context, signal);
  const candidates = [...files.values()].filter(({ path }) => !without.has(path));
  return planCompaction(candidates, { holds, nowMs: nowMsOf(context), sizes: context.sizes });
}

/**
 * Compacts until nothing is left to do. Throws what the store, the disk and DuckDB throw, after it has gone on with other
 * files; what is committed stays.
 */
export async function compactTable(
  context: MaintenanceContext,
  options: CompactOptions = {},
): Promise<CompactionSummary> {
  const { log } = context;
  const { signal } = options;
  const sum = { filesAdded: 0, filesRemoved: 0, rows: 0, bytesBefore: 0, bytesAfter: 0 };
  const damaged = new Set<string>();
  /** Files that are not taken again. */
  const left = new Set<string>();
  const failures: unknown[] = [];
  let conflicts = 0;
  while (conflicts <= COMPACTION_CONFLICTS_MAX) {
    const [group] = await findCompactions(context, { without: left, signal });
    if (group === undefined) break;
    try {
      const { result, file } = await compactGroup(context, group, options);
      if (result.kind === "superseded" || file === undefined) {
        conflicts += 1;
        log.info("others changed the files that were compacted", { date: group.eventDate });
        continue;
      }
      const bytesBefore = group.files.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
      sum.filesAdded += 1;
      sum.filesRemoved += group.files.length;
      sum.rows += file.rows;
      sum.bytesBefore += bytesBefore;
      sum.bytesAfter += file.sizeBytes;
      log.info("compacted", {
        date: group.eventDate,
        version: result.version,
        files: group.files.length,
        rows: file.rows,
        bytesBefore,
        bytesAfter: file.sizeBytes,
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof DamagedFileError)) {
        // What cannot be done with the files of one day must not keep the others from it.
        failures.push(error);
        if (failures.length > GROUP_FAILURES_MAX) break;
        log.error("files cannot be compacted", { date: group.eventDate, error: String(error) });
        for (const { path } of group.files) left.add(path);
        continue;
      }
      const { files } = await readTable(context, signal);
      if (error.paths.some((path) => !files.has(path))) {
        // Removed meanwhile, and perhaps vacuumed: not damaged.
        conflicts += 1;
        continue;
      }
      log.error("a data file is damaged and stays as it is", { error: error.message });
      for (const path of error.paths) {
        damaged.add(path);
        left.add(path);
      }
    }
  }
  if (failures.length > 0) throw failures[0];
  return { ...sum, conflicts, damaged: [...damaged] };
}

async function compactGroup(
  context: MaintenanceContext,
  group: CompactionGroup,
  { onGroup, signal }: CompactOptions,
): Promise<{ readonly result: CommitResult; readonly file: DataFile | undefined }> {
  const { files } = group;
  await onGroup?.(group);
  const notAfterMs = nowMsOf(context) + context.reuseAgeMaxMs;
  const { file } = await rewriteFiles(context, { files, where: undefined, signal });
  if (file === undefined) return { result: { kind: "superseded" }, file };
  const result = await context.table.replace({
    operation: "OPTIMIZE",
    isDataChange: false,
    removed: files,
    added: [file],
    notAfterMs,
    detail: { kind: "compact", rows: file.rows, files: files.length },
    confirm: async () => {
      const holds = await readHolds(context, signal);
      return !files.some((each) => isFileHeld(each, holds));
    },
  }, signal);
  if (result.kind === "superseded") await discardFile(context, file);
  return { result, file };
}
