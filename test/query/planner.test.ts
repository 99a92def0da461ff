import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatTime } from "../../src/event/event.ts";
import { parseCondition } from "../../src/query/filter.ts";
import { type EventsRequest, planCount, planEvent, planEvents } from "../../src/query/planner.ts";
import { FILES } from "../../src/query/planner/binder.ts";
import { mayHold } from "../../src/query/planner/pruning.ts";
import { planBacklog, planLoaded } from "../../src/query/planner/tail-plan.ts";
import { ADMIN_SCOPES, type Principal } from "../../src/query/principal.ts";
import type { ReadView } from "../../src/query/read-view.ts";
import { WHOLE_MESSAGE } from "../../src/event/event-id.ts";
import type { DataFile } from "../../src/storage/table.ts";

const ADMIN: Principal = { name: "admin", scopes: ADMIN_SCOPES };
const context = { nowUs: 0, bootUs: 0 };
const A = "aaaaaaaa";
const B = "bbbbbbbb";

interface FileFacts {
  readonly name: string;
  readonly time: readonly [fromUs: number, toUs: number];
  readonly seq?: readonly [first: number, last: number];
  readonly incarnation?: string;
  readonly rows?: number;
  readonly minimum?: DataFile["minimum"];
  readonly maximum?: DataFile["maximum"];
  readonly nullCount?: DataFile["nullCount"];
}

function file(facts: FileFacts): DataFile {
  const { name, time: [fromUs, toUs], seq = [1, 1], incarnation = A, rows = 10 } = facts;
  return {
    path: name,
    sizeBytes: 100,
    rows,
    eventDate: "1970-01-01",
    minimum: { time: formatTime(fromUs), seq: seq[0], incarnation, ...facts.minimum },
    maximum: { time: formatTime(toUs), seq: seq[1], incarnation, ...facts.maximum },
    nullCount: facts.nullCount ?? {},
    sha256: "",
  };
}

function view(files: readonly DataFile[], more: Partial<ReadView> = {}): ReadView {
  return { version: 1, files, hot: [], upper: new Map(), missing: [], ...more };
}

const request: EventsRequest = {
  fromUs: 0,
  toUs: 1_000,
  conditions: [],
  order: "desc",
  limit: 10,
  after: undefined,
  upper: undefined,
};
const options = (of: ReadView) => ({ view: of, form: "json" }) as const;

