import { expect, test } from "vitest";
import { openChaosTable } from "./chaos-table.ts";
import { openDataTable } from "./data-table.ts";

test("what gaps do not count is unknown, however often it is told", async () => {
  await using data = await openDataTable();
  const details = [
    { class: "absent", count: null },
    { class: "ring_full", count: 5 },
    { class: "absent", count: null },
    { class: "ring_full", count: 2 },
    { class: "throttled", count: null },
    { class: "throttled", count: 3 },
  ];
  const list = details.map((each) => `'${JSON.stringify(each)}'`).join(", ");
  await data.addRound({
    ...{ rows: details.length, start: "2026-03-01T10:00:00Z", topics: ["agent/gap"] },
    columns: { detail: `[${list}][range + 1]` },
  });
  await using table = await openChaosTable(data.store);
  expect(await table.refresh()).toBe(true);
  const { gaps } = await table.rows({ target: "/none", fleeting: "none", cutoffMs: 0 });
  expect(gaps).toEqual({ absent: "unknown", ring_full: 7, throttled: "unknown" });
});
