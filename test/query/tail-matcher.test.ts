/** Live rows are given to those whom the plan of a tail would give them to, whatever they hold and are asked for. */
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Column, COLUMNS, type ColumnType } from "../../src/event/columns.ts";
import type { Condition, FilterValue, Match } from "../../src/query/filter.ts";
import { readTailValues } from "../../src/query/planner/rows.ts";
import { type Interest, INTERESTS_MAX, planLoaded } from "../../src/query/planner/tail-plan.ts";
import { ADMIN_SCOPES } from "../../src/query/principal.ts";
import { createDistribution } from "../../src/query/tail/distribution.ts";
import { createMatcher } from "../../src/query/tail/matcher.ts";
import { type Connection, type Database, openDatabase } from "../../src/storage/duckdb.ts";
import { identifierOf } from "../../src/storage/sql-text.ts";
import { sqlTypeOf } from "../../src/storage/typed-read.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const RUNS = 20;
const EVERYTHING: Interest = {
  request: { conditions: [], sinceUs: undefined },
  principal: { name: "someone", scopes: ADMIN_SCOPES },
};
const TABLE = "loaded";
const START_US = Date.UTC(2026, 5, 15) * 1000;
const RANGE = { table: TABLE, incarnation: "0a1b2c3d", after: -1, upTo: 1_000 };

let folder: TemporaryFolder;
let database: Database;
let connection: Connection;

beforeAll(async () => {
  folder = await openTemporaryFolder("tail-matcher");
  database = await openDatabase({
    memoryLimitBytes: 200_000_000,
    threads: 1,
    tempDirectory: join(folder.path, "spill"),
    tempLimitBytes: 100_000_000,
  });
  connection = await database.connect();
});

