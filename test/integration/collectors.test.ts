import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import type { Source } from "../../src/edge-agent/source.ts";
import type { Collector } from "../../src/edge-agent/sources/collectors/collector.ts";
import { createCollectorSource } from "../../src/edge-agent/sources/collectors/collector-source.ts";
import { createHostCollector } from "../../src/edge-agent/sources/collectors/host/host-collector.ts";
import {
  createLoginsCollector,
} from "../../src/edge-agent/sources/collectors/logins/logins-collector.ts";
import {
  createPackagesCollector,
} from "../../src/edge-agent/sources/collectors/packages/packages-collector.ts";
import {
  createUnitsCollector,
} from "../../src/edge-agent/sources/collectors/units/units-collector.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { isCommand } from "../support/capabilities.ts";
import { openOwnSystemd, SYSTEMD } from "../support/own-systemd.ts";
import { requireCapability } from "../support/require.ts";
import { testLog } from "../support/ring-sources.ts";
import { type Line, runSource } from "../support/source-run.ts";
import { openTemporaryFolder } from "../support/temporary-folder.ts";
import { openTinyDpkg, openTinyRpm } from "../support/tiny-packages.ts";

const run = promisify(execFile);

function open(collector: Collector, dataDirectory: string): Source {
  const position = undefined;
  return createCollectorSource({
    collector,
    dataDirectory,
    position,
    clock: systemClock,
    log: testLog,
  });
}

const isOfPackage = ({ topic }: Line): boolean => topic.startsWith("package/");

function told({ topic, user, uid, detail }: Line) {
  const { source, name, arch, version, old_version, command, noticed } = detail;
  return { topic, user, uid, source, name, arch, version, old_version, command, noticed };
}

it("packages: dpkg installs, updates and removes, between two looks and while no agent is there", async () => {
  await using folder = await openTemporaryFolder("collectors");
  const root = join(folder.path, "root");
  const dpkg = await openTinyDpkg(root);
  await dpkg.install("before", "1");
  const openPackages = () => open(createPackagesCollector({ root, intervalMs: 20 }), folder.path);
  {
    await using source = openPackages();
    expect(await source.probe()).toEqual({ state: "on", how: "dpkg" });
    await using running = runSource(source);
    await untilLooked(folder.path, { source: "packages", key: "looked:dpkg:" });
    await writeFile(
      join(root, "var/log/apt/history.log"),
      `\nStart-Date: ${localTime()}\nCommandline: apt-get install tiny\n` +
        "Requested-By: alice (1000)\nInstall: tiny:amd64 (1:1.0-1)\n",
    );
    await dpkg.install("tiny", "1:1.0-1");
    await dpkg.install("tiny", "1:1.1-1");
    const lines = await running.waitFor(isOfPackage, { count: 2 });
    const both = { source: "dpkg", name: "tiny", arch: "all", user: "alice", uid: 1000 };
    const command = "apt-get install tiny";
    expect(lines.map(told)).toEqual([
      { ...both, topic: "package/install", version: "1:1.0-1", command },
      { ...both, topic: "package/update", version: "1:1.1-1", old_version: "1:1.0-1", command },
    ]);
    expect(lines[1]?.["message"]).toBe(
      "dpkg for alice updated tiny from 1:1.0-1 to 1:1.1-1",
    );
    expect(Math.abs(Date.now() - Date.parse(String(lines[0]?.["time"])))).toBeLessThan(30_000);
    await dpkg.install("brief", "2");
    await dpkg.remove("brief");
    const brief = await running.waitFor(({ detail }) => detail?.["name"] === "brief", { count: 2 });
    expect(brief.map(({ topic }) => topic)).toEqual(["package/install", "package/remove"]);
  }
  await dpkg.remove("before");
  // A log that is gone does not hide what became of packages.
  await rename(join(root, "var/log/dpkg.log"), join(root, "var/log/elsewhere"));
  await dpkg.install("late", "3");
  await writeFile(join(root, "var/log/dpkg.log"), "");
  await using source = openPackages();
  await using running = runSource(source);
  const lines = await running.waitFor(isOfPackage, { count: 2 });
  expect(lines.map(told)).toMatchObject([
    { topic: "package/install", name: "late", version: "3", noticed: true },
    { topic: "package/remove", name: "before", old_version: "1", noticed: true },
  ]);
  expect(source.losses()).toMatchObject([{ class: "log" }]);
});

