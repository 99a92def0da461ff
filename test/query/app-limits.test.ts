import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES_PER_MINUTE } from "../../src/query/audit.ts";
import { BODY_BYTES_MAX, FAILURES_BURST } from "../../src/query/door.ts";
import { openQueryFixture, type QueryFixture, RANGE, VIEWER } from "../support/query-fixture.ts";

const WRONG = "not-the-token-but-long-enough";

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture({ requestsPerSecond: 2 });
});
afterAll(() => query[Symbol.asyncDispose]());

/** Statuses of so many requests, in a row. */
async function statuses(
  count: number,
  { path = "/v1/topics", ...options }: Parameters<QueryFixture["ask"]>[1] & { path?: string },
): Promise<readonly number[]> {
  const all: number[] = [];
  for (let round = 0; round < count; round++) {
    const answer = await query.ask(path, options);
    all.push(answer.status);
    await answer.body?.cancel();
  }
  return all;
}
const audited = (text: string) => query.lines.filter((line) => line.includes(text));

describe("too many refused tokens from one address", () => {
  test("are 429, audited once, and nobody's matter but of who has no token", async () => {
    const remote = "192.0.2.7";
    const first = await statuses(FAILURES_BURST, { token: WRONG, remote });
    expect(first).toEqual(Array(FAILURES_BURST).fill(401));
    expect(await statuses(20, { token: WRONG, remote })).toContain(429);
    const answer = await query.ask("/v1/topics", { token: null, remote });
    expect(answer.status).toBe(429);
    expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(answer.headers.has("www-authenticate")).toBe(false);
    expect(audited("192.0.2.7 was refused: too many requests without a token")).toHaveLength(1);
    // Each refused token has an event too, within a bound of its own.
    expect(audited("audit/login")).toHaveLength(FAILURES_PER_MINUTE + 1);
    expect((await query.ask("/v1/topics", { remote })).status).toBe(200);
    expect((await query.ask("/v1/topics", { token: WRONG, remote: "192.0.2.8" })).status)
      .toBe(401);
    expect((await query.ask("/healthz", { token: null, remote })).status).toBe(200);
  });

  test("count by network where one has more addresses than can be counted", async () => {
    for (let host = 0; host < FAILURES_BURST; host++) {
      await statuses(1, { token: WRONG, remote: `2001:db8:1:2:${host.toString(16)}::1` });
    }
    expect(await statuses(1, { token: WRONG, remote: "2001:db8:1:2::99" })).toEqual([429]);
    expect(await statuses(1, { token: WRONG, remote: "2001:db8:1:3::99" })).toEqual([401]);
    expect(await statuses(1, { token: WRONG, remote: "2001:db8::1" })).toEqual([401]);
  });
});

describe("too many requests of one principal", () => {
  test("are 429, audited once, and nobody else's matter", async () => {
    const all = await statuses(40, { token: VIEWER, path: "/v1/topics?x=1" });
    expect(all.slice(0, 20)).toEqual(Array(20).fill(400));
    expect(all.filter((status) => status === 429).length).toBeGreaterThan(10);
    const answer = await query.ask("/v1/topics", { token: VIEWER });
    expect(answer.status).toBe(429);
    expect(answer.headers.get("retry-after")).toBe("1");
    expect(audited("viewer asks for too much: a request was refused.")).toHaveLength(1);
    expect(audited("viewer asks for too much")).toHaveLength(1);
    expect((await query.ask("/v1/topics")).status).toBe(200);
  });
});

describe("what is too large", () => {
  test("is refused before anybody is asked for a token", async () => {
    const long = "x".repeat(30_000);
    const cases = [
      [414, `/v1/events?user=${long}`, {}],
      [431, `/v1/events?${RANGE}`, { headers: { "x-long": long } }],
      [413, "/v1/sql", { method: "POST", body: "x".repeat(BODY_BYTES_MAX + 1) }],
    ] as const;
    for (const [status, path, options] of cases) {
      const headers = status === 413
        ? { "content-length": String(BODY_BYTES_MAX + 1) }
        : "headers" in options
        ? options.headers
        : {};
      const answer = await query.ask(path, { ...options, headers, token: null });
      expect(answer.status).toBe(status);
      expect(answer.headers.get("content-type")).toBe("application/problem+json");
    }
  });

  test("is refused although it does not say how large it is", async () => {
    const body = new ReadableStream({
      pull: (controller) => controller.enqueue(new Uint8Array(65_536)),
    });
    // A body that is a stream is sent while it is made, as its only way.
    const init = { method: "POST", body, duplex: "half" };
    const answer = await query.ask("/v1/sql", init);
    expect(answer.status).toBe(413);
  });
});
