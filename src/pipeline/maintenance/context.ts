/** What all that keeps the table in order needs: the bucket, the table in it, the holds, and a DuckDB of its own. */
import type { Clock } from "../../runtime/clock.ts";
import { systemClock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { REUSE_AGE_MAX_MS } from "../../storage/content-object.ts";
import { openMaintainedTable } from "../../storage/delta-table.ts";
import { type Database, openDatabase } from "../../storage/duckdb.ts";
import { type Hold, openHolds } from "../../storage/hold.ts";
import type { ObjectStore } from "../../storage/object-store.ts";
import type { Registry } from "../../storage/registry.ts";
import type { MaintainedTable, TableSnapshot } from "../../storage/table.ts";
import { openScratch, type Scratch } from "../scratch.ts";
import { COMPACTION_SIZES, type CompactionSizes } from "./plan-compaction.ts";

export interface MaintenanceOptions {
  /** The bucket; stays the caller's to close. */
  readonly store: ObjectStore;
  /** Folder for files on their way, up to three times the largest; need not outlive the process. */
  readonly scratchDirectory: string;
  /** Bound of DuckDB's memory; 256 MiB by default. */
  readonly memoryLimitBytes?: number;
  /** Threads of DuckDB; 1 by default, since roll-ups go on meanwhile. */
  readonly threads?: number;
  /** Sizes of files that a compaction makes; {@link COMPACTION_SIZES} by default. */
  readonly sizes?: CompactionSizes;
  readonly clock?: Clock;
  /** How long a day is, in milliseconds; a real one by default. Trials have shorter ones. */
  readonly dayMs?: number;
  /** {@link REUSE_AGE_MAX_MS} by default; what the roll-ups have. */
  readonly reuseAgeMaxMs?: number | undefined;
  readonly log: Log;
}

export interface MaintenanceContext extends AsyncDisposable {
  readonly store: ObjectStore;
  readonly table: MaintainedTable;
  readonly holds: Registry<Hold>;
  readonly scratch: Scratch;
  /** Opened when it is first asked for. */
  database(): Promise<Database>;
  /** Closes DuckDB, whose memory others can use, until it is asked for again; not while a connection is open. */
  rest(): Promise<void>;
  readonly memoryLimitBytes: number;
  readonly threads: number;
  readonly sizes: CompactionSizes;
  readonly clock: Clock;
  /** The unit of retention, and of what is done daily. */
  readonly dayMs: number;
  /** Work is committed at most so long after it was begun; half of the least grace. */
  readonly reuseAgeMaxMs: number;
  readonly log: Log;
}

export const DAY_MS = 86_400_000;
export const DEFAULT_MAINTENANCE_MEMORY_BYTES = 256 * 1024 * 1024;
const SPILL_BYTES_MAX = 8 * 1024 * 1024 * 1024;

export async function openMaintenanceContext(
  options: MaintenanceOptions,
): Promise<MaintenanceContext> {
  const { store, scratchDirectory, clock = systemClock, log, threads = 1 } = options;
  const { dayMs = DAY_MS, reuseAgeMaxMs = REUSE_AGE_MAX_MS } = options;
  const { memoryLimitBytes = DEFAULT_MAINTENANCE_MEMORY_BYTES, sizes = COMPACTION_SIZES } = options;
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await openScratch(scratchDirectory));
  let opening: Promise<Database> | undefined;
  const rest = async (): Promise<void> => {
    const [opened] = await Promise.allSettled([opening]);
    opening = undefined;
    if (opened?.status === "fulfilled") await opened.value?.[Symbol.asyncDispose]();
  };
  stack.defer(rest);
  const resources = stack.move();
  return {
    store,
    table: openMaintainedTable({ store, clock, log }),
    holds: openHolds(store),
    scratch,
    database: () =>
      opening ??= openDatabase({
        memoryLimitBytes,
        threads,
        tempDirectory: `${scratch.path}/spill`,
        tempLimitBytes: SPILL_BYTES_MAX,
      }),
    rest,
    memoryLimitBytes,
    threads,
    sizes,
    clock,
    dayMs,
    reuseAgeMaxMs,
    log,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** The holds that stand now. Throws when one of them cannot be read: what it holds is then unknown. */
export async function readHolds(
  { holds }: MaintenanceContext,
  signal?: AbortSignal,
): Promise<readonly Hold[]> {
  const entries = await holds.list(signal === undefined ? {} : { signal });
  return entries.map(({ value }) => value);
}

/** The newest snapshot of a table whose files may be changed. Throws when a later version of the software owns it. */
export async function readTable(
  { table, store }: MaintenanceContext,
  signal?: AbortSignal,
): Promise<TableSnapshot> {
  const snapshot = await table.refresh(signal);
  if (table.knowsAllColumns()) return snapshot;
  throw new Error(
    `Cannot change files of the table in ${store.url}: it has columns that this version of ` +
      `Probity does not know and would lose`,
  );
}

export function nowMsOf({ clock }: MaintenanceContext): number {
  return Math.floor(clock.nowUs() / 1000);
}
