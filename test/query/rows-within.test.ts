/** About how many rows of a range data files have. */
import { expect, test } from "vitest";
import { rowsWithin } from "../../src/query/planner/pruning.ts";
import type { DataFile } from "../../src/storage/table.ts";

function file(rows: number, minimum: DataFile["minimum"], maximum: DataFile["maximum"]): DataFile {
  const facts = { path: "a", sizeBytes: 1, eventDate: "1970-01-01", nullCount: {}, sha256: "" };
  return { ...facts, rows, minimum, maximum };
}

const SECOND = 1_000_000;
/** From the first second to the end of the fourth. */
const even = file(400, { time: "1970-01-01T00:00:01Z" }, { time: "1970-01-01T00:00:04.999999Z" });

test.each<[from: number, to: number, rows: number]>([
  [0, 10, 400],
  [1, 5, 400],
  [1, 2, 100],
  [3, 10, 200],
  [0, 1, 0],
  [5, 6, 0],
])("are taken to lie evenly: from %d s to %d s are %d", (from, to, rows) => {
  const range = { fromUs: from * SECOND, toUs: to * SECOND };
  expect(rowsWithin([even], range)).toBeCloseTo(rows);
  expect(rowsWithin([even, even], range)).toBeCloseTo(2 * rows);
});

test.each<[string, DataFile]>([
  ["no bound", file(7, {}, {})],
  ["no end", file(7, { time: "1970-01-01T00:00:01Z" }, {})],
  ["no start", file(7, {}, { time: "1970-01-01T00:00:01Z" })],
])("of a file with %s are all of its rows", (_, each) => {
  expect(rowsWithin([each], { fromUs: 0, toUs: 1 })).toBe(7);
});

test("of a file whose rows have one time are all or none", () => {
  const moment = file(3, { time: "1970-01-01T00:00:01Z" }, { time: "1970-01-01T00:00:01Z" });
  expect(rowsWithin([moment], { fromUs: SECOND, toUs: SECOND + 1 })).toBe(3);
  expect(rowsWithin([moment], { fromUs: SECOND + 1, toUs: SECOND + 2 })).toBe(0);
  expect(rowsWithin([], { fromUs: 0, toUs: 1 })).toBe(0);
});
