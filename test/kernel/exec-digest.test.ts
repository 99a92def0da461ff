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

/**
 * What is told of an exec in the end: on a machine that is busy with other things, digests may come late in any test.
 * Script and image may come in a line of their own each.
 */
async function finalDetail(run: SourceRun, exec: Line): Promise<Line["detail"]> {
  const keys = ["sha256", "script_sha256"].filter((key) => `${key}_pending` in exec.detail);
  const isFor = (line: Line, key: string): boolean =>
    line.topic === "process/hash" && line["process_id"] === exec["process_id"] &&
    (key in line.detail || `${key}_missing` in line.detail);
  const late = await Promise.all(
    keys.map((key) => run.waitFor((line) => isFor(line, key), { count: 1, timeoutMs: 20_000 })),
  );
  return Object.assign({}, exec.detail, ...late.flat().map(({ detail }) => detail));
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

  const toldOf = async (marker: string): Promise<Line["detail"]> =>
    await finalDetail(run, await waitForExec(run, marker));

  /** What is told of one exec of a program. */
  async function runProgram(command: string): Promise<Line["detail"]> {
    const marker = newMarker();
    spawnSync(command, [marker]);
    return await toldOf(marker);
  }

  it("are told with the exec, the second time as well", async () => {
    const program = newProgram("plain");
    const sha256 = digestOf(program);
    for (let round = 0; round < 3; round += 1) {
      const detail = await runProgram(program);
      expect(detail["sha256"]).toBe(sha256);
      expect(detail).not.toHaveProperty("sha256_touched");
      expect(detail).not.toHaveProperty("script_sha256");
    }
  });

  it("are of the new content when a file is replaced or changed between two execs", async () => {
    const program = newProgram("twice");
    const first = digestOf(program);
    expect((await runProgram(program))["sha256"]).toBe(first);
    renameSync(newProgram("twice-new"), program);
    const second = digestOf(program);
    expect((await runProgram(program))["sha256"]).toBe(second);
    appendFileSync(program, "more");
    expect((await runProgram(program))["sha256"]).toBe(digestOf(program));
    expect(new Set([first, second, digestOf(program)]).size).toBe(3);
  });

  it("name script and interpreter, also of a script whose interpreter is one", async () => {
    const shell = digestOf(realpathSync("/bin/sh"));
    const script = join(folder, "script");
    writeFileSync(script, "#!/bin/sh\n# of its own\nexit 0\n", { mode: 0o755 });
    const detail = await runProgram(script);
    expect(detail).toMatchObject({ sha256: shell, script_sha256: digestOf(script) });
    const nested = join(folder, "nested");
    writeFileSync(nested, `#!${script}\n`, { mode: 0o755 });
    const outer = await runProgram(nested);
    expect(outer).toMatchObject({ sha256: shell, script_sha256: digestOf(nested) });
    const link = join(folder, "link");
    symlinkSync(script, link);
    const linked = await runProgram(link);
    expect(linked).toMatchObject({ sha256: shell, script_sha256: digestOf(script) });
  });

  it("are told of short-lived programs of containers: on an overlay of their own namespace", async () => {
    const [lower, upper, work, merged] = ["c-lower", "c-upper", "c-work", "c-merged"].map(
      (name) => {
        mkdirSync(join(folder, name));
        return join(folder, name);
      },
    );
    if (lower === undefined || upper === undefined || merged === undefined) throw new Error("none");
    const below = newProgram("below", { folder: lower });
    const above = newProgram("above");
    const marker = newMarker();
    const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    const script =
      `mount -t overlay overlay -o ${layers} ${merged} && cp ${above} ${merged}/above ` +
      `&& ${merged}/below ${marker}-below; ${merged}/above ${marker}-above; ` +
      `printf '#!/bin/sh\n:\n' > ${merged}/script; chmod 755 ${merged}/script; ` +
      `${merged}/script ${marker}-script`;
    // Nobody can ask /proc for them: they are gone when anyone looks.
    spawnSync("unshare", ["-m", "/bin/sh", "-c", script]);
    expect(await toldOf(`${marker}-below`)).toMatchObject({ sha256: digestOf(below) });
    expect(await toldOf(`${marker}-above`)).toMatchObject({ sha256: digestOf(above) });
    expect(await toldOf(`${marker}-script`)).toMatchObject({
      sha256: digestOf(realpathSync("/bin/sh")),
      script_sha256: digestOf(join(upper, "script")),
    });
  });

  it("stand beside arguments without secrets", async () => {
    const marker = newMarker();
    spawnSync("/bin/sh", ["-c", ": --token sw0rdfish", marker, "--password", "hunter2-of-test"]);
    const exec = await waitForExec(run, marker);
    const redacted = expect.stringMatching(/^\[redacted:[0-9a-f]{12}\]$/);
    expect(exec.detail).toMatchObject({
      argv: ["/bin/sh", "-c", expect.anything(), marker, "--password", redacted],
      redacted: ["argv[2]", "argv[5]"],
    });
    const told = run.chunks.flatMap(({ fields }) => fields).join("");
    expect(told).not.toContain("hunter2-of-test");
    expect(told).not.toContain("sw0rdfish");
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
    const expected = [
      { sha256: digestOf("/usr/bin/env") },
      { sha256: digestOf("/usr/bin/env"), script_sha256: digestOf(second) },
      { sha256: digestOf(realpathSync("/bin/sh")) },
      { sha256: digestOf(first) },
    ];
    const isDigest = (line: Line): boolean =>
      line["process_id"] === exec["process_id"] && line.detail !== undefined &&
      ["sha256", "script_sha256"].some((key) => key in line.detail);
    // On a busy machine some come late; in time, they are those of each exec in its order.
    const told = await run.waitFor(isDigest, { count: expected.length, timeoutMs: 20_000 });
    const inTime = run.lines.filter((line) =>
      line.topic === "process/exec" && line["process_id"] === exec["process_id"]
    );
    expect(inTime.length).toBe(expected.length);
    for (const [place, { detail }] of inTime.entries()) {
      const keys = Object.keys(detail).filter((key) => /^(script_)?sha256$/.test(key));
      expect(expected[place]).toMatchObject(
        Object.fromEntries(keys.map((key) => [key, detail[key]])),
      );
      const isScript = Object.keys(detail).some((key) => key.startsWith("script_sha256"));
      expect(isScript).toBe(place === 1);
    }
    const values = (lines: readonly Readonly<Record<string, unknown>>[]): readonly unknown[] =>
      [...new Set(lines.flatMap((line) => [line["sha256"], line["script_sha256"]]))].toSorted();
    expect(values(told.map(({ detail }) => detail))).toEqual(values(expected));
  });

  it("are told of a file that was removed at once", async () => {
    const program = newProgram("removed");
    const sha256 = digestOf(program);
    const marker = newMarker();
    spawnSync("/bin/sh", [
      "-c",
      `exec 3<${program}; rm ${program}; exec /proc/self/fd/3 ${marker}`,
    ]);
    expect(await toldOf(marker)).toMatchObject({ deleted: true, sha256 });
    const later = newProgram("removed-later");
    const laterSha256 = digestOf(later);
    const second = newMarker();
    spawnSync("/bin/sh", ["-c", `${later} ${second}; rm ${later}`]);
    expect((await toldOf(second))["sha256"]).toBe(laterSha256);
  });

  it("are told of an image that lives in memory only, while its process lives", async () => {
    using memfd = openMemfd("probity-digest", realpathSync("/bin/sleep"));
    const child = spawn(memfd.path, ["30"], { stdio: "ignore" });
    try {
      const [exec] = await run.waitFor(
        (line) => line.topic === "process/exec" && line["pid"] === child.pid,
        { count: 1 },
      );
      if (exec === undefined) throw new Error("no exec");
      const detail = await finalDetail(run, exec);
      expect(detail).toMatchObject({ memfd: true, sha256: digestOf("/bin/sleep") });
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
        expect((await runProgram(path))["sha256"]).toBe(digestOf(path));
      }
    } finally {
      execFileSync("umount", ["-l", merged]);
    }
    const mounted = join(folder, "mounted");
    mkdirSync(mounted);
    execFileSync("mount", ["-t", "tmpfs", "probity-test", mounted]);
    try {
      const path = newProgram("on-tmpfs", { folder: mounted });
      await runProgram("/bin/true");
      expect((await runProgram(path))["sha256"]).toBe(digestOf(path));
    } finally {
      execFileSync("umount", ["-l", mounted]);
    }
    const marker = newMarker();
    const hidden = `mount -t tmpfs x ${mounted}; cp /bin/sh ${mounted}; ` +
      `exec ${mounted}/sh -c 'sleep 1; :' ${marker}`;
    const child = spawn("unshare", ["-m", "/bin/sh", "-c", hidden], { stdio: "ignore" });
    expect(await toldOf(marker)).toMatchObject({
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
