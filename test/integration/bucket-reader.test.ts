import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { describe, expect, it } from "vitest";
import { readBucket } from "../../src/runtime/bucket-reader.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";
import {
  connectNats,
  createNatsKey,
  ensureBucket,
  type NatsConnection,
  openStream,
} from "../../src/runtime/nats.ts";
import { StreamChangedError } from "../../src/runtime/stream-reader.ts";
import { canRunNats, type NatsServer, openNatsServer } from "../support/nats-server.ts";

const log = createLog({ level: "error" });

async function connected(server: NatsServer): Promise<NatsConnection> {
  return await connectNats({ url: server.url, name: "test", log });
}

describe.runIf(canRunNats())("a bucket", () => {
  const MARKS = {
    bucket: "marks",
    filter: "0.*",
    clock: systemClock,
    signal: new AbortController().signal,
  };

  it("is read whole, with revisions and what was deleted, by a filter of keys", async () => {
    await using server = await openNatsServer();
    await using connection = await connected(server);
    const bucket = await ensureBucket(connection, "marks");
    expect(await readBucket(connection, MARKS)).toEqual(new Map());
    for (const key of ["0.a", "0.b", "0.c", "1.c"]) await bucket.put(key, `one ${key}`);
    await bucket.put("0.b", "two");
    await (await new Kvm(connection).open("marks")).delete("0.c");
    expect(await readBucket(connection, MARKS)).toEqual(
      new Map([
        ["0.a", { text: "one 0.a", revision: 1 }],
        ["0.b", { text: "two", revision: 5 }],
        ["0.c", { text: undefined, revision: 6 }],
      ]),
    );
    await expect(readBucket(connection, { ...MARKS, signal: AbortSignal.abort(new Error("stop")) }))
      .rejects.toThrow("stop");
    await expect(readBucket(connection, { ...MARKS, bucket: "none" })).rejects.toThrow(
      StreamChangedError,
    );
  });

  it("is read whole where the message at its last sequence is gone", async () => {
    await using server = await openNatsServer();
    await using connection = await connected(server);
    const { streams } = await jetstreamManager(connection);
    await streams.add({ name: "KV_marks", subjects: ["$KV.marks.>"], max_msgs_per_subject: 1 });
    for (const key of ["0.a", "0.b"]) await jetstream(connection).publish(`$KV.marks.${key}`, key);
    // As when a broker lost, with its tail, the message that had replaced this one.
    await streams.deleteMessage("KV_marks", 2);
    expect((await openStream(connection, "KV_marks"))?.lastSequence).toBe(2);
    expect([...await readBucket(connection, MARKS)])
      .toEqual([["0.a", { text: "0.a", revision: 1 }]]);
  });

  it("is not waited for longer than the limit", async () => {
    const { publicKey, seed } = createNatsKey();
    // All that a reader needs but the messages themselves.
    const publish = ["STREAM.INFO", "CONSUMER.CREATE", "CONSUMER.DELETE"]
      .map((action) => `$JS.API.${action}.>`);
    const folder = await mkdtemp(join(tmpdir(), "probity-nats-"));
    const credentialsFile = join(folder, "credentials");
    await writeFile(credentialsFile, seed, { mode: 0o600 });
    const owner = createNatsKey();
    const ownerFile = join(folder, "owner");
    await writeFile(ownerFile, owner.seed, { mode: 0o600 });
    await using server = await openNatsServer({
      users: [{ publicKey, publish }, { publicKey: owner.publicKey }],
    });
    const options = { url: server.url, name: "test", log };
    await using owning = await connectNats({ ...options, credentialsFile: ownerFile });
    await (await ensureBucket(owning, "marks")).put("0.a", "one");
    await using connection = await connectNats({ ...options, credentialsFile });
    const clock = {
      ...systemClock,
      sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(ms / 100, signal),
    };
    await expect(readBucket(connection, { ...MARKS, clock }))
      .rejects.toThrow('Cannot read bucket "marks": nothing came for 30000 ms');
    await rm(folder, { recursive: true });
  });
});
