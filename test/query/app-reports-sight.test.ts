import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { join } from "node:path";
import { openMaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import { retainTable } from "../../src/pipeline/maintenance/retention.ts";
import { parseKeepRules } from "../../src/pipeline/maintenance/retention-policy.ts";
import { coverHost, shortfallsOf } from "../../src/query/coverage/host-coverage.ts";
import type { Sign } from "../../src/query/coverage/told.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openTable } from "../../src/storage/delta-table.ts";
import { deltaLogKey } from "../../src/storage/layout.ts";
import { clockAt } from "../support/data-table.ts";
import { COLLECTOR_NAMES } from "../../src/edge-agent/sources/collectors/collector-names.ts";
import { SOURCE_NAMES } from "../../src/edge-agent/sources.ts";
import { type AuditEvent, formatTime } from "../../src/event/event.ts";
import { GAPS_MAX } from "../../src/query/planner/coverage.ts";
import { deletedUntilUs, parseDeletions } from "../../src/query/reports/deletions.ts";
import { CRYPTO_REPORT, REPORT_KINDS } from "../../src/query/reports/kinds.ts";
import { createRegistry } from "../../src/storage/registry.ts";
import {
  INCARNATION,
  openQueryFixture,
  type QueryFixture,
  START_US,
  TOKEN,
  VIEWER,
} from "../support/query-fixture.ts";
import { commitMessages } from "../support/test-archive.ts";
import { createMessageMaker } from "../support/test-messages.ts";

const RANGE = "from=2026-06-01&to=2026-06-01T00:10:00Z";
/** Sees agents come and go, but nothing of what they tell as missing. */
const HALF = "half-token-of-enough-length";
/** Sees all that privilege is made of but programs that gain rights. */
const NO_GAINS = "no-gains-token-of-enough-length";
const at = (second: number): string => formatTime(START_US + second * 1_000_000);
const timed = (second: number, topic: string, more: Partial<AuditEvent> = {}): AuditEvent => ({
  ...{ timeUs: START_US + second * 1_000_000, topic, severity: "info", ...more },
});

/** Watched all the time by the sources that an agent has, and an application installed something. */
const REAL: readonly AuditEvent[] = [
  ...Array.from({ length: 26 }, (_, place) =>
    timed(place * 30 - 60, "agent/heartbeat", {
      detail: {
        ...{ version: "1", boot: "aaaa0001" },
        sources: SOURCE_NAMES.map((name) => ({ name, state: "on" })),
      },
    })),
  timed(200, "package/install", { service: "deployer", detail: { name: "shop" } }),
];

/** Two days later: more gaps, none like another, than one answer reads. */
const LATER_S = 2 * 86_400;
const MANY: readonly AuditEvent[] = Array.from(
  { length: GAPS_MAX + 1 },
  (_, place) => timed(LATER_S + 300, "agent/gap", { detail: { class: `c${place}`, count: 1 } }),
);

let query: QueryFixture;
beforeAll(async () => {
  query = await openQueryFixture({
    shards: [],
    readers: {
      [HALF]: { topics: ["agent/heartbeat", "agent/start", "file"], hosts: "all" },
      [NO_GAINS]: {
        topics: ["agent", "auth", "process/setuid", "process/ptrace", "account", "kernel"],
        hosts: "all",
      },
    },
    write: async (store, folder) => {
      const real = createMessageMaker({ agent: "r", host: "real-1" });
      const messages = [await real.next([...REAL]), await real.next([...MANY])];
      await commitMessages({ store, incarnation: INCARNATION, messages, folder });
    },
  });
});
afterAll(() => query?.[Symbol.asyncDispose]());

interface Table {
  readonly table: string;
  readonly rows: readonly Readonly<Record<string, unknown>>[];
}
const of = async (token: string, name: string, more = "") =>
  await (await query.ask(`/v1/reports/${name}?${RANGE}${more}`, { token })).json();
const rowsOf = ({ tables }: { tables: readonly Table[] }, name: string) =>
  tables.find(({ table }) => table === name)?.rows ?? [];

describe("what a report asserts", () => {
  test("lists each source that is needed and not there, whoever else told of the kind", async () => {
    const off = (sources: string, topics: string) => ({
      ...{ host: "real-1", from: at(0), to: at(600), sources, state: "unwatched", cause: "off" },
      reason: `this host's agent has no such source: nobody watches ${topics}`,
    });
    const privilege = await of(TOKEN, "privilege");
    expect(privilege).toMatchObject({ watched: false, no_change: true });
    expect(rowsOf(privilege, "coverage_gaps")).toEqual([
      off("host", "kernel/module, kernel/sysctl"),
      off("kernel", "kernel/bpf, kernel/uring"),
      off("logins", "auth/sudo, auth/su"),
    ]);
    // Of what a report looks for, only this has no source of that name.
    const needed = [...Object.values(REPORT_KINDS), CRYPTO_REPORT]
      .flatMap(({ sources }) => Object.keys(sources));
    const ofAgent: readonly string[] = [...SOURCE_NAMES, ...COLLECTOR_NAMES];
    expect(new Set(needed.filter((name) => !ofAgent.includes(name)))).toEqual(new Set(["kernel"]));
    const page = await readFile(new URL("../../docs/reports.md", import.meta.url), "utf8");
    for (const name of needed) {
      const isThere = ofAgent.includes(name) ? "yes" : "not yet";
      expect(page).toMatch(new RegExp(`^\\| \`${name}\` .*\\| ${isThere} +\\|$`, "m"));
    }
    // One that an application sent does not say that all were told.
    const packages = await of(TOKEN, "packages");
    expect(packages).toMatchObject({ watched: false, no_change: false });
    expect(rowsOf(packages, "coverage_gaps")).toEqual([off("packages", "package")]);
    expect(await of(TOKEN, "files")).toMatchObject({ watched: true, no_change: true });
  });

  test("calls nothing watched, and no range empty, for a token that sees only a part", async () => {
    // Nothing is missing on real-1, but this token would not see it if there were.
    const half = await of(HALF, "files", "&host=real-1");
    expect(half).toMatchObject({ watched: false, no_change: true });
    expect(rowsOf(half, "coverage_gaps")).toMatchObject([{ host: "real-1", state: "unknown" }]);
    expect(await of(HALF, "gaps", "&host=real-1")).toMatchObject({
      ...{ watched: false, no_change: false },
    });
    const gains = await of(NO_GAINS, "privilege", "&host=real-1");
    expect(gains).toMatchObject({ no_change: false });
    expect(gains.statements).toContain(
      "The token does not see all events of process/exec: they may be missing here.",
    );
    const other = await of(VIEWER, "files", "&host=real-1");
    expect(other).toMatchObject({ hosts: ["real-1"], watched: false, no_change: false });
  });

  test("is called cut in every form when not all gaps were read", async () => {
    const later = `from=${at(LATER_S)}&to=${at(LATER_S + 600)}`;
    for (const accept of ["text/csv", "application/json"]) {
      const answer = await query.ask(`/v1/reports/files?${later}`, { headers: { accept } });
      expect(answer.headers.get("probity-truncated")).toBe("true");
      expect(await answer.text()).toContain("Not all gaps could be read");
    }
  });

  test("does not call a range empty when a part of the record could not be searched", async () => {
    await using part = await openQueryFixture();
    const report = await (await part.ask(`/v1/reports/packages?${RANGE}`)).json();
    expect(report).toMatchObject({ no_change: false, whole: false });
    expect(report.statements[0]).toBe("No event of this kind is visible.");
    expect(report.statements.at(-1)).toMatch(
      /^A part of the record could not be searched: events after the last commit/,
    );
  });
});

describe("what was deleted", () => {
  const DAY_MS = 86_400_000;
  const keep = (rules: Readonly<Record<string, number>>, nowUs = START_US + 20 * DAY_MS * 1_000) =>
    parseDeletions({ rules: JSON.stringify(Object.entries(rules)), cutoffs: {} }, nowUs) ?? [];
  const daysGone = (deletions: ReturnType<typeof keep>, topic: string, host = "real-1") =>
    Math.max(0, deletedUntilUs(deletions, { topic, host }) - START_US) / DAY_MS / 1_000;

  test("follows from the rule that decides, and from those on a part of the topic", () => {
    const rules = keep({
      ...{ "auth/sudo": 2 * DAY_MS, "auth@real-*": 15 * DAY_MS, "auth": 18 * DAY_MS },
      ...{ "file/change@other": DAY_MS, "file": 400 * DAY_MS, "**": 10 * DAY_MS },
    });
    expect(daysGone(rules, "package")).toBe(10);
    expect(daysGone(rules, "auth")).toBe(18);
    expect(daysGone(rules, "auth/su")).toBe(5);
    expect(daysGone(rules, "auth/su", "db-1")).toBe(2);
    expect(daysGone(rules, "file/change")).toBe(0);
    expect(daysGone(rules, "file/change", "other")).toBe(19);
    expect(daysGone([], "package")).toBe(0);
  });

  test.each([undefined, {}, { rules: "{}", cutoffs: {} }, { rules: `[["*",1]]`, cutoffs: {} }, {
    rules: `["auth"]`,
    cutoffs: {},
  }])("is not known from %j", (settled) => {
    expect(parseDeletions(settled, START_US)).toBeUndefined();
  });

  test("is listed, and neither watched nor empty", async () => {
    const tasks = createRegistry({
      store: query.store,
      kind: "maintenance",
      parse: (each) => each,
    });
    const atMs = START_US / 1_000 + 20 * DAY_MS;
    const write = (settled: object) =>
      tasks.change(
        "retain",
        () => ({ by: "", untilMs: 0, doneAtMs: 0, settled: { atMs, ...settled } }),
      );
    expect(await of(TOKEN, "files")).toMatchObject({ no_change: true, watched: true });
    // The last sign is of the tenth minute.
    const causes = async () => {
      const answer = await query.ask(`/v1/reports/files?from=${at(0)}&to=${at(3_600)}`);
      return rowsOf(await answer.json(), "coverage_gaps").map(({ cause }) => cause);
    };
    expect(await causes()).toEqual(["silent"]);
    const forEver = Date.now();
    await write({
      rules: JSON.stringify([["file/change", forEver], ["file", DAY_MS]]),
      cutoffs: { "file/change": START_US / 1_000 + 60_000 },
    });
    const report = await of(TOKEN, "files");
    expect(report).toMatchObject({ no_change: false, watched: false, whole: false });
    expect(rowsOf(report, "coverage_gaps")).toEqual([{
      ...{ host: "real-1", from: at(0), to: at(60), sources: "all", state: "unknown" },
      ...{ cause: "deleted", reason: "events of file/change are not kept for so long" },
    }]);
    // Gaps that were told are gone as well.
    await write({ rules: JSON.stringify([["agent/gap", DAY_MS]]), cutoffs: {} });
    expect(await of(TOKEN, "files")).toMatchObject({ no_change: false, watched: false });
    // Nor is a host silent of whose agent not all is kept.
    expect(await causes()).toEqual(["deleted"]);
    // The last run was too early to take anything of the range.
    await write({ rules: JSON.stringify([["**", 23 * DAY_MS]]), cutoffs: {} });
    expect(await of(TOKEN, "files")).toMatchObject({ no_change: true, watched: true });
    await write({ rules: "no rules" });
    expect(await of(TOKEN, "files")).toMatchObject({ watched: false, whole: false });
    await tasks.change("retain", () => ({ by: "first", untilMs: atMs, doneAtMs: 0 }));
    const unknown = await of(TOKEN, "files");
    expect(unknown).toMatchObject({ watched: false, whole: false });
    expect(JSON.stringify(unknown)).toContain("it cannot be told what was deleted");
  });

  test("is known of what went by hand, by whichever tool, and nobody calls it watched or silent", async () => {
    const beats = (day: number): AuditEvent[] =>
      Array.from({ length: 10 }, (_, place) => ({
        ...REAL[0] ?? timed(0, ""),
        timeUs: START_US + day * DAY_MS * 1_000 + place * 30_000_000,
      }));
    await using own = await openQueryFixture({
      shards: [],
      write: async (store, folder) => {
        const real = createMessageMaker({ agent: "r", host: "real-1" });
        const messages = [];
        for (const day of [0, 3]) messages.push(await real.next(beats(day)));
        await commitMessages({ store, incarnation: INCARNATION, messages, folder });
      },
    });
    const range = (day: number) => {
      const [from, to] = [day * 86_400 + 60, day * 86_400 + 240].map(at);
      return `from=${from}&to=${to}`;
    };
    const report = async (day: number) =>
      await (await own.ask(`/v1/reports/files?${range(day)}`)).json();
    const host = async (day: number) =>
      await (await own.ask(`/v1/hosts/real-1?${range(day)}`)).json();
    const statesOf = ({ sources }: { sources: { ranges: { values: object[] } }[] }) =>
      sources[0]?.ranges.values;
    const whole = { no_change: true, watched: true, whole: true };
    expect([await report(0), await report(3)]).toMatchObject([whole, whole]);
    expect(statesOf(await host(0))).toMatchObject([{ state: "watched" }]);
    const log = createLog({ level: "error", write: () => undefined });
    {
      const scratchDirectory = join(own.folder, "maintenance");
      const clock = clockAt("2026-07-01T12:00:00Z");
      await using context = await openMaintenanceContext({
        ...{ store: own.store, scratchDirectory, log, clock },
      });
      // All of it, but for what other rules keep: the first day's files go.
      await retainTable(context, { rules: parseKeepRules({ "**": 28 * DAY_MS }) });
    }
    await own.reopen();
    const gone = { watched: false, no_change: false, whole: false };
    expect([await report(0), await report(3)]).toMatchObject([gone, whole]);
    expect(rowsOf(await report(0), "coverage_gaps")).toContainEqual(expect.objectContaining({
      ...{ host: "*", cause: "deleted", reason: "events of agent are not kept for so long" },
    }));
    expect((await report(0)).statements.join("\n")).toContain("is out of retention");
    // A tool that writes to the table by the open protocol, and knows nothing of us.
    const table = openTable({ store: own.store, clock: systemClock, log });
    const { version, files } = await table.refresh();
    const removed = [...files.keys()].map((path) => ({ remove: { path, dataChange: true } }));
    const text = [{ commitInfo: { operation: "DELETE" } }, ...removed]
      .map((each) => JSON.stringify(each)).join("\n");
    await own.store.put(deltaLogKey(version + 1), new TextEncoder().encode(text));
    await own.reopen();
    const byOther = "another tool removed events of this time from the table";
    const after = await (await own.ask(`/v1/reports/files?${range(3)}&host=real-1`)).json();
    expect(after).toMatchObject(gone);
    expect(rowsOf(after, "coverage_gaps")).toContainEqual(
      expect.objectContaining({ cause: "deleted", reason: byOther }),
    );
  });

  test("hides no gap that was told and is kept", () => {
    const gap = {
      ...{ host: "h", agent: "a", class: "ring_full", count: 3, reason: "no room" },
      ...{ fromUs: 70_000_000, toUs: 80_000_000, sources: ["process"], isOfAll: false },
      ...{ events: 1, id: "1" },
    };
    const sign: Sign = {
      ...{ host: "h", agent: "a", what: "heartbeat", timeUs: 60_000_000 },
      ...{ version: "1", boot: "b", config: undefined, isSourcesCut: false, changed: [] },
      sources: [{ source: "process", state: "on", reason: undefined }],
      ...{ outcome: undefined, before: undefined },
    };
    const range = { fromUs: 60_000_000, toUs: 90_000_000, heardUs: 90_000_000 };
    const causes = (toUs: number) =>
      shortfallsOf(coverHost("h", {
        ...{ signs: [sign], gaps: [gap], range },
        gone: [{ fromUs: 0, toUs }],
      })).map(({ cause, fromUs }) => [cause, fromUs / 1_000_000]);
    expect(causes(0)).toEqual([["dropped", 70]]);
    expect(causes(75_000_000)).toEqual([["deleted", 60], ["dropped", 75]]);
    expect(causes(90_000_000)).toEqual([["deleted", 60], ["dropped", 70]]);
  });

  test("makes of the states of a host what nobody knows", () => {
    const minute = 60_000_000;
    const signs = [0, 30, 60, 300, 330].map((second): Sign => ({
      ...{ host: "h", agent: "a", what: "heartbeat", timeUs: second * 1_000_000 },
      ...{ version: "1", boot: "b", config: undefined, isSourcesCut: false, changed: [] },
      sources: [{ source: "process", state: "on", reason: undefined }],
      ...{ outcome: undefined, before: undefined },
    })).map((sign, place, all) => {
      const last = all[place - 1];
      return last === undefined
        ? sign
        : { ...sign, before: { timeUs: last.timeUs, isStop: false } };
    });
    const range = { fromUs: 0, toUs: 6 * minute, heardUs: 6 * minute };
    const shape = (gone: readonly { fromUs: number; toUs: number }[]) => {
      const { presence, sources } = coverHost("h", { signs, gaps: [], range, gone });
      return [presence, sources[0]?.ranges ?? []].map((list) =>
        list.map(({ state, fromUs, toUs }) => [state, fromUs / minute, toUs / minute])
      );
    };
    expect(shape([])).toEqual([
      [["here", 0, 1], ["away", 1, 5], ["here", 5, 6]],
      [["watched", 0, 1], ["watched", 1, 5], ["watched", 5, 6]],
    ]);
    expect(shape([{ fromUs: 2 * minute, toUs: 4 * minute }])).toEqual([
      [["here", 0, 1], ["away", 1, 2], ["unknown", 2, 4], ["away", 4, 5], ["here", 5, 6]],
      [["watched", 0, 1], ["watched", 1, 2], ["unknown", 2, 4], ["watched", 4, 5], [
        "watched",
        5,
        6,
      ]],
    ]);
    expect(shape([{ fromUs: 0, toUs: Infinity }])).toEqual([
      ...[[["unknown", 0, 1], ["unknown", 1, 5], ["unknown", 5, 6]], [["unknown", 0, 6]]],
    ]);
  });
});
