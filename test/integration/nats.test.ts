import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstream } from "@nats-io/jetstream";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { createLog } from "../../src/runtime/log.ts";
import {
  type ConnectionEvent,
  connectNats,
  createNatsKey,
  deleteStream,
  ensureBucket,
  ensureStream,
  type NatsConnection,
  openBucket,
  openStream,
  purgeStream,
  readMessage,
  watchConnection,
} from "../../src/runtime/nats.ts";
import { parseBrokerTime } from "../../src/runtime/broker-time.ts";
import { readStream, StreamChangedError } from "../../src/runtime/stream-reader.ts";
import { publishStored } from "../../src/runtime/subject-writer.ts";
import type { StreamMessage } from "../../src/runtime/stream-message.ts";
import { canRunNats, type NatsServer, openNatsServer } from "../support/nats-server.ts";

const log = createLog({ level: "error" });
const STREAM = { name: "LOG", subjects: ["log.>"], messageBytesMax: 1_000_000 };

async function connected(server: NatsServer): Promise<NatsConnection> {
  return await connectNats({ url: server.url, name: "test", log });
}

async function publish(connection: NatsConnection, from: number, to: number, sizeBytes = 8) {
  const js = jetstream(connection);
  for (let number = from; number <= to; number++) {
    const payload = new Uint8Array(sizeBytes);
    new DataView(payload.buffer).setUint32(0, number);
    await js.publish(`log.${number % 3}`, payload, { msgID: String(number), timeout: 10_000 });
  }
}

