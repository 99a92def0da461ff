import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createLog } from "../../src/runtime/log.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import type { AuditEvent } from "../../src/event/event.ts";
import { tellRecords } from "../../src/storage/admin-record.ts";
import { METER, openQueryFixture, type QueryFixture, VIEWER } from "../support/query-fixture.ts";

let query: QueryFixture;
beforeAll(async () => {
  query = await openQueryFixture();
});
afterAll(() => query[Symbol.asyncDispose]());

describe("/v1/table", () => {
  test("tells what the table is made of", async () => {
    const answer = await query.ask("/v1/table", { token: METER });
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({
      version: 2,
      files: 2,
      rows: 250,
      days: 1,
      first_day: "2026-06-01",
      last_day: "2026-06-01",
      shards: [{ shard: "0", incarnation: "0a1b2c3d", sequence: 4, version: 2 }],
    });
  });

  test("tells its history, newest first", async () => {
    const { versions } = await (await query.ask("/v1/table/history")).json();
    expect(versions).toMatchObject([
      { version: 2, operation: "STREAMING UPDATE", shard: "0", files_added: 1, rows_added: 50 },
      { version: 1, rows_added: 200, schema_changed: false },
      { version: 0, operation: "CREATE TABLE" },
    ]);
    expect(new Date(versions[0].time).getTime()).toBeGreaterThan(0);
    const last = await (await query.ask("/v1/table/history?limit=1")).json();
    expect(last.versions).toHaveLength(1);
  });

  test.each(["0", "1001", "all"])("takes no limit of %s", async (limit) => {
    const answer = await query.ask(`/v1/table/history?limit=${limit}`);
    expect(await answer.json()).toMatchObject({ status: 400, parameter: "limit" });
  });

  test("is for those who operate", async () => {
    expect((await query.ask("/v1/table", { token: VIEWER })).status).toBe(403);
    expect((await query.ask("/v1/table/history", { token: null })).status).toBe(401);
  });
});

describe("/v1/holds", () => {
  const set = (name: string, parameters: string, token?: string) =>
    query.ask(`/v1/holds/${name}?${parameters}`, {
      method: "PUT",
      ...(token === undefined ? {} : { token }),
    });
  const release = (name: string, token?: string) =>
    query.ask(`/v1/holds/${name}`, {
      method: "DELETE",
      ...(token === undefined ? {} : { token }),
    });
  const list = async () => (await (await query.ask("/v1/holds")).json()).holds;

  afterEach(async () => {
    for (const { name } of await list()) await release(name);
    await toldEvents();
  });

  /** What a roll-up tells of. */
  async function toldEvents(): Promise<AuditEvent[]> {
    const told: AuditEvent[] = [];
    const log = createLog({ level: "error", write: () => undefined });
    await tellRecords({ store: query.store, clock: systemClock, log }, (event) => {
      told.push(event);
      return Promise.resolve();
    });
    return told.toSorted((a, b) => a.timeUs - b.timeUs);
  }

  test("sets, lists and releases, each with its record", async () => {
    const parameters = "reason=court+17%2F26&host=web-*&host=db-1&from=2026-03-01&to=2026-04-01";
    const made = await set("case-7", parameters);
    expect(made.status).toBe(201);
    const hold = {
      name: "case-7",
      reason: "court 17/26",
      hosts: ["web-*", "db-1"],
      from: "2026-03-01T00:00:00.000Z",
      to: "2026-04-01T00:00:00.000Z",
    };
    expect(await made.json()).toEqual(hold);
    expect(await list()).toEqual([{ ...hold, set: expect.any(String) }]);
    expect((await release("case-7")).status).toBe(204);
    expect(await list()).toEqual([]);
    expect(await toldEvents()).toMatchObject([
      { topic: "audit/admin", user: "admin", message: "admin set a hold." },
      { topic: "audit/admin", message: "admin released a hold.", detail: { principal: "admin" } },
    ]);
  });

  test("takes bounds outward", async () => {
    await set("case-8", "reason=x&from=2026-03-01T00:00:00.0009Z&to=2026-03-01T00:00:00.0011Z");
    expect(await list()).toMatchObject([
      { from: "2026-03-01T00:00:00.000Z", to: "2026-03-01T00:00:00.002Z" },
    ]);
  });

  test("changes none that stands, and releases none that does not", async () => {
    await set("case-9", "reason=first");
    expect((await set("case-9", "reason=second")).status).toBe(409);
    expect(await list()).toMatchObject([{ reason: "first" }]);
    expect((await release("case-10")).status).toBe(404);
    expect(await toldEvents()).toHaveLength(1);
  });

  test.each([
    ["x", "", "reason"],
    ["x", "reason=", "reason"],
    ["x", "reason=a&reason=b", "reason"],
    ["x", "reason=a&host=", "host"],
    ["x", "reason=a&from=soon", "from"],
    ["x", "reason=a&from=2026-03-02&to=2026-03-01", "from"],
    ["x", "reason=a&topic=file", "topic"],
    ["-x", "reason=a", "name"],
    ["a%2Fb", "reason=a", "name"],
  ])("names what is wrong: %s?%s", async (name, parameters, parameter) => {
    const answer = await set(name, parameters);
    expect(await answer.json()).toMatchObject({ status: 400, parameter });
    expect(await list()).toEqual([]);
  });

  test("takes no body", async () => {
    const answer = await query.ask("/v1/holds/x?reason=a", { method: "PUT", body: "{}" });
    expect(answer.status).toBe(400);
  });

  test("shows them to those who operate, and lets them change nothing", async () => {
    expect((await query.ask("/v1/holds", { token: METER })).status).toBe(200);
    expect((await query.ask("/v1/holds", { token: VIEWER })).status).toBe(403);
    expect((await set("x", "reason=a", METER)).status).toBe(403);
    expect((await release("x", METER)).status).toBe(403);
  });
});
