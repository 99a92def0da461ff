import { execFile, spawnSync } from "node:child_process";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { mkdirSync, readFileSync, realpathSync, rmdirSync } from "node:fs";
import { connect, createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cgroupMounts } from "../../src/edge-agent/cgroup-root.ts";
import { DEFAULT_RULES } from "../../src/edge-agent/rules.ts";
import { describeSource } from "../edge-agent/source-conformance.ts";
import { type ForeignServer, openForeignServer } from "../support/foreign-server.ts";
import { hasBpf, openPinFolder, openTestSource, runAttached } from "../support/ring-sources.ts";
import type { Line, SourceRun } from "../support/source-run.ts";

const supportPath = (file: string): string =>
  fileURLToPath(new URL(`../support/${file}`, import.meta.url));
const run = promisify(execFile);
/** Peers that a socket's flows are told of apart; as in bpf/flow-socket.h. */
const FLOWS = 16;

/** An echo in a process of its own, which tells its port. */
const SERVER = `
  const [host] = process.argv.slice(1);
  const socket = require("node:dgram").createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("message", (message, { port, address }) => socket.send(message, port, address));
  socket.bind(0, host, () => console.log(socket.address().port));
`;

/** Sends messages of ten bytes one after the other, each after the answer to the one before; the local port. */
async function exchange(
  server: ForeignServer,
  { host, count, isConnected = false }: {
    readonly host: string;
    readonly count: number;
    readonly isConnected?: boolean;
  },
): Promise<number> {
  const socket: Socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  if (isConnected) {
    socket.connect(server.port, host);
    await once(socket, "connect");
  }
  for (let round = 0; round < count; round += 1) {
    const answered = once(socket, "message");
    if (isConnected) socket.send("0123456789");
    else socket.send("0123456789", server.port, host);
    await answered;
  }
  const { port } = socket.address();
  socket.close();
  await once(socket, "close");
  return port;
}

