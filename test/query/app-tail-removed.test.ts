/** A tail that goes on after a place older than what retention kept tells so before it gives what is left. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openHttpServer } from "../../src/cli/http-server.ts";
import { webSocketsOf } from "../../src/cli/web-socket.ts";
import { createClient } from "../../src/client/client.ts";
import { formatTime } from "../../src/event/event.ts";
import { WHOLE_MESSAGE } from "../../src/event/event-id.ts";
import { encodeTailPlace } from "../../src/query/tail-place.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openMaintainedTable } from "../../src/storage/delta-table.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { createRegistry } from "../../src/storage/registry.ts";
import { createSinkRegistry } from "../../src/storage/sink.ts";
import { createSubscriptionRegistry } from "../../src/storage/subscription.ts";
import {
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  START_US,
  TOKEN,
} from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";
import { createMessageMaker } from "../support/test-messages.ts";

const DAY_MS = 86_400_000;
const START_MS = START_US / 1_000;
/** Messages, each of one event; the archive holds those of its later days. */
const KEPT_FROM = 4;
const MESSAGES = 6;

let files: TemporaryFolder;
let query: QueryFixture;
beforeAll(async () => {
  files = await openTemporaryFolder("tail-removed");
  const path = join(files.path, "events.ndjson");
  query = await openQueryFixture({
    shards: [],
    sinks: [{
      ...{ name: "late", topics: "all", filters: {}, since: undefined },
      ...{ eventsMax: 10, attemptsMax: 1 },
      target: { type: "file", path, rotateBytes: 1e6, kept: 1 },
    }],
    write: async (store, folder) => {
      const maker = createMessageMaker({ agent: "a", host: "web-1" });
      const all = [];
      for (let day = 0; day < MESSAGES; day++) {
        const timeUs = START_US + day * DAY_MS * 1_000;
        const event = { timeUs, topic: "app/test", severity: "info", pid: day + 1 } as const;
        all.push(await maker.next([event]));
      }
      for (const messages of [all.slice(0, KEPT_FROM - 1), all.slice(KEPT_FROM - 1)]) {
        await commitMessages({ store, incarnation: INCARNATION, messages, folder });
      }
      await removeBefore(store, KEPT_FROM);
      const streams = { [INCARNATION]: { sequence: 1, idx: WHOLE_MESSAGE } };
      await createSinkRegistry({ store }).create("late", {
        place: { streams, reached: {}, knownUs: START_US, reachedUs: START_US },
        ...{ ahead: {}, createdUs: START_US, turn: undefined, lastId: undefined },
        ...{ delivered: 0, retries: 0, dead: 0, fault: undefined, gaps: [] },
      });
    },
  });
});
afterAll(async () => {
  await query?.[Symbol.asyncDispose]();
  await files?.[Symbol.asyncDispose]();
});

/** As retention does when all rows of a file are past their time. */
async function removeBefore(store: ObjectStore, sequence: number): Promise<void> {
  const log = createLog({ level: "error" });
  const table = openMaintainedTable({ store, clock: systemClock, log });
  const { files } = await table.refresh();
  const removed = [...files.values()].filter(({ maximum }) => Number(maximum["seq"]) < sequence);
  expect(removed.length).toBeGreaterThan(0);
  const work = { operation: "DELETE", isDataChange: true, removed, added: [] } as const;
  const before = { "**": START_MS + 3 * DAY_MS };
  const detail = { kind: "retain", rows: removed.length, before };
  expect((await table.replace({ ...work, detail })).kind).toBe("committed");
}

/** Rules as the last run of retention wrote them down; undefined as after none. */
async function writeRules(rules: Readonly<Record<string, number>> | undefined): Promise<void> {
  const tasks = createRegistry({
    store: query.store,
    kind: "maintenance",
    parse: (value) => value,
  });
  const atMs = START_MS + 5 * DAY_MS;
  const settled = rules === undefined ? undefined : {
    atMs,
    rules: JSON.stringify(Object.keys(rules).map((pattern) => [pattern, 1e15])),
    cutoffs: rules,
  };
  await tasks.change("retain", () => ({ by: "", untilMs: 0, doneAtMs: atMs, settled }));
  await query.reopen();
}

/** After a message that was logged when the record began. */
const placeAfter = (sequence: number): string =>
  encodeTailPlace({
    streams: new Map([[INCARNATION, { sequence, idx: WHOLE_MESSAGE }]]),
    knownUs: START_US,
  });

