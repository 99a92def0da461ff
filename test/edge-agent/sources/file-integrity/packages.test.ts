import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseApkInstalled } from "../../../../src/edge-agent/sources/file-integrity/packages/apk-manifest.ts";
import {
  parseDpkgStatus,
  parseDpkgSums,
} from "../../../../src/edge-agent/sources/file-integrity/packages/dpkg-manifest.ts";
import { loadManifests } from "../../../../src/edge-agent/sources/file-integrity/packages/load-manifests.ts";
import { createManifestIndex } from "../../../../src/edge-agent/sources/file-integrity/packages/manifest-index.ts";
import {
  createPackageFold,
  type FoldManifests,
  PACKAGE_FOLD_LIMITS,
} from "../../../../src/edge-agent/sources/file-integrity/packages/package-fold.ts";
import { managerOf } from "../../../../src/edge-agent/sources/file-integrity/package-folding.ts";
import type { PendingLook } from "../../../../src/edge-agent/sources/file-integrity/pending-looks.ts";
import { packageManagerOf } from "../../../../src/edge-agent/sources/file-integrity/packages/package-writer.ts";
import { parseRpmFiles } from "../../../../src/edge-agent/sources/file-integrity/packages/rpm-manifest.ts";
import { hostileText } from "./samples.ts";

const hash = (algorithm: string, text: string | Uint8Array) =>
  createHash(algorithm).update(text).digest("hex");
const owner = (name: string, version = "1") => ({ package: name, version, arch: "amd64" });

describe("records of dpkg", () => {
  const [one, two] = [hash("md5", "one"), hash("md5", "two")];
  const status = [
    "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\nConffiles:",
    ` /etc/a b ${one}`,
    ` /etc/old ${two} obsolete`,
    " /etc/new newconffile",
    "Description: x\n /etc/fake 00000000000000000000000000000000\n",
    "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n",
    "Package: half\nStatus: install ok half-configured\nVersion: 2\nArchitecture: all",
  ].join("\n");

  it("have packages that are there, and conffiles as they were delivered", () => {
    const { packages, conffiles } = parseDpkgStatus(status);
    expect([...packages.keys()]).toEqual(["bash", "bash:amd64", "half", "half:all"]);
    expect(conffiles.map(({ path, digest }) => [path, digest])).toEqual([
      ["/etc/a b", one],
      ["/etc/old", two],
    ]);
    expect(conffiles[0]?.owner).toEqual({ package: "bash", version: "5.2-1", arch: "amd64" });
  });

  it("have sums of files; other lines are passed over", () => {
    const lines =
      `${one}  bin/a b\n${two} *usr/x\n${one} y\nno\n${one.toUpperCase()}  z\n\n${one}  `;
    expect([...parseDpkgSums(lines, owner("a"))].map(({ path }) => path)).toEqual([
      "/bin/a b",
      "/usr/x",
    ]);
  });
});

describe("records of apk and rpm", () => {
  it("of apk have checksums in base64", () => {
    const sum = Buffer.from(hash("sha1", "x"), "hex").toString("base64");
    const sum256 = Buffer.from(hash("sha256", "x"), "hex").toString("base64");
    const text =
      `C:Q1abc=\nP:musl\nV:1.2-r0\nA:x86_64\nF:lib\nM:0:0:1777\nR:ld.so\na:0:0:755\nZ:Q1${sum}\n` +
      `R:none\nF:\nR:root\nZ:Q2${sum256}\nZ:Q1!!\n\nF:etc\nR:a\nZ:Q1${sum}\n`;
    expect([...parseApkInstalled(text)]).toEqual([
      {
        path: "/lib/ld.so",
        owner: { package: "musl", version: "1.2-r0", arch: "x86_64" },
        algorithm: "sha1",
        digest: hash("sha1", "x"),
      },
      expect.objectContaining({ path: "/root", algorithm: "sha256", digest: hash("sha256", "x") }),
    ]);
  });

  it("of rpm have one line per file", () => {
    const line = (number: string, digest: string, path: string) =>
      `bash\t5.2-1.fc40\tx86_64\t${number}\t${digest}\t${path}\n`;
    const text = line("8", hash("sha256", "x"), "/usr/bin/bash") + line("8", "", "/usr/share") +
      line("(none)", hash("md5", "x"), "/a\tb") + line("99", hash("md5", "x"), "/c") + "\n\t\t\n";
    expect([...parseRpmFiles(text)].map(({ path, algorithm }) => [path, algorithm])).toEqual([
      ["/usr/bin/bash", "sha256"],
      ["/a\tb", "md5"],
    ]);
  });

  it("of any text are read without a fault", () => {
    fc.assert(fc.property(hostileText, (text) => {
      for (const parse of [parseApkInstalled, parseRpmFiles]) expect([...parse(text)]).toEqual([]);
      expect([...parseDpkgSums(text, owner("a"))]).toEqual([]);
      expect(parseDpkgStatus(`Package: a\nVersion: 1\nStatus: a b c\n${text}`).conffiles).toEqual(
        [],
      );
    }));
  });
});

