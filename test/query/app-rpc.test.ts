/** JSON-RPC over a service of known events; the WebSocket around it is in `test/cli/web-socket.test.ts`. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TOKEN_PROTOCOL } from "../../src/query/rpc/endpoint.ts";
import { BATCH_MAX, CODES } from "../../src/query/rpc/protocol.ts";
import { CALLS_MAX } from "../../src/query/rpc/session.ts";
import {
  METER,
  openQueryFixture,
  type QueryFixture,
  START_US,
  TOKEN,
  VIEWER,
} from "../support/query-fixture.ts";
import { openRpcClient, type RpcClient } from "../support/rpc-client.ts";

const DAY_US = 86_400_000_000;
/** Ages of five events of `app/node/in`, of which one belongs to `app/node`, too: minute, hour, day and month. */
const AGES_US = [0, 60_000_000, 3_600_000_000, DAY_US, 30 * DAY_US];

let query: QueryFixture;
let rpc: RpcClient;
let nowUs = 0;

beforeAll(async () => {
  nowUs = Date.now() * 1_000;
  query = await openQueryFixture({
    tallyIntervalMs: 20,
    events: AGES_US.map((ageUs) => ({
      timeUs: nowUs - ageUs,
      topic: "app/node/in",
      severity: "info",
      message: "somebody connected",
    })),
  });
  rpc = await openRpcClient(query.service.rpc, TOKEN);
});

afterAll(async () => {
  await rpc?.close();
  await query?.[Symbol.asyncDispose]();
});

const ids = (parts: readonly { readonly [name: string]: unknown }[]) => parts.map(({ id }) => id);

