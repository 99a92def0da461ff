import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { describe, expect, it, vi } from "vitest";
import { openReceipts } from "../../src/producer/spool-receipts.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const ENTRY_BYTES = 32;

/** Places of the batches 1 … count, as the file holds them. */
function placesOf(count: number): Uint8Array {
  const bytes = Buffer.alloc(count * ENTRY_BYTES);
  for (let ordinal = 1; ordinal <= count; ordinal++) {
    const entry = bytes.subarray((ordinal - 1) * ENTRY_BYTES, ordinal * ENTRY_BYTES);
    entry.writeUInt32LE(1, 4);
    entry.writeBigUInt64LE(BigInt(ordinal), 8);
    entry.writeBigUInt64LE(BigInt(ordinal), 16);
    entry.write("0123abcd", 24, "latin1");
    entry.writeUInt32LE(crc32(entry.subarray(4)), 0);
  }
  return bytes;
}

describe("receipts", () => {
  it("of a long backlog are not written anew for every batch", async () => {
    await using folder = await openTemporaryFolder("receipts");
    const path = join(folder.path, "receipts");
    const count = 140_000;
    await writeFile(path, placesOf(count));
    await using receipts = await openReceipts(folder.path);
    expect(receipts.places.size).toBe(count);
    const before = await stat(path);
    for (let more = 1; more <= 3; more++) {
      receipts.recordPlace(count + more, { incarnation: "0123abcd", sequence: count + more });
    }
    await vi.waitFor(async () => {
      expect((await stat(path)).size).toBe((count + 3) * ENTRY_BYTES);
    });
    expect((await stat(path)).ino).toBe(before.ino);
  });

  it("are written anew without what is released once that is most of them", async () => {
    await using folder = await openTemporaryFolder("receipts");
    const path = join(folder.path, "receipts");
    const count = 140_000;
    await writeFile(path, placesOf(count));
    {
      await using receipts = await openReceipts(folder.path);
      receipts.recordReleased(count - 1);
    }
    expect((await stat(path)).size).toBe(3 * ENTRY_BYTES);
    await using receipts = await openReceipts(folder.path);
    expect(receipts.released).toBe(count - 1);
    expect([...receipts.places.keys()]).toEqual([count - 1, count]);
  });
});
