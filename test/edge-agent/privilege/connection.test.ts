import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadLibc } from "../../../src/edge-agent/libc.ts";
import { createConnection } from "../../../src/edge-agent/privilege/connection.ts";
import { encodeReply } from "../../../src/edge-agent/privilege/messages.ts";
import { createRemoteLibc } from "../../../src/edge-agent/privilege/remote-libc.ts";
import { loadProcessCalls, type MessageSocket } from "../../../src/edge-agent/process-calls.ts";

const EINVAL = -22;
const libc = loadLibc();
const calls = loadProcessCalls();
const folder = realpathSync(mkdtempSync(join(tmpdir(), "probity-connection-")));
const path = join(folder, "file");
beforeAll(() => writeFileSync(path, "text"));
afterAll(() => rmSync(folder, { recursive: true }));

const openDescriptors = () => readdirSync("/proc/self/fd").length;

describe("messages between processes", () => {
  it("carry descriptors, which belong to who receives them", () => {
    const before = openDescriptors();
    using pair = openPair();
    const [left, right] = pair.sockets;
    using file = descriptorOf(path);
    for (let round = 0; round < 100; round += 1) {
      expect(left.send(Buffer.from(`round ${round}`), [file.fd, file.fd])).toBeGreaterThan(0);
      const message = right.receive();
      if (typeof message === "number") throw new Error(`errno ${message}`);
      expect(Buffer.from(message.bytes).toString()).toBe(`round ${round}`);
      expect(message.descriptors).toHaveLength(2);
      for (const fd of message.descriptors) {
        expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(path);
        closeSync(fd);
      }
    }
    pair[Symbol.dispose]();
    file[Symbol.dispose]();
    expect(openDescriptors()).toBe(before);
  });

  it("that are too large, or have too many descriptors, are not sent", () => {
    using pair = openPair();
    const [left] = pair.sockets;
    expect(left.send(Buffer.alloc(64 * 1024 + 1), [])).toBe(EINVAL);
    expect(left.send(Buffer.alloc(1), Array(33).fill(0))).toBe(EINVAL);
  });
});

describe("the agent's side", () => {
  it("asks only for what the kernel refuses it", () => {
    const asked: string[] = [];
    const remote = createRemoteLibc(
      { ...libc, open: () => -13, readlink: () => -13, mkdir: () => -1 },
      {
        ask: (operation, fields) => {
          asked.push(`${operation} ${JSON.stringify(fields)}`);
          return { status: 3, text: "abc", descriptors: [] };
        },
        askDescriptor: (operation, fields) => {
          asked.push(`${operation} ${JSON.stringify(fields)}`);
          return 7;
        },
        isAlive: () => true,
      },
    );
    expect(remote.open(Buffer.from("/a\xff", "latin1"), 0)).toBe(7);
    expect(remote.open("relative", 0)).toBe(-13);
    const buffer = Buffer.alloc(8);
    expect(remote.readlink("/proc/17/exe", buffer)).toBe(3);
    expect(buffer.toString("latin1", 0, 3)).toBe("abc");
    expect(remote.mkdir("/sys/fs/bpf/probity", 0o700)).toBe(3);
    expect(asked).toEqual([
      'open {"path":"/a\u00ff","flags":0}',
      'readlink {"path":"/proc/17/exe"}',
      'mkdir {"path":"/sys/fs/bpf/probity"}',
    ]);
  });

  it("says that the other side has ended, and never waits for it", () => {
    using pair = openPair();
    const connection = createConnection(calls, libc, pair.fds[0]);
    expect(connection.isAlive()).toBe(true);
    pair.close(1);
    expect(connection.isAlive()).toBe(false);
    expect(() => connection.ask("readlink", { path: "/proc/1/exe" })).toThrow("it has ended");
  });

  it("takes one descriptor, and closes those that nobody asked for", () => {
    using pair = openPair();
    const connection = createConnection(calls, libc, pair.fds[0]);
    using file = descriptorOf(path);
    const before = openDescriptors();
    pair.sockets[1].send(encodeReply({ status: 0, text: "" }), [file.fd, file.fd, file.fd]);
    const fd = connection.askDescriptor("open", { path: path, flags: 0 });
    expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(path);
    closeSync(fd);
    expect(openDescriptors()).toBe(before);
  });
});

function descriptorOf(path: string) {
  const fd = openSync(path, "r");
  let isOpen = true;
  return {
    fd,
    [Symbol.dispose]() {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}

function openPair() {
  const fds = calls.socketpair();
  if (typeof fds === "number") throw new Error(`errno ${fds}`);
  const sockets: readonly [MessageSocket, MessageSocket] = [
    calls.messages(fds[0]),
    calls.messages(fds[1]),
  ];
  const open = new Set<0 | 1>([0, 1]);
  const close = (side: 0 | 1): void => {
    if (open.delete(side)) libc.close(fds[side]);
  };
  return {
    fds,
    sockets,
    close,
    [Symbol.dispose]() {
      close(0);
      close(1);
    },
  };
}
