/**
 * Maintenance by the clock, beside the roll-up: checkpoints, compaction, retention, vacuum, adoption, and the telling of
 * all that was done. Of several workers one does each at a time, by a claim in the bucket.
 *
 * Invariant: a claim only saves work: two that do the same at once are safe, since every change of the table is a
 * conditional commit. What fails is logged and tried again; nothing here stops the roll-up.
 */
import { randomUUID } from "node:crypto";
import type { Producer } from "../../producer/producer.ts";
import { outcomeOf } from "../../runtime/outcome.ts";
import { timeLimit } from "../../runtime/time-limit.ts";
import { hasRecords, tellRecords } from "../../storage/admin-record.ts";
import { isRecord } from "../../storage/json-text.ts";
import { createRegistry, type Registry } from "../../storage/registry.ts";
import { noteRemovals } from "../../storage/removals.ts";
import { type MaintenanceContext, nowMsOf } from "./context.ts";
import type { MaintenanceMetrics } from "./maintenance-metrics.ts";
import { compactAsAsked, retainAsAsked, vacuumAsAsked } from "./deeds.ts";
import type { KeepRule } from "./retention-policy.ts";
import { parseSettled, type Settled, settledBy } from "./settled.ts";

export interface ScheduleOptions {
  /** Time between two compactions; never when 0. */
  readonly compactMs: number;
  readonly retain: "daily" | "never";
  /** What is kept and how long; everything for ever when empty. */
  readonly rules: readonly KeepRule[];
  readonly vacuum: "daily" | "never";
  readonly graceMs: number;
  /** Who does all this, for the record. */
  readonly by: string;
  /** Tells of what was done; nothing is told, and the records stay, without one. */
  readonly producer?: Pick<Producer, "emit" | "flush"> | undefined;
  readonly metrics?: MaintenanceMetrics | undefined;
  /** Takes into the record what senders that are gone have left; nobody does without it. */
  readonly adopt?: ((signal: AbortSignal) => Promise<unknown>) | undefined;
}

type Task = "compact" | "retain" | "vacuum" | "adopt" | "tell";

/** What stands in the bucket for each task. */
interface TaskState {
  /** Who is at it, and until when others leave it to them. */
  readonly by: string;
  readonly untilMs: number;
  /** When it was done the last time; 0 for never. */
  readonly doneAtMs: number;
  /** Of retention. */
  readonly settled: Settled | undefined;
}

/** So often is looked at what is due. */
export const LOOK_INTERVAL_MS = 30_000;
/** A task is left to the worker that claimed it for so long. */
export const CLAIM_MS = 30 * 60_000;
const RETRY_MS = 5 * 60_000;
const TELL_INTERVAL_MS = 60_000;
/** What is told must be on the disk within so long. */
const TELL_LIMIT_MS = 10_000;
/** Versions whose entries are read for what left the table, at one look. */
const NOTED_MAX = 1_000;
const ADOPT_INTERVAL_MS = 60 * 60_000;

/** Looks again and again until the signal is aborted; resolves then. */
export async function runSchedule(
  context: MaintenanceContext,
  options: ScheduleOptions,
  signal: AbortSignal,
): Promise<void> {
  const worker = randomUUID();
  while (!signal.aborted) {
    // The signal ends the pause as well as the loop.
    const { lookMs } = pauses(context);
    await Promise.allSettled([context.clock.sleep(lookMs, signal)]);
    if (!signal.aborted) await doWhatIsDue(context, { ...options, worker }, signal);
  }
}

