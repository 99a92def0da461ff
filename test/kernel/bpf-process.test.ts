import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createKernelContext } from "../../src/edge-agent/kernel-context.ts";
import { readStartTicks } from "../../src/edge-agent/process-identity.ts";
import { PROGRAM_VARIANTS } from "../../src/edge-agent/program-object.ts";
import { describeSource } from "../edge-agent/source-conformance.ts";
import { openMemfd } from "../support/memfd.ts";
import { hasBpf, openPinFolder, openTestSource, runAttached } from "../support/ring-sources.ts";
import type { Line, SourceRun } from "../support/source-run.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "probity-process-")));
chmodSync(folder, 0o755);
afterAll(() => rmSync(folder, { recursive: true }));

let markers = 0;
const newMarker = (): string => `marker-${process.pid}-${markers += 1}`;

describe.runIf(hasBpf).each(PROGRAM_VARIANTS)("the process source as %s", (variant) => {
  let run: SourceRun;
  const pins = openPinFolder();
  beforeAll(async () => {
    const source = openTestSource({ family: "process", pins, variants: [variant] });
    run = await runAttached(source, pins);
  });
  afterAll(async () => {
    await run.stop();
    pins[Symbol.dispose]();
  });

  /** Runs a program with a marker as one of its arguments; the exec that has it. */
  async function execOf(
    command: string,
    { args = [], ...options }: {
      args?: string[];
      cwd?: string;
      uid?: number;
      gid?: number;
      env?: Readonly<Record<string, string>>;
    },
  ): Promise<{ exec: Line; pid: number | undefined }> {
    const marker = newMarker();
    const child = spawn(command, [...args, marker], { stdio: "ignore", ...options });
    await once(child, "exit");
    const [exec] = await run.waitFor((line) => isExecWith(line, marker), { count: 1 });
    if (exec === undefined) throw new Error("no exec");
    return { exec, pid: child.pid };
  }

  function isExecWith(line: Line, argument: string): boolean {
    const argv = line.topic === "process/exec" ? line.detail["argv"] : undefined;
    return Array.isArray(argv) && argv.includes(argument);
  }

  it("tells an exec with arguments, folder, user, parent and ancestors", async () => {
    const { exec, pid } = await execOf("/bin/true", {
      args: ["two words", "", 'quo"te'],
      cwd: folder,
    });
    const marker = (exec.detail["argv"] as string[]).at(-1);
    const exe = realpathSync("/bin/true");
    expect(exec).toMatchObject({
      outcome: "success",
      severity: "info",
      user: "root",
      uid: 0,
      euid: 0,
      gid: 0,
      pid,
      ppid: process.pid,
      exe,
      comm: "true",
      cmdline: `/bin/true two words  quo"te ${marker}`,
      cwd: folder,
      message: `root ran ${exe}`,
      detail: {
        argv: ["/bin/true", "two words", "", 'quo"te', marker],
        argv_bytes: `/bin/true two words  quo"te ${marker} `.length,
        truncated: false,
        inode: statSync(exe).ino,
      },
    });
    const ancestors = exec.detail["ancestors"] as {
      pid: number;
      process_id: string;
      exe?: string;
    }[];
    expect(ancestors[0]).toEqual({
      pid: process.pid,
      process_id: exec["parent_process_id"],
      exe: realpathSync(process.execPath),
    });
    expect(ancestors[1]?.pid).toBe(process.ppid);
    expect(ancestors.length).toBeLessThanOrEqual(8);
  });

  it("gives a process the identity that /proc allows to compute", async () => {
    const { exec } = await execOf("/bin/true", {});
    const stat = spawnSync("cat", ["/proc/sys/kernel/random/boot_id"], { encoding: "utf8" }).stdout;
    const ticks = spawnSync("cut", ["-d", " ", "-f", "22", `/proc/${process.pid}/stat`], {
      encoding: "utf8",
    }).stdout.trim();
    expect(exec["parent_process_id"]).toBe(`${stat.slice(0, 8)}-${process.pid}-${ticks}`);
  });

  it("tells the credentials of the new image", async () => {
    const { exec } = await execOf("/bin/true", { uid: 65534, gid: 65534 });
    expect(exec).toMatchObject({ user: "nobody", uid: 65534, euid: 65534, gid: 65534 });
  });

  it("tells 120,000 bytes of arguments whole", async () => {
    const long = "x".repeat(120_000);
    const marker = newMarker();
    spawnSync("/bin/true", [marker, long]);
    const [exec] = await run.waitFor((line) => isExecWith(line, marker), { count: 1 });
    expect(exec?.detail["truncated"]).toBe(false);
    expect(exec?.detail["argv_bytes"]).toBe(`/bin/true ${marker} ${long} `.length);
    expect(exec?.detail["argv"]).toEqual(["/bin/true", marker, long]);
    expect(exec?.["cwd"]).toBe(process.cwd());
  });

  it("keeps the beginning and the length of more than 128 KiB of arguments", async () => {
    const long = "x".repeat(100_000);
    const marker = newMarker();
    spawnSync("/bin/true", [marker, long, long]);
    const [exec] = await run.waitFor((line) => isExecWith(line, marker), { count: 1 });
    const argv = exec?.detail["argv"] as string[];
    expect(exec?.detail["truncated"]).toBe(true);
    expect(exec?.detail["argv_bytes"]).toBe(`/bin/true ${marker} ${long} ${long} `.length);
    expect(argv[2]).toBe(long);
    expect(argv[3]).toBe("x".repeat(131_072 - `/bin/true ${marker} ${long} `.length));
  });

  it("tells chosen environment variables, wherever they are", async () => {
    const env = {
      FILLER: "f".repeat(60_000),
      LD_PRELOAD: "/nowhere.so",
      PATHS: "not chosen",
      SUDO_USER: "ann",
    };
    const { exec } = await execOf("/bin/true", { env });
    expect(exec.detail["env"]).toEqual({ LD_PRELOAD: "/nowhere.so", SUDO_USER: "ann" });
    expect(exec.detail).not.toHaveProperty("env_truncated");
    const { exec: none } = await execOf("/bin/true", { env: { HOME: "/" } });
    expect(none.detail).not.toHaveProperty("env");
    const { exec: cut } = await execOf("/bin/true", { env: { PATH: "p".repeat(9000) } });
    expect(cut.detail).toMatchObject({ env: { PATH: "p".repeat(4090) }, env_truncated: true });
  });

  it("tells what a setuid program gained, and who became whom", async () => {
    const program = join(folder, "setuid");
    copyFileSync("/bin/true", program);
    chmodSync(program, 0o4755);
    const { exec, pid } = await execOf(program, { uid: 65534, gid: 65534 });
    expect(exec).toMatchObject({ user: "nobody", uid: 65534, euid: 0, gid: 65534 });
    expect(exec.detail["caps_gained"]).toEqual(
      expect.arrayContaining(["cap_chown", "cap_setuid", "cap_sys_admin"]),
    );
    const isChange = (line: Line): boolean =>
      line.topic === "process/setuid" && line["pid"] === pid && line.detail["how"] === "exec";
    const [change] = await run.waitFor(isChange, { count: 1 });
    expect(change).toMatchObject({
      outcome: "success",
      exe: program,
      euid: 0,
      message: `${program} went from nobody to root by exec`,
      detail: {
        before: { euid: 65534, suid: 65534, fsuid: 65534, caps_permitted: "0".repeat(16) },
        after: { euid: 0, suid: 0, fsuid: 0 },
        caps_gained: exec.detail["caps_gained"],
      },
    });
    const { exec: usual } = await execOf("/bin/true", {});
    expect(usual.detail).not.toHaveProperty("caps_gained");
    expect(usual.detail).not.toHaveProperty("suid");
  });

  it("tells a set group id of a program, which no column has", async () => {
    const program = join(folder, "setgid");
    copyFileSync("/bin/true", program);
    chownSync(program, 0, 12);
    chmodSync(program, 0o2755);
    const { exec } = await execOf(program, { uid: 65534, gid: 65534 });
    expect(exec["gid"]).toBe(65534);
    expect(exec.detail).toMatchObject({ suid: 65534, egid: 12, sgid: 12, fsgid: 12 });
    expect(exec.detail).not.toHaveProperty("caps_gained");
  });

  it("tells namespaces that are not the first ones, by what /proc shows", async () => {
    const marker = newMarker();
    const script = "readlink /proc/self/ns/net /proc/self/ns/uts; exec /bin/true " + marker;
    const shown = spawnSync("unshare", ["-n", "-u", "/bin/sh", "-c", script], { encoding: "utf8" });
    const [exec] = await run.waitFor((line) => isExecWith(line, marker), { count: 1 });
    const namespaces = exec?.detail["namespaces"] as Record<string, number>;
    expect(`net:[${namespaces["net"]}]\nuts:[${namespaces["uts"]}]\n`).toBe(shown.stdout);
    expect(namespaces).not.toHaveProperty("user");
    expect(namespaces).not.toHaveProperty("pid");
  });

  it("names ancestors that ended before anyone read of them", async () => {
    const marker = newMarker();
    // The subshell never executes anything: it is known by its parent's image.
    spawnSync("/bin/bash", ["-c", `( /bin/true ${marker}; : ); :`]);
    const [exec] = await run.waitFor((line) => isExecWith(line, marker), { count: 1 });
    const ancestors = exec?.detail["ancestors"] as { exe?: string }[];
    const bash = realpathSync("/bin/bash");
    expect(ancestors.slice(0, 2).map(({ exe }) => exe)).toEqual([bash, bash]);
  });

  it("names script and interpreter", async () => {
    const script = join(folder, "script");
    writeFileSync(script, "#!/bin/sh\nexit 0\n", { mode: 0o755 });
    const { exec } = await execOf(script, {});
    const shell = realpathSync("/bin/sh");
    expect(exec["exe"]).toBe(shell);
    expect(exec.detail).toMatchObject({ interpreter: shell, script });
    expect((exec.detail["argv"] as string[]).slice(0, 2)).toEqual(["/bin/sh", script]);
    expect(exec["message"]).toBe(`root ran ${script}`);
  });

  it("keeps the end of a script's long name, and says so", async () => {
    const deep = join(folder, ...Array.from({ length: 10 }, (_, depth) => `${depth}`.repeat(200)));
    mkdirSync(deep, { recursive: true });
    const script = join(deep, "long");
    writeFileSync(script, "#!/bin/sh\nexit 0\n", { mode: 0o755 });
    const { exec } = await execOf(script, {});
    expect(exec.detail).toMatchObject({ script: script.slice(-1023), truncated: true });
  });

  it("knows an image that lives in memory only", async () => {
    using memfd = openMemfd("probity-image", realpathSync("/bin/true"));
    const { exec } = await execOf(memfd.path, {});
    expect(exec["exe"]).toBe("memfd:probity-image");
    expect(exec.detail["memfd"]).toBe(true);
    const { exec: usual } = await execOf("/bin/true", {});
    expect(usual.detail["memfd"]).toBeUndefined();
  });

  it("knows an image whose file was removed", async () => {
    const copy = join(folder, "removed");
    copyFileSync("/bin/true", copy);
    const marker = newMarker();
    spawnSync("/bin/sh", ["-c", `exec 3<${copy}; rm ${copy}; exec /proc/self/fd/3 ${marker}`]);
    const [exec] = await run.waitFor((line) => isExecWith(line, marker), { count: 1 });
    expect(exec).toMatchObject({ exe: copy, detail: { deleted: true } });
  });

  it("writes bytes that are no text as \\xNN and says where", async () => {
    const marker = newMarker();
    spawnSync("/bin/sh", ["-c", `exec /bin/true ${marker} "$(printf 'a\\377b\\303\\244')"`]);
    const [exec] = await run.waitFor((line) => isExecWith(line, marker), { count: 1 });
    expect((exec?.detail["argv"] as string[])[2]).toBe("a\\xffbä");
    expect(exec?.["cmdline"]).toBe(`/bin/true ${marker} a\\xffbä`);
    expect(exec?.detail["escaped"]).toEqual(["cmdline", "argv"]);
  });

  it("tells the working folder also when it is gone", async () => {
    const gone = join(folder, "gone");
    mkdirSync(gone);
    const marker = newMarker();
    spawnSync("/bin/sh", ["-c", `rmdir ${gone}; exec /bin/true ${marker}`], { cwd: gone });
    const [exec] = await run.waitFor((line) => isExecWith(line, marker), { count: 1 });
    expect(exec?.["cwd"]).toBe(gone);
  });

  it("tells exits with code or signal, once per process", async () => {
    const exits = async (script: string): Promise<readonly Line[]> => {
      const child = spawn("/bin/sh", ["-c", script], { stdio: "ignore" });
      await once(child, "exit");
      const isExit = (line: Line): boolean =>
        line.topic === "process/exit" && line["pid"] === child.pid;
      await run.waitFor(isExit, { count: 1 });
      await execOf("/bin/true", {});
      return run.lines.filter(isExit);
    };
    const [coded, ...more] = await exits("exit 3");
    expect(more).toEqual([]);
    expect(coded?.detail).toEqual({ exit_code: 3, duration_ms: expect.any(Number) });
    expect(coded?.["message"]).toMatch(/^\/.* exited with code 3$/);
    const [killed] = await exits("kill -KILL $$");
    expect(killed?.detail).toMatchObject({ signal: 9, core: false });
    expect(killed?.["message"]).toMatch(/ was ended by SIGKILL$/);
  });

  it("tells one exit of a process with many threads, with the code of the whole", async () => {
    const child = spawn(process.execPath, ["-e", "process.exit(7)"], { stdio: "ignore" });
    await once(child, "exit");
    await execOf("/bin/true", {});
    const exits = run.lines.filter((line) =>
      line.topic === "process/exit" && line["pid"] === child.pid
    );
    expect(exits.map((line) => line.detail["exit_code"])).toEqual([7]);
  });

  it("tells a fork as the child, and gives the child its parent's image", async () => {
    const marker = newMarker();
    // A subshell forks without exec; the exec after it has the subshell's process id as its argument.
    spawnSync("/bin/bash", ["-c", `(exec /bin/true ${marker} $BASHPID); exit 0`]);
    const [exec] = await run.waitFor((line) => isExecWith(line, marker), { count: 1 });
    const fork = run.lines.find((line) =>
      line.topic === "process/fork" && line["process_id"] === exec?.["process_id"]
    );
    expect(fork).toMatchObject({
      pid: exec?.["pid"],
      ppid: exec?.["ppid"],
      parent_process_id: exec?.["parent_process_id"],
      exe: realpathSync("/bin/bash"),
      message: `${realpathSync("/bin/bash")} forked process ${exec?.["pid"]}`,
    });
  });
});