afterAll(async () => {
  await database[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Few values, so that filters meet them; signs that a pattern or a comparison may get wrong. */
const TEXT = fc.array(
  fc.constantFrom(
    "a",
    "b",
    "file",
    "process",
    "/",
    "%",
    "_",
    "\\",
    "*",
    ".",
    "ü",
    "😀",
    "\uffee",
    "\n",
  ),
  { maxLength: 4 },
).map((parts) => parts.join(""));
const TOPIC = fc.array(fc.constantFrom("file", "process", "a", "b"), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join("/"));
const NUMBER = fc.integer({ min: -2, max: 4 });
const TIME_US = fc.integer({ min: -2, max: 4 }).map((step) => START_US + step);
const DAY = fc.integer({ min: 1, max: 4 }).map((day) => `2026-06-0${day}`);

function valueOf({ name, type }: Pick<Column, "name" | "type">): fc.Arbitrary<unknown> {
  if (name === "topic") return TOPIC;
  switch (type) {
    case "string":
    case "json":
      return TEXT.map((text) => type === "json" ? JSON.stringify({ text }) : text);
    case "strings":
      return fc.array(name === "topics" ? TOPIC : TEXT, { maxLength: 2 });
    case "integer":
    case "long":
      return NUMBER;
    case "timestamp":
      return TIME_US;
    case "date":
      return DAY;
  }
}

function filterValueOf({ name, type }: Column): fc.Arbitrary<FilterValue> {
  if (name === "topic" || name === "topics") return TOPIC;
  if (type === "json" || type === "string" || type === "strings") return TEXT;
  return type === "date" ? DAY : type === "timestamp" ? TIME_US : NUMBER;
}

const GLOB: fc.Arbitrary<Match> = fc.array(
  fc.oneof(
    TEXT.filter((text) => text !== ""),
    fc.constantFrom({ wildcard: "*" } as const, { wildcard: "?" } as const),
  ),
  { minLength: 1, maxLength: 5 },
).map((parts) => ({ kind: "glob", parts }));

function matchOf(column: Column): fc.Arbitrary<Match> {
  const equal = filterValueOf(column).map((value): Match => ({ kind: "equal", value }));
  const compare = fc.tuple(fc.constantFrom(">=", ">", "<=", "<"), filterValueOf(column))
    .map(([operator, value]): Match => ({ kind: "compare", operator, value }));
  const isText = (["string", "strings", "json"] as ColumnType[]).includes(column.type);
  if (column.type === "strings") return fc.oneof(equal, GLOB);
  return isText ? fc.oneof(equal, compare, GLOB) : fc.oneof(equal, compare);
}

const CONDITION: fc.Arbitrary<Condition> = fc.oneof(
  fc.constantFrom<Column>(...COLUMNS),
  fc.constantFrom<Column>(...COLUMNS.filter(({ name }) => name.startsWith("topic"))),
).chain((column) =>
  fc.record({
    column: fc.constant(column),
    isNegated: fc.boolean(),
    matches: fc.array(matchOf(column), { minLength: 1, maxLength: 3 }),
  })
);

const INTEREST: fc.Arbitrary<Interest> = fc.record({
  conditions: fc.array(CONDITION, { maxLength: 2 }),
  sinceUs: fc.option(TIME_US, { nil: undefined }),
  topics: fc.oneof(fc.constant("all" as const), fc.array(TOPIC, { maxLength: 2 })),
  hosts: fc.oneof(
    fc.constant("all" as const),
    fc.array(fc.oneof(TEXT, TEXT.map((text) => `${text}*`)), { maxLength: 2 }),
  ),
}).map(({ conditions, sinceUs, topics, hosts }) => ({
  request: { conditions, sinceUs },
  principal: { name: "someone", scopes: { ...ADMIN_SCOPES, topics, hosts } },
}));

const ROW = fc.record(Object.fromEntries(
  COLUMNS.filter(({ origin }) => origin !== "derived").map((column) => [
    column.name,
    column.name === "topic" || column.name === "time"
      ? valueOf(column)
      : fc.option(valueOf(column), { nil: null }),
  ]),
));

type Row = Readonly<Record<string, unknown>>;

async function fill(rows: readonly Row[]): Promise<void> {
  const columns = COLUMNS.filter(({ origin }) => origin !== "derived").map((column) => {
    const { name, type } = column;
    const text = `(row ->> '${name}')`;
    const read = name === "seq"
      ? "(row_number() OVER ())::BIGINT"
      : name === "idx"
      ? "0"
      : name === "incarnation"
      ? "'0a1b2c3d'"
      : type === "strings"
      ? `from_json(row -> '${name}', '["VARCHAR"]')`
      : type === "timestamp"
      ? `make_timestamptz(${text}::BIGINT)`
      : `CAST(${text} AS ${sqlTypeOf(column)})`;
    return `${read} AS ${identifierOf(name)}`;
  });
  await connection.run(
    `CREATE OR REPLACE TABLE ${TABLE} AS SELECT ${columns.join(", ")} ` +
      `FROM (SELECT unnest(from_json($1::JSON, '["JSON"]')) AS row)`,
    { parameters: [JSON.stringify(rows)] },
  );
}

async function linesOf(interests: readonly Interest[]): Promise<string[]> {
  const { sql, parameters } = planLoaded(interests, [RANGE]);
  const values = parameters.filter((each) => typeof each !== "symbol");
  return (await Array.fromAsync(connection.streamText(sql, { parameters: values }))).flat();
}

function textOf(line: string): string {
  return line.slice(line.indexOf(" ", line.indexOf(" ") + 1) + 1);
}

describe("who is given a live row", () => {
  test("is who the plan says, for any filter, scopes and row", async () => {
    let given = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(ROW, { minLength: 12, maxLength: 12 }),
        fc.array(INTEREST, { minLength: 20, maxLength: 20 }),
        async (rows, interests) => {
          await fill(rows);
          const all = await linesOf(Array.from({ length: INTERESTS_MAX + 1 }, () => EVERYTHING));
          expect(all.length).toBe(rows.length);
          const distribution = createDistribution<Interest>();
          interests.forEach((each) => distribution.add(each));
          const wanted = new Map(interests.map((each) => [each, [] as string[]]));
          for (const line of all) {
            const values = readTailValues(textOf(line));
            for (const each of distribution.wantedBy(values)) wanted.get(each)?.push(line);
          }
          for (const interest of interests) {
            const planned = await linesOf([interest]);
            given += planned.length;
            expect(wanted.get(interest)).toEqual(planned);
            const matches = createMatcher(interest.request, interest.principal);
            expect(all.filter((line) => matches(readTailValues(textOf(line))))).toEqual(planned);
          }
        },
      ),
      { numRuns: RUNS },
    );
    expect(given).toBeGreaterThan(RUNS);
  });

  test("goes by characters where text is compared, not by units of UTF-16", async () => {
    const path = COLUMNS.find(({ name }) => name === "path") ?? expect.fail();
    const match: Match = { kind: "compare", operator: "<", value: "😀" };
    const conditions = [{ column: path, isNegated: false, matches: [match] }];
    const interest = { ...EVERYTHING, request: { conditions, sinceUs: undefined } };
    await fill([{ time: START_US, topic: "file", path: "\uffee" }]);
    const [line = ""] = await linesOf([interest]);
    expect(createMatcher(interest.request, interest.principal)(readTailValues(textOf(line))))
      .toBe(true);
  });

  test("is asked in one statement for few, each of them given all that is theirs", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(ROW, { minLength: 6, maxLength: 6 }),
        fc.array(INTEREST, { minLength: 2, maxLength: INTERESTS_MAX }),
        async (rows, interests) => {
          await fill(rows);
          const together = await linesOf(interests);
          const alone = await Promise.all(interests.map((each) => linesOf([each])));
          expect(together).toEqual(
            [...new Set(alone.flat())].toSorted((a, b) => seqOf(a) - seqOf(b)),
          );
        },
      ),
      { numRuns: RUNS / 2 },
    );
  });
});

function seqOf(line: string): number {
  return Number(line.slice(0, line.indexOf(" ")));
}
