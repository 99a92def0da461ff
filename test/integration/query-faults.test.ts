/** The query service while broker, bucket, stream or memory are not what they should be: it says what it cannot see. */
import { cp } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { versionOfDeltaLogKey } from "../../src/storage/layout.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { createBatchAgent } from "../support/batches.ts";
import { canRunNats } from "../support/nats-server.ts";
import { numbersOf, openQueryRig, type RunningQuery, TEST_DAY } from "../support/query-rig.ts";
import { isConnected, makeStream, publishNumbers, range, until } from "../support/rollup-rig.ts";

interface Readiness {
  readonly status: number;
  readonly parts: readonly { readonly name: string; readonly reason: string }[];
}

async function readiness(running: RunningQuery): Promise<Readiness> {
  const answer = await running.ask("/readyz");
  const { parts } = await answer.json();
  return { status: answer.status, parts };
}

const isReady = async (running: RunningQuery): Promise<boolean> =>
  (await readiness(running)).status === 200;

describe.runIf(canRunNats())("the query service", () => {
  test("starts without a broker, answers from the archive, and says so until it is there", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, range(0, 30));
    await rig.once();
    await publishNumbers(rig, agent, range(30, 40));
    await rig.server.stop();
    await using running = await query.start();
    expect(numbersOf(await running.all())).toEqual(range(0, 30));
    const page = await running.client.page(TEST_DAY);
    expect(page.isComplete).toBe(false);
    expect(await readiness(running)).toMatchObject({
      status: 503,
      parts: expect.arrayContaining([expect.objectContaining({ name: "broker" })]),
    });
    await rig.server.start();
    expect(numbersOf(await running.found(40))).toEqual(range(0, 40));
    await until(() => isReady(running));
  });

  test("keeps what it has while the broker is away, and goes on when it is back", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    const agent = createBatchAgent("a");
    await using running = await query.start();
    await publishNumbers(rig, agent, range(0, 20));
    await running.found(20);
    await until(() => isReady(running));
    for (let round = 0; round < 2; round++) {
      await rig.server.kill();
      await until(async () => !await isReady(running));
      expect(numbersOf(await running.all())).toHaveLength(20 + 10 * round);
      expect((await running.client.page(TEST_DAY)).isComplete).toBe(false);
      await rig.server.start();
      await until(() => isReady(running));
      await publishNumbers(rig, agent, range(20 + 10 * round, 30 + 10 * round));
      await running.found(30 + 10 * round);
    }
    expect(numbersOf(await running.all())).toEqual(range(0, 40));
    expect((await running.client.page(TEST_DAY)).isComplete).toBe(true);
  });

  test("keeps what it has while the bucket is away, and says so", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, range(0, 20));
    await rig.once();
    const store = absentStore(rig.store);
    await using running = await query.start({ store });
    await publishNumbers(rig, agent, range(20, 30));
    await running.found(30);
    await until(() => isReady(running));
    store.isAway = true;
    await until(async () => !await isReady(running));
    // Each part looks at the bucket in its own time.
    await until(async () => (await readiness(running)).parts.length === 2);
    expect((await readiness(running)).parts).toEqual([
      { name: "bucket", reason: "it does not answer" },
      { name: "tokens", reason: "those made or revoked elsewhere are not known" },
    ]);
    await publishNumbers(rig, agent, range(30, 40));
    await running.found(40);
    await rig.once();
    expect(numbersOf(await running.all())).toEqual(range(0, 40));
    store.isAway = false;
    await until(() => isReady(running));
    expect(numbersOf(await running.all())).toEqual(range(0, 40));
  });

  test("says which messages it has no room for, and finds them once they are archived", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    const agent = createBatchAgent("a");
    await using running = await query.start({
      hot: { limitBytes: 50_000 },
      nats: { url: rig.server.url },
    });
    for (let number = 0; number < 4_000; number += 100) {
      await publishNumbers(rig, agent, range(number, number + 100));
    }
    await until(async () => (await readiness(running)).status === 503);
    await until(async () =>
      (await readiness(running)).parts.some(({ name, reason }) =>
        name === "hot table" && /messages \d+ to \d+ are not searchable yet/.test(reason)
      )
    );
    const page = await running.client.page(TEST_DAY);
    expect(page.isComplete).toBe(false);
    const held = await running.all();
    expect(held.length).toBeGreaterThan(0);
    expect(held.length).toBeLessThan(4_000);
    expect(numbersOf(held)).toEqual(range(0, held.length));
    // A live tail is not left hanging: it reads on from the archive.
    const end = new AbortController();
    const streamed: number[] = [];
    const reading = (async () => {
      const options = { signal: end.signal };
      for await (
        const item of running.client.tail({ topic: "app/test", since: "2026-06-15" }, options)
      ) {
        if (item.kind === "event") streamed.push(Number(item.event.pid));
      }
    })();
    await rig.once();
    expect(numbersOf(await running.found(4_000))).toEqual(range(0, 4_000));
    await until(() => isReady(running));
    await until(() => Promise.resolve(streamed.length >= 4_000));
    end.abort();
    await reading;
    expect(streamed).toEqual(range(0, 4_000));
  });

  test("reads everything anew when the broker comes back with an empty stream", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, range(0, 10));
    await rig.once();
    await using running = await query.start({ producerDirectory: `${rig.folder}/spool-2` });
    await running.found(10);
    await until(() => isReady(running));
    await publishNumbers(rig, agent, range(10, 20));
    await running.found(20);
    // The broker comes back without anything; the agent sends again what the archive does not hold.
    await rig.server.kill();
    await rig.server.wipe();
    await rig.server.start();
    await until(() => isConnected(rig));
    await makeStream(rig.connection);
    const other = createBatchAgent("a", "e2");
    await publishNumbers(rig, other, range(10, 25));
    expect(numbersOf(await running.found(25)).toSorted((a, b) => a - b)).toEqual(range(0, 25));
    await rig.once({ acceptNewStream: true });
    expect(numbersOf(await running.found(25)).toSorted((a, b) => a - b)).toEqual(range(0, 25));
  });

  test("finds what follows messages that were purged before it knew of their commit", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    const agent = createBatchAgent("a");
    await publishNumbers(rig, agent, range(0, 10));
    await rig.once();
    const store = laggingStore(rig.store, (await rig.snapshot()).version);
    for (const start of [10, 20, 30]) {
      await publishNumbers(rig, agent, range(start, start + 10));
    }
    await rig.once();
    await publishNumbers(rig, agent, range(40, 50));
    await using running = await query.start({ store });
    // It knows the first commit alone, and cannot show what it could not read.
    const isAsIfWhole = async () => (await running.client.page(TEST_DAY)).isComplete;
    expect(numbersOf(await running.found(10))).toEqual(range(0, 10));
    expect(await isAsIfWhole()).toBe(false);
    store.upTo = Infinity;
    expect(numbersOf(await running.found(50))).toEqual(range(0, 50));
    const { events } = await running.client.page({ topic: "agent/gap" });
    expect(events).toEqual([]);
    await until(() => isReady(running));
    expect(await isAsIfWhole()).toBe(true);
  });

  test("forgets what it saw of a tail that the broker lost, even when other messages took its place", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    const [a, b] = [createBatchAgent("a"), createBatchAgent("b")];
    await using running = await query.start();
    await publishNumbers(rig, a, range(0, 10));
    await running.found(10);
    await rig.server.stop();
    const copy = `${rig.folder}/store-copy`;
    await cp(rig.server.storeDirectory, copy, { recursive: true });
    await rig.server.start();
    await until(() => isConnected(rig));
    await publishNumbers(rig, a, range(10, 20));
    await running.found(20);
    await rig.server.stop();
    await rig.server.wipe();
    await cp(copy, rig.server.storeDirectory, { recursive: true });
    await rig.server.start();
    await until(() => isConnected(rig));
    for (const start of [100, 110, 120]) await publishNumbers(rig, b, range(start, start + 10));
    await rig.once();
    const expected = [...range(0, 10), ...range(100, 130)];
    const found = async () => numbersOf(await running.all()).toSorted((x, y) => x - y);
    await until(async () => (await found()).length === expected.length);
    expect(await found()).toEqual(expected);
  });

  test("answers from copies when the bucket is not a folder of this machine", async () => {
    await using query = await openQueryRig();
    const { rig } = query;
    const agent = createBatchAgent("a");
    for (let round = 0; round < 4; round++) {
      await publishNumbers(rig, agent, range(round * 10, round * 10 + 10));
      await rig.once();
    }
    const downloads: string[] = [];
    const store: ObjectStore = {
      ...absentStore(rig.store),
      localPath: () => undefined,
      download: (key, path, options) => {
        downloads.push(key);
        return rig.store.download(key, path, options);
      },
    };
    await using running = await query.start({ store });
    expect(numbersOf(await running.found(40))).toEqual(range(0, 40));
    await running.found(40);
    expect(new Set(downloads).size).toBe(downloads.length);
    expect(downloads.length).toBe(4);
    await running[Symbol.asyncDispose]();
    // The copies are used again by the next process.
    await using next = await query.start({ store });
    await next.found(40);
    expect(downloads.length).toBe(4);
  });
});

