import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { MaintenanceContext } from "../../../src/pipeline/maintenance/context.ts";
import { createMaintenanceMetrics } from "../../../src/pipeline/maintenance/maintenance-metrics.ts";
import { parseKeepRules } from "../../../src/pipeline/maintenance/retention-policy.ts";
import {
  doWhatIsDue,
  runSchedule,
  type ScheduleOptions,
} from "../../../src/pipeline/maintenance/schedule.ts";
import { DEFAULT_GRACE_MS } from "../../../src/pipeline/maintenance/vacuum.ts";
import { openProducer } from "../../../src/producer/open-producer.ts";
import { systemClock } from "../../../src/runtime/clock.ts";
import { createLog } from "../../../src/runtime/log.ts";
import { createMetrics } from "../../../src/runtime/metrics.ts";
import { hasRecords } from "../../../src/storage/admin-record.ts";
import { CHECKPOINT_VERSIONS_MIN } from "../../../src/storage/delta-checkpoint-write.ts";
import { LAST_CHECKPOINT_KEY, registryKey } from "../../../src/storage/layout.ts";
import { clockAt, type DataTable, openDataTable, quietLog } from "../../support/data-table.ts";
import { openTemporaryFolder } from "../../support/temporary-folder.ts";

const DAY = 86_400_000;
const OPTIONS: ScheduleOptions & { readonly worker: string } = {
  compactMs: 15 * 60_000,
  retain: "daily",
  rules: parseKeepRules({ "**": 5 * DAY }),
  vacuum: "daily",
  graceMs: DEFAULT_GRACE_MS,
  by: "rollup@test",
  worker: "a",
};
const never = new AbortController().signal;

let data: DataTable;
let context: MaintenanceContext;
let startMs: number;
let offsetMs: number;
let errors: string[];
beforeEach(async () => {
  data = await openDataTable();
  offsetMs = 0;
  errors = [];
  const start = clockAt("2026-03-05T12:00:00Z");
  startMs = Date.parse("2026-03-05T12:00:00Z");
  context = await data.context({
    clock: { ...systemClock, nowUs: () => start.nowUs() + offsetMs * 1000 },
    log: createLog({ level: "error", write: (line) => void errors.push(line) }),
  });
});
afterEach(async () => {
  await context[Symbol.asyncDispose]();
  await data[Symbol.asyncDispose]();
});

async function addRounds(day: string, count = 2): Promise<void> {
  for (let round = 0; round < count; round++) {
    await data.addRound({ rows: 10, start: `${day}T1${round}:00:00Z` });
  }
}

const filesOf = async (day: string): Promise<number> =>
  [...(await data.snapshot()).files.values()].filter(({ eventDate }) => eventDate === day).length;

