import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AuditEvent, formatTime } from "../../src/event/event.ts";
import {
  type AgentReport,
  heartbeatEvent,
  startEvent,
  stopEvent,
} from "../../src/edge-agent/agent-events.ts";
import { DEFAULT_RULES } from "../../src/edge-agent/rules.ts";
import { planGaps, planLastHeard, planSigns } from "../../src/query/planner/coverage.ts";
import { ADMIN_SCOPES } from "../../src/query/principal.ts";
import {
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  START_US,
  VIEWER,
} from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker } from "../support/test-messages.ts";

const HOUR = 3600;
const END = 3 * HOUR;
const RANGE = "from=2026-06-01&to=2026-06-01T03:00:00Z";
const at = (second: number): string => formatTime(START_US + second * 1_000_000);
const event = (second: number, topic: string, more: Partial<AuditEvent>): AuditEvent => ({
  timeUs: START_US + second * 1_000_000,
  topic,
  severity: "info",
  ...more,
});

const ON = ["process", "network"].map((name) => ({ name, state: "on" }));
const start = (second: number, detail = {}) =>
  event(second, "agent/start", {
    detail: { version: "1", boot: "aaaa0001", sources: ON, ...detail },
  });
const stop = (second: number) => event(second, "agent/stop", { detail: { version: "1" } });
const gap = (second: number, detail: Readonly<Record<string, unknown>>) =>
  event(second, "agent/gap", { severity: "high", detail });

/** Every 30 s from … to, inclusive. */
function beats(from: number, to: number, detail = {}): AuditEvent[] {
  return Array.from(
    { length: Math.floor((to - from) / 30) + 1 },
    (_, each) =>
      event(from + each * 30, "agent/heartbeat", {
        detail: { version: "1", boot: "aaaa0001", sources: ON, ...detail },
      }),
  );
}

/** What an agent really says. */
const COUNTERS = {
  ...{ attempted: 0, submitted: 0, ringFull: 0, filtered: 0, throttled: 0, readFault: 0 },
  truncated: 0,
};
const PRODUCER = {
  ...{ eventsAppended: 0, batchesClosed: 0, batchesPublished: 0, batchesResent: 0 },
  ...{ batchesReleased: 0, eventsVoided: 0, eventsLost: 0, spoolBytes: 0, spoolBatches: 0 },
};
const REPORT: AgentReport = {
  ...{ version: "3", boot: "aaaa0003", pid: 1, configSha256: "ab", producer: PRODUCER },
  sources: [{ name: "process", status: { state: "on", how: "ring" }, counters: COUNTERS }],
};
const RULES = {
  rules: DEFAULT_RULES,
  places: { fileAt: () => undefined, cgroupAt: () => undefined },
};

