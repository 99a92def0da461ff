import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { generateKeyPair } from "jose";
import { KeyObject } from "node:crypto";
import { BRIEF_PER_SECOND, type OidcOptions, openOidc } from "../../src/query/oidc/oidc.ts";
import { createLog } from "../../src/runtime/log.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { type Issuer, openIssuer } from "../support/issuer.ts";
import { openQueryFixture, type QueryFixture, RANGE } from "../support/query-fixture.ts";

const GRANTS: OidcOptions["grants"] = [
  { claim: "groups", value: "audit-admins", role: "admin" },
  { claim: "realm_access.roles", value: "auditor", role: "auditor" },
  { claim: "groups", value: "files", role: "analyst", hosts: ["db-*"], topics: ["file"] },
  { claim: "groups", value: "team", role: "viewer", hosts_claim: "probity_hosts" },
  { claim: "groups", value: "all", role: "viewer" },
];

let issuer: Issuer;
let query: QueryFixture;

beforeAll(async () => {
  issuer = await openIssuer();
  query = await openQueryFixture({
    oidc: { issuer: issuer.url, audience: "probity", skewSeconds: 0, grants: GRANTS },
  });
});
afterAll(async () => {
  await query[Symbol.asyncDispose]();
  await issuer[Symbol.asyncDispose]();
});

const hostsSeen = async (token: string) =>
  [...new Set((await query.search("", { token })).map(({ host }) => host))].toSorted();
const statusOf = async (token: string, path = `/v1/events?${RANGE}`) => {
  const answer = await query.ask(path, { token });
  await answer.body?.cancel();
  return answer.status;
};

describe("a token of the issuer", () => {
  test("gives what the first rule that fits says, in every part", async () => {
    const cases = [
      [{ groups: ["all"] }, ["db-1", "web-1"], "viewer"],
      [{ groups: "all" }, ["db-1", "web-1"], "viewer"],
      [{ groups: ["all", "files"] }, ["db-1"], "analyst"],
      [{ groups: ["files", "audit-admins"] }, ["db-1", "web-1"], "admin"],
      [{ realm_access: { roles: ["auditor"] } }, ["db-1", "web-1"], "auditor"],
      [{ groups: ["team"], probity_hosts: ["web-*"] }, ["web-1"], "viewer"],
      [{ groups: ["team"], probity_hosts: "db-1" }, ["db-1"], "viewer"],
      [{ groups: ["team"], probity_hosts: ["a*b", "", 7, "*x"] }, [], "viewer"],
      [{ groups: ["team"] }, [], "viewer"],
    ] as const;
    const reach = { viewer: "", analyst: "/v1/sql", auditor: "/metrics", admin: "/v1/tokens" };
    for (const [claims, hosts, role] of cases) {
      const token = await issuer.sign(claims);
      expect(await hostsSeen(token)).toEqual(hosts);
      expect(await statusOf(token, "/v1/tokens")).toBe(role === "admin" ? 200 : 403);
      const isOperating = role === "admin" || role === "auditor";
      expect(await statusOf(token, "/metrics")).toBe(isOperating ? 200 : 403);
      const sql = await query.sql("SELECT DISTINCT host FROM events ORDER BY 1", {}, { token });
      expect(sql.status).toBe(reach[role] === "" ? 403 : 200);
      if (sql.ok) expect((await sql.json()).rows).toEqual(hosts.map((host) => ({ host })));
    }
    expect(query.lines.join("")).toContain("oidc:ann read");
  });

  test.each([{}, { groups: ["other"] }, { groups: { all: true } }, { groups: 7 }])(
    "without a rule that fits may do nothing: %j",
    async (claims) => {
      expect(await statusOf(await issuer.sign(claims))).toBe(403);
    },
  );

  test("is nobody of the registry, whatever it calls itself", async () => {
    const token = await issuer.sign({ sub: "admin", groups: ["all"] });
    expect(await statusOf(token, "/v1/tokens")).toBe(403);
    expect(await statusOf(token)).toBe(200);
    expect(query.lines.join("")).toContain("oidc:admin read");
  });

  test("ends what was begun with it when it expires", async () => {
    const token = await issuer.sign({ groups: ["all"], exp: Math.floor(Date.now() / 1_000) + 2 });
    const answer = await query.ask("/v1/tail", { token });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain(": the token has ended\n\n");
    expect(await statusOf(token)).toBe(401);
  });
});

