import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openMemfd } from "../support/memfd.ts";
import { descriptorsBelow } from "../support/open-descriptors.ts";
import { hasBpf, openPinFolder, openTestSource, runAttached } from "../support/ring-sources.ts";
import type { Source } from "../../src/edge-agent/source.ts";
import type { Line, SourceRun } from "../support/source-run.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "probity-digest-")));
afterAll(() => rmSync(folder, { recursive: true }));

/** A program that does nothing, with content of its own; so many bytes longer. */
function newProgram(name: string, options: { folder?: string; moreBytes?: number } = {}): string {
  const path = join(options.folder ?? folder, name);
  copyFileSync("/bin/true", path);
  appendFileSync(path, randomBytes(options.moreBytes ?? 16));
  return path;
}

function digestOf(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

let markers = 0;
const newMarker = (): string => `digest-${process.pid}-${markers += 1}`;

function isExecWith(line: Line, argument: string): boolean {
  const argv = line.topic === "process/exec" ? line.detail["argv"] : undefined;
  return Array.isArray(argv) && argv.includes(argument);
}

async function waitForExec(run: SourceRun, marker: string): Promise<Line> {
  const [exec] = await run.waitFor((line) => isExecWith(line, marker), {
    count: 1,
    timeoutMs: 20_000,
  });
  if (exec === undefined) throw new Error("no exec");
  return exec;
}

async function waitForHash(run: SourceRun, exec: Line): Promise<Line> {
  const [hash] = await run.waitFor(
    (line) => line.topic === "process/hash" && line["process_id"] === exec["process_id"],
    {
      count: 1,
      timeoutMs: 20_000,
    },
  );
  if (hash === undefined) throw new Error("no digest");
  return hash;
}

describe.runIf(hasBpf)("digests of executed files", () => {
  let run: SourceRun;
  let source: Source;
  const pins = openPinFolder();
  beforeAll(async () => {
    source = openTestSource({ family: "process", pins });
    run = await runAttached(source, pins);
  });
  afterAll(async () => {
    await run.stop();
    await source[Symbol.asyncDispose]();
    pins[Symbol.dispose]();
  });

  async function execOf(command: string, args: readonly string[] = []): Promise<Line> {
    const marker = newMarker();
    spawnSync(command, [...args, marker]);
    return await waitForExec(run, marker);
  }

  it("are told with the exec, the second time as well", async () => {
    const program = newProgram("plain");
    const sha256 = digestOf(program);
    for (let round = 0; round < 3; round += 1) {
      const { detail } = await execOf(program);
      expect(detail["sha256"]).toBe(sha256);
      expect(detail).not.toHaveProperty("sha256_touched");
      expect(detail).not.toHaveProperty("script_sha256");
    }
    expect(run.lines.filter(({ topic }) => topic === "process/hash")).toEqual([]);
  });

  it("are of the new content when a file is replaced or changed between two execs", async () => {
    const program = newProgram("twice");
    const first = digestOf(program);
    expect((await execOf(program)).detail["sha256"]).toBe(first);
    renameSync(newProgram("twice-new"), program);
    const second = digestOf(program);
    expect((await execOf(program)).detail["sha256"]).toBe(second);
    appendFileSync(program, "more");
    expect((await execOf(program)).detail["sha256"]).toBe(digestOf(program));
    expect(new Set([first, second, digestOf(program)]).size).toBe(3);
  });

  it("name script and interpreter, also of a script whose interpreter is one", async () => {
    const shell = digestOf(realpathSync("/bin/sh"));
    const script = join(folder, "script");
    writeFileSync(script, "#!/bin/sh\n# of its own\nexit 0\n", { mode: 0o755 });
    const { detail } = await execOf(script);
    expect(detail).toMatchObject({ sha256: shell, script_sha256: digestOf(script) });
    const nested = join(folder, "nested");
    writeFileSync(nested, `#!${script}\n`, { mode: 0o755 });
    const { detail: outer } = await execOf(nested);
    expect(outer).toMatchObject({ sha256: shell, script_sha256: digestOf(nested) });
    const link = join(folder, "link");
    symlinkSync(script, link);
    const { detail: linked } = await execOf(link);
    expect(linked).toMatchObject({ sha256: shell, script_sha256: digestOf(script) });
  });

  it("keep no filesystem from being unmounted", async () => {
    const mounted = join(folder, "left");
    mkdirSync(mounted);
    const marker = newMarker();
    const script = `mount -t tmpfs probity-test ${mounted} && cp /bin/true ${mounted} && ` +
      `${mounted}/true ${marker}; for round in 1 2 3 4 5 6 7 8 9 10; do ` +
      `umount ${mounted} && exit 0; sleep 0.1; done; umount -l ${mounted}; exit 1`;
    const child = spawn("/bin/sh", ["-c", script], { stdio: "ignore" });
    expect(await once(child, "exit")).toEqual([0, null]);
    await waitForExec(run, marker);
  });

  it("are those of each exec when one process executes several files", async () => {
    const [first, second] = [newProgram("chain"), join(folder, "chain-script")];
    const marker = newMarker();
    writeFileSync(second, `#!/usr/bin/env sh\nexec ${first} ${marker}\n`, { mode: 0o755 });
    spawnSync("env", [second]);
    const exec = await waitForExec(run, marker);
    expect(exec.detail["sha256"]).toBe(digestOf(first));
    expect(exec.detail).not.toHaveProperty("script_sha256");
    const all = run.lines.filter((line) =>
      line.topic === "process/exec" && line["process_id"] === exec["process_id"]
    );
    expect(all.map(({ detail }) => [detail["sha256"], detail["script_sha256"]])).toEqual([
      [digestOf("/usr/bin/env"), undefined],
      [digestOf("/usr/bin/env"), digestOf(second)],
      [digestOf(realpathSync("/bin/sh")), undefined],
      [digestOf(first), undefined],
    ]);
  });

  it("are told of a file that was removed at once", async () => {
    const program = newProgram("removed");
    const sha256 = digestOf(program);
    const marker = newMarker();
    spawnSync("/bin/sh", [
      "-c",
      `exec 3<${program}; rm ${program}; exec /proc/self/fd/3 ${marker}`,
    ]);
    expect((await waitForExec(run, marker)).detail).toMatchObject({ deleted: true, sha256 });
    const later = newProgram("removed-later");
    const laterSha256 = digestOf(later);
    const second = newMarker();
    spawnSync("/bin/sh", ["-c", `${later} ${second}; rm ${later}`]);
    expect((await waitForExec(run, second)).detail["sha256"]).toBe(laterSha256);
  });

  it("are told of an image that lives in memory only, while its process lives", async () => {
    using memfd = openMemfd("probity-digest", realpathSync("/bin/sleep"));
    const child = spawn(memfd.path, ["30"], { stdio: "ignore" });
    try {
      const [exec] = await run.waitFor(
        (line) => line.topic === "process/exec" && line["pid"] === child.pid,
        { count: 1 },
      );
      expect(exec?.detail).toMatchObject({ memfd: true, sha256: digestOf("/bin/sleep") });
    } finally {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
  });

  it("are told on filesystems that came later, on overlay, and where only a namespace sees them", async () => {
    const [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map((name) => {
      mkdirSync(join(folder, name));
      return join(folder, name);
    });
    if (lower === undefined || merged === undefined) throw new Error("no folders");
    newProgram("below", { folder: lower });
    const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    execFileSync("mount", ["-t", "overlay", "overlay", "-o", layers, merged]);
    try {
      newProgram("above", { folder: merged });
      for (const name of ["below", "above"]) {
        const path = join(merged, name);
        expect((await execOf(path)).detail["sha256"]).toBe(digestOf(path));
      }
    } finally {
      execFileSync("umount", ["-l", merged]);
    }
    const mounted = join(folder, "mounted");
    mkdirSync(mounted);
    execFileSync("mount", ["-t", "tmpfs", "probity-test", mounted]);
    try {
      const path = newProgram("on-tmpfs", { folder: mounted });
      await execOf("/bin/true");
      expect((await execOf(path)).detail["sha256"]).toBe(digestOf(path));
    } finally {
      execFileSync("umount", ["-l", mounted]);
    }
    const marker = newMarker();
    const hidden = `mount -t tmpfs x ${mounted}; cp /bin/sh ${mounted}; ` +
      `exec ${mounted}/sh -c 'sleep 1; :' ${marker}`;
    const child = spawn("unshare", ["-m", "/bin/sh", "-c", hidden], { stdio: "ignore" });
    expect((await waitForExec(run, marker)).detail).toMatchObject({
      sha256: digestOf(realpathSync("/bin/sh")),
    });
    await once(child, "exit");
  });
});

describe.runIf(hasBpf)("digests with a low rate", () => {
  const RATE_BYTES = 1024 * 1024;
  let run: SourceRun;
  let source: Source;
  const pins = openPinFolder();
  beforeAll(async () => {
    const digestBytesPerSecond = RATE_BYTES;
    source = openTestSource({ family: "process", pins, digestBytesPerSecond });
    run = await runAttached(source, pins);
  });
  afterAll(async () => {
    await run.stop();
    pins[Symbol.dispose]();
  });

  it("follow the exec, and are of what was executed then or not told", async () => {
    const large = newProgram("large", { moreBytes: 1.5 * RATE_BYTES });
    const replaced = newProgram("replaced", { moreBytes: RATE_BYTES / 2 });
    const changed = newProgram("changed", { moreBytes: RATE_BYTES / 2 });
    const digests = [large, replaced].map(digestOf);
    // What a second allows to be read is used up first.
    const first = newMarker();
    spawnSync(newProgram("first", { moreBytes: 2 * RATE_BYTES }), [first]);
    await waitForExec(run, first);
    const marks = [large, replaced, changed].map((program) => {
      const marker = newMarker();
      spawnSync(program, [marker]);
      return marker;
    });
    renameSync(newProgram("replacement"), replaced);
    const [largeExec, replacedExec, changedExec] = await Promise.all(
      marks.map((marker) => waitForExec(run, marker)),
    );
    appendFileSync(changed, "other");
    if (largeExec === undefined || replacedExec === undefined || changedExec === undefined) {
      throw new Error("no execs");
    }
    expect(largeExec.detail["sha256_pending"]).toBe(true);
    const largeHash = await waitForHash(run, largeExec);
    expect(largeHash).toMatchObject({
      topic: "process/hash",
      pid: largeExec["pid"],
      exe: large,
      message: `The digest of ${large} is known`,
      detail: { sha256: digests[0], size: readFileSync(large).byteLength },
    });
    expect(replacedExec.detail["sha256_pending"]).toBe(true);
    expect((await waitForHash(run, replacedExec)).detail).toMatchObject({
      sha256: digests[1],
      sha256_touched: true,
    });
    expect(changedExec.detail["sha256_pending"]).toBe(true);
    expect((await waitForHash(run, changedExec)).detail["sha256_missing"]).toBe("changed");
  });

  it("do not hold up a storm of different files, and keep none of them open", async () => {
    const FILES = 700;
    const many = join(folder, "many");
    mkdirSync(many);
    const names = Array.from({ length: FILES }, (_, place) => `program-${place}`);
    for (const name of names) newProgram(name, { folder: many });
    const marker = newMarker();
    spawnSync("/bin/sh", ["-c", `for each in ${many}/*; do $each ${marker}; done`]);
    const startedMs = performance.now();
    const execs = await run.waitFor(
      (line) => isExecWith(line, marker) && String(line["exe"]).startsWith(many),
      { count: FILES, timeoutMs: 20_000 },
    );
    expect(performance.now() - startedMs).toBeLessThan(10_000);
    const kinds = execs.map(({ detail }) =>
      ["sha256", "sha256_pending", "sha256_missing"].filter((key) => key in detail).join()
    );
    expect(kinds.every((kind) => !kind.includes(",") && kind !== "")).toBe(true);
    expect(new Set(kinds).has("sha256_pending")).toBe(true);
    for (const { detail } of execs.filter(({ detail }) => "sha256_missing" in detail)) {
      expect(detail["sha256_missing"]).toBe("rate");
    }
    expect(descriptorsBelow(folder)).toBeGreaterThan(0);
    await run.stop();
    const isStopped = (line: Line): boolean =>
      line.topic === "process/hash" && line.detail["sha256_missing"] === "stopped";
    expect(run.lines.some(isStopped)).toBe(true);
    const count = (topic: string, key: string): number =>
      run.lines.filter((line) => line.topic === topic && key in line.detail).length;
    expect(count("process/hash", "sha256") + count("process/hash", "sha256_missing")).toBe(
      count("process/exec", "sha256_pending"),
    );
    await source[Symbol.asyncDispose]();
    expect(descriptorsBelow(folder)).toBe(0);
  });
});