/** Each host in its own way; the time is {@link RANGE}. */
const HOSTS: Readonly<Record<string, readonly AuditEvent[]>> = {
  "always-1": beats(-HOUR, END + 120),
  "silent-1": [...beats(-60, 600), event(700, "process/exec", {})],
  "stopped-1": [...beats(-60, 600), stop(610)],
  "killed-1": [
    ...beats(-60, 600),
    start(5000),
    gap(5000, {
      ...{ class: "absent", count: null, reason: "the ring was removed", sources: ["network"] },
      ...{ from: at(605), to: at(5000) },
    }),
    ...beats(5030, END + 120),
  ],
  "rebooted-1": [
    ...beats(-60, 600),
    stop(610),
    start(900, { boot: "aaaa0002" }),
    ...beats(930, END + 120, { boot: "aaaa0002" }),
  ],
  "upgraded-1": [
    ...beats(-60, 600),
    stop(610),
    start(620, { version: "2" }),
    ...beats(650, END + 120, { version: "2" }),
  ],
  "dropping-1": [
    ...beats(-60, END + 120),
    ...[0, 1, 2].map((each) =>
      gap(100 + each, {
        ...{ class: "ring_full", count: 5, reason: "no room", sources: ["process"] },
        ...{ from: at(99.5 + each), to: at(100 + each) },
      })
    ),
    gap(500, { class: "ring_full", count: 1, reason: "no room", sources: ["process"] }),
    gap(100, { class: "throttle_begin", count: 0, reason: "a limit", sources: ["process"] }),
  ],
  "blind-1": [
    ...beats(-60, 1000),
    gap(1000, {
      ...{ class: "blind", count: null, reason: "no canary", sources: ["network"] },
      ...{ from: at(900), to: at(1000) },
    }),
    ...beats(1030, END + 120, {
      sources: [{ name: "process", state: "on" }, { name: "network", state: "blind" }],
    }),
  ],
  "new-1": [
    start(7200, { sources: [...ON, { name: "file", state: "off", reason: "no BPF" }] }),
    ...beats(7230, END + 120, { sources: [...ON, { name: "file", state: "off" }] }),
  ],
  "gone-1": beats(-2 * HOUR, -HOUR),
  "hostile-1": [
    event(10, "agent/start", { detail: { version: 7, sources: "all", boot: {} } }),
    event(20, "agent/heartbeat", { detail: { sources: [null, 3, { name: 4 }, { name: "x" }] } }),
    gap(30, { class: 5, count: "many", from: "infinity", to: "never", sources: [[]] }),
    gap(30, { count: 9e15, from: "2999-01-01T00:00:00Z", to: at(25) }),
    gap(31, { count: 9e15 }),
  ],
  "real-1": [
    startEvent({ ...REPORT, ...RULES, labels: {} }, START_US),
    heartbeatEvent(REPORT, START_US + 30_000_000),
    heartbeatEvent(
      { ...REPORT, sources: REPORT.sources.map((each) => ({ ...each, isBlind: true })) },
      START_US + 60_000_000,
    ),
    stopEvent(REPORT, START_US + 70_000_000),
  ],
  "mute-1": [event(5, "process/exec", {})],
};

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture({
    write: async (store, folder) => {
      let sequence = 0;
      const messages = [];
      for (const [host, events] of Object.entries(HOSTS)) {
        const agent = host.replace("-1", "");
        const maker = createMessageMaker({ agent, host, firstSequence: ++sequence });
        messages.push(await maker.next([...events]));
      }
      await commitMessages({ store, incarnation: INCARNATION, messages, folder });
    },
  });
});

afterAll(() => query?.[Symbol.asyncDispose]());

const read = async (path: string, token?: string) => {
  const answer = await query.ask(path, token === undefined ? {} : { token });
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
};
const hostOf = (host: string, range = RANGE) => read(`/v1/hosts/${host}?${range}`);
const rangesOf = async (host: string, source: string, range = RANGE) => {
  const { sources } = await hostOf(host, range);
  return sources.find((each: { source: string }) => each.source === source).ranges.values;
};
const FROM = at(0);
const TO = at(END);

describe("GET /v1/hosts", () => {
  test("tells silent, stopped, blind and watched hosts apart, and those of the day before", async () => {
    const { hosts, ...rest } = await read(`/v1/hosts?${RANGE}`);
    expect(rest).toEqual({ from: FROM, to: TO, agents_visible: true, cut: false });
    const states = hosts.map(({ host, state, since }: Record<string, string>) => [
      host,
      state,
      since,
    ]);
    expect(states).toEqual([
      ["always-1", "watched", FROM],
      ["blind-1", "blind", at(1030)],
      ["dropping-1", "watched", FROM],
      ["gone-1", "silent", FROM],
      ["hostile-1", "silent", at(20)],
      ["killed-1", "watched", at(5000)],
      ["mute-1", "unknown", undefined],
      ["new-1", "watched", at(7200)],
      ["real-1", "stopped", at(70)],
      ["rebooted-1", "watched", at(900)],
      ["silent-1", "silent", at(600)],
      ["stopped-1", "stopped", at(610)],
      ["upgraded-1", "watched", at(620)],
    ]);
    const of = (name: string) => hosts.find(({ host }: { host: string }) => host === name);
    expect(of("gone-1")).toMatchObject({ count: 0, gaps: 0, last_seen: at(-HOUR) });
    expect(of("silent-1")).toMatchObject({ last_seen: at(700), version: "1", boot: "aaaa0001" });
    expect(of("upgraded-1")).toMatchObject({ version: "2" });
    expect(of("new-1")).toMatchObject({ off: ["file"] });
    expect(of("dropping-1").gaps).toBe(5);
  });

  test("counts what the filters ask for, and keeps the states", async () => {
    const { hosts } = await read(`/v1/hosts?${RANGE}&topic=process&host=silent-1,mute-1`);
    expect(hosts).toMatchObject([
      { host: "mute-1", count: 1, state: "unknown" },
      { host: "silent-1", count: 1, state: "silent" },
    ]);
  });

  test("says nothing of agents to who may not see them", async () => {
    const answer = await read(`/v1/hosts?${RANGE}`, VIEWER);
    expect(answer).toMatchObject({ agents_visible: false, hosts: [] });
    for (const host of ["always-1", "db-1"]) {
      const { status } = await query.ask(`/v1/hosts/${host}?${RANGE}`, { token: VIEWER });
      expect(status).toBe(404);
    }
  });
});