describe("a plan", () => {
  test("holds values as parameters only", () => {
    const hostile = "x'; DROP TABLE hot; --";
    const conditions = ["user", "path", "topic", "topics", "detail", "host"]
      .map((name) => parseCondition(name, hostile, context));
    const scopes = { ...ADMIN_SCOPES, hosts: [hostile], topics: [hostile] };
    const { steps } = planEvents(
      { ...request, conditions },
      { name: hostile, scopes },
      options(view([file({ name: hostile, time: [0, 5] })])),
    );
    for (const { statement: { sql, parameters } } of steps) {
      expect(sql).not.toContain("DROP");
      expect(parameters).toContain(hostile);
      expect(parameters).toContain(FILES);
      const numbers = [...sql.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number));
      expect(new Set(numbers).size).toBe(parameters.length);
    }
  });

  test("computes nothing of rows that a page does not show", () => {
    const conditions = [parseCondition("event_date", "1970-01-01", context)];
    const of = view([file({ name: "a", time: [0, 5] })]);
    const sqlOf = (more: Partial<EventsRequest>) =>
      planEvents({ ...request, ...more }, ADMIN, options(of)).steps[0]?.statement.sql ?? "";
    const [before = "", behind] = sqlOf({}).split("read_parquet");
    expect(before).toContain(" AS id");
    expect(before.slice(before.lastIndexOf("SELECT"))).not.toMatch(/epoch_us| AS id/);
    expect(behind).toContain("LIMIT");
    // What is asked of a computed column is asked in the terms of the stored ones.
    expect(sqlOf({ conditions })).not.toContain(`"event_date" =`);
  });

  test("reads a principal's hosts and topics only, and nothing for somebody of none", () => {
    const none = { name: "x", scopes: { ...ADMIN_SCOPES, hosts: [], topics: [] } };
    const of = view([file({ name: "a", time: [0, 5] })]);
    expect(planEvents(request, none, options(of)).steps[0]?.statement.sql).toContain("false");
    expect(planEvents(request, ADMIN, options(of)).steps[0]?.statement.sql).not.toContain("false");
  });

  test("leaves out files whose statistics rule them out, and reads hot rows beyond the commit", () => {
    const inside = file({ name: "inside", time: [10, 20] });
    const of = view([
      inside,
      file({ name: "before", time: [0, 4] }),
      file({ name: "after", time: [50_000, 60_000] }),
    ], { hot: [{ table: "hot.rows_0_1", incarnation: A, after: 7, upTo: 9 }] });
    const plan = planCount({ ...request, fromUs: 5 }, ADMIN, of);
    expect(plan.steps.map(({ files }) => files)).toEqual([[inside]]);
    expect(plan.prunedFiles).toBe(2);
    const { sql, parameters } = plan.steps[0]?.statement ?? { sql: "", parameters: [] };
    expect(sql).toContain("FROM hot.rows_0_1");
    expect(parameters).toEqual(expect.arrayContaining([7, 9]));
  });

  test("does not read the times of files that lie whole in what is asked for", () => {
    const facts = { name: "a", time: [1_000, 5_000] as const, nullCount: { time: 0 } };
    const hot = [{ table: "hot.a", incarnation: A, after: 7, upTo: 9 }];
    const isRead = (of: ReadView, fromUs: number, toUs: number) =>
      /"time" [<>]/.test(
        planCount({ ...request, fromUs, toUs }, ADMIN, of).steps[0]?.statement.sql ?? "",
      );
    expect(isRead(view([file(facts)]), 1_000, 5_001)).toBe(false);
    expect(isRead(view([file(facts)]), 1_001, 5_001)).toBe(true);
    expect(isRead(view([file(facts)]), 1_000, 5_000)).toBe(true);
    expect(isRead(view([file(facts), file({ ...facts, time: [0, 2_000] })]), 1_000, 5_001))
      .toBe(true);
    expect(isRead(view([file(facts)], { hot }), 1_000, 5_001)).toBe(true);
    // What is not known to have a time has none to be in the range by.
    expect(isRead(view([file({ ...facts, nullCount: {} })]), 1_000, 5_001)).toBe(true);
    expect(isRead(view([file({ ...facts, nullCount: { time: 1 } })]), 1_000, 5_001)).toBe(true);
  });

  test("leaves out hot rows that are all later than what is asked for", () => {
    const hot = (table: string, firstUs?: number) => ({
      ...{ table, incarnation: A, after: 7, upTo: 9 },
      ...(firstUs === undefined ? {} : { firstUs }),
    });
    const of = view([file({ name: "a", time: [0, 5_000] })], {
      hot: [hot("hot.later", 1_000), hot("hot.last", 999), hot("hot.unknown")],
    });
    const sqlOf = (toUs: number) =>
      planCount({ ...request, toUs }, ADMIN, of).steps[0]?.statement.sql ?? "";
    expect(sqlOf(1_000).match(/hot\.[a-z]+/g)).toEqual(["hot.last", "hot.unknown"]);
    expect(sqlOf(1_001)).toContain("hot.later");
  });

  test("reads the newest files first, in steps that grow", () => {
    const files = Array.from(
      { length: 200 },
      (_, at) => file({ name: String(at), time: [at * 1_000_000, at * 1_000_000 + 999_000] }),
    );
    const range = { ...request, toUs: 1_000_000_000 };
    const { steps } = planEvents(range, ADMIN, options(view(files)));
    expect(steps.map((step) => step.files.length)).toEqual([16, 64, 120]);
    expect(steps[0]?.files.map(({ path }) => path)).toContain("199");
    const ascending = planEvents({ ...range, order: "asc" }, ADMIN, options(view(files)));
    expect(ascending.steps[0]?.files.map(({ path }) => path)).toContain("0");
  });

  test("of a later page reads no further than the first one could", () => {
    const old = file({ name: "old", time: [0, 5], seq: [1, 5] });
    const later = file({ name: "later", time: [0, 5], seq: [11, 12] });
    const other = file({ name: "other", time: [0, 5], incarnation: B });
    const of = view([old, later, other], {
      upper: new Map([[A, 20], [B, 3]]),
      hot: [
        { table: "hot.one", incarnation: A, after: 12, upTo: 20 },
        { table: "hot.two", incarnation: B, after: 1, upTo: 3 },
      ],
    });
    const after = { timeUs: 4, incarnation: A, sequence: 3, idx: 0 };
    const page = { ...request, after, upper: new Map([[A, 10]]) };
    const { steps } = planEvents(page, ADMIN, options(of));
    expect(steps.flatMap(({ files }) => files)).toEqual([old]);
    expect(steps[0]?.statement.sql).not.toContain("hot.");
    expect(steps[0]?.statement.parameters).toEqual(expect.arrayContaining([B, A, 10]));
  });

  test("of one event reads the files that can hold its place", () => {
    const files = [
      file({ name: "a", time: [0, 5], seq: [1, 5] }),
      file({ name: "b", time: [0, 5], seq: [6, 9] }),
      file({ name: "c", time: [0, 5], seq: [1, 9], incarnation: B }),
    ];
    const { steps, prunedFiles } = planEvent(
      { incarnation: A, sequence: 7, idx: 0 },
      ADMIN,
      view(files),
    );
    expect(steps[0]?.files.map(({ path }) => path)).toEqual(["b"]);
    expect(prunedFiles).toBe(2);
  });

  test("of one event is narrow unless it may be among the hot rows", () => {
    const hot = [{ table: "hot.one", incarnation: A, after: 12, upTo: 20 }];
    const of = view([file({ name: "a", time: [0, 5], seq: [1, 12] })], { hot });
    const stepOf = (sequence: number) =>
      planEvent({ incarnation: A, sequence, idx: 0 }, ADMIN, of).steps[0];
    expect(stepOf(12)).toMatchObject({ width: "narrow", files: [{ path: "a" }] });
    expect(stepOf(12)?.statement.sql).not.toContain("hot.one");
    expect(stepOf(13)).not.toHaveProperty("width");
    expect(stepOf(13)?.statement.sql).toContain("hot.one");
    expect(stepOf(20)?.statement.sql).toContain("hot.one");
    expect(stepOf(21)).toMatchObject({ width: "narrow", files: [] });
  });

  test.each<[Partial<EventsRequest>, string, isNarrow: boolean]>([
    [{}, "db-1", true],
    [{}, "db-1,db-2", false],
    [{}, "!db-1", false],
    [{}, "db-*", false],
    [{ limit: 1_001 }, "db-1", true],
    [{ limit: 10_001 }, "db-1", false],
    [{ limit: undefined }, "db-1", true],
    [{ limit: undefined }, "db-*", false],
    [{ toUs: 6 * 3_600_000_000 }, "db-1", true],
    [{ toUs: 7 * 3_600_000_000 }, "db-1", false],
  ])("of a page %o of the hosts %s is narrow: %s", (more, host, isNarrow) => {
    const files = [file({ name: "a", time: [0, 5] }), file({ name: "b", time: [600, 700] })];
    const asked = { ...request, ...more, conditions: [parseCondition("host", host, context)] };
    const widths = (of: ReadView) =>
      new Set(planEvents(asked, ADMIN, options(of)).steps.map(({ width }) => width));
    expect(widths(view(files))).toEqual(new Set([isNarrow ? "narrow" : undefined]));
    // Hot rows are in the other database.
    const hot = [{ table: "hot.one", incarnation: A, after: 12, upTo: 20 }];
    expect(widths(view(files, { hot }))).toEqual(new Set([undefined]));
  });

  test.each(
    [
      ["json", 1, true],
      ["json", 1_001, true],
      ["json", 1_002, undefined],
      ["json", undefined, undefined],
      ["json-bytes", undefined, undefined],
      ["csv", 1, undefined],
    ] as const,
  )("of %s for %s rows says whether its texts are parts: %s", (form, limit, isInParts) => {
    const files = [file({ name: "a", time: [0, 5] }), file({ name: "b", time: [600, 700] })];
    const { steps } = planEvents({ ...request, limit }, ADMIN, { view: view(files), form });
    expect(new Set(steps.map((step) => step.isInParts))).toEqual(new Set([isInParts]));
  });
});