describe("a message", () => {
  test.each([
    ["{", CODES.parse, null],
    ["", CODES.parse, null],
    ["[1", CODES.parse, null],
    ["1", CODES.invalidRequest, null],
    ["null", CODES.invalidRequest, null],
    ["[]", CODES.invalidRequest, null],
    [JSON.stringify(Array(BATCH_MAX + 1).fill(1)), CODES.invalidRequest, null],
    [`{"id":7,"method":"auditMetricGet"}`, CODES.invalidRequest, 7],
    [`{"jsonrpc":"1.0","id":"a","method":"auditMetricGet"}`, CODES.invalidRequest, "a"],
    [`{"jsonrpc":2,"id":7,"method":"x"}`, CODES.invalidRequest, 7],
    [`{"jsonrpc":"2.0","id":7}`, CODES.invalidRequest, 7],
    [`{"jsonrpc":"2.0","id":7,"method":1}`, CODES.invalidRequest, 7],
    [`{"jsonrpc":"2.0","id":[7],"method":"x"}`, CODES.invalidRequest, null],
    [`{"jsonrpc":"2.0","id":{},"method":"x"}`, CODES.invalidRequest, null],
    [`{"jsonrpc":"2.0","id":"${"x".repeat(200)}","method":"x"}`, CODES.invalidRequest, null],
    [`{"jsonrpc":"2.0","id":7,"method":"x","params":"text"}`, CODES.invalidRequest, 7],
    [`{"jsonrpc":"2.0","id":7,"method":"x"}`, CODES.methodNotFound, 7],
    [`{"jsonrpc":"2.0","id":null,"method":"rpc.discover"}`, CODES.methodNotFound, null],
    [`{"jsonrpc":"2.0","id":7,"method":"toString"}`, CODES.methodNotFound, 7],
    [`{"jsonrpc":"2.0","id":7,"method":"__proto__"}`, CODES.methodNotFound, 7],
    [`{"jsonrpc":"2.0","id":7,"method":"auditMetricGet","params":[[]]}`, CODES.invalidParams, 7],
  ])("%# gets its error: %s", async (text, code, id) => {
    const answer = await rpc.exchange(text);
    expect(answer).toMatchObject({ jsonrpc: "2.0", id, error: { code } });
    expect(answer).not.toHaveProperty("result");
  });

  test.each([
    ["auditEventsGet", {}, "paths"],
    ["auditEventsGet", { paths: "process" }, "paths"],
    ["auditEventsGet", { paths: ["process"] }, "paths"],
    ["auditEventsGet", { paths: [["process/exec"]] }, "paths"],
    ["auditEventsGet", { paths: [["process", ""]] }, "paths"],
    ["auditEventsGet", { paths: [["process", 1]] }, "paths"],
    ["auditEventsGet", { paths: Array(65).fill([]) }, "paths"],
    ["auditEventsGet", { paths: [[]], order: "up" }, "order"],
    ["auditEventsGet", { paths: [[]], order: "desc", awaitFutureEvents: true }, "order"],
    ["auditEventsGet", { paths: [[]], awaitFutureEvents: "yes" }, "awaitFutureEvents"],
    ["auditEventsGet", { paths: [[]], limit: 0 }, "limit"],
    ["auditEventsGet", { paths: [[]], limit: 1.5 }, "limit"],
    ["auditEventsGet", { paths: [[]], limit: "1" }, "limit"],
    ["auditEventsGet", { paths: [[]], seek: -1 }, "seek"],
    ["auditEventsGet", { paths: [[]], seek: "soon" }, "seek"],
    ["auditEventsGet", { paths: [[]], seek: null }, "seek"],
    ["auditEventsGet", { paths: [[]], seekEnd: 1e30 }, "seekEnd"],
    ["auditEventsGet", { paths: [[]], seek: "0a1b2c3d-999-0" }, "seek"],
    ["auditEventsGet", { paths: [[]], seek: "0a1b2c3d-999-0", awaitFutureEvents: true }, "seek"],
    ["auditEventsGet", { paths: [[]], cursor: "x" }, "cursor"],
    ["auditMetricGet", {}, "path"],
    ["auditMetricGet", { path: ["*"] }, "path"],
    ["auditMetricGet", { path: [], paths: [] }, "paths"],
    ["auditMetricTail", { path: [], seekEnd: 1 }, "seekEnd"],
  ])("%# of %s names what is wrong", async (method, params, parameter) => {
    const { error } = await rpc.call(method, params).answer;
    expect(error).toMatchObject({ code: CODES.invalidParams, data: { status: 400, parameter } });
    expect(JSON.stringify(error)).not.toMatch(/\.ts:|\/tmp\/|read_parquet/);
  });

  test("without an id is not answered, and runs nothing", async () => {
    const before = query.lines.length;
    rpc.send({ jsonrpc: "2.0", method: "auditMetricGet", params: { path: [] } });
    rpc.send({ jsonrpc: "2.0", method: "nothing" });
    rpc.send([{ jsonrpc: "2.0", method: "nothing" }]);
    rpc.send({ jsonrpc: "2.0", method: "cancel", params: { call: 999 } });
    expect(await rpc.exchange("{")).toMatchObject({ error: { code: CODES.parse } });
    expect(query.lines.slice(before)).toEqual([]);
  });

  test("that is a batch is answered as a whole, each request by its id", async () => {
    const answers = await rpc.exchange(JSON.stringify([
      { jsonrpc: "2.0", id: "m", method: "auditMetricGet", params: { path: ["process"] } },
      { jsonrpc: "2.0", method: "note" },
      { jsonrpc: "2.0", id: "x", method: "nothing" },
      1,
      { jsonrpc: "2.0", id: "t", method: "auditMetricTail", params: { path: [] } },
      {
        jsonrpc: "2.0",
        id: "l",
        method: "auditEventsGet",
        params: { paths: [[]], awaitFutureEvents: true },
      },
    ]));
    expect(answers).toMatchObject([
      { id: "m", result: { data: { total: 200 } } },
      { id: "x", error: { code: CODES.methodNotFound } },
      { id: null, error: { code: CODES.invalidRequest } },
      { id: "t", error: { code: CODES.invalidRequest } },
      { id: "l", error: { code: CODES.invalidRequest } },
    ]);
  });
});

