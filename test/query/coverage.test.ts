import { expect, test } from "vitest";
import { coverHosts } from "../../src/query/coverage/host-coverage.ts";
import type { Sign, ToldGap } from "../../src/query/coverage/told.ts";

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
const bounded = (signs: readonly Sign[], gaps: readonly ToldGap[]) => {
  // The better of two, since others may have the processor meanwhile.
  const [first, second] = [1, 2].map(() => {
    const start = performance.now();
    const [coverage] = coverHosts({ signs, gaps, range, cutsOf: () => ({}) }).values();
    return { coverage, tookMs: performance.now() - start };
  });
  expect(Math.min(first?.tookMs ?? Infinity, second?.tookMs ?? Infinity)).toBeLessThan(1_000);
  return first?.coverage;
};

test("an agent that names other sources each time takes no more time than others, and is cut", () => {
  const names = (each: number) => Array.from({ length: 64 }, (_, at) => `s${each}-${at}`);
  const signs = Array.from({ length: COUNT }, (_, each) => signOf(each, names(each)));
  const coverage = bounded(signs, []);
  expect([coverage?.isCut, coverage?.sources.length]).toEqual([true, 64]);
});

test("gaps and absences that all overlap take no more time than others", () => {
  const names = Array.from({ length: 64 }, (_, at) => `s${at}`);
  const signs = Array.from({ length: COUNT }, (_, each) => ({
    ...signOf(each, names),
    what: each % 2 === 0 ? "start" as const : "stop" as const,
    before: each === 0 ? undefined : { timeUs: (each - 1) * 30e6, isStop: each % 2 === 0 },
  }));
  const coverage = bounded(signs, Array.from({ length: COUNT }, (_, each) => gapOf(each)));
  expect([coverage?.isCut, coverage?.sources.length]).toEqual([false, 64]);
});