/** Kinds of what a tail gives that goes on after a message, up to the last event. */
async function after(
  sequence: number | undefined,
  more = "",
): Promise<{ kinds: string[]; text: string }> {
  const answer = await query.ask(`/v1/tail?${more}`, {
    token: TOKEN,
    headers: sequence === undefined ? {} : { "last-event-id": placeAfter(sequence) },
  });
  expect(answer.status).toBe(200);
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of answer.body ?? []) {
    text += decoder.decode(chunk);
    if (text.includes(`"pid":${MESSAGES}`)) break;
  }
  return { kinds: [...text.matchAll(/^event: (\w+)$/gm)].map(([, kind]) => String(kind)), text };
}

test("whoever operates a sink that was away is told, and so is its other side before what is left", async () => {
  await expect.poll(() => query.lines.join(""), { timeout: 10_000 }).toMatch(
    new RegExp(`a sink may lack events.*sink=late from=${INCARNATION}-2-0`),
  );
  const path = join(files.path, "events.ndjson");
  const pids = async () =>
    (await readFile(path, "utf8")).trim().split("\n").map((line) => JSON.parse(line).pid);
  // The gap comes first, as an event of its own.
  const left = [undefined, KEPT_FROM, KEPT_FROM + 1, KEPT_FROM + 2];
  await expect.poll(pids, { timeout: 10_000 }).toEqual(left);
  const id = `${INCARNATION}-2-0`;
  const before = formatTime((START_MS + 3 * DAY_MS) * 1_000);
  const [notice] = (await readFile(path, "utf8")).split("\n");
  expect(JSON.parse(notice ?? "")).toMatchObject({
    ...{ id: `gap-${id}`, topic: "agent/gap", severity: "high" },
    detail: { class: "retention", count: null, from_id: id, to: before },
  });
  const status = async () => await (await query.ask("/v1/sinks/late", { token: TOKEN })).json();
  const told = { gaps: [{ from: id, before, count: null, told: true }], delivered: 3 };
  await expect.poll(status, { timeout: 10_000 }).toMatchObject(told);
  await query.reopen();
  await expect.poll(status, { timeout: 10_000 }).toMatchObject({ ...told, state: "running" });
  expect(await pids()).toEqual(left);
});

describe("a tail that goes on after a place", () => {
  beforeEach(() => writeRules({ "**": START_MS + 3 * DAY_MS }));

  test("older than what is kept is told that events may be gone, and then what is left", async () => {
    const { kinds, text } = await after(1);
    expect(kinds).toEqual(["gap", "audit", "audit", "audit"]);
    const data = /^event: gap\nid: \S+\ndata: (.*)$/m.exec(text)?.[1] ?? "";
    expect(JSON.parse(data)).toEqual({
      count: null,
      reason: "retention may have removed events after the place to go on from",
      from: `${INCARNATION}-2-0`,
      to: [],
      before: formatTime((START_MS + 3 * DAY_MS) * 1_000),
      searches: [],
    });
  });

  test("that began before what is kept is told so, and one that begins later is not", async () => {
    const sinceDay = (day: number) => `since=${new Date(START_MS + day * DAY_MS).toISOString()}`;
    const { kinds, text } = await after(undefined, sinceDay(0));
    expect(kinds).toEqual(["gap", "audit", "audit", "audit"]);
    expect(text).toContain(`"from":"${formatTime(START_US)}"`);
    expect((await after(undefined, sinceDay(3))).kinds).toEqual(["audit", "audit", "audit"]);
    const event = `since=${INCARNATION}-${KEPT_FROM}-0`;
    expect((await after(undefined, event)).kinds).toEqual(["audit", "audit"]);
  });

  test("that is kept is told nothing", async () => {
    expect((await after(KEPT_FROM)).kinds).toEqual(["audit", "audit"]);
  });

  test("right before the first that is kept is told nothing", async () => {
    expect((await after(KEPT_FROM - 1)).kinds).toEqual(["audit", "audit", "audit"]);
  });

  test("is told of a removal by hand", async () => {
    await writeRules(undefined);
    expect((await after(1)).kinds).toEqual(["gap", "audit", "audit", "audit"]);
  });

  test("is told of a rule only when the filter is about its topics", async () => {
    await writeRules({ "file/**": START_MS + 5 * DAY_MS });
    expect((await after(KEPT_FROM, "topic=app")).kinds).toEqual(["audit", "audit"]);
    expect((await after(KEPT_FROM)).kinds).toEqual(["gap", "audit", "audit"]);
    expect((await after(KEPT_FROM, "topic=app,file/write")).kinds).toEqual([
      "gap",
      "audit",
      "audit",
    ]);
  });
});