/** One look: does what is due, each task for itself. Never rejects. */
export async function doWhatIsDue(
  context: MaintenanceContext,
  options: ScheduleOptions & { readonly worker: string },
  signal: AbortSignal,
): Promise<void> {
  const { table, log, dayMs } = context;
  const { retryMs, tellMs } = pauses(context);
  const { by, compactMs, rules, graceMs, producer, worker } = options;
  const tasks = createRegistry({
    store: context.store,
    kind: "maintenance",
    parse: parseState,
    nowMs: () => nowMsOf(context),
  });
  const attempt = async (what: string, act: () => Promise<unknown>): Promise<void> => {
    try {
      if (!signal.aborted) await act();
    } catch (error) {
      if (!signal.aborted) log.error(`cannot ${what} the table now`, { error: String(error) });
    }
  };
  const whenDue = (
    task: Task,
    intervalMs: number,
    act: (state: TaskState) => Promise<Partial<TaskState> | void>,
  ): Promise<void> =>
    attempt(task, async () => {
      const claimed = await claim(context, { tasks, task, intervalMs, worker });
      if (claimed === undefined) return;
      const startedMs = performance.now();
      let isDone = false;
      // One that fails is tried again sooner, by whoever comes first.
      let doneAtMs = nowMsOf(context) - intervalMs + Math.min(intervalMs, retryMs);
      let result: Partial<TaskState> | void = undefined;
      try {
        result = await act(claimed);
        doneAtMs = nowMsOf(context);
        isDone = true;
      } finally {
        options.metrics?.ran(task, { isDone, seconds: (performance.now() - startedMs) / 1000 });
        await tasks.change(task, (standing) =>
          standing?.by === worker
            ? { ...standing, ...result, by: "", untilMs: 0, doneAtMs }
            : undefined);
      }
    });
  await attempt("note what left", async () => {
    const { version: upTo } = await table.refresh(signal);
    if (upTo >= 0) await noteRemovals(context.store, { upTo, entriesMax: NOTED_MAX, signal });
  });
  await attempt("write a checkpoint of", async () => {
    if ((await table.refresh(signal)).version >= 0) await table.checkpoint(signal);
  });
  if (table.current().version < 0) return;
  if (compactMs > 0) {
    await whenDue("compact", compactMs, async () => {
      await compactAsAsked(context, { by, signal });
    });
  }
  if (options.retain === "daily" && rules.length > 0) {
    await whenDue("retain", dayMs, async ({ settled }) => {
      const done = await retainAsAsked(context, {
        ...{ by, rules, signal },
        ...(settled === undefined ? {} : { settled }),
      });
      return done.settled === undefined ? {} : { settled: settledBy(rules, done.settled) };
    });
  }
  if (options.vacuum === "daily") {
    await whenDue("vacuum", dayMs, async () => {
      await vacuumAsAsked(context, { by, graceMs, signal });
    });
  }
  const { adopt } = options;
  if (adopt !== undefined) {
    await whenDue("adopt", ADOPT_INTERVAL_MS, async () => {
      await adopt(signal);
    });
  }
  if (producer !== undefined && await hasRecords(context, signal)) {
    await whenDue("tell", tellMs, async () => {
      await tellRecords(context, async (event) => {
        producer.emit(event);
        // A spool whose disk takes nothing holds up neither the other tasks nor the end.
        const limit = AbortSignal.any([signal, timeLimit(TELL_LIMIT_MS)]);
        const flushed = await outcomeOf(producer.flush(), limit);
        if (flushed instanceof Error) throw flushed;
      }, signal);
    });
  }
  await context.rest();
}

/** How long is waited for what, in a trial whose days are short, too. */
function pauses({ dayMs }: MaintenanceContext) {
  return {
    lookMs: Math.min(LOOK_INTERVAL_MS, dayMs / 10),
    retryMs: Math.min(RETRY_MS, dayMs / 10),
    tellMs: Math.min(TELL_INTERVAL_MS, dayMs / 2),
    claimMs: Math.min(CLAIM_MS, dayMs),
  };
}

/** Takes a task that is due and nobody is at; undefined when it is not. */
async function claim(
  context: MaintenanceContext,
  { tasks, task, intervalMs, worker }: {
    readonly tasks: Registry<TaskState>;
    readonly task: Task;
    readonly intervalMs: number;
    readonly worker: string;
  },
): Promise<TaskState | undefined> {
  const nowMs = nowMsOf(context);
  const { claimMs } = pauses(context);
  let claimed: TaskState | undefined;
  await tasks.change(task, (standing) => {
    const state = standing ?? { by: "", untilMs: 0, doneAtMs: 0, settled: undefined };
    // A claim that ends later than one of now would is by a wrong clock.
    const isTaken = state.by !== worker && state.untilMs > nowMs &&
      state.untilMs <= nowMs + claimMs;
    const isDue = nowMs - state.doneAtMs >= intervalMs || state.doneAtMs > nowMs;
    claimed = isTaken || !isDue ? undefined : { ...state, by: worker, untilMs: nowMs + claimMs };
    return claimed;
  });
  return claimed;
}

function parseState(value: unknown): TaskState {
  if (!isRecord(value)) throw new SyntaxError("it is no object");
  const { by, untilMs, doneAtMs, settled } = value;
  if (typeof by !== "string" || typeof untilMs !== "number" || typeof doneAtMs !== "number") {
    throw new SyntaxError(`"by", "untilMs" or "doneAtMs" is missing`);
  }
  return { by, untilMs, doneAtMs, settled: parseSettled(settled) };
}