describe("the schedule", () => {
  test("does each task when it is due, and not before", async () => {
    await addRounds("2026-03-02");
    await doWhatIsDue(context, OPTIONS, never);
    expect(await filesOf("2026-03-02")).toBe(1);
    await addRounds("2026-03-03");
    offsetMs = 14 * 60_000;
    await doWhatIsDue(context, OPTIONS, never);
    expect(await filesOf("2026-03-03")).toBe(2);
    offsetMs = 16 * 60_000;
    await doWhatIsDue(context, OPTIONS, never);
    expect(await filesOf("2026-03-03")).toBe(1);
    offsetMs = 4 * DAY;
    await doWhatIsDue(context, OPTIONS, never);
    expect(await filesOf("2026-03-02")).toBe(0);
    expect(await filesOf("2026-03-03")).toBe(0);
    expect(errors).toEqual([]);
  });

  test("has days as short as it is told", async () => {
    const minute = 60_000;
    await using hasty = await data.context({
      clock: context.clock,
      dayMs: minute,
      reuseAgeMaxMs: minute / 2,
    });
    const rules = OPTIONS.rules.map((rule) => ({ ...rule, keepMs: minute }));
    const rowsAfter = async (offset: number): Promise<number> => {
      offsetMs = offset;
      await doWhatIsDue(hasty, { ...OPTIONS, rules, compactMs: 0, graceMs: minute }, never);
      return [...(await data.snapshot()).files.values()].reduce((sum, { rows }) => sum + rows, 0);
    };
    await data.addRound({ rows: 10, start: "2026-03-05T11:57:00Z" });
    expect(await rowsAfter(0)).toBe(0);
    await data.addRound({ rows: 10, start: "2026-03-05T11:59:10Z" });
    expect(await rowsAfter(50_000)).toBe(10);
    expect(await rowsAfter(90_000)).toBe(0);
    expect(errors).toEqual([]);
  });

  test("deletes after the grace what was compacted", async () => {
    await addRounds("2026-03-02");
    const rules = { ...OPTIONS, rules: [] };
    await doWhatIsDue(context, rules, never);
    const count = async () => {
      let objects = 0;
      for await (const _ of data.store.list("table/event_date=")) objects += 1;
      return objects;
    };
    expect(await count()).toBe(3);
    // Objects are as old as the disk says.
    offsetMs = Date.now() - startMs + DEFAULT_GRACE_MS + DAY;
    await doWhatIsDue(context, rules, never);
    expect(await count()).toBe(1);
  });

  test("leaves a task to the worker that claimed it, for a while", async () => {
    await addRounds("2026-03-02");
    const claim = { by: "b", untilMs: startMs + 60_000, doneAtMs: 0 };
    const content = { mark: "1", past: [], at: "2026-03-05T00:00:00Z", value: claim };
    await data.store.put(
      registryKey("maintenance", "compact"),
      Buffer.from(JSON.stringify(content)),
    );
    await doWhatIsDue(context, OPTIONS, never);
    expect(await filesOf("2026-03-02")).toBe(2);
    offsetMs = 61_000;
    await doWhatIsDue(context, OPTIONS, never);
    expect(await filesOf("2026-03-02")).toBe(1);
  });

  test("does not believe a claim that a wrong clock made", async () => {
    await addRounds("2026-03-02");
    const claim = { by: "b", untilMs: startMs + 365 * DAY, doneAtMs: 0 };
    const content = { mark: "1", past: [], at: "2026-03-05T00:00:00Z", value: claim };
    await data.store.put(
      registryKey("maintenance", "compact"),
      Buffer.from(JSON.stringify(content)),
    );
    await doWhatIsDue(context, OPTIONS, never);
    expect(await filesOf("2026-03-02")).toBe(1);
  });

  test("ends when it is told to, whatever the disk of its teller does", async () => {
    await addRounds("2026-03-02");
    const stuck = { emit: () => undefined, flush: () => new Promise<void>(() => undefined) };
    const stop = new AbortController();
    const telling = doWhatIsDue(context, { ...OPTIONS, producer: stuck }, stop.signal);
    await expect.poll(() => filesOf("2026-03-02"), { timeout: 10_000 }).toBe(1);
    stop.abort();
    await telling;
    expect(await hasRecords(context)).toBe(true);
  });

  test("adopts once an hour, and goes on when that fails", async () => {
    await addRounds("2026-03-02");
    let times = 0;
    const adopt = () => {
      times += 1;
      return Promise.reject(new Error("no broker"));
    };
    for (const minutes of [0, 1, 6, 66]) {
      offsetMs = minutes * 60_000;
      await doWhatIsDue(context, { ...OPTIONS, adopt }, never);
    }
    expect(times).toBe(3);
    expect(errors).toHaveLength(3);
    expect(await filesOf("2026-03-02")).toBe(1);
  });

  test("does nothing that is turned off", async () => {
    await addRounds("2026-02-02");
    const off = { ...OPTIONS, compactMs: 0, retain: "never", vacuum: "never" } as const;
    await doWhatIsDue(context, off, never);
    expect(await filesOf("2026-02-02")).toBe(2);
    await doWhatIsDue(context, { ...OPTIONS, compactMs: 0, rules: [] }, never);
    expect(await filesOf("2026-02-02")).toBe(2);
  });

  test("writes checkpoints", async () => {
    for (let round = 0; round < CHECKPOINT_VERSIONS_MIN; round++) {
      await data.addRound({ rows: 1, start: "2026-03-05T10:00:00Z" });
    }
    await doWhatIsDue(context, { ...OPTIONS, compactMs: 0 }, never);
    expect(await data.store.get(LAST_CHECKPOINT_KEY)).toBeDefined();
  });

  test("counts what it did, what failed, and how large the table is", async () => {
    await addRounds("2026-03-02");
    await data.store.put("registry/holds/unreadable", Buffer.from("{"));
    const all = createMetrics();
    const metrics = createMaintenanceMetrics({
      metrics: all,
      nowUs: () => context.clock.nowUs(),
      current: () => context.table.current(),
    });
    await doWhatIsDue(context, { ...OPTIONS, metrics, rules: [], vacuum: "never" }, never);
    expect(await all.text()).toContain(
      'probity_maintenance_runs_total{task="compact",outcome="failed"} 1',
    );
    await data.store.delete("registry/holds/unreadable");
    offsetMs = 3_600_000;
    await doWhatIsDue(context, { ...OPTIONS, metrics, rules: [], vacuum: "never" }, never);
    const text = await all.text();
    expect(text).toContain('probity_maintenance_runs_total{task="compact",outcome="done"} 1');
    const doneAt = /last_done_timestamp_seconds\{task="compact"\} ([0-9.e+]+)/.exec(text)?.[1];
    expect(Number(doneAt) - (startMs + offsetMs) / 1000).toBeLessThan(60);
    expect(Number(doneAt) - (startMs + offsetMs) / 1000).toBeGreaterThanOrEqual(0);
    expect(text).toMatch(/probity_maintenance_seconds_total\{task="compact"\} 0\.\d+/);
    expect(text).toContain("probity_table_files 1\n");
    expect(text).toContain("probity_table_rows 20\n");
    expect(text).toMatch(/probity_table_bytes \d{3,}/);
  });

  test("goes on with the others when one task fails, and tries it again soon", async () => {
    await addRounds("2026-02-02");
    await addRounds("2026-03-02");
    const broken = registryKey("maintenance", "compact");
    await data.store.put(broken, Buffer.from("{"));
    await doWhatIsDue(context, OPTIONS, never);
    expect(await filesOf("2026-02-02")).toBe(0);
    expect(await filesOf("2026-03-02")).toBe(2);
    expect(errors).toHaveLength(1);
    await data.store.delete(broken);
    await doWhatIsDue(context, OPTIONS, never);
    expect(await filesOf("2026-03-02")).toBe(1);
  });

  test("gives what was done to the producer", async () => {
    await using folder = await openTemporaryFolder("teller");
    await using producer = await openProducer({
      directory: join(folder.path, "spool"),
      host: "test",
      shard: "0",
      log: quietLog,
    });
    await addRounds("2026-03-02");
    await doWhatIsDue(context, { ...OPTIONS, producer }, never);
    expect(producer.counters().eventsAppended).toBe(1);
    offsetMs = DAY;
    await doWhatIsDue(context, { ...OPTIONS, producer }, never);
    expect(producer.counters().eventsAppended).toBe(1);
  });

  test("ends when it is told to, before there is a table", async () => {
    await using empty = await openDataTable();
    await using idle = await empty.context();
    await doWhatIsDue(idle, OPTIONS, never);
    const stop = new AbortController();
    const running = runSchedule(idle, OPTIONS, stop.signal);
    stop.abort();
    await running;
    const keys: string[] = [];
    for await (const { key } of empty.store.list("")) keys.push(key);
    expect(keys).toEqual([]);
  });
});
