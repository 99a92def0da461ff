import { describe, expect, it } from "vitest";
import { type CanaryOutcome, runCanaries } from "../../src/edge-agent/canary.ts";
import type { AgentGap } from "../../src/edge-agent/gaps.ts";
import type { Source, SourceCounters } from "../../src/edge-agent/source.ts";
import { compareFields } from "../../src/edge-agent/sources/ring-family.ts";
import { NO_COUNTERS } from "../../src/edge-agent/sources/ring-source.ts";
import type { ProducerCounters } from "../../src/producer/producer.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";

/** What the log gives back of one canary, and what the source counts meanwhile. */
interface Round {
  readonly lines: readonly object[];
  readonly fault?: string;
  readonly counters?: Partial<SourceCounters>;
  /** That the producer counts from then on. */
  readonly eventsLost?: number;
}

const NOTHING_PRODUCED: ProducerCounters = {
  eventsAppended: 0,
  eventsLost: 0,
  batchesClosed: 0,
  batchesPublished: 0,
  batchesResent: 0,
  batchesReleased: 0,
  eventsVoided: 0,
  spoolBytes: 0,
  spoolBatches: 0,
};

/** Runs a source with one needed and one further hook through some rounds. */
async function fly(
  rounds: readonly Round[],
  { hooksOff = [], isFiltering = false }: {
    readonly hooksOff?: readonly string[];
    readonly isFiltering?: boolean;
  } = {},
) {
  const stop = new AbortController();
  const gaps: AgentGap[] = [];
  const outcomes: CanaryOutcome[] = [];
  let round = -1;
  let counters = NO_COUNTERS;
  const source: Pick<Source, "name" | "counters" | "prove"> = {
    name: "file",
    counters: () => counters,
    prove() {
      round += 1;
      return Promise.resolve({
        hook: "open",
        check: (line) =>
          line["topic"] === "file/create" ? compareFields(line, { path: "/a" }) : "other",
        further: { io_uring: (line) => line["topic"] === "file/write" ? "proven" : "other" },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      });
    },
  };
  await runCanaries({
    producer: {
      readBack(listener) {
        setTimeout(() => {
          counters = { ...counters, ...rounds[round]?.counters };
          listener((rounds[round]?.lines ?? []).map((line) => JSON.stringify(line)));
        });
        return {
          upToNow: () => undefined,
          isCaughtUp: () => true,
          get fault() {
            return rounds[round]?.fault;
          },
          [Symbol.dispose]: () => undefined,
        };
      },
      flush: () => Promise.resolve(),
      counters: () => ({ ...NOTHING_PRODUCED, eventsLost: rounds[round]?.eventsLost ?? 0 }),
    },
    // as: the rest of a source plays no part
    sources: [source as Source],
    hooksOff: () => hooksOff,
    isFiltering: () => isFiltering,
    intervalMs: 1,
    onGap: (gap) => gaps.push(gap),
    onOutcome(_name, outcome) {
      outcomes.push(outcome);
      if (outcomes.length === rounds.length) stop.abort();
    },
    clock: systemClock,
    log: createLog({ level: "error", write: () => undefined }),
  }, stop.signal);
  return { gaps, outcomes };
}

const OPEN = { topic: "file/create", path: "/a", pid: process.pid };
const RING = { topic: "file/write", pid: process.pid };