const hasRpm = requireCapability("rpm", isCommand("rpmbuild"), "apt-get install rpm");

it.runIf(hasRpm)(
  "packages: rpm installs, updates and removes; apk's database changes",
  async () => {
    await using folder = await openTemporaryFolder("collectors");
    const root = join(folder.path, "root");
    const rpm = await openTinyRpm(root);
    const apk = join(root, "lib/apk/db");
    await mkdir(apk, { recursive: true });
    const writeApk = async (version: string): Promise<void> => {
      const text = `C:Q1x=\nP:musl\nV:${version}\nA:x86_64\nS:1\nF:lib\nR:ld-musl.so\n\n`;
      await writeFile(join(apk, "installed.new"), text);
      await rename(join(apk, "installed.new"), join(apk, "installed"));
    };
    await writeApk("1.2.4-r0");
    await using source = open(createPackagesCollector({ root, intervalMs: 50 }), folder.path);
    expect(await source.probe()).toEqual({ state: "on", how: "rpm, apk" });
    await using running = runSource(source);
    await untilLooked(folder.path, { source: "packages", key: "looked:rpm:" });
    await rpm.install("first", "1");
    const isRpm = ({ detail }: Line): boolean => detail?.["source"] === "rpm";
    await running.waitFor(isRpm, { count: 1 });
    await rpm.install("first", "2");
    await running.waitFor(isRpm, { count: 2 });
    await rpm.remove("first");
    const lines = await running.waitFor(isRpm, { count: 3 });
    const both = { source: "rpm", name: "first", arch: "noarch" };
    expect(lines.map(told)).toEqual([
      { ...both, topic: "package/install", version: "1-1" },
      { ...both, topic: "package/update", version: "2-1", old_version: "1-1" },
      { ...both, topic: "package/remove", old_version: "2-1", noticed: true },
    ]);
    await writeApk("1.2.5-r1");
    const [changed] = await running.waitFor(({ detail }) => detail?.["source"] === "apk", {
      count: 1,
    });
    expect(changed === undefined ? undefined : told(changed)).toMatchObject({
      topic: "package/update",
      name: "musl",
      arch: "x86_64",
      version: "1.2.5-r1",
      old_version: "1.2.4-r0",
    });
    // Half a database is none: no package was removed.
    await writeFile(join(apk, "installed"), "P:musl\nV:1.2.5");
    let losses = source.losses();
    for (; losses.length === 0; losses = source.losses()) await systemClock.sleep(20);
    expect(losses).toEqual([
      { class: "unreadable", count: null, reason: expect.stringMatching(/its end is missing/) },
    ]);
    expect(running.lines.filter(({ topic }) => topic === "package/remove")).toHaveLength(1);
  },
);

const isSystemd = requireCapability(
  "systemd",
  existsSync(SYSTEMD) && process.getuid?.() === 0,
  "apt-get install systemd, and run the tests as root",
);

