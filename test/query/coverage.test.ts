import { expect, test } from "vitest";
import { coverHosts, hostSummary, shortfallsOf } from "../../src/query/coverage/host-coverage.ts";
import { readSign, type Sign, type ToldGap } from "../../src/query/coverage/told.ts";
import { processorMsOf } from "../support/processor-time.ts";

const COUNT = 2_000;
const range = { fromUs: 0, toUs: COUNT * 30e6, heardUs: COUNT * 30e6 };
const signOf = (each: number, names: readonly string[]): Sign => ({
  ...{ host: "h", agent: "a", what: "heartbeat", timeUs: each * 30e6, version: "1", boot: "b" },
  ...{ config: undefined, changed: [], outcome: undefined, isSourcesCut: false },
  sources: names.map((source) => ({ source, state: "on", reason: undefined })),
  before: each === 0 ? undefined : { timeUs: (each - 1) * 30e6, isStop: false },
});
const gapOf = (each: number): ToldGap => ({
  ...{ host: "h", isOfAll: false, agent: "a", class: "absent", sources: [], fromUs: each * 10e6 },
  ...{ toUs: range.toUs - each, count: 1, reason: `r${each}`, events: 1, id: `${each}` },
});
/** The better of two. */
const bounded = (limitMs: number, signs: readonly Sign[], gaps: readonly ToldGap[]) => {
  const [first, second] = [1, 2].map(() => {
    let covered: ReturnType<typeof coverHosts> = new Map();
    const tookMs = processorMsOf(() => {
      covered = coverHosts({ signs, gaps, range, cutsOf: () => ({}) });
    });
    return { coverage: [...covered.values()][0], tookMs };
  });
  expect(Math.min(first?.tookMs ?? Infinity, second?.tookMs ?? Infinity)).toBeLessThan(limitMs);
  return first?.coverage;
};

test("an agent that names other sources each time takes no more time than others, and is cut", () => {
  const names = (each: number) => Array.from({ length: 64 }, (_, at) => `s${each}-${at}`);
  const signs = Array.from({ length: COUNT }, (_, each) => signOf(each, names(each)));
  const coverage = bounded(1_000, signs, []);
  expect([coverage?.isCut, coverage?.sources.length]).toEqual([true, 64]);
});

test("gaps and absences that all overlap take no more time than others", () => {
  const names = Array.from({ length: 64 }, (_, at) => `s${at}`);
  const signs = Array.from({ length: COUNT }, (_, each) => ({
    ...signOf(each, names),
    what: each % 2 === 0 ? "start" as const : "stop" as const,
    before: each === 0 ? undefined : { timeUs: (each - 1) * 30e6, isStop: each % 2 === 0 },
  }));
  // 0.4 s; it were many times as much if each moment looked at each gap.
  const coverage = bounded(2_000, signs, Array.from({ length: COUNT }, (_, each) => gapOf(each)));
  expect([coverage?.isCut, coverage?.sources.length]).toEqual([false, 64]);
});

test("a source is watched as far as all of its hooks are on", () => {
  const said = (each: number, hooks: readonly object[]): Sign =>
    readSign({
      ...{ host: "h", agent: "a", topic: "agent/heartbeat", time_us: each * 30e6 },
      sources: JSON.stringify([{ name: "logins", state: "on", hooks }]),
      ...(each === 0 ? {} : { before_us: (each - 1) * 30e6, before_topic: "agent/heartbeat" }),
    });
  const wtmp = { name: "wtmp", state: "on" };
  const off = { name: "auth.log", state: "off", reason: "there is none" };
  const signs = [[wtmp], [wtmp, off], [off], []].map((hooks, each) => said(each, hooks));
  const whole = { fromUs: 0, toUs: 120e6, heardUs: 120e6 };
  const [coverage] = coverHosts({ signs, gaps: [], range: whole, cutsOf: () => ({}) }).values();
  const nothing = { cause: undefined, reason: undefined, count: undefined };
  expect(coverage?.sources).toEqual([{
    source: "logins",
    ranges: [
      { fromUs: 0, toUs: 30e6, state: "watched", ...nothing },
      {
        ...{ fromUs: 30e6, toUs: 90e6, state: "partial", cause: "off", count: undefined },
        reason: "auth.log is off: there is none",
      },
      { fromUs: 90e6, toUs: 120e6, state: "watched", ...nothing },
    ],
  }]);
  expect(coverage === undefined ? [] : shortfallsOf(coverage)).toMatchObject([
    { state: "partial", cause: "off", fromUs: 30e6, toUs: 90e6 },
  ]);
});

test("a source of which a hook is off is not named among those that are off", () => {
  const hooks = [{ name: "auth.log", state: "off" }];
  const offOf = (sources: readonly object[]): unknown => {
    const signs = [readSign({
      ...{ host: "h", agent: "a", topic: "agent/heartbeat", time_us: 0 },
      sources: JSON.stringify(sources),
    })];
    const whole = { fromUs: 0, toUs: 20e6, heardUs: 20e6 };
    const [coverage] = coverHosts({ signs, gaps: [], range: whole, cutsOf: () => ({}) }).values();
    return coverage === undefined ? undefined : hostSummary(coverage)["off"];
  };
  expect(offOf([{ name: "logins", state: "on", hooks }])).toBeUndefined();
  expect(offOf([{ name: "logins", state: "off", hooks }])).toEqual(["logins"]);
});
