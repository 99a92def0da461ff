import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  encodeLeases,
  type LeaseTable,
  lookAtLeases,
  NO_LEASES,
  parseLeases,
  withoutWorker,
} from "../../src/pipeline/shard-leases.ts";

const SHARDS = ["0", "1", "2", "3"];
const none = new Set<string>();

function look(table: LeaseTable, worker: string, more: {
  readonly running?: readonly string[];
  readonly dead?: readonly string[];
} = {}) {
  const { running = [], dead = [] } = more;
  return lookAtLeases(table, {
    worker,
    shards: SHARDS,
    running: new Set(running),
    dead: new Set(dead),
  });
}

describe("a look at the leases", () => {
  it("takes all shards when nobody else is there", () => {
    const { table, mine } = look(NO_LEASES, "a");
    expect(mine).toEqual(SHARDS);
    expect(table).toEqual({
      workers: { a: 1 },
      shards: { "0": "a", "1": "a", "2": "a", "3": "a" },
    });
  });

  it("takes none that a living worker holds, but has it give up what is more than its share", () => {
    const first = look(NO_LEASES, "a");
    const second = look(first.table, "b");
    expect(second.mine).toEqual([]);
    const third = look(second.table, "a", { running: SHARDS });
    expect(third.mine).toEqual(["0", "1"]);
    // Held until it has ended: nobody else begins before.
    expect(third.table.shards).toEqual(first.table.shards);
    const fourth = look(third.table, "a", { running: ["0", "1", "3"] });
    expect(fourth.table.shards).toEqual({ "0": "a", "1": "a", "3": "a" });
    expect(look(fourth.table, "b").mine).toEqual(["2"]);
  });

  it("takes what a dead worker held, and forgets it", () => {
    const table = { workers: { a: 7, b: 9 }, shards: { "0": "a", "1": "a", "2": "b", "3": "b" } };
    const { table: next, mine } = look(table, "b", { running: ["2", "3"], dead: ["a"] });
    expect(mine).toEqual(SHARDS);
    expect(next).toEqual({
      workers: { b: 10 },
      shards: { "0": "b", "1": "b", "2": "b", "3": "b" },
    });
  });

  it("ends what another was given meanwhile", () => {
    const table = { workers: { b: 9 }, shards: { "0": "b", "1": "b", "2": "b", "3": "b" } };
    expect(look(table, "a", { running: ["0", "1"] }).mine).toEqual([]);
  });

  it("leaves shards alone that it is not configured to serve", () => {
    const table = { workers: { b: 9 }, shards: { "7": "b" } };
    expect(look(table, "a").table.shards["7"]).toBe("b");
  });
});

describe("leaving", () => {
  it("gives up everything at once", () => {
    const { table } = look(NO_LEASES, "a");
    expect(withoutWorker(table, "a")).toEqual(NO_LEASES);
    expect(withoutWorker(table, "b")).toEqual(table);
  });
});

describe("the text of leases", () => {
  it("is read back as it was written, and is an empty table when it is none", () => {
    const { table } = look(NO_LEASES, "a");
    expect(parseLeases(encodeLeases(table))).toEqual(table);
    for (const text of [undefined, "", "{", "1", '{"workers":1}']) {
      expect(parseLeases(text)).toEqual(NO_LEASES);
    }
    expect(parseLeases('{"workers":{"a":"x","b":1},"shards":{"0":2}}')).toEqual({
      workers: { b: 1 },
      shards: {},
    });
  });
});

describe("workers that come, leave and die in any order", () => {
  it("never hold a shard together, and in the end hold all of them in equal shares", () => {
    const name = fc.constantFrom("a", "b", "c", "d", "e");
    const step = fc.record({ worker: name, act: fc.constantFrom("look", "look", "leave", "die") });
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let table = NO_LEASES;
      const running = new Map<string, Set<string>>();
      const dead = new Set<string>();
      const act = (worker: string): void => {
        const served = running.get(worker) ?? none;
        const found = lookAtLeases(table, { worker, shards: SHARDS, running: served, dead });
        table = found.table;
        for (const name of dead) running.delete(name);
        // Whatever is not its own any more has ended by its next look.
        running.set(worker, new Set(found.mine));
        const served2 = [...running.values()].flatMap((each) => [...each]);
        expect(new Set(served2).size).toBe(served2.length);
      };
      for (const { worker, act: kind } of steps) {
        dead.delete(worker);
        if (kind === "look") act(worker);
        if (kind === "leave") {
          table = withoutWorker(table, worker);
          running.delete(worker);
        }
        if (kind === "die" && running.has(worker)) dead.add(worker);
      }
      const living = [...running.keys()].filter((each) => !dead.has(each));
      if (living.length === 0) return;
      for (let round = 0; round < 6; round++) for (const worker of living) act(worker);
      const shares = living.map((worker) => running.get(worker)?.size ?? 0);
      expect(shares.reduce((sum, each) => sum + each, 0)).toBe(SHARDS.length);
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThan(2);
    }));
  });
});
