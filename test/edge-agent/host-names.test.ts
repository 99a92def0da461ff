import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { createBootClock } from "../../src/edge-agent/boot-clock.ts";
import { createCgroupNames, namesOfCgroup } from "../../src/edge-agent/cgroup-names.ts";
import { createTimeText, deviceText, modeText } from "../../src/edge-agent/decode-record.ts";
import { CLOCK_BOOTTIME } from "../../src/edge-agent/libbpf.ts";
import { kernelDevice } from "../../src/edge-agent/program-settings.ts";
import { createUserNames, parsePasswd } from "../../src/edge-agent/user-names.ts";
import { formatTime } from "../../src/event/event.ts";

const folder = mkdtempSync(join(tmpdir(), "probity-names-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("user names", () => {
  it("are the first of each uid; broken lines have none", () => {
    const text = "root:x:0:0::/:/bin/sh\ntoor:x:0:0\nann:x:1000:7\n\nbad\nx:y:z:0\n:x:5:5\n";
    expect([...parsePasswd(text)]).toEqual([[0, "root"], [1000, "ann"]]);
  });

  it("follow the file, looked at once a second", () => {
    const path = join(folder, "passwd");
    let nowMs = 0;
    writeFileSync(path, "ann:x:1000:1000\n");
    const names = createUserNames({ path, nowMs: () => nowMs });
    expect([names.nameOf(1000), names.version]).toEqual(["ann", 1]);
    // As useradd does it: another file takes the place.
    writeFileSync(`${path}+`, "ann:x:1000:1000\nbob:x:1001:1001\n");
    renameSync(`${path}+`, path);
    names.refresh();
    expect(names.nameOf(1001)).toBeUndefined();
    nowMs = 1001;
    names.refresh();
    expect([names.nameOf(1001), names.version]).toEqual(["bob", 2]);
    nowMs = 2002;
    names.refresh();
    expect(names.version).toBe(2);
    rmSync(path);
    nowMs = 3003;
    names.refresh();
    expect([names.nameOf(1000), names.version]).toEqual([undefined, 3]);
  });
});

describe("names of a cgroup", () => {
  const id = "0123456789abcdef".repeat(4);
  it.each([
    ["0::/", {}],
    ["12:cpu:/x\n0::/system.slice/ssh.service", { unit: "ssh.service" }],
    [`0::/system.slice/docker-${id}.scope`, { container: id, unit: `docker-${id}.scope` }],
    [`0::/kubepods/burstable/pod1/${id}`, { container: id }],
    ["0::/user.slice/user-0.slice/session-3.scope", { unit: "session-3.scope" }],
    ["12:cpu:/only/version/1", {}],
    ["", {}],
  ])("are those of %j", (text, expected) => {
    expect(namesOfCgroup(text)).toEqual({ container: undefined, unit: undefined, ...expected });
  });

  it("are read once, through the first process that is still there", () => {
    const asked: number[] = [];
    const names = createCgroupNames((pid) => {
      asked.push(pid);
      return pid === 1 ? undefined : "0::/system.slice/a.service";
    });
    expect(names(9, 1).unit).toBeUndefined();
    expect(names(9, 2).unit).toBe("a.service");
    expect(names(9, 3).unit).toBe("a.service");
    expect(names(1, 4).unit).toBeUndefined();
    expect(asked).toEqual([1, 2]);
  });
});

describe("wall time of a boot time", () => {
  it("follows a clock that is set, but not its noise", () => {
    let bootNs = 10_000_000_000n;
    let wallNs = 1_700_000_000_000_000_000n;
    const clock = createBootClock({
      clock_gettime: (which) => which === CLOCK_BOOTTIME ? bootNs : wallNs,
    });
    const at = (): number => clock.wallUs(1_000, 0);
    expect(at()).toBe(1_699_999_990_000_001);
    wallNs += 15_000n;
    bootNs += 1_100_000_000n;
    wallNs += 1_100_000_000n;
    clock.refresh();
    expect(at()).toBe(1_699_999_990_000_001);
    wallNs += 3_600_000_000_000n;
    clock.refresh();
    expect(at()).toBe(1_699_999_990_000_001);
    bootNs += 1_100_000_000n;
    wallNs += 1_100_000_000n;
    clock.refresh();
    expect(at()).toBe(1_700_003_590_000_016);
  });
});

it("writes times as events do", () => {
  const text = createTimeText();
  for (const timeUs of [0, 1, 999_999, 1_000_000, 1_795_000_000_123_456, 1_795_000_000_999_999]) {
    expect(text(timeUs)).toBe(formatTime(timeUs));
  }
});

it("writes devices and modes as other tools show them", () => {
  expect(deviceText((254 << 20) | 17)).toBe("254:17");
  expect(deviceText((4095 * 2 ** 20) + 0xfffff)).toBe("4095:1048575");
  expect(modeText(0o100644)).toBe("0100644");
});

it.each([
  [0xfe00n, 254 << 20],
  [0x801n, (8 << 20) | 1],
  // major 259, minor 300: the bits of both are spread.
  [0x1103_2cn, (259 << 20) | 0x12c],
])("gives device %i the kernel's number", (device, kernel) => {
  expect(kernelDevice(device)).toBe(kernel);
});