describe.runIf(hasBpf)("processes older than the programs", () => {
  it("are read from the kernel's own list, with who they are", async () => {
    using pins = openPinFolder();
    const child = spawn("sleep", ["1000"], { uid: 65534, gid: 65534, stdio: "ignore" });
    const context = createKernelContext();
    const before = readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name)).map(Number);
    expect(await context.seed(pins.path)).toBe("iterator");
    expect(existsSync(pins.path) ? readdirSync(pins.path) : []).toEqual([]);
    const { processes } = context;
    const living = before.filter((pid) => existsSync(`/proc/${pid}`));
    expect(living.filter((pid) => processes.newestOf(pid) === undefined)).toEqual([]);
    const entry = processes.newestOf(child.pid ?? 0);
    expect(entry?.imageAt(0).exe).toBe(realpathSync("/bin/sleep"));
    expect(entry?.actor?.columns).toContain(`"uid":65534,"euid":65534,"gid":65534,`);
    expect(entry?.startTicks).toBe(readStartTicks(child.pid ?? 0));
    expect(processes.newestOf(process.pid)?.imageAt(0).exe).toBe(realpathSync(process.execPath));
    child.kill("SIGKILL");
  });

  it("are read from /proc where there is no place for an iterator", async () => {
    const context = createKernelContext();
    expect(await context.seed("/proc/no/place")).toBe("proc");
    expect(context.processes.newestOf(process.pid)?.imageAt(0).exe)
      .toBe(realpathSync(process.execPath));
  });
});

if (hasBpf) {
  const pins = openPinFolder();
  afterAll(() => pins[Symbol.dispose]());
  const marker = `conformance-${process.pid}`;
  describeSource("process", {
    create: () => openTestSource({ family: "process", pins }),
    trigger: () => spawnSync("/bin/true", [marker]),
    isTriggered: (line) => String(line["cmdline"]).includes(marker),
    hasRing: true,
  });
}
