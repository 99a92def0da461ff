/** The relay against a KMS over real WebSockets: what it must not lose, and what it must stand. */
import { generateKeyPairSync, randomBytes, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  KMS_DEFAULTS,
  type KmsSettings,
} from "../../../../../src/edge-agent/sources/applications/kms/kms-settings.ts";
import {
  INQUIRIES_MAX,
  type KmsRelay,
  openKmsRelay,
} from "../../../../../src/edge-agent/sources/applications/kms/relay.ts";
import {
  BATCH_LENGTH_MAX,
  openRowStore,
} from "../../../../../src/edge-agent/sources/applications/kms/row-store.ts";
import type { SignedRow } from "../../../../../src/edge-agent/sources/applications/kms/signatures.ts";
import { systemClock } from "../../../../../src/runtime/clock.ts";
import { createLog } from "../../../../../src/runtime/log.ts";
import { openTestKms, type TestKms } from "../../../../support/kms.ts";

let folder: string;
let kms: TestKms;
const lines: string[] = [];
const room = vi.fn();
const stack: AsyncDisposable[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "probity-kms-"));
  kms = await openTestKms();
});
afterEach(async () => {
  for (const one of stack.splice(0).toReversed()) await one[Symbol.asyncDispose]();
  await kms[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
  lines.length = 0;
  room.mockClear();
});

function openRelay(settings: Partial<KmsSettings> = {}, unsentBytesMax?: number): KmsRelay {
  const relay = openKmsRelay({
    settings: { ...KMS_DEFAULTS, url: kms.url, reconnectIntervalMs: 20, batchSize: 3, ...settings },
    service: "payments",
    path: join(folder, "kms.db"),
    version: "1.2.3",
    ...(unsentBytesMax !== undefined && { unsentBytesMax }),
    onRoom: room,
    clock: systemClock,
    log: createLog({ level: "debug", write: (line) => lines.push(line) }),
  });
  stack.push(relay);
  return relay;
}

const until = (holds: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(holds, { timeout: 10_000 });
const isRegistered = (relay: KmsRelay) =>
  until(() => expect(relay.status().isRegistered).toBe(true));
const all = (): Promise<Awaited<ReturnType<TestKms["inquire"]>>> =>
  kms.inquire(Date.now() - 3_600_000, Date.now() + 1_000);

describe("a relay", () => {
  it("signs each message, has each batch confirmed, and answers inquiries with what was signed", async () => {
    const relay = openRelay();
    await isRegistered(relay);
    const messages = ["one", '{"amount": "12.50"}', "ünïcode ✓ \u0000", "", "five", "six", "seven"];
    relay.record(messages.slice(0, 2));
    relay.record(messages.slice(2));
    await until(() => expect(kms.batches).toHaveLength(2));
    // What fills no batch is in the answer all the same.
    const { rows, total, faults } = await all();
    expect({ total, faults }).toEqual({ total: 3, faults: [] });
    expect(rows.map(({ message }) => message)).toEqual(messages);
    expect(rows.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(kms.registered).toEqual(["payments"]);
    expect(kms.violations).toEqual([]);
  });

  it("answers an inquiry about a range without batches with one message that says so", async () => {
    const relay = openRelay();
    await isRegistered(relay);
    relay.record(["a", "b", "c"]);
    const past = Date.now() - 3_600_000;
    expect(await kms.inquire(past, past + 1)).toEqual({ rows: [], total: 0, faults: [] });
  });

  it("tells of itself when its health is checked", async () => {
    const relay = openRelay();
    await isRegistered(relay);
    relay.record(["a", "b", "c", "d"]);
    expect(await kms.checkHealth()).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      version: "1.2.3",
      current: expect.stringMatching(/Z$/),
      uptime: expect.any(Number),
      eventCountLastHour: 4,
    });
  });

  it("closes a batch that is not full after a while, and sends empty ones only if told to", async () => {
    const quiet = openRelay({ batchIntervalMs: 30 });
    await isRegistered(quiet);
    quiet.record(["only"]);
    await until(() => expect(kms.batches).toHaveLength(1));
    await systemClock.sleep(150);
    expect(kms.batches).toHaveLength(1);
    await quiet[Symbol.asyncDispose]();
    openRelay({ batchIntervalMs: 30, sendsEmptyBatches: true });
    await until(() => expect(kms.batches.length).toBeGreaterThan(2));
    expect((await all()).faults).toEqual([]);
  });

  it("sends pings with the time, and knows how long they take", async () => {
    const relay = openRelay({ pingIntervalMs: 20 });
    await until(() => expect(relay.status().pongMs).toBeTypeOf("number"));
    expect(kms.pings[0]).toMatch(/^\{"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"\}$/);
  });
});

describe("a relay whose KMS fails", () => {
  it("takes messages from its first start on, before there are keys, and signs them then", async () => {
    const { url } = kms;
    await kms[Symbol.asyncDispose]();
    const relay = openRelay();
    relay.record(["a", "b", "c", "d"]);
    await until(() => expect(relay.status().trouble).toContain("ECONNREFUSED"));
    kms = await openTestKms(Number(new URL(url).port));
    await isRegistered(relay);
    const { rows, faults } = await all();
    expect(faults).toEqual([]);
    expect(rows.map(({ message }) => message)).toEqual(["a", "b", "c", "d"]);
  });

  it("takes no more while too much waits for the KMS, and goes on when it is confirmed", async () => {
    kms.nextBatches.push(...Array<"refuse">(5).fill("refuse"));
    const relay = openRelay({}, 100);
    await isRegistered(relay);
    relay.record(["x".repeat(60), "y".repeat(60), "z"]);
    expect(relay.isFull).toBe(true);
    await until(() => expect(room).toHaveBeenCalledTimes(1));
    expect(relay.isFull).toBe(false);
    relay.record(["later"]);
    expect(kms.batches).toHaveLength(1);
    expect((await all()).rows.at(-1)?.message).toBe("later");
  });

  it("sends a batch again that was refused, or whose answer was lost", async () => {
    kms.nextBatches.push("refuse", "silence", "refuse");
    const relay = openRelay({ requestTimeoutMs: 100 });
    await isRegistered(relay);
    relay.record(["a", "b", "c", "d", "e", "f"]);
    await until(() => expect(relay.status().unsentBatches).toBe(0));
    expect(kms.batches).toHaveLength(2);
    const { rows, faults, total } = await all();
    expect({ count: rows.length, faults, total }).toEqual({ count: 6, faults: [], total: 2 });
  });

  it.each([1000, 1001, 1006])("registers anew after a connection ended with %i", async (code) => {
    const relay = openRelay();
    await isRegistered(relay);
    relay.record(["a", "b"]);
    kms.end(code);
    await until(() => expect(kms.registered).toHaveLength(2));
    // The KMS knows of it before the relay does.
    await isRegistered(relay);
    relay.record(["c", "d"]);
    const { rows, faults } = await all();
    expect(faults).toEqual([]);
    expect(rows.map(({ message }) => message)).toEqual(["a", "b", "c", "d"]);
    expect(rows.map(({ sequence }) => sequence)).toEqual([1, 2, 1, 2]);
  });

  it("tries again after a refused registration and one that makes no sense, without telling keys", async () => {
    kms.nextRegistrations.push("refuse", "odd");
    const relay = openRelay();
    await isRegistered(relay);
    expect(lines.join("")).toContain("Sidecar exists");
    expect(lines.join("")).toContain('Cannot read the answer to \\"register\\"');
    expect(lines.join("")).not.toMatch(/[0-9a-f]{64}/i);
  });

  it("answers inquiries one after the other, and refuses those beyond what may wait", async () => {
    const relay = openRelay({ requestTimeoutMs: 300 });
    await isRegistered(relay);
    kms.nextBatches.push("refuse");
    relay.record(["a"]);
    const range = { startTime: new Date(0).toISOString(), endTime: new Date().toISOString() };
    for (let at = 0; at < 40; at += 1) {
      const params = { inquiry: randomUUID(), ...range };
      kms.say(JSON.stringify({ jsonrpc: "2.0", id: String(at), method: "inquiry", params }));
    }
    await until(() => expect(kms.answers).toHaveLength(40 - INQUIRIES_MAX));
    expect(kms.answers[0]).toMatchObject({ id: String(INQUIRIES_MAX), error: { code: -32603 } });
    await until(async () => {
      const answer = await Promise.race([all(), systemClock.sleep(100)]);
      expect(answer?.rows.map(({ message }) => message)).toEqual(["a"]);
    });
  });

  it("stands whatever it sends", async () => {
    const relay = openRelay();
    await isRegistered(relay);
    const hostile = [
      "",
      "no JSON",
      "[]",
      '{"jsonrpc":"2.0"}',
      '{"jsonrpc":"2.0","id":"1","result":{}}',
      '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}',
      '{"jsonrpc":"2.0","id":"2","method":"reboot","params":{}}',
      '{"jsonrpc":"2.0","id":"3","method":"inquiry","params":{"inquiry":"x"}}',
      '{"jsonrpc":"2.0","id":"4","method":"healthcheck","params":{"level":"deep"}}',
      '{"jsonrpc":"2.0","method":"healthcheck","params":{"level":"ping"}}',
    ];
    for (const text of hostile) kms.say(text);
    kms.say(Buffer.from([0xff, 0x00]));
    relay.record(["a", "b", "c"]);
    expect((await all()).rows).toHaveLength(3);
    const codes = kms.answers.map((answer) => Object(answer).error?.code);
    expect(codes).toEqual([-32700, -32700, -32600, -32601, -32602, -32602, -32600, -32700]);
    expect(relay.status().isRegistered).toBe(true);
  });
});

describe("a relay whose disk fails", () => {
  it("goes on when it can: nothing is thrown at the agent, and nothing is lost", async () => {
    const relay = openRelay({ batchIntervalMs: 20 });
    await isRegistered(relay);
    const other = new DatabaseSync(join(folder, "kms.db"));
    relay.record(["a"]);
    other.exec("ALTER TABLE batch RENAME TO away");
    void kms.checkHealth();
    await until(() => expect(lines.join("")).toContain("Cannot put messages together"));
    await until(() => expect(lines.join("")).toContain("Could not answer the KMS"));
    // They are on disk: who sent them may forget them.
    relay.record(["b", "c", "d"]);
    kms.nextBatches.push("refuse", "refuse", "refuse");
    other.exec("ALTER TABLE away RENAME TO batch");
    await until(() => expect(relay.status().trouble).toContain("Not now"));
    other.exec("ALTER TABLE batch RENAME TO away");
    await until(() => expect(relay.status().trouble).toContain("no such table"));
    other.exec("ALTER TABLE away RENAME TO batch");
    other.close();
    await isRegistered(relay);
    const { rows, faults } = await all();
    expect(faults).toEqual([]);
    expect(rows.map(({ message }) => message)).toEqual(["a", "b", "c", "d"]);
  });

  it("counts what waits alike before and after a start, and makes no batch of any length", () => {
    const path = join(folder, "rows.db");
    const keys = { rowKey: randomBytes(32), batchKey: batchKey() };
    const store = openRowStore(path, "payments");
    for (const keyId of ["one", "two", "three"]) store.adopt({ keyId, ...keys });
    const long = `😀\u0000${"x".repeat(0.7 * BATCH_LENGTH_MAX)}`;
    store.add(["a\u0000b", long, long, "käse"], 1);
    const waiting = store.unsentBytes;
    store[Symbol.dispose]();
    using again = openRowStore(path, "payments");
    expect([again.unsentBytes, again.keyId]).toEqual([waiting, "three"]);
    while (again.waitingRows > 0) again.makeBatch(64, 1);
    expect(again.unsentBatches).toBe(2);
    for (let batch = again.firstUnsent(); batch !== undefined; batch = again.firstUnsent()) {
      again.confirm(batch.id);
    }
    expect([again.unsentBatches, again.unsentBytes]).toEqual([0, 0]);
    using database = new DatabaseSync(path);
    expect(database.prepare("SELECT key_id FROM keys").all()).toEqual([{ key_id: "three" }]);
  });
});

it("a store signs each message that waited for keys once, in order, however many they are", () => {
  using store = openRowStore(join(folder, "rows.db"), "payments");
  const messages = Array.from({ length: 100 }, (_, number) => `message ${number}`);
  store.add(messages, 1);
  store.adopt({ keyId: "one", rowKey: randomBytes(32), batchKey: batchKey() });
  store.makeBatch(1_000, 1);
  const signed: readonly SignedRow[] = JSON.parse(
    store.batchData(store.firstUnsent()?.id ?? "") ?? "[]",
  );
  expect(signed.map(({ row }) => row.message)).toEqual(messages);
  expect(signed.map(({ row }) => row.sequence)).toEqual(messages.map((_, number) => number + 1));
  expect(signed.every(({ signature }) => /^[0-9a-f]{32}$/.test(signature))).toBe(true);
});

/** A seed of Ed25519 with its public key, as a KMS gives it. */
function batchKey(): Buffer {
  const jwk = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  return Buffer.concat([jwk.d, jwk.x].map((part) => Buffer.from(part ?? "", "base64url")));
}

describe("a relay that starts again", () => {
  it("has its keys, its messages and its batches", async () => {
    const before = openRelay();
    await isRegistered(before);
    before.record(["a", "b", "c", "d"]);
    await until(() => expect(kms.batches).toHaveLength(1));
    kms.nextBatches.push("refuse");
    before.record(["e", "f"]);
    await before[Symbol.asyncDispose]();
    const after = openRelay();
    // The keys of before sign what comes before the next registration.
    after.record(["g"]);
    await isRegistered(after);
    const { rows, faults } = await all();
    expect(faults).toEqual([]);
    expect(rows.map(({ message }) => message)).toEqual(["a", "b", "c", "d", "e", "f", "g"]);
    expect(rows.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(new Set(kms.batches).size).toBe(kms.batches.length);
    expect(statSync(join(folder, "kms.db")).mode & 0o777).toBe(0o600);
  });
});
