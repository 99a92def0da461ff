import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AuditEvent } from "../../src/event/event.ts";
import {
  CUT_SHORT_AFTER_MS,
  hasRecords,
  tellRecords,
  withRecord,
} from "../../src/storage/admin-record.ts";
import type { MaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import { compactAsAsked, vacuumAsAsked } from "../../src/pipeline/maintenance/deeds.ts";
import { DEFAULT_GRACE_MS } from "../../src/pipeline/maintenance/vacuum.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { releaseHold, setHold } from "../../src/storage/hold.ts";
import { AmbiguousWriteError } from "../../src/storage/object-store.ts";
import { clockAt, type DataTable, openDataTable } from "../support/data-table.ts";
import { unreliable } from "../support/unreliable-store.ts";

const by = "ada@desk";
const deed = { kind: "compact", by, parameters: { a: 1 } } as const;

let data: DataTable;
let context: MaintenanceContext;
let told: AuditEvent[];
beforeEach(async () => {
  data = await openDataTable();
  context = await data.context({ clock: clockAt("2026-03-10T00:00:00Z") });
  told = [];
});
afterEach(async () => {
  await context[Symbol.asyncDispose]();
  await data[Symbol.asyncDispose]();
});

const tell = (event: AuditEvent): Promise<void> => {
  told.push(event);
  return Promise.resolve();
};

describe("a deed", () => {
  test("is told once, with who, what and the figures", async () => {
    for (const hour of ["10", "11"]) {
      await data.addRound({ rows: 10, start: `2026-03-02T${hour}:00:00Z` });
    }
    await compactAsAsked(context, { by });
    expect(await tellRecords(context, tell)).toBe(1);
    expect(told).toMatchObject([{
      topic: "audit/admin",
      severity: "info",
      outcome: "success",
      user: by,
      message: "ada@desk compacted files of the table.",
      detail: { principal: by, action: "table compact", filesRemoved: 2, filesAdded: 1, rows: 20 },
    }]);
    expect(await tellRecords(context, tell)).toBe(0);
    expect(await hasRecords(context)).toBe(false);
  });

  test("that finds nothing to do leaves no record", async () => {
    await data.addRound({ rows: 10, start: "2026-03-02T10:00:00Z" });
    await compactAsAsked(context, { by });
    await vacuumAsAsked(context, { by, graceMs: DEFAULT_GRACE_MS });
    expect(await hasRecords(context)).toBe(false);
  });

  test("is recorded before it begins", async () => {
    await withRecord(context, deed, async (begin) => {
      expect(await hasRecords(context)).toBe(false);
      await begin();
      await begin();
      expect(await hasRecords(context)).toBe(true);
      expect(await tellRecords(context, tell)).toBe(0);
      return {};
    });
    expect(await tellRecords(context, tell)).toBe(1);
  });

  test("that fails says why", async () => {
    const failing = withRecord(context, deed, async (begin) => {
      await begin();
      throw new Error("no space left");
    });
    await expect(failing).rejects.toThrow("no space left");
    await tellRecords(context, tell);
    expect(told).toMatchObject([{
      outcome: "failure",
      severity: "medium",
      message: "ada@desk began and failed (compact).",
      detail: { error: "no space left", parameters: { a: 1 } },
    }]);
  });

  test("that found damage is no success, and looked at at once", async () => {
    await withRecord(context, deed, async (begin) => {
      await begin();
      return { rows: 3, damaged: ["event_date=2026-03-02/a.parquet"] };
    });
    await tellRecords(context, tell);
    expect(told).toMatchObject([{
      outcome: "failure",
      severity: "high",
      message: "ada@desk compacted files of the table, and found damaged files.",
      detail: { damaged: ["event_date=2026-03-02/a.parquet"], rows: 3 },
    }]);
  });

  test("that was cut short is told after a while", async () => {
    const killed = withRecord(context, deed, async (begin) => {
      await begin();
      return await new Promise<object>(() => undefined);
    });
    void killed;
    await expect.poll(() => hasRecords(context), { timeout: 10_000 }).toBe(true);
    expect(await tellRecords(context, tell)).toBe(0);
    // Both clocks run on from when they were made: a day and an hour is past the limit whatever came between.
    const clock = clockAt("2026-03-10T01:00:00Z");
    const nowUs = () => clock.nowUs() + CUT_SHORT_AFTER_MS * 1000;
    await using later = await data.context({ clock: { ...systemClock, nowUs } });
    expect(await tellRecords(later, tell)).toBe(1);
    expect(told[0]?.message).toBe("ada@desk began and did not end (compact).");
  });

  test("is told again when the telling fails, under the same name", async () => {
    await setHold(context, {
      by,
      name: "case-7",
      hold: { reason: "court", hosts: [], fromMs: undefined, toMs: undefined },
    });
    await expect(tellRecords(context, async (event) => {
      await tell(event);
      throw new Error("spool full");
    })).rejects.toThrow("spool full");
    await tellRecords(context, tell);
    expect(told).toHaveLength(2);
    expect(told[0]?.detail).toEqual(told[1]?.detail);
  });
});

describe("a hold", () => {
  const hold = { reason: "court", hosts: ["web-*"], fromMs: 5, toMs: undefined };

  test("is set and released by name, and both are told", async () => {
    expect(await setHold(context, { by, name: "case-7", hold })).toBe(true);
    expect(await setHold(context, { by, name: "case-7", hold })).toBe(false);
    expect((await context.holds.get("case-7"))?.value).toEqual(hold);
    expect(await releaseHold(context, { by, name: "case-7" })).toBe(true);
    expect(await releaseHold(context, { by, name: "case-7" })).toBe(false);
    expect(await context.holds.list()).toEqual([]);
    await tellRecords(context, tell);
    expect(told.map(({ message }) => message).toSorted()).toEqual([
      "ada@desk released a hold.",
      "ada@desk set a hold.",
    ]);
    expect(told.every(({ detail }) => JSON.stringify(detail).includes("court"))).toBe(true);
  });

  test("whose change is under way is told as what it became, though its caller left", async () => {
    await setHold(context, { by, name: "case-7", hold });
    const caller = new AbortController();
    const { store } = context;
    const leaving = unreliable(store);
    leaving.replace = async (key, body, etag, options) => {
      const outcome = await store.replace(key, body, etag, options);
      caller.abort(new Error("the caller left"));
      return outcome;
    };
    const place = { ...context, store: leaving };
    expect(await releaseHold(place, { by, name: "case-7", signal: caller.signal })).toBe(true);
    expect(await context.holds.list()).toEqual([]);
    await tellRecords(context, tell);
    expect(told.map(({ message }) => message).toSorted()).toEqual([
      "ada@desk released a hold.",
      "ada@desk set a hold.",
    ]);
  });

  test("whose fate is unknown is not told as failed", async () => {
    const losing = unreliable(context.store);
    losing.faults.push(...Array.from({ length: 100 }, () => "lost before" as const));
    const setting = setHold({ ...context, store: losing }, { by, name: "case-8", hold });
    await expect(setting).rejects.toThrow(AmbiguousWriteError);
    expect(await tellRecords(context, tell)).toBe(0);
    expect(await hasRecords(context)).toBe(true);
  });
});
