/** `rollup status` as a process, beside a real broker. */
import { describe, expect, test } from "vitest";
import { join } from "node:path";
import { streamOf } from "../../src/event/wire.ts";
import { deleteStream } from "../../src/runtime/nats.ts";
import { createBatchAgent } from "../support/batches.ts";
import { runProbity } from "../support/command-line.ts";
import { canRunNats } from "../support/nats-server.ts";
import { makeStream, openRollupRig, publishNumbers } from "../support/rollup-rig.ts";

describe.runIf(canRunNats())("rollup status", () => {
  test("says how far each shard is, and how far behind", async () => {
    await using rig = await openRollupRig();
    const status = async () => {
      const words = ["rollup", "status", "--nats", rig.server.url, "--rollup-shards", "2"];
      const bucket = ["--store-url", `file://${join(rig.folder, "bucket")}`];
      const result = await runProbity([...words, ...bucket, "--data", rig.folder]);
      expect(result.code, result.stderr).toBe(0);
      return result.stdout.trim().split("\n").map((line): object => JSON.parse(line));
    };
    expect(await status()).toMatchObject([
      { shard: "0", committedSequence: null, lastSequence: 0, lagMessages: 0, worker: null },
      { shard: "1", committedSequence: null, lastSequence: null, lagMessages: null },
    ]);
    await publishNumbers(rig, createBatchAgent("a"), [1, 2]);
    await rig.once();
    const agent = createBatchAgent("b");
    await publishNumbers(rig, agent, [3]);
    await publishNumbers(rig, agent, [4]);
    const [first] = await status();
    expect(first).toMatchObject({
      committedSequence: 1,
      lastSequence: 3,
      lagMessages: 2,
      isContinued: true,
      agents: 1,
      forks: [],
    });
    await deleteStream(rig.connection, streamOf("0"));
    await makeStream(rig.connection);
    await publishNumbers(rig, createBatchAgent("c"), [5]);
    const [wiped] = await status();
    expect(wiped).toMatchObject({ committedSequence: 1, lagMessages: 1, isContinued: false });
  });

  test("ends in 3 when there is no broker", async () => {
    await using rig = await openRollupRig();
    const { url } = rig.server;
    await rig.server.stop();
    const { code, stderr } = await runProbity([
      ...["rollup", "status", "--nats", url, "--data", rig.folder],
    ]);
    expect(code).toBe(3);
    expect(stderr).toContain("Cannot reach the broker");
  });
});
