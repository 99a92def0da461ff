/**
 * Retention: rows past their time leave the table. Files of which nothing stays are taken out unread, others are written
 * anew without them.
 *
 * Invariant: no row leaves before its time, none of a file that a hold may speak of, and none from a file that is not
 * what was committed. What remains is proven to be the very rows that should.
 */
import { fingerprintRows, rowsOfFiles } from "../../storage/data-rows.ts";
import { isFileHeld } from "../../storage/hold.ts";
import type { DataFile } from "../../storage/table.ts";
import { type MaintenanceContext, nowMsOf, readHolds, readTable } from "./context.ts";
import {
  cutoffMs,
  type ExpiredFile,
  expiredFiles,
  type KeepRule,
  keptRows,
  type SettledRun,
} from "./retention-policy.ts";
import { encodeRemoval } from "../../storage/removal-record.ts";
import { DamagedFileError, discardFile, fetchSources, rewriteFiles } from "./rewrite-files.ts";
import { requireStoreClock } from "./store-clock.ts";

/** Files taken out by one commit. */
export const FILES_PER_COMMIT_MAX = 1_000;
/** A run leaves the rest to the next when others changed its files so often. */
export const RETENTION_CONFLICTS_MAX = 16;

export interface RetainOptions {
  readonly rules: readonly KeepRule[];
  /** What earlier runs by the same rules have settled. */
  readonly settled?: SettledRun | undefined;
  /** Called before each commit. */
  readonly onChange?: (files: readonly DataFile[]) => Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

export interface RetentionSummary {
  readonly filesRemoved: number;
  readonly filesRewritten: number;
  readonly rowsRemoved: number;
  readonly bytesRemoved: number;
  /** Files with rows past their time that a hold keeps. */
  readonly filesHeld: number;
  readonly conflicts: number;
  readonly damaged: readonly string[];
  /** For the next run; undefined when something is left that has to be looked at again. */
  readonly settled: SettledRun | undefined;
}

export interface ExpiredRows {
  readonly file: DataFile;
  readonly rows: number;
  readonly patterns: readonly string[];
  readonly isHeld: boolean;
}

/** What a run would remove now; reads the files of which only a part would go. */
export async function findExpired(
  context: MaintenanceContext,
  { rules, settled, signal }: RetainOptions,
): Promise<readonly ExpiredRows[]> {
  const { files } = await readTable(context, signal);
  const holds = await readHolds(context, signal);
  const { dayMs } = context;
  const found: ExpiredRows[] = [];
  const nowMs = nowMsOf(context);
  const addedAtMs = additionTimes(context);
  for (const each of expiredFiles(files.values(), { rules, settled, addedAtMs, nowMs, dayMs })) {
    const { file, due, isWhole } = each;
    const rows = isWhole ? file.rows : await countExpired(context, { ...each, rules, signal });
    if (rows === 0) continue;
    const patterns = due.map(({ pattern }) => pattern);
    found.push({ file, rows, patterns, isHeld: isFileHeld(file, holds) });
  }
  return found;
}

/** Removes all that is past its time. Throws what the store, the disk and DuckDB throw; what is committed stays. */
export async function retainTable(
  context: MaintenanceContext,
  options: RetainOptions,
): Promise<RetentionSummary> {
  const { rules, settled, signal } = options;
  const { dayMs } = context;
  const nowMs = nowMsOf(context);
  const cutoffs = rules.map((rule) => ({ ...rule, beforeMs: cutoffMs(rule, nowMs, { dayMs }) }));
  const run = new RetentionRun(context, { ...options, nowMs, cutoffs });
  let isClockProven = false;
  while (run.conflicts <= RETENTION_CONFLICTS_MAX) {
    const { files } = await readTable(context, signal);
    const holds = await readHolds(context, signal);
    const find = { rules, settled, addedAtMs: additionTimes(context), nowMs, dayMs };
    const expired = expiredFiles(files.values(), find);
    const free = expired.filter(({ file }) => !isFileHeld(file, holds) && !run.isDone(file));
    run.filesHeld = expired.filter(({ file }) => isFileHeld(file, holds)).length;
    const whole = free.filter(({ isWhole }) => isWhole).slice(0, FILES_PER_COMMIT_MAX);
    const [part] = free;
    if (part === undefined) return run.summary();
    if (!isClockProven) await requireStoreClock(context, signal);
    isClockProven = true;
    if (whole.length > 0) await run.remove(whole.map(({ file }) => file));
    else await run.rewrite(part);
  }
  return run.summary();
}

/** What stays of a file; undefined when nothing does. */
interface RewrittenFile {
  readonly added: DataFile | undefined;
  readonly notAfterMs: number;
}

interface RunOptions extends RetainOptions {
  readonly nowMs: number;
  readonly cutoffs: readonly (KeepRule & { readonly beforeMs: number })[];
}

class RetentionRun {
  readonly #context: MaintenanceContext;
  readonly #options: RunOptions;
  /** Paths that were looked at and stay, and those that were made. */
  readonly #done = new Set<string>();
  readonly #damaged = new Set<string>();
  #filesRemoved = 0;
  #filesRewritten = 0;
  #rowsRemoved = 0;
  #bytesRemoved = 0;
  filesHeld = 0;
  conflicts = 0;

