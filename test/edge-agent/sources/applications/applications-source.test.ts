/** Messages over real sockets: every splitting, both framings, limits, answers, and who sent them. */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import process from "node:process";
import { afterAll, describe, expect, it } from "vitest";
import { describeSource } from "../../source-conformance.ts";
import {
  connectTo,
  endOf,
  frame,
  leaveSocket,
  lookupOf,
  openApplicationRig,
  openBusyListener,
  openSourceAt,
  TCP,
  unframed,
} from "../../../support/application-rig.ts";
import { runSource } from "../../../support/source-run.ts";

const MESSAGES = [
  '{"topic":"transfer/done","level":"error","message":"paid","user":"ann","amount":12.5}',
  "plain text",
  "",
  '{"nested":{"a":[1,2]},"message":"käse \\u00e9"}',
  "ümläut",
  "[1,2]",
];

describe("messages over TCP", () => {
  it("are the same however the bytes are split", async () => {
    await using rig = await openApplicationRig({ listen: TCP, service: "bank" });
    await using run = runSource(rig.source);
    const whole = Buffer.concat(MESSAGES.map(frame));
    for (let at = 0; at <= whole.length; at += 1) {
      const socket = await connectTo(rig.source);
      socket.write(whole.subarray(0, at));
      await turn();
      socket.end(whole.subarray(at));
    }
    const bytewise = await connectTo(rig.source);
    for (const byte of whole) {
      bytewise.write(Buffer.of(byte));
      await turn();
    }
    bytewise.end();
    const count = (whole.length + 2) * MESSAGES.length;
    const lines = await run.waitFor(() => true, { count });
    expect(lines).toHaveLength(count);
    const told = lines.map(({ time: _, src_port: _port, idx: _idx, ...line }) =>
      JSON.stringify(line)
    );
    expect(new Set(told).size).toBe(MESSAGES.length);
    expect(lines.find(({ message }) => message === "paid")).toMatchObject({
      topic: "app/bank/transfer/done",
      severity: "medium",
      service: "bank",
      user: "ann",
      src_ip: "127.0.0.1",
      detail: { user: "ann", amount: 12.5, level: "error", claimed: ["user"] },
    });
    expect(lines.find(({ message }) => message === "käse é")?.detail).toEqual({
      nested: { a: [1, 2] },
    });
    expect(lines.filter(({ topic }) => topic === "app/bank/message").map(({ message }) => message))
      .toEqual(expect.arrayContaining(["plain text", "", "ümläut", "[1,2]", "käse é"]));
    expect(rig.source.losses()).toEqual([]);
  });
});

describe("a connection", () => {
  it("is answered once per message, when it is durable and not before, in order", async () => {
    await using rig = await openApplicationRig();
    const stop = new AbortController();
    const socket = await connectTo(rig.source);
    const came: Buffer[] = [];
    socket.on("data", (bytes: Buffer) => came.push(bytes));
    socket.end(Buffer.concat([
      frame('{"probity":{"ack":true,"service":"shop"}}'),
      ...["one", "two", "three"].map(frame),
    ]));
    const ended = once(socket, "end");
    for await (const chunk of rig.source.start(stop.signal)) {
      expect(chunk.fields.map((text) => JSON.parse(`{${text}`).topic)).toEqual(
        Array(3).fill("app/shop/message"),
      );
      expect(chunk.spacingMs).toBeLessThan(20);
      if (came.length === 0) await once(socket, "data");
      expect(unframed(Buffer.concat(came))).toEqual(['{"probity":{"ack":true}}']);
      if (chunk.position === undefined) throw new Error("no position");
      rig.source.release({ ring: "an earlier run", position: 99 });
      rig.source.release({ ...chunk.position, position: chunk.position.position - 1 });
      rig.source.release(chunk.position);
      break;
    }
    await ended;
    const answers = ['{"ack":1}', '{"ack":2}', '{"ack":3}'];
    expect(unframed(Buffer.concat(came))).toEqual(['{"probity":{"ack":true}}', ...answers]);
  });

  it("may send lines of JSON, the last without an end, and gets its answers as lines", async () => {
    await using rig = await openApplicationRig();
    await using run = runSource(rig.source);
    const socket = await connectTo(rig.source);
    const came: Buffer[] = [];
    socket.on("data", (bytes: Buffer) => came.push(bytes));
    socket.end(
      '{"probity":{"ack":true}}\n{"service":"a b","message":"x"}\r\n\nno json\n{"message":"y"}',
    );
    await once(socket, "end");
    expect(Buffer.concat(came).toString()).toBe(
      '{"probity":{"ack":true}}\n{"ack":1}\n{"ack":2}\n{"ack":3}\n',
    );
    expect(run.lines.map(({ topic, message }) => [topic, message])).toEqual([
      ["app/a_b/message", "x"],
      ["app/unnamed/message", "no json"],
      ["app/unnamed/message", "y"],
    ]);
  });

  it("ends for a frame above the limit, counted, logged and told; others go on", async () => {
    await using rig = await openApplicationRig({ listen: TCP, messageBytesMax: 1024 });
    await using run = runSource(rig.source);
    const [bad, good, long] = await Promise.all([0, 1, 2].map(() => connectTo(rig.source)));
    bad?.write(Buffer.concat([frame("before"), frame("x".repeat(1025)), frame("after")]));
    await endOf(bad);
    long?.write(`{${"x".repeat(1025)}`);
    await endOf(long);
    good?.end(frame("x".repeat(1024)));
    const lines = await run.waitFor(() => true, { count: 2 });
    expect(lines.map(({ message }) => String(message).length)).toEqual([6, 1024]);
    expect(rig.source.losses()).toEqual([{
      class: "message_too_large",
      count: 2,
      reason: "a message was larger than the limit",
    }]);
    expect(rig.source.losses()).toEqual([]);
    expect(rig.said.join("")).toContain("a message was larger than the limit");
    expect(rig.source.counters()).toMatchObject({ attempted: 4, submitted: 2, readFault: 2 });
  });

  it("that ends within a message or asks for the unknown takes nothing else with it", async () => {
    await using rig = await openApplicationRig();
    await using run = runSource(rig.source);
    const cut = await connectTo(rig.source);
    cut.end(Buffer.concat([frame("whole"), frame("cut short").subarray(0, 8)]));
    const asking = await connectTo(rig.source);
    asking.write(frame('{"probity":{"ack":"yes"}}'));
    await endOf(asking);
    await run.waitFor(({ message }) => message === "whole", { count: 1 });
    expect(run.lines).toHaveLength(1);
    expect(rig.said.join("")).toContain("a connection ended within a message");
    expect(rig.said.join("")).toContain("the first message asked for what there is not");
  });
});

