import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  areGroupFlags,
  areOpenFlags,
  isEntryName,
  isKernelLink,
  isMarkMask,
  isPin,
  isPinOrAbove,
  isPlain,
  isProcessFile,
} from "../../../src/edge-agent/privilege/permitted.ts";

describe("what the privileged process permits", () => {
  it.each([
    ["/proc", true],
    ["/proc/1", true],
    ["/proc/17/stat", true],
    ["/proc/17/fd", true],
    ["/proc/17/net/tcp6", true],
    ["/proc/17/mem", false],
    ["/proc/17/environ", false],
    ["/proc/17/root/etc/shadow", false],
    ["/proc/17/cwd/secret", false],
    ["/proc/17/fd/3", false],
    ["/proc/self/stat", false],
    ["/proc/017/stat", false],
    ["/proc/sysrq-trigger", false],
    ["/proc/kcore", false],
    ["/sys/kernel/tracing/trace_pipe", false],
    ["/sys/fs/bpf", false],
    ["/etc/shadow", false],
  ])("of files about processes: %s %s", (path, isPermitted) => {
    expect(isProcessFile(path)).toBe(isPermitted);
  });

  it.each([
    ["/sys/fs/bpf", true],
    ["/sys/fs/bpf/probity-0123456789ab/process-0123456789ab-0/map_events", true],
    ["/sys/fs/bpf/other/map", false],
    ["/sys/fs/bpf/probity/a/b/c", false],
    ["/sys/fs", false],
  ])("of pins: %s %s", (path, isPermitted) => {
    expect(isPinOrAbove(path)).toBe(isPermitted);
  });

  it.each([
    ["/proc/17/exe", true],
    ["/proc/17/fd/0", true],
    ["/proc/17/ns/mnt", true],
    ["/proc/self/exe", false],
    ["/proc/17/map_files/0-1", false],
    ["/etc/localtime", false],
  ])("of kernel links: %s %s", (path, isPermitted) => {
    expect(isKernelLink(path)).toBe(isPermitted);
  });

  it("no path that leads out of Probity's pins, whatever stands in it", () => {
    const segment = fc.constantFrom(
      "probity",
      "probity-1",
      "..",
      ".",
      "",
      "map_events",
      "other",
      "a.b",
    );
    fc.assert(fc.property(fc.array(segment, { maxLength: 5 }), (segments) => {
      const path = `/sys/fs/bpf/${segments.join("/")}`;
      if (!isPin(path)) return;
      expect(isPlain(path)).toBe(true);
      expect(segments[0]).toMatch(/^probity/);
      expect(new URL(path, "file:///").pathname).toBe(path);
    }));
  });

  it("only plain paths", () => {
    expect(["/", "/a", "/a/b.c", "/..a", "/a..", "/..."].map(isPlain)).not.toContain(false);
    expect(["", "a", "//a", "/a/", "/a//b", "/./a", "/a/..", "/../a", "/a/./b"].map(isPlain))
      .not.toContain(true);
  });

  it("reading, never writing, creating or waiting", () => {
    expect([0, 0o4000, 0o10000000, 0o400000].map(areOpenFlags)).not.toContain(false);
    // O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE.
    expect([1, 2, 0o100, 0o1000, 0o2000, 0o20000000].map(areOpenFlags)).not.toContain(true);
  });

  it("groups and marks that notify, none that others wait for", () => {
    expect(areGroupFlags(0x1e03, 0)).toBe(true);
    expect([0x4, 0x8, 0x8000].map((flags) => areGroupFlags(flags, 0))).not.toContain(true);
    expect(areGroupFlags(0x1e03, 2)).toBe(false);
    const group = (flags: string) =>
      `pos:\t0\nmnt_id:\t15\nfanotify flags:${flags} event-flags:0\n`;
    const byHandle = group("1e00");
    expect(isMarkMask(0x40000000 | 0x10000300, byHandle)).toBe(true);
    expect([0x10000, 0x20000, 0x40000, 0x100000, 2 ** 33].map((mask) => isMarkMask(mask, byHandle)))
      .not.toContain(true);
    expect(isMarkMask(0x1000, group("10"))).toBe(true);
    // FAN_OPEN and others hand a descriptor of each file to such a group.
    expect(
      [0x20, 0x1, 0x8, 0x1020, 0x1000 | 0x08000000].map((mask) => isMarkMask(mask, group("10"))),
    )
      .not.toContain(true);
    expect([isMarkMask(0x20, ""), isMarkMask(0x1000, "pos:\t0\n")]).toEqual([false, false]);
  });

  it("names in a folder", () => {
    expect(["", ".", "..", "a b"].map(isEntryName)).not.toContain(false);
    expect(["a/b", "/", "../a", "a\0"].map(isEntryName)).not.toContain(true);
  });
});