it.runIf(isSystemd)(
  "services: what a real systemd starts, restarts, stops, fails and enables",
  async () => {
    await using folder = await openTemporaryFolder("collectors");
    await using systemd = await openOwnSystemd({
      "tiny.service":
        "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=0\n[Install]\nWantedBy=probe.target",
      "bad.service": "[Service]\nExecStart=/bin/sh -c 'exit 3'",
    });
    const [program, ...words] = systemd.inside;
    const systemctl = (...more: string[]) => run(program, [...words, "systemctl", ...more]);
    const collector = createUnitsCollector({
      intervalMs: 50,
      root: systemd.root,
      systemctl: [program, ...words, "systemctl"],
    });
    await using source = open(collector, folder.path);
    expect(await source.probe()).toMatchObject({
      state: "on",
      how: expect.stringMatching(/^systemd, [0-9]+ units$/),
    });
    await using running = runSource(source);
    await untilLooked(folder.path, { source: "services", key: "looked:unit:" });
    const next = async (unit: string, count: number): Promise<Line | undefined> => {
      const found = await running.waitFor((line) => line["unit"] === unit, {
        count,
        timeoutMs: 20_000,
      });
      return found[count - 1];
    };
    await systemctl("start", "tiny");
    const started = await next("tiny.service", 1);
    expect(started).toMatchObject({
      topic: "service/start",
      outcome: "success",
      message: "tiny.service was started",
      detail: { state: "active", old_state: "inactive", enabled: false, sub_state: "running" },
    });
    expect(started?.detail["noticed"]).toBeUndefined();
    await systemctl("kill", "--signal=KILL", "tiny");
    expect(await next("tiny.service", 2)).toMatchObject({
      topic: "service/change",
      message: "tiny.service was restarted",
      detail: { restarts: 1 },
    });
    await systemctl("enable", "tiny");
    expect(await next("tiny.service", 3)).toMatchObject({
      topic: "service/enable",
      detail: { state: "enabled", old_state: "disabled", enabled: true },
    });
    await systemctl("disable", "--now", "tiny");
    await next("tiny.service", 5);
    expect(running.lines.slice(-2).map(({ topic }) => topic).toSorted()).toEqual([
      "service/disable",
      "service/stop",
    ]);
    await systemctl("start", "bad");
    await running.waitFor(({ outcome }) => outcome === "failure", { count: 1, timeoutMs: 20_000 });
    expect(running.lines.findLast((line) => line["unit"] === "bad.service")).toMatchObject({
      topic: "service/stop",
      severity: "medium",
      detail: { state: "failed", result: "exit-code", exit_code: 3 },
    });
  },
);

it.runIf(isSystemd)(
  "logins: what real sshd's, su's and sudo's words in a real journal say, where syslog has no log",
  async () => {
    await using folder = await openTemporaryFolder("collectors");
    await using systemd = await openOwnSystemd({});
    const [program, ...words] = systemd.inside;
    const inside = (script: string) => run(program, [...words, "sh", "-c", script]);
    const openLogins = () =>
      open(
        createLoginsCollector({
          ...{ intervalMs: 50, root: systemd.root, proc: join(systemd.root, "proc") },
          journalctl: [program, ...words, "journalctl"],
        }),
        folder.path,
      );
    // Of another host's logs there is none in it.
    await inside("cd /var/log; rm -rf journal auth.log* secure* wtmp* btmp*");
    await inside("systemctl start systemd-journald systemd-journald-dev-log.socket");
    await inside("logger -p auth.info -t su '(to before) root on none'; journalctl --sync");
    const isAuth = ({ topic }: Line): boolean => topic.startsWith("auth/");
    {
      await using source = openLogins();
      expect(await source.probe()).toMatchObject({ state: "on", how: "journal" });
      await using running = runSource(source);
      await untilLooked(folder.path, { source: "logins", key: "journal" });
      await inside(
        "su nobody -s /bin/true; logger -p daemon.info something else; " +
          "logger --id=77 -p auth.info -t sshd 'Failed password for invalid user x from 1.1.1.1 " +
          "port 1 ssh2 from 198.51.100.7 port 4711 ssh2'; " +
          // Who is not root is not sshd; journald sees who it is as long as it runs.
          "({ echo Accepted password for root from 198.51.100.9 port 1 ssh2; sleep 5; } | setpriv " +
          "--reuid 65534 --clear-groups logger -p auth.info -t sshd) >/dev/null 2>&1 & " +
          `logger -p auth.info -t su "$(printf '(to n\\377) ann on pts/1')"`,
      );
      const lines = await running.waitFor(isAuth, { count: 3, timeoutMs: 20_000 });
      expect(lines).toMatchObject([
        { topic: "auth/su", user: "root", uid: 0, detail: { source: "journal", target: "nobody" } },
        { topic: "auth/failure", user: "x from 1.1.1.1 port 1 ssh2", src_ip: "198.51.100.7" },
        { topic: "auth/su", detail: { target: "n\\xff", escaped: ["target"] } },
      ]);
      expect(Math.abs(Date.now() - Date.parse(String(lines[0]?.["time"])))).toBeLessThan(30_000);
    }
    // While no agent is there, and after what it knew was removed.
    await inside("logger -p auth.info -t su '(to away) root on none'; journalctl --sync");
    await using source = openLogins();
    await using running = runSource(source);
    await running.waitFor(isAuth, { count: 1, timeoutMs: 20_000 });
    expect(source.losses()).toEqual([]);
    await inside("journalctl --rotate; journalctl --vacuum-time=1us");
    await inside("logger -p auth.info -t su '(to later) root on none'");
    const lines = await running.waitFor(isAuth, { count: 2, timeoutMs: 20_000 });
    expect(lines.map(({ detail }) => detail["target"])).toEqual(["away", "later"]);
    // From then on syslog writes a log of its own: what is in both is told of that.
    const log = join(systemd.root, "var/log/auth.log");
    const text = "su[9]: (to both) root on none";
    await inside(`echo "${new Date().toISOString()} host ${text}" > /var/log/new
      mv /var/log/new /var/log/auth.log; logger -p auth.info -t su "(to both) root on none"`);
    await running.waitFor(isAuth, { count: 3, timeoutMs: 20_000 });
    expect(await source.probe()).toMatchObject({ state: "on", how: "auth.log" });
    await untilLooked(folder.path, { source: "logins", key: "journal", isKnown: false });
    await rm(log);
    await untilLooked(folder.path, { source: "logins", key: "journal" });
    await inside("logger -p auth.info -t su '(to last) root on none'");
    await running.waitFor(({ detail }) => detail["target"] === "last", { count: 1 });
    expect(running.lines.filter(isAuth).map(({ detail }) => [detail["source"], detail["target"]]))
      .toEqual([
        ...[["journal", "away"], ["journal", "later"]],
        ...[["auth.log", "both"], ["journal", "last"]],
      ]);
  },
);