/** The same connection, except that the first delivery of one message never comes. */
function losingDelivery(connection: NatsConnection, sequence: number): NatsConnection {
  let isLost = false;
  const subscribe: NatsConnection["subscribe"] = (subject, options = {}) =>
    connection.subscribe(subject, {
      ...options,
      callback(error, message) {
        const isIt = message.reply?.split(".")[5] === String(sequence);
        if (isIt && !isLost) isLost = true;
        else options.callback?.(error, message);
      },
    });
  return new Proxy(connection, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (name === "subscribe") return subscribe;
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function numberIn(message: StreamMessage): number {
  const { buffer, byteOffset } = message.payload;
  return new DataView(buffer, byteOffset).getUint32(0);
}

async function take(count: number, messages: AsyncIterable<StreamMessage>) {
  const taken: StreamMessage[] = [];
  if (count === 0) return taken;
  for await (const message of messages) {
    taken.push(message);
    if (taken.length === count) break;
  }
  return taken;
}

describe.runIf(canRunNats())("a stream", () => {
  let server: NatsServer;
  let connection: NatsConnection;
  beforeAll(async () => {
    server = await openNatsServer();
    connection = await connected(server);
  });
  afterAll(async () => {
    await connection[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  it("says so when no stream has the subject of what is to be stored", async () => {
    const message = { subject: "nobody.stores", messageId: "1", payload: new Uint8Array(1) };
    await expect(publishStored(connection, message)).rejects.toThrow(
      'Cannot store in "nobody.stores": no stream of the server has this subject',
    );
  });

  it("is made once and keeps its creation text", async () => {
    const made = await ensureStream(connection, STREAM);
    const again = await ensureStream(connection, STREAM);
    expect(again.created).toBe(made.created);
    expect(made.created).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/);
    expect(made.config).toMatchObject({
      retention: "limits",
      discard: "new",
      storage: "file",
      deny_delete: true,
      max_age: 0,
      duplicate_window: 120_000_000_000,
    });
  });

  it("gets another creation text when it is made anew", async () => {
    const before = await ensureStream(connection, {
      ...STREAM,
      name: "OTHER",
      subjects: ["other"],
    });
    await deleteStream(connection, "OTHER");
    await deleteStream(connection, "OTHER");
    expect(await openStream(connection, "OTHER")).toBeUndefined();
    const after = await ensureStream(connection, { ...STREAM, name: "OTHER", subjects: ["other"] });
    expect(after.created).not.toBe(before.created);
  });

  it("is refused when the broker keeps other settings than were asked for", async () => {
    const wanted = { ...STREAM, name: "SHORT", subjects: ["short"] };
    // The server cuts the window down to nothing it can be updated from: storage cannot change.
    await connection.request(
      "$JS.API.STREAM.CREATE.SHORT",
      JSON.stringify({ name: "SHORT", subjects: ["short"], storage: "memory" }),
    );
    await expect(ensureStream(connection, wanted)).rejects.toThrow(/storage|retention|deny/);
  });

  it("gives the same message by sequence and in order, and forgets what was purged", async () => {
    await publish(connection, 1, 20);
    const [first, ...rest] = await take(
      20,
      readStream({ connection, stream: "LOG", fromSequence: 1 }),
    );
    expect(rest.at(-1)?.sequence).toBe(20);
    expect(await readMessage(connection, { stream: "LOG", sequence: 1 })).toEqual(first);
    expect(first?.headers.get("Nats-Msg-Id")).toBe("1");
    expect(Math.abs((first?.storedAtUs ?? 0) - Date.now() * 1000)).toBeLessThan(60_000_000);
    expect(await purgeStream(connection, { stream: "LOG", beforeSequence: 11 })).toBe(10);
    expect(await readMessage(connection, { stream: "LOG", sequence: 10 })).toBeUndefined();
    const left = await take(1, readStream({ connection, stream: "LOG", fromSequence: 1 }));
    expect(left[0]?.sequence).toBe(11);
  });

  it("waits for messages to come, and stops at the signal", async () => {
    const from = (await openStream(connection, "LOG"))?.lastSequence ?? 0;
    const stop = new AbortController();
    const seen: number[] = [];
    const reading = (async () => {
      const { signal } = stop;
      for await (
        const message of readStream({ connection, stream: "LOG", fromSequence: from + 1, signal })
      ) {
        seen.push(numberIn(message));
        if (seen.length === 3) stop.abort();
      }
    })();
    await publish(connection, 101, 103);
    await reading;
    expect(seen).toEqual([101, 102, 103]);
  });

  it("is read within a bound of bytes, whatever the reader's pace", async () => {
    await publish(connection, 200, 239, 900_000);
    const from = ((await openStream(connection, "LOG"))?.lastSequence ?? 0) - 39;
    const before = connection.stats().inBytes;
    let most = 0;
    let taken = 0;
    for await (
      const message of readStream({
        connection,
        stream: "LOG",
        fromSequence: from,
        maxBytes: 4 * 1024 * 1024,
      })
    ) {
      expect(numberIn(message)).toBe(200 + taken);
      taken += 1;
      await new Promise((resolve) => setTimeout(resolve, 10));
      most = Math.max(most, connection.stats().inBytes - before - taken * 900_000);
      if (taken === 40) break;
    }
    expect(most).toBeLessThanOrEqual(4.2 * 1024 * 1024);
  });

  it("is read to its end although the last delivery is lost on its way", async () => {
    const from = (await openStream(connection, "LOG"))?.lastSequence ?? 0;
    await publish(connection, 301, 303);
    const reading = readStream({
      connection: losingDelivery(connection, from + 3),
      stream: "LOG",
      fromSequence: from + 1,
      pullMs: 1_000,
    });
    expect((await take(3, reading)).map(numberIn)).toEqual([301, 302, 303]);
  });
});

describe.runIf(canRunNats())("reading through crashes of the broker", () => {
  it("misses nothing and gives nothing twice over SIGKILLs", async () => {
    await using server = await openNatsServer();
    await using connection = await connected(server);
    await using writer = await connected(server);
    await ensureStream(connection, STREAM);
    const total = 400;
    const writing = (async () => {
      const js = jetstream(writer);
      for (let number = 1; number <= total;) {
        const payload = new Uint8Array(2_000);
        new DataView(payload.buffer).setUint32(0, number);
        try {
          await js.publish("log.0", payload, { msgID: String(number), timeout: 500 });
          number += 1;
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 50)); // the broker is being killed
        }
      }
    })();
    const seen: StreamMessage[] = [];
    let kills = 0;
    let restarts = Promise.resolve();
    for await (const message of readStream({ connection, stream: "LOG", fromSequence: 1 })) {
      seen.push(message);
      if (seen.length === total) break;
      if (seen.length % 100 === 50 && kills < 4) {
        kills += 1;
        restarts = restarts.then(() => server.kill()).then(() => server.start());
      }
    }
    await writing;
    await restarts;
    expect(kills).toBe(4);
    expect(seen.map(numberIn)).toEqual(Array.from({ length: total }, (_, place) => place + 1));
    expect(seen.map(({ sequence }) => sequence)).toEqual(seen.map((_, place) => place + 1));
  });

  it("ends when the stream was made again or lost its tail", async () => {
    await using server = await openNatsServer();
    await using connection = await connected(server);
    await ensureStream(connection, STREAM);
    await publish(connection, 1, 5);
    const reader = readStream({ connection, stream: "LOG", fromSequence: 1 });
    expect((await reader.next()).done).toBe(false);
    for (let more = 0; more < 4; more++) await reader.next();
    const waiting = reader.next();
    await server.kill();
    await server.wipe();
    await server.start();
    await expect(waiting).rejects.toThrow(StreamChangedError);

    await ensureStream(connection, STREAM);
    await publish(connection, 1, 2);
    const late = readStream({ connection, stream: "LOG", fromSequence: 7 });
    await expect(late.next()).rejects.toThrow("it ends at 2");
    const created = "2020-01-01T00:00:00Z";
    const other = readStream({ connection, stream: "LOG", fromSequence: 1, created });
    await expect(other.next()).rejects.toThrow("made again");
  });
});

describe.runIf(canRunNats())("a connection", () => {
  afterEach(() => void vi.useRealTimers());

  it("comes back although the clock was set back meanwhile", async () => {
    await using server = await openNatsServer();
    await using connection = await connected(server);
    const events: ConnectionEvent[] = [];
    watchConnection(connection, (event) => events.push(event));
    await server.kill();
    await expect.poll(() => events).toEqual(["disconnected"]);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 7_200_000 });
    await server.start();
    await expect.poll(() => events, { timeout: 10_000 }).toEqual(["disconnected", "connected"]);
  });
});