describe("canaries", () => {
  it("that come back with their fields say nothing", async () => {
    const { gaps, outcomes } = await fly([{ lines: [RING, OPEN] }, { lines: [OPEN, RING] }]);
    expect([gaps, outcomes]).toEqual([[], ["seen", "seen"]]);
  });

  it("that are missing or wrong are one gap, and one more when they come back", async () => {
    const { gaps, outcomes } = await fly([
      { lines: [OPEN, RING] },
      { lines: [RING, { ...OPEN, path: "/b" }] },
      { lines: [] },
      { lines: [OPEN, RING] },
    ]);
    expect(outcomes).toEqual(["seen", "missed", "missed", "seen"]);
    expect(gaps.map(({ reason }) => reason)).toEqual([
      'the file source is blind: of its canary open: path is "/b", not "/a"',
      "the file source was blind and sees again",
    ]);
    expect(gaps[1]).toMatchObject({ class: "blind", count: null, fromUs: gaps[0]?.fromUs });
    expect(gaps[1]?.toUs).toBeGreaterThan(gaps[0]?.toUs ?? 0);
  });

  it("expect nothing of hooks that were off from the start, and everything of others", async () => {
    expect((await fly([{ lines: [OPEN] }], { hooksOff: ["io_uring"] })).outcomes).toEqual(["seen"]);
    expect((await fly([{ lines: [OPEN] }])).outcomes).toEqual(["missed"]);
  });

  it("are not decided when the log could not be read, or a loss is told", async () => {
    const { gaps, outcomes } = await fly([
      { lines: [], fault: "no answer" },
      { lines: [OPEN], counters: { ringFull: 3 } },
    ]);
    expect([gaps, outcomes]).toEqual([[], ["undecided", "undecided"]]);
  });

  it("are not decided when filters of the configuration may have kept them back", async () => {
    const rounds = [{ lines: [OPEN], counters: { filtered: 1 } }];
    expect((await fly(rounds, { isFiltering: true })).outcomes).toEqual(["undecided"]);
    expect((await fly(rounds)).outcomes).toEqual(["missed"]);
    expect((await fly([{ lines: [OPEN] }], { isFiltering: true })).outcomes).toEqual(["missed"]);
  });

  it("are decided although events of another class were filtered or lost meanwhile", async () => {
    const { parts: _parts, ...none } = NO_COUNTERS;
    const part = (kind: string) => [{ ...none, kind, cpu: 0, filtered: 1, ringFull: 1 }];
    const outcomeOf = async (kind: string) => {
      const counters = { filtered: 1, ringFull: 1, parts: part(kind) };
      return (await fly([{ lines: [RING], counters }], { isFiltering: true })).outcomes;
    };
    expect(await outcomeOf("file_remove")).toEqual(["missed"]);
    expect(await outcomeOf("file_open")).toEqual(["undecided"]);
  });

  it("are not decided when the producer lost events on their way", async () => {
    expect((await fly([{ lines: [], eventsLost: 3 }])).outcomes).toEqual(["undecided"]);
  });

  it("are not found in what another process did", async () => {
    const others = [OPEN, RING].map((line) => ({ ...line, pid: process.pid + 1 }));
    expect((await fly([{ lines: others }])).outcomes).toEqual(["missed"]);
  });

  it("are sent through all sources also when the action of one is never done", async () => {
    const stop = new AbortController();
    const outcomes: string[] = [];
    const warnings: string[] = [];
    let listener: ((lines: readonly string[]) => void) | undefined;
    const stuck = { name: "flow", counters: () => NO_COUNTERS, prove: () => new Promise(() => {}) };
    const good: Pick<Source, "name" | "counters" | "prove"> = {
      name: "file",
      counters: () => NO_COUNTERS,
      prove() {
        setTimeout(() => listener?.([JSON.stringify(OPEN)]));
        return Promise.resolve({
          hook: "open",
          check: (line) => line["topic"] === "file/create" ? "proven" : "other",
          [Symbol.asyncDispose]: () => Promise.resolve(),
        });
      },
    };
    await runCanaries({
      producer: {
        readBack(each) {
          listener = each;
          return {
            upToNow: () => undefined,
            isCaughtUp: () => true,
            fault: undefined,
            [Symbol.dispose]: () => undefined,
          };
        },
        flush: () => Promise.resolve(),
        counters: () => NOTHING_PRODUCED,
      },
      // as: the rest of a source plays no part
      sources: [stuck, good] as unknown as Source[],
      hooksOff: () => [],
      isFiltering: () => false,
      intervalMs: 100,
      onGap: () => undefined,
      onOutcome(name, outcome) {
        outcomes.push(`${name} ${outcome}`);
        stop.abort();
      },
      // A thousand times as fast.
      clock: { ...systemClock, sleep: (ms, signal) => systemClock.sleep(ms / 1000, signal) },
      log: createLog({ level: "warn", write: (text) => warnings.push(text) }),
    }, stop.signal);
    expect(outcomes).toEqual(["file seen"]);
    expect(warnings.join()).toContain("its action was not done in 10000 ms");
  });
});
