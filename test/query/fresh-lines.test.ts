/** Rows that are handed out from their load are those that would be asked for: the same texts, all of them, in order. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { createAcceptance, emptyAcceptance } from "../../src/event/acceptance.ts";
import { createFreshLines } from "../../src/query/hot/fresh-lines.ts";
import { createHotTable, openHotLoader } from "../../src/query/hot/loader.ts";
import { planLoaded } from "../../src/query/planner/tail-plan.ts";
import { ADMIN_SCOPES } from "../../src/query/principal.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { asStored, createBatchAgent, NOON_US, numberedEvent } from "../support/batches.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const INCARNATION = "0a1b2c3d";
const TABLE = "loaded";

test("the lines of a load are those that the plan of a tail gives, gaps at their places", async () => {
  await using folder = await openTemporaryFolder("fresh-lines");
  await using database = await openDatabase({
    memoryLimitBytes: 200_000_000,
    threads: 1,
    tempDirectory: join(folder.path, "spill"),
    tempLimitBytes: 100_000_000,
  });
  const connection = await database.connect();
  await connection.run(createHotTable(TABLE));
  await using loader = await openHotLoader({
    connection: await database.connect(),
    shard: "0",
    payloadDirectory: join(folder.path, "payloads"),
    scratchDirectory: join(folder.path, "scratch"),
    clock: systemClock,
  });
  const agent = createBatchAgent("a");
  const odd = { ...numberedEvent(3), message: '",\n\u2028ü', detail: { a: null, b: ["x"] } };
  const messages = asStored([
    await agent.batch([numberedEvent(1), numberedEvent(2)]),
    agent.raw(new Uint8Array(), {
      ...{ count: 7, firstUs: NOON_US, lastUs: NOON_US },
      void: "the spool was full",
    }),
    await agent.batch([odd]),
  ]);
  const options = {
    into: TABLE,
    acceptance: createAcceptance(emptyAcceptance(INCARNATION)),
    signal: new AbortController().signal,
  };
  const loaded = await loader.load(messages.slice(0, 1), { ...options, hasLines: false });
  expect(loaded).toMatchObject({ rows: 2, lines: undefined });
  const { rows, lines } = await loader.load(messages.slice(1), { ...options, hasLines: true });
  const all = {
    request: { conditions: [], sinceUs: undefined },
    principal: { name: "someone", scopes: ADMIN_SCOPES },
  };
  const range = { table: TABLE, incarnation: INCARNATION, firstUs: 0, after: 1, upTo: 3 };
  const { sql, parameters } = planLoaded([all], [range]);
  const values = parameters.filter((each) => typeof each !== "symbol");
  const planned = await Array.fromAsync(connection.streamText(sql, { parameters: values }));
  expect(rows).toBe(2);
  expect(lines?.map((line) => line.split(" ", 2))).toEqual([["2", "0"], ["3", "0"]]);
  expect(lines).toEqual(planned.flat());
});

test("lines are given for ranges of which all are here, once", () => {
  const fresh = createFreshLines();
  const add = (after: number, upTo: number) => fresh.add({ after, upTo }, [`${after}-${upTo}`]);
  add(0, 2);
  add(2, 3);
  add(3, 7);
  expect(fresh.take({ after: 0, upTo: 3 })).toEqual(["0-2", "2-3"]);
  expect(fresh.take({ after: 0, upTo: 3 })).toBeUndefined();
  expect(fresh.take({ after: 3, upTo: 7 })).toEqual(["3-7"]);
  add(7, 9);
  add(10, 11);
  expect(fresh.take({ after: 7, upTo: 11 })).toBeUndefined();
  add(11, 14);
  expect(fresh.take({ after: 12, upTo: 14 })).toBeUndefined();
  add(14, 15);
  fresh.clear();
  expect(fresh.take({ after: 14, upTo: 15 })).toBeUndefined();
  expect(fresh.take({ after: 15, upTo: 15 })).toEqual([]);
});

test("no more lines are kept than there is room for", () => {
  const fresh = createFreshLines(10);
  fresh.add({ after: 0, upTo: 1 }, ["123456"]);
  fresh.add({ after: 1, upTo: 2 }, ["7890"]);
  fresh.add({ after: 2, upTo: 3 }, ["x"]);
  expect(fresh.take({ after: 0, upTo: 2 })).toBeUndefined();
  fresh.add({ after: 3, upTo: 4 }, ["1234567890"]);
  expect(fresh.take({ after: 3, upTo: 4 })).toEqual(["1234567890"]);
});
