import { randomBytes } from "node:crypto";
import { readdirSync, readlinkSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { digestOf } from "../../src/event/wire.ts";
import type { EncodedBatch } from "../../src/producer/encode.ts";
import type { Spool } from "../../src/producer/spool.ts";
import { ensureAgentName } from "../../src/producer/spool-identity.ts";
import {
  batch,
  MIB,
  numbers,
  openSmallSpool as open,
  positions,
  segmentFiles,
} from "../support/small-spool.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

describe("a spool", () => {
  it("gives all files back to those who read at once, and keeps no descriptor of them", async () => {
    await using folder = await openTemporaryFolder("spool");
    await using spool = await open(folder.path, { bytesMax: 16 * MIB });
    const given = Array.from({ length: 20 }, () => batch(randomBytes(300_000)));
    for (const each of given) await spool.append([each], undefined);
    expect((await segmentFiles(folder.path)).length).toBeGreaterThan(3);
    // Each in another file than the one before.
    const order = Array.from({ length: 12 }, (_, place) => (place * 7) % given.length);
    const read = await Promise.all(order.map((place) => spool.read(place + 1)));
    order.forEach((place, at) => expect(read[at]?.header.digest).toBe(given[place]?.digest));
    expect(read.filter(({ header }) => header.void !== undefined)).toEqual([]);
    const isOurs = (name: string): boolean => {
      try {
        return readlinkSync(`/proc/self/fd/${name}`).startsWith(`${folder.path}/segments/`);
      } catch {
        return false; // The listing's own.
      }
    };
    expect(readdirSync("/proc/self/fd").filter(isOurs).length).toBeLessThanOrEqual(2);
  });

  it("gives back what was appended, numbered and chained, before and after opening again", async () => {
    await using folder = await openTemporaryFolder("spool");
    const given = ["one", "two", "three"].map((text) => batch(text));
    const check = async (spool: Spool): Promise<void> => {
      expect(numbers(spool)).toEqual([1, 2, 3]);
      for (const [place, each] of given.entries()) {
        const { header, payload } = await spool.read(place + 1);
        expect(payload).toEqual(each.payload);
        expect(header).toEqual({
          host: "web-1",
          agent: spool.agent,
          epoch: spool.head().epoch.epoch,
          number: place + 1,
          count: 2,
          firstUs: 1,
          lastUs: 2,
          digest: each.digest,
          previous: given[place - 1]?.digest,
          void: undefined,
        });
      }
      expect(spool.positions).toEqual(positions(30));
    };
    let agent: string;
    {
      await using spool = await open(folder.path);
      agent = spool.agent;
      expect(agent).toMatch(/^[0-9a-f]{16}$/);
      await spool.append(given.slice(0, 1), positions(10));
      await spool.append(given.slice(1), undefined);
      await spool.append([], positions(30));
      await check(spool);
    }
    await using again = await open(folder.path);
    expect(again.agent).toBe(agent);
    expect(await ensureAgentName(folder.path)).toBe(agent);
    await check(again);
  });

  it("refuses a second opening while one is open", async () => {
    await using folder = await openTemporaryFolder("spool");
    const spool = await open(folder.path);
    await expect(open(folder.path)).rejects.toThrow("another process uses it");
    await spool[Symbol.asyncDispose]();
    await spool[Symbol.asyncDispose]();
    await (await open(folder.path))[Symbol.asyncDispose]();
  });

  it("goes on counting after all was released and it was opened again", async () => {
    await using folder = await openTemporaryFolder("spool");
    {
      await using spool = await open(folder.path);
      await spool.append([batch("a"), batch("b")], positions(5));
      await spool.release(2);
      expect(spool.batches).toBe(0);
    }
    for (const round of [3, 4]) {
      await using spool = await open(folder.path);
      expect(spool.head().released.number).toBe(round - 1);
      expect(spool.positions).toEqual(positions(5));
      await spool.append([batch(`round ${round}`)], undefined);
      const { header } = await spool.read(round);
      expect(header.number).toBe(round);
      expect(header.previous).toBe(digestOf(new TextEncoder().encode(
        round === 3 ? "b" : `round ${round - 1}`,
      )));
      await spool.release(round);
    }
  });

  it("forgets no batch when the receipts are lost, and releases them anew", async () => {
    await using folder = await openTemporaryFolder("spool");
    {
      await using spool = await open(folder.path);
      await spool.append([batch("a"), batch("b"), batch("c")], undefined);
      spool.recordStored(1, { incarnation: "0123abcd", sequence: 7 });
      await spool.release(2);
    }
    await rm(join(folder.path, "receipts"));
    await using spool = await open(folder.path);
    expect(numbers(spool)).toEqual([1, 2, 3]);
    await spool.release(3);
    expect(numbers(spool)).toEqual([]);
  });

  it("remembers where the broker stored a batch", async () => {
    await using folder = await openTemporaryFolder("spool");
    const stored = { incarnation: "0123abcd", sequence: 2 ** 40 };
    {
      await using spool = await open(folder.path);
      await spool.append([batch("a"), batch("b")], undefined);
      expect(spool.unpublished).toBe(2);
      spool.recordStored(1, stored);
      expect(spool.unpublished).toBe(1);
    }
    await using spool = await open(folder.path);
    expect(spool.head().batches[0]?.stored).toEqual(stored);
    await spool.release(1);
    expect(spool.head().lastStored).toEqual(stored);
  });

  it("removes whole files as they are released, and stays small", async () => {
    await using folder = await openTemporaryFolder("spool");
    await using spool = await open(folder.path, { bytesMax: 16 * MIB });
    for (let number = 1; number <= 60; number++) {
      await spool.append([batch(randomBytes(300_000))], undefined);
      await spool.release(number);
      expect((await segmentFiles(folder.path)).length).toBeLessThanOrEqual(2);
    }
    expect(spool.sizeBytes).toBeLessThan(4 * MIB);
  });

  it("starts a new epoch behind what was released, and carries the rest over", async () => {
    await using folder = await openTemporaryFolder("spool");
    const [a, b, c] = [batch("a"), batch("b"), batch("c")];
    let first: string;
    {
      await using spool = await open(folder.path);
      first = spool.head().epoch.epoch;
      await spool.append([a, b, c], undefined);
      await spool.release(1);
      await spool.startEpoch();
      expect(numbers(spool)).toEqual([1, 2]);
      expect(spool.head().released).toEqual({ number: 0, digest: "" });
    }
    await using spool = await open(folder.path);
    expect(spool.head().others).toEqual([first]);
    expect((await spool.read(1)).header).toMatchObject({ number: 1, previous: a.digest });
    expect((await spool.read(2)).header).toMatchObject({ number: 2, previous: b.digest });
    expect((await spool.read(2)).header.epoch).not.toBe(first);
  });

  it("takes nothing for stored in a new epoch that was stored in the one before", async () => {
    await using folder = await openTemporaryFolder("spool");
    const place = (sequence: number) => ({ incarnation: "00000001", sequence });
    const stored = (spool: Spool) => spool.head().batches.map((each) => each.stored?.sequence);
    {
      await using spool = await open(folder.path);
      await spool.append(["a", "b", "c"].map((text) => batch(text)), undefined);
      for (const number of [1, 2, 3]) spool.recordStored(number, place(number));
      await spool.release(1);
      await spool.startEpoch();
      expect(stored(spool)).toEqual([undefined, undefined]);
      expect(spool.unpublished).toBe(2);
    }
    {
      await using spool = await open(folder.path);
      expect(stored(spool)).toEqual([undefined, undefined]);
      spool.recordStored(1, place(7));
    }
    await using spool = await open(folder.path);
    expect(stored(spool)).toEqual([7, undefined]);
  });

  it("ends the epoch of its old shard before it begins one in another", async () => {
    await using folder = await openTemporaryFolder("spool");
    {
      await using spool = await open(folder.path);
      await spool.append([batch("a"), batch("b")], undefined);
    }
    await using spool = await open(folder.path, { shard: "1" });
    await spool.append([batch("c")], undefined);
    expect(spool.head().epoch.shard).toBe("0");
    expect(spool.head().isClosed).toBe(true);
    expect(numbers(spool)).toEqual([1, 2]);
    await spool.release(1);
    expect(spool.head().epoch.shard).toBe("0");
    await spool.release(2);
    expect(spool.head()).toMatchObject({ isClosed: false, epoch: { shard: "1" } });
    // The other shard's record never heard of the agent, so there is nothing to go on from.
    expect((await spool.read(1)).header).toMatchObject({
      number: 1,
      previous: undefined,
      digest: batch("c").digest,
    });
  });

  it("that comes back to a shard goes on from its last batch there", async () => {
    await using folder = await openTemporaryFolder("spool");
    const moves: readonly (readonly [shard: string, content: string, previous: string | null])[] = [
      ["0", "a", null],
      ["1", "b", null],
      ["0", "c", "a"],
      ["2", "", null],
      ["1", "d", "b"],
      ["2", "e", null],
      ["1", "f", "d"],
    ];
    for (const [shard, content, previous] of moves) {
      await using spool = await open(folder.path, { shard });
      if (content === "") continue;
      await spool.append([batch(content)], undefined);
      const { header } = await spool.read(1);
      expect(spool.head().epoch.shard).toBe(shard);
      expect(header.previous).toBe(previous === null ? undefined : batch(previous).digest);
      await spool.release(1);
    }
  });
});

describe("an epoch's end", () => {
  it("that cannot be written down is none: the next epoch waits", async () => {
    await using folder = await openTemporaryFolder("spool");
    {
      await using spool = await open(folder.path);
      await spool.append([batch("a"), batch("b")], undefined);
    }
    await using spool = await open(folder.path, { shard: "1" });
    const identity = join(folder.path, "identity.json");
    await rename(identity, `${identity}.kept`);
    await mkdir(join(identity, "in the way"), { recursive: true });
    await expect(spool.release(2)).rejects.toThrow();
    expect(spool.head()).toMatchObject({ isClosed: true, epoch: { shard: "0" } });
    await rm(identity, { recursive: true });
    await rename(`${identity}.kept`, identity);
    await spool.release(2);
    expect(spool.head()).toMatchObject({ isClosed: false, epoch: { shard: "1" } });
  });
});

describe("a full spool", () => {
  it("drops the payloads of its oldest batches, each becoming a void with its count", async () => {
    await using folder = await openTemporaryFolder("spool");
    const bytesMax = 16 * MIB;
    const payload = () => batch(randomBytes(250_000), 5);
    const given: EncodedBatch[] = [];
    const check = async (spool: Spool): Promise<void> => {
      expect(spool.sizeBytes).toBeLessThanOrEqual(bytesMax);
      expect(numbers(spool)).toEqual(given.map((_, place) => place + 1));
      let voids = 0;
      for (const [place, { digest }] of given.entries()) {
        const { header, payload } = await spool.read(place + 1);
        expect(header).toMatchObject({ digest, count: 5, previous: given[place - 1]?.digest });
        expect(header.void === undefined).toBe(payload.length > 0);
        // The oldest went, none behind one that is still there.
        if (header.void !== undefined) expect(place).toBe(voids++);
      }
      expect(voids).toBeGreaterThan(10);
      expect(voids).toBeLessThan(30);
    };
    {
      await using spool = await open(folder.path, { bytesMax });
      for (let number = 1; number <= 80; number++) {
        given.push(payload());
        await spool.append(given.slice(-1), undefined);
      }
      await check(spool);
      expect(spool.eventsVoided % 5).toBe(0);
      expect(spool.eventsVoided).toBeGreaterThan(50);
    }
    await using spool = await open(folder.path, { bytesMax });
    await check(spool);
    await spool.release(80);
    expect(spool.batches).toBe(0);
    await spool.append([batch("after")], undefined);
    expect((await spool.read(81)).header.previous).toBe(given.at(-1)?.digest);
  });

  it.each([
    { part: 1, count: 120, least: 50 },
    { part: 5, count: 90, least: 20 },
  ])(
    "gives up bulk before critical, however old, where $part/8 is critical",
    async ({ part, count, least }) => {
      await using folder = await openTemporaryFolder("spool");
      const bytesMax = 16 * MIB;
      const given: EncodedBatch[] = [];
      const voids = async (spool: Spool): Promise<number[]> => {
        const found: number[] = [];
        for (const [place, { digest, payload }] of given.entries()) {
          const read = await spool.read(place + 1);
          expect(read.header).toMatchObject({ digest, previous: given[place - 1]?.digest });
          if (read.header.void === undefined) {
            expect(Buffer.from(payload)).toEqual(Buffer.from(read.payload));
          } else found.push(place);
        }
        return found;
      };
      const isBulk = (place: number): boolean => given[place]?.lane === "bulk";
      {
        await using spool = await open(folder.path, { bytesMax });
        const fill = async (count: number, laneOf: (number: number) => "critical" | "bulk") => {
          for (let number = 0; number < count; number++) {
            given.push(batch(randomBytes(250_000), 5, laneOf(number)));
            await spool.append(given.slice(-1), positions(given.length));
          }
        };
        await fill(count, (number) => number % 8 < part ? "critical" : "bulk");
        const gone = await voids(spool);
        expect(gone.length).toBeGreaterThan(least);
        expect(gone.every(isBulk)).toBe(true);
        expect(spool.sizeBytes).toBeLessThanOrEqual(bytesMax);
        // A released batch that was written again is not brought back.
        await spool.release(9);
        await fill(100, () => "critical");
        expect(spool.sizeBytes).toBeLessThanOrEqual(bytesMax);
      }
      await using spool = await open(folder.path, { bytesMax });
      expect(spool.positions).toEqual(positions(count + 100));
      expect(numbers(spool)).toEqual(Array.from({ length: count + 91 }, (_, place) => place + 10));
      const kept: number[] = [];
      for (const number of numbers(spool)) {
        const { header, payload } = await spool.read(number);
        if (header.void !== undefined) continue;
        kept.push(number - 1);
        expect(Buffer.from(payload)).toEqual(Buffer.from(given[number - 1]?.payload ?? []));
      }
      expect(kept.length).toBeGreaterThan(50);
      expect(kept.some(isBulk)).toBe(false);
    },
  );

  it("goes on when the disk does not give a file back that is to be written again", async () => {
    await using folder = await openTemporaryFolder("spool");
    await using spool = await open(folder.path, { bytesMax: 16 * MIB });
    const fill = async (count: number): Promise<void> => {
      for (let number = 0; number < count; number++) {
        const lane = number % 2 === 0 ? "critical" : "bulk";
        await spool.append([batch(randomBytes(250_000), 5, lane)], undefined);
      }
    };
    await fill(60);
    expect(spool.eventsVoided).toBe(0);
    for (const file of (await segmentFiles(folder.path)).slice(0, 2)) {
      await rm(join(folder.path, "segments", file));
    }
    await Promise.race([fill(20), delay(10_000, undefined, { ref: false })]);
    expect(spool.fault).toBeUndefined();
    const voids = [];
    for (const number of numbers(spool)) {
      const { header } = await spool.read(number);
      if (header.void !== undefined) voids.push(header);
    }
    expect(voids.some((header) => header.void === "unreadable in the spool")).toBe(true);
    expect(spool.eventsVoided).toBe(5 * voids.length);
  }, 30_000);
});
