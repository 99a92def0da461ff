/** The library for programs, against the agent's own source over its real socket. */
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { describe, expect, it, vi } from "vitest";
import { type Emitter, EventLostError, openEmitter } from "../../../src/client/emitter/emitter.ts";
import { observe } from "../../../src/client/emitter/observe.ts";
import { openApplicationRig, openSourceAt } from "../../support/application-rig.ts";
import { runSource } from "../../support/source-run.ts";
import { openTemporaryFolder } from "../../support/temporary-folder.ts";

const EMITTER = fileURLToPath(new URL("../../../src/client/emitter/emitter.ts", import.meta.url));
const everything = (): boolean => true;
const openRig = () => openApplicationRig({ socket: "app.sock" });

describe("an emitter", () => {
  it("records events of one topic or several, and resolves when they are durable", async () => {
    await using rig = await openRig();
    await using run = runSource(rig.source);
    await using emitter = openEmitter({ agent: { socket: rig.socket }, service: "shop" });
    await Promise.all([
      emitter.audit("order/paid", { message: "paid", user: "ann", amount: 12n, list: [1] }),
      emitter.audit(["order/sent", "stock", "mail/queued"], { message: "sent" }),
    ]);
    expect(run.lines).toHaveLength(2);
    expect(run.lines[0]).toMatchObject({
      topic: "app/shop/order/paid",
      service: "shop",
      pid: process.pid,
      message: "paid",
      detail: { amount: "12", list: [1], emitted: expect.stringMatching(/^[0-9a-f]{8}-1$/) },
    });
    expect(run.lines[1]).toMatchObject({
      topic: "app/shop/order/sent",
      topics: ["app/shop/stock", "app/shop/mail/queued"],
    });
    expect(emitter.lost).toBe(0);
  });

  it("keeps what was not answered when connections break or the agent is away, and its order", async () => {
    await using folder = await openTemporaryFolder("emitter");
    const socket = join(folder.path, "app.sock");
    const troubles: string[] = [];
    await using emitter = openEmitter({
      agent: { socket },
      service: "shop",
      onTrouble: (error) => troubles.push(error.message),
    });
    // An agent that takes two events, answers one, and is gone.
    await using first = await openSilentServer(socket);
    const sent = Array.from({ length: 200 }, (_, at) => emitter.audit("n", { at }));
    const partner = await first.connected;
    partner.write('{"probity":{"ack":true}}\n{"ack":1}\n');
    await sent[0];
    partner.destroy();
    await first[Symbol.asyncDispose]();
    await using source = openSourceAt(socket);
    await source.probe();
    await using run = runSource(source);
    await Promise.all(sent);
    const order = run.lines.map(({ detail }) => detail["at"]);
    expect(order).toEqual(Array.from({ length: 199 }, (_, at) => at + 1));
    expect(emitter.lost).toBe(0);
  });

  it("holds no more than it may, refuses the rest, and tells of it once there is room", async () => {
    await using folder = await openTemporaryFolder("emitter");
    const socket = join(folder.path, "app.sock");
    await using emitter = openEmitter({ agent: { socket }, service: "s", bufferBytesMax: 1_000 });
    const all = Array.from({ length: 50 }, () => emitter.audit("n", { text: "x".repeat(50) }));
    const settled = Promise.allSettled(all);
    await using source = openSourceAt(socket);
    await source.probe();
    await using run = runSource(source);
    const refused = (await settled).filter(({ status }) => status === "rejected");
    expect(refused[0]).toMatchObject({
      reason: { message: expect.stringContaining("too much waits") },
    });
    expect(emitter.lost).toBe(refused.length);
    expect(refused.length).toBeGreaterThan(30);
    await emitter.audit("n", {});
    const [told] = await run.waitFor(({ topic }) => topic === "app/s/emitter/lost", { count: 1 });
    expect(told).toMatchObject({ severity: "low", detail: { count: refused.length } });
    expect(run.lines).toHaveLength(50 - refused.length + 2);
  });

  it("ends no program that does not look at what becomes of its events", async () => {
    await using folder = await openTemporaryFolder("emitter");
    const program = `import { openEmitter } from ${JSON.stringify(EMITTER)};
      const emitter = openEmitter({ agent: { socket: "/nowhere" }, service: "p", bufferBytesMax: 200 });
      for (let at = 0; at < 9; at += 1) emitter.audit("n", { at });
      emitter.audit("n", { text: "x".repeat(400_000) });
      await new Promise((resolve) => setTimeout(resolve, 50));
      process.exit(emitter.lost > 5 ? 7 : 8);`;
    const ended = await runProgram("node", join(folder.path, "program.ts"), program);
    expect(ended).toEqual({ exitCode: 7, stderr: "" });
  });

  it("waits longer and longer for an agent that is away, however much is audited", async () => {
    await using folder = await openTemporaryFolder("emitter");
    const socket = join(folder.path, "app.sock");
    let troubles = 0;
    await using emitter = openEmitter({
      agent: { socket },
      service: "s",
      onTrouble: () => troubles += 1,
    });
    const untilMs = performance.now() + 200;
    while (performance.now() < untilMs || troubles < 2) {
      void emitter.audit("n");
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    // After about 38, 75 and 150 ms.
    expect(troubles).toBeGreaterThan(1);
    expect(troubles).toBeLessThan(8);
    await using source = openSourceAt(socket);
    await source.probe();
    await using _run = runSource(source);
    await emitter.flush();
  });

  it("keeps events whose sending failed, also when it awaits no answers", async () => {
    await using folder = await openTemporaryFolder("emitter");
    const socket = join(folder.path, "app.sock");
    await using first = await openSilentServer(socket);
    await using emitter = openEmitter({ agent: { socket }, service: "s", acknowledge: false });
    let sent = 0;
    const text = "x".repeat(1_000);
    for (let at = 0; at < 900; at += 1) void emitter.audit("n", { at, text }).then(() => sent += 1);
    const partner = await first.connected;
    partner.write('{"probity":{"ack":false}}\n');
    await vi.waitFor(() => expect(sent).toBeGreaterThan(0));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const before = sent;
    expect(before).toBeLessThan(900);
    partner.destroy();
    await first[Symbol.asyncDispose]();
    await using source = openSourceAt(socket);
    await source.probe();
    await using run = runSource(source);
    await emitter.flush();
    await run.waitFor(everything, { count: 900 - before });
    expect(run.lines.map(({ detail }) => detail["at"])).toEqual(
      Array.from({ length: 900 - before }, (_, at) => before + at),
    );
  });

  it("says of errors, maps and sets what JSON leaves out", async () => {
    await using rig = await openRig();
    await using run = runSource(rig.source);
    await using emitter = openEmitter({ agent: { socket: rig.socket }, service: "shop" });
    const cause = Object.assign(new Error("reset"), { code: "ECONNRESET" });
    const error = new AggregateError([new RangeError("far")], "no way", { cause });
    await emitter.audit("failed", { error, seen: new Map([["a", new Set([1n])]]) });
    expect(run.lines[0]?.["detail"]).toMatchObject({
      error: {
        ...{ name: "AggregateError", message: "no way" },
        cause: { name: "Error", message: "reset", code: "ECONNRESET" },
        errors: [{ name: "RangeError", message: "far" }],
      },
      seen: { a: ["1"] },
    });
    error.cause = error;
    await expect(emitter.audit("failed", { error })).rejects.toThrow();
  });

  it("refuses what is no event, and everything once it is closed", async () => {
    const emitter = openEmitter({ agent: { socket: "/nowhere" }, service: "s" });
    await expect(emitter.audit("a b")).rejects.toThrow('"a b" is no topic');
    await expect(emitter.audit(["a", "b/"])).rejects.toThrow('"b/" is no topic: letters');
    const large = emitter.audit("a", { text: "x".repeat(400_000) });
    await expect(large).rejects.toThrow("more than 340000");
    await expect(large).rejects.toBeInstanceOf(EventLostError);
    expect(emitter.lost).toBe(1);
    const loop: Record<string, unknown> = {};
    loop["self"] = loop;
    await expect(emitter.audit("a", loop)).rejects.toThrow("circular");
    await emitter[Symbol.asyncDispose]();
    await expect(emitter.audit("a")).rejects.toThrow("is closed");
  });

  it.each(["node", "deno", "bun"])(
    "keeps no program of %s alive once nothing waits",
    async (runtime) => {
      await using rig = await openRig();
      await using run = runSource(rig.source);
      const program = `import { openEmitter } from ${JSON.stringify(EMITTER)};
      const emitter = openEmitter({ agent: { socket: ${
        JSON.stringify(rig.socket)
      } }, service: "p" });
      emitter.audit("started", { runtime: ${JSON.stringify(runtime)} });`;
      await using folder = await openTemporaryFolder("emitter");
      const { exitCode, stderr } = await runProgram(
        runtime,
        join(folder.path, "program.ts"),
        program,
      );
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      await run.waitFor(everything, { count: 1 });
      expect(run.lines[0]).toMatchObject({ topic: "app/p/started", detail: { runtime } });
    },
  );
});

describe("an observed target", () => {
  it("has the events recorded that were named, until it is no longer observed", () => {
    const audited: unknown[] = [];
    const emitter: Pick<Emitter, "audit"> = {
      audit: (...event) => {
        audited.push(event);
        return Promise.resolve();
      },
    };
    const target = new EventTarget();
    const observed = observe(target, { paid: "order/paid", transfer: ["transfer", "money"] }, {
      emitter,
    });
    target.dispatchEvent(new CustomEvent("paid", { detail: { id: 1 } }));
    target.dispatchEvent(new CustomEvent("paid", { detail: "text" }));
    const error = new Error("broke");
    target.dispatchEvent(new CustomEvent("paid", { detail: error }));
    target.dispatchEvent(Object.assign(new Event("transfer"), { amount: 5 }));
    target.dispatchEvent(new Event("other"));
    observed[Symbol.dispose]();
    target.dispatchEvent(new CustomEvent("paid"));
    expect(audited).toEqual([
      ["order/paid", { type: "paid", id: 1 }],
      ["order/paid", { type: "paid", detail: "text" }],
      ["order/paid", { type: "paid", detail: error }],
      [["transfer", "money"], { type: "transfer", amount: 5 }],
    ]);
  });

  it("is not disturbed by an event whose properties throw", async () => {
    const target = new EventTarget();
    const losses: unknown[] = [];
    const emitter = { audit: () => Promise.resolve() };
    observe(target, { broken: "order/paid" }, { emitter, onLoss: (error) => losses.push(error) });
    let dispatched = false;
    target.addEventListener("broken", () => (dispatched = true));
    const get = (): never => {
      throw new Error("no detail");
    };
    target.dispatchEvent(Object.defineProperty(new Event("broken"), "detail", { get }));
    expect(dispatched).toBe(true);
    await new Promise(setImmediate);
    expect(losses).toEqual([new Error("no detail")]);
  });

  it("tells whoever observes of what could not be recorded", async () => {
    const target = new EventTarget();
    const losses: unknown[] = [];
    const emitter = openEmitter({ agent: { socket: "/nowhere" }, service: "s" });
    observe(target, { paid: "no topic" }, { emitter, onLoss: (error) => losses.push(error) });
    target.dispatchEvent(new CustomEvent("paid"));
    await emitter[Symbol.asyncDispose]();
    expect(String(losses[0])).toContain("is no topic");
  });
});

/** A server that says nothing by itself; its first connection. */
async function openSilentServer(path: string) {
  const connected = Promise.withResolvers<Socket>();
  const server = createServer((socket) => connected.resolve(socket.pause()));
  server.listen(path);
  await once(server, "listening");
  return {
    connected: connected.promise,
    async [Symbol.asyncDispose]() {
      if (server.listening) await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function runProgram(runtime: string, path: string, text: string) {
  await writeFile(path, text);
  const [command = "", ...before] = runtime === "deno" ? ["deno", "run", "-A"] : [runtime];
  const child = spawn(command, [...before, path], { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
  const [exitCode] = await once(child, "exit");
  return { exitCode, stderr };
}