test("all of a host's hours is narrow while data files have few rows of them", () => {
  const conditions = [parseCondition("host", "db-1", context)];
  const all = { ...request, toUs: 6, limit: undefined, conditions };
  const widthOf = (rows: number) =>
    planEvents(all, ADMIN, options(view([file({ name: "a", time: [0, 5], rows })]))).steps[0]
      ?.width;
  expect([widthOf(50_000), widthOf(50_001)]).toEqual(["narrow", undefined]);
});

describe("pruning", () => {
  const facts = file({
    name: "f",
    time: [1_000_000, 2_000_000],
    minimum: { host: "db-1", uid: 10, path: "/etc/hosts" },
    maximum: { host: "web-9", uid: 20, path: "/etc/passwd" },
    nullCount: { container: 10, path: 3 },
  });

  test.each([
    ["host", "db-1", true],
    ["host", "mail", true],
    ["host", "a,zz", false],
    ["host", "a,mail", true],
    ["host", "!mail", true],
    ["uid", "9", false],
    ["uid", "10", true],
    ["uid", "<10", true],
    ["uid", "<9", false],
    ["uid", ">20", true],
    ["uid", ">21", false],
    ["uid", "!10", true],
    ["path", "/etc/*", true],
    ["path", "/etc/p*", true],
    ["path", "/usr/*", false],
    ["path", "/bin/*", false],
    ["path", "*", true],
    ["path", "/et?/x", true],
    ["container", "abc", false],
    ["container", "!abc", false],
    ["topic", "zzz", true],
    ["message", "unknown", true],
    ["event_date", "1970-01-01", true],
    ["event_date", "1970-01-02", false],
    ["event_date", ">1970-01-01", true],
    ["time", "<1970-01-01T00:00:01Z", true],
    ["time", "<1970-01-01T00:00:00.5Z", false],
    ["time", ">=1970-01-01T00:00:03Z", false],
  ])("by %s=%s keeps the file: %s", (name, value, isKept) => {
    expect(mayHold(facts, [parseCondition(name, value, context)])).toBe(isKept);
  });

  test("orders text by code point, as the files do", () => {
    const emoji = file({
      name: "f",
      time: [0, 1],
      minimum: { user: "\u{ff5e}" },
      maximum: { user: "\u{1f980}" },
    });
    expect(mayHold(emoji, [parseCondition("user", "\u{1f600}", context)])).toBe(true);
  });
});