describe("an index of manifests", () => {
  it("knows contents by path and digest, however many there are", () => {
    const index = createManifestIndex();
    const entry = (at: number) => ({
      path: `/usr/bin/program-${at}`,
      owner: owner(`package-${at % 50}`),
      algorithm: "sha256" as const,
      digest: hash("sha256", `${at}`),
    });
    for (let at = 0; at < 20_000; at += 1) expect(index.add(entry(at))).toBe(true);
    for (let at = 0; at < 20_000; at += 97) {
      const { path, digest, owner: expected } = entry(at);
      expect(index.ownerOf(path, { sha256: digest })).toEqual(expected);
      expect(index.ownerOf(path, { sha256: hash("sha256", "other") })).toBeUndefined();
      expect(index.ownerOf(`${path}x`, { sha256: digest })).toBeUndefined();
      expect(index.ownerOf(path, { md5: digest.slice(0, 32) })).toBeUndefined();
    }
    expect(index.size).toBe(20_000);
  });

  it("knows a file of several packages by each content, and folders that are one by both names", () => {
    const index = createManifestIndex();
    const [a, b] = [hash("md5", "a"), hash("md5", "b")];
    index.add({ path: "/bin/x", owner: owner("a"), algorithm: "md5", digest: a });
    index.add({ path: "/usr/bin/x", owner: owner("b"), algorithm: "md5", digest: b });
    expect(index.ownerOf("/usr/bin/x", { md5: a })?.package).toBe("a");
    expect(index.ownerOf("/bin/x", { md5: b })?.package).toBe("b");
    expect(index.ownerOfPath("/bin/x")).toBeDefined();
    expect(index.ownerOfPath("/bin/y")).toBeUndefined();
  });

  it("takes no more than its limit, and says so", () => {
    const index = createManifestIndex({ entriesMax: 1 });
    const entry = {
      path: "/a",
      owner: owner("a"),
      algorithm: "md5",
      digest: hash("md5", ""),
    } as const;
    expect([index.add(entry), index.isCut, index.add(entry), index.isCut])
      .toEqual([true, false, false, true]);
  });
});

describe("manifests of a host", () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "probity-packages-"));
  });
  afterAll(() => rm(root, { recursive: true }));
  const put = async (path: string, text: string) => {
    await mkdir(join(root, path, ".."), { recursive: true });
    await writeFile(join(root, path), text);
  };

  it("of one without a package manager are empty, without a fault", async () => {
    const { index, faults } = await loadManifests({ signal: AbortSignal.timeout(60_000), root });
    expect([index.size, faults]).toEqual([0, []]);
  });

  it("are those of every manager; one that cannot be read is named", async () => {
    const sum = hash("md5", "x");
    await put(
      "var/lib/dpkg/status",
      "Package: a\nVersion: 1\nArchitecture: all\nStatus: i o installed\n",
    );
    await put("var/lib/dpkg/info/a.md5sums", `${sum}  usr/bin/a\n`);
    await put("var/lib/dpkg/info/a.list", "/usr/bin/a\n");
    await put("var/lib/dpkg/info/b.md5sums", `${sum}  usr/bin/b\n`);
    await put("lib/apk/db/installed/not-a-file", "");
    const { index, faults } = await loadManifests({ signal: AbortSignal.timeout(60_000), root });
    expect([index.size, index.ownerOf("/bin/a", { md5: sum })?.package]).toEqual([1, "a"]);
    expect(faults).toEqual([expect.stringContaining("EISDIR")]);
  });

  it("of this one know its own programs", async () => {
    const { index, faults } = await loadManifests({ signal: AbortSignal.timeout(60_000) });
    const md5 = hash("md5", await readFile("/bin/ls"));
    expect(index.ownerOf("/bin/ls", { md5 })?.package).toBe("coreutils");
    expect(index.ownerOf("/usr/bin/ls", { md5 })?.version).toMatch(/^\d/);
    expect(index.ownerOf("/bin/ls", { md5: hash("md5", "other") })).toBeUndefined();
    expect(faults).toEqual([]);
    expect(index.size).toBeGreaterThan(5_000);
  }, 60_000);
});

