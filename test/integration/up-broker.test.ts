import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { dataFolderAt, prepareDataFolder, type Role } from "../../src/cli/up/data-folder.ts";
import type { DataFolder } from "../../src/cli/up/data-folder.ts";
import { inboxPrefixOf } from "../../src/cli/up/broker-permissions.ts";
import { type Broker, openBroker } from "../../src/cli/up/broker.ts";
import { ensureBucket, ensureStream, openBucket, readMessage } from "../../src/runtime/nats.ts";
import { connectNats, type NatsConnection, openStream } from "../../src/runtime/nats.ts";
import { createLog } from "../../src/runtime/log.ts";
import { readStream } from "../../src/runtime/stream-reader.ts";
import { WATERMARK_BUCKET, watermarkKeyOf } from "../../src/event/watermark.ts";
import { openProducer } from "../../src/producer/open-producer.ts";
import { inboxPrefixOf as producerInboxPrefixOf } from "../../src/producer/publisher.ts";
import { ensureAgentName } from "../../src/producer/spool-identity.ts";
import { streamOf, subjectOf } from "../../src/event/wire.ts";
import { canRunNats } from "../support/nats-server.ts";

const log = createLog({ level: "error" });

describe.runIf(canRunNats())("the broker of up", () => {
  let folder: DataFolder;
  let broker: Broker;

  const open = () =>
    openBroker({
      folder,
      account: undefined,
      shards: ["0"],
      environment: process.env,
      log,
      signal: AbortSignal.timeout(30_000),
    });
  const agentOf = (role: Role): Promise<string> => ensureAgentName(folder.spool(role));
  const connectAs = async (role: Role): Promise<NatsConnection> =>
    await connectNats({
      url: broker.url,
      credentialsFile: folder.broker.credentials(role),
      inboxPrefix: role === "agent"
        ? producerInboxPrefixOf(await agentOf(role))
        : inboxPrefixOf(role),
      name: role,
      log,
    });

  beforeEach(async () => {
    folder = dataFolderAt(await mkdtemp(join(tmpdir(), "probity-broker-")));
    prepareDataFolder(folder, undefined);
    broker = await open();
  });
  afterEach(async () => {
    await broker[Symbol.asyncDispose]();
    await rm(folder.path, { recursive: true, force: true });
  });

  it("keeps configuration and keys to itself", async () => {
    const { config, credentials } = folder.broker;
    for (const path of [config, credentials("agent"), credentials("query")]) {
      expect((await stat(path)).mode & 0o777).toBe(0o600);
    }
    expect(await readFile(config, "utf8")).toContain('listen: "127.0.0.1:');
  });

  it("comes back on its port with what it stored when it is killed", async () => {
    await using connection = await connectAs("rollup");
    await ensureStream(connection, streamOptions());
    const pid = broker.process.pid();
    process.kill(pid ?? 0, "SIGKILL");
    await expect.poll(() => broker.process.pid(), { timeout: 10_000 }).not.toBe(pid);
    await expect.poll(
      () => openStream(connection, streamOf("0")).then((stream) => stream?.name, String),
      {
        timeout: 20_000,
      },
    ).toBe(streamOf("0"));
  });

  it("takes the same port at the next start", async () => {
    const { url } = broker;
    await broker[Symbol.asyncDispose]();
    broker = await open();
    expect(broker.url).toBe(url);
  });

  it("refuses a stranger", async () => {
    await expect(connectNats({ url: broker.url, name: "stranger", log })).rejects.toThrow();
  });

  describe("lets each role do what it needs and no more", () => {
    it("rollup makes the stream, reads it and writes watermarks", async () => {
      await using connection = await connectAs("rollup");
      await ensureStream(connection, streamOptions());
      const bucket = await ensureBucket(connection, WATERMARK_BUCKET);
      await bucket.put("0.agent", "{}");
      expect(await bucket.get("0.agent")).toBe("{}");
    });

    it.each<Role>(["agent", "rollup", "query"])("%s puts batches into the log", async (role) => {
      await using owner = await connectAs("rollup");
      await ensureStream(owner, streamOptions());
      await ensureBucket(owner, WATERMARK_BUCKET);
      await using producer = await openProducer({
        directory: folder.spool(role),
        host: "h",
        shard: "0",
        nats: { url: broker.url, credentialsFile: folder.broker.credentials(role) },
        log,
      });
      producer.emit({ timeUs: Date.now() * 1000, topic: "app/test", severity: "info" });
      await producer.flush();
      await expect.poll(() => producer.counters().batchesPublished, { timeout: 10_000 }).toBe(1);
      const stored = await readMessage(owner, { stream: streamOf("0"), sequence: 1 });
      expect(stored?.subject).toBe(subjectOf("0", await agentOf(role)));
    });

    it("agent reads its own watermark, and forges none", async () => {
      await using owner = await connectAs("rollup");
      const agent = await agentOf("agent");
      const written = await ensureBucket(owner, WATERMARK_BUCKET);
      await written.put(watermarkKeyOf("0", agent), "{}");
      await using connection = await connectAs("agent");
      const bucket = await openBucket(connection, WATERMARK_BUCKET);
      expect(await bucket.get(watermarkKeyOf("0", agent))).toBe("{}");
      await expect(bucket.put(watermarkKeyOf("0", agent), "forged")).rejects.toThrow(/permission/i);
      await expect(bucket.get(watermarkKeyOf("0", "other"))).rejects.toThrow(/permission/i);
    });

    it("agent publishes under no other agent's name", async () => {
      await using owner = await connectAs("rollup");
      await ensureStream(owner, streamOptions());
      await using connection = await connectAs("agent");
      const forged = connection.request(subjectOf("0", await agentOf("query")), "x");
      await expect(forged).rejects.toThrow(/permission/i);
    });

    it.each<Role>(["rollup", "query"])("%s reads the stream", async (role) => {
      await using owner = await connectAs("rollup");
      await ensureStream(owner, streamOptions());
      await owner.request(subjectOf("0", await agentOf("rollup")), "x");
      await using reader = await connectAs(role);
      const messages = readStream({ connection: reader, stream: streamOf("0"), fromSequence: 1 });
      for await (const { sequence } of messages) {
        expect(sequence).toBe(1);
        break;
      }
    });

    it("agent neither reads the stream nor listens to what others are answered", async () => {
      await using owner = await connectAs("rollup");
      await ensureStream(owner, streamOptions());
      await using agent = await connectAs("agent");
      await expect(readMessage(agent, { stream: streamOf("0"), sequence: 1 })).rejects.toThrow(
        /permission/i,
      );
      const heard: string[] = [];
      for (const subject of [`${inboxPrefixOf("rollup")}.>`, "$JS.ACK.>", "audit.>"]) {
        agent.subscribe(subject, {
          callback: (error) => void heard.push(error === null ? subject : ""),
        });
      }
      await openStream(owner, streamOf("0"));
      await delay(100);
      expect(heard).toEqual(["", "", ""]);
    });

    it("query cannot purge, and agent cannot delete", async () => {
      await using owner = await connectAs("rollup");
      await ensureStream(owner, streamOptions());
      for (const role of ["query", "agent"] as const) {
        await using connection = await connectAs(role);
        const purge = connection.request(`$JS.API.STREAM.PURGE.${streamOf("0")}`, "");
        await expect(purge).rejects.toThrow(/permission/i);
      }
    });
  });
});

function streamOptions() {
  return { name: streamOf("0"), subjects: [subjectOf("0", "*")], messageBytesMax: 1_000_000 };
}