describe("GET /v1/hosts/{host}", () => {
  test("shows a host that was watched all the time as one range", async () => {
    const { presence, sources, changes, gaps } = await hostOf("always-1");
    const whole = { from: FROM, to: TO };
    expect(presence).toEqual({
      total: 1,
      values: [{ ...whole, state: "here", version: "1", boot: "aaaa0001" }],
    });
    expect(sources).toEqual(["network", "process"].map((source) => ({
      source,
      ranges: { total: 1, values: [{ ...whole, state: "watched" }] },
    })));
    expect([changes.total, gaps.total]).toEqual([0, 0]);
  });

  test.each([
    ["silent-1", [["here", 0, 600], ["away", 600, END, "silent"]]],
    ["stopped-1", [["here", 0, 610], ["away", 610, END, "stopped"]]],
    ["killed-1", [["here", 0, 600], ["away", 600, 5000, "restarted"], ["here", 5000, END]]],
    ["rebooted-1", [["here", 0, 610], ["away", 610, 900, "rebooted"], ["here", 900, END]]],
    ["upgraded-1", [["here", 0, 610], ["away", 610, 620, "upgraded"], ["here", 620, END]]],
    ["new-1", [["unknown", 0, 7200], ["here", 7200, END]]],
    ["gone-1", [["away", 0, END, "silent"]]],
  ])("tells when the agent of %s was there, and why not", async (host, wanted) => {
    const { presence } = await hostOf(host);
    expect(presence.values.map((each: Record<string, string>) => [
      each["state"],
      each["from"],
      each["to"],
      each["cause"],
    ])).toEqual(
      wanted.map(([state, from, to, cause]) => [state, at(Number(from)), at(Number(to)), cause]),
    );
  });

  test("keeps what the kernel recorded while the agent was away apart from what nobody saw", async () => {
    expect(await rangesOf("killed-1", "process")).toEqual([
      { from: FROM, to: at(600), state: "watched" },
      { from: at(600), to: at(5000), state: "watched", cause: "restarted" },
      { from: at(5000), to: TO, state: "watched" },
    ]);
    expect(await rangesOf("killed-1", "network")).toMatchObject([
      { to: at(600), state: "watched" },
      { from: at(600), to: at(5000), state: "unwatched", cause: "restarted" },
      { from: at(5000), to: TO, state: "watched" },
    ]);
    expect((await rangesOf("rebooted-1", "process"))[1])
      .toMatchObject({ from: at(610), to: at(900), state: "unwatched", cause: "rebooted" });
    const { presence, changes } = await hostOf("upgraded-1");
    expect(presence.values[1]).toMatchObject({ version: "2", version_before: "1" });
    expect(changes.values.map(({ what }: { what: string }) => what)).toEqual(["stop", "start"]);
  });

  test("joins losses that follow each other, with their count, and leaves the other source whole", async () => {
    expect(await rangesOf("dropping-1", "process")).toMatchObject([
      { from: FROM, to: at(99.5), state: "watched" },
      {
        ...{ from: at(99.5), to: at(102), state: "partial", cause: "dropped" },
        ...{ count: 15, reason: "no room" },
      },
      { from: at(102), to: at(500), state: "watched" },
      { from: at(500), state: "partial", count: 1 },
      { to: TO, state: "watched" },
    ]);
    expect(await rangesOf("dropping-1", "network")).toHaveLength(1);
    const { gaps } = await hostOf("dropping-1");
    expect(gaps.values).toMatchObject([
      { class: "ring_full", events: 3, count: 15, cause: "dropped", agent: "dropping" },
      { class: "ring_full", events: 1, count: 1 },
    ]);
  });

  test("tells from when a source was blind, and which one is off", async () => {
    expect(await rangesOf("blind-1", "network")).toMatchObject([
      { from: FROM, to: at(900), state: "watched" },
      { from: at(900), to: at(1000), state: "unwatched", cause: "blind", reason: "no canary" },
      { from: at(1000), to: at(1030), state: "watched" },
      { from: at(1030), to: TO, state: "unwatched", cause: "blind" },
    ]);
    expect(await rangesOf("blind-1", "process")).toHaveLength(1);
    expect(await rangesOf("new-1", "file")).toMatchObject([
      { from: FROM, to: at(7200), state: "unknown" },
      { from: at(7200), to: at(7230), state: "unwatched", cause: "off", reason: "no BPF" },
      { from: at(7230), to: TO, state: "unwatched", cause: "off" },
    ]);
  });

  test("cuts what goes beyond the range, and heeds what is told of it afterwards", async () => {
    const range = `from=${at(1000)}&to=${at(4000)}`;
    const { presence } = await hostOf("killed-1", range);
    expect(presence.values).toMatchObject([
      { from: at(1000), to: at(4000), state: "away", cause: "silent" },
    ]);
    const { gaps } = await hostOf("killed-1", range);
    expect(gaps.values).toMatchObject([{ class: "absent", from: at(605), to: at(5000) }]);
    const last = `from=${at(0)}&to=${at(640)}`;
    expect((await hostOf("silent-1", last)).state).toBe("silent");
    expect((await hostOf("always-1", last)).state).toBe("watched");
  });

  test("believes nothing that has no sense", async () => {
    const { version, boot, sources, gaps } = await hostOf("hostile-1");
    expect([version, boot]).toEqual(["7", "{}"]);
    expect(sources).toMatchObject([{ source: "x" }]);
    expect(gaps.values.map((each: Record<string, unknown>) => [
      each["class"],
      each["count"],
      each["from"],
    ])).toEqual([
      ["unknown", Number.MAX_SAFE_INTEGER, at(25)],
      ["5", undefined, at(30)],
    ]);
  });

  test("reads what an agent really says", async () => {
    expect(await hostOf("real-1")).toMatchObject({
      state: "stopped",
      version: "3",
      boot: "aaaa0003",
    });
    expect(await rangesOf("real-1", "process")).toMatchObject([
      { from: at(0), to: at(60), state: "watched" },
      { from: at(60), to: at(70), state: "unwatched", cause: "blind" },
      { from: at(70), to: TO, state: "unwatched", cause: "stopped" },
    ]);
  });

  test("says that nothing is known of a host that only other events name", async () => {
    expect(await hostOf("mute-1")).toMatchObject({
      ...{ state: "unknown", count: 1, sources: [], presence: { total: 0 } },
    });
  });

  test.each([
    [`/v1/hosts/nobody?${RANGE}`, 404, "host"],
    [`/v1/hosts/%2A?${RANGE}`, 404, "host"],
    [`/v1/hosts/always-1?topic=process`, 400, "topic"],
    [`/v1/hosts/${"x".repeat(254)}`, 400, "host"],
    [`/v1/hosts/always-1?from=2026-07-01&to=2026-06-01`, 400, "from"],
  ])("refuses %.50s", async (path, status, parameter) => {
    const answer = await query.ask(path);
    expect(answer.status).toBe(status);
    expect(await answer.json()).toMatchObject({ parameter });
  });

  test("is told to the audit with the host", async () => {
    await hostOf("always-1");
    expect(query.lines.some((line) => line.includes("GET /v1/hosts/{host}"))).toBe(true);
  });
});

test("plans of coverage hold nothing for somebody of no host", () => {
  const request = {
    ...{ fromUs: 0, toUs: 1, order: "desc" as const, conditions: [] },
    ...{ limit: undefined, after: undefined, upper: undefined },
  };
  const view = { version: 1, files: [], hot: [], upper: new Map(), missing: [] };
  const principal = { name: "nobody", scopes: { ...ADMIN_SCOPES, hosts: [] } };
  const last = (...[asked, who, of]: Parameters<typeof planSigns>) =>
    planLastHeard(asked, who, { view: of, lookBackUs: 1 });
  for (const plan of [planSigns, planGaps, last]) {
    for (const { statement } of plan(request, principal, view).steps) {
      expect(statement.sql).toContain("false");
    }
  }
});
