/** Senders that cost as much as they can: what they may make the agent hold, and whom they may harm. */
import { once } from "node:events";
import type { Socket } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it, vi } from "vitest";
import { createMessageLines } from "../../../../src/edge-agent/sources/applications/message-lines.ts";
import { CONNECTIONS_OF_USER_MAX } from "../../../../src/edge-agent/sources/applications/stream-listener.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import {
  connectTo,
  endOf,
  frame,
  lookupOf,
  openApplicationRig,
  TCP,
} from "../../../support/application-rig.ts";
import { runSource, type SourceRun } from "../../../support/source-run.ts";

const MIB = 1024 * 1024;

/** How many lines there are when no more come. */
async function standstill({ lines }: SourceRun): Promise<number> {
  for (let before = -1; before !== lines.length;) {
    before = lines.length;
    await systemClock.sleep(100);
  }
  return lines.length;
}

describe("a sender that reads no answers", () => {
  it("is soon read no further, and keeps no agent from stopping", async () => {
    const rig = await openApplicationRig({ socket: "a.sock" });
    const run = runSource(rig.source);
    const socket = await connectTo(rig.socket);
    socket.on("error", () => undefined);
    socket.pause();
    const count = 60_000;
    socket.write(Buffer.concat([
      frame('{"probity":{"ack":true}}'),
      ...Array<Buffer>(count).fill(frame("")),
    ]));
    expect(await standstill(run)).toBeLessThan(count);
    await run.stop();
    const beganMs = performance.now();
    await rig[Symbol.asyncDispose]();
    expect(performance.now() - beganMs).toBeLessThan(10_000);
    socket.destroy();
  });
});

describe("a user who takes all connections of a Unix socket", () => {
  it("gets three quarters of them, and the rest is for others", async () => {
    await using rig = await openApplicationRig({ socket: "a.sock" });
    await using _run = runSource(rig.source);
    const sockets: Socket[] = [];
    for (let at = 0; at < CONNECTIONS_OF_USER_MAX; at += 1) {
      sockets.push(await connectTo(rig.socket));
    }
    await endOf(await connectTo(rig.socket));
    expect(rig.said.join("")).toContain("too many connections were open");
    sockets.pop()?.destroy();
    // The agent hears of it when it comes to it: until then one more is still one too many.
    await vi.waitFor(async () => {
      const last = await connectTo(rig.socket);
      last.write('{"probity":{"ack":true}}\n');
      expect(String((await once(last, "data"))[0])).toContain("probity");
      last.destroy();
    }, { timeout: 5_000 });
    for (const socket of sockets) socket.destroy();
  });
});

describe("senders of messages that never end", () => {
  it("are ended themselves when they hold too much, and nobody else", async () => {
    const limits = { heldBytesMax: 4 * MIB };
    await using rig = await openApplicationRig({ listen: TCP }, lookupOf(""), limits);
    await using run = runSource(rig.source);
    const honest = await connectTo(rig.source);
    const message = frame("x".repeat(100_000));
    honest.write(message.subarray(0, 60_000));
    const hostile = await Promise.all(Array.from({ length: 5 }, () => connectTo(rig.source)));
    const ended = Promise.race(hostile.map(endOf));
    for (const socket of hostile) socket.write(frame("y".repeat(MIB)).subarray(0, MIB));
    await ended;
    honest.end(message.subarray(60_000));
    const [line] = await run.waitFor(() => true, { count: 1 });
    expect(String(line?.["message"]).length).toBe(100_000);
    expect(rig.source.losses()).toMatchObject([{ class: "message_held" }]);
    for (const socket of hostile) socket.destroy();
  });
});

describe("a connection between two chunks", () => {
  const object = JSON.stringify({ message: "short", text: "x".repeat(MIB), at: "🙂" });
  const chunk = `{"a":1}${"y".repeat(64 * 1024)}`;

  it.each([
    { what: "a large message", bytes: Buffer.from(object), end: Buffer.byteLength(object), of: 24 },
    { what: "the chunk of a small one", bytes: Buffer.from(chunk), end: 7, of: 400 },
  ])("keeps nothing of $what", ({ bytes, end, of }) => {
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    const sender = { columns: "", isKnown: false, service: undefined, mayName: true };
    const heldBytes = (): number => {
      collect();
      const { heapUsed, external } = process.memoryUsage();
      return heapUsed + external;
    };
    const before = heldBytes();
    const connections = Array.from({ length: of }, (_, number) => {
      const lines = createMessageLines(sender, () => undefined);
      lines.begin(number);
      lines.take(bytes, 0, end);
      lines.end();
      return lines;
    });
    expect(heldBytes() - before).toBeLessThan(8 * MIB);
    expect(connections).toHaveLength(of);
  });
});

describe("messages that cannot be kept for a KMS", () => {
  it("are all told as lost", async () => {
    const kms = {
      ...{ url: "ws://127.0.0.1:1/sidecar", pingIntervalMs: 1_000, requestTimeoutMs: 1_000 },
      ...{ connectTimeoutMs: 1_000, reconnectIntervalMs: 1_000, batchSize: 64 },
      ...{ batchIntervalMs: 60_000, sendsEmptyBatches: false },
    };
    await using rig = await openApplicationRig({ listen: TCP, kms });
    await using run = runSource(rig.source);
    using database = new DatabaseSync(join(rig.folder, "kms.db"));
    database.exec("DROP TABLE row");
    const socket = await connectTo(rig.source);
    socket.write(Buffer.concat(["one", "two", "three"].map(frame)));
    await endOf(socket);
    expect(rig.source.losses()).toMatchObject([{ class: "message_relay", count: 3 }]);
    expect(run.lines).toEqual([]);
  });
});
