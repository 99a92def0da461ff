/** What maintenance did becomes part of the record: told by a producer, through the broker, into the table it kept. */
import { join } from "node:path";
import { expect, it } from "vitest";
import { openMaintenanceContext } from "../../src/pipeline/maintenance/context.ts";
import { doWhatIsDue } from "../../src/pipeline/maintenance/schedule.ts";
import { DEFAULT_GRACE_MS } from "../../src/pipeline/maintenance/vacuum.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createBatchAgent } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openRollupRig, publishNumbers, quietLog, range } from "../support/rollup-rig.ts";

it.runIf(canRunNats())("a compaction is an event of the table that it compacted", async () => {
  await using rig = await openRollupRig();
  const agent = createBatchAgent("a");
  for (let round = 0; round < 3; round++) {
    await publishNumbers(rig, agent, range(round * 10, round * 10 + 10));
    await rig.once();
  }
  const { version } = await rig.snapshot();
  await using producer = await openProducer({
    directory: join(rig.folder, "spool"),
    host: "keeper",
    shard: "0",
    nats: { url: rig.server.url },
    log: quietLog,
  });
  await using context = await openMaintenanceContext({
    store: rig.store,
    scratchDirectory: join(rig.folder, "maintenance"),
    log: quietLog,
    clock: {
      ...systemClock,
      nowUs: () => systemClock.nowUs() + 30 * 86_400_000_000,
    },
  });
  await doWhatIsDue(context, {
    compactMs: 1,
    retain: "never",
    rules: [],
    vacuum: "never",
    graceMs: DEFAULT_GRACE_MS,
    by: "rollup@keeper",
    producer,
    worker: "a",
  }, new AbortController().signal);
  expect((await rig.snapshot()).version).toBe(version + 1);
  await expect.poll(() => producer.counters().batchesPublished, { timeout: 10_000 }).toBe(1);
  await rig.once();
  expect(await rig.numbers()).toEqual(range(0, 30));
  const told = await rig.query(
    `SELECT host, topic, "user", message, detail::JSON ->> 'filesRemoved' AS removed
     FROM events WHERE topic LIKE 'audit/%'`,
  );
  expect(told).toEqual([{
    host: "keeper",
    topic: "audit/admin",
    user: "rollup@keeper",
    message: "rollup@keeper compacted files of the table.",
    removed: "3",
  }]);
});
