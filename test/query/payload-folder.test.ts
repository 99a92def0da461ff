import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { openPayloadFolder } from "../../src/query/payload-folder.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

test("payloads lie in memory, in a folder of the user alone that goes in the end", async () => {
  await using folder = await openTemporaryFolder("payloads");
  const memoryDirectory = join(folder.path, "memory");
  await mkdir(memoryDirectory);
  const scratchDirectory = join(folder.path, "scratch");
  {
    await using payloads = await openPayloadFolder({ scratchDirectory, memoryDirectory });
    expect(dirname(payloads.path)).toBe(memoryDirectory);
    expect((await stat(payloads.path)).mode & 0o777).toBe(0o700);
    await writeFile(join(payloads.path, "1.ndjson.zst"), "x");
  }
  expect(await readdir(memoryDirectory)).toEqual([]);
});

test("what an earlier process left is removed, and nothing of others", async () => {
  await using folder = await openTemporaryFolder("payloads");
  const memoryDirectory = folder.path;
  const scratchDirectory = join(folder.path, "mine");
  await using other = await openPayloadFolder({
    scratchDirectory: join(folder.path, "other"),
    memoryDirectory,
  });
  // Not disposed of, as after a kill.
  const left = await openPayloadFolder({ scratchDirectory, memoryDirectory });
  await using again = await openPayloadFolder({ scratchDirectory, memoryDirectory });
  expect(again.path).not.toBe(left.path);
  expect((await readdir(memoryDirectory)).map((name) => join(memoryDirectory, name)).toSorted())
    .toEqual([other.path, again.path].toSorted());
});

test("without a place in memory they lie in the scratch folder", async () => {
  await using folder = await openTemporaryFolder("payloads");
  const scratchDirectory = join(folder.path, "scratch");
  await using payloads = await openPayloadFolder({
    scratchDirectory,
    memoryDirectory: join(folder.path, "nowhere"),
  });
  expect(dirname(payloads.path)).toBe(scratchDirectory);
  expect((await stat(payloads.path)).mode & 0o777).toBe(0o700);
});
