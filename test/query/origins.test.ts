/** Which pages of other sites may speak to the service: over HTTP and for a WebSocket. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { origins as originsType } from "../../src/cli/option-type.ts";
import type { ApiDocument } from "../../src/query/openapi-document.ts";
import { createOrigins, EXPOSED_HEADERS, isOrigin, ORIGINS_MAX } from "../../src/query/origins.ts";
import { operationsOf, responseOf } from "../support/api-answer.ts";
import { openQueryFixture, type QueryFixture, RANGE, TOKEN } from "../support/query-fixture.ts";

const PAGE = "https://app.example.org";
const OTHERS = [
  "https://app.example.org:8443",
  "http://app.example.org",
  "https://app.example.org.evil.test",
  "https://evil.test",
  "null",
  "",
];

let listed: QueryFixture;
let bare: QueryFixture;

beforeAll(async () => {
  listed = await openQueryFixture({ origins: [PAGE, "http://127.0.0.1:8080"] });
  bare = await openQueryFixture();
});
afterAll(async () => {
  await listed?.[Symbol.asyncDispose]();
  await bare?.[Symbol.asyncDispose]();
});

const preflight = (query: QueryFixture, origin: string) =>
  query.ask("/v1/events", {
    method: "OPTIONS",
    token: null,
    headers: { origin, "access-control-request-method": "GET" },
  });

describe("an origin", () => {
  test.each([PAGE, "http://127.0.0.1:8080", "https://[::1]:8443"])("is %s", (text) => {
    expect(isOrigin(text)).toBe(true);
  });

  test.each([
    "*",
    "null",
    "",
    `${PAGE}/`,
    `${PAGE}/a`,
    "https://App.example.org",
    "app.example.org",
  ])(
    "is not %s",
    (text) => {
      expect(isOrigin(text)).toBe(false);
      expect(() => createOrigins([text])).toThrow(/Cannot use origins/);
      expect(originsType.accept([PAGE, text])).toBeUndefined();
      expect(originsType.parse(`${PAGE},${text}`)).toBeUndefined();
    },
  );

  test("comes as a list in the file, and joined by commas elsewhere", () => {
    const two = [PAGE, "http://127.0.0.1:8080"];
    expect(originsType.accept(two)).toEqual(two);
    expect(originsType.parse(two.join(","))).toEqual(two);
    for (const wrong of [PAGE, [PAGE, 7], Array(ORIGINS_MAX + 1).fill(PAGE)]) {
      expect(originsType.accept(wrong)).toBeUndefined();
    }
  });
});

describe("a page on the list", () => {
  test("may ask, and reads answers and refusals", async () => {
    const asked = await preflight(listed, PAGE);
    expect(asked.status).toBe(204);
    expect(asked.headers.get("access-control-allow-origin")).toBe(PAGE);
    expect(asked.headers.get("access-control-allow-headers")).toContain("Authorization");
    for (const token of [TOKEN, null]) {
      const answer = await listed.ask(`/v1/events?${RANGE}`, { token, headers: { origin: PAGE } });
      expect(answer.status).toBe(token === null ? 401 : 200);
      expect(answer.headers.get("access-control-allow-origin")).toBe(PAGE);
      expect(answer.headers.get("vary")).toContain("Origin");
      expect(answer.headers.get("access-control-allow-credentials")).toBeNull();
      await answer.body?.cancel();
    }
  });

  test("may read every header that the description names", async () => {
    const document: ApiDocument = await (await listed.ask("/openapi.json")).json();
    const named = operationsOf(document).flatMap(({ operation }) =>
      Object.keys(operation.responses).flatMap((status) =>
        Object.keys(responseOf(document, operation, Number(status) || 500)?.headers ?? {})
      )
    );
    expect(named.length).toBeGreaterThan(50);
    expect([...new Set(named)].filter((name) => !EXPOSED_HEADERS.includes(name))).toEqual([]);
  });

  test("may open a WebSocket, as the service's own pages may", async () => {
    const handshake = (origin: string) => ({
      ...{ authorization: `Bearer ${TOKEN}`, protocols: [], remote: undefined },
      ...{ origin, host: "audit.example.org" },
    });
    for (const origin of [PAGE, "https://audit.example.org"]) {
      await expect(listed.service.rpc.admit(handshake(origin))).resolves.toBeDefined();
    }
    for (const origin of OTHERS) {
      const refused = listed.service.rpc.admit(handshake(origin));
      await expect(refused).rejects.toMatchObject({ problem: { status: 403 } });
    }
    await expect(bare.service.rpc.admit(handshake(PAGE))).rejects.toThrow(/another origin/);
  });
});

describe("a page that is not", () => {
  test.each(OTHERS)("reads nothing: %s", async (origin) => {
    for (const query of [listed, bare]) {
      const answers = [
        await preflight(query, origin),
        await query.ask(`/v1/events?${RANGE}&limit=1`, { headers: { origin } }),
      ];
      expect(answers.map(({ status }) => status)).toEqual([405, 200]);
      for (const { headers } of answers) {
        expect([...headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
        expect(headers.get("vary")?.includes("Origin") ?? false).toBe(query === listed);
      }
    }
  });

  test("is one that the list would have, where there is no list", async () => {
    expect((await preflight(bare, PAGE)).status).toBe(405);
  });
});