describe.runIf(canRunNats())("users and buckets", () => {
  it("let a user in by the seed in a file of mode 0600, and keep it to its subjects", async () => {
    const folder = await mkdtemp(join(tmpdir(), "probity-nats-test-"));
    try {
      const admin = createNatsKey();
      const agent = createNatsKey();
      await using server = await openNatsServer({
        users: [
          { publicKey: admin.publicKey },
          { publicKey: agent.publicKey, publish: ["log.a"], subscribe: ["_INBOX_a.>"] },
        ],
      });
      const asUser = async (seed: string, inboxPrefix?: string) => {
        const credentialsFile = join(folder, "seed");
        await writeFile(credentialsFile, seed, { mode: 0o600 });
        return await connectNats({
          url: server.url,
          name: "test",
          log,
          credentialsFile,
          ...(inboxPrefix === undefined ? {} : { inboxPrefix }),
        });
      };
      await using root = await asUser(admin.seed);
      await ensureStream(root, STREAM);
      await using limited = await asUser(`${agent.seed}\n`, "_INBOX_a");
      await publish(root, 1, 1);
      expect((await jetstream(limited).publish("log.a", "x")).seq).toBe(2);
      await expect(jetstream(limited).publish("log.b", "x", { timeout: 500 })).rejects.toThrow();
      await expect(asUser(createNatsKey().seed)).rejects.toThrow(/Authorization/i);
      await expect(asUser("nonsense")).rejects.toThrow("neither .creds text nor");
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("keep the last text of a key", async () => {
    await using server = await openNatsServer();
    await using connection = await connected(server);
    const bucket = await ensureBucket(connection, "marks");
    await ensureBucket(connection, "marks");
    expect(await bucket.get("a.b")).toBeUndefined();
    await bucket.put("a.b", "one");
    await bucket.put("a.b", "two");
    expect(await (await openBucket(connection, "marks")).get("a.b")).toBe("two");
    await expect((await openBucket(connection, "none")).get("a.b")).rejects.toThrow();
  });

  it("write over a revision only if it is the last", async () => {
    await using server = await openNatsServer();
    await using connection = await connected(server);
    const bucket = await ensureBucket(connection, "marks");
    expect(await bucket.entry("0.a")).toBeUndefined();
    const first = await bucket.update("0.a", "one", 0);
    expect(await bucket.entry("0.a")).toEqual({ text: "one", revision: first });
    expect(await bucket.update("0.a", "late", 0)).toBeUndefined();
    const second = await bucket.update("0.a", "two", Number(first));
    expect(second).toBeGreaterThan(Number(first));
    expect(await bucket.update("0.a", "late", Number(first))).toBeUndefined();
    expect(await bucket.get("0.a")).toBe("two");
  });
});

describe("the broker's time", () => {
  it.each([
    ["2026-03-04T05:06:07Z", 1772600767000000],
    ["2026-03-04T05:06:07.5Z", 1772600767500000],
    ["2026-03-04T05:06:07.123456789Z", 1772600767123456],
    ["2026-03-04T05:06:07.000000999+00:00", 1772600767000000],
  ])("of %s is cut to microseconds", (text, expected) => {
    expect(parseBrokerTime(text)).toBe(expected);
  });
  it("refuses other text", () => {
    expect(() => parseBrokerTime("yesterday")).toThrow(RangeError);
  });
});
