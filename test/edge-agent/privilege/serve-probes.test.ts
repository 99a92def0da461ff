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
import { afterAll, describe, expect, it } from "vitest";
import { filesystemMagic } from "../../../src/edge-agent/kernel-files.ts";
import { ERRNO, loadLibc } from "../../../src/edge-agent/libc.ts";
import { type Libbpf, loadLibbpf } from "../../../src/edge-agent/libbpf.ts";
import { encodeRequest } from "../../../src/edge-agent/privilege/messages.ts";
import { createService } from "../../../src/edge-agent/privilege/serve.ts";
import { proofLibraryBytes } from "../../../src/edge-agent/sources/crypto/proof-library.ts";
import { requireCapability } from "../../support/require.ts";

const isRoot = requireCapability("root", process.getuid?.() === 0, "it opens files by mappings");
const hasBpfFolder = requireCapability(
  "bpf",
  isRoot && filesystemMagic("/sys/fs/bpf") === 0xcafe4a11,
  "there is no BPF filesystem that root may write to",
);
const libc = loadLibc();
const folder = realpathSync(mkdtempSync(join(tmpdir(), "probity-privilege-")));
afterAll(() => rmSync(folder, { recursive: true }));
/** Where the library of proofs has its probe. */
const CODE_AT = 128;

function newService(libbpf?: Libbpf, calls = libc) {
  return createService({
    libc: calls,
    libbpf,
    loadObject: () => {
      throw new Error("nothing is loaded here");
    },
  });
}

/** Names of this process's mappings below map_files, by their rights. */
function mappingsOf(path: string, rights: RegExp): readonly string[] {
  return readFileSync("/proc/self/maps", "utf8").split("\n").flatMap((line) => {
    const [range = "", flags = "", , , , file] = line.split(/ +/);
    if (file !== path || !rights.test(flags)) return [];
    return range.split("-").map((each) => each.replace(/^0+/, "")).join("-");
  });
}