describe("senders at a Unix socket", () => {
  it("are who the kernel says, whatever they claim", async () => {
    const uid = process.getuid?.() ?? -1;
    const known = `"user":"known","uid":${uid},"euid":${uid},"pid":${process.pid},"exe":"/bin/it",`;
    await using rig = await openApplicationRig({ socket: "a.sock" }, lookupOf(known));
    await using run = runSource(rig.source);
    const socket = await connectTo(rig.socket);
    socket.end(frame('{"message":"m","user":"root","host":"h","pid":1,"uid":0}'));
    const [line] = await run.waitFor(() => true, { count: 1 });
    expect(line).toMatchObject({ user: "known", uid, pid: process.pid, exe: "/bin/it" });
    expect(line?.detail).toEqual({ user: "root", host: "h", pid: 1, uid: 0 });
  });

  it("are told by user and pid alone when /proc shows another process", async () => {
    const uid = process.getuid?.() ?? -1;
    const other = lookupOf(`"user":"other","uid":7,"euid":${uid + 7},"pid":${process.pid},`);
    await using rig = await openApplicationRig({ socket: "a.sock" }, other);
    await using run = runSource(rig.source);
    (await connectTo(rig.socket)).end(frame("m"));
    const [line] = await run.waitFor(() => true, { count: 1 });
    expect(line).toMatchObject({ euid: uid, pid: process.pid });
    expect(line).not.toHaveProperty("uid");
    expect(line).not.toHaveProperty("src_ip");
  });
});

describe("the sidecar's health", () => {
  it("is OK while messages are taken, and not before", async () => {
    await using rig = await openApplicationRig({ health: TCP });
    const ask = async (path: string) => {
      const answer = await fetch(`http://127.0.0.1:${rig.source.healthPort}${path}`);
      return [answer.status, await answer.json()];
    };
    expect(await ask("/health")).toEqual([503, { status: "NOT READY" }]);
    await using _run = runSource(rig.source);
    expect(await ask("/health")).toEqual([200, { status: "OK" }]);
    expect((await ask("/other"))[0]).toBe(404);
  });
});

describe("an address", () => {
  it("that cannot be had is off with its reason, and the others are on", async () => {
    await using first = await openApplicationRig({ socket: "a.sock" });
    const taken = { listen: { host: "127.0.0.1", port: 1 }, socket: "missing/a.sock" };
    await using second = await openApplicationRig({ ...taken, listen: TCP });
    expect(first.status).toMatchObject({ state: "on", how: expect.stringContaining("a.sock") });
    expect(second.status).toMatchObject({ state: "on", how: expect.stringContaining("tcp 127") });
    expect(second.status).toHaveProperty("hooks", [
      expect.objectContaining({ state: "on" }),
      expect.objectContaining({ state: "off", reason: expect.stringContaining("Cannot listen") }),
    ]);
    expect(second.status).toHaveProperty(
      "how",
      expect.stringMatching(/^listens on tcp 127.*; not on unix \(Cannot listen/),
    );
    await using none = await openApplicationRig({ socket: "missing/a.sock" });
    expect(none.status).toMatchObject({ state: "off", remedy: expect.stringMatching(/\S/) });
  });

  it("of a Unix socket is taken over from an agent that is gone, not from one that runs", async () => {
    await using rig = await openApplicationRig({ socket: "a.sock" });
    const again = openSourceAt(rig.socket);
    expect(await again.probe()).toMatchObject({ state: "off" });
    await again[Symbol.asyncDispose]();
    await using _busy = await openBusyListener(`${rig.socket}.busy`);
    const busy = openSourceAt(`${rig.socket}.busy`);
    expect(await busy.probe()).toMatchObject({ state: "off" });
    await busy[Symbol.asyncDispose]();
    const stale = openSourceAt(`${rig.socket}.stale`);
    leaveSocket(`${rig.socket}.stale`);
    expect(await stale.probe()).toMatchObject({ state: "on" });
    await stale[Symbol.asyncDispose]();
    rmSync(`${rig.socket}.stale`, { force: true });
  });
});

const port: { write?: (text: string) => void } = {};
/** Each test of the suite disposes of the source alone. */
const rigs = new AsyncDisposableStack();
afterAll(() => rigs.disposeAsync());
describeSource("applications", {
  create: async () => {
    const rig = rigs.use(await openApplicationRig());
    const { source } = rig;
    const clients: Awaited<ReturnType<typeof connectTo>>[] = [];
    port.write = (text) =>
      void connectTo(source).then((socket) => {
        clients.push(socket);
        socket.end(frame(text));
      });
    return source;
  },
  trigger: () => port.write?.("seen"),
  isTriggered: ({ message }) => message === "seen",
  hasRing: true,
});