describe("a writer works for a package manager", () => {
  const of = (...exes: readonly string[]) =>
    packageManagerOf(exes.map((exe, at) => ({ exe, process_id: `p${at}` })));
  it("when one is among it and its ancestors, the outermost counting", () => {
    expect(of("/usr/bin/dpkg", "/usr/bin/apt-get", "/usr/bin/bash"))
      .toEqual({ name: "apt-get", processId: "p1" });
    expect(of("/bin/sh", "/usr/bin/dpkg (deleted)")?.name).toBe("dpkg");
    expect(of("/sbin/apk")?.name).toBe("apk");
    expect(packageManagerOf([{ exe: "/usr/bin/python3.12", script: "/usr/bin/dnf" }]))
      .toEqual({ name: "dnf", processId: undefined });
  });
  it("when the kernel ran its script by an interpreter, for the writer and for those above it", () => {
    const look = (image: object, columns: string, ancestors: readonly object[] = []) =>
      managerOf(
        // as: what else a look and its writer have plays no part
        {
          origin: { kind: "live" },
          writers: [{ actor: { columns, image, name: "", escaped: [] }, ancestors }],
        } as unknown as PendingLook,
      )?.name;
    const python = '"pid":1,"exe":"/usr/bin/python3.11",';
    expect(look({ script: "/usr/bin/dnf" }, python)).toBe("dnf");
    expect(look({ script: "/tmp/dnf" }, python)).toBeUndefined();
    expect(look({}, python)).toBeUndefined();
    const yum = { pid: 2, process_id: "p", exe: "/usr/bin/python3", script: "/usr/bin/yum" };
    expect(look({}, '"pid":1,"exe":"/usr/bin/sh",', [yum])).toBe("yum");
  });
  it("and not when something merely bears its name", () => {
    expect(
      of(
        "/tmp/dpkg",
        "/home/a/bin/rpm",
        "/usr/local/bin/apt",
        "/usr/bin/dpkg-query",
        "/usr/bin/python3",
      ),
    )
      .toBeUndefined();
    expect(packageManagerOf([{ exe: "/usr/bin/bash", script: "/usr/bin/dnf" }])).toBeUndefined();
    expect(packageManagerOf([{}])).toBeUndefined();
  });
});

