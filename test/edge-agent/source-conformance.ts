/**
 * What every source promises, whatever it reads: run by each family's own test with a way to make it see something.
 */
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { TOPICS } from "../../src/event/topic.ts";
import type { Source, SourceCounters } from "../../src/edge-agent/source.ts";
import { type Line, runSource } from "../support/source-run.ts";

export interface SourceConformanceOptions {
  /** A source with nothing started; each test disposes its own. */
  readonly create: () => Source | Promise<Source>;
  /** Makes something happen that the source must see. */
  readonly trigger: () => unknown;
  /** Picks the lines of {@link SourceConformanceOptions.trigger}. */
  readonly isTriggered: (line: Line) => boolean;
  /** Whether the source reads a ring and so gives positions. */
  readonly hasRing: boolean;
}

const STOP_LIMIT_MS = 5000;
/** Longest that a source may keep the event loop; one that blocks while it waits does so in every round. */
const HELD_LIMIT_MS = 500;

export function describeSource(name: string, options: SourceConformanceOptions): void {
  const { create, trigger, isTriggered, hasRing } = options;

  describe(`${name} as a source`, () => {
    it("says on and how, as often as it is asked, and before it is started", async () => {
      await using source = await create();
      for (let round = 0; round < 2; round += 1) {
        const status = await source.probe();
        expect(status).toMatchObject({ state: "on", how: expect.stringMatching(/\S/) });
      }
      expect(source.name).toMatch(/^[a-z]+$/);
    });

    it("yields what happens as lines that parse, with their times", async () => {
      await using source = await create();
      await source.probe();
      await using run = runSource(source);
      await untilSeen(run.lines);
      for (const chunk of run.chunks) {
        expect(chunk.timesUs).toHaveLength(chunk.fields.length);
        expect(chunk.position !== undefined).toBe(hasRing);
      }
      for (const line of run.lines) {
        if (!line.topic.startsWith("app/")) expect(TOPICS).toContain(line.topic);
        expect(line["severity"]).toMatch(/^(info|low|medium|high|critical)$/);
        expect(JSON.stringify(line)).not.toContain(":null");
      }
      const fields = run.chunks.flatMap((chunk) => chunk.fields);
      expect(fields.every((text) => text.isWellFormed() && !text.includes("\n"))).toBe(true);
      const timesUs = run.chunks.flatMap((chunk) => chunk.timesUs);
      const nowUs = Date.now() * 1000;
      run.lines.forEach((line, place) => {
        expect(line["time"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
        expect(Date.parse(String(line["time"]))).toBe(Math.floor((timesUs[place] ?? 0) / 1000));
        expect(Math.abs(nowUs - (timesUs[place] ?? 0))).toBeLessThan(60_000_000);
      });
    });

    it("counts what it met: attempted is the sum of what became of it", async () => {
      await using source = await create();
      await source.probe();
      await using run = runSource(source);
      await untilSeen(run.lines);
      await run.stop();
      const counters = source.counters();
      expect(counters.submitted).toBeGreaterThan(0);
      expect(counters.attempted).toBe(sumOf(counters));
      expect(counters.truncated).toBeLessThanOrEqual(counters.submitted);
    });

    it("tells each loss once", async () => {
      await using source = await create();
      await source.probe();
      await using run = runSource(source);
      await untilSeen(run.lines);
      source.losses();
      expect(source.losses()).toEqual([]);
    });

    it("ends when it is told to, soon, although nothing happens", async () => {
      await using source = await create();
      await source.probe();
      const run = runSource(source);
      await delay(50);
      const beganMs = performance.now();
      await run.stop();
      expect(performance.now() - beganMs).toBeLessThan(STOP_LIMIT_MS);
    });

    it("leaves the event loop its turn while it waits", async () => {
      await using source = await create();
      await source.probe();
      await using _run = runSource(source);
      // Asked again when others kept the processor.
      for (let round = 1; await longestTurnMs() >= HELD_LIMIT_MS; round += 1) {
        expect(round, "rounds in which the event loop stood still").toBeLessThan(3);
      }
    });

    it("may be disposed unused, and twice", async () => {
      const source = await create();
      await source[Symbol.asyncDispose]();
      await source[Symbol.asyncDispose]();
    });
  });

  /** Triggers until the source shows it: the first may come before it listens. */
  async function untilSeen(lines: readonly Line[]): Promise<void> {
    const untilMs = performance.now() + 10_000;
    while (!lines.some(isTriggered)) {
      if (performance.now() > untilMs) throw new Error(`Cannot see the trigger of ${name}`);
      await trigger();
      await delay(100);
    }
  }
}

/** Longest time between two turns of the event loop, among a hundred. */
async function longestTurnMs(): Promise<number> {
  let longestMs = 0;
  for (let lastMs = performance.now(), turn = 0; turn < 100; turn += 1) {
    await delay(2);
    longestMs = Math.max(longestMs, performance.now() - lastMs);
    lastMs = performance.now();
  }
  return longestMs;
}

function sumOf(counters: SourceCounters): number {
  const { submitted, ringFull, filtered, throttled, readFault, recursion = 0 } = counters;
  return submitted + ringFull + filtered + throttled + readFault + recursion;
}