describe("where events after the place may be gone", () => {
  const reason = "retention may have removed events after the place to go on from";
  beforeEach(() => writeRules({ "**": START_MS + 3 * DAY_MS }));

  test("a call of /rpc that awaits events is told", async () => {
    await using server = await openHttpServer({
      fetch: query.service.fetch,
      // On a busy machine a sign of life takes longer than the service's own tests want one.
      webSockets: webSocketsOf({ ...query.service.rpc, heartbeatMs: 60_000 }),
      address: { host: "127.0.0.1", port: 0 },
      tls: undefined,
    });
    await using rpc = createClient({ url: server.url, token: TOKEN }).openRpc();
    const itemsAfter = (sequence: number) =>
      Array.fromAsync(rpc.auditEventsGet({
        ...{ paths: [[]], awaitFutureEvents: true, seek: placeAfter(sequence), limit: 2 },
      }));
    const idOf = (sequence: number) => ({ event: { id: `${INCARNATION}-${sequence}-0` } });
    const detail = { from: `${INCARNATION}-2-0` };
    expect(await itemsAfter(1)).toMatchObject([
      { kind: "gap", gap: { count: null, reason, detail } },
      ...[KEPT_FROM, KEPT_FROM + 1].map(idOf),
    ]);
    expect(await itemsAfter(KEPT_FROM)).toMatchObject([KEPT_FROM + 1, KEPT_FROM + 2].map(idOf));
  });

  test("a reader of a subscription is told, until events that are left move it beyond", async () => {
    const path = "/v1/subscriptions/late";
    const ask = async (address: string, method = "GET") => {
      const answer = await query.ask(address, { method, token: TOKEN });
      expect(answer.status).toBeLessThan(300);
      return answer;
    };
    await ask(`${path}?since=${INCARNATION}-${KEPT_FROM}-0`, "PUT");
    const registry = createSubscriptionRegistry({ store: query.store });
    await registry.change("late", (standing) => {
      if (standing === undefined) throw new Error("there is no subscription");
      const streams = { [INCARNATION]: { sequence: 1, idx: WHOLE_MESSAGE } };
      return { ...standing, place: { ...standing.place, streams, knownUs: START_US } };
    });
    await query.reopen();
    const read = async () => (await ask(`${path}/events?limit=2`)).json();
    expect(await read()).toMatchObject({
      events: [{ pid: KEPT_FROM }, { pid: KEPT_FROM + 1 }],
      gaps: [{ count: null, reason, from: `${INCARNATION}-2-0` }],
    });
    expect(await read()).toMatchObject({ events: [{ pid: KEPT_FROM + 2 }], gaps: [] });
  });

  test("a reader of a subscription made since then is told, until it is given an event", async () => {
    const made = async (name: string, filter: string) => {
      const path = `/v1/subscriptions/${name}`;
      const options = { token: TOKEN };
      const answer = await query.ask(`${path}?${filter}`, { method: "PUT", ...options });
      expect(answer.status).toBe(201);
      return async () => (await query.ask(`${path}/events?limit=2`, options)).json();
    };
    const sinceDay = (day: number) => `since=${new Date(START_MS + day * DAY_MS).toISOString()}`;
    const gaps = [{ count: null, reason, from: formatTime(START_US) }];
    const early = await made("early", sinceDay(0));
    expect(await early()).toMatchObject({
      ...{ events: [{ pid: KEPT_FROM }, { pid: KEPT_FROM + 1 }], gaps },
    });
    expect(await early()).toMatchObject({ events: [{ pid: KEPT_FROM + 2 }], gaps: [] });
    const nothing = await made("nothing", `${sinceDay(0)}&topic=app/other`);
    for (const _ of [1, 2]) expect(await nothing()).toMatchObject({ events: [], gaps });
    const kept = await made("kept", sinceDay(3));
    expect(await kept()).toMatchObject({ events: [{ pid: KEPT_FROM }, {}], gaps: [] });
  });
});