  constructor(context: MaintenanceContext, options: RunOptions) {
    this.#context = context;
    this.#options = options;
  }

  isDone({ path }: DataFile): boolean {
    return this.#done.has(path);
  }

  summary(): RetentionSummary {
    const isSettled = this.filesHeld === 0 && this.#damaged.size === 0 &&
      this.conflicts <= RETENTION_CONFLICTS_MAX;
    const { nowMs } = this.#options;
    const settled = this.#options.cutoffs.map(({ pattern, beforeMs }) => [pattern, beforeMs]);
    return {
      filesRemoved: this.#filesRemoved,
      filesRewritten: this.#filesRewritten,
      rowsRemoved: this.#rowsRemoved,
      bytesRemoved: this.#bytesRemoved,
      filesHeld: this.filesHeld,
      conflicts: this.conflicts,
      damaged: [...this.#damaged],
      settled: isSettled ? { atMs: nowMs, cutoffs: Object.fromEntries(settled) } : undefined,
    };
  }

  /** Takes whole files out of the table, unread. */
  async remove(files: readonly DataFile[]): Promise<void> {
    await this.#options.onChange?.(files);
    if (!await this.#commit(files)) return;
    const rows = files.reduce((sum, file) => sum + file.rows, 0);
    this.#filesRemoved += files.length;
    this.#rowsRemoved += rows;
    this.#bytesRemoved += files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    this.#context.log.info("rows past their time are removed", { files: files.length, rows });
  }

  /** Writes a file anew without the rows that leave. */
  async rewrite({ file, due }: ExpiredFile): Promise<void> {
    const { rules, signal, onChange } = this.#options;
    const where = keptRows(rules, due);
    const notAfterMs = nowMsOf(this.#context) + this.#context.reuseAgeMaxMs;
    try {
      const rewritten = await rewriteFiles(this.#context, { files: [file], where, signal });
      if (rewritten.rowsKept === file.rows) {
        this.#done.add(file.path);
        return;
      }
      await onChange?.([file]);
      if (!await this.#commit([file], { added: rewritten.file, notAfterMs })) {
        await discardFile(this.#context, rewritten.file);
        return;
      }
      if (rewritten.file !== undefined) this.#done.add(rewritten.file.path);
      const rows = file.rows - rewritten.rowsKept;
      this.#filesRewritten += 1;
      this.#rowsRemoved += rows;
      this.#bytesRemoved += file.sizeBytes - (rewritten.file?.sizeBytes ?? 0);
      this.#context.log.info("rows past their time are removed", { path: file.path, rows });
    } catch (error) {
      if (!(error instanceof DamagedFileError)) throw error;
      if (!(await readTable(this.#context, signal)).files.has(file.path)) {
        this.conflicts += 1;
        return;
      }
      this.#context.log.error("a data file is damaged and stays", { error: error.message });
      this.#damaged.add(file.path);
      this.#done.add(file.path);
    }
  }

  async #commit(
    removed: readonly DataFile[],
    { added, notAfterMs }: Partial<RewrittenFile> = {},
  ): Promise<boolean> {
    const { table } = this.#context;
    const { cutoffs, signal } = this.#options;
    const rows = removed.reduce((sum, file) => sum + file.rows, 0) - (added?.rows ?? 0);
    const result = await table.replace({
      operation: "DELETE",
      isDataChange: true,
      removed,
      added: added === undefined ? [] : [added],
      ...(notAfterMs === undefined ? {} : { notAfterMs }),
      detail: encodeRemoval({ rows, rules: cutoffs }),
      confirm: async () => {
        const holds = await readHolds(this.#context, signal);
        return !removed.some((file) => isFileHeld(file, holds));
      },
    }, signal);
    if (result.kind === "superseded") this.conflicts += 1;
    return result.kind === "committed";
  }
}

function additionTimes({ table }: MaintenanceContext): (file: DataFile) => number {
  return ({ path }) => table.addedAtMs(path) ?? Infinity;
}

async function countExpired(
  context: MaintenanceContext,
  { file, due, rules, signal }: ExpiredFile & Pick<RetainOptions, "rules" | "signal">,
): Promise<number> {
  await using folder = await context.scratch.openFolder();
  const sources = await fetchSources(context, [file], { folder: folder.path, signal });
  await using connection = await (await context.database()).connect();
  const from = `${rowsOfFiles(sources.map(({ path }) => path))} WHERE ${keptRows(rules, due)}`;
  return file.rows - (await fingerprintRows(connection, from, signal)).rows;
}
