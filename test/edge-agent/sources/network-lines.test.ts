import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FLAG } from "../../../src/edge-agent/record-layout.ts";
import { ipv4Text, ipv6Text } from "../../../src/edge-agent/sources/network/ip-text.ts";
import {
  type OlderActor,
  ownerOf,
  socketKeys,
} from "../../../src/edge-agent/sources/network/listeners.ts";
import { createNetworkDecoder } from "../../../src/edge-agent/sources/network/network-lines.ts";
import { createTestContext } from "../../support/decoders.ts";
import { locate, networkRecord } from "../../support/records.ts";
import { type Line, parseLine } from "../../support/source-run.ts";

function lineOf(record: Uint8Array, older: OlderActor = () => undefined): Line | undefined {
  const text = createNetworkDecoder(createTestContext(), older).line(locate(record));
  return text === undefined ? undefined : parseLine(text);
}

const ends = {
  pid: 30,
  startNs: 1n,
  comm: "curl",
  local: [10, 0, 0, 1],
  localPort: 40_000,
  remote: [10, 0, 0, 2],
  remotePort: 443,
};

describe("the line of a connection", () => {
  it("tells a connect from here to there", () => {
    const line = lineOf(
      networkRecord({ ...ends, kind: "connect", timeNs: 9_500_000n, begunNs: 2_000_000n }),
    );
    expect(line).toMatchObject({
      topic: "network/connect",
      outcome: "success",
      src_ip: "10.0.0.1",
      src_port: 40_000,
      dst_ip: "10.0.0.2",
      dst_port: 443,
      protocol: "tcp",
      message: "curl (process 30) connected to 10.0.0.2:443",
      detail: { family: "inet", duration_ms: 7.5 },
    });
    expect(line).not.toHaveProperty("errno");
  });

  it("tells a failed connect, with the reason when the socket has one", () => {
    const failed = networkRecord({ ...ends, kind: "connect", isFailure: true, error: 110 });
    expect(lineOf(failed)).toMatchObject({
      outcome: "failure",
      errno: 110,
      message: "curl (process 30) failed to connect to 10.0.0.2:443: ETIMEDOUT",
    });
    const silent = lineOf(networkRecord({ ...ends, kind: "connect", isFailure: true }));
    expect(silent).toMatchObject({
      outcome: "failure",
      message: expect.stringMatching(/to 10\.0\.0\.2:443$/),
    });
    expect(silent).not.toHaveProperty("errno");
  });

  it("tells an accept from there to here", () => {
    expect(lineOf(networkRecord({ ...ends, kind: "accept" }))).toMatchObject({
      topic: "network/accept",
      src_ip: "10.0.0.2",
      src_port: 443,
      dst_ip: "10.0.0.1",
      dst_port: 40_000,
      message: "curl (process 30) accepted a connection from 10.0.0.2:443 on port 40000",
      detail: { family: "inet" },
    });
  });

  it("tells a listen without another end", () => {
    const line = lineOf(
      networkRecord({ ...ends, kind: "listen", family: 10, local: Array(16).fill(0) }),
    );
    expect(line).toMatchObject({
      topic: "network/listen",
      src_ip: "::",
      src_port: 40_000,
      message: "curl (process 30) listens on [::]:40000",
      detail: { family: "inet6" },
    });
    expect(line).not.toHaveProperty("dst_ip");
  });

  it("asks who listens when the kernel did not note it, and says so when nobody knows", () => {
    const record = networkRecord({ ...ends, kind: "accept", flags: FLAG.noProcess });
    const known = lineOf(
      record,
      ({ protocol, localPort }) =>
        protocol === "tcp" && localPort === 40_000
          ? { columns: '"pid":7,', name: "/sbin/old", escaped: [] }
          : undefined,
    );
    expect(known).toMatchObject({
      pid: 7,
      message: expect.stringMatching(/^\/sbin\/old accepted /),
    });
    const unknown = lineOf(record);
    expect(unknown).toMatchObject({
      message: expect.stringMatching(/^An unknown process accepted /),
    });
    expect(unknown).not.toHaveProperty("pid");
  });

  it("tells what went over a connection that ends, and how long it stood", () => {
    const closed = networkRecord({
      ...ends,
      kind: "close",
      role: "connect",
      timeNs: 9_500_000n,
      begunNs: 2_000_000n,
      bytesIn: 2n ** 40n,
      bytesOut: 7n,
    });
    expect(lineOf(closed)).toMatchObject({
      topic: "network/close",
      outcome: "success",
      src_port: 40_000,
      dst_port: 443,
      message: "curl (process 30)'s connection to 10.0.0.2:443 ended after 8 ms: " +
        "1099511627776 bytes in, 7 bytes out",
    });
    expect(lineOf(closed)?.detail).toEqual({
      family: "inet",
      duration_ms: 7.5,
      bytes_in: 2 ** 40,
      bytes_out: 7,
      ends: "connect",
    });
  });

  it("tells a broken connection as failure, from there to here when it was accepted", () => {
    const broken = networkRecord({
      ...ends,
      kind: "close",
      role: "accept",
      isFailure: true,
      error: 104,
    });
    expect(lineOf(broken)).toMatchObject({
      outcome: "failure",
      errno: 104,
      src_port: 443,
      dst_port: 40_000,
      message: "curl (process 30)'s connection with 10.0.0.2:443 on port 40000 broke: " +
        "ECONNRESET; 0 bytes in, 0 bytes out",
    });
  });

  it("says of a connection from before the programs neither how it began nor how long it was", () => {
    const old = networkRecord({ ...ends, kind: "close", flags: FLAG.noProcess, bytesIn: 5n });
    const line = lineOf(old);
    expect(line?.detail).toEqual({ family: "inet", bytes_in: 5, bytes_out: 0 });
    expect(line?.["message"]).toMatch(
      /^An unknown process's connection with 10\.0\.0\.2:443 ended:/,
    );
  });

  it("tells the end of listening without sums", () => {
    const line = lineOf(networkRecord({ ...ends, kind: "close", role: "listen", begunNs: 0n }));
    expect(line).toMatchObject({ topic: "network/close", src_port: 40_000 });
    expect(line?.["message"]).toMatch(/ no longer listens on 10\.0\.0\.1:40000$/);
    expect(line?.detail).toEqual({ family: "inet", ends: "listen" });
    expect(line).not.toHaveProperty("dst_ip");
  });

  it("tells flows of datagrams with their packets, and sums of several peers as such", () => {
    const flow = { ...ends, protocol: 17, bytesIn: 9n, packetsIn: 3n, packetsOut: 4n };
    expect(lineOf(networkRecord({ ...flow, kind: "connect", begunNs: 1n }))).toMatchObject({
      protocol: "udp",
      message: "curl (process 30) sent to 10.0.0.2:443",
      detail: { family: "inet" },
    });
    expect(lineOf(networkRecord({ ...flow, kind: "accept" }))?.["message"])
      .toMatch(/ received from 10\.0\.0\.2:443 on port 40000$/);
    const sums = { bytes_in: 9, bytes_out: 0, packets_in: 3, packets_out: 4 };
    const one = lineOf(networkRecord({ ...flow, kind: "close", role: "accept" }));
    expect(one?.detail).toEqual({ family: "inet", ...sums, ends: "accept" });
    const all = lineOf(
      networkRecord({ ...flow, kind: "close", role: "accept", isAggregate: true }),
    );
    expect(all?.detail).toEqual({ family: "inet", ...sums, ends: "accept", aggregate: true });
    expect(all?.["message"]).toMatch(
      / exchanged datagrams with more peers, the latest 10\.0\.0\.2/,
    );
  });

  it("names the other end as DNS did in the same namespace", () => {
    const context = createTestContext();
    context.peerNames.learn({
      netCookie: 5,
      address: "10.0.0.2",
      name: "example.org",
      ttlSeconds: 60,
      timeNs: 1000,
    });
    const line = (netCookie: bigint): Line | undefined => {
      const record = networkRecord({ ...ends, kind: "connect", netCookie, timeNs: 2000n });
      const text = createNetworkDecoder(context, () => undefined).line(locate(record));
      return text === undefined ? undefined : parseLine(text);
    };
    expect(line(5n)).toMatchObject({
      message: "curl (process 30) connected to 10.0.0.2:443 (example.org)",
      detail: { names: ["example.org"] },
    });
    expect(line(6n)?.detail).toEqual({ family: "inet" });
  });

  it.each([
    ["another family", networkRecord({ ...ends, kind: "connect", family: 1 })],
    ["another protocol", networkRecord({ ...ends, kind: "connect", protocol: 1 })],
    ["a close that is cut", networkRecord({ ...ends, kind: "close" }).slice(0, 168)],
    ["a cut record", networkRecord({ ...ends, kind: "connect" }).slice(0, 120)],
  ])("is none for %s", (_what, record) => {
    expect(lineOf(record)).toBeUndefined();
  });

  it.each(["accept", "close"] as const)("is none or one that parses, whatever %s has", (kind) => {
    const good = networkRecord({ ...ends, kind });
    fc.assert(fc.property(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }),
      (changes) => {
        const copy = good.slice();
        for (const [at, value] of changes) copy[at] = value;
        lineOf(copy);
      },
    ));
  });
});

