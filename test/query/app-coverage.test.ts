/** Coverage where record and host disagree: what was told late, by several agents, with wrong clocks or too much. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AuditEvent, formatTime } from "../../src/event/event.ts";
import type { BatchHeader } from "../../src/event/wire.ts";
import {
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  START_US,
} from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker } from "../support/test-messages.ts";

const END = 3600;
const usOf = (second: number): number => START_US + second * 1_000_000;
const at = (second: number): string => formatTime(usOf(second));
const RANGE = `from=${at(0)}&to=${at(END)}`;
const ON = [{ name: "process", state: "on" }];

const event = (second: number, topic: string, detail: object): AuditEvent => ({
  ...{ timeUs: usOf(second), topic, severity: "info", detail: { ...detail } },
});
const said = (second: number, topic: string, detail = {}) =>
  event(second, topic, { version: "1", boot: "aaaa0001", sources: ON, ...detail });

/** Every 30 s from … to, inclusive. */
const beats = (from: number, to: number, detail = {}): AuditEvent[] =>
  Array.from(
    { length: Math.floor((to - from) / 30) + 1 },
    (_, each) => said(from + each * 30, "agent/heartbeat", detail),
  );

/** A message of a host; `void` is what a spool gave up. */
interface Told {
  readonly host: string;
  readonly agent?: string;
  readonly events?: readonly AuditEvent[];
  readonly void?: Pick<BatchHeader, "firstUs" | "lastUs" | "count">;
  readonly storedAtUs?: number;
  /** Messages that the stream lost before it. */
  readonly lost?: number;
}

const DAY = 86_400;
const TOLD: Told[] = [
  { host: "cut-off", events: beats(-60, END + 120) },
  {
    host: "cut-off",
    void: { firstUs: usOf(600), lastUs: usOf(1200), count: 7 },
    storedAtUs: usOf(3 * DAY),
  },
  { host: "other", events: beats(-60, END + 120) },
  { host: "behind", events: beats(-60, END + 120) },
  {
    ...{ host: "behind", lost: 2, storedAtUs: usOf(1800) },
    void: { firstUs: usOf(50), lastUs: usOf(60), count: 1 },
  },
];

const OFF = { sources: [{ name: "process", state: "off" }] };
TOLD.push(
  {
    host: "came-back",
    events: [
      ...beats(-60, 600),
      said(610, "agent/stop"),
      said(1800, "agent/start", OFF),
      ...beats(1830, END + 120, OFF),
    ],
  },
  { host: "twins", agent: "twin-a", events: beats(-60, 600) },
  { host: "twins", agent: "twin-b", events: beats(-60, END + 120) },
  { host: "replaced", agent: "old", events: beats(-60, 600) },
  {
    ...{ host: "replaced", agent: "new" },
    events: [said(700, "agent/start"), ...beats(730, END + 120)],
  },
  // Its clock is an hour ahead.
  ...Array.from({ length: 11 }, (_, each) => ({
    host: "ahead",
    events: [said(3600 + each * 60, "agent/heartbeat")],
    storedAtUs: usOf(each * 60),
  })),
  {
    host: "noisy",
    events: [
      ...beats(-60, END + 120),
      ...Array.from(
        { length: 2001 },
        (_, each) => {
          const told = { class: `c${each}`, count: null, reason: "much" };
          return event(each * 1.5, "agent/gap", {
            ...told,
            ...{ from: at(each * 1.5 - 3), to: at(each * 1.5) },
          });
        },
      ),
    ],
  },
  {
    host: "quiet",
    events: [...beats(-60, END + 120), event(3500, "agent/gap", { class: "lost", count: 3 })],
  },
);

TOLD.push(
  { host: "dead", events: beats(-2 * DAY - 600, -2 * DAY) },
  { host: "heir", agent: "heir-a", events: beats(-2 * DAY - 600, -2 * DAY) },
  {
    ...{ host: "heir", agent: "heir-b" },
    events: [said(-2 * DAY + 60, "agent/start"), ...beats(-DAY - 3600, END + 120)],
  },
  // Away over the whole time that is looked back for changes.
  {
    host: "returned",
    events: [
      ...beats(-2 * DAY - 600, -2 * DAY),
      said(1800, "agent/start", { boot: "aaaa0002" }),
      ...beats(1830, END + 120, { boot: "aaaa0002" }),
    ],
  },
);

let query: QueryFixture;

beforeAll(async () => {
  query = await openQueryFixture({
    write: async (store, folder) => {
      let sequence = 0;
      const makers = new Map<string, ReturnType<typeof createMessageMaker>>();
      const messages = [];
      for (const { host, agent = host, events = [], lost = 0, ...told } of TOLD) {
        sequence += 1 + lost;
        const maker = makers.get(agent) ?? createMessageMaker({ agent, host });
        makers.set(agent, maker);
        const { storedAtUs } = told;
        messages.push(
          await maker.next(events, {
            sequence,
            ...(storedAtUs === undefined ? {} : { storedAtUs }),
            ...(told.void === undefined ? {} : {
              payload: new Uint8Array(),
              header: { ...told.void, void: "the spool was full" },
            }),
          }),
        );
      }
      await commitMessages({ store, incarnation: INCARNATION, messages, folder });
    },
  });
});

