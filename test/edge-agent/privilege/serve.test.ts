import { spawn } from "node:child_process";
import { once } from "node:events";
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
import { filesystemMagic } from "../../../src/edge-agent/kernel-files.ts";
import { AT_EMPTY_PATH, ERRNO, loadLibc, SOL_SOCKET } from "../../../src/edge-agent/libc.ts";
import {
  encodeRequest,
  type Operation,
  REQUESTS,
} from "../../../src/edge-agent/privilege/messages.ts";
import { createService, serve, type Service } from "../../../src/edge-agent/privilege/serve.ts";
import { requireCapability } from "../../support/require.ts";

const O_WRONLY = 1;
const O_PATH = 0o10000000;
const O_NOFOLLOW = 0o400000;
const FAN_NONBLOCK = 2;
const FAN_REPORT_FID = 0x200;
const FAN_MARK_ADD = 1;
const FAN_OPEN = 0x20;
const FAN_OPEN_EXEC = 0x1000;
const isRoot = requireCapability("root", process.getuid?.() === 0, "it makes fanotify groups");
const SO_DETACH_FILTER = 27;
const hasAudit = requireCapability("audit", isRoot && canAudit(), "a kernel with audit, and root");
const hasBpfFolder = requireCapability(
  "bpf",
  isRoot && filesystemMagic("/sys/fs/bpf") === 0xcafe4a11,
  "there is no BPF filesystem that root may write to",
);
const EPERM = -1;
const EINVAL = -22;
const libc = loadLibc();
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

function canAudit(): boolean {
  const fd = loadLibc().socket(16, 3, 9);
  if (fd >= 0) loadLibc().close(fd);
  return fd >= 0;
}