describe("auditEventsGet", () => {
  const all = {
    paths: [["process"], ["process", "exec"], ["file"]],
    seekEnd: START_US / 1_000 + 9,
  };

  test("gives the events of all paths in one order, each once, as many as the limit in all", async () => {
    const asc = await rpc.call("auditEventsGet", { paths: [["file"], ["process"], []] }).all();
    expect(asc.parts).toHaveLength(255);
    expect(new Set(ids(asc.parts)).size).toBe(255);
    // Without a broker, what is not committed yet is missing.
    expect(asc.answer.result).toEqual({ events: 255, complete: false });
    const times = asc.parts.map(({ data }) => String((data as { time: unknown }).time));
    expect(times).toEqual(times.toSorted());
    expect(asc.parts.at(-1)).toMatchObject({
      id: "0a1b2c3d-5-0",
      path: ["app", "node", "in"],
      data: { id: "0a1b2c3d-5-0", topic: "app/node/in" },
    });
    const desc = await rpc.call("auditEventsGet", { paths: [[]], order: "desc" }).all();
    expect(ids(desc.parts)).toEqual(ids(asc.parts).toReversed());
    for (const order of ["asc", "desc"]) {
      const { parts } = await rpc.call("auditEventsGet", {
        ...all,
        seekEnd: "now",
        order,
        limit: 5,
      })
        .all();
      expect(parts).toHaveLength(5);
    }
    // On segment borders; what is unknown, and no path at all, is nothing.
    for (const paths of [[["proc"]], [["nothing"], ["files"]], []]) {
      const { answer } = await rpc.call("auditEventsGet", { paths }).all();
      expect(answer.result).toEqual({ events: 0, complete: false });
    }
    const further = await rpc.call("auditEventsGet", { paths: [["app", "shop"]] }).all();
    expect(further.parts).toHaveLength(49);
  });

  test("begins with the event of seek and ends before that of seekEnd, in either order", async () => {
    const params = { paths: [["process"], ["file"]] };
    const whole = ids((await rpc.call("auditEventsGet", params).all()).parts);
    for (const [from, to] of [[0, 249], [3, 4], [99, 100], [100, 201], [7, 7], [9, 3]] as const) {
      const range = { seek: whole[from], ...to === 249 ? {} : { seekEnd: whole[to] } };
      const expected = whole.slice(from, to);
      for (const order of ["asc", "desc"] as const) {
        const { parts } = await rpc.call("auditEventsGet", { ...params, ...range, order }).all();
        expect(ids(parts)).toEqual(order === "asc" ? expected : expected.toReversed());
      }
    }
    const byTime = async (seek: unknown, seekEnd: unknown) =>
      (await rpc.call("auditEventsGet", { ...params, seek, seekEnd }).all()).parts.length;
    expect(await byTime(START_US / 1_000, START_US / 1_000 + 1_000)).toBe(100);
    expect(await byTime("2026-06-01T00:00:01Z", "2026-06-01T00:00:01.000001Z")).toBe(1);
    expect(await byTime(START_US / 1_000 + 2_000, "2026-06-02")).toBe(49);
  });

  test("pages by the last id, which comes again", async () => {
    const params = { paths: [["process"], ["file"]] };
    const whole = ids((await rpc.call("auditEventsGet", params).all()).parts);
    const found: unknown[] = [];
    for (let seek = {}; found.length < whole.length; seek = { seek: found.at(-1) }) {
      const { parts } = await rpc.call("auditEventsGet", { ...params, ...seek, limit: 60 }).all();
      found.push(...ids(parts).slice(found.length === 0 ? 0 : 1));
    }
    expect(found).toEqual(whole);
  });

  test("shows a principal what its token may see, and tells the audit", async () => {
    await using viewer = await openRpcClient(query.service.rpc, VIEWER);
    const before = query.lines.length;
    const { parts } = await viewer.call("auditEventsGet", { paths: [[]] }).all();
    expect(parts).toHaveLength(49);
    expect(new Set(parts.map(({ path }) => String(path)))).toEqual(new Set(["file,write"]));
    const hidden = await viewer.call("auditEventsGet", { paths: [[]], seek: "0a1b2c3d-1-0" })
      .answer;
    expect(hidden.error).toMatchObject({ code: CODES.invalidParams });
    const metric = await viewer.call("auditMetricGet", { path: [] }).answer;
    expect(metric.result).toMatchObject({ data: { total: 49 } });
    const said = query.lines.slice(before).filter((line) => line.includes("audit/query"));
    expect(said.join("\n")).toMatch(/viewer began to read events by auditEventsGet at \/rpc/);
    expect(said.join("\n")).toMatch(/viewer read 49 rows by auditEventsGet at \/rpc/);
    expect(said.join("\n")).toMatch(/viewer read 1 row by auditMetricGet at \/rpc/);
  });
});

