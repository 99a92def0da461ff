import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import {
  type CryptoBrokerOptions,
  openCryptoBroker,
  SUBSCRIBERS_MAX,
} from "../../../src/edge-agent/crypto-broker/crypto-broker.ts";
import { tellDurableLines } from "../../../src/edge-agent/crypto-broker/durable-lines.ts";
import { lineFields } from "../../../src/event/event.ts";
import type { EventGroup } from "../../../src/event/crypto/group.ts";
import { type CryptoFact, cryptoFields } from "../../../src/event/crypto/record.ts";
import { createGroupReader } from "../../../src/event/crypto/sequence.ts";
import { createLog } from "../../../src/runtime/log.ts";
import vectors from "../../fixtures/crypto-group.json" with { type: "json" };
import { createRecordingProducer } from "../../support/recording-producer.ts";

const folder = mkdtempSync(join(tmpdir(), "probity-broker-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const opened: { [Symbol.asyncDispose](): PromiseLike<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each[Symbol.asyncDispose]();
});

let sockets = 0;
async function open(more: Partial<CryptoBrokerOptions> = {}) {
  const path = join(folder, `${++sockets}.sock`);
  const said: string[] = [];
  const log = createLog({ level: "info", write: (line) => void said.push(line) });
  const broker = await openCryptoBroker({ path, log, ...more });
  opened.push(broker);
  return { broker, path, said };
}

/** What crypto-auditing's client does: one frame with scopes, then groups until the end. */
async function subscribe(path: string, request: Uint8Array) {
  const socket = connect(path);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  const groups: EventGroup[] = [];
  let held = Buffer.alloc(0);
  socket.on("data", (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]);
    while (held.length >= 4 && held.length >= 4 + held.readUInt32BE()) {
      const end = 4 + held.readUInt32BE();
      const reader = createGroupReader();
      groups.push(...[...reader.push(held.subarray(4, end))].map(({ group }) => group));
      held = held.subarray(end);
    }
  });
  socket.write(request);
  opened.push({ [Symbol.asyncDispose]: () => Promise.resolve(void socket.destroy()) });
  return { socket, groups };
}

/** Also when its last write fails. */
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => socket.closed ? resolve() : void socket.once("close", () => resolve()));

const frame = (payload: string): Buffer => {
  const bytes = Buffer.from(payload, "hex");
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};
const TLS = Buffer.from(vectors.subscribe_tls, "hex");
const EVERYTHING = frame("80");

const line = (fact: CryptoFact, ns = 5n): string =>
  lineFields({
    timeUs: 1_700_000_000_000_000,
    exe: "/usr/bin/curl",
    ...cryptoFields({ context: vectors.context, sinceBootNs: ns, fact }, { origin: "00ff" }),
  });
const datum = (key: string): CryptoFact => ({
  ...{ kind: "data", key },
  datum: { type: "word", value: 29n },
});
const begin: CryptoFact = { kind: "context", parent: vectors.parent };
const LINES = [begin, datum("name"), datum("tls::group"), datum("ssh::rsa_bits"), datum("tlsx::a")]
  .map((fact) => line(fact));

const until = async (isDone: () => boolean): Promise<void> => {
  for (const end = performance.now() + 10_000; !isDone();) {
    if (performance.now() > end) throw new Error("it did not come about in 10 s");
    await delay(5);
  }
};
const keysOf = (groups: readonly EventGroup[]): string[] =>
  groups.flatMap(({ events }) => events.map((each) => each.kind === "data" ? each.key : "begin"));
const subscribed = (said: readonly string[], count = 1) =>
  until(() => said.filter((each) => each.includes('subscriber of crypto events"')).length >= count);

