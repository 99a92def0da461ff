/**
 * The schedule of maintenance beside a roll-up, and the producer that tells of what was done.
 *
 * Invariant: once it is open, the roll-up goes on whatever becomes of this.
 */
import { hostname } from "node:os";
import { join } from "node:path";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import { timeLimit } from "../runtime/time-limit.ts";
import type { Producer } from "../producer/producer.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { keepRulesOf } from "./keep-rules.ts";
import type { NatsAccess } from "./nats-access.ts";
import type { MAINTENANCE_OPTIONS, Values } from "./options.ts";
import type { DataFolder } from "./up/data-folder.ts";

/** How long an adoption waits for the broker, in milliseconds; it is tried again. */
const CONNECT_LIMIT_MS = 30_000;

export interface RollupMaintenanceOptions {
  readonly store: ObjectStore;
  readonly settings: Values<typeof MAINTENANCE_OPTIONS>;
  /** How long a day is, in milliseconds; the times of `settings` and `keep` are shortened alike. */
  readonly dayMs: number;
  /** As the roll-ups have it. */
  readonly reuseAgeMaxMs: number | undefined;
  /** `[maintenance] keep`. */
  readonly keep: Readonly<Record<string, string>>;
  readonly folder: DataFolder;
  readonly nats: NatsAccess;
  /** Shard of its own events. */
  readonly shard: string;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface RollupMaintenance extends AsyncDisposable {
  /** Until the signal is aborted. Never rejects. */
  run(signal: AbortSignal): Promise<void>;
}

export async function openRollupMaintenance(
  options: RollupMaintenanceOptions,
): Promise<RollupMaintenance> {
  const { store, settings, folder, nats, dayMs, reuseAgeMaxMs, log } = options;
  const { DAY_MS, openMaintenanceContext } = await import("../pipeline/maintenance/context.ts");
  const { runSchedule } = await import("../pipeline/maintenance/schedule.ts");
  const { adoptAll } = await import("../pipeline/adopt-all.ts");
  const { connectNats } = await import("../runtime/nats.ts");
  const { createMaintenanceMetrics } = await import(
    "../pipeline/maintenance/maintenance-metrics.ts"
  );
  const speed = DAY_MS / dayMs;
  const rules = keepRulesOf(options.keep).map((rule) => ({ ...rule, keepMs: rule.keepMs / speed }));
  const schedule = {
    ...settings,
    compactMs: settings.compactMs / speed,
    graceMs: settings.graceMs / speed,
    rules,
    by: `rollup@${hostname()}`,
  };
  await using stack = new AsyncDisposableStack();
  const context = stack.use(
    await openMaintenanceContext({
      store,
      scratchDirectory: join(folder.cache, "maintenance"),
      dayMs,
      reuseAgeMaxMs,
      log: log.with({ task: "maintenance" }),
    }),
  );
  const metrics = createMaintenanceMetrics({
    metrics: options.metrics,
    nowUs: () => context.clock.nowUs(),
    current: () => context.table.current(),
  });
  const producer = await openTeller(options);
  if (producer !== undefined) stack.use(producer);
  const resources = stack.move();
  return {
    run: (signal) => {
      const adopt = (ending: AbortSignal) =>
        adoptAll(context, {
          by: schedule.by,
          isDryRun: false,
          connect: () =>
            connectNats({
              ...{ ...nats, name: "probity adoption", log },
              signal: AbortSignal.any([ending, timeLimit(CONNECT_LIMIT_MS)]),
            }),
          signal: ending,
        });
      return runSchedule(context, { ...schedule, producer, metrics, adopt }, signal);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

/** Undefined when another roll-up of this data folder tells already. */
async function openTeller(
  { folder, nats, shard, log, metrics }: RollupMaintenanceOptions,
): Promise<Producer | undefined> {
  const { openProducer } = await import("../producer/open-producer.ts");
  const host = hostname();
  const directory = folder.spool("rollup");
  try {
    return await openProducer({ directory, host, shard, nats, log, metrics });
  } catch (error) {
    log.warn("another process tells of maintenance, or nobody does", { error: String(error) });
    return undefined;
  }
}
