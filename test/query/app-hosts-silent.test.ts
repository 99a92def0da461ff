import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type AuditEvent, formatTime } from "../../src/event/event.ts";
import {
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  START_US,
} from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker } from "../support/test-messages.ts";

const END = 3 * 3600;
const RANGE = "from=2026-06-01&to=2026-06-01T03:00:00Z";
const at = (second: number): string => formatTime(START_US + second * 1_000_000);
const event = (second: number, topic: string, more: Partial<AuditEvent>): AuditEvent => ({
  timeUs: START_US + second * 1_000_000,
  topic,
  severity: "info",
  ...more,
});
const stop = (second: number) => event(second, "agent/stop", { detail: { version: "1" } });
const SOURCES = [{ name: "process", state: "on" }];

/** Every 30 s from … to, inclusive. */
function beats(from: number, to: number): AuditEvent[] {
  const detail = { version: "1", boot: "aaaa0001", sources: SOURCES };
  return Array.from(
    { length: Math.floor((to - from) / 30) + 1 },
    (_, each) => event(from + each * 30, "agent/heartbeat", { detail }),
  );
}

describe("hosts that have been silent for long", () => {
  const DAY = 86_400;
  const LONG_AGO: Readonly<Record<string, readonly AuditEvent[]>> = {
    "year-1": [...beats(-300 * DAY, -300 * DAY + 90), event(-300 * DAY + 100, "process/exec", {})],
    "ended-1": [...beats(-200 * DAY, -200 * DAY + 90), stop(-200 * DAY + 95)],
    "sender-1": [event(-100 * DAY, "app/shop/order", {})],
    "week-1": beats(-8 * DAY, -8 * DAY + 90),
    "moved-1": beats(-8 * DAY, -8 * DAY + 90),
    // The query service says that it starts and stops as well; that is no agent.
    "server-1": [
      ...beats(-7 * DAY, -7 * DAY + 90),
      event(-7 * DAY + 200, "agent/stop", { service: "probity" }),
    ],
  };
  const NOW: Readonly<Record<string, readonly AuditEvent[]>> = {
    "moved-1": beats(60, END),
    "late-1": beats(END, END + 90),
  };
  let long: QueryFixture;

  beforeAll(async () => {
    long = await openQueryFixture({
      tallyIntervalMs: 50,
      readers: { "one-host-token-of-enough-length": { topics: "all", hosts: ["week-1"] } },
      write: async (store, folder) => {
        let sequence = 0;
        for (const hosts of [LONG_AGO, NOW]) {
          const messages = [];
          for (const [host, events] of Object.entries(hosts)) {
            const agent = `${host.replace("-1", "")}${hosts === NOW ? "2" : ""}`;
            const maker = createMessageMaker({ agent, host, firstSequence: ++sequence });
            messages.push(await maker.next([...events]));
          }
          await commitMessages({ store, incarnation: INCARNATION, messages, folder });
        }
      },
    });
  });
  afterAll(() => long?.[Symbol.asyncDispose]());

  const list = async (query: string, token?: string) => {
    const answer = await long.ask(
      `/v1/hosts?${query}`,
      token === undefined ? {} : { token },
    );
    if (!answer.ok) throw new Error(await answer.text());
    const { hosts, known_from: knownFrom } = await answer.json();
    const files = Number(answer.headers.get("probity-scanned-files"));
    return {
      hosts: new Map(hosts.map((each: { host: string }) => [each.host, each])),
      knownFrom,
      files,
    };
  };
  const whenTallied = () =>
    vi.waitFor(async () => {
      const found = await list(RANGE);
      expect(found.knownFrom).toBeUndefined();
      return found;
    }, 10_000);

  test("are listed with when they were last seen, however long ago, without a scan", async () => {
    const { hosts, files } = await whenTallied();
    expect([...hosts.keys()]).toEqual([
      ...["ended-1", "moved-1", "sender-1", "server-1", "week-1", "year-1"],
    ]);
    expect(hosts.get("year-1")).toMatchObject({
      ...{ state: "silent", since: at(0), last_seen: at(-300 * DAY + 100), version: "1", count: 0 },
    });
    expect(hosts.get("ended-1")).toMatchObject({
      state: "stopped",
      last_seen: at(-200 * DAY + 95),
    });
    expect(hosts.get("week-1")).toMatchObject({ state: "silent", last_seen: at(-8 * DAY + 90) });
    expect(hosts.get("server-1")).toMatchObject({ state: "silent", last_seen: at(-7 * DAY + 200) });
    expect(hosts.get("sender-1")).toMatchObject({ state: "unknown", last_seen: at(-100 * DAY) });
    expect(hosts.get("moved-1")).toMatchObject({ state: "watched", last_seen: at(END - 30) });
    // Those of the range, and the last of each host that is gone; none is read for who sends still.
    expect(files).toBeLessThan(7);
    const one = await long.ask(`/v1/hosts/year-1?${RANGE}`);
    expect(await one.json()).toMatchObject({
      ...{ state: "silent", last_seen: at(-300 * DAY + 100) },
      presence: { values: [{ from: at(0), to: at(END), state: "away", cause: "silent" }] },
    });
  });

  test("are those before the range that is asked for, within what a token sees", async () => {
    await whenTallied();
    const { hosts } = await list(`from=${at(-250 * DAY)}&to=${at(-150 * DAY)}`);
    expect([...hosts.keys()]).toEqual(["ended-1", "year-1"]);
    expect(hosts.get("ended-1")).toMatchObject({ state: "stopped", count: 5 });
    const seen = await list(RANGE, "one-host-token-of-enough-length");
    expect([...seen.hosts.keys()]).toEqual(["week-1"]);
    expect([...(await list(`${RANGE}&host=*r-1`)).hosts.keys()]).toEqual([
      ...["sender-1", "server-1", "year-1"],
    ]);
  });

  test("are found in files that no tally tells of as far back as is read, and more is not claimed", async () => {
    await whenTallied();
    await long.reopen(() => rm(join(long.folder, "cache", "tallies")));
    const { hosts, knownFrom } = await list(RANGE);
    expect(hosts.get("week-1")).toMatchObject({ state: "silent", last_seen: at(-8 * DAY + 90) });
    // Tallies are made meanwhile: what is not known yet is told as that.
    if (!hosts.has("year-1")) expect(knownFrom >= at(-300 * DAY + 100)).toBe(true);
    expect((await whenTallied()).hosts.has("year-1")).toBe(true);
  });
});