describe("subscribers", () => {
  test("get beginnings, what has no scope, and their own scopes; an empty list is all", async () => {
    const { broker, path, said } = await open();
    const tls = await subscribe(path, TLS);
    const all = await subscribe(path, EVERYTHING);
    await subscribed(said, 2);
    broker.publish([...LINES, `"topic":"app/x","time":"2026-01-01T00:00:00.000000Z"}`]);
    await until(() => all.groups.length === 5 && tls.groups.length === 3);
    expect(keysOf(tls.groups)).toEqual(["begin", "name", "tls::group"]);
    expect(keysOf(all.groups)).toEqual(["begin", "name", "tls::group", "ssh::rsa_bits", "tlsx::a"]);
    expect(tls.groups[0]).toEqual({
      ...{ context: vectors.context, startNs: 5n, endNs: 5n },
      events: [{
        ...{ kind: "context", parent: vectors.parent, origin: "00ff" },
        executable: Buffer.from("curl").toString("hex"),
      }],
    });
    expect(broker.counts).toEqual({ sent: 8, slow: 0, refused: 0 });
  });

  test("may say it byte by byte, and end their side", async () => {
    const { broker, path, said } = await open();
    const { socket, groups } = await subscribe(path, TLS.subarray(0, 1));
    for (const byte of TLS.subarray(1)) socket.write(Uint8Array.of(byte));
    socket.end();
    await subscribed(said);
    broker.publish(LINES);
    await until(() => groups.length === 3);
  });

  test("that leave are forgotten with the next event", async () => {
    const { broker, path, said } = await open();
    const { socket } = await subscribe(path, TLS);
    await subscribed(said);
    expect(broker.hasSubscribers()).toBe(true);
    socket.destroy();
    await closed(socket);
    broker.publish(LINES);
    await until(() => !broker.hasSubscribers());
  });

  test("that leave make room for others where nothing happens", async () => {
    const { broker, path, said } = await open();
    for (let at = 1; at <= SUBSCRIBERS_MAX + 3; at += 1) {
      const { socket } = await subscribe(path, TLS);
      await subscribed(said, at);
      socket.destroy();
      await closed(socket);
    }
    const { socket, groups } = await subscribe(path, TLS);
    socket.end();
    await subscribed(said, SUBSCRIBERS_MAX + 4);
    await subscribe(path, TLS);
    await subscribed(said, SUBSCRIBERS_MAX + 5);
    broker.publish(LINES);
    await until(() => groups.length === 3);
    expect(broker.counts.refused).toBe(0);
  });

  test("that do not read are cut off, counted and logged, and nobody waits for them", async () => {
    const { broker, path, said } = await open({ waitingBytesMax: 64 * 1024 });
    const slow = await subscribe(path, EVERYTHING);
    const quick = await subscribe(path, EVERYTHING);
    await subscribed(said, 2);
    slow.socket.pause();
    const end = closed(slow.socket);
    let published = 0;
    while (broker.counts.slow === 0) {
      broker.publish(LINES);
      published += LINES.length;
      await until(() => quick.groups.length === published);
      if (published > 1_000_000) throw new Error("the slow one is never cut off");
    }
    expect(said.join("\n")).toContain("cut off: it does not read");
    slow.socket.resume();
    await end;
    expect(slow.groups.length).toBeLessThan(published);
    broker.publish(LINES);
    await until(() => quick.groups.length === published + LINES.length);
  });
});

test.for<readonly [name: string, request: Buffer]>([
  ["a length that is huge", Buffer.from("ffffffff", "hex")],
  ["a map", frame("a0")],
  ["a list of numbers", frame("8101")],
  ["two items", frame("8080")],
  ["half an item", frame("82")],
  ["a tag", frame("c180")],
  ["too many scopes", frame("990101" + "6161".repeat(257))],
])("%s is refused, and told", async ([, request]) => {
  const { broker, path, said } = await open();
  const { socket } = await subscribe(path, request);
  await closed(socket);
  expect(broker.counts.refused).toBe(1);
  expect(said.join("\n")).toContain("refused");
  expect(broker.hasSubscribers()).toBe(false);
});

test("who says nothing is refused in time, and so is one too many", async () => {
  const silent = await open({ requestMs: 20 });
  await closed((await subscribe(silent.path, new Uint8Array())).socket);
  expect(silent.broker.counts.refused).toBe(1);
  const { broker, path, said } = await open();
  for (let each = 0; each < SUBSCRIBERS_MAX; each++) await subscribe(path, TLS);
  await subscribed(said, SUBSCRIBERS_MAX);
  await closed((await subscribe(path, TLS)).socket);
  expect(broker.counts.refused).toBe(1);
});