describe.runIf(hasBpf)("the flow source", () => {
  let flows: SourceRun;
  let connections: SourceRun;
  const pins = openPinFolder();
  const networkPins = openPinFolder();
  beforeAll(async () => {
    flows = await runAttached(openTestSource({ family: "flow", pins }), pins);
    const network = openTestSource({ family: "network", pins: networkPins });
    connections = await runAttached(network, networkPins);
  });
  afterAll(async () => {
    await flows.stop();
    await connections.stop();
    pins[Symbol.dispose]();
    networkPins[Symbol.dispose]();
  });

  const only = async (topic: string, want: (line: Line) => boolean): Promise<Line | undefined> => {
    const found = (line: Line): boolean => line.topic === topic && want(line);
    await flows.waitFor(found, { count: 1, timeoutMs: 10_000 });
    const lines = flows.lines.filter(found);
    expect(lines).toHaveLength(1);
    return lines[0];
  };

  it.each([
    ["127.0.0.1", "inet", false],
    ["127.0.0.1", "inet", true],
    ["::1", "inet6", false],
    ["::1", "inet6", true],
  ])("tells both sides of a flow to %s (%s, connected: %s)", async (host, family, isConnected) => {
    const server = await openForeignServer(SERVER, host);
    const from = await exchange(server, { host, count: 3, isConnected });
    await server[Symbol.asyncDispose]();
    const isOurs = (line: Line): boolean =>
      line["src_port"] === from && line["dst_port"] === server.port;
    const ends = { src_ip: host, dst_ip: host, protocol: "udp", outcome: "success" };
    const sums = { family, bytes_in: 30, bytes_out: 30, packets_in: 3, packets_out: 3 };

    const listen = await only(
      "network/listen",
      (line) => line["src_port"] === server.port && line["src_ip"] === host,
    );
    expect(listen).toMatchObject({ pid: server.pid, ppid: process.pid, protocol: "udp" });
    const sent = await only("network/connect", isOurs);
    expect(sent).toMatchObject({ ...ends, pid: process.pid, detail: { family } });
    const received = await only("network/accept", isOurs);
    expect(received).toMatchObject({
      ...ends,
      pid: server.pid,
      process_id: listen?.["process_id"],
    });

    const closes = (pid: number | undefined): Promise<Line | undefined> =>
      only("network/close", (line) => isOurs(line) && line["pid"] === pid);
    const ours = await closes(process.pid);
    expect(ours).toMatchObject(ends);
    expect(ours?.detail).toEqual({ ...sums, duration_ms: expect.any(Number), ends: "connect" });
    expect(ours?.detail["duration_ms"]).toBeGreaterThan(0);
    const theirs = await closes(server.pid);
    expect(theirs).toMatchObject(ends);
    expect(theirs?.detail).toEqual({ ...sums, duration_ms: expect.any(Number), ends: "accept" });
    const end = await only(
      "network/close",
      (line) => line["src_port"] === server.port && line.detail["ends"] === "listen",
    );
    expect(end).toMatchObject({ pid: server.pid });
  });

  it("gives an IPv4 peer of an IPv6 socket its address", async () => {
    await using server = await openForeignServer(SERVER, "::");
    const from = await exchange(server, { host: "127.0.0.1", count: 1 });
    const line = await only("network/accept", (each) => each["src_port"] === from);
    expect(line).toMatchObject({
      src_ip: "127.0.0.1",
      pid: server.pid,
      detail: { family: "inet6" },
    });
  });

  it("loses no packet of a server with more peers than are told apart", async () => {
    const server = await openForeignServer(SERVER, "127.0.0.1");
    const peers = 3 * FLOWS;
    for (let peer = 0; peer < peers; peer += 1) {
      await exchange(server, { host: "127.0.0.1", count: 2 });
    }
    await server[Symbol.asyncDispose]();
    const isEnd = (line: Line): boolean =>
      line.topic === "network/close" && line["pid"] === server.pid &&
      line.detail["ends"] !== "listen";
    await flows.waitFor((line) => isEnd(line) && line.detail["aggregate"] === true, { count: 1 });
    const closes = flows.lines.filter(isEnd);
    expect(closes).toHaveLength(FLOWS + 1);
    const sum = (name: string): number =>
      closes.reduce((total, { detail }) => total + Number(detail[name]), 0);
    expect([sum("packets_in"), sum("packets_out")]).toEqual([2 * peers, 2 * peers]);
    expect([sum("bytes_in"), sum("bytes_out")]).toEqual([20 * peers, 20 * peers]);
    const accepts = flows.lines.filter((line) =>
      line.topic === "network/accept" && line["pid"] === server.pid
    );
    expect(accepts).toHaveLength(FLOWS);
  });

  it("gives what is sent on a shared socket to the process that sends", async () => {
    await using server = await openForeignServer(SERVER, "127.0.0.1");
    const script = `exec 3<>/dev/udp/127.0.0.1/${server.port}
      bash -c 'printf 12345 >&3' &
      echo $$ $!
      wait`;
    const { stdout } = await run("bash", ["-c", script]);
    const [parent, child] = stdout.trim().split(" ").map(Number);
    const isOurs = (line: Line): boolean => line["dst_port"] === server.port;
    const sent = await only("network/connect", isOurs);
    expect(sent).toMatchObject({ pid: child, ppid: parent });
    const end = await only("network/close", (line) => isOurs(line) && line["pid"] === child);
    expect(end?.detail).toMatchObject({ bytes_out: 5, packets_out: 1 });
  });

  it("names peers of connections by DNS answers over UDP and TCP, in their namespace", async () => {
    const { stdout } = await run("unshare", [
      "--net",
      "sh",
      "-c",
      'ip link set lo up && exec "$@"',
      "sh",
      process.execPath,
      supportPath("named-peer-process.ts"),
    ]);
    const ports: Record<string, number> = JSON.parse(stdout);
    const named = async (topic: string, name: string): Promise<readonly Line[]> => {
      const isOurs = (line: Line): boolean =>
        line.topic === topic && line["src_port"] === ports[name] && line["dst_port"] !== 53;
      return await connections.waitFor(isOurs, { count: 1 });
    };
    for (const name of ["short.test", "long.test"]) {
      const [made] = await named("network/connect", name);
      expect(made?.detail["names"]).toEqual([name]);
      expect(made?.["message"]).toContain(` (${name})`);
      const closes = await named("network/close", name);
      expect(closes.find(({ detail }) => detail["ends"] === "connect")?.detail["names"])
        .toEqual([name]);
    }
    // The answer that was taken had another address; the one that nobody asked for names nothing.
    const [forged] = await named("network/connect", "forged.test");
    expect(forged?.["dst_ip"]).toBe("127.0.0.4");
    expect(forged?.detail).not.toHaveProperty("names");
    // What was answered there, over whatever, says nothing of the same addresses here.
    for (const address of ["127.0.0.2", "127.0.0.3"]) {
      const server = createServer((socket) => socket.end()).listen(0, address);
      await once(server, "listening");
      const bound = server.address();
      if (bound === null || typeof bound === "string") throw new Error("no port");
      const socket = connect(bound.port, address);
      await once(socket, "connect");
      const from = socket.localPort;
      socket.destroy();
      server.close();
      const [line] = await connections.waitFor(
        (each) => each.topic === "network/connect" && each["src_port"] === from,
        { count: 1 },
      );
      expect(line?.["dst_ip"]).toBe(address);
      expect(line?.detail).not.toHaveProperty("names");
    }
  });
});

