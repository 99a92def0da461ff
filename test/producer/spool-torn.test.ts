import { randomBytes } from "node:crypto";
import { copyFile, cp, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { scanFile } from "../../src/producer/spool-format.ts";
import { createLog } from "../../src/runtime/log.ts";
import {
  batch,
  MIB,
  numbers,
  openSmallSpool as open,
  positions,
  segmentFiles,
} from "../support/small-spool.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

describe("a torn spool", () => {
  it("believes no byte of a tail that is cut or changed anywhere", async () => {
    await using folder = await openTemporaryFolder("spool");
    const source = join(folder.path, "source");
    {
      await using spool = await open(source);
      await spool.append([batch("one")], positions(1));
      await spool.append([batch("two")], positions(2));
    }
    const [name = ""] = await segmentFiles(source);
    const whole = await readFile(join(source, "segments", name));
    {
      await using spool = await open(source);
      await spool.append([batch("three")], positions(3));
    }
    const longer = await readFile(join(source, "segments", name));
    for (let length = whole.length; length < longer.length; length++) {
      const torn = join(folder.path, "torn");
      await cp(source, torn, { recursive: true });
      const path = join(torn, "segments", name);
      // Both a tail that ends early and one whose last bytes were never written.
      if (length % 2 === 0) await truncate(path, length);
      else await writeFile(path, Buffer.concat([longer.subarray(0, length), Buffer.alloc(40)]));
      {
        await using spool = await open(torn);
        expect(numbers(spool)).toEqual([1, 2]);
        expect(spool.positions).toEqual(positions(2));
        await spool.append([batch("again")], undefined);
        expect((await spool.read(3)).header.previous).toBe(batch("two").digest);
      }
      {
        await using spool = await open(torn);
        expect(numbers(spool)).toEqual([1, 2, 3]);
        expect(new TextDecoder().decode((await spool.read(3)).payload)).toBe("again");
        expect(spool.breaks).toEqual([]);
      }
      await rm(torn, { recursive: true });
    }
  }, 60_000);

  it("believes batches of the same lines all or none: the ring's position is with the last", async () => {
    await using folder = await openTemporaryFolder("spool");
    const source = join(folder.path, "source");
    const segment = async (): Promise<Buffer> => {
      const [name = ""] = await segmentFiles(source);
      return await readFile(join(source, "segments", name));
    };
    {
      await using spool = await open(source);
      await spool.append([batch("one")], positions(1));
    }
    const { length: before } = await segment();
    {
      await using spool = await open(source);
      await spool.append([batch("two"), batch("three"), batch("four")], positions(4));
    }
    const { length: after } = await segment();
    for (let length = after - 1; length >= before; length -= 40) {
      const torn = join(folder.path, "torn");
      await cp(source, torn, { recursive: true });
      const [name = ""] = await segmentFiles(torn);
      await truncate(join(torn, "segments", name), length);
      {
        await using spool = await open(torn);
        expect(numbers(spool)).toEqual([1]);
        expect(spool.positions).toEqual(positions(1));
        await spool.append([batch("two again"), batch("three again")], positions(3));
      }
      await using spool = await open(torn);
      expect(numbers(spool)).toEqual([1, 2, 3]);
      expect(spool.positions).toEqual(positions(3));
      expect(spool.breaks).toEqual([]);
      await rm(torn, { recursive: true });
    }
  });

  it("whose receipts went with its tail misses none of the files that were removed", async () => {
    await using folder = await openTemporaryFolder("spool");
    const options = { bytesMax: 16 * MIB };
    let epoch: string;
    {
      await using spool = await open(folder.path, options);
      epoch = spool.head().epoch.epoch;
      for (let number = 1; number <= 12; number++) {
        await spool.append([batch(randomBytes(300_000))], undefined);
      }
      await spool.release(8);
    }
    // As a power failure leaves it: files were removed, receipts not written, the last write half done.
    await rm(join(folder.path, "receipts"));
    const newest = join(folder.path, "segments", (await segmentFiles(folder.path)).at(-1) ?? "");
    await truncate(newest, (await stat(newest)).size - 1);
    await using spool = await open(folder.path, options);
    expect(spool.breaks).toEqual([]);
    expect(spool.head()).toMatchObject({ epoch: { epoch }, isClosed: false });
    expect(numbers(spool).at(-1)).toBe(11);
  });

  it("that lost its only file's beginning starts that file anew", async () => {
    await using folder = await openTemporaryFolder("spool");
    {
      await using spool = await open(folder.path);
      await spool.append([], positions(1));
    }
    const [name = ""] = await segmentFiles(folder.path);
    await truncate(join(folder.path, "segments", name), 3);
    await using spool = await open(folder.path);
    await spool.append([batch("a")], undefined);
    expect(numbers(spool)).toEqual([1]);
  });

  it("with a damaged older file begins an epoch behind what is missing, once", async () => {
    await using folder = await openTemporaryFolder("spool");
    const contents = Array.from({ length: 12 }, () => randomBytes(300_000));
    const startUs = Date.UTC(2026, 5, 1) * 1000;
    const hourUs = 3_600_000_000;
    const minuteUs = 60_000_000;
    {
      await using spool = await open(folder.path, { bytesMax: 16 * MIB });
      for (const [at, each] of contents.entries()) {
        const lastUs = startUs + at * hourUs;
        await spool.append([{ ...batch(each), firstUs: lastUs - 1, lastUs }], undefined);
      }
    }
    const [first = ""] = await segmentFiles(folder.path);
    const path = join(folder.path, "segments", first);
    await truncate(path, (await stat(path)).size - 1_000);
    for (const isFirst of [true, false]) {
      await using spool = await open(folder.path, { bytesMax: 16 * MIB });
      // The third batch was the last whole one, the fifth is the first in the next file.
      const gone = {
        fromUs: startUs + 2 * hourUs - minuteUs,
        toUs: startUs + 4 * hourUs + minuteUs,
      };
      expect(spool.breaks).toEqual(isFirst ? [expect.objectContaining({ base: 4, ...gone })] : []);
      expect(numbers(spool)).toEqual([1, 2, 3]);
      expect(spool.head().isClosed).toBe(true);
      if (isFirst) continue;
      await spool.release(3);
      expect(spool.head().isClosed).toBe(false);
      expect((await spool.read(1)).header.previous).toBe(batch(contents[3] ?? "").digest);
      expect(numbers(spool)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    }
  });

  it("knows of what nothing before is left that it is no older than its file", async () => {
    await using folder = await openTemporaryFolder("spool");
    {
      await using spool = await open(folder.path, { bytesMax: 16 * MIB });
      for (let each = 0; each < 8; each++) {
        await spool.append([batch(randomBytes(300_000))], undefined);
      }
    }
    const [first = ""] = await segmentFiles(folder.path);
    const path = join(folder.path, "segments", first);
    await truncate(path, 3);
    const bornS = Date.UTC(2026, 5, 1) / 1000;
    await utimes(path, bornS, bornS);
    await using spool = await open(folder.path, { bytesMax: 16 * MIB });
    expect(spool.breaks).toMatchObject([{ base: 4, fromUs: (bornS - 60) * 1_000_000 }]);
  });

  it("gives a batch that cannot be read any more as a void", async () => {
    await using folder = await openTemporaryFolder("spool");
    await using spool = await open(folder.path);
    await spool.append([batch("one"), batch("two")], undefined);
    const [name = ""] = await segmentFiles(folder.path);
    const path = join(folder.path, "segments", name);
    const bytes = await readFile(path);
    bytes[bytes.indexOf("two")] = 0;
    await copyFile(path, `${path}.bak`);
    await writeFile(path, bytes);
    const { header, payload } = await spool.read(2);
    expect(header).toMatchObject({ void: "unreadable in the spool", digest: batch("two").digest });
    expect(payload.length).toBe(0);
    expect(spool.eventsVoided).toBe(2);
  });

  it("counts the events of a batch that several readers find unreadable once", async () => {
    await using folder = await openTemporaryFolder("spool");
    await using spool = await open(folder.path);
    await spool.append([batch("one")], undefined);
    const [name = ""] = await segmentFiles(folder.path);
    const path = join(folder.path, "segments", name);
    const bytes = await readFile(path);
    bytes[bytes.indexOf("one")] = 0;
    await writeFile(path, bytes);
    const read = await Promise.all([spool.read(1), spool.read(1), spool.read(1)]);
    expect(read.every(({ header }) => header.void === "unreadable in the spool")).toBe(true);
    expect(spool.eventsVoided).toBe(2);
  });
});

describe("the newest file of a spool", () => {
  it("has small batches written over zeros, which are cut off when it is closed, and no damage when it was killed", async () => {
    await using folder = await openTemporaryFolder("spool");
    const source = join(folder.path, "source");
    const killed = join(folder.path, "killed");
    const warnings: string[] = [];
    const log = createLog({ level: "warn", write: (line) => warnings.push(line) });
    const newestBytes = async (): Promise<number> => {
      const name = (await segmentFiles(source)).at(-1) ?? "";
      return (await stat(join(source, "segments", name))).size;
    };
    let openBytes = 0;
    {
      await using spool = await open(source, { bytesMax: 16 * MIB });
      await spool.append([batch("one")], undefined);
      const reservedBytes = await newestBytes();
      await spool.append([batch("two")], positions(2));
      // What the file system keeps of the file is as it was: nothing of its own is to be written.
      expect(await newestBytes()).toBe(reservedBytes);
      await cp(source, killed, { recursive: true });
      for (let each = 0; each < 5; each += 1) {
        await spool.append([batch(randomBytes(300_000))], undefined);
      }
      const [first = ""] = await segmentFiles(source);
      const whole = await readFile(join(source, "segments", first));
      expect(scanFile(whole).goodBytes).toBe(whole.length);
      await spool.append([batch("last")], undefined);
      openBytes = await newestBytes();
    }
    expect(openBytes - await newestBytes()).toBe(MIB / 32);
    await using spool = await open(killed, { log });
    expect(numbers(spool)).toEqual([1, 2]);
    expect(spool.positions).toEqual(positions(2));
    expect(warnings).toEqual([]);
  });
});
