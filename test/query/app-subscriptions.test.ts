import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  EVENTS,
  METER,
  openQueryFixture,
  type QueryFixture,
  RANGE,
  VIEWER,
} from "../support/query-fixture.ts";

let query: QueryFixture;
beforeAll(async () => {
  query = await openQueryFixture();
  await put("known");
});
afterAll(() => query[Symbol.asyncDispose]());

const PATH = "/v1/subscriptions";
const NDJSON = { accept: "application/x-ndjson" };

const put = (name: string, parameters = "", token?: string) =>
  query.ask(`${PATH}/${name}?${parameters}`, {
    method: "PUT",
    ...(token === undefined ? {} : { token }),
  });

async function idsOf(answer: Response): Promise<string[]> {
  const text = await answer.text();
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line).id);
}

describe("a problem with a subscription", () => {
  test.each([
    ["PUT", "known?nope=1", "nope"],
    ["PUT", "known?from=1h", "from"],
    ["PUT", "known?limit=1", "limit"],
    ["PUT", "known?uid=root", "uid"],
    ["PUT", "new?since=soon", "since"],
    ["PUT", "new?since=0a1b2c3d-999-0", "since"],
    ["PUT", "known?when_behind=stop", "when_behind"],
    ["PUT", "known?when_behind=pause&when_behind=skip", "when_behind"],
    ["PUT", "known?lag_max=soon", "lag_max"],
    ["PUT", "known?lag_max=0s", "lag_max"],
    ["PUT", "known?lag_max=-1d", "lag_max"],
    ["PUT", "known?lag_max=999ms", "lag_max"],
    ["PUT", "known?expire=7", "expire"],
    ["PUT", "known?expire=0d", "expire"],
    ["PUT", "known?expire=999999999w", "expire"],
    ["PUT", `${"x".repeat(65)}`, "name"],
    ["PUT", "-x", "name"],
    ["PUT", "a%2Fb", "name"],
    ["PUT", "..%2Ftlog", "name"],
    ["PUT", "%00", "name"],
    ["GET", "%C3%A4", "name"],
    ["DELETE", ".hidden", "name"],
    ["GET", "known?verbose=1", "verbose"],
    ["GET", "known/events?topic=auth", "topic"],
    ["GET", "known/events?limit=0", "limit"],
    ["GET", "known/events?limit=1001", "limit"],
    ["GET", "known/events?wait=61s", "wait"],
    ["GET", "known/events?wait=long", "wait"],
    ["GET", "known/events?take_over=yes", "take_over"],
    ["POST", "known/skip?to=soon", "to"],
    ["POST", "known/skip?events=1001", "events"],
    ["POST", "known/skip?events=1&to=now", "events"],
    ["POST", "known/skip?to=0a1b2c3d-999-0", "to"],
  ])("names the parameter: %s %s", async (method, path, parameter) => {
    const answer = await query.ask(`${PATH}/${path}`, { method });
    const problem = await answer.json();
    expect(problem).toMatchObject({ status: 400, parameter });
    expect(problem.accepted).toBeTruthy();
    expect((await query.ask(`${PATH}/new`)).status).toBe(404);
  });

  test.each([
    ["GET", "absent"],
    ["DELETE", "absent"],
    ["GET", "absent/events"],
    ["POST", "absent/skip"],
  ])("is that there is none: %s %s", async (method, path) => {
    const answer = await query.ask(`${PATH}/${path}`, { method });
    expect(await answer.json()).toMatchObject({ status: 404 });
  });

  test("is a body, a method or a form that cannot be used", async () => {
    for (const [method, path] of [["PUT", "known"], ["POST", "known/skip"]] as const) {
      const answer = await query.ask(`${PATH}/${path}`, { method, body: "{}" });
      expect(answer.status).toBe(400);
    }
    expect((await query.ask(`${PATH}/known`, { method: "POST" })).status).toBe(405);
    expect((await query.ask(`${PATH}/known/events`, { method: "HEAD" })).status).toBe(405);
    const accept = { headers: { accept: "text/csv" } };
    expect((await query.ask(`${PATH}/known/events`, accept)).status).toBe(406);
  });
});