describe("addresses as text", () => {
  it("dots IPv4", () => expect(ipv4Text(Uint8Array.of(9, 127, 0, 0, 1), 1)).toBe("127.0.0.1"));

  it.each([
    ["0:0:0:0:0:0:0:0", "::"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["fe80:0:0:0:0:0:0:0", "fe80::"],
    ["0:0:0:0:0:ffff:a00:1", "10.0.0.1"],
    ["0:0:0:0:0:fffe:a00:1", "::fffe:a00:1"],
  ])("shortens %s to %s", (groups, text) => {
    const bytes = groups.split(":").map((group) => Number.parseInt(group, 16))
      .flatMap((group) => [group >> 8, group & 255]);
    expect(ipv6Text(Uint8Array.from([0xaa, ...bytes]), 1)).toBe(text);
  });
});

it("finds sockets in /proc/net/tcp by their ends, and listeners by their port", () => {
  const text = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0",
    "   1: 0100007F:1F91 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0",
    "   2: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A " +
    "00000000:00000000 00:00000000 00000000     0        0 777 1 0",
    "",
  ].join("\n");
  expect(socketKeys(text, "tcp")).toEqual([
    ["12345", "8080"],
    ["12346", "127.0.0.1 8081 127.0.0.1 40000"],
    ["777", "22"],
  ]);
  expect(socketKeys(text, "udp").map(([, key]) => key)).toEqual(["8080", "8081", "22"]);
  expect(socketKeys("", "tcp")).toEqual([]);
  const sockets = new Map([["8080", 7], ["127.0.0.1 8081 127.0.0.1 40000", 8]]);
  const ends = { protocol: "tcp", localIp: "127.0.0.1", remoteIp: "127.0.0.1" } as const;
  expect(ownerOf(sockets, { ...ends, localPort: 8081, remotePort: 40_000 })).toBe(8);
  expect(ownerOf(sockets, { ...ends, localPort: 8081, remotePort: 40_001 })).toBeUndefined();
  expect(ownerOf(sockets, { ...ends, localPort: 8080, remotePort: 1 })).toBe(7);
});

it("takes any text for lines of sockets", () => {
  fc.assert(fc.property(fc.string(), fc.constantFrom("tcp", "udp"), (text, protocol) => {
    for (const [inode] of socketKeys(`\n 0: ${text}`, protocol)) expect(inode).not.toBe("");
  }));
});
