/** What a KMS that floods or does not read, and a clock that is put, may cost. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocketServer } from "ws";
import {
  connectKms,
  UNREAD_BYTES_MAX,
} from "../../../../../src/edge-agent/sources/applications/kms/connection.ts";
import { createKeptTime } from "../../../../../src/edge-agent/sources/applications/kms/kept-time.ts";
import {
  createSparseLog,
  LINES_PER_MINUTE,
} from "../../../../../src/edge-agent/sources/applications/kms/sparse-log.ts";
import type { Clock } from "../../../../../src/runtime/clock.ts";
import { createLog } from "../../../../../src/runtime/log.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const KEPT_MS = 31 * DAY_MS;
const START_MS = Date.UTC(2026, 2, 1);

/** A clock whose time of day is put without time passing. */
function createHandClock(): Clock & { ranMs: number; putMs: number } {
  return {
    ranMs: 0,
    putMs: 0,
    nowUs() {
      return (START_MS + this.ranMs + this.putMs) * 1000;
    },
    elapsedMs() {
      return this.ranMs;
    },
    sleep: () => Promise.resolve(),
  };
}

describe("what is kept for a time", () => {
  it("is removed by its age once the clock had a day to be put right", () => {
    const clock = createHandClock();
    const kept = createKeptTime(clock);
    clock.ranMs = DAY_MS - 1;
    expect(kept.beforeMs(KEPT_MS)).toBe(0);
    clock.ranMs = DAY_MS;
    expect(kept.beforeMs(KEPT_MS)).toBe(START_MS + DAY_MS - KEPT_MS);
  });

  it("stays when the clock is put forward, which is told once", () => {
    const clock = createHandClock();
    const kept = createKeptTime(clock);
    clock.ranMs = 2 * DAY_MS;
    clock.putMs = 400 * DAY_MS;
    expect(kept.beforeMs(KEPT_MS)).toBe(START_MS + 2 * DAY_MS - KEPT_MS);
    expect([kept.movedMs(), kept.movedMs()]).toEqual([400 * DAY_MS, 0]);
    clock.putMs = 0;
    expect(kept.movedMs()).toBe(-400 * DAY_MS);
  });

  it("stays when the clock was ahead at the start and is put back", () => {
    const clock = createHandClock();
    const kept = createKeptTime(clock);
    clock.ranMs = 2 * DAY_MS;
    clock.putMs = -400 * DAY_MS;
    expect(kept.beforeMs(KEPT_MS)).toBe(START_MS - 398 * DAY_MS - KEPT_MS);
  });
});

it("a log about a KMS has so many lines a minute, and says how many it left out", () => {
  const clock = createHandClock();
  const lines: string[] = [];
  const log = createSparseLog(
    createLog({ level: "info", write: (line) => lines.push(line) }),
    clock,
  );
  for (let each = 0; each < 100_000; each += 1) log.warn("again");
  expect(lines).toHaveLength(LINES_PER_MINUTE);
  clock.ranMs = 60_000;
  log.warn("later");
  expect(lines).toHaveLength(LINES_PER_MINUTE + 2);
  expect(lines.at(-2)).toContain(`count=${100_000 - LINES_PER_MINUTE}`);
});

describe("a KMS that does not read", () => {
  const stack: AsyncDisposable[] = [];
  afterEach(async () => {
    for (const one of stack.splice(0).toReversed()) await one[Symbol.asyncDispose]();
  });

  it("has no more sent to it than may wait", async () => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await once(server, "listening");
    server.on("connection", (socket) => socket.pause());
    // as: it listens on TCP
    const { port } = server.address() as AddressInfo;
    const connection = await connectKms({
      url: `ws://127.0.0.1:${port}`,
      ...{ connectTimeoutMs: 5_000, pingIntervalMs: 60_000, signal: new AbortController().signal },
      onText: () => undefined,
      onPong: () => undefined,
    });
    stack.push({
      async [Symbol.asyncDispose]() {
        for (const client of server.clients) client.terminate();
        await connection.closed;
        server.close();
      },
    });
    const text = "x".repeat(1024 * 1024);
    let refusals = 0;
    const sent = Array.from(
      { length: 3 * UNREAD_BYTES_MAX / text.length },
      () =>
        connection.send(text).catch((error: unknown) => {
          if (String(error).includes("it does not read")) refusals += 1;
        }),
    );
    await new Promise(setImmediate);
    expect(refusals).toBeGreaterThan(UNREAD_BYTES_MAX / text.length);
    for (const client of server.clients) client.terminate();
    await Promise.all(sent);
  });
});
