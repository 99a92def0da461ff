/** The client against the real query service, without a port between them. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Client, createClient } from "../../src/client/client.ts";
import { ProblemError } from "../../src/client/problem.ts";
import { exactly } from "../../src/client/record.ts";
import {
  EVENTS,
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  TOKEN,
} from "../support/query-fixture.ts";

let fixture: QueryFixture;
let client: Client;

const DAY = { from: "2026-06-01", to: "2026-06-02" };

function clientOf(token: string): Client {
  return createClient({
    url: "http://localhost",
    token,
    fetch: (url, init) => fixture.service.fetch(new Request(url, init)),
  });
}

beforeAll(async () => {
  fixture = await openQueryFixture();
  client = clientOf(TOKEN);
});

afterAll(() => fixture?.[Symbol.asyncDispose]());

it("reads all pages, and the same as a stream", async () => {
  const query = { ...DAY, order: "asc", limit: 37 } as const;
  const paged = await Array.fromAsync(client.events(query));
  const { events, isComplete, missing, scannedFiles } = await client.stream({
    ...DAY,
    order: "asc",
  });
  const streamed = await Array.fromAsync(events);
  expect(paged).toHaveLength(EVENTS);
  expect(streamed).toEqual(paged);
  // The fixture has no hot table, and says so.
  expect(isComplete).toBe(false);
  expect(missing).toMatch(/./);
  expect(scannedFiles).toBeGreaterThan(0);
});

it("finds text with signs in it exactly", async () => {
  const { events } = await client.page({ ...DAY, path: exactly("/etc/pass,wd"), limit: 100 });
  expect(events).toHaveLength(49);
  const { events: none } = await client.page({ ...DAY, path: exactly("/etc/*") });
  expect(none).toEqual([]);
});

it("gives one event, or undefined", async () => {
  const event = await client.event(`${INCARNATION}-4-0`);
  expect(event).toMatchObject({ topic: "network/connect", dst_port: 443 });
  expect(await client.event(`${INCARNATION}-4-9`)).toBeUndefined();
});

it("asks in SQL with parameters", async () => {
  const result = await client.sql("SELECT count(*) AS n FROM events WHERE topic = $topic", {
    parameters: { topic: "process/exec" },
  });
  expect(result.columns).toMatchObject([{ name: "n" }]);
  expect(Number(result.rows[0]?.["n"])).toBe(200);
  await expect(client.sql("DROP TABLE events")).rejects.toThrow(ProblemError);
});

it("counts topics and those above them", async () => {
  const topics = await client.topics(DAY);
  expect(topics).toContainEqual({ topic: "process", count: 200 });
  expect(await client.topics({ ...DAY, host: "web-1" })).toHaveLength(2);
});

it("tells by class and status what is refused", async () => {
  await expect(clientOf("x".repeat(30)).page()).rejects.toMatchObject({
    name: "ProblemError",
    isNotAllowed: true,
  });
  const error = await client.page({ from: "soon" }).catch((caught) => caught);
  expect(error.problem).toMatchObject({ status: 400, parameter: "from" });
  expect(error.problem.accepted).toMatch(/RFC 3339/);
});

it("follows from the past, and goes on after a place", async () => {
  const places: string[] = [];
  const ids: string[] = [];
  for await (const item of client.tail({ since: "2026-06-01", topic: "process" })) {
    if (item.kind !== "event") continue;
    places.push(item.place);
    ids.push(item.event.id);
    if (ids.length === 150) break;
  }
  const options = { after: places[149] ?? "" };
  for await (const item of client.tail({ topic: "process" }, options)) {
    if (item.kind === "event") ids.push(item.event.id);
    if (ids.length === 200) break;
  }
  expect(new Set(ids).size).toBe(200);
});
