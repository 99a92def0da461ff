import { afterAll, beforeAll, describe, expect, test } from "vitest";
import fc from "fast-check";
import type { AuditEvent } from "../../src/event/event.ts";
import {
  type ContextEvent,
  type ContextSpan,
  DEPTH_MAX,
  growContexts,
} from "../../src/query/contexts/tree.ts";
import {
  openQueryFixture,
  type QueryFixture,
  RANGE,
  START_US,
  VIEWER,
} from "../support/query-fixture.ts";

let at = 0;
/** The next event of a context: a beginning without a key. */
function told(context: string, more: Partial<ContextEvent> = {}): ContextEvent {
  return {
    ...{
      host: "h",
      context,
      parent: undefined,
      timeUs: ++at,
      topic: "crypto/x/y",
      exe: "/usr/bin/p",
    },
    ...{ origin: "ab", key: undefined, value: "", ...more },
  };
}
const begin = (context: string, parent?: string) => told(context, { parent });
const name = (context: string, value: string) => told(context, { key: "name", value });

/** Names, those inside in brackets. */
function shape(spans: readonly ContextSpan[]): string {
  return spans.map(({ events, spans: inner = [] }) =>
    `${String(events["name"] ?? "?")}${inner.length === 0 ? "" : `[${shape(inner)}]`}`
  ).join(" ");
}
const grown = (...events: readonly ContextEvent[]): string => shape(growContexts(events).roots);

describe("trees of contexts", () => {
  test("follow parents that are named, in the order in which they began", () => {
    expect(grown(
      ...[begin("r"), name("r", "root"), begin("1", "r"), name("1", "one")],
      ...[begin("3", "1"), name("3", "three"), begin("2", "1"), name("2", "two")],
    )).toBe("root[one[three two]]");
  });

  test("find the place of a context that says itself as parent by its name", () => {
    const own = (context: string, value: string) => [begin(context, context), name(context, value)];
    expect(grown(
      ...own("s", "tls::handshake_client"),
      ...own("s", "tls::key_exchange"),
      ...own("s", "pk::derive"),
      ...own("s", "tls::verify_cert_chain"),
      ...own("s", "tls::verify"),
      ...own("s", "tls::handshake_client"),
    )).toBe(
      "tls::handshake_client[tls::key_exchange[pk::derive] tls::verify_cert_chain[tls::verify]] " +
        "tls::handshake_client",
    );
  });

  test("keep orphans as roots, and lift what lies in a context of which nothing is told", () => {
    expect(grown(begin("1", "nobody"), name("1", "orphan"), told("2", { key: "a", value: 1 })))
      .toBe("orphan ?");
    expect(grown(
      ...[begin("r"), name("r", "root"), begin("link", "r"), begin("1", "link"), name("1", "one")],
    )).toBe("root[one]");
  });

  test("give an id that is used again to the newest context, and never mix hosts", () => {
    expect(grown(begin("f"), name("f", "first"), begin("f"), name("f", "second"))).toBe(
      "first second",
    );
    const other = told("1", { host: "other", parent: "r", key: "name", value: "one" });
    expect(grown(begin("r"), name("r", "root"), other)).toBe("root one");
  });

  test("make no circle of contexts that claim each other", () => {
    expect(
      grown(
        begin("a", "b"),
        name("a", "a"),
        begin("b", "a"),
        name("b", "b"),
        begin("a", "b"),
        name("a", "again"),
      ),
    ).toBe("a[b[again]]");
  });

  test("keep the last of several values, sorted by key", () => {
    const [span] = growContexts([
      ...[begin("1"), told("1", { key: "z", value: 1 }), told("1", { key: "z", value: 2 })],
      told("1", { key: "a", value: [1, 255] }),
    ]).roots;
    expect(Object.entries(span?.events ?? {})).toEqual([["a", [1, 255]], ["z", 2]]);
    expect(span).toMatchObject({ origin: "ab", executable: "p" });
    expect(span?.end).toBeGreaterThan(span?.start ?? 0);
  });

  test("are bounded in depth, and lose no context, whatever is claimed", () => {
    const ids = fc.constantFrom("a", "b", "c", "d");
    const names = fc.constantFrom("tls::handshake", "tls::key_exchange", "pk::derive", "x");
    const step = fc.record({ id: ids, parent: fc.option(ids), name: fc.option(names) });
    fc.assert(fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const events = steps.map(({ id, parent, name: value }) =>
        value === null ? begin(id, parent ?? undefined) : name(id, value)
      );
      const { roots } = growContexts(events);
      const depth = (spans: readonly ContextSpan[]): number =>
        Math.max(0, ...spans.map(({ spans: inner = [] }) => 1 + depth(inner)));
      expect(depth(roots)).toBeLessThanOrEqual(DEPTH_MAX);
      const wanted = new Set(
        events.filter(({ key }) => key !== undefined).map((each) => each.context),
      );
      const seen = new Set<string>();
      const walk = (spans: readonly ContextSpan[]): void =>
        spans.forEach(({ context, spans: inner = [] }) => walk((seen.add(context), inner)));
      walk(roots);
      expect(seen).toEqual(wanted);
    }));
    const chain = Array.from({ length: 80 }, (_, place) => [
      begin(String(place), String(place - 1)),
      name(String(place), "x"),
    ]).flat();
    const { roots, isCut } = growContexts(chain);
    expect([roots.length, isCut]).toEqual([2, true]);
  });
});

