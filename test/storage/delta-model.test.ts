import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ShardPosition, TableSnapshot } from "../../src/storage/table.ts";
import { dataFile, shardWork } from "../support/shard-work.ts";
import { openTableFolder } from "../support/table-folder.ts";
import { type PutFault, unreliable } from "../support/unreliable-store.ts";

describe("whatever happens", () => {
  const step = fc.record({
    actor: fc.nat({ max: 2 }),
    shard: fc.constantFrom("a", "b"),
    isFresh: fc.boolean(),
    isRepeated: fc.boolean(),
    faults: fc.array(
      fc.constantFrom<PutFault | undefined>(undefined, "lost before", "lost after"),
      {
        maxLength: 3,
      },
    ),
  });

  test("the log read back is the model of what was answered", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
        await using folder = await openTableFolder();
        const actors = [0, 1, 2].map(() => {
          const shaky = unreliable(folder.store);
          return { shaky, table: folder.open(shaky) };
        });
        const shards = new Map<string, ShardPosition>();
        const files = new Set<string>();
        for (const [at, { actor, shard, isFresh, isRepeated, faults }] of steps.entries()) {
          const used = actors[actor];
          if (used === undefined) continue;
          const seen = (isFresh ? await used.table.refresh() : used.table.current()).shards;
          const start = seen.get(shard);
          const first = (start?.sequence ?? 0) + 1;
          const path = `event_date=2026-01-02/${shard}-${at}.parquet`;
          const work = shardWork({
            shard,
            startedFrom: start?.version,
            first,
            last: first + at,
            files: [dataFile(path)],
          });
          used.shaky.faults.push(...faults);
          const result = await used.table.commit(work);
          used.shaky.faults.length = 0;
          const isCurrent = shards.get(shard)?.version === start?.version;
          expect(result.kind).toBe(isCurrent ? "committed" : "superseded");
          if (result.kind === "committed") {
            shards.set(shard, { shard, version: result.version, ...work.position });
            files.add(path);
          }
          if (isRepeated) expect(await used.table.commit(work)).toEqual(result);
        }
        for (const { table } of actors) expectModel(await table.refresh(), { shards, files });
        expectModel(await folder.open().refresh(), { shards, files });
      }),
      { numRuns: 40, verbose: 1 },
    );
  }, 60_000);

  function expectModel(
    snapshot: TableSnapshot,
    model: {
      readonly shards: ReadonlyMap<string, ShardPosition>;
      readonly files: ReadonlySet<string>;
    },
  ): void {
    expect(new Map(snapshot.shards)).toEqual(model.shards);
    expect(new Set(snapshot.files.keys())).toEqual(model.files);
    expect(snapshot.version).toBe(model.files.size === 0 ? -1 : model.files.size);
  }
});
