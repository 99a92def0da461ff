import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type KindCount, TallyBook } from "../../src/query/metric/tally.ts";
import { appendEntry, readEntries, rewriteEntries } from "../../src/query/metric/tally-file.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

const count = (topic: string | null, rows: number, topics: readonly string[] = []): KindCount => ({
  ...{ topic, topics, host: "web-1", rows, firstUs: 1, lastUs: 2 },
});

describe("the book of tallies", () => {
  test("holds no more counts and kinds than it may, and makes room of what is gone", () => {
    const book = new TallyBook({ countsMax: 4, kindsMax: 3 });
    expect(book.put("a", [count("x", 1), count("y", 2)])).toBe(true);
    expect(book.put("b", [count("x", 1), count("y", 2), count("z", 3)])).toBe(false);
    expect(book.put("c", [count("z", 3), count("x", 3)])).toBe(false);
    expect(book.put("d", [count("z", 3)])).toBe(true);
    expect([...book.names()]).toEqual(["a", "d"]);
    book.remove("a");
    book.remove("a");
    expect(book.counts).toBe(1);
    expect(book.put("e", [count("v", 1), count("w", 2)])).toBe(true);
    expect(book.countsOf("d")).toEqual([count("z", 3)]);
    expect(book.countsOf("e")).toEqual([count("v", 1), count("w", 2)]);
    expect(book.kinds.map(({ topic }) => topic)).toEqual(["z", "v", "w"]);
  });

  test("looks for unused kinds only when some may have come to be", () => {
    const book = new TallyBook({ countsMax: 10, kindsMax: 2 });
    expect(book.put("a", [count("x", 1), count("y", 2)])).toBe(true);
    const { kinds } = book;
    for (const name of ["b", "c"]) expect(book.put(name, [count("z", 3)])).toBe(false);
    expect(book.kinds).toBe(kinds);
    book.remove("a");
    expect(book.put("b", [count("z", 3)])).toBe(true);
    const { kinds: rebuilt } = book;
    expect(rebuilt).toHaveLength(1);
    expect(book.put("c", [count("v", 3), count("w", 3)])).toBe(false);
    expect(book.kinds).toBe(rebuilt);
  });

  test("tells kinds apart by each of topic, topics and host, absent ones too", () => {
    const book = new TallyBook();
    const counts = [
      count("a", 1),
      count(null, 2),
      count("a", 3, ["b"]),
      count("a", 4, ["b", "c"]),
      { ...count("a", 5), host: null },
      { ...count("a", 6), host: "web-2" },
    ];
    book.put("file", counts);
    expect(book.kinds).toHaveLength(6);
    expect(book.countsOf("file")).toEqual(counts);
    expect(book.get("file")?.rowsInAll).toBe(21);
  });
});

describe("tallies on disk", () => {
  test("come back, except where a line is torn or was changed", async () => {
    await using folder = await openTemporaryFolder("tallies");
    const path = join(folder.path, "tallies");
    expect(await Array.fromAsync(readEntries(path))).toEqual([]);
    const entries = [
      { name: "a", counts: [count("x", 1, ["y", "z"]), count(null, 2)] },
      { name: "b", counts: null },
      { name: "c", counts: [count("x", 7)] },
    ];
    for (const entry of entries) await appendEntry(path, entry);
    expect(await Array.fromAsync(readEntries(path))).toEqual(entries);
    await writeFile(path, (await readFile(path, "utf8")).replace(`"web-1",7,`, `"web-1",8,`));
    await appendFile(path, "0123456789abcdef [1,");
    expect(await Array.fromAsync(readEntries(path))).toEqual(entries.slice(0, 2));
    await rewriteEntries(path, entries.slice(1));
    expect(await Array.fromAsync(readEntries(path))).toEqual(entries.slice(1));
  });
});
