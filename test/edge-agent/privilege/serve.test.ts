import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadLibc } from "../../../src/edge-agent/libc.ts";
import { createConnection } from "../../../src/edge-agent/privilege/connection.ts";
import {
  encodeReply,
  encodeRequest,
  type Operation,
  REQUESTS,
} from "../../../src/edge-agent/privilege/messages.ts";
import { createRemoteLibc } from "../../../src/edge-agent/privilege/remote-libc.ts";
import { createService, type Service } from "../../../src/edge-agent/privilege/serve.ts";
import { loadProcessCalls, type MessageSocket } from "../../../src/edge-agent/process-calls.ts";

const O_WRONLY = 1;
const O_PATH = 0o10000000;
const EPERM = -1;
const EINVAL = -22;
const libc = loadLibc();
const calls = loadProcessCalls();
const folder = realpathSync(mkdtempSync(join(tmpdir(), "probity-privilege-")));
const watched = join(folder, "watched");
const outside = join(folder, "outside");
beforeAll(() => {
  mkdirSync(watched);
  writeFileSync(join(watched, "file"), "watched text");
  writeFileSync(outside, "not watched");
  symlinkSync(outside, join(watched, "link"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function newService(): Service {
  const service = createService({
    libc,
    libbpf: undefined,
    loadObject: () => {
      throw new Error("nothing is loaded here");
    },
  });
  say(service, "policy", { contents: [watched] });
  return service;
}

/** Status and descriptor of the answer. */
function say(
  service: Service,
  operation: Operation,
  fields: Readonly<Record<string, unknown>>,
  descriptors: readonly number[] = [],
) {
  const answer = service.answer(encodeRequest(operation, fields), descriptors);
  const { status, descriptors: [descriptor] = [] } = answer;
  if (descriptor === undefined) return { status, target: undefined };
  const target = readlinkSync(`/proc/self/fd/${descriptor}`);
  const text = status === 0 && target.endsWith("file") ? readFileSync(descriptor, "utf8") : "";
  closeSync(descriptor);
  return { status, target, text };
}

const openDescriptors = () => readdirSync("/proc/self/fd").length;

describe("the privileged process", () => {
  it("opens watched files and any folder, and no other file's content", () => {
    const service = newService();
    const open = (path: string, flags = 0) => say(service, "open", { path, flags });
    expect(open(join(watched, "file"))).toMatchObject({ status: 0, text: "watched text" });
    expect(open(folder)).toMatchObject({ status: 0, target: folder });
    expect(open(outside)).toMatchObject({ status: EPERM });
    expect(open(join(watched, "link"))).toMatchObject({ status: EPERM });
    expect(open(`${watched}/../outside`)).toMatchObject({ status: EPERM });
    expect(open(`/proc/${process.pid}/root${outside}`)).toMatchObject({ status: EPERM });
    expect(open(`/proc/${process.pid}/fd`)).toMatchObject({ status: 0 });
    expect(open("/dev/null")).toMatchObject({ status: EPERM });
    expect(open(join(watched, "file"), O_WRONLY)).toMatchObject({ status: EPERM });
    // A path only: it gives no content, whatever is done with it.
    expect(open(outside, O_PATH)).toMatchObject({ status: 0, target: outside });
  });

  it("opens anew, and below a folder, what is given it as a descriptor, by the same rules", () => {
    const service = newService();
    const openAt = (fd: number, path: string, flags = 0) =>
      say(service, "open_at", { path, flags }, [fd]);
    using inside = descriptorOf(watched);
    using file = descriptorOf(join(watched, "file"));
    using other = descriptorOf(outside);
    expect(openAt(file.fd, "")).toMatchObject({ status: 0, text: "watched text" });
    expect(openAt(inside.fd, "file")).toMatchObject({ status: 0, text: "watched text" });
    expect(openAt(other.fd, "")).toMatchObject({ status: EPERM });
    expect(openAt(inside.fd, "link")).toMatchObject({ status: EPERM });
    expect(openAt(inside.fd, "../outside", O_PATH)).toMatchObject({ status: EPERM });
  });

  it("takes the policy once", () => {
    expect(say(newService(), "policy", { contents: ["/"] }).status).toBe(EPERM);
  });

  it("opens nothing's content before it has a policy", () => {
    const service = createService({
      libc,
      libbpf: undefined,
      loadObject: () => {
        throw new Error("nothing is loaded here");
      },
    });
    expect(say(service, "open", { path: join(watched, "file"), flags: 0 }).status).toBe(EPERM);
  });

  it("reads no more of a handle than came", () => {
    const service = newService();
    using mount = descriptorOf(folder);
    const short = Buffer.alloc(8);
    short.writeUInt32LE(128, 0);
    for (const handle of [short, Buffer.alloc(4), Buffer.alloc(0)]) {
      const fields = { handle: handle.toString("latin1"), flags: O_PATH };
      expect(say(service, "open_by_handle", fields, [mount.fd]).status).toBe(EPERM);
    }
  });

  it("refuses what it does not know, keeps going, and leaves no descriptor open", () => {
    const service = newService();
    const path = fc.constantFrom(
      folder,
      outside,
      join(watched, "file"),
      "/proc/1/mem",
      "/sys/fs/bpf/../../../etc/shadow",
      "/sys/fs/bpf/other/map",
      "/",
    );
    const value = fc.oneof(path, fc.nat(0xffff), fc.string({ maxLength: 20 }), fc.jsonValue());
    // What changes the host is left to requests that are permitted; none of these paths is one of Probity's.
    const request = fc.constantFrom(...(Object.keys(REQUESTS) as Operation[])).chain((operation) =>
      fc.record(
        Object.fromEntries(
          Object.entries<string>(REQUESTS[operation].fields).map(([name, kind]) => [
            name,
            kind === "path"
              ? path
              : kind === "relative"
              ? path.map((text) => text.slice(1))
              : kind === "number"
              ? fc.nat(0x1fff)
              : value,
          ]),
        ),
      ).map((fields) => encodeRequest(operation, fields))
    );
    const before = openDescriptors();
    fc.assert(
      fc.property(
        fc.oneof(request, fc.uint8Array({ maxLength: 100 })),
        fc.nat(2),
        (bytes, count) => {
          const given = Array.from({ length: count }, () => openSync(folder, "r"));
          const answer = service.answer(bytes, given);
          for (const fd of given) closeSync(fd);
          for (const fd of answer.descriptors ?? []) closeSync(fd);
          expect(answer.status).toBeGreaterThanOrEqual(-200);
        },
      ),
      { numRuns: 2000 },
    );
    expect(openDescriptors()).toBe(before);
    expect(say(service, "open", { path: folder, flags: 0 }).status).toBe(0);
  });
});

describe("messages between processes", () => {
  it("carry descriptors, which belong to who receives them", () => {
    const before = openDescriptors();
    using pair = openPair();
    const [left, right] = pair.sockets;
    using file = descriptorOf(join(watched, "file"));
    for (let round = 0; round < 100; round += 1) {
      expect(left.send(Buffer.from(`round ${round}`), [file.fd, file.fd])).toBeGreaterThan(0);
      const message = right.receive();
      if (typeof message === "number") throw new Error(`errno ${message}`);
      expect(Buffer.from(message.bytes).toString()).toBe(`round ${round}`);
      expect(message.descriptors).toHaveLength(2);
      for (const fd of message.descriptors) {
        expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(join(watched, "file"));
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
    expect(left.send(Buffer.alloc(1), [0, 0, 0, 0, 0])).toBe(EINVAL);
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
    using file = descriptorOf(outside);
    const before = openDescriptors();
    pair.sockets[1].send(encodeReply({ status: 0, text: "" }), [file.fd, file.fd, file.fd]);
    const fd = connection.askDescriptor("open", { path: outside, flags: 0 });
    expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe(outside);
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
