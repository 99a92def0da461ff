import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { realpathSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PROGRAM_VARIANTS } from "../../src/edge-agent/program-object.ts";
import { DEFAULT_RULES } from "../../src/edge-agent/rules.ts";
import { describeSource } from "../edge-agent/source-conformance.ts";
import { openForeignServer } from "../support/foreign-server.ts";
import { hasBpf, openPinFolder, openTestSource, runAttached } from "../support/ring-sources.ts";
import type { Line, SourceRun } from "../support/source-run.ts";

const ECONNRESET = 104;
const ECONNREFUSED = 111;

/** A server in a process of its own, which tells its port, and answers a number with as many bytes and an end. */
const SERVER = `
  const server = require("node:net").createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (text) => socket.end(Buffer.alloc(Number(String(text)))));
  });
  server.listen({ host: process.argv[1], port: 0 }, () => console.log(server.address().port));
`;

/** Takes a socket from its parent, asks for nine bytes on it, and ends with it. */
const HEIR = `
  process.on("message", (_, socket) => {
    socket.resume();
    socket.on("close", () => process.exit());
    socket.end("9");
  });
`;

async function connectTo(host: string, port: number): Promise<number> {
  const socket = connect(port, host);
  await once(socket, "connect");
  const from = socket.localPort ?? 0;
  socket.destroy();
  await once(socket, "close");
  return from;
}

/** Asks the server for bytes and reads them all; the local port. */
async function fetchBytes(host: string, port: number, count: number): Promise<number> {
  const socket = connect(port, host);
  await once(socket, "connect");
  const from = socket.localPort ?? 0;
  socket.end(String(count));
  socket.resume();
  await once(socket, "close");
  return from;
}

