/** Payloads that somebody removes while a service reads, as systemd does when a unit of the same user ends. */
import { mkdir, readdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createAcceptance, emptyAcceptance } from "../../src/event/acceptance.ts";
import { createHotTable, openHotLoader } from "../../src/query/hot/loader.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { openDatabase } from "../../src/storage/duckdb.ts";
import { asStored, createBatchAgent, numberedEvent } from "../support/batches.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

test.each([
  ["with their folder", (path: string) => rm(path, { recursive: true })],
  ["and their folder stays", async (path: string) => {
    for (const name of await readdir(path)) await rm(join(path, name), { recursive: true });
  }],
  ["and a link stands in the place of their folder", async (path: string) => {
    await rm(path, { recursive: true });
    await symlink("/", path);
  }],
])(
  "payloads that were removed %s are read again, and none is unreadable",
  async (_name, remove) => {
    await using folder = await openTemporaryFolder("hot-payloads");
    const [payloads, scratch] = [join(folder.path, "payloads"), join(folder.path, "scratch")];
    await mkdir(scratch);
    await using database = await openDatabase({
      ...{ memoryLimitBytes: 200_000_000, threads: 1, tempLimitBytes: 100_000_000 },
      tempDirectory: join(folder.path, "spill"),
    });
    await (await database.connect()).run(createHotTable("loaded"));
    await database.lock({ directories: [payloads, scratch] });
    {
      await using loader = await openHotLoader({
        ...{ connection: await database.connect(), shard: "0", clock: systemClock },
        ...{ payloadDirectory: payloads, scratchDirectory: scratch },
      });
      const agent = createBatchAgent("a");
      const messages = asStored([
        ...await Promise.all([1, 2, 3].map((number) => agent.batch([numberedEvent(number)]))),
      ]);
      const acceptance = createAcceptance(emptyAcceptance("0a1b2c3d"));
      const load = (at: number, taken = acceptance) =>
        loader.load(messages.slice(at, at + 1), {
          ...{ into: "loaded", acceptance: taken, hasLines: false },
          signal: new AbortController().signal,
        });
      expect(await load(0)).toMatchObject({ rows: 1, unreadable: 0 });
      await remove(payloads);
      // As a shard does that begins anew after a fault: what was decided then counts for nothing.
      await expect(load(1, createAcceptance(acceptance.state()))).rejects.toThrow();
      expect(await load(1)).toMatchObject({ rows: 1, unreadable: 0 });
      expect(await load(2)).toMatchObject({ rows: 1, unreadable: 0 });
    }
    expect(await readdir(scratch)).toEqual([]);
  },
);
