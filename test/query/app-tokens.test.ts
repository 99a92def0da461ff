import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isTokenText } from "../../src/query/token-text.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { tellRecords } from "../../src/storage/admin-record.ts";
import { sha256OfToken, TOKEN_ROLES, type TokenRole } from "../../src/storage/token.ts";
import {
  type AskOptions,
  METER,
  openQueryFixture,
  type QueryFixture,
  RANGE,
  TOKEN,
  VIEWER,
} from "../support/query-fixture.ts";

let query: QueryFixture;
const tokens = new Map<TokenRole, string>();

const put = (name: string, parameters: string, options: AskOptions = {}) =>
  query.ask(`/v1/tokens/${name}?${parameters}`, { method: "PUT", ...options });
const revoke = (name: string, options: AskOptions = {}) =>
  query.ask(`/v1/tokens/${name}`, { method: "DELETE", ...options });

/** The text of a new token. */
async function made(name: string, parameters: string): Promise<string> {
  const answer = await put(name, parameters);
  if (answer.status !== 201) throw new Error(`Cannot make a token: ${await answer.text()}`);
  return (await answer.json()).token;
}

beforeAll(async () => {
  query = await openQueryFixture({ tallyIntervalMs: 20 });
  for (const role of TOKEN_ROLES) tokens.set(role, await made(`a-${role}`, `role=${role}`));
});
afterAll(() => query[Symbol.asyncDispose]());

describe("what each role may do", () => {
  test("an auditor sees everybody's subscriptions and changes none", async () => {
    const path = "/v1/subscriptions/theirs";
    const token = tokens.get("auditor") ?? null;
    await query.ask(`${path}?since=2026-06-01`, {
      method: "PUT",
      token: tokens.get("viewer") ?? null,
    });
    expect((await query.ask(path, { token })).status).toBe(200);
    const changes = [["PUT", path], ["DELETE", path], ["POST", `${path}/skip`], [
      "GET",
      `${path}/events`,
    ]];
    for (const [method = "", target = ""] of changes) {
      expect((await query.ask(target, { method, token })).status).toBe(403);
    }
    expect((await query.ask(path, { method: "DELETE" })).status).toBe(204);
  });
});

describe("what a token may see", () => {
  const SCOPES = [
    { scope: "host=db-1", count: 50, hosts: ["db-1"], topics: ["file/write", "network/connect"] },
    { scope: "host=web-*", count: 200, hosts: ["web-1"], topics: ["process/exec"] },
    { scope: "host=db-1&host=web-1", count: 250, hosts: ["db-1", "web-1"] },
    { scope: "host=*", count: 250, hosts: ["db-1", "web-1"] },
    { scope: "topic=file", count: 49, hosts: ["db-1"], topics: ["file/write"] },
    { scope: "topic=file&topic=network/connect", count: 50, hosts: ["db-1"] },
    { scope: "host=web-*&topic=file", count: 0, hosts: [], topics: [] },
    // Neither the beginning of a name, nor a further topic of an event that is another's.
    { scope: "host=db", count: 0, hosts: [] },
    { scope: "topic=fil", count: 0, hosts: [] },
    { scope: "topic=app", count: 0, hosts: [] },
    { scope: "host=%25", count: 0, hosts: [] },
    { scope: "host=x'OR'1'='1", count: 0, hosts: [] },
  ] as const;

  const cases = SCOPES.map((each) => ({ topics: undefined, ...each }))
    .map((each, at) => ({ ...each, name: `scope-${at}` }));

  test.each(cases)("with $scope: $count", async ({ name, scope, count, hosts, topics }) => {
    const token = await made(name, `role=analyst&${scope}`);

    const events = await query.search("", { token });
    expect(events).toHaveLength(count);
    expect([...new Set(events.map(({ host }) => host))].toSorted()).toEqual(hosts);
    if (topics !== undefined) {
      expect([...new Set(events.map(({ topic }) => topic))].toSorted()).toEqual(topics);
    }
    const counted = await query.ask(`/v1/events?${RANGE}`, { method: "HEAD", token });
    expect(counted.headers.get("probity-count")).toBe(String(count));
  });

  test("applies to a subscription that its name has had with a wider one", async () => {
    const path = "/v1/subscriptions/kept";
    const wide = await made("carol", "role=viewer");
    const request = `${path}?since=2026-06-01`;
    expect((await query.ask(request, { method: "PUT", token: wide })).status).toBe(201);
    await revoke("carol");
    const token = await made("carol", "role=viewer&host=db-1");
    const { events } = await (await query.ask(`${path}/events?limit=1000`, { token })).json();
    expect(events).toHaveLength(50);
    await query.ask(path, { method: "DELETE" });
  });
});

