import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { realpathSync } from "node:fs";
import { connect, createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PROGRAM_VARIANTS } from "../../src/edge-agent/program-object.ts";
import { describeSource } from "../edge-agent/source-conformance.ts";
import { hasBpf, openPinFolder, openTestSource, runAttached } from "../support/ring-sources.ts";
import type { Line, SourceRun } from "../support/source-run.ts";

const ECONNREFUSED = 111;

/** A server in a process of its own, which tells its port, and never takes a connection from its queue. */
const SERVER = `
  const server = require("node:net").createServer();
  server.listen({ host: process.argv[1], port: 0 }, () => console.log(server.address().port));
`;

interface ForeignServer extends AsyncDisposable {
  readonly port: number;
  readonly pid: number | undefined;
}

async function openForeignServer(host: string): Promise<ForeignServer> {
  const child: ChildProcess = spawn(process.execPath, ["-e", SERVER, host], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [text]: unknown[] = child.stdout === null ? [] : await once(child.stdout, "data");
  return {
    port: Number(String(text)),
    pid: child.pid,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await once(child, "exit");
    },
  };
}

async function connectTo(host: string, port: number): Promise<number> {
  const socket = connect(port, host);
  await once(socket, "connect");
  const from = socket.localPort ?? 0;
  socket.destroy();
  await once(socket, "close");
  return from;
}

describe.runIf(hasBpf)("the network source", () => {
  it("knows who listened before it was there", async () => {
    await using server = await openForeignServer("127.0.0.1");
    using pins = openPinFolder();
    await using source = openTestSource({ family: "network", pins });
    await using run = await runAttached(source, pins);
    const from = await connectTo("127.0.0.1", server.port);
    const [line] = await run.waitFor(
      (each) => each.topic === "network/accept" && each["src_port"] === from,
      { count: 1 },
    );
    expect(line).toMatchObject({
      pid: server.pid,
      ppid: process.pid,
      user: "root",
      exe: realpathSync(process.execPath),
    });
  });
});

describe.runIf(hasBpf).each(PROGRAM_VARIANTS)("the network source as %s", (variant) => {
  let run: SourceRun;
  const pins = openPinFolder();
  beforeAll(async () => {
    const source = openTestSource({ family: "network", pins, variants: [variant] });
    run = await runAttached(source, pins);
  });
  afterAll(async () => {
    await run.stop();
    pins[Symbol.dispose]();
  });

  const only = async (want: (line: Line) => boolean): Promise<Line | undefined> => {
    const lines = await run.waitFor(want, { count: 1 });
    expect(lines).toHaveLength(1);
    return lines[0];
  };

  it.each([
    ["127.0.0.1", "inet"],
    ["::1", "inet6"],
  ])("tells listen, connect and accept on %s with the right processes", async (host, family) => {
    await using server = await openForeignServer(host);
    const { port } = server;
    const from = await connectTo(host, port);
    const listen = await only((line) =>
      line.topic === "network/listen" && line["src_port"] === port && line["src_ip"] === host
    );
    expect(listen).toMatchObject({ pid: server.pid, ppid: process.pid, protocol: "tcp" });
    expect(listen?.["message"]).toMatch(new RegExp(` listens on .*${port}$`));

    const ends = { src_ip: host, src_port: from, dst_ip: host, dst_port: port, protocol: "tcp" };
    const isOurs = (line: Line): boolean => line["src_port"] === from && line["dst_port"] === port;
    const made = await only((line) => line.topic === "network/connect" && isOurs(line));
    expect(made).toMatchObject({ ...ends, pid: process.pid, outcome: "success", user: "root" });
    expect(made?.detail).toEqual({ family, duration_ms: expect.any(Number) });
    expect(made?.detail["duration_ms"]).toBeGreaterThanOrEqual(0);

    const taken = await only((line) => line.topic === "network/accept" && isOurs(line));
    expect(taken).toMatchObject({ ...ends, pid: server.pid, outcome: "success" });
    expect(taken?.["process_id"]).toBe(listen?.["process_id"]);
    expect(taken?.["message"]).toMatch(/ accepted a connection from /);
  });

  it.each([["127.0.0.1"], ["::1"]])("tells a refused connect to %s as failure", async (host) => {
    const server = createServer();
    server.listen({ host, port: 0 });
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    server.close();
    await once(server, "close");
    const socket = connect(port, host);
    await once(socket, "error");
    const line = await only((each) =>
      each.topic === "network/connect" && each["dst_port"] === port && each["dst_ip"] === host
    );
    expect(line).toMatchObject({ outcome: "failure", errno: ECONNREFUSED, pid: process.pid });
    expect(line?.["message"]).toMatch(/ failed to connect to .*: ECONNREFUSED$/);
  });

  it("gives a client of an IPv6 socket its IPv4 address", async () => {
    await using server = await openForeignServer("::");
    const from = await connectTo("127.0.0.1", server.port);
    const line = await only((each) =>
      each.topic === "network/accept" && each["src_port"] === from &&
      each["dst_port"] === server.port
    );
    expect(line).toMatchObject({ src_ip: "127.0.0.1", dst_ip: "127.0.0.1", pid: server.pid });
    expect(line?.detail["family"]).toBe("inet6");
  });
});

if (hasBpf) {
  const pins = openPinFolder();
  afterAll(() => pins[Symbol.dispose]());
  const ports = new Set<unknown>();
  describeSource("network", {
    create: () => openTestSource({ family: "network", pins }),
    trigger: async () => {
      await using server = await openForeignServer("127.0.0.1");
      ports.add(server.port);
      await connectTo("127.0.0.1", server.port);
    },
    isTriggered: (line) => ports.has(line["dst_port"]),
    hasRing: true,
  });
}
