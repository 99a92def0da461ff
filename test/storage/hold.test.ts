import { describe, expect, test } from "vitest";
import { type Hold, isDayHeld, isFileHeld, parseHold } from "../../src/storage/hold.ts";
import type { DataFile } from "../../src/storage/table.ts";
import { dataFile } from "../support/shard-work.ts";

const at = (time: string): number => Date.parse(time);
const hold = (more: Partial<Hold>): Hold => ({
  reason: "case 7",
  hosts: [],
  fromMs: undefined,
  toMs: undefined,
  ...more,
});

/** Times 00:00:00.000 to 00:00:01.000 of 2026-01-02, hosts web-1 to web-2. */
const file = dataFile("event_date=2026-01-02/a.parquet");
const held = (more: Partial<Hold>, of: DataFile = file): boolean => isFileHeld(of, [hold(more)]);

describe("a file is held", () => {
  test.each<[string, Partial<Hold>, boolean]>([
    ["everything", {}, true],
    ["from its last moment on", { fromMs: at("2026-01-02T00:00:01Z") }, true],
    ["from after it on", { fromMs: at("2026-01-02T00:00:01.001Z") }, false],
    ["up to its first moment", { toMs: at("2026-01-02T00:00:00Z") }, false],
    ["up to just after that", { toMs: at("2026-01-02T00:00:00.001Z") }, true],
    ["a host of its range", { hosts: ["web-1"] }, true],
    ["a host in between", { hosts: ["web-11"] }, true],
    ["hosts before and after", { hosts: ["a", "web-3"] }, false],
    ["hosts that begin so", { hosts: ["we*"] }, true],
    ["hosts that begin with one in between", { hosts: ["web-1b*"] }, true],
    ["hosts that begin otherwise", { hosts: ["wf*", "wa*"] }, false],
    ["all hosts by pattern", { hosts: ["*"] }, true],
  ])("by a hold of %s: %#", (_, more, expected) => {
    expect(held(more)).toBe(expected);
  });

  test("when its bounds are unknown", () => {
    const bare = { ...file, minimum: {}, maximum: {} };
    expect(held({ hosts: ["a"], fromMs: at("2027-01-01T00:00:00Z") }, bare)).toBe(true);
    expect(isFileHeld(bare, [])).toBe(false);
  });

  test("by its day when no more is known", () => {
    const from = (time: string) => [hold({ fromMs: at(time), hosts: ["x"] })];
    expect(isDayHeld("2026-01-02", from("2026-01-02T23:59:59.999Z"))).toBe(true);
    expect(isDayHeld("2026-01-02", from("2026-01-03T00:00:00Z"))).toBe(false);
    expect(isDayHeld("2026-01-02", [hold({ toMs: at("2026-01-02T00:00:00Z") })])).toBe(false);
    expect(isDayHeld("2026-01-02", [])).toBe(false);
  });
});

test.each([
  null,
  {},
  { reason: "", hosts: [] },
  { reason: "x", hosts: "web" },
  { reason: "x", hosts: [""] },
  { reason: "x", hosts: [], fromMs: "2026" },
])("what is no hold is refused: %j", (value) => {
  expect(() => parseHold(value)).toThrow(SyntaxError);
});
