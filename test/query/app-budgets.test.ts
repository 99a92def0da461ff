import { afterAll, beforeAll, expect, test } from "vitest";
import {
  openQueryFixture,
  type QueryFixture,
  RANGE,
  TOKEN,
  VIEWER,
} from "../support/query-fixture.ts";

/** A million million rows: more than anybody waits for. */
const HEAVY = "SELECT count(*) FROM events a, events b, events c, events d, events e";
/** Longest that somebody with a small question waits, whoever else asks, in milliseconds: alone it takes 20 to 50. */
const LIGHT_MAX_MS = 2_000;

let query: QueryFixture;
let other: string;

beforeAll(async () => {
  query = await openQueryFixture({
    poolLimits: {
      sql: { size: 2, share: 1, waitingMax: 6, guaranteedMs: 400 },
      streams: { size: 1, share: 1, waitingMax: 6, guaranteedMs: 200 },
    },
  });
  const made = await query.ask("/v1/tokens/other?role=analyst", { method: "PUT" });
  other = (await made.json()).token;
  // Processes for SQL are there before others need the processor.
  await Promise.all([TOKEN, other].map((token) => query.sql("SELECT 1", {}, { token })));
});
afterAll(() => query[Symbol.asyncDispose]());

/** What of a pool runs and what waits for DuckDB. */
async function load(pool = "sql"): Promise<readonly [running: number, waiting: number]> {
  const text = await (await query.ask("/metrics")).text();
  const of = (name: string) =>
    Number(new RegExp(`^${name}\\{pool="${pool}"\\} (\\d+)`, "m").exec(text)?.[1]);
  return [of("probity_queries_running"), of("probity_queries_waiting")];
}

/** So many heavy statements at the same time, until the end. */
function flood(token: string, count: number) {
  const end = new AbortController();
  const answers = Array.from(
    { length: count },
    () => query.sql(HEAVY, {}, { token, signal: end.signal }),
  );
  return {
    answers,
    async [Symbol.asyncDispose]() {
      end.abort();
      await Promise.all(answers);
    },
  };
}

async function timeOfLight(): Promise<number> {
  const startedMs = performance.now();
  const sql = "SELECT count(*)::INT AS n FROM events WHERE path LIKE '/etc/%'";
  const answer = await query.sql(sql, {}, { token: VIEWER });
  expect(await answer.json()).toMatchObject({ rows: [{ n: 49 }] });
  return performance.now() - startedMs;
}

test("somebody who asks for much does not let others wait", async () => {
  await using heavy = flood(TOKEN, 6);
  await expect.poll(() => load()).toEqual([1, 5]);
  for (let round = 0; round < 5; round++) expect(await timeOfLight()).toBeLessThan(LIGHT_MAX_MS);
  expect(await load()).toEqual([1, 5]);
  expect(heavy.answers).toHaveLength(6);
});

test("a request that is given up ends its statement, and its place is free", async () => {
  {
    await using _heavy = flood(TOKEN, 4);
    await expect.poll(() => load()).toEqual([1, 3]);
  }
  await expect.poll(() => load()).toEqual([0, 0]);
  expect((await query.sql("SELECT 1 AS one")).status).toBe(200);
});

test("several who ask for much have to make place for one who does not", async () => {
  await using first = flood(TOKEN, 1);
  await using second = flood(other, 1);
  await expect.poll(() => load()).toEqual([2, 0]);
  expect(await timeOfLight()).toBeLessThan(LIGHT_MAX_MS);
  const ended = await Promise.race([...first.answers, ...second.answers]);
  expect(ended.status).toBe(429);
  expect(Number(ended.headers.get("retry-after"))).toBeGreaterThan(0);
  expect(await ended.json()).toMatchObject({ title: "Too Many Requests" });
});

test("who has too many waiting is refused, and nobody else", async () => {
  await using _heavy = flood(TOKEN, 8);
  await expect.poll(() => load()).toEqual([1, 6]);
  const refused = await query.sql("SELECT 1");
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  expect((await refused.json()).detail).toMatch(/yours/);
  expect(await timeOfLight()).toBeLessThan(LIGHT_MAX_MS);
});

test("a stream that nobody reads makes place for others", async () => {
  const options = { headers: { accept: "application/x-ndjson" } };
  const idle = await query.ask(`/v1/events?${RANGE}`, options);
  const reader = idle.body?.getReader();
  await reader?.read();
  const answer = await query.ask(`/v1/events?${RANGE}`, { ...options, token: VIEWER });
  expect((await answer.text()).trim().split("\n")).toHaveLength(49);
  await expect(reader?.read()).rejects.toThrow("others wait");
  await expect.poll(() => load("streams")).toEqual([0, 0]);
});
