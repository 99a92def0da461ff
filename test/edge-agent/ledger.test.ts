import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { BootClock } from "../../src/edge-agent/boot-clock.ts";
import {
  accountedOf,
  addClassCounters,
  type ClassCounters,
  classNameOf,
  placeOfKind,
  totalCounters,
} from "../../src/edge-agent/class-counters.ts";
import { figuresOf } from "../../src/edge-agent/counter-figures.ts";
import { createExecutableNames, executableInLine } from "../../src/edge-agent/executable-names.ts";
import { createGapLedger } from "../../src/edge-agent/gaps.ts";
import { createHandoverEdge, EDGE_NS } from "../../src/edge-agent/handover-edge.ts";
import { createLedgerCheck } from "../../src/edge-agent/ledger-check.ts";
import { withSample } from "../../src/edge-agent/line-decoder.ts";
import { createLossLedger } from "../../src/edge-agent/losses.ts";
import type {
  LedgerSlot,
  LossTotals,
  PinnedPrograms,
} from "../../src/edge-agent/pinned-programs.ts";
import { HEADER, KIND } from "../../src/edge-agent/record-layout.ts";
import type { CounterPart } from "../../src/edge-agent/source.ts";

const S = 1_000_000_000;
const NOTHING: ClassCounters = {
  place: 1,
  cpu: 0,
  attempted: 0,
  submitted: 0,
  ringFull: 0,
  filtered: 0,
  throttled: 0,
  readFault: 0,
  truncated: 0,
  recursion: 0,
  lostFromNs: 0,
  lostToNs: 0,
};

/** What of pinned programs a loss ledger asks for, in memory. */
function createPrograms(): { programs: PinnedPrograms; parts: ClassCounters[] } {
  const parts: ClassCounters[] = [];
  const slots: Record<LedgerSlot, LossTotals> = { reported: {}, carried: {} };
  const programs = {
    counters: () => [...parts],
    recursionMisses: () => 0,
    ledger: (slot: LedgerSlot) => slots[slot],
    setLedger: (slot: LedgerSlot, losses: LossTotals) => void (slots[slot] = losses),
  };
  // as: of the programs the ledger needs no more
  return { programs: programs as unknown as PinnedPrograms, parts };
}

const clockAt = (nowS: () => number): BootClock => ({
  nowNs: () => BigInt(nowS() * S),
  refresh: () => undefined,
  wallUs: (low, high) => (high * 4294967296 + low) / 1000,
});

describe("the ledger of losses", () => {
  it("says which class lost how much on which CPU, and when", () => {
    const { programs, parts } = createPrograms();
    let nowS = 100;
    const bootClock = clockAt(() => nowS);
    const ledger = createLossLedger({ programs, family: "process", bootClock, known: undefined });
    expect(ledger.collect()).toEqual([]);
    parts.push(
      {
        ...NOTHING,
        place: KIND.fork,
        cpu: 1,
        ringFull: 3,
        lostFromNs: 100.2 * S,
        lostToNs: 101 * S,
      },
      {
        ...NOTHING,
        place: KIND.exec,
        cpu: 0,
        ringFull: 2,
        lostFromNs: 100.5 * S,
        lostToNs: 100.6 * S,
      },
    );
    nowS = 101.5;
    expect(ledger.collect()).toEqual([{
      class: "ring_full",
      count: 5,
      reason: "the ring buffer was full",
      classes: { fork: 3, exec: 2 },
      cpus: [{ cpu: 1, count: 3 }, { cpu: 0, count: 2 }],
      fromUs: 100_200_000,
      toUs: 101_000_000,
    }]);
    // A run of losses that goes on is told from the last look on.
    parts[0] = {
      ...NOTHING,
      place: KIND.fork,
      cpu: 1,
      ringFull: 4,
      lostFromNs: 100.2 * S,
      lostToNs: 102 * S,
    };
    nowS = 103;
    expect(ledger.collect()).toMatchObject([{ count: 1, fromUs: 101_500_000, toUs: 102_000_000 }]);
    expect(ledger.collect()).toEqual([]);
  });

  it.each([
    ["crypto", "what a probe pointed to was not in its process's memory"],
    ["process", "the kernel's objects could not be read"],
  ])("says of %s what could not be read", (family, reason) => {
    const { programs, parts } = createPrograms();
    const clock = clockAt(() => 5);
    const ledger = createLossLedger({ programs, family, bootClock: clock, known: undefined });
    parts.push({ ...NOTHING, readFault: 1 });
    expect(ledger.collect()).toMatchObject([{ class: "read_fault", count: 1, reason }]);
  });

  it("leaves out what it cannot know of losses that were told in part before it began", () => {
    const { programs, parts } = createPrograms();
    parts.push({ ...NOTHING, cpu: 3, throttled: 9, lostFromNs: S, lostToNs: 2 * S });
    const known = { throttled: 4 };
    const ledger = createLossLedger({
      programs,
      family: "process",
      bootClock: clockAt(() => 5),
      known,
    });
    expect(ledger.collect()).toEqual([{
      class: "throttled",
      count: 5,
      reason: expect.stringMatching(/limit/),
    }]);
  });

  it("adds up to what was lost, however often it is asked", () => {
    const growth = fc.array(
      fc.record({ cpu: fc.nat(3), ringFull: fc.nat(9), throttled: fc.nat(9) }),
      {
        maxLength: 30,
      },
    );
    fc.assert(fc.property(growth, (steps) => {
      const { programs, parts } = createPrograms();
      const ledger = createLossLedger({
        programs,
        family: "process",
        bootClock: clockAt(() => 1),
        known: undefined,
      });
      const told = { total: 0, cpus: 0, classes: 0 };
      let lost = 0;
      for (const { cpu, ringFull, throttled } of steps) {
        const before = parts.find((part) => part.cpu === cpu);
        const grown = addClassCounters(before === undefined ? [] : [before], [
          { ...NOTHING, cpu, ringFull, throttled, lostToNs: S },
        ]);
        parts.splice(0, parts.length, ...parts.filter((part) => part.cpu !== cpu), ...grown);
        lost += ringFull + throttled;
        for (const loss of ledger.collect()) {
          told.total += loss.count ?? 0;
          told.cpus += (loss.cpus ?? []).reduce((sum, { count }) => sum + count, 0);
          told.classes += Object.values(loss.classes ?? {}).reduce((sum, count) => sum + count, 0);
        }
      }
      expect(told).toEqual({ total: lost, cpus: lost, classes: lost });
    }));
  });
});