afterAll(() => query?.[Symbol.asyncDispose]());

const read = async (path: string) => {
  const answer = await query.ask(path);
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
};
const hostOf = (host: string, range = RANGE) => read(`/v1/hosts/${host}?${range}`);
const rangesOf = async (host: string, source = "process", range = RANGE) => {
  const { sources } = await hostOf(host, range);
  const found = sources.find((each: { source: string }) => each.source === source);
  return found.ranges.values.map((each: Record<string, string>) => [
    ...[each["from"], each["to"], each["state"]],
    ...("cause" in each ? [each["cause"]] : []),
  ]);
};

describe("what was lost", () => {
  test("is missing when it happened, however late it was told", async () => {
    expect(await rangesOf("cut-off")).toEqual([
      [at(0), at(600), "watched"],
      [at(600), at(1200), "partial", "dropped"],
      [at(1200), at(1800), "watched"],
      [at(1800), formatTime(usOf(1800) + 1), "partial", "broken"],
      [formatTime(usOf(1800) + 1), at(END), "watched"],
    ]);
    const report = await read(`/v1/reports/packages?${RANGE}&host=cut-off`);
    expect(report.watched).toBe(false);
    const { rows } = report.tables.find(({ table }: { table: string }) =>
      table === "coverage_gaps"
    );
    expect(rows).toContainEqual(expect.objectContaining({
      ...{ from: at(600), to: at(1200), state: "partial", cause: "dropped", missing: 7 },
    }));
  });

  test("by the stream may be of any host", async () => {
    for (const host of ["cut-off", "other", "behind"]) {
      const { gaps } = await hostOf(host);
      expect(gaps.values).toContainEqual(
        expect.objectContaining({ class: "stream", from: at(1800) }),
      );
    }
    expect(await rangesOf("other")).toHaveLength(3);
  });

  test("of one host does not hide what others lost, and is not known beyond what was read", async () => {
    const { gaps, cut } = await hostOf("quiet");
    expect([gaps.total, cut]).toEqual([2, false]);
    const all = await read(`/v1/reports/gaps?${RANGE}`);
    const rows = all.tables.find(({ table }: { table: string }) => table === "coverage_gaps").rows;
    expect(rows).toContainEqual(
      expect.objectContaining({ host: "quiet", from: at(3500), missing: 3 }),
    );
    expect((await hostOf("noisy")).cut).toBe(true);
    expect((await rangesOf("noisy")).at(-1)).toEqual([at(1999 * 1.5 - 3), at(END), "unknown"]);
  });
});

describe("who was away", () => {
  test("for days is missed by reports, unless another took its place", async () => {
    const { tables } = await read(`/v1/reports/gaps?${RANGE}&host=dead,heir,returned`);
    const { rows } = tables.find(({ table }: { table: string }) => table === "coverage_gaps");
    const away = rows.filter(({ state }: { state: string }) => state !== "partial");
    expect(away).toMatchObject([
      { host: "dead", from: at(0), to: at(END), state: "unwatched", cause: "silent" },
      { host: "returned", from: at(0), to: at(1800), state: "unwatched", cause: "rebooted" },
    ]);
  });

  test("kept nothing of a source with which it did not come back", async () => {
    expect((await rangesOf("came-back")).filter(([, , state]: string[]) => state !== "partial"))
      .toEqual([
        [at(0), at(610), "watched"],
        [at(610), at(1800), "unwatched", "stopped"],
        [at(1800), at(END), "unwatched", "off"],
      ]);
  });

  test("is not made up for by another agent of the same name", async () => {
    const { state, presence } = await hostOf("twins");
    expect([state, presence.values.at(-1).from]).toEqual(["silent", at(600)]);
    expect(await rangesOf("twins")).toEqual([
      [at(0), at(600), "watched"],
      [at(600), at(END), "unwatched", "silent"],
    ]);
  });

  test("is followed by an agent that was begun after its last sign", async () => {
    const { state, presence } = await hostOf("replaced");
    expect(state).toBe("watched");
    expect(presence.values).toMatchObject([
      { state: "here", to: at(600) },
      { state: "away", to: at(700), cause: "restarted" },
      { state: "here", to: at(END) },
    ]);
  });

  test("is not alive by a clock that is ahead", async () => {
    const { state, since, last_seen } = await hostOf("ahead", `from=${at(0)}&to=${at(1200)}`);
    expect([state, since, last_seen]).toEqual(["silent", at(600), at(600)]);
    expect((await hostOf("ahead", `from=${at(0)}&to=${at(590)}`)).state).toBe("watched");
  });
});