/** A store that can be away; data files that lie on this machine stay readable, as copies would. */
function absentStore(store: ObjectStore): ObjectStore & { isAway: boolean } {
  const wrapped: ObjectStore & { isAway: boolean } = {
    isAway: false,
    url: store.url,
    get: (key, options) => wrapped.isAway ? away() : store.get(key, options),
    head: (key, options) => wrapped.isAway ? away() : store.head(key, options),
    async *list(prefix, options) {
      if (wrapped.isAway) await away();
      yield* store.list(prefix, options);
    },
    put: (key, body, options) => store.put(key, body, options),
    putIfAbsent: (key, body, options) => store.putIfAbsent(key, body, options),
    putFileIfAbsent: (key, path, options) => store.putFileIfAbsent(key, path, options),
    replace: (key, body, etag, options) => store.replace(key, body, etag, options),
    delete: (key, options) => store.delete(key, options),
    download: (key, path, options) => store.download(key, path, options),
    localPath: (key) => store.localPath(key),
    verifyConditionalPut: (options) => store.verifyConditionalPut(options),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return wrapped;
}

/** A store that shows the table's log up to a version, as to a reader that looked a while ago. */
function laggingStore(store: ObjectStore, version: number): ObjectStore & { upTo: number } {
  const isHidden = (key: string): boolean => (versionOfDeltaLogKey(key) ?? 0) > wrapped.upTo;
  const wrapped: ObjectStore & { upTo: number } = {
    ...absentStore(store),
    upTo: version,
    get: (key, options) => isHidden(key) ? Promise.resolve(undefined) : store.get(key, options),
    async *list(prefix, options) {
      for await (const each of store.list(prefix, options)) if (!isHidden(each.key)) yield each;
    },
  };
  return wrapped;
}

function away(): Promise<never> {
  return Promise.reject(new Error("Cannot reach the bucket: as asked"));
}