it.runIf(process.getuid?.() === 0)(
  "host: mounts, modules and settings of the kernel that changed",
  async () => {
    await using folder = await openTemporaryFolder("collectors");
    const place = join(folder.path, "a place");
    await mkdir(place);
    await using source = open(createHostCollector({ intervalMs: 50 }), folder.path);
    expect(await source.probe()).toMatchObject({
      state: "on",
      how: expect.stringMatching(/settings, [0-9]+ mounts, [0-9]+ ports$/),
    });
    await using running = runSource(source);
    await untilLooked(folder.path, { source: "host", key: "looked:mounts:" });
    const domain = await readFile("/proc/sys/kernel/domainname", "utf8");
    const isOfPlace = ({ path }: Line): boolean => path === place;
    await run("mount", ["-t", "tmpfs", "-o", "size=4k", "probity-test", place]);
    try {
      await running.waitFor(isOfPlace, { count: 1 });
      await run("mount", ["-o", "remount,ro", place]);
      await running.waitFor(isOfPlace, { count: 2 });
      await writeFile("/proc/sys/kernel/domainname", "probity.test");
      const isDomain = ({ detail }: Line): boolean => detail?.["name"] === "kernel.domainname";
      const [set] = await running.waitFor(isDomain, { count: 1 });
      expect(set).toMatchObject({
        topic: "kernel/sysctl",
        detail: { before: domain.trim(), after: "probity.test" },
      });
    } finally {
      await writeFile("/proc/sys/kernel/domainname", domain);
      await run("umount", [place]);
    }
    const mounts = await running.waitFor(isOfPlace, { count: 3 });
    expect(mounts.map(({ topic, detail }) => [topic, detail["how"], detail["type"]])).toEqual([
      ["file/mount", "mount", "tmpfs"],
      ["file/mount", "remount", "tmpfs"],
      ["file/mount", "unmount", "tmpfs"],
    ]);
    expect(mounts[0]?.detail).toMatchObject({ device: "probity-test", noticed: true });
  },
);

/** What is there before the first look is no change. */
async function untilLooked(
  folder: string,
  { source, key, isKnown = true }: {
    readonly source: string;
    readonly key: string;
    readonly isKnown?: boolean;
  },
): Promise<void> {
  const path = join(folder, `agent-${source}.db`);
  const has = (): boolean => {
    using database = new DatabaseSync(path, { timeout: 1000 });
    const tables = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'memory'");
    if (tables.get() === undefined) return false;
    return database.prepare("SELECT 1 FROM memory WHERE key = ?").get(key) !== undefined;
  };
  while (has() !== isKnown) await systemClock.sleep(10);
}

function localTime(): string {
  const now = new Date();
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join("-");
  return `${day}  ${[now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join(":")}`;
}
