/** A producer against a real broker that crashes, forgets and is away. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lineFields } from "../../src/event/event.ts";
import { openProducer, type OpenProducerOptions } from "../../src/producer/open-producer.ts";
import type { Producer, RingPositions } from "../../src/producer/producer.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import { streamOf } from "../../src/event/wire.ts";
import {
  connectNats,
  createNatsKey,
  type NatsConnection,
  openStream,
} from "../../src/runtime/nats.ts";
import { producerPermissions } from "../../src/producer/publisher.ts";
import { ensureAgentName } from "../../src/producer/spool-identity.ts";
import { canRunNats, type NatsServer, openNatsServer } from "../support/nats-server.ts";
import { createRollUpStandIn, type RollUpStandIn } from "../support/roll-up-stand-in.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";

const log = createLog({ level: process.env["DEBUG"] === undefined ? "error" : "debug" });
const quiet = createLog({ level: "error", write: () => undefined });

function emit(producer: Producer, from: number, to: number): void {
  for (let number = from; number <= to; number++) {
    const timeUs = Date.now() * 1000;
    producer.append(
      lineFields({ timeUs, topic: "app/test", severity: "info", detail: { number } }),
      timeUs,
    );
  }
}

function numbersOf(lines: readonly Record<string, unknown>[]): number[] {
  return lines.flatMap(({ topic, detail }) =>
    topic === "app/test" && typeof detail === "object" && detail !== null && "number" in detail
      ? [Number(detail.number)]
      : []
  );
}

const range = (to: number): number[] => Array.from({ length: to }, (_, place) => place + 1);

async function until(isDone: () => boolean | Promise<boolean>, limitMs = 30_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!await isDone()) {
    if (performance.now() > end) throw new Error(`not within ${limitMs} ms: ${isDone}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Rounds until the spool is empty. */
async function settle(producer: Producer, rollUp: RollUpStandIn, isPurging = false): Promise<void> {
  await producer.flush();
  await until(async () => {
    await Promise.allSettled([rollUp.round({ isPurging })]);
    return producer.counters().spoolBatches === 0;
  }, 60_000);
}