describe("counters", () => {
  it("are summed by class and CPU, and close with the misses that the kernel counts", () => {
    const one = {
      ...NOTHING,
      attempted: 5,
      submitted: 3,
      throttled: 2,
      lostFromNs: 1,
      lostToNs: 2,
    };
    const summed = addClassCounters([one], [{ ...one, lostFromNs: 8, lostToNs: 9 }, {
      ...one,
      cpu: 1,
    }]);
    expect(summed.map(({ cpu, attempted, lostFromNs }) => [cpu, attempted, lostFromNs]))
      .toEqual([[0, 10, 8], [1, 5, 1]]);
    const total = totalCounters(summed, 4);
    expect(total).toMatchObject({ attempted: 19, submitted: 9, throttled: 6, recursion: 4 });
    expect(accountedOf(total)).toBe(total.attempted);
  });

  it("have the names of the kinds of record", () => {
    expect(classNameOf("process", KIND.exec)).toBe("exec");
    expect(classNameOf("file", KIND.fileOpen - 32)).toBe("file_open");
    expect(classNameOf("process", 15)).toMatch(/^class_15$/);
    for (const [name, kind] of Object.entries(KIND)) {
      const families = ["process", "network", "flow", "file", "integrity", "control", "crypto"];
      const named = families.flatMap((family) => {
        const place = placeOfKind(family, kind);
        return place === undefined ? [] : classNameOf(family, place);
      });
      expect(named.length, name).toBeGreaterThan(0);
      for (const each of named) expect(each).not.toMatch(/^class_/);
    }
  });

  it("in events are bounded, and say what the CPUs that are not named met", () => {
    const parts = Array.from({ length: 100 }, (_each, cpu): CounterPart => ({
      kind: "exec",
      cpu,
      attempted: cpu + 1,
      submitted: cpu,
      ringFull: 1,
      filtered: 0,
      throttled: 0,
      readFault: 0,
      truncated: 0,
    }));
    const figures = figuresOf({ ...totalCounters([], 0), attempted: 5050, parts, unreadable: 2 });
    const cpus = figures["cpus"] as Record<string, number>[];
    expect(cpus).toHaveLength(65);
    expect(cpus[0]).toEqual({ cpu: 36, attempted: 37, submitted: 36, filtered: 0, lost: 1 });
    expect(cpus.at(-1)).toEqual({ attempted: 666, submitted: 630, filtered: 0, lost: 36 });
    expect(figures).toMatchObject({ unreadable: 2, classes: { exec: { attempted: 5050 } } });
  });
});

