import { afterAll, beforeAll, describe, expect, test } from "vitest";
import fc from "fast-check";
import type { AuditEvent } from "../../src/event/event.ts";
import {
  type ContextEvent,
  type ContextSpan,
  DEPTH_MAX,
  growContexts,
  LINK_US,
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
const spansOf = (events: readonly ContextEvent[]): readonly ContextSpan[] =>
  growContexts(events).trees.map(({ span }) => span);
const grown = (...events: readonly ContextEvent[]): string => shape(spansOf(events));

describe("trees of contexts", () => {
  test("follow parents that are named, in the order in which they began", () => {
    expect(grown(
      ...[begin("r"), name("r", "root"), begin("1", "r"), name("1", "one")],
      ...[begin("3", "1"), name("3", "three"), begin("2", "1"), name("2", "two")],
    )).toBe("root[one[three two]]");
  });

  test("leave out what an imported file says of itself, and an agent to itself", () => {
    const zeros = "0".repeat(32);
    const version = told(zeros, { key: "version", value: 1 });
    const proof = told("p", { key: "probity::proof", value: 1 });
    expect(grown(version, proof, begin("r"), name("r", "root"))).toBe("root");
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

  test("add nothing to a context that has been still for long", () => {
    const later = (timeUs: number) => [
      begin("r"),
      name("r", "root"),
      told("1", { parent: "r", timeUs: at + timeUs }),
      told("1", { key: "name", value: "one", timeUs: at + timeUs }),
    ];
    expect(grown(...later(LINK_US))).toBe("root[one]");
    expect(grown(...later(LINK_US + 1))).toBe("root one");
    const own = [begin("s", "s"), name("s", "tls::handshake")];
    const inner = { timeUs: at + LINK_US + 1 };
    expect(grown(
      ...own,
      told("s", { parent: "s", ...inner }),
      told("s", { key: "name", value: "tls::sign", ...inner }),
    )).toBe("tls::handshake tls::sign");
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
    const [span] = spansOf([
      ...[begin("1"), told("1", { key: "z", value: 1 }), told("1", { key: "z", value: 2 })],
      told("1", { key: "a", value: [1, 255] }),
    ]);
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
      const roots = spansOf(events);
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
    const { trees, isCut } = growContexts(chain);
    expect([trees.length, isCut]).toEqual([2, true]);
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
    names: { "tls::protocol_version": "TLS 1.3" },
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
    expect(first).toMatchObject({ cut: false, contexts: [{ context: "aa" }] });
    const second = await read(`/v1/contexts?${RANGE}&limit=1&cursor=${first.next}`);
    expect(second).toMatchObject({ next: null, contexts: [{ context: "dd" }] });
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
    [`/v1/contexts?cursor=none`, 400, "cursor"],
  ])("refuses %.40s", async (path, status, parameter) => {
    const answer = await query.ask(path);
    expect(answer.status).toBe(status);
    expect(await answer.json()).toMatchObject({ parameter });
  });
});

describe("pages of contexts", () => {
  const MINUTE_US = 60_000_000;
  /** Five minutes apart, so that trees reach over pages, each with what lies in it after the next one began. */
  const forest = fc.sample(
    fc.record({
      after: fc.integer({ min: 1, max: 5 }),
      parent: fc.option(fc.integer({ min: 0, max: 3 })),
      isNamed: fc.boolean(),
    }),
    { numRuns: 200, seed: 7 },
  );
  let minute = 0;
  const events = forest.flatMap(({ after, parent, isNamed }, place): AuditEvent[] => {
    minute += after;
    const begun: AuditEvent = {
      ...{ timeUs: START_US + minute * MINUTE_US, topic: "crypto/x/y", severity: "info" },
      // Ids are used again, as libraries do that name their contexts by an address.
      context: String(place % 150),
      ...(parent === null ? {} : { parent_context: String(Math.max(0, place - 1 - parent) % 150) }),
      detail: { origin: "27bb" },
    };
    if (!isNamed && parent !== null) return [begun];
    const detail = { key: "name", value: `n${place}`, type: "string" };
    return [begun, { ...begun, timeUs: begun.timeUs + 1, detail }];
  });
  const NOISE = 1_500;
  let query: QueryFixture;

  beforeAll(async () => {
    // More events of one context than a page reads, before the last of the trees begin.
    const noise = Array.from({ length: NOISE }, (_, each): AuditEvent => ({
      timeUs: START_US + 90 * MINUTE_US + each,
      topic: "app/noise",
      severity: "info",
      context: "noise",
    }));
    const all = [...events, ...noise].toSorted((a, b) => a.timeUs - b.timeUs);
    query = await openQueryFixture({ events: all });
  });
  afterAll(() => query?.[Symbol.asyncDispose]());

  interface Page {
    readonly contexts: ContextSpan[];
    readonly next: string | null;
    readonly cut: boolean;
  }
  const pageOf = async (parameters: string): Promise<Page> => {
    const answer = await query.ask(`/v1/contexts?${parameters}`);
    if (!answer.ok) throw new Error(await answer.text());
    return await answer.json();
  };
  const pagesOf = async (parameters: string): Promise<Page[]> => {
    const pages: Page[] = [];
    for (let cursor = ""; pages.length < 500;) {
      const page = await pageOf(`${parameters}${cursor}`);
      pages.push(page);
      if (page.next === null) return pages;
      cursor = `&cursor=${page.next}`;
    }
    throw new Error("the pages have no end");
  };

  test("hold each tree once and whole, however long they are", async () => {
    const wanted = growContexts(events.map((event): ContextEvent => ({
      ...{ host: "db-1", context: event.context ?? "", parent: event.parent_context },
      ...{ timeUs: event.timeUs, topic: event.topic, exe: undefined, origin: undefined },
      key: event.detail?.["key"] === undefined ? undefined : "name",
      value: String(event.detail?.["value"] ?? ""),
    }))).trees.map(({ span }) => span).toSorted((a, b) => a.start - b.start)
      .map((span) => shape([span]));
    expect(wanted.some((each) => each.includes("]]"))).toBe(true);
    for (const limit of [30, 7]) {
      const pages = await pagesOf(`${RANGE}&limit=${limit}`);
      const trees = pages.flatMap(({ contexts }) => contexts)
        .filter(({ context }) => context !== "noise");
      expect(trees.map((each) => shape([each]))).toEqual(wanted);
      expect(pages.every(({ cut, contexts }) => !cut && contexts.length <= limit)).toBe(true);
      expect(pages.length).toBeGreaterThan(1);
    }
  });

  test("begin where the range begins: what lies in an older tree is no tree of its own", async () => {
    const whole = (await pagesOf(RANGE)).flatMap(({ contexts }) => contexts);
    const fromUs = START_US + 300 * MINUTE_US;
    const late = await pagesOf(`from=2026-06-01T05:00:00Z&to=2026-06-02`);
    expect(late.flatMap(({ contexts }) => contexts))
      .toEqual(whole.filter(({ start }) => start * 1e6 >= fromUs));
  });

  test("are of one query: another one's cursor is refused", async () => {
    const { next } = await pageOf(`${RANGE}&limit=1`);
    const other = await query.ask(`/v1/contexts?${RANGE}&host=db-1&cursor=${next}`);
    expect(other.status).toBe(400);
    const search = await (await query.ask(`/v1/events?${RANGE}&order=asc&limit=1`)).json();
    expect((await query.ask(`/v1/contexts?${RANGE}&cursor=${search.next}`)).status).toBe(400);
  });

  test("leave a whole tree to who asks for a context far inside of it", async () => {
    const deep = (await pagesOf(RANGE)).flatMap(({ contexts }) => contexts)
      .find(({ spans: [inner] = [] }) => (inner?.spans ?? []).length > 0);
    const [last] = deep?.spans?.[0]?.spans ?? [];
    const from = new Date((last?.start ?? 0) * 1000).toISOString();
    const to = new Date((last?.start ?? 0) * 1000 + 1000).toISOString();
    const answer = await query.ask(`/v1/contexts/${last?.context}?from=${from}&to=${to}`);
    expect((await answer.json()).contexts).toContainEqual(deep);
  });
});