describe.runIf(canRunNats())("a producer", () => {
  let folder: TemporaryFolder;
  let server: NatsServer;
  let connection: NatsConnection;
  let rollUp: RollUpStandIn;
  let spools = 0;
  beforeAll(async () => {
    folder = await openTemporaryFolder("producer");
    server = await openNatsServer();
    connection = await connectNats({ url: server.url, name: "test", log: quiet });
    rollUp = await createRollUpStandIn(connection, "0");
  });
  afterAll(async () => {
    await connection[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });
  const open = (more: Partial<OpenProducerOptions> = {}): Promise<Producer> => {
    spools += 1;
    const directory = join(folder.path, `spool-${spools}`);
    const nats = { url: server.url };
    return openProducer({ directory, host: "web-1", shard: "0", nats, flushMs: 20, log, ...more });
  };
  it("brings events into the record once and in order, and empties its spool", async () => {
    await using producer = await open();
    for (let number = 1; number <= 5_000; number += 100) {
      emit(producer, number, number + 99);
      await producer.flush();
    }
    await settle(producer, rollUp, true);
    expect(numbersOf(await rollUp.lines(producer.agent))).toEqual(range(5_000));
    const { batchesClosed, batchesReleased, batchesResent } = producer.counters();
    expect(batchesReleased).toBe(batchesClosed);
    expect(batchesResent).toBe(0);
    const mine = rollUp.accepted.filter(({ header }) => header.agent === producer.agent);
    expect(new Set(mine.map(({ header }) => header.host))).toEqual(new Set(["web-1"]));
  });

  it("keeps in its spool what a full stream refuses, until there is room", async () => {
    const streamBytesMax = 100_000;
    const small = await createRollUpStandIn(connection, "1", { streamBytesMax });
    const warnings: string[] = [];
    const warned = createLog({ level: "warn", write: (line) => warnings.push(line) });
    await using producer = await open({ shard: "1", log: warned });
    for (let number = 1; number <= 20; number++) {
      // About 10 kB each when compressed.
      const noise = Buffer.from(crypto.getRandomValues(new Uint8Array(10_000))).toString("hex");
      const timeUs = Date.now() * 1000;
      const detail = { number, noise };
      producer.append(
        lineFields({ timeUs, topic: "app/test", severity: "info", detail }),
        timeUs,
      );
      await producer.flush();
    }
    await until(() => warnings.some((line) => line.includes("maximum bytes exceeded")));
    const full = await openStream(connection, streamOf("1"));
    expect(full?.firstSequence).toBe(1);
    expect(full?.sizeBytes).toBeLessThanOrEqual(streamBytesMax);
    const { batchesPublished, spoolBatches } = producer.counters();
    expect(batchesPublished).toBe(full?.messages);
    expect(batchesPublished).toBeLessThan(10);
    expect(spoolBatches).toBe(20);
    await settle(producer, small, true);
    expect(numbersOf(await small.lines(producer.agent))).toEqual(range(20));
    expect(small).toMatchObject({ gaps: [], duplicates: 0 });
    expect(producer.counters()).toMatchObject({ batchesResent: 0, eventsLost: 0 });
  });

  it("tells of marks only once they are on disk, also of marks alone", async () => {
    await using producer = await open();
    const seen: RingPositions[] = [];
    const end = producer.onDurable((positions) => seen.push(positions));
    emit(producer, 1, 3);
    producer.mark("process", { ring: "r", position: 64 });
    expect(seen).toEqual([]);
    await producer.flush();
    expect(seen).toEqual([{ process: { ring: "r", position: 64 } }]);
    expect(producer.positions).toEqual(seen[0]);
    producer.mark("process", { ring: "r", position: 128 });
    await until(() => seen.length === 2);
    expect(producer.counters().batchesClosed).toBe(1);
    end();
    producer.mark("process", { ring: "r", position: 192 });
    await producer.flush();
    expect(seen.length).toBe(2);
  });

  it("goes on publishing after all its messages were purged", async () => {
    await using producer = await open();
    for (let round = 0; round < 5; round++) {
      emit(producer, round * 10 + 1, round * 10 + 10);
      await settle(producer, rollUp, true);
      // Another's message takes the place that truncation keeps.
      await using other = await open();
      emit(other, 1_000, 1_000);
      await settle(other, rollUp, true);
    }
    expect(numbersOf(await rollUp.lines(producer.agent))).toEqual(range(50));
  });

  it("hears of the record also after its clock was set back", async () => {
    let backUs = 0;
    const clock = { ...systemClock, nowUs: () => systemClock.nowUs() - backUs };
    await using producer = await open({ clock });
    emit(producer, 1, 10);
    await settle(producer, rollUp);
    backUs = 3_600e6;
    emit(producer, 11, 20);
    await settle(producer, rollUp);
    expect(numbersOf(await rollUp.lines(producer.agent))).toEqual(range(20));
  });

  it("spools without a broker, and publishes once there is one", async () => {
    await server.kill();
    const directory = join(folder.path, "away");
    {
      await using producer = await open({ directory });
      emit(producer, 1, 100);
      await producer.flush();
      expect(producer.counters()).toMatchObject({ batchesPublished: 0, spoolBatches: 1 });
    }
    await using producer = await open({ directory });
    emit(producer, 101, 200);
    await producer.flush();
    await server.start();
    await settle(producer, rollUp);
    expect(numbersOf(await rollUp.lines(producer.agent))).toEqual(range(200));
  });

  it("loses and doubles nothing while the broker is killed again and again", async () => {
    await using producer = await open({ flushMs: 5 });
    let isDone = false;
    const killing = (async () => {
      for (let kill = 0; kill < 6; kill++) {
        await new Promise((resolve) => setTimeout(resolve, 150 + 50 * kill));
        await server.kill();
        await server.start();
      }
      isDone = true;
    })();
    let number = 0;
    while (!isDone) {
      emit(producer, number + 1, number + 50);
      number += 50;
      await producer.flush();
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
    await killing;
    await settle(producer, rollUp);
    expect(numbersOf(await rollUp.lines(producer.agent))).toEqual(range(number));
    expect(rollUp.gaps).toEqual([]);
  });

  it("sends again what the broker lost with all its storage, while it runs", async () => {
    await using producer = await open();
    emit(producer, 1, 100);
    await settle(producer, rollUp);
    emit(producer, 101, 200);
    await producer.flush();
    await until(() => producer.counters().batchesPublished >= 2);
    // The second batch is in the stream and in no record when all of it is gone.
    await server.kill();
    await server.wipe();
    await server.start();
    emit(producer, 201, 300);
    await settle(producer, rollUp);
    expect(numbersOf(await rollUp.lines(producer.agent))).toEqual(range(300));
    expect(producer.counters().batchesResent).toBeGreaterThan(0);
  });

  it("goes on in a new epoch, and says so, when its disk was copied and the copy ran first", async () => {
    const directory = join(folder.path, "original");
    const copy = join(folder.path, "copy");
    let agent = "";
    const runOnce = async (at: string, from: number, to: number): Promise<void> => {
      await using producer = await open({ directory: at });
      agent = producer.agent;
      emit(producer, from, to);
      await settle(producer, rollUp);
    };
    const gapsBefore = rollUp.gaps.length;
    await runOnce(directory, 1, 10);
    await cp(directory, copy, { recursive: true });
    await runOnce(copy, 11, 20);
    await runOnce(directory, 21, 30);
    const lines = await rollUp.lines(agent);
    expect(numbersOf(lines)).toEqual(range(30));
    expect(lines.filter(({ topic }) => topic === "agent/gap")).toMatchObject([
      { detail: { class: "epoch", count: null, reason: expect.stringContaining("the record") } },
    ]);
    expect(rollUp.gaps.slice(gapsBefore)).toEqual(["epoch"]);
  });

  it("refuses a spool that another producer has open", async () => {
    const directory = join(folder.path, "twice");
    await using first = await open({ directory });
    await expect(open({ directory })).rejects.toThrow("another process uses it");
    expect(first.agent).toBe(await ensureAgentName(directory));
  });

  it("tells of a line that no message can hold", async () => {
    await using producer = await open();
    producer.append(`"text":"${"x".repeat(5_000_000)}"}`, Date.now() * 1000);
    emit(producer, 1, 1);
    await settle(producer, rollUp);
    const lines = await rollUp.lines(producer.agent);
    expect(numbersOf(lines)).toEqual([1]);
    expect(lines.filter(({ topic }) => topic === "agent/gap")).toMatchObject([
      { severity: "high", detail: { class: "line_too_large", count: 1 } },
    ]);
    expect(producer.counters().eventsLost).toBe(1);
  });
});

describe.runIf(canRunNats())("a producer's own key", () => {
  it("is enough to publish, to read its watermark and to follow the stream, and for nothing else", async () => {
    await using folder = await openTemporaryFolder("producer-key");
    const directory = join(folder.path, "spool");
    const agent = await ensureAgentName(directory);
    const admin = createNatsKey();
    const own = createNatsKey();
    await using server = await openNatsServer({
      users: [
        { publicKey: admin.publicKey },
        { publicKey: own.publicKey, ...producerPermissions({ shard: "0", agent }) },
      ],
    });
    const adminFile = join(folder.path, "admin");
    const ownFile = join(folder.path, "own");
    await writeFile(adminFile, admin.seed, { mode: 0o600 });
    await writeFile(ownFile, own.seed, { mode: 0o600 });
    await using connection = await connectNats({
      url: server.url,
      name: "admin",
      log: quiet,
      credentialsFile: adminFile,
    });
    const rollUp = await createRollUpStandIn(connection, "0");
    await using producer = await openProducer({
      directory,
      host: "web-1",
      shard: "0",
      nats: { url: server.url, credentialsFile: ownFile },
      flushMs: 20,
      log,
    });
    emit(producer, 1, 10);
    await settle(producer, rollUp, true);
    emit(producer, 11, 20);
    await settle(producer, rollUp, true);
    expect(numbersOf(await rollUp.lines(producer.agent))).toEqual(range(20));
  });
});