describe("auditEventsGet with awaitFutureEvents", () => {
  const await_ = { awaitFutureEvents: true };

  test("gives what is stored and waits, until it is cancelled", async () => {
    const call = rpc.call("auditEventsGet", { paths: [["file"]], ...await_ });
    await call.untilParts(49);
    expect(call.parts[0]).toHaveProperty("place");
    call.cancel();
    expect(await call.answer).toMatchObject({ error: { code: CODES.cancelled } });
    expect(call.parts).toHaveLength(49);
  });

  test("goes on exactly after a place, and with the event of an id", async () => {
    const first = rpc.call("auditEventsGet", { paths: [["file"]], ...await_, limit: 10 });
    const { parts, answer } = await first.all();
    expect(answer.result).toEqual({ events: 10, complete: false });
    const last = parts.at(-1);
    const rest = rpc.call("auditEventsGet", {
      ...{ paths: [["file"]], ...await_, seek: last?.["place"], limit: 39 },
    });
    const found = (await rest.all()).parts;
    expect(new Set([...ids(parts), ...ids(found)]).size).toBe(49);
    for (const at of [0, 9]) {
      const seek = ids(parts)[at];
      const again = await rpc.call("auditEventsGet", {
        ...{ paths: [["file"]], ...await_, seek, limit: 1 },
      }).all();
      expect(ids(again.parts)).toEqual([seek]);
    }
  });

  test("ends at seekEnd once all before it was given", async () => {
    const past = await rpc.call("auditEventsGet", {
      ...{ paths: [["process"]], ...await_, seekEnd: "2026-06-01T00:00:01Z" },
    }).all();
    expect(past.parts).toHaveLength(100);
    const soon = await rpc.call("auditEventsGet", {
      ...{ paths: [["file"]], ...await_, seekEnd: Date.now() + 300 },
    }).all();
    expect(soon.parts).toHaveLength(49);
    expect(soon.answer.result).toMatchObject({ events: 49 });
    // Further away than timers reach: it does not fire at once.
    const far = rpc.call("auditEventsGet", {
      ...{ paths: [["file"]], ...await_, seekEnd: Date.now() + 40 * 86_400_000 },
    });
    await far.untilParts(49);
    expect(far.isAnswered).toBe(false);
    far.cancel();
    await far.answer;
  });
});