describe("the check of the ledger", () => {
  const report = (attempted: number) => ({
    sources: [{
      name: "process",
      status: { state: "on", how: "" } as const,
      counters: {
        ...totalCounters([], 0),
        parts: [{ ...NOTHING, kind: "fork", cpu: 2, attempted, submitted: 100 }],
      },
    }],
  });

  it("tells once what is in no column, beyond what may be on its way", () => {
    const check = createLedgerCheck();
    expect(check.gaps(report(100), 1)).toEqual([]);
    expect(check.gaps(report(108), 2)).toEqual([]);
    expect(check.gaps(report(109), 3)).toMatchObject([{
      class: "ledger",
      source: "process",
      count: 9,
      fromUs: 2,
      toUs: 3,
      cpus: [{ cpu: 2, count: 9 }],
      classes: { fork: 9 },
    }]);
    expect(check.gaps(report(109), 4)).toEqual([]);
    expect(check.gaps(report(118), 5)).toMatchObject([{ count: 9 }]);
  });
});

describe("a gap", () => {
  it("names classes and CPUs, the CPUs that lost most at most", () => {
    const gaps = createGapLedger();
    const span = { class: "ring_full", source: "process", reason: "r", fromUs: 1, toUs: 2 };
    gaps.add({ ...span, count: 2, classes: { exec: 2 }, cpus: [{ cpu: 1, count: 2 }] });
    gaps.add({ ...span, count: 3, classes: { exec: 1, fork: 2 }, cpus: [{ cpu: 1, count: 3 }] });
    const cpus = Array.from({ length: 80 }, (_each, cpu) => ({ cpu: cpu + 10, count: 1 }));
    gaps.add({ ...span, count: 80, cpus });
    const [event] = gaps.take(3);
    expect(event?.detail).toMatchObject({ count: 85, classes: { exec: 3, fork: 2 } });
    const told = event?.detail?.["cpus"] as { cpu?: number; count: number }[];
    expect(told).toHaveLength(65);
    expect(told[0]).toEqual({ cpu: 1, count: 5 });
    expect(told.at(-1)).toEqual({ count: 17 });
  });
});

describe("a sample's line", () => {
  it.each([
    ['"a":1,"detail":{"b":2}', { a: 1, detail: { sample: 20, b: 2 } }],
    ['"a":1,"detail":{},"c":3', { a: 1, detail: { sample: 20 }, c: 3 }],
    ['"a":"x,\\"detail\\":{"', { a: 'x,"detail":{', detail: { sample: 20 } }],
  ])("%s says what it stands for", (line, expected) => {
    expect(JSON.parse(`{${withSample(line, 20)}}`)).toEqual(expected);
  });

  it("keeps whatever texts it has", () => {
    fc.assert(fc.property(fc.string(), fc.string(), (message, argument) => {
      const line = JSON.stringify({ message, detail: { argv: [argument] } }).slice(1, -1);
      expect(JSON.parse(`{${withSample(line, 2)}}`))
        .toEqual({ message, detail: { sample: 2, argv: [argument] } });
    }));
  });
});

describe("the edge between two sets of programs", () => {
  const recordOf = (tid: number, place: number) => {
    const bytes = Buffer.alloc(128, 7);
    bytes.writeUInt32LE(place, HEADER.sequence);
    bytes.writeUInt32LE(place, HEADER.time_ns);
    bytes.writeUInt32LE(tid, HEADER.tid);
    const memory = { bytes, words: new Uint32Array(bytes.buffer, bytes.byteOffset) };
    return { memory, offset: 0, length: 128, timeUs: 0 };
  };

  it("lets one equal record pass that another one told, and no second", () => {
    const edge = createHandoverEdge();
    edge.note(recordOf(5, 1), 1000);
    expect(edge.takes(recordOf(6, 2), 2000)).toBe(false);
    expect(edge.takes(recordOf(5, 3), 2000)).toBe(true);
    expect(edge.takes(recordOf(5, 4), 2000)).toBe(false);
    edge.note(recordOf(7, 1), 1000);
    expect(edge.takes(recordOf(7, 2), 1001 + EDGE_NS)).toBe(false);
  });
});

describe("names of executables", () => {
  it("are read from lines and forgotten in their order", () => {
    expect(executableInLine('"time":"t","exe":"/a\\"b","cmdline":"x"')).toBe('/a"b');
    expect(executableInLine('"message":"\\"exe\\":\\"/x\\"","pid":1')).toBeUndefined();
    const names = createExecutableNames();
    for (let inode = 0; inode < 4097; inode += 1) names.note(`/bin/${inode}`, inode, 1);
    expect(names.nameOf(0, 1)).toBeUndefined();
    expect(names.nameOf(4096, 1)).toBe("/bin/4096");
    expect(names.nameOf(4096, 2)).toBeUndefined();
  });
});