describe("GET /v1/contexts", () => {
  let query: QueryFixture;
  const event = (second: number, more: Partial<AuditEvent>): AuditEvent => ({
    ...{ timeUs: START_US + second * 1_000_000, topic: "crypto/tls/name", severity: "info" },
    ...{ pid: 7, exe: "/usr/bin/curl", ...more },
  });
  const detail = (key: string, value: string | number, type = "string") => ({
    ...{ key, value, type, origin: "27bb" },
  });
  const EVENTS: readonly AuditEvent[] = [
    event(-5, { context: "cc", detail: detail("name", "before") }),
    event(1, { context: "aa", detail: { origin: "27bb" } }),
    event(2, { context: "aa", detail: detail("name", "tls::handshake") }),
    event(3, { context: "aa", detail: detail("tls::protocol_version", 772, "word") }),
    event(4, { context: "bb", parent_context: "aa", detail: { origin: "27bb" } }),
    event(5, { context: "bb", detail: detail("name", "tls::sign") }),
    event(6, { context: "bb", detail: detail("pk::key", "00ff", "blob") }),
    event(7, { topic: "app/shop/order", context: "dd", pid: 9, detail: { order: 7 } }),
    event(8, { topic: "crypto/tls/none", detail: detail("name", "no context") }),
  ];

  beforeAll(async () => {
    query = await openQueryFixture({ events: EVENTS });
  });
  afterAll(() => query?.[Symbol.asyncDispose]());

  const read = async (path: string, token?: string) => {
    const answer = await query.ask(path, token === undefined ? {} : { token });
    if (!answer.ok) throw new Error(await answer.text());
    return await answer.json();
  };
  const handshake = {
    ...{ host: "db-1", context: "aa", origin: "27bb", executable: "curl" },
    ...{ start: START_US / 1e6 + 1, end: START_US / 1e6 + 3 },
    events: { name: "tls::handshake", "tls::protocol_version": 772 },
    spans: [expect.objectContaining({
      ...{ context: "bb", events: { name: "tls::sign", "pk::key": [0, 255] } },
    })],
  };

  test("gives the trees that began in the range, as crypto-auditing does", async () => {
    const { contexts, cut } = await read(`/v1/contexts?${RANGE}`);
    expect(contexts).toEqual([
      handshake,
      expect.objectContaining({ context: "dd", events: { name: "app/shop/order" } }),
    ]);
    expect(cut).toBe(false);
    const first = await read(`/v1/contexts?${RANGE}&limit=1`);
    expect(first).toMatchObject({ cut: true, contexts: [{ context: "aa" }] });
    expect((await read(`/v1/contexts?${RANGE}&exe=/usr/bin/other`)).contexts).toEqual([]);
    const late = await read(`/v1/contexts?from=2026-06-01T00:00:02Z&to=2026-06-02`);
    expect(shape(late.contexts)).toBe("app/shop/order");
  });

  test("gives the tree of one context, from its root", async () => {
    expect((await read(`/v1/contexts/bb?${RANGE}`)).contexts).toEqual([handshake]);
  });

  test("shows nothing beyond a principal's scopes", async () => {
    expect((await read(`/v1/contexts?${RANGE}`, VIEWER)).contexts).toEqual([]);
    expect((await query.ask(`/v1/contexts/aa?${RANGE}`, { token: VIEWER })).status).toBe(404);
  });

  test.each([
    [`/v1/contexts/nothing?${RANGE}`, 404, "id"],
    [`/v1/contexts/${"x".repeat(257)}`, 400, "id"],
    [`/v1/contexts?limit=0`, 400, "limit"],
    [`/v1/contexts?topic=crypto`, 400, "topic"],
  ])("refuses %.40s", async (path, status, parameter) => {
    const answer = await query.ask(path);
    expect(answer.status).toBe(status);
    expect(await answer.json()).toMatchObject({ parameter });
  });
});