describe("who may touch a subscription", () => {
  const ROUTES = [
    ["GET", ""],
    ["GET", "/known"],
    ["PUT", "/known"],
    ["DELETE", "/known"],
    ["GET", "/known/events"],
    ["POST", "/known/skip"],
  ] as const;

  test.each(ROUTES)("somebody who may not read may not: %s %s", async (method, path) => {
    const answer = await query.ask(`${PATH}${path}`, { method, token: METER });
    expect(await answer.json()).toMatchObject({ status: 403 });
    expect((await query.ask(`${PATH}${path}`, { method, token: null })).status).toBe(401);
  });

  test.each(ROUTES.slice(1))("nor somebody else: %s %s", async (method, path) => {
    const answer = await query.ask(`${PATH}${path}`, { method, token: VIEWER });
    expect(await answer.json()).toMatchObject({ status: 403 });
  });

  test("whoever made it may, and sees no other's, and who operates sees all", async () => {
    expect((await put("theirs", "since=2026-06-01", VIEWER)).status).toBe(201);
    const names = async (token?: string) => {
      const answer = await query.ask(PATH, token === undefined ? {} : { token });
      const { subscriptions } = await answer.json();
      return subscriptions.map(({ name }: { readonly name: string }) => name);
    };
    expect(await names(VIEWER)).toEqual(["theirs"]);
    expect(await names()).toEqual(["known", "theirs"]);
    const ids = await idsOf(
      await query.ask(`${PATH}/theirs/events`, { headers: NDJSON, token: VIEWER }),
    );
    // Files of one host: what the viewer may see, and nothing else.
    expect(ids).toHaveLength(49);
    expect((await query.ask(`${PATH}/theirs`, { method: "DELETE" })).status).toBe(204);
    expect(await names()).toEqual(["known"]);
  });

  test("every change is an event", () => {
    const changes = query.lines.filter((line) => line.includes("audit/admin"));
    expect(changes.join("\n")).toContain('viewer made subscription \\"theirs\\"');
    expect(changes.join("\n")).toContain('admin removed subscription \\"theirs\\"');
  });
});

describe("a subscription of the archive alone", () => {
  test("gives all of it once, and is told as one that follows the last event it saw", async () => {
    const all = (await query.search("order=asc")).map(({ id }) => id);
    await put("all", "since=2026-06-01");
    const first = await (await query.ask(`${PATH}/all/events?limit=100`)).json();
    expect(first.gaps).toEqual([]);
    const rest = await idsOf(await query.ask(`${PATH}/all/events`, { headers: NDJSON }));
    expect([...first.events.map(({ id }: { readonly id: string }) => id), ...rest]).toEqual(all);
    expect(all).toHaveLength(EVENTS);
    const after = async (id: string) => {
      const headers = { "last-event-id": id };
      return (await (await query.ask(`${PATH}/all/events`, { headers })).json()).gaps;
    };
    expect(await after(String(all.at(-1)))).toEqual([]);
    expect(await after(String(all[99]))).toMatchObject([{ count: null, to: all.at(-1) }]);
    expect(await after("")).toEqual([]);
    expect(RANGE).toContain("2026-06-01");
  });

  test("shows itself as it was asked for", async () => {
    await put("shown", "topic=process&uid=>=0&uid=<9&when_behind=skip&lag_max=90m&expire=2w");
    expect(await (await query.ask(`${PATH}/shown`)).json()).toMatchObject({
      ...{ name: "shown", state: "idle", owner: "admin", delivered: 0, skipped: 0 },
      filters: { topic: ["process"], uid: [">=0", "<9"] },
      ...{ when_behind: "skip", lag_max: "90m", expire: "14d" },
      lag: { messages: 0, seconds: 0 },
    });
  });
});