describe.runIf(hasBpf)("the network source", () => {
  it("tells the end of connections older than it, and whose they were", async () => {
    await using server = await openForeignServer(SERVER, "127.0.0.1");
    const socket = connect(server.port, "127.0.0.1");
    await once(socket, "connect");
    using pins = openPinFolder();
    await using source = openTestSource({ family: "network", pins });
    await using run = await runAttached(source, pins);
    const { localPort } = socket;
    // Once it tells anything, it has looked at what was there before.
    const later = await connectTo("127.0.0.1", server.port);
    await run.waitFor((each) => each["src_port"] === later, { count: 1, timeoutMs: 20_000 });
    socket.end("12");
    socket.resume();
    await once(socket, "close");
    const [line] = await run.waitFor(
      (each) => each.topic === "network/close" && each["src_port"] === localPort,
      { count: 1 },
    );
    expect(line?.detail).toEqual({ family: "inet", bytes_in: 12, bytes_out: 2 });
    // What the kernel did not note is found in /proc.
    expect(line?.["pid"]).toBe(process.pid);
  });

  it("knows who listened before it was there", async () => {
    await using server = await openForeignServer(SERVER, "127.0.0.1");
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

describe.runIf(hasBpf).each(PROGRAM_VARIANTS)("rules of the network source as %s", (variant) => {
  it("hold for the executable that has a socket, whoever runs when something becomes of it", async () => {
    using pins = openPinFolder();
    const exe = realpathSync(process.execPath);
    const rules = { ...DEFAULT_RULES, filters: [{ topics: ["network"], exe }] };
    await using source = openTestSource({ family: "network", pins, variants: [variant], rules });
    await using run = await runAttached(source, pins);
    await using server = await openForeignServer(SERVER, "127.0.0.1");
    // Over loopback, the client's packets move the server's socket in the client's context.
    const ask = `exec 3<>/dev/tcp/127.0.0.1/${server.port}; printf 9 >&3; cat <&3 > /dev/null`;
    const { pid } = spawnSync("bash", ["-c", ask]);
    await run.waitFor((line) => line.topic === "network/close" && line["pid"] === pid, {
      count: 1,
    });
    expect(run.lines.filter((line) => line["pid"] === server.pid)).toEqual([]);
    expect(source.counters().filtered).toBeGreaterThanOrEqual(3);
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
    await using server = await openForeignServer(SERVER, host);
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

  it.each([["127.0.0.1"], ["::1"]])("tells what went over a connection to %s", async (host) => {
    await using server = await openForeignServer(SERVER, host);
    const from = await fetchBytes(host, server.port, 3_000_000);
    const ends = { src_ip: host, src_port: from, dst_ip: host, dst_port: server.port };
    const isEnd = (line: Line): boolean =>
      line.topic === "network/close" && line["src_port"] === from &&
      line["dst_port"] === server.port;
    const closes = await run.waitFor(isEnd, { count: 2 });
    expect(closes).toHaveLength(2);
    const ours = closes.find((line) => line["pid"] === process.pid);
    expect(ours).toMatchObject({
      ...ends,
      outcome: "success",
      detail: { ends: "connect", bytes_in: 3_000_000, bytes_out: 7 },
    });
    const theirs = closes.find((line) => line["pid"] === server.pid);
    expect(theirs).toMatchObject({
      ...ends,
      outcome: "success",
      detail: { ends: "accept", bytes_in: 7, bytes_out: 3_000_000 },
    });
    for (const { detail } of closes) expect(detail["duration_ms"]).toBeGreaterThan(0);
  });

  it("tells a reset as failure where it arrives, and as plain end where it was sent", async () => {
    await using server = await openForeignServer(SERVER, "127.0.0.1");
    const socket = connect(server.port, "127.0.0.1");
    await once(socket, "connect");
    const from = socket.localPort;
    socket.resetAndDestroy();
    await once(socket, "close");
    const isEnd = (line: Line): boolean =>
      line.topic === "network/close" && line["src_port"] === from &&
      line["dst_port"] === server.port;
    const closes = await run.waitFor(isEnd, { count: 2 });
    expect(closes.find(({ pid }) => pid === process.pid)).toMatchObject({ outcome: "success" });
    const broken = closes.find(({ pid }) => pid === server.pid);
    expect(broken).toMatchObject({ outcome: "failure", errno: ECONNRESET });
    expect(broken?.["message"]).toMatch(
      /'s connection with .* broke after .*: ECONNRESET; 0 bytes/,
    );
  });

  it("tells the end of listening, of a killed process too", async () => {
    const server = await openForeignServer(SERVER, "127.0.0.1");
    await server[Symbol.asyncDispose]();
    const line = await only((each) =>
      each.topic === "network/close" && each["src_port"] === server.port && !("dst_ip" in each)
    );
    expect(line).toMatchObject({ pid: server.pid, detail: { ends: "listen" } });
  });

  it("gives a connection that processes share to the one that made it", async () => {
    await using server = await openForeignServer(SERVER, "127.0.0.1");
    const script = `exec 3<>/dev/tcp/127.0.0.1/${server.port}
      echo $$
      bash -c 'printf 5 >&3; cat <&3 >/dev/null' &
      exec 3>&-
      wait`;
    const { stdout } = await promisify(execFile)("bash", ["-c", script]);
    const line = await only((each) =>
      each.topic === "network/close" && each["dst_port"] === server.port &&
      each.detail["ends"] === "connect"
    );
    expect(line).toMatchObject({ pid: Number(stdout), detail: { bytes_in: 5, bytes_out: 1 } });
  });

  it("gives a connection that was passed on to the one that made it", async () => {
    await using server = await openForeignServer(SERVER, "127.0.0.1");
    const heir = spawn(process.execPath, ["-e", HEIR], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    const socket = connect(server.port, "127.0.0.1");
    await once(socket, "connect");
    const from = socket.localPort;
    heir.send("take", socket);
    await once(heir, "exit");
    const line = await only((each) =>
      each.topic === "network/close" && each["src_port"] === from &&
      each.detail["ends"] === "connect"
    );
    expect(line).toMatchObject({ pid: process.pid, detail: { bytes_in: 9, bytes_out: 1 } });
  });

  it("tells a connection of which one half was closed when both are", async () => {
    const sockets: Socket[] = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => sockets.push(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    const from = socket.localPort;
    const isClose = (line: Line): boolean =>
      line.topic === "network/close" && line["src_port"] === from && line["dst_port"] === port;
    socket.end("12");
    // Later events of the same ring: what came before them was read.
    const later = await connectTo("127.0.0.1", port);
    await only((line) => line.topic === "network/connect" && line["src_port"] === later);
    expect(run.lines.filter(isClose)).toEqual([]);
    for (const each of sockets) each.end("345");
    socket.resume();
    await once(socket, "close");
    server.close();
    const closes = await run.waitFor(isClose, { count: 2 });
    expect(closes.map(({ detail }) => [detail["ends"], detail["bytes_in"], detail["bytes_out"]]))
      .toEqual(expect.arrayContaining([["connect", 3, 2], ["accept", 2, 3]]));
  });

  it("gives a client of an IPv6 socket its IPv4 address", async () => {
    await using server = await openForeignServer(SERVER, "::");
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
      await using server = await openForeignServer(SERVER, "127.0.0.1");
      ports.add(server.port);
      await connectTo("127.0.0.1", server.port);
    },
    isTriggered: (line) => ports.has(line["dst_port"]),
    hasRing: true,
  });
}
