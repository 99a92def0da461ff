import { expect, test } from "vitest";
import type { Executor } from "../../src/query/executor.ts";
import { openTallies } from "../../src/query/metric/tallies.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import type { DataFile } from "../../src/storage/table.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";

/** The newest come first, as they are tallied. */
const DAYS: Readonly<Record<string, number>> = { a: 4, b: 3, c: 2, d: 1 };

const fileOf = (name: string): DataFile => ({
  path: name,
  sha256: name,
  sizeBytes: 1,
  rows: 2,
  eventDate: `2026-06-0${DAYS[name]}`,
  ...{ minimum: {}, maximum: {}, nullCount: {} },
});

/** Two counts of each file, of its own kinds. */
function countingExecutor(): { readonly executor: Executor; readonly counted: readonly string[] } {
  const counted: string[] = [];
  const never = (): never => {
    throw new Error("Nobody asks for this");
  };
  const executor: Executor = {
    texts: never,
    bytes: never,
    parquet: never,
    rows({ files }) {
      const [name = ""] = files.map(({ path }) => path);
      counted.push(name);
      const more = { topics: "[]", host: null, rows: 1, first: 1, last: 1 };
      const rows = ["x", "y"].map((each) => ({ topic: `${name}/${each}`, ...more }));
      return Promise.resolve({ rows, columns: [] });
    },
  };
  return { executor, counted };
}

test("a file without a tally for lack of room gets one when there is room again", async () => {
  await using folder = await openTemporaryFolder("tallies");
  const { executor, counted } = countingExecutor();
  let names = ["a", "b", "c", "d"];
  await using tallies = await openTallies({
    ...{ directory: folder.path, executor, clock: systemClock, isAtHand: () => true },
    acquire: () => ({
      view: {
        ...{ version: 1, hot: [], upper: new Map<string, number>(), missing: [] },
        files: names.map(fileOf),
      },
      [Symbol.dispose]: () => undefined,
    }),
    log: createLog({ level: "error", write: () => undefined }),
    limits: { countsMax: 4, kindsMax: 100 },
  });
  await tallies.update();
  await tallies.update();
  expect([...tallies.book.names()]).toEqual(["a", "b"]);
  expect(counted).toEqual(["a", "b", "c", "d"]);
  names = ["b", "c", "d"];
  await tallies.update();
  expect([...tallies.book.names()]).toEqual(["b", "c"]);
  // Nor is one counted again for which there is still none.
  expect(counted).toEqual(["a", "b", "c", "d", "c"]);
});