function newService(): Service {
  const service = createService({
    libc,
    libbpf: undefined,
    loadObject: () => {
      throw new Error("nothing is loaded here");
    },
  });
  say(service, "policy", { contents: [watched], belowHomes: ["/.ssh/authorized_file"] });
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
    // A path only: what is opened by it is up to the file's own mode, though not to the folders above.
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

  it("opens what is watched below homes in one that was made later, and nothing beside it", () => {
    const service = newService();
    const keys = join(folder, "home", "new", ".ssh");
    mkdirSync(keys, { recursive: true, mode: 0o700 });
    writeFileSync(join(keys, "authorized_file"), "ssh-ed25519", { mode: 0o600 });
    writeFileSync(join(keys, "id_ed25519"), "a key", { mode: 0o600 });
    expect(say(service, "open", { path: join(keys, "authorized_file"), flags: 0 }))
      .toMatchObject({ status: 0, text: "ssh-ed25519" });
    expect(say(service, "open", { path: join(keys, "id_ed25519"), flags: 0 }).status).toBe(EPERM);
  });

  it("takes no policy that it cannot read", () => {
    const service = createService({
      libc,
      libbpf: undefined,
      loadObject: () => {
        throw new Error("nothing is loaded here");
      },
    });
    expect(say(service, "policy", { contents: [], belowHomes: ["/[z"] }).status).toBe(EINVAL);
  });

  it("opens a folder that must be no link", () => {
    expect(say(newService(), "open", { path: watched, flags: O_NOFOLLOW }))
      .toMatchObject({ status: 0, target: watched });
  });

  it.runIf(hasBpfFolder)(
    "opens what is in the folders of pins, and nothing that a link there leads to",
    () => {
      const service = newService();
      const pins = `/sys/fs/bpf/probity-test-${process.pid}`;
      mkdirSync(join(pins, "set"), { recursive: true });
      try {
        symlinkSync(outside, join(pins, "link"));
        symlinkSync(folder, join(pins, "above"));
        const open = (path: string, flags = 0) => say(service, "open", { path, flags });
        for (const path of [pins, join(pins, "set")]) {
          expect(open(path)).toMatchObject({ status: 0, target: path });
          expect(open(path, O_NOFOLLOW)).toMatchObject({ status: 0, target: path });
          expect(open(path, O_PATH)).toMatchObject({ status: 0, target: path });
        }
        for (const name of ["link", "above", "above/outside"]) {
          for (const flags of [0, O_NOFOLLOW]) {
            const { status, target } = open(join(pins, name), flags);
            expect(status, `${name} ${flags}`).toBeLessThan(0);
            expect(target).toBeUndefined();
          }
          expect(open(join(pins, name), O_PATH).target).not.toBe(outside);
        }
      } finally {
        rmSync(pins, { recursive: true });
      }
    },
  );

  it.runIf(isRoot)("lets no group read what others open", () => {
    const service = newService();
    const init = (flags: number) => {
      const { descriptors: [fd = -1] = [] } = service.answer(
        encodeRequest("fanotify_init", { flags, eventFlags: 0 }),
        [],
      );
      return { fd, [Symbol.dispose]: () => closeSync(fd) };
    };
    using marked = descriptorOf(outside);
    const mark = (group: number, mask: number) =>
      say(service, "fanotify_mark", { flags: FAN_MARK_ADD, mask }, [group, marked.fd]).status;
    using descriptors = init(FAN_NONBLOCK);
    expect(mark(descriptors.fd, FAN_OPEN)).toBe(EPERM);
    expect(mark(descriptors.fd, FAN_OPEN | FAN_OPEN_EXEC)).toBe(EPERM);
    expect(mark(descriptors.fd, FAN_OPEN_EXEC)).toBe(0);
    using handles = init(FAN_NONBLOCK | FAN_REPORT_FID);
    expect(mark(handles.fd, FAN_OPEN)).toBe(0);
    expect(mark(marked.fd, FAN_OPEN_EXEC)).toBe(EPERM);
  });

  it.runIf(isRoot)("opens no file that has a watched path in other mounts alone", async () => {
    const path = join(watched, "file");
    const script = `mount --bind ${outside} ${path} && echo mounted && exec cat`;
    const other = spawn("unshare", ["-m", "sh", "-c", script], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    try {
      expect(String((await once(other.stdout, "data"))[0])).toBe("mounted\n");
      using foreign = descriptorOf(`/proc/${other.pid}/root${path}`);
      expect(readlinkSync(`/proc/self/fd/${foreign.fd}`)).toBe(path);
      const fields = { path: "", flags: 0 };
      expect(say(newService(), "open_at", fields, [foreign.fd]).status).toBe(EPERM);
    } finally {
      other.stdin.end();
      await once(other, "close");
    }
  });

  it.runIf(hasAudit)("gives a socket of audit whose filter nobody can take away", () => {
    const request = encodeRequest("audit_socket", {});
    const { status, descriptors: [fd = -1] = [] } = newService().answer(request, []);
    expect([status, readlinkSync(`/proc/self/fd/${fd}`)]).toEqual([
      ...[0, expect.stringMatching(/^socket:/)],
    ]);
    const value = new Uint8Array(4);
    expect(libc.setsockopt(fd, { level: SOL_SOCKET, name: SO_DETACH_FILTER, value })).toBe(EPERM);
    expect(libc.setsockopt_filter(fd, Uint8Array.of(6, 0, 0, 0, 255, 255, 255, 255))).toBe(EPERM);
    libc.close(fd);
  });

  it("takes the policy once", () => {
    expect(say(newService(), "policy", { contents: ["/"], belowHomes: [] }).status).toBe(EPERM);
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
      const fields = { handles: [handle.toString("latin1")], flags: O_PATH };
      expect(say(service, "open_by_handles", fields, [mount.fd]).status).toBe(EPERM);
    }
  });

  it("opens many handles at once, in their order, and only to look at", () => {
    const service = newService();
    using mount = descriptorOf(folder);
    const handles = ["file", "other"].map((name) => {
      writeFileSync(join(watched, name), name);
      const handle = Buffer.alloc(136);
      handle.writeUInt32LE(128, 0);
      using opened = descriptorOf(join(watched, name));
      expect(libc.name_to_handle_at(opened.fd, "", handle, AT_EMPTY_PATH)).toBe(0);
      return handle.toString("latin1", 0, 8 + handle.readUInt32LE(0));
    });
    const [first = "", second = ""] = handles;
    const gone = first.slice(0, 8) + "\x7f".repeat(first.length - 8);
    const fields = { handles: [first, gone, second], flags: O_PATH };
    const answer = service.answer(encodeRequest("open_by_handles", fields), [mount.fd]);
    const opened = answer.descriptors ?? [];
    const paths = opened.map((fd) => readlinkSync(`/proc/self/fd/${fd}`));
    for (const fd of opened) closeSync(fd);
    expect(paths).toEqual([join(watched, "file"), join(watched, "other")]);
    expect(answer).toMatchObject({ status: 0, text: `0 -${ERRNO.ESTALE} 0` });
    const toRead = { handles, flags: 0 };
    expect(say(service, "open_by_handles", toRead, [mount.fd]).status).toBe(EPERM);
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

describe("a process that answers without end", () => {
  it("lets what its calls leave behind be freed: that needs turns of the event loop", async () => {
    let answered = 0;
    let answeredBefore = 0;
    setImmediate(() => answeredBefore = answered);
    await serve({
      receive: () => ({
        bytes: answered < 2_000 ? encodeRequest("readlink", { path: "/" }) : new Uint8Array(),
        descriptors: [],
      }),
      send: () => ++answered,
    }, { socketFd: -1, libc, libbpf: undefined, loadObject: () => expect.fail() });
    expect(answered).toBe(2_000);
    expect(answeredBefore).toBeLessThan(1_000);
    expect(answeredBefore).toBeGreaterThan(0);
  });
});