test("a thousand that connect and say half of what they want delay nobody, and fill no log", async () => {
  const { broker, path, said } = await open({ requestMs: 1_000 });
  const early = await subscribe(path, TLS);
  await subscribed(said);
  const half: Awaited<ReturnType<typeof subscribe>>[] = [];
  // The kernel lets so many wait to be accepted.
  for (let time = 0; time < 10; time += 1) {
    const some = Array.from({ length: 100 }, () => subscribe(path, TLS.subarray(0, 6)));
    half.push(...await Promise.all(some));
    await until(() => broker.counts.refused > half.length - SUBSCRIBERS_MAX);
  }
  broker.publish(LINES);
  await until(() => early.groups.length === 3);
  // Those that found room are refused in time, all others at once.
  await Promise.all(half.map(({ socket }) => closed(socket)));
  expect(broker.counts).toMatchObject({ refused: 1_000, slow: 0 });
  expect(broker.subscribers()).toBe(1);
  expect(said.length).toBeLessThan(50);
  const late = await subscribe(path, EVERYTHING);
  await subscribed(said, 2);
  broker.publish(LINES);
  await until(() => late.groups.length === LINES.length && early.groups.length === 6);
});

test("only the agent's user and group reach the socket, and what a dead agent left is replaced", async () => {
  const { broker, path } = await open();
  expect(statSync(path).mode & 0o777).toBe(0o660);
  const log = createLog({ level: "error", write: () => undefined });
  await expect(openCryptoBroker({ path, log })).rejects.toThrow(/another program does/);
  await broker[Symbol.asyncDispose]();
  await expect(openCryptoBroker({ path: join(folder, "no", "x.sock"), log })).rejects.toThrow(
    /Cannot listen on/,
  );
});

test("a socket that is being made changes the rights of no other file", async () => {
  const seen = new Set<number>();
  const path = join(folder, "masked.sock");
  const usual = process.umask();
  let isOpen = false;
  const opening = openCryptoBroker({ path, log: createLog({ level: "error", write: () => {} }) });
  void opening.then((broker) => {
    opened.push(broker);
    isOpen = true;
  });
  for (let turn = 0; !isOpen && turn < 100; turn += 1) {
    seen.add(process.umask());
    await new Promise<void>((resolve) => process.nextTick(resolve));
  }
  await opening;
  expect([...seen]).toEqual([usual]);
});

test("lines are told once they are durable, of the source alone, while somebody listens", () => {
  const { producer, durable } = createRecordingProducer();
  const told: string[] = [];
  let isListening = false;
  let dropped = 0;
  using lines = tellDurableLines({
    ...{ producer, source: "crypto" },
    isWanted: () => isListening,
    onLines: (fields) => void told.push(...fields),
    onDropped: (count) => void (dropped += count),
  });
  const lineOf = (text: string): string => `"topic":"app/${text}"}`;
  const append = (text: string, position: number, name = "crypto") =>
    lines.producer.appendAll({ fields: [lineOf(text)], timesUs: [1] }, {
      mark: { name, position: { ring: "r", position } },
    });
  append("before", 1);
  isListening = true;
  append("a", 2);
  append("other", 2, "process");
  append("b", 3);
  expect(told).toEqual([]);
  durable({ process: { ring: "r", position: 9 } });
  expect(told).toEqual([]);
  durable({ crypto: { ring: "r", position: 2 } });
  expect(told).toEqual([lineOf("a")]);
  durable({ crypto: { ring: "r", position: 2 } });
  durable({ crypto: { ring: "r", position: 5 } });
  expect(told).toEqual(["a", "b"].map(lineOf));
  append("x".repeat(17 * 1024 * 1024), 6);
  expect(dropped).toBe(1);
  expect(lines.producer.host).toBe(producer.host);
});
