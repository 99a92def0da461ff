import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { parseSegment } from "../../src/pipeline/segment.ts";
import { createBatchAgent, numberedEvent, publishAll } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openRollupRig, type RollupRig } from "../support/rollup-rig.ts";
import { type ScriptProcess, startScript } from "../support/script-process.ts";

const BATCH_EVENTS = 20;

/** Publishes batches of numbered events until it is stopped; how many events there were. */
function startPublishing(rig: RollupRig, pauseMs: number) {
  const agents = [createBatchAgent("a"), createBatchAgent("b"), createBatchAgent("c")];
  let number = 0;
  let isStopped = false;
  const work = async (): Promise<number> => {
    while (!isStopped) {
      for (const agent of agents) {
        const events = Array.from({ length: BATCH_EVENTS }, () => numberedEvent(number++));
        await publishAll(rig.connection, [await agent.batch(events)]);
      }
      await delay(pauseMs);
    }
    return number;
  };
  const done = work();
  return {
    async stop(): Promise<number> {
      isStopped = true;
      return await done;
    },
  };
}

function startRollup(rig: RollupRig, fault = ""): Promise<ScriptProcess> {
  const { folder, server } = rig;
  return startScript("rollup-process.ts", [
    server.url,
    join(folder, "bucket"),
    join(folder, "scratch"),
    fault,
  ]);
}

/** The record holds every event once, and its commits name evidence of every message once. */
async function expectExact(rig: RollupRig, events: number): Promise<void> {
  expect(
    await rig.query(
      "SELECT count(*) AS n, count(DISTINCT pid) AS numbers, count(DISTINCT id) AS ids FROM events",
    ),
  ).toEqual([{ n: events, numbers: events, ids: events }]);
  const log = await Array.fromAsync(rig.store.list("table/_delta_log/"));
  const sequences: number[] = [];
  for (const { key } of log.filter((each) => each.key.endsWith(".json"))) {
    const text = new TextDecoder().decode((await rig.store.get(key))?.body);
    for (const [evidence] of text.matchAll(/evidence\/[^"]+\.segment/g)) {
      const body = (await rig.store.get(evidence))?.body ?? new Uint8Array();
      sequences.push(...parseSegment(body).messages.map(({ sequence }) => sequence));
    }
  }
  expect(sequences).toEqual(Array.from({ length: events / BATCH_EVENTS }, (_, place) => place + 1));
}

describe.runIf(canRunNats())("a roll-up that is killed", () => {
  test("at any of its writes loses and doubles nothing", async () => {
    await using rig = await openRollupRig();
    let number = 0;
    const agent = createBatchAgent("a");
    const publish = async (): Promise<void> => {
      const events = Array.from({ length: BATCH_EVENTS }, () => numberedEvent(number++));
      await publishAll(rig.connection, [await agent.batch(events)]);
    };
    for (const when of ["before", "after"]) {
      for (let write = 1; write <= 6; write++) {
        await publish();
        await publish();
        await using rollup = await startRollup(rig, `${when}:${write}`);
        rollup.go();
        let isDead = false;
        const death = Promise.allSettled([rollup.ended()]).then(() => isDead = true);
        for (let more = 0; more < 40 && !isDead; more++) {
          await publish();
          await Promise.race([death, delay(100)]);
        }
        expect(isDead, `${when} write ${write}`).toBe(true);
      }
    }
    await rig.once();
    await expectExact(rig, number);
  });

  test("at any time, twenty times, loses and doubles nothing", async () => {
    await using rig = await openRollupRig();
    const publishing = startPublishing(rig, 20);
    for (let kill = 0; kill < 20; kill++) {
      await using rollup = await startRollup(rig);
      rollup.go();
      await delay(Math.random() * 700);
      await rollup.kill();
    }
    const events = await publishing.stop();
    await rig.once();
    await expectExact(rig, events);
    expect(await readdir(join(rig.folder, "scratch"))).toEqual([]);
  });

  test("while another one is running leaves the record as exact", async () => {
    await using rig = await openRollupRig();
    const publishing = startPublishing(rig, 20);
    await using survivor = await startRollup(rig);
    survivor.go();
    for (let kill = 0; kill < 5; kill++) {
      await using rollup = await startRollup(rig);
      rollup.go();
      await delay(Math.random() * 700);
      await rollup.kill();
    }
    const events = await publishing.stop();
    await survivor.kill();
    await rig.once();
    await expectExact(rig, events);
  });
});