describe("a tail's plan", () => {
  const conditions = { conditions: [], sinceUs: undefined };

  test("reads loaded rows of hot tables alone", () => {
    const range = { table: "hot.rows_0_1", incarnation: A, after: 3, upTo: 5 };
    const { sql, parameters } = planLoaded([{ request: conditions, principal: ADMIN }], [range]);
    expect(sql).not.toContain("read_parquet");
    expect(parameters).toEqual([3, 5]);
  });

  test("walks a backlog to its end, each file's rows in turn", () => {
    const files = Array.from(
      { length: 10 },
      (_, at) =>
        file({ name: String(at), time: [0, 1], seq: [at * 10 + 1, at * 10 + 10], rows: 100_000 }),
    );
    const of = view(files);
    let after = { sequence: 5, idx: 3 };
    const read: string[][] = [];
    for (let round = 0; after.sequence < 95 && round < 50; round++) {
      const step = planBacklog(conditions, ADMIN, {
        ...{ view: of, incarnation: A, after, upTo: 95, limit: 10 },
      });
      expect(step.upTo).toBeGreaterThan(after.sequence);
      read.push(step.files.map(({ path }) => path));
      after = { sequence: step.upTo, idx: WHOLE_MESSAGE };
    }
    expect(after.sequence).toBe(95);
    expect(read).toEqual([["0", "1", "2"], ["3", "4", "5"], ["6", "7", "8"], ["9"]]);
  });

  test("always gets on, however files overlap", () => {
    const spans = fc.array(fc.tuple(fc.nat({ max: 90 }), fc.nat({ max: 30 })), { maxLength: 20 });
    fc.assert(fc.property(spans, fc.nat({ max: 50 }), fc.boolean(), (given, start, isWhole) => {
      const files = given.map(([first, length], at) =>
        file({ name: String(at), time: [0, 1], seq: [first, first + length], rows: 200_000 })
      );
      let after = { sequence: start, idx: isWhole ? WHOLE_MESSAGE : 0 };
      const seen = new Set<string>();
      for (let round = 0; after.sequence < 100; round++) {
        const step = planBacklog(conditions, ADMIN, {
          ...{ view: view(files), incarnation: A, after, upTo: 100, limit: 10 },
        });
        for (const { path } of step.files) seen.add(path);
        const next = { sequence: step.upTo, idx: WHOLE_MESSAGE };
        expect(next.sequence > after.sequence || after.idx !== WHOLE_MESSAGE).toBe(true);
        expect(round).toBeLessThan(110);
        after = next;
      }
      given.forEach(([first, length], at) => {
        const isBehind = first + length < start || isWhole && first + length === start;
        expect(seen.has(String(at))).toBe(!isBehind && first <= 100);
      });
    }));
  });
});