describe("metrics", () => {
  /** Of Polykey's own tests, with the end of a range exclusive. */
  test.each([
    [undefined, undefined, { total: 5, minutes: 43_200, hours: 720, days: 30 }],
    [DAY_US, undefined, { total: 4, minutes: 1_440, hours: 24, days: 1 }],
    [undefined, 59_999_999, { total: 4, minutes: 43_199, hours: 720, days: 30 }],
    [0, undefined, { total: 1, minutes: 1, hours: 1, days: 1 }],
    [-DAY_US, undefined, { total: 0, minutes: 1, hours: 1, days: 1 }],
  ])("from %s to %s ago: %j", async (fromAgo, toAgo, expected) => {
    const { result } = await rpc.call("auditMetricGet", {
      path: ["app", "node"],
      ...(fromAgo === undefined ? {} : { seek: (nowUs - fromAgo) / 1_000 }),
      ...(toAgo === undefined ? {} : { seekEnd: (nowUs - toAgo) / 1_000 }),
    }).answer;
    const { total, minutes, hours, days } = expected;
    expect(result).toEqual({
      data: {
        total,
        averagePerMinute: total / minutes,
        averagePerHour: total / hours,
        averagePerDay: total / days,
        complete: false,
      },
    });
  });

  test("that go on give the present state at once", async () => {
    const call = rpc.call("auditMetricTail", { path: ["file"] });
    await call.untilParts(2);
    for (const part of call.parts) expect(part).toMatchObject({ data: { total: 49 } });
    call.cancel();
    expect(await call.answer).toMatchObject({ error: { code: CODES.cancelled } });
  });
});

describe("a connection", () => {
  test("runs so many calls at a time, and each id once", async () => {
    await using client = await openRpcClient(query.service.rpc, TOKEN);
    const params = { paths: [["nothing"]], awaitFutureEvents: true };
    const calls = Array.from({ length: CALLS_MAX }, () => client.call("auditEventsGet", params));
    const refused = await client.call("auditMetricGet", { path: [] }).answer;
    expect(refused.error).toMatchObject({ code: CODES.busy });
    const [first] = calls;
    client.send({ jsonrpc: "2.0", id: first?.id, method: "auditMetricGet", params: { path: [] } });
    first?.cancel();
    const answers = await client.answersTo(first?.id, 2);
    expect(answers.map(({ error }) => (error as { code: number }).code).toSorted())
      .toEqual([CODES.cancelled, CODES.invalidRequest].toSorted());
    expect((await client.call("auditMetricGet", { path: [] }).answer).result).toBeDefined();
  });

  test("that is left ends its calls", async () => {
    const client = await openRpcClient(query.service.rpc, TOKEN);
    const call = client.call("auditEventsGet", { paths: [["file"]], awaitFutureEvents: true });
    await call.untilParts(49);
    await client.close();
    const text = await (await query.ask("/metrics")).text();
    expect(text).toMatch(/probity_tail_clients 0\n/);
    expect(text).toMatch(/probity_rpc_calls_total\{method="auditEventsGet",code="0"\} [1-9]/);
    // A name that a client makes up makes no series.
    expect(text).not.toMatch(/rpc_calls_total\{method="(nothing|toString|x)"/);
  });

  test("is given to who may read, from no other site's page", async () => {
    const base = {
      authorization: `Bearer ${TOKEN}`,
      protocols: [],
      origin: undefined,
      host: "probity.example",
      remote: "192.0.2.7",
    };
    const { rpc: endpoint } = query.service;
    const admitted = (more: Partial<Parameters<typeof endpoint.admit>[0]>) => () =>
      endpoint.admit({ ...base, ...more });
    const named = `${TOKEN_PROTOCOL}${Buffer.from(TOKEN).toString("base64url")}`;
    await expect(admitted({})()).resolves.toBeDefined();
    await expect(admitted({ origin: "https://probity.example" })()).resolves.toBeDefined();
    await expect(admitted({ authorization: undefined, protocols: ["probity.rpc", named] })())
      .resolves.toBeDefined();
    await expect(admitted({ authorization: undefined })()).rejects.toThrow("A token is required");
    await expect(admitted({ authorization: "Bearer wrong-token-of-length" })()).rejects.toThrow(
      "not known",
    );
    await expect(admitted({ authorization: `Bearer ${METER}` })()).rejects.toThrow(
      "does not allow",
    );
    await expect(admitted({ authorization: undefined, protocols: [named] })()).rejects.toThrow(
      "protocols",
    );
    for (const origin of ["https://evil.example", "null", "https://probity.example.evil", "x"]) {
      await expect(admitted({ origin })()).rejects.toThrow("another origin");
    }
  });
});
