import { expect, test } from "vitest";
import { parseCondition } from "../../src/query/filter.ts";
import { type KindCount, TallyBook } from "../../src/query/metric/tally.ts";
import { countTopics } from "../../src/query/metric/topics.ts";
import { ADMIN_SCOPES, type Scopes } from "../../src/query/principal.ts";
import type { DataFile } from "../../src/storage/table.ts";

const file = (path: string, from: string, to: string): DataFile => ({
  ...{ path, sha256: path, sizeBytes: 1, rows: 4, eventDate: "2026-06-01", nullCount: {} },
  minimum: { time: from },
  maximum: { time: to },
});
const WHOLE = file("whole", "2026-06-01T00:00:00Z", "2026-06-01T06:00:00Z");
const CUT = file("cut", "2026-06-01T05:00:00Z", "2026-06-01T20:00:00Z");
const LATER = file("later", "2026-06-02T00:00:00Z", "2026-06-02T01:00:00Z");
const HOT = { table: "hot_rows", incarnation: "0a1b2c3d", after: 7, upTo: 9 };

const at = (time: string): number => Date.parse(`2026-06-01T${time}:00Z`) * 1_000;
const kind = (topic: string, host: string, more: Partial<KindCount> = {}): KindCount => ({
  ...{ topic, topics: [], host, rows: 2, firstUs: at("01:00"), lastUs: at("02:00"), ...more },
});

function ask(filters: Readonly<Record<string, string>>, scopes: Partial<Scopes> = {}) {
  const book = new TallyBook();
  book.put("whole", [kind("file/write", "db-1"), kind("file/write", "web-1", { rows: 1 })]);
  // Of its kinds, one goes on after the range.
  book.put("cut", [kind("file/read", "db-1"), kind("dns/query", "web-1", { lastUs: at("20:00") })]);
  const time = { nowUs: at("12:00"), bootUs: at("12:00") };
  const conditions = Object.entries(filters).map(([name, text]) =>
    parseCondition(name, text, time)
  );
  const range = { fromUs: at("00:00"), toUs: at("12:00") };
  const request = {
    ...range,
    conditions,
    order: "desc",
    limit: undefined,
    after: undefined,
  } as const;
  const view = {
    version: 1,
    files: [WHOLE, CUT, LATER],
    hot: [HOT],
    upper: new Map(),
    missing: [],
  };
  const { rows, plan } = countTopics(
    { book, tallyOf: ({ path }) => book.get(path) },
    { ...request, upper: undefined },
    {
      view,
      principal: {
        name: "ada",
        scopes: { ...ADMIN_SCOPES, ...scopes },
      },
    },
  );
  const read = plan.steps.flatMap(({ files }) => files.map(({ path }) => path));
  return { rows, read, steps: plan.steps, pruned: plan.prunedFiles };
}

test("what tallies know of files that lie in the range is not read", () => {
  expect(ask({})).toMatchObject({
    ...{ rows: [{ topic: "file/write", rows: 3 }], read: ["cut"], pruned: 2 },
  });
});

test("only the kinds that are asked for and may be seen are counted, and decide whether a file is read", () => {
  const db = {
    rows: [{ topic: "file/write", rows: 2 }, { topic: "file/read", rows: 2 }],
    read: [],
  };
  expect(ask({ host: "db-*" })).toMatchObject({ ...db, pruned: 3 });
  expect(ask({}, { hosts: ["db-1"] })).toMatchObject(db);
  expect(ask({ topic: "file/read" }, { topics: ["file"] }))
    .toMatchObject({ rows: [{ topic: "file/read", rows: 2 }], read: [] });
  expect(ask({}, { hosts: [] })).toMatchObject({ rows: [], read: [] });
});

test("hot rows are counted when no file is left to read", () => {
  const { steps } = ask({ host: "db-1" });
  expect(steps.map(({ statement }) => statement.sql)).toEqual([
    expect.stringContaining("hot_rows"),
  ]);
});

test.each([{ pid: "1" }, { topic: "file/*" }, { topic: ">=file", host: "db-1" }])(
  "what tallies do not know is read: %o",
  (filters) => {
    expect(ask(filters)).toMatchObject({ rows: [], read: ["whole", "cut"], pruned: 1 });
  },
);
