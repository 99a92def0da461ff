import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { commitSubjectOf, streamOf } from "../../src/event/wire.ts";
import { parseSegment } from "../../src/pipeline/segment.ts";
import { createMetrics } from "../../src/runtime/metrics.ts";
import { deleteStream, openStream } from "../../src/runtime/nats.ts";
import { readState } from "../../src/storage/state-object.ts";
import { createBatchAgent, numberedEvent, publishAll } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import { openRollupRig, publishNumbers, range, until, watermarkOf } from "../support/rollup-rig.ts";
import { unreliable } from "../support/unreliable-store.ts";

describe.runIf(canRunNats())("one run over what is there", () => {
  test("commits all of it, with evidence, state, watermarks and news, and truncates", async () => {
    await using rig = await openRollupRig();
    const news = rig.connection.subscribe(commitSubjectOf("0"), { max: 1 });
    const [a, b] = [createBatchAgent("a"), createBatchAgent("b")];
    await publishNumbers(rig, a, range(0, 10));
    await publishNumbers(rig, b, range(10, 15));
    const [last] = await publishNumbers(rig, a, range(15, 20));
    expect(await rig.once()).toEqual({ commits: 1, messages: 3, rows: 20, sequence: 3 });
    expect(await rig.numbers()).toEqual(range(0, 20));

    const { shards, version, files } = await rig.snapshot();
    const position = shards.get("0");
    expect(position).toMatchObject({ sequence: last, version });
    const state = await readState(rig.store, String(position?.state));
    expect(state.agents["a"]?.epochs["e1"]?.number).toBe(2);
    expect([...files.values()].map(({ rows }) => rows)).toEqual([20]);

    const [segment] = await Array.fromAsync(rig.store.list("evidence/"));
    const stored = await rig.store.get(String(segment?.key));
    expect(parseSegment(stored?.body ?? new Uint8Array()).messages).toHaveLength(3);

    expect(await watermarkOf(rig, "a")).toMatchObject({ sequence: 3, epoch: "e1", number: 2 });
    expect(await watermarkOf(rig, "b")).toMatchObject({ sequence: 3, epoch: "e1", number: 1 });
    for await (const message of news) expect(message.string()).toBe(String(version));
    expect(await openStream(rig.connection, streamOf("0")))
      .toMatchObject({ firstSequence: 3, lastSequence: 3 });
  });

  test("does nothing the second time, and goes on where it was the third", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, [1]);
    await rig.once();
    const before = (await rig.snapshot()).version;
    expect(await rig.once()).toEqual({ commits: 0, messages: 0, rows: 0, sequence: 1 });
    expect((await rig.snapshot()).version).toBe(before);
    await publishNumbers(rig, agent, [2]);
    expect(await rig.once()).toMatchObject({ commits: 1, sequence: 2 });
    expect(await rig.numbers()).toEqual([1, 2]);
  });

  test("of an empty stream, or none, commits nothing", async () => {
    await using rig = await openRollupRig();
    expect(await rig.once()).toMatchObject({ commits: 0, sequence: 0 });
    await deleteStream(rig.connection, streamOf("0"));
    expect(await rig.once()).toMatchObject({ commits: 0, sequence: 0 });
    expect(await openStream(rig.connection, streamOf("0"))).toBeDefined();
  });

  test("makes as many rounds as the size of a segment asks for", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    for (const number of range(0, 12)) {
      await publishNumbers(rig, agent, range(number * 50, number * 50 + 50));
    }
    const { commits, rows } = await rig.once({ segmentMaxBytes: 12_000 });
    expect(commits).toBeGreaterThan(3);
    expect(rows).toBe(600);
    expect(await rig.numbers()).toEqual(range(0, 600));
  });

  test("collects the next round while one is committed", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    for (const number of range(0, 3)) await publishNumbers(rig, agent, [number]);
    const store = unreliable(rig.store);
    let laidDown: readonly string[] = [];
    store.beforePut = async (key) => {
      if (!key.endsWith("1.json") || laidDown.length > 0) return;
      await until(async () => {
        const paths = await readdir(join(rig.folder, "scratch"), { recursive: true });
        laidDown = paths.map((path) => basename(path)).filter((name) => name.endsWith(".zst"));
        return laidDown.length > 1;
      }, 10_000);
    };
    expect(await rig.once({ store, segmentMaxBytes: 1 })).toMatchObject({ commits: 3, rows: 3 });
    expect(laidDown.toSorted()).toEqual(["1.ndjson.zst", "2.ndjson.zst"]);
    expect(await rig.numbers()).toEqual(range(0, 3));
  });

  test("twice at the same time doubles nothing, in one process or as two", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    await using one = await rig.open({ segmentMaxBytes: 4_000 });
    await using two = await rig.open({ segmentMaxBytes: 6_000 });
    for (const round of range(0, 3)) {
      for (const number of range(round * 10, round * 10 + 10)) {
        await publishNumbers(rig, agent, range(number * 20, number * 20 + 20));
      }
      await Promise.all([one.runOnce(), two.runOnce(), one.runOnce()]);
      expect(await rig.numbers()).toEqual(range(0, (round + 1) * 200));
    }
    const ids = await rig.query("SELECT count(*) AS n, count(DISTINCT id) AS d FROM events");
    expect(ids).toEqual([{ n: 600, d: 600 }]);
  });

  test("brings bad batches to quarantine with their reasons, and their neighbours to the table", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    const good = await agent.batch([numberedEvent(1)]);
    const wrong = { ...await agent.batch([numberedEvent(2)]), payload: new Uint8Array([1, 2]) };
    const spoiled = createBatchAgent("b").raw(new Uint8Array([9, 9, 9]), { count: 4 });
    const liar = await createBatchAgent("c").lines("{}\n", { count: 1 });
    await publishAll(rig.connection, [good, wrong, spoiled, liar]);
    const metrics = createMetrics();
    await using rollup = await rig.open({ metrics });
    expect(await rollup.runOnce()).toMatchObject({ commits: 1, messages: 4, rows: 3 });
    const found = await rig.query("SELECT seq, topic FROM events ORDER BY seq");
    expect(found).toEqual([
      { seq: 1, topic: "app/test" },
      { seq: 3, topic: "agent/gap" },
      { seq: 4, topic: "agent/gap" },
    ]);
    const keys = (await Array.fromAsync(rig.store.list("quarantine/"))).map(({ key }) => key);
    expect(keys.map((key) => key.replace(/^quarantine\/[0-9a-f]{8}\//, "")))
      .toEqual(["2", "2.json", "3", "3.json", "4", "4.json"]);
    const note = await rig.store.get(keys.find((key) => key.endsWith("2.json")) ?? "");
    expect(JSON.parse(new TextDecoder().decode(note?.body))).toMatchObject({
      sequence: 2,
      agent: "a",
      verdict: "refused",
      reason: "the digest is not the payload's",
    });
    expect((await rig.store.get(keys.find((key) => key.endsWith("/3")) ?? ""))?.body)
      .toEqual(Buffer.from([9, 9, 9]));
    const text = await metrics.text();
    expect(text).toContain('probity_rollup_refused_total{shard="0"} 1');
    expect(text).toContain('probity_rollup_unreadable_total{shard="0"} 2');
    expect(text).toContain('probity_rollup_lag_messages{shard="0"} 0');
    const document = await readFile(new URL("../../docs/operations.md", import.meta.url), "utf8");
    const named = [...document.matchAll(/^\| `(probity_rollup_[a-z_]+)`/gm)].map(([, name]) =>
      name
    );
    const given = [...text.matchAll(/^# TYPE (probity_rollup_[a-z_]+)/gm)].map(([, name]) => name);
    expect(named.toSorted()).toEqual(given.toSorted());
  });

  test("leaves nothing in its scratch folder", async () => {
    await using rig = await openRollupRig();
    await publishNumbers(rig, createBatchAgent("a"), [1]);
    await rig.once();
    expect(await readdir(join(rig.folder, "scratch"))).toEqual([]);
  });

  test("leaves nothing of a round that was collected while the one before it failed", async () => {
    await using rig = await openRollupRig();
    const agent = createBatchAgent("a");
    for (const number of [1, 2, 3]) await publishNumbers(rig, agent, [number]);
    const store = unreliable(rig.store);
    const collected = Promise.withResolvers<void>();
    store.putFileIfAbsent = async (key, path, options) => {
      if (!key.startsWith("table/")) return await rig.store.putFileIfAbsent(key, path, options);
      await collected.promise;
      throw new RangeError("as asked");
    };
    await using rollup = await rig.open({ store, segmentMaxBytes: 1 });
    const scratch = join(rig.folder, "scratch");
    const folders = async () => {
      const [own = ""] = await readdir(scratch);
      const paths = await readdir(join(scratch, own), { recursive: true });
      return paths.filter((path) => basename(path) === "evidence.segment");
    };
    const running = rollup.runOnce();
    void Promise.allSettled([running]);
    await expect.poll(folders, { timeout: 20_000 }).toHaveLength(2);
    collected.resolve();
    await expect(running).rejects.toThrow("as asked");
    expect(await folders()).toEqual([]);
  });

  test("stops when it is told to", async () => {
    await using rig = await openRollupRig();
    await publishNumbers(rig, createBatchAgent("a"), [1]);
    await using rollup = await rig.open();
    await expect(rollup.runOnce(AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
    expect((await rig.snapshot()).version).toBe(-1);
  });
});
