import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { openWorker } from "../../src/pipeline/worker.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { runProbity } from "../support/command-line.ts";
import { createBatchAgent, numberedEvent, publishAll } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import {
  makeStream,
  openRollupRig,
  quietLog,
  type RollupRig,
  until,
} from "../support/rollup-rig.ts";
import { type ScriptProcess, startScript } from "../support/script-process.ts";

const SHARDS = ["0", "1", "2", "3"];
const BATCH_EVENTS = 10;

/** Publishes batches of numbered events to every shard until it is stopped; how many events there were. */
async function startPublishing(rig: RollupRig) {
  for (const shard of SHARDS) await makeStream(rig.connection, shard);
  const agents = SHARDS.map((shard) => createBatchAgent(`agent-${shard}`, "e1", shard));
  let number = 0;
  let isStopped = false;
  const work = async (): Promise<number> => {
    while (!isStopped) {
      for (const agent of agents) {
        const events = Array.from({ length: BATCH_EVENTS }, () => numberedEvent(number++));
        await publishAll(rig.connection, [await agent.batch(events)]);
      }
      await delay(20);
    }
    return number;
  };
  const done = work();
  const stop = (): Promise<number> => {
    isStopped = true;
    return done;
  };
  return {
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

async function startWorker(rig: RollupRig, more: { readonly stopAt?: string } = {}) {
  const { folder, server } = rig;
  const place = [server.url, join(folder, "bucket"), join(folder, "scratch"), SHARDS.join()];
  const worker = await startScript("worker-process.ts", [...place, more.stopAt ?? ""]);
  worker.go();
  return worker;
}

interface Said {
  readonly shards?: readonly string[];
  readonly stopping?: boolean;
  /** What became of the entry that it stood still before. */
  readonly late?: "created" | "exists";
}

function saidBy({ said }: ScriptProcess): readonly Said[] {
  // as: our own script says nothing else
  return said as readonly Said[];
}

/** What a worker has said last of its shards. */
function shardsOf(worker: ScriptProcess): readonly string[] {
  return saidBy(worker).findLast(({ shards }) => shards !== undefined)?.shards ?? [];
}

const areShared = (...workers: readonly ScriptProcess[]) => async (): Promise<boolean> => {
  const shares = workers.map(shardsOf);
  const all = shares.flat().toSorted();
  return await Promise.resolve(
    JSON.stringify(all) === JSON.stringify(SHARDS) &&
      shares.every(({ length }) => length === SHARDS.length / workers.length),
  );
};

/** Every event is in the table once. */
async function expectExact(rig: RollupRig, events: number): Promise<void> {
  for (const shard of SHARDS) await rig.once({ shard });
  expect(
    await rig.query(
      "SELECT count(*) AS n, count(DISTINCT pid) AS numbers, count(DISTINCT id) AS ids FROM events",
    ),
  ).toEqual([{ n: events, numbers: events, ids: events }]);
}

/** Commits that a shard's log holds. */
async function versionOf(rig: RollupRig, shard: string): Promise<number> {
  return (await rig.snapshot()).shards.get(shard)?.version ?? -1;
}

describe.runIf(canRunNats())("workers", () => {
  test("divide the shards, and take over those of one that is killed", async () => {
    await using rig = await openRollupRig();
    await using publishing = await startPublishing(rig);
    await using first = await startWorker(rig);
    await until(areShared(first));
    await using second = await startWorker(rig);
    await until(areShared(first, second));
    await first.kill();
    await until(areShared(second));
    const versions = await Promise.all(SHARDS.map((shard) => versionOf(rig, shard)));
    await until(async () => {
      const now = await Promise.all(SHARDS.map((shard) => versionOf(rig, shard)));
      return now.every((version, at) => version > (versions[at] ?? 0));
    });
    await using third = await startWorker(rig);
    await until(areShared(second, third));
    const events = await publishing.stop();
    await Promise.all([second.kill(), third.kill()]);
    await expectExact(rig, events);
  });

  test("that leave in order give up their shards at once", async () => {
    await using rig = await openRollupRig();
    const open = (name: string) =>
      openWorker({
        store: rig.store,
        nats: { url: rig.server.url },
        shards: SHARDS,
        // Too long to be waited for in this test.
        leaseMs: 60_000,
        intervalMs: 50,
        scratchDirectory: join(rig.folder, name),
        log: quietLog,
        metrics: createMetrics(),
      });
    await using first = await open("first");
    const stop = new AbortController();
    const running = first.run(stop.signal);
    await until(() => Promise.resolve(first.shards().length === SHARDS.length));
    stop.abort();
    await running;
    expect(first.shards()).toEqual([]);
    await using second = await open("second");
    const end = new AbortController();
    const other = second.run(end.signal);
    await until(() => Promise.resolve(second.shards().length === SHARDS.length), 5_000);
    end.abort();
    await other;
  });

  test("find again after the broker lost the leases", async () => {
    await using rig = await openRollupRig();
    await using worker = await startWorker(rig);
    await until(areShared(worker));
    await rig.server.stop();
    await rig.server.wipe();
    await rig.server.start();
    await using other = await startWorker(rig);
    await until(areShared(worker, other));
    await Promise.all([worker.kill(), other.kill()]);
  });

  test("whose lease passed to another while they stood still cannot commit twice", async () => {
    await using rig = await openRollupRig();
    await using publishing = await startPublishing(rig);
    await using zombie = await startWorker(rig, { stopAt: "2" });
    await until(() => Promise.resolve(saidBy(zombie).some(({ stopping }) => stopping === true)));
    const before = await versionOf(rig, "2");
    await using heir = await startWorker(rig);
    await until(areShared(heir));
    await until(async () => await versionOf(rig, "2") > before);
    zombie.resume();
    await until(() => Promise.resolve(saidBy(zombie).some(({ late }) => late !== undefined)));
    expect(saidBy(zombie)).toContainEqual({ late: "exists" });
    await until(areShared(zombie, heir));
    const events = await publishing.stop();
    await Promise.all([zombie.kill(), heir.kill()]);
    await expectExact(rig, events);
  });
});

describe.runIf(canRunNats())("rollup --once", () => {
  test("twice at the same time commits every event once, and again commits nothing", async () => {
    await using rig = await openRollupRig();
    await using publishing = await startPublishing(rig);
    await delay(500);
    const line = [
      ...["rollup", "--once", "--nats", rig.server.url, "--rollup-shards", String(SHARDS.length)],
      ...[
        "--store-url",
        `file://${join(rig.folder, "bucket")}`,
        "--data",
        join(rig.folder, "data"),
      ],
      ...["--rollup-segment-max", "20KiB"],
    ];
    const runs = await Promise.all([1, 2, 3].map(() => runProbity(line)));
    for (const { code, stderr } of runs) expect(code, stderr).toBe(0);
    const events = await publishing.stop();
    await expectExact(rig, events);
    const { version } = await rig.snapshot();
    const { code, stdout } = await runProbity(line);
    expect(code).toBe(0);
    const said = stdout.trim().split("\n").map((text): { commits: number } => JSON.parse(text));
    expect(said.map(({ commits }) => commits)).toEqual([0, 0, 0, 0]);
    expect((await rig.snapshot()).version).toBe(version);
  });
});
