import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import * as crypto from "../../src/edge-agent/crypto-layout.ts";
import * as layout from "../../src/edge-agent/record-layout.ts";
import { BPF_FOLDER, hasClang } from "../support/clang.ts";

const OBJECTS = [
  "process",
  "snapshot",
  "control",
  "network",
  "flow",
  "file",
  "integrity",
  "crypto",
];
const folder = mkdtempSync(join(tmpdir(), "probity-objects-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe.runIf(hasClang)("the compiled kernel programs", () => {
  it("are what their sources give, byte by byte", () => {
    execFileSync("make", ["-s", "-C", BPF_FOLDER, `OUTPUT=${folder}`]);
    for (const name of OBJECTS) {
      const file = `${name}.bpf.o`;
      const isSame = readFileSync(join(folder, file)).equals(readFileSync(join(BPF_FOLDER, file)));
      expect(isSame, `${file} is not fresh: make -C bpf`).toBe(true);
    }
  });

  it("name no folder of the machine that compiled them", () => {
    for (const name of OBJECTS) {
      const text = readFileSync(join(BPF_FOLDER, `${name}.bpf.o`), "latin1");
      expect(text).not.toMatch(/\/(tmp|home|root|work)\//);
    }
  });
});

interface Member {
  readonly name: string;
  readonly bits_offset: number;
}

interface BtfType {
  readonly kind: string;
  readonly name: string;
  readonly size: number;
  readonly members?: readonly Member[];
  readonly values?: readonly { readonly name: string; readonly val: number }[];
}

const STRUCTS = [
  "header",
  "ids",
  "ancestor",
  "exec",
  "credentials",
  "snapshot",
  "ptrace",
  "signal",
  "fork",
  "exit",
  "network",
  "close",
  "dns",
  "file",
  "integrity",
  "identity",
  "watched",
  "counters",
  "losses",
  "settings",
  "filter",
  "limit",
  "rules",
  "folder",
  "bucket_key",
  "bucket",
  "operand",
  "site",
  "crypto",
  "mapped",
];

const ENUMS = [
  "kind",
  "flag",
  "by",
  "scope",
  "exec_mark",
  "probe",
  "datum",
  "operand_kind",
  "crypto_mark",
];

/** `byUid` for `uid`. */
function prefixed(prefix: string, values: Readonly<Record<string, number>>) {
  return Object.fromEntries(
    Object.entries(values).map(([key, value]) => [
      prefix + key.slice(0, 1).toUpperCase() + key.slice(1),
      value,
    ]),
  );
}

/** Types of bpf/events.h as the compiler lays them out for the kernel. */
function compiledTypes(): ReadonlyMap<string, BtfType> {
  const source = join(folder, "layout.c");
  const object = join(folder, "layout.o");
  const variables = STRUCTS.map((name) => `struct probity_${name} a_${name};`).join("\n");
  writeFileSync(
    source,
    `#include <linux/types.h>\n#include "events.h"\n${variables}\n` +
      ENUMS.map((name) => `enum probity_${name} a_${name};\n`).join(""),
  );
  const include = `-I/usr/include/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu`;
  execFileSync("clang-19", [
    "-g",
    "-O2",
    "-target",
    "bpf",
    include,
    `-I${BPF_FOLDER}`,
    "-c",
    source,
    "-o",
    object,
  ]);
  const { types } = JSON.parse(
    execFileSync("bpftool", ["btf", "dump", "file", object, "-j"], { encoding: "utf8" }),
  ) as { types: BtfType[] };
  return new Map(types.map((type) => [type.name, type]));
}

describe.runIf(hasClang)("the decoder's layout", () => {
  const types = hasClang ? compiledTypes() : new Map<string, BtfType>();

  function offsetsOf(name: string): Readonly<Record<string, number>> {
    const members = types.get(`probity_${name}`)?.members ?? [];
    const named = members.filter((member) =>
      !["padding", "header", "network"].includes(member.name)
    );
    return Object.fromEntries(named.map((member) => [member.name, member.bits_offset / 8]));
  }

  it.each([
    ["header", layout.HEADER],
    ["ancestor", layout.ANCESTOR],
    ["ids", layout.IDS],
    ["exec", layout.EXEC],
    ["credentials", layout.CREDENTIALS],
    ["snapshot", layout.SNAPSHOT],
    ["ptrace", layout.PTRACE],
    ["signal", layout.SIGNAL],
    ["exit", layout.EXIT],
    ["network", layout.NETWORK],
    ["close", layout.CLOSE],
    ["dns", layout.DNS],
    ["file", layout.FILE],
    ["integrity", layout.INTEGRITY],
    ["identity", layout.IDENTITY],
    ["watched", layout.WATCHED],
    ["settings", layout.SETTINGS],
    ["filter", layout.FILTER],
    ["limit", layout.LIMIT],
    ["rules", layout.RULES],
    ["folder", layout.FOLDER],
    ["bucket_key", layout.BUCKET_KEY],
    ["bucket", layout.BUCKET],
    ["operand", crypto.OPERAND],
    ["site", crypto.SITE],
    ["crypto", crypto.CRYPTO],
    ["mapped", crypto.MAPPED],
  ])("has every field of %s at its place", (name, offsets) => {
    expect(offsets).toEqual(offsetsOf(name));
  });

  it.each([
    ["header", layout.HEADER_BYTES],
    ["ancestor", layout.ANCESTOR_BYTES],
    ["ids", layout.IDS_BYTES],
    ["exec", layout.EXEC.tail],
    ["credentials", layout.CREDENTIALS_BYTES],
    ["snapshot", layout.SNAPSHOT.exe],
    ["ptrace", layout.PTRACE_BYTES],
    ["signal", layout.SIGNAL_BYTES],
    ["fork", layout.FORK_BYTES],
    ["exit", layout.EXIT_BYTES],
    ["network", layout.NETWORK_BYTES],
    ["close", layout.CLOSE_BYTES],
    ["dns", layout.DNS.payload],
    ["file", layout.FILE.path],
    ["integrity", layout.INTEGRITY_BYTES],
    ["identity", layout.IDENTITY_BYTES],
    ["watched", layout.WATCHED_BYTES],
    ["counters", layout.COUNTERS_BYTES],
    ["losses", layout.LOSSES_BYTES],
    ["settings", layout.SETTINGS_BYTES],
    ["filter", layout.FILTER_BYTES],
    ["limit", layout.LIMIT_BYTES],
    ["rules", layout.RULES_BYTES],
    ["folder", layout.FOLDER_BYTES],
    ["bucket_key", layout.BUCKET_KEY_BYTES],
    ["bucket", layout.BUCKET_BYTES],
    ["operand", crypto.OPERAND_BYTES],
    ["site", crypto.SITE_BYTES],
    ["crypto", crypto.CRYPTO_BYTES],
    ["mapped", crypto.MAPPED_BYTES],
  ])("has the size of %s", (name, size) => {
    expect(types.get(`probity_${name}`)?.size).toBe(size);
  });

  it("has counters and losses in their order", () => {
    const camelCase = (name: string): string =>
      name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    expect(Object.keys(offsetsOf("counters")).map(camelCase)).toEqual([...layout.COUNTERS]);
    expect(Object.keys(offsetsOf("losses"))).toEqual([...layout.LOSSES]);
    expect(Object.values(offsetsOf("losses"))).toEqual(layout.LOSSES.map((_, place) => 8 * place));
  });

  it.each([
    ["kind", layout.KIND],
    ["flag", layout.FLAG],
    ["by", prefixed("by", layout.BY)],
    ["scope", prefixed("of", layout.SCOPE)],
    ["exec_mark", layout.EXEC_MARK],
    ["probe", crypto.PROBE],
    ["datum", crypto.DATUM],
    ["crypto_mark", crypto.CRYPTO_MARK],
    ["operand_kind", crypto.OPERAND_KIND],
  ])("has every %s", (name, ours) => {
    const theirs = types.get(`probity_${name}`)?.values ?? [];
    const upperCase = (key: string): string =>
      `PROBITY_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
    expect(Object.entries(ours).map(([key, value]) => [upperCase(key), value]))
      .toEqual(theirs.map((value) => [value.name, value.val]));
  });
});