describe.runIf(isRoot)("the privileged process", () => {
  const open = (path: string, flags = 0) => {
    const answer = newService().answer(encodeRequest("open", { path, flags }), []);
    const [descriptor] = answer.descriptors ?? [];
    const target = descriptor === undefined
      ? undefined
      : readlinkSync(`/proc/self/fd/${descriptor}`);
    if (descriptor !== undefined) closeSync(descriptor);
    return { status: answer.status, target };
  };

  it("opens a file by a mapping that its process may execute, and by no other", () => {
    const [code = ""] = mappingsOf(process.execPath, /x/);
    const [data = ""] = mappingsOf(process.execPath, /^r--/);
    const base = `/proc/${process.pid}/map_files`;
    expect(open(`${base}/${code}`)).toEqual({ status: 0, target: process.execPath });
    expect(open(`${base}/${data}`)).toEqual({ status: -ERRNO.EPERM, target: undefined });
    for (const name of ["1000-2000", `${code}/x`, `0${code}`, "..", ""]) {
      expect(open(`${base}/${name}`).status, name).toBe(-ERRNO.EPERM);
    }
    // For reading only.
    expect(open(`${base}/${code}`, 1).status).toBe(-ERRNO.EPERM);
  });

  it("attaches programs to places that a file declares as a probe, and to no other", () => {
    const library = join(folder, "library.so");
    const text = join(folder, "text");
    writeFileSync(library, proofLibraryBytes("some_provider"));
    writeFileSync(text, "no library");
    const service = newService(loadLibbpf());
    const pins = "/sys/fs/bpf/probity-none/crypto";
    const place = { program: `${pins}/prog_usdt`, link: `${pins}/link_usdt_1`, semaphore: 0 };
    const attach = (path: string, fields: object): number => {
      const fd = openSync(path, "r");
      const request = encodeRequest("probe_attach", { ...place, cookie: 1, ...fields });
      const { status } = service.answer(request, [fd]);
      closeSync(fd);
      return status;
    };
    // All is well but that there is no such program.
    expect(attach(library, { offset: CODE_AT })).toBe(-ERRNO.ENOENT);
    expect(attach(library, { offset: CODE_AT + 1 })).toBe(-ERRNO.EPERM);
    expect(attach(library, { offset: CODE_AT, semaphore: 512 })).toBe(-ERRNO.EPERM);
    expect(attach(text, { offset: 0 })).toBe(-ERRNO.EPERM);
    expect(attach("/dev/null", { offset: 0 })).toBe(-ERRNO.EPERM);
    expect(attach(library, { offset: CODE_AT, program: "/etc/passwd" })).toBe(-ERRNO.EPERM);
    expect(attach(library, { offset: CODE_AT, link: "/etc/link" })).toBe(-ERRNO.EPERM);
  });

  it.runIf(hasBpfFolder)("attaches no program that a link leads to", () => {
    const library = join(folder, "linked.so");
    writeFileSync(library, proofLibraryBytes("some_provider"));
    // Whoever may make pins may make links: here to somebody else's program.
    const pins = `/sys/fs/bpf/probity-link-${process.pid}`;
    mkdirSync(pins);
    symlinkSync("/sys/fs/bpf/foreign", join(pins, "prog_usdt"));
    const fd = openSync(library, "r");
    try {
      const place = { program: `${pins}/prog_usdt`, link: `${pins}/link_usdt_1`, semaphore: 0 };
      const asked = encodeRequest("probe_attach", { ...place, cookie: 1, offset: CODE_AT });
      expect(newService(loadLibbpf()).answer(asked, [fd]).status).toBe(-ERRNO.EACCES);
    } finally {
      closeSync(fd);
      rmSync(pins, { recursive: true });
    }
  });

  it.runIf(hasBpfFolder)(
    "makes, renames and removes nothing in a folder that a link leads to",
    () => {
      const pins = `/sys/fs/bpf/probity-folder-${process.pid}`;
      const elsewhere = join(folder, "elsewhere");
      mkdirSync(join(elsewhere, "victims"), { recursive: true });
      writeFileSync(join(elsewhere, "victim"), "kept");
      mkdirSync(pins);
      // Whoever owns the folder puts a link where the folder of a source was.
      symlinkSync(elsewhere, join(pins, "crypto"));
      const service = newService(loadLibbpf());
      const ask = (operation: "mkdir" | "rmdir" | "unlink", name: string): number =>
        service.answer(encodeRequest(operation, { path: `${pins}/${name}` }), []).status;
      const rename = (from: string, to: string): number => {
        const paths = { path: `${pins}/${from}`, to: `${pins}/${to}` };
        return service.answer(encodeRequest("rename", paths), []).status;
      };
      try {
        expect(ask("unlink", "crypto/victim")).toBeLessThan(0);
        expect(ask("rmdir", "crypto/victims")).toBeLessThan(0);
        expect(ask("mkdir", "crypto/made")).toBeLessThan(0);
        expect(rename("crypto/victim", "crypto/other")).toBeLessThan(0);
        expect(readdirSync(elsewhere).toSorted()).toEqual(["victim", "victims"]);
        // The link itself may go, and folders that are none are made, renamed and removed.
        expect(ask("mkdir", "own")).toBe(0);
        expect(rename("own/none", "crypto/none")).toBeLessThan(0);
        expect(rename("own", "again")).toBe(0);
        expect(ask("rmdir", "again")).toBe(0);
        expect(ask("unlink", "crypto")).toBe(0);
        expect(readdirSync(pins)).toEqual([]);
      } finally {
        rmSync(pins, { recursive: true });
      }
    },
  );

  it("reads a file once, however many of its probes are attached", () => {
    const library = join(folder, "many.so");
    writeFileSync(library, proofLibraryBytes("some_provider"));
    let reads = 0;
    const pread: typeof libc.pread = (...args) => {
      reads += 1;
      return libc.pread(...args);
    };
    const service = newService(loadLibbpf(), { ...libc, pread });
    const fd = openSync(library, "r");
    const ask = (offset: number): number => {
      const program = "/sys/fs/bpf/probity-none/crypto/prog_usdt";
      const fields = { program, link: program, cookie: 1, semaphore: 0, offset };
      return service.answer(encodeRequest("probe_attach", fields), [fd]).status;
    };
    expect(ask(CODE_AT)).toBe(-ERRNO.ENOENT);
    const once = reads;
    expect(once).toBeGreaterThan(0);
    expect(ask(CODE_AT)).toBe(-ERRNO.ENOENT);
    expect(ask(CODE_AT + 1)).toBe(-ERRNO.EPERM);
    expect(reads).toBe(once);
    closeSync(fd);
  });
});
