import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exeOfLink, readLiveExe } from "../../src/edge-agent/live-executable.ts";
import {
  createProcessIds,
  readBootId,
  readStartTicks,
  ticksOf,
} from "../../src/edge-agent/process-identity.ts";
import {
  createProcessTable,
  ENDED_KEPT_NS,
  ENDED_PROCESSES_MAX,
  type ProcessTable,
} from "../../src/edge-agent/process-table.ts";

const SECOND = 1_000_000_000;

interface TestTable {
  readonly table: ProcessTable;
  readonly asked: number[];
  nowNs: number;
}

function createTable(exes: Readonly<Record<number, string>> = {}): TestTable {
  const asked: number[] = [];
  const test = { nowNs: 0, asked };
  const table = createProcessTable({
    ids: createProcessIds("0123abcd-x"),
    nowNs: () => test.nowNs,
    readExe: (pid) => {
      asked.push(pid);
      return exes[pid];
    },
  });
  return Object.assign(test, { table });
}

const imageOf = (sinceNs: number, exe: string) => ({ sinceNs, exe, isEscaped: false });

describe("ticks of a start", () => {
  it("are those that the kernel shows, for every time", () => {
    fc.assert(fc.property(fc.bigInt({ min: 0n, max: 9_000_000_000_000_000_000n }), (ns) => {
      const ticks = ticksOf(Number(ns & 0xffffffffn), Number(ns >> 32n));
      expect(ticks).toBe(Number(ns / 10_000_000n));
    }));
  });

  it("are read of a live process, and of none other", () => {
    expect(readStartTicks(process.pid)).toBeGreaterThan(0);
    expect(readStartTicks(4_194_305)).toBeUndefined();
    expect(readBootId()).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe("the process table", () => {
  it("gives a process one identity, and a reused pid another", () => {
    const { table } = createTable();
    const first = table.find(7, 10_000_000, 0);
    expect(table.find(7, 10_000_000, 0)).toBe(first);
    const second = table.find(7, 990_000_000, 0);
    expect(second).not.toBe(first);
    expect([first.id, second.id]).toEqual(["0123abcd-7-1", "0123abcd-7-99"]);
    // Records of the first may come late.
    expect(table.find(7, 10_000_000, 0)).toBe(first);
    expect(table.newestOf(7)).toBe(second);
  });

  it("answers with the image of the moment asked for", () => {
    const { table } = createTable();
    const entry = table.introduce(7, 0, 0);
    expect(entry.imageAt(5).exe).toBeUndefined();
    table.noteExec(entry, imageOf(10, "/one"));
    table.noteExec(entry, imageOf(20, "/two"));
    expect([5, 10, 15, 20, 99].map((time) => entry.imageAt(time).exe))
      .toEqual([undefined, "/one", "/one", "/two", "/two"]);
  });

  it("gives a child its parent's image of the moment of the fork", () => {
    const { table } = createTable();
    const parent = table.introduce(1, 0, 0);
    table.noteExec(parent, imageOf(10, "/one"));
    table.noteExec(parent, imageOf(20, "/two"));
    const child = table.introduce(2, 0, 0);
    table.noteFork(child, parent, 15);
    expect(child.imageAt(15).exe).toBe("/one");
    table.noteExec(child, imageOf(30, "/three"));
    expect(child.imageAt(29).exe).toBe("/one");
    expect(child.imageAt(30).exe).toBe("/three");
  });

  it("does not take an executable for one whose exec nobody told", () => {
    const { table, asked } = createTable({ 7: "/untold", 8: "/untold" });
    const entry = table.introduce(7, 0, 0);
    table.noteExec(entry, { ...imageOf(10, "/told"), execId: 5 });
    const at = (timeNs: number, execId: number) =>
      table.imageOf(entry, { timeNs, execId, comm: "x" }).exe;
    expect(at(11, 5)).toBe("/told");
    expect(asked).toEqual([]);
    expect(at(20, 6)).toBe("/untold");
    expect(at(21, 6)).toBe("/untold");
    // Of another source, read later.
    expect(at(19, 6)).toBe("/untold");
    expect(at(12, 5)).toBe("/told");
    // Records from before numbers were written.
    expect(at(12, 0)).toBe("/told");
    expect(asked).toEqual([7]);
    table.noteExec(entry, { ...imageOf(30, "/later"), execId: 8 });
    // It runs no more: /proc shows another one.
    expect(at(25, 7)).toBeUndefined();
    expect(at(35, 8)).toBe("/later");
    expect(asked).toEqual([7]);
    const gone = table.introduce(9, 0, 0);
    table.noteExec(gone, { ...imageOf(10, "/told"), execId: 0xffff });
    expect(table.imageOf(gone, { timeNs: 20, execId: 1, comm: "x" }).exe).toBeUndefined();
    expect(asked).toEqual([7, 9]);
  });

  it("takes the number of an image that was seen from the first record", () => {
    const { table } = createTable({ 7: "/seen" });
    const entry = table.find(7, 0, 0);
    expect(table.imageOf(entry, { timeNs: 20, execId: 6, comm: "x" }).exe).toBe("/seen");
    expect(table.imageOf(entry, { timeNs: 5, execId: 5, comm: "x" }).exe).toBeUndefined();
  });

  it("reads the executable of a live process only while it has its comm", () => {
    const ticks = readStartTicks(process.pid) ?? 0;
    const comm = readFileSync("/proc/self/comm", "utf8").trimEnd();
    expect(readLiveExe(process.pid, ticks, comm)).toBe(readLiveExe(process.pid, ticks));
    expect(readLiveExe(process.pid, ticks)).toMatch(/^\//);
    expect(readLiveExe(process.pid, ticks, `${comm}x`)).toBeUndefined();
  });

  it("looks an unknown process up once, and not one that a record introduces", () => {
    const { table, asked } = createTable({ 5: "/five" });
    expect(table.find(5, 0, 0).imageAt(0).exe).toBe("/five");
    table.find(5, 0, 0);
    table.introduce(6, 0, 0);
    table.find(6, 0, 0);
    expect(asked).toEqual([5]);
  });

  it("bounds how often it asks, by the second", () => {
    const test = createTable();
    for (let pid = 1; pid <= 2000; pid += 1) test.table.find(pid, 0, 0);
    expect(test.asked).toHaveLength(500);
    test.nowNs = 2 * SECOND;
    test.table.find(5000, 0, 0);
    expect(test.asked).toHaveLength(501);
  });

  it("trusts an image from /proc only back to the execs it has seen", () => {
    const test = createTable();
    test.nowNs = 100;
    test.table.seed(7, 0, { exe: "/now" });
    const entry = test.table.find(7, 0, 0);
    expect(entry.imageAt(1).exe).toBe("/now");
    // An older record tells that it executed since: before that, the image is not known.
    test.table.noteExec(entry, imageOf(50, "/now"));
    expect(entry.imageAt(49).exe).toBeUndefined();
    expect(entry.imageAt(50).exe).toBe("/now");
  });

  it("keeps an image from /proc until an exec after it", () => {
    const test = createTable();
    test.nowNs = 100;
    test.table.seed(7, 0, { exe: "/old" });
    const entry = test.table.find(7, 0, 0);
    test.table.noteExec(entry, imageOf(200, "/new"));
    expect([150, 200].map((time) => entry.imageAt(time).exe)).toEqual(["/old", "/new"]);
  });

  it("keeps ended processes until every reader is past them", () => {
    const { table } = createTable();
    const entry = table.introduce(7, 0, 0);
    table.noteExit(entry, SECOND);
    table.passed("file", SECOND + ENDED_KEPT_NS - 1);
    table.passed("process", SECOND + 2 * ENDED_KEPT_NS);
    expect(table.peek(7, 0)).toBe(entry);
    table.passed("file", SECOND + ENDED_KEPT_NS + 1);
    expect(table.peek(7, 0)).toBeUndefined();
    expect(table.size).toBe(0);
  });

  it("does not wait for a reader that is gone", () => {
    const { table } = createTable();
    table.passed("file", 0);
    table.noteExit(table.introduce(7, 0, 0), SECOND);
    table.passed("process", SECOND + 2 * ENDED_KEPT_NS);
    expect(table.size).toBe(1);
    table.passed("file", undefined);
    table.passed("process", SECOND + 2 * ENDED_KEPT_NS);
    expect(table.size).toBe(0);
  });

  it("drops the right one of several with the same pid", () => {
    const { table } = createTable();
    const [first, second, third] = [1, 2, 3].map((start) => table.introduce(7, start * 1e7, 0));
    if (first === undefined || second === undefined || third === undefined) throw new Error();
    table.noteExit(second, SECOND);
    table.passed("process", SECOND + 2 * ENDED_KEPT_NS);
    expect(table.peek(7, 1)).toBe(first);
    expect(table.peek(7, 2)).toBeUndefined();
    expect(table.peek(7, 3)).toBe(third);
    table.noteExit(third, 9 * SECOND);
    table.passed("process", 99 * SECOND);
    expect(table.newestOf(7)).toBe(first);
    expect(table.size).toBe(1);
  });

  it("stays bounded when no reader moves on", () => {
    const { table } = createTable();
    for (let pid = 1; pid <= ENDED_PROCESSES_MAX + 5000; pid += 1) {
      table.noteExit(table.introduce(pid, 0, 0), pid);
    }
    expect(table.size).toBe(ENDED_PROCESSES_MAX);
    expect(table.peek(5000, 0)).toBeUndefined();
    expect(table.peek(5001, 0)).toBeDefined();
  });

  it("ends a process once, though its end be told twice", () => {
    const { table } = createTable();
    const entry = table.introduce(7, 0, 0);
    table.noteExit(entry, 1);
    table.noteExit(entry, 2);
    table.passed("process", 2 * ENDED_KEPT_NS);
    expect(table.size).toBe(0);
  });
});

it.each([
  ["/usr/bin/ls", "/usr/bin/ls"],
  ["/tmp/x (deleted)", "/tmp/x"],
  ["/memfd:name (deleted)", "memfd:name"],
])("reads the link %s as %s", (link, exe) => {
  expect(exeOfLink(link)).toBe(exe);
});
