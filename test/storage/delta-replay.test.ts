import { describe, expect, test } from "vitest";
import type { RemovedFile } from "../../src/storage/delta-actions.ts";
import { EMPTY_LOG, forgetRemoved } from "../../src/storage/delta-replay.ts";

const DAY = 86_400_000;

function removedOn(...days: readonly number[]): ReadonlyMap<string, RemovedFile> {
  return new Map(days.map((day) => {
    const path = `event_date=2026-01-01/${day}.parquet`;
    const more = { isDataChange: false, eventDate: undefined, sizeBytes: undefined };
    return [path, { path, removedAtMs: day * DAY, ...more }];
  }));
}

describe("removed files", () => {
  test("are forgotten so long before the last of them", () => {
    const state = { ...EMPTY_LOG, removed: removedOn(1, 6, 7, 20) };
    expect([...forgetRemoved(state, 14 * DAY).removed.keys()]).toEqual([
      "event_date=2026-01-01/7.parquet",
      "event_date=2026-01-01/20.parquet",
    ]);
  });

  test("are all forgotten by who needs none", () => {
    const state = { ...EMPTY_LOG, version: 7, removed: removedOn(1, 20) };
    expect(forgetRemoved(state, 0)).toEqual({ ...state, removed: new Map() });
  });

  test("stay where they are while none is old", () => {
    const state = { ...EMPTY_LOG, removed: removedOn(7, 20) };
    expect(forgetRemoved(state, 14 * DAY)).toBe(state);
    expect(forgetRemoved(EMPTY_LOG, 0)).toBe(EMPTY_LOG);
  });
});