describe("a token that is not good", () => {
  const none = (claims: object, header: object) =>
    `${
      [header, claims].map((each) => Buffer.from(JSON.stringify(each)).toString("base64url")).join(
        ".",
      )
    }.`;
  const claims = { groups: ["audit-admins"] };
  const past = Math.floor(Date.now() / 1_000) - 10;

  test("is 401, and never says why", async () => {
    const own = await generateKeyPair("ES256");
    const rsa = await issuer.addKey("rsa", "RS256");
    const publicPem = KeyObject.from(rsa.publicKey).export({ type: "spki", format: "pem" });
    const publicJwk = JSON.stringify(await issuer.publicKey("rsa"));
    const good = await issuer.sign(claims);
    const whole = { iss: issuer.url, aud: "probity", sub: "ann", exp: past + 3_600, ...claims };
    const [head = "", body = "", signature = ""] = good.split(".");
    const hmac = { kid: "rsa", header: { alg: "HS256" } };
    const tokens: Readonly<Record<string, string>> = {
      none: none(whole, { alg: "none", kid: "one" }),
      noneInCapitals: none(whole, { alg: "NONE" }),
      withoutSignature: `${head}.${body}.`,
      hmacWithPem: await issuer.sign(claims, {
        ...hmac,
        key: new TextEncoder().encode(`${publicPem}`),
      }),
      hmacWithJwk: await issuer.sign(claims, { ...hmac, key: new TextEncoder().encode(publicJwk) }),
      ownKey: await issuer.sign(claims, { key: own.privateKey }),
      ownKeyInHeader: await issuer.sign(claims, {
        key: own.privateKey,
        header: { jwk: { kty: "EC", crv: "P-256", x: "AA", y: "AA" } },
      }),
      unknownKey: await issuer.sign(claims, { key: own.privateKey, kid: "never" }),
      otherAudience: await issuer.sign({ ...claims, aud: "other" }),
      noAudience: await issuer.sign({ ...claims, aud: undefined }),
      otherIssuer: await issuer.sign({ ...claims, iss: `${issuer.url}/other` }),
      noIssuer: await issuer.sign({ ...claims, iss: undefined }),
      expired: await issuer.sign({ ...claims, exp: past }),
      withoutExpiry: await issuer.sign({ ...claims, exp: undefined }),
      later: await issuer.sign({ ...claims, nbf: past + 3_600 }),
      nobody: await issuer.sign({ ...claims, sub: undefined }),
      lines: await issuer.sign({ ...claims, sub: "ann\nadmin" }),
      changed: `${head}.${Buffer.from(JSON.stringify(whole)).toString("base64url")}.${signature}`,
      nonsense: "a.b.c",
      long: `${head}.${"A".repeat(20_000)}.${signature}`.slice(0, 13_000),
    };
    const answers = new Set<string>();
    for (const [name, token] of Object.entries(tokens)) {
      const answer = await query.ask("/v1/events", { token });
      expect(`${name} ${answer.status}`).toBe(`${name} 401`);
      if (name !== "long") answers.add(await answer.text());
    }
    expect(answers.size).toBe(1);
    expect(await statusOf(good)).toBe(200);
    // For all of them, and many more of unknown keys, the issuer was asked once and once again.
    for (let kid = 0; kid < 20; kid++) {
      await statusOf(await issuer.sign(claims, { key: own.privateKey, kid: `k${kid}` }));
    }
    expect(issuer.asked["/keys"]).toBeLessThanOrEqual(2);
    expect(query.lines.join("")).not.toContain(signature);
  });

  test("locks nobody else out at its address, and asks the issuer nothing when it was wrong too often", async () => {
    const known = await issuer.sign({ groups: ["all"] });
    const unknown = await issuer.sign({ groups: ["all"], jti: "2" });
    const { privateKey } = await generateKeyPair("ES256");
    const forged = await issuer.sign({ groups: ["all"] }, { key: privateKey });
    const otherKey = await issuer.sign({ groups: ["all"] }, { key: privateKey, kid: "absent" });
    const ask = async (token: string) =>
      (await query.ask("/v1/topics", { token, remote: "192.0.2.9" })).status;
    expect(await ask(known)).toBe(200);
    for (let round = 0; round < 31; round++) await ask("a.b.c");
    expect(await ask(known)).toBe(200);
    // Not used before, and its key is at hand.
    expect(await ask(unknown)).toBe(200);
    expect([await ask(forged), await ask(otherKey)]).toEqual([429, 429]);
    expect((await query.ask("/v1/topics", { token: unknown, remote: "192.0.2.10" })).status)
      .toBe(200);
  });
});