describe("folding", () => {
  const manager = { name: "dpkg", processId: "p1" };
  const known = hash("md5", "known");
  const index = createManifestIndex();
  for (const name of ["a", "b"]) {
    index.add({ path: `/etc/${name}/1`, owner: owner(name), algorithm: "md5", digest: known });
    index.add({ path: `/etc/${name}/2`, owner: owner(name), algorithm: "md5", digest: known });
  }
  const manifests: FoldManifests = { now: index, before: index };
  const change = (path: string, md5: string | undefined = known) => ({
    path,
    digests: { md5 },
    manager,
    told: path,
  });
  const { quietMs, holdMs } = PACKAGE_FOLD_LIMITS;
  const shape = (
    { packages, strays }: ReturnType<ReturnType<typeof createPackageFold<string>>["fold"]>,
  ) => ({
    packages: packages.map(({ owner: { package: name }, changes }) => [name, ...changes]),
    strays,
  });

  it("makes one event per package, after quiet", () => {
    const fold = createPackageFold<string>();
    for (const path of ["/etc/a/1", "/etc/b/1", "/etc/a/2"]) {
      expect(fold.add(change(path), 10)).toBe(true);
    }
    expect(fold.dueMs).toBe(10 + quietMs);
    expect(shape(fold.fold(manifests, 9 + quietMs))).toEqual({ packages: [], strays: [] });
    expect(shape(fold.fold(manifests, 10 + quietMs))).toEqual({
      packages: [["a", "/etc/a/1", "/etc/a/2"], ["b", "/etc/b/1"]],
      strays: [],
    });
    expect([fold.size, fold.dueMs]).toEqual([0, undefined]);
  });

  it("does not hold what no package manager wrote", () => {
    const fold = createPackageFold<string>();
    expect(fold.add({ ...change("/etc/a/1"), manager: undefined }, 0)).toBe(false);
    expect(fold.dueMs).toBeUndefined();
  });

  it("begins when the manager ends, and tells alone what no package delivers", () => {
    const fold = createPackageFold<string>();
    fold.add(change("/etc/a/1"), 0);
    fold.add(change("/etc/a/2", hash("md5", "foreign")), 0);
    fold.add(change("/etc/passwd"), 1);
    fold.exited("p2");
    expect(fold.dueMs).toBe(1 + quietMs);
    fold.exited("p1");
    expect(shape(fold.fold(manifests, 2))).toEqual({
      packages: [["a", "/etc/a/1"]],
      strays: ["/etc/a/2", "/etc/passwd"],
    });
  });

  it("waits for manifests that are written after the files, and not for ever", () => {
    const fold = createPackageFold<string>();
    const later = createManifestIndex();
    fold.add(change("/etc/a/1"), 0);
    fold.add(change("/etc/x"), 0);
    expect(shape(fold.fold({ now: later }, quietMs))).toEqual({ packages: [], strays: [] });
    expect(fold.dueMs).toBe(2 * quietMs);
    expect(shape(fold.fold(manifests, 2 * quietMs)).packages).toEqual([["a", "/etc/a/1"]]);
    let now = 2 * quietMs;
    let strays: readonly string[] = [];
    for (let rounds = 0; strays.length === 0 && rounds < 100; rounds += 1) {
      now = fold.dueMs ?? now;
      strays = fold.fold(manifests, now).strays;
    }
    expect([strays, now]).toEqual([["/etc/x"], holdMs]);
  });

  it("knows what was removed by the manifest before", () => {
    const fold = createPackageFold<string>();
    fold.add({ path: "/etc/a/1", digests: undefined, manager, told: "gone" }, 0);
    expect(shape(fold.foldAll({ now: createManifestIndex(), before: index })).packages)
      .toEqual([["a", "gone"]]);
    fold.add({ path: "/etc/a/1", digests: undefined, manager, told: "gone" }, 0);
    expect(shape(fold.foldAll({ now: index })).strays).toEqual(["gone"]);
  });

  it("knows files by the names that they have in passing", () => {
    const fold = createPackageFold<string>();
    const old = createManifestIndex();
    const former = hash("md5", "former");
    old.add({ path: "/etc/a/1", owner: owner("a", "0"), algorithm: "md5", digest: former });
    fold.add(change("/etc/a/1.dpkg-new"), 0);
    fold.add(change("/etc/a/1.dpkg-tmp", former), 0);
    fold.add({ path: "/etc/a/1;5f3a2b1c", digests: undefined, manager, told: "gone" }, 0);
    fold.add(change("/etc/a/1.dpkg-new", hash("md5", "foreign")), 0);
    fold.add(change("/etc/a/1", former), 0);
    const { packages, strays } = fold.foldAll({ now: index, before: old });
    expect(packages.map(({ owner: { version }, changes }) => [version, ...changes])).toEqual([
      ["1", "/etc/a/1.dpkg-new"],
      ["0", "/etc/a/1.dpkg-tmp", "gone"],
    ]);
    expect(strays).toEqual(["/etc/a/1.dpkg-new", "/etc/a/1"]);
  });

  it("takes no more than its limit", () => {
    const fold = createPackageFold<string>({ ...PACKAGE_FOLD_LIMITS, changesMax: 2 });
    expect(["/1", "/2", "/3"].map((path) => fold.add(change(path), 0))).toEqual([
      true,
      true,
      false,
    ]);
  });

  it("gives out every change once, whatever happens in what order", () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant("add"),
        path: fc.constantFrom("/etc/a/1", "/etc/b/2", "/x"),
        by: fc.constantFrom("p1", "p2", undefined),
      }),
      fc.record({
        kind: fc.constant("exit"),
        path: fc.constant(""),
        by: fc.constantFrom("p1", "p2"),
      }),
      fc.record({ kind: fc.constant("fold"), path: fc.constant(""), by: fc.constant(undefined) }),
    );
    fc.assert(fc.property(fc.array(fc.tuple(step, fc.nat(20_000)), { maxLength: 60 }), (steps) => {
      const fold = createPackageFold<number>({ ...PACKAGE_FOLD_LIMITS, changesMax: 10 });
      let [now, given] = [0, 0];
      const out: number[] = [];
      const take = ({ packages, strays }: ReturnType<typeof fold.fold>) =>
        out.push(...packages.flatMap(({ changes }) => changes), ...strays);
      for (const [{ kind, path, by }, waitMs] of steps) {
        now += waitMs;
        if (kind === "exit") fold.exited(by ?? "");
        else if (kind === "fold") take(fold.fold(manifests, now));
        else {
          given += 1;
          const its = by === undefined ? undefined : { name: "dpkg", processId: by };
          const taken = fold.add({ path, digests: { md5: known }, manager: its, told: given }, now);
          if (!taken) out.push(given);
        }
        expect(fold.size + out.length).toBe(given);
        expect(fold.dueMs === undefined).toBe(fold.size === 0);
      }
      take(fold.foldAll(manifests));
      expect(out.toSorted((a, b) => a - b)).toEqual(
        Array.from({ length: given }, (_, at) => at + 1),
      );
      expect(fold.size).toBe(0);
    }));
  });
});