describe("/v1/tokens", () => {
  const list = async () => (await (await query.ask("/v1/tokens")).json()).tokens;

  test("shows the text once, and never a digest", async () => {
    const answer = await put("ann", "role=viewer&host=web-*&topic=file&expire=30d");
    expect(answer.status).toBe(201);
    expect(answer.headers.get("cache-control")).toBe("no-store");
    const { token, ...told } = await answer.json();
    expect(isTokenText(token)).toBe(true);
    expect(told).toEqual({
      ...{ name: "ann", role: "viewer", hosts: ["web-*"], topics: ["file"] },
      ...{ created: expect.any(String), expires: expect.any(String), expired: false, by: "admin" },
    });
    expect(Date.parse(told.expires) - Date.parse(told.created)).toBe(30 * 86_400_000);
    expect(await list()).toContainEqual(told);
    const told2 = JSON.stringify([await list(), query.lines]);
    expect(told2).not.toContain(token);
    expect(told2).not.toContain(sha256OfToken(token));
    expect(told2).not.toContain("sha256");
  });

  test("lets a token work at once, and never again once it is revoked", async () => {
    const token = await made("bob", "role=viewer");
    const ask = async () => (await query.ask("/v1/events", { token })).status;
    expect(await ask()).toBe(200);
    expect((await revoke("bob")).status).toBe(204);
    expect(await ask()).toBe(401);
    expect((await revoke("bob")).status).toBe(404);
    const second = await made("bob", "role=viewer");
    expect(await ask()).toBe(401);
    expect((await query.ask("/v1/events", { token: second })).status).toBe(200);
  });

  test("ends what was begun with a token that is revoked, and says so", async () => {
    const token = await made("eve", "role=viewer");
    const answer = await query.ask("/v1/tail", { token });
    expect(answer.status).toBe(200);
    const text = answer.text();
    await revoke("eve");
    expect(await text).toContain(": the token has ended\n\n");
  });

  test("refuses an expired one, and says so to who has it", async () => {
    const token = await made("short", "role=viewer&expire=1s");
    const answer = async () => await (await query.ask("/v1/events", { token })).json();
    await expect.poll(answer, { timeout: 10_000, interval: 100 })
      .toMatchObject({ status: 401, detail: "The token has expired" });
    expect(await list()).toContainEqual(expect.objectContaining({ name: "short", expired: true }));
  });

  test("changes none that stands", async () => {
    await made("dan", "role=viewer");
    expect((await put("dan", "role=admin")).status).toBe(409);
    expect(await list()).toContainEqual(expect.objectContaining({ name: "dan", role: "viewer" }));
  });

  test("gives one of two who ask for a name at the same moment", async () => {
    const answers = await Promise.all([put("race", "role=viewer"), put("race", "role=viewer")]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 409]);
    const given = answers.find(({ status }) => status === 201);
    const { token } = await given?.json();
    expect((await query.ask("/v1/events", { token })).status).toBe(200);
  });

  test.each([
    ["x", "", "role"],
    ["x", "role=", "role"],
    ["x", "role=root", "role"],
    ["x", "role=toString", "role"],
    ["x", "role=viewer&role=admin", "role"],
    ["x", "role=viewer&host=", "host"],
    ["x", "role=viewer&host=a*b", "host"],
    ["x", "role=viewer&host=a%20b", "host"],
    ["x", `role=viewer&host=${"h".repeat(257)}`, "host"],
    ["x", `role=viewer${"&host=h".repeat(101)}`, "host"],
    ["x", "role=viewer&topic=", "topic"],
    ["x", "role=viewer&topic=file/", "topic"],
    ["x", "role=viewer&topic=*", "topic"],
    ["x", "role=admin&host=web-1", "host"],
    ["x", "role=admin&topic=file", "topic"],
    ["x", "role=operator&host=web-1", "host"],
    ["x", "role=viewer&expire=never", "expire"],
    ["x", "role=viewer&expire=0s", "expire"],
    ["x", "role=viewer&expire=4000d", "expire"],
    ["x", "role=viewer&sha256=00", "sha256"],
    ["-x", "role=viewer", "name"],
    ["a%2Fb", "role=viewer", "name"],
    ["admin", "role=viewer", "name"],
    ["probity-query", "role=viewer", "name"],
  ])("names what is wrong: %s?%.60s", async (name, parameters, parameter) => {
    const answer = await put(name, parameters);
    expect(await answer.json()).toMatchObject({ status: 400, parameter });
    expect((await list()).map((each: { name: string }) => each.name)).not.toContain(name);
  });

  test("takes no body", async () => {
    expect((await put("x", "role=viewer", { body: "{}" })).status).toBe(400);
  });

  test("is for administrators, and its refusals change nothing", async () => {
    await made("kept", "role=viewer");
    const others = TOKEN_ROLES.filter((role) => role !== "admin").map((role) => tokens.get(role));
    for (const token of [...others, VIEWER, METER]) {
      if (token === undefined) throw new Error("a role has no token");
      expect((await put("mine", "role=admin", { token })).status).toBe(403);
      expect((await revoke("kept", { token })).status).toBe(403);
    }
    const names = (await list()).map((each: { name: string }) => each.name);
    expect(names).toContain("kept");
    expect(names).not.toContain("mine");
  });

  test("can be used by an administrator whom a token made, who can be revoked", async () => {
    const token = await made("second", "role=admin");
    expect((await put("third", "role=viewer", { token })).status).toBe(201);
    expect(await list()).toContainEqual(expect.objectContaining({ name: "third", by: "second" }));
    expect((await revoke("second", { token })).status).toBe(204);
    expect((await revoke("third", { token })).status).toBe(401);
  });

  test("has each change recorded, without what gives access", async () => {
    const told: string[] = [];
    const log = createLog({ level: "error", write: () => undefined });
    await tellRecords({ store: query.store, clock: systemClock, log }, (event) => {
      told.push(JSON.stringify(event));
      return Promise.resolve();
    });
    const ofBob = told.filter((line) => line.includes('"name":"bob"'));
    expect(ofBob.filter((line) => line.includes("admin made a token."))).toHaveLength(2);
    expect(ofBob.filter((line) => line.includes("admin revoked a token."))).toHaveLength(1);
    expect(told.join("")).not.toContain("prb_");
    expect(told.join("")).not.toContain("sha256");
  });
});

test.each([
  "prb_",
  `prb_${"0".repeat(49)}`,
  `prb_${"é".repeat(49)}`.normalize("NFD"),
  `${TOKEN} `.repeat(3),
])("a malformed token is refused: %#", async (token) => {
  const headers = { authorization: `Bearer ${encodeURI(token)}` };
  const answer = await query.ask("/v1/events", { token: null, headers });
  expect(answer.status).toBe(401);
});
