/** The client's subscriptions against the real query service, without a port between them. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Client, createClient } from "../../src/client/client.ts";
import { ProblemError } from "../../src/client/problem.ts";
import type { TailItem } from "../../src/client/tail.ts";
import { EVENTS, openQueryFixture, type QueryFixture, TOKEN } from "../support/query-fixture.ts";
import { openServer } from "./test-server.ts";

let fixture: QueryFixture;
let client: Client;

beforeAll(async () => {
  fixture = await openQueryFixture();
  client = createClient({
    url: "http://localhost",
    token: TOKEN,
    fetch: (url, init) => fixture.service.fetch(new Request(url, init)),
  });
});
afterAll(() => fixture?.[Symbol.asyncDispose]());

it("makes, changes, lists, shows and removes", async () => {
  const { subscriptions } = client;
  const made = await subscriptions.put("b", { topic: "process", since: "2026-06-01" });
  expect(made).toMatchObject({ isNew: true, subscription: { name: "b", state: "idle" } });
  await subscriptions.put("a", { uid: [">=1000", "<2000"], when_behind: "skip", lag_max: "1h" });
  const changed = await subscriptions.put("b", { topic: "file", expire: "2d" });
  expect(changed).toMatchObject({ isNew: false, subscription: { expire: "2d" } });
  expect((await subscriptions.list()).map(({ name, filters }) => [name, filters])).toEqual([
    ["a", { uid: [">=1000", "<2000"] }],
    ["b", { topic: ["file"] }],
  ]);
  expect(await subscriptions.get("a")).toMatchObject({ when_behind: "skip", lag_max: "1h" });
  await subscriptions.remove("a");
  await expect(subscriptions.get("a")).rejects.toMatchObject({ status: 404 });
  await expect(subscriptions.get("a/b")).rejects.toMatchObject({ problem: { parameter: "name" } });
  await subscriptions.remove("b");
});

it("reads on, skips, and gives each event once", async () => {
  const { subscriptions } = client;
  await subscriptions.put("all", { since: "2026-06-01" });
  const seen: string[] = [];
  const read = async (limit?: number): Promise<void> => {
    const { items, missing } = await subscriptions.read(
      "all",
      limit === undefined ? {} : { limit },
    );
    // The fixture has no hot table, and says so.
    expect(missing).toMatch(/./);
    for await (const item of items) if (item.kind === "event") seen.push(item.event.id);
  };
  await read(30);
  expect(seen).toHaveLength(30);
  const { count, subscription } = await subscriptions.skip("all", { events: 20 });
  expect({ count, skipped: subscription.skipped }).toEqual({ count: 20, skipped: 20 });
  await read();
  expect(seen).toHaveLength(EVENTS - 20);
  expect(new Set(seen).size).toBe(EVENTS - 20);
  expect(await subscriptions.skip("all")).toMatchObject({ count: 0 });
  await subscriptions.remove("all");
});

it("is told what another reader may have missed, in its place", async () => {
  const gap = { count: null, reason: "why", to: "0123abcd-2-0" };
  await using service = await openServer((_request, response) => {
    response.end(`${JSON.stringify({ gap })}\n{"id":"0123abcd-3-0"}\n`);
  });
  const { items, isComplete } = await createClient({ url: service.url }).subscriptions.read("cut");
  expect(isComplete).toBe(true);
  expect(await Array.fromAsync(items)).toMatchObject([
    { kind: "gap", gap: { count: null, reason: "why", detail: gap } },
    { kind: "event", event: { id: "0123abcd-3-0" } },
  ]);
});

it("follows on after an outage from its last event, waiting for its own turn to end", async () => {
  const asked: (readonly [url: string | undefined, lastId: string | undefined])[] = [];
  await using service = await openServer((request, response) => {
    asked.push([request.url, request.headers["last-event-id"]?.toString()]);
    if (asked.length === 2) {
      response.writeHead(409, { "content-type": "application/problem+json" });
      response.end('{"title":"Conflict","detail":"Somebody else reads"}');
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (asked.length > 2) response.write('event: gap\ndata: {"count":3,"reason":"why"}\n\n');
    const id = `0123abcd-${asked.length}-0`;
    response.write(`event: audit\nid: ${id}\ndata: {"id":"${id}"}\n\n`);
    if (asked.length === 1) response.end();
  });
  const following = createClient({ url: service.url }).subscriptions.follow("live", {
    takesOver: true,
    reconnectDelayMs: 1,
  });
  const items: TailItem[] = [];
  for await (const item of following) {
    items.push(item);
    if (items.length === 5) break;
  }
  expect(items.map(({ kind }) => kind))
    .toEqual(["event", "reconnecting", "reconnecting", "gap", "event"]);
  expect(asked).toEqual([
    ["/v1/subscriptions/live/events?take_over=true", undefined],
    ["/v1/subscriptions/live/events", "0123abcd-1-0"],
    ["/v1/subscriptions/live/events", "0123abcd-1-0"],
  ]);
});

it("does not wait for another's turn when it begins", async () => {
  await using service = await openServer((_request, response) => {
    response.writeHead(409, { "content-type": "application/problem+json" });
    response.end('{"title":"Conflict","detail":"Somebody else reads"}');
  });
  const following = createClient({ url: service.url }).subscriptions.follow("live");
  await expect(following[Symbol.asyncIterator]().next()).rejects.toThrow(ProblemError);
});