describe.runIf(hasBpf)("a flow source that comes later than a socket", () => {
  it("knows from /proc who has it", async () => {
    await using server = await openForeignServer(SERVER, "127.0.0.1");
    using pins = openPinFolder();
    await using source = openTestSource({ family: "flow", pins });
    await using run = await runAttached(source, pins);
    const from = await exchange(server, { host: "127.0.0.1", count: 1 });
    const [line] = await run.waitFor(
      (each) => each.topic === "network/accept" && each["src_port"] === from,
      { count: 1, timeoutMs: 10_000 },
    );
    expect(line).toMatchObject({ pid: server.pid, dst_port: server.port });
  });
});

describe.runIf(hasBpf)("a flow source with rules", () => {
  it("leaves out in the kernel what they name, and counts it", async () => {
    await using server = await openForeignServer(SERVER, "127.0.0.1");
    using pins = openPinFolder();
    const rules = { ...DEFAULT_RULES, filters: [{ topics: ["network/connect"], uid: 0 }] };
    await using source = openTestSource({ family: "flow", pins, rules });
    await using run = await runAttached(source, pins);
    const from = await exchange(server, { host: "127.0.0.1", count: 1 });
    const isOurs = (line: Line): boolean => line["src_port"] === from;
    await run.waitFor((line) => isOurs(line) && line.detail["ends"] === "connect", {
      count: 1,
      timeoutMs: 10_000,
    });
    expect(run.lines.filter(isOurs).map(({ topic }) => topic))
      .toEqual(["network/listen", "network/accept", "network/close", "network/close"]);
    const { attempted, submitted, filtered } = source.counters();
    expect(filtered).toBeGreaterThan(0);
    expect(attempted).toBe(submitted + filtered);
  });

  it("knows a receiver's executable also while others run", async () => {
    using pins = openPinFolder();
    const exe = realpathSync(process.execPath);
    const rules = { ...DEFAULT_RULES, filters: [{ topics: ["network"], exe }] };
    await using source = openTestSource({ family: "flow", pins, rules });
    await using flows = await runAttached(source, pins);
    // Binding tells the programs whose socket it is: this one is younger than they.
    await using server = await openForeignServer(SERVER, "127.0.0.1");
    const send = `printf 12345 > /dev/udp/127.0.0.1/${server.port}`;
    const { pid } = spawnSync("bash", ["-c", send]);
    await flows.waitFor((line) => line.topic === "network/close" && line["pid"] === pid, {
      count: 1,
      timeoutMs: 10_000,
    });
    expect(flows.lines.filter((line) => line["pid"] === server.pid)).toEqual([]);
  });
});

describe.runIf(hasBpf)("the root cgroup", () => {
  const mounts = cgroupMounts(readFileSync("/proc/self/mountinfo", "utf8"));
  const unmount = mounts.map((path) => `umount --lazy '${path}'`).join(" && ");
  const probe = async (command: readonly string[]): Promise<unknown> => {
    using pins = openPinFolder();
    const script = `${unmount || ":"} && exec "$@"`;
    const prober = [process.execPath, supportPath("probe-process.ts"), pins.path, "flow"];
    const { stdout } = await run(command[0] ?? "", [
      ...command.slice(1),
      ...["sh", "-c", script, "sh", ...prober],
    ]);
    return JSON.parse(stdout)[0];
  };

  it("is found where no cgroup filesystem is mounted", async () => {
    expect(await probe(["unshare", "--mount"])).toMatchObject({ state: "on", how: "cgroup" });
  });

  it("is not taken for that of a container", async () => {
    const path = `${mounts[0]}/probity-test-${process.pid}`;
    mkdirSync(path);
    const enter = `echo $$ > '${path}/cgroup.procs' && exec unshare --cgroup --mount "$@"`;
    try {
      expect(await probe(["sh", "-c", enter, "sh"])).toEqual({
        state: "off",
        reason: expect.stringMatching(/^cgroup: Cannot open the root cgroup: .* cgroup namespace$/),
        remedy: expect.stringMatching(/^run the agent in the host's cgroup namespace/),
      });
    } finally {
      rmdirSync(path);
    }
  });
});

if (hasBpf) {
  const pins = openPinFolder();
  afterAll(() => pins[Symbol.dispose]());
  const ports = new Set<unknown>();
  describeSource("flow", {
    create: () => openTestSource({ family: "flow", pins }),
    trigger: async () => {
      await using server = await openForeignServer(SERVER, "127.0.0.1");
      ports.add(server.port);
      await exchange(server, { host: "127.0.0.1", count: 1 });
    },
    isTriggered: (line) => ports.has(line["dst_port"]),
    hasRing: true,
  });
}