describe("the issuer's keys", () => {
  const open = (of: Issuer, more: Partial<OidcOptions> = {}) =>
    openOidc({
      ...{ issuer: of.url, audience: "probity", grants: GRANTS, skewSeconds: 0, cooldownMs: 100 },
      ...{ clock: systemClock, log: createLog({ level: "error", write: () => undefined }) },
      ...more,
    });
  const named = { principal: { name: "oidc:ann" } };

  test("are taken when they are new, and what was begun with one ends when it is withdrawn", async () => {
    await using own = await openIssuer();
    await using oidc = open(own);
    const first = await own.sign({});
    const found = await oidc.find(first);
    expect(found).toMatchObject(named);
    expect(await oidc.find(first)).toBe(found);
    for (const [kid, algorithm] of [["two", "EdDSA"], ["three", "PS256"]] as const) {
      await own.addKey(kid, algorithm);
      const token = await own.sign({}, { kid, header: { alg: algorithm } });
      await expect.poll(() => oidc.find(token), { interval: 50 }).toMatchObject(named);
    }
    expect(await oidc.find(first)).toBe(found);
    own.withdrawKey("one");
    await own.addKey("four");
    const fourth = await own.sign({}, { kid: "four" });
    await expect.poll(() => oidc.find(fourth), { interval: 50 }).toMatchObject(named);
    expect(typeof found === "object" && found.ended.aborted).toBe(true);
    expect(await oidc.find(first)).toBeUndefined();
  });

  /** A clock that can be put forward. */
  const movable = () => {
    let aheadMs = 0;
    const elapsedMs = (): number => performance.now() + aheadMs;
    return { clock: { ...systemClock, elapsedMs }, pass: (ms: number) => aheadMs += ms };
  };

  test("are asked for again though no other token comes, and end what a withdrawn one began", async () => {
    await using own = await openIssuer();
    const { clock, pass } = movable();
    await using oidc = open(own, { clock });
    const [named, nameless] = [
      await own.sign({}),
      await own.sign({}, { kid: null }),
    ];
    const found = [await oidc.find(named), await oidc.find(nameless)];
    await own.addKey("two");
    own.withdrawKey("one");
    pass(600_001);
    await expect.poll(() => found.map((each) => typeof each === "object" && each.ended.aborted), {
      timeout: 5_000,
    })
      .toEqual([true, true]);
    expect([await oidc.find(named), await oidc.find(nameless)]).toEqual([undefined, undefined]);
  });

  test("are relied on for an hour without the issuer, and so is what they began", async () => {
    await using own = await openIssuer();
    const { clock, pass } = movable();
    await using oidc = open(own, { clock });
    const token = await own.sign({});
    const found = await oidc.find(token);
    own.answer = { status: 503, body: "" };
    pass(3_500_000);
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    expect(await oidc.find(token)).toBe(found);
    pass(200_000);
    await expect.poll(() => typeof found === "object" && found.ended.aborted, { timeout: 5_000 })
      .toBe(true);
    expect(await oidc.find(token)).toBe("away");
    expect(await oidc.find(token, { isBrief: true })).toBe("away");
  });

  test("verify so many forged tokens a second at most for those who were wrong too often", async () => {
    await using own = await openIssuer();
    // Time stands still: none is given back.
    await using oidc = open(own, { clock: { ...systemClock, elapsedMs: () => 1_000_000 } });
    expect(await oidc.find(await own.sign({}))).toMatchObject(named);
    const { privateKey } = await generateKeyPair("ES256");
    const forged = await own.sign({}, { key: privateKey });
    const good = await own.sign({ jti: "2" });
    const brief = { isBrief: true };
    for (let each = 0; each < BRIEF_PER_SECOND; each++) await oidc.find(forged, brief);
    expect(await oidc.find(good, brief)).toBeUndefined();
    expect(await oidc.find(good)).toMatchObject(named);
    expect(await oidc.find(good, brief)).toMatchObject(named);
  });

  test("stay good while the issuer is away, and nobody is let in before they were had", async () => {
    await using own = await openIssuer();
    own.answer = { status: 503, body: "" };
    await using oidc = open(own);
    const token = await own.sign({});
    expect(await oidc.find(token)).toBe("away");
    for (const body of ["", "[]", "{}", '{"issuer": "https://evil.example"}', "x".repeat(2e6)]) {
      own.answer = { status: 200, body };
      await new Promise((resolve) => setTimeout(resolve, 110));
      expect(await oidc.find(token)).toBe("away");
    }
    own.answer = undefined;
    await expect.poll(() => oidc.find(token), { interval: 50 }).toMatchObject(named);
    own.answer = { status: 503, body: "" };
    expect(await oidc.find(await own.sign({ jti: "2" }))).toMatchObject(named);
    expect(await oidc.find(await own.sign({}, { header: { kid: "new" } }))).toBeUndefined();
  });

  test("take an algorithm and a clock that is off only as far as told", async () => {
    await using own = await openIssuer();
    const before = Math.floor(Date.now() / 1_000) - 20;
    await using near = open(own, { skewSeconds: 60 });
    expect(await near.find(await own.sign({ exp: before }))).toMatchObject(named);
    expect(await near.find(await own.sign({ exp: before - 60 }))).toBeUndefined();
    expect(await near.find(await own.sign({ nbf: before + 70 }))).toMatchObject(named);
    await using other = open(own, { algorithms: ["RS256"] });
    expect(await other.find(await own.sign({}))).toBeUndefined();
    await using byMail = open(own, { nameClaim: "email" });
    expect(await byMail.find(await own.sign({ email: "a@b.example" })))
      .toMatchObject({ principal: { name: "oidc:a@b.example" } });
  });

  test.each(
    [
      { issuer: "http://login.example.org" },
      { issuer: "ftp://127.0.0.1" },
      { issuer: "nonsense" },
      { algorithms: ["HS256"] },
      { algorithms: ["none"] },
      { algorithms: [] },
      { audience: "" },
      { skewSeconds: 3_600 },
      { grants: [{ claim: "g", value: "v", role: "admin", hosts: ["web-1"] }] },
      { grants: [{ claim: "g", value: "v", role: "operator", topics_claim: "t" }] },
      { grants: [{ claim: "g", value: "v", role: "viewer", hosts: ["a*b"] }] },
      { grants: [{ claim: "g", value: "v", role: "viewer", hosts: [] }] },
      { grants: [{ claim: "g", value: "v", role: "viewer", topics: ["*"] }] },
      { grants: [{ claim: "g", value: "v", role: "viewer", hosts: ["a"], hosts_claim: "h" }] },
    ] as readonly Partial<OidcOptions>[],
  )("are not asked for with settings such as %j", (settings) => {
    expect(() => open(issuer, settings)).toThrow("Cannot use [oidc]");
  });
});
