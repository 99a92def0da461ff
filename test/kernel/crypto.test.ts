import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { removePinFolder } from "../../src/edge-agent/pinned-programs.ts";
import { createContextIds } from "../../src/edge-agent/sources/crypto/context-ids.ts";
import { type CryptoRecord, recordOf } from "../../src/event/crypto/record.ts";
import {
  buildIdOf,
  type Compiled,
  compileProbes,
  hasProbes,
  openTestCrypto,
  runProbed,
} from "../support/probed-programs.ts";
import { hasBpf, openPinFolder, runAttached } from "../support/ring-sources.ts";
import type { Line, SourceRun } from "../support/source-run.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const KEY = Uint8Array.from({ length: 16 }, (_, place) => place);
const ids = createContextIds(KEY);
const idOf = (pid: number, context: bigint): string =>
  ids.idOf({ tid: pid, pid }, {
    low: Number(BigInt.asUintN(32, context)),
    high: Number(BigInt.asUintN(32, context >> 32n)),
  });
/** What a line says of its key and value. */
const toldOf = ({ detail }: Line) => [detail["key"], detail["value"]];
const isDatum = ({ detail }: Line): boolean => "key" in detail;

describe.runIf(hasBpf && hasProbes).each(["tp_btf", "raw_tp"] as const)(
  "probes of libraries as %s",
  (variant) => {
    let folder: TemporaryFolder;
    let probed: Compiled;
    let run: SourceRun;
    let source: ReturnType<typeof openTestCrypto>;
    const pins = openPinFolder();
    beforeAll(async () => {
      folder = await openTemporaryFolder("crypto");
      probed = compileProbes(folder.path);
      const missing = join(folder.path, "missing");
      source = openTestCrypto({
        pins,
        variants: [variant],
        dataDirectory: folder.path,
        libraries: [probed.program, missing, "/bin/true"],
        discover: true,
        contextKey: KEY,
      });
      run = await runAttached(source, pins);
    });
    afterAll(async () => {
      await run.stop();
      await source[Symbol.asyncDispose]();
      pins[Symbol.dispose]();
      await folder[Symbol.asyncDispose]();
    });
    const attachedAs = (path: string) =>
      run.waitFor((line) => line.topic === "agent/config" && line["path"] === path, { count: 1 });
    const linesOf = (pid: number, count: number) =>
      run.waitFor((line) => line["pid"] === pid && line.topic.startsWith("crypto/"), { count });

    it("tell contexts and data of all six, 16 at once, as their records say", async () => {
      const program = runProbed(probed.program, "tell", "4096");
      await program.ended();
      const lines = await linesOf(program.pid, 24);
      const [context, child] = [idOf(program.pid, 4096n), idOf(program.pid, 4097n)];
      expect(lines[0]).toMatchObject({
        topic: "crypto/context",
        severity: "info",
        context,
        parent_context: idOf(program.pid, -1n),
        detail: { origin: buildIdOf(probed.program), library: probed.program, tid: program.pid },
      });
      expect(lines.slice(1, 4).map(({ topic, detail }) => [topic, detail["type"], detail["value"]]))
        .toEqual([
          ["crypto/tls/handshake", "string", "tls::handshake"],
          ["crypto/tls/protocol_version", "word", 0x304],
          ["crypto/test/blob", "blob", "0001fe"],
        ]);
      const elements = Array.from({ length: 16 }, (_, place) => [
        `test::element_${place}`,
        [place === 0 ? 0 : -place, "text", "000102ff"][place % 3],
      ]);
      expect(lines.slice(4, 20).map(toldOf)).toEqual(elements);
      expect(lines.slice(4, 20).map(({ detail }) => [detail["place"], detail["count"]]))
        .toEqual(elements.map((_, place) => [place, 16]));
      expect(lines[20]).toMatchObject({ context: child, parent_context: context });
      expect(lines.slice(21).map(toldOf)).toEqual(elements.slice(0, 3));
      expect(new Set(lines.slice(21).map((line) => line["context"]))).toEqual(new Set([child]));
      const records = lines.map((line) => recordOf(line)).filter((each) => each !== undefined);
      expect(records.length).toBe(24);
      // Attached by its path before anybody executed it: not a moment is missing.
      const gaps = source.losses().filter(({ reason }) => reason.includes(probed.program));
      expect(gaps).toEqual([]);
      // What one probe tells is of one moment.
      const times = records.map(({ sinceBootNs }: CryptoRecord) => sinceBootNs);
      expect(new Set(times.slice(4, 20)).size).toBe(1);
      expect(times).toEqual(times.toSorted((left, right) => Number(left - right)));
    });

    it("tell what is too long cut and marked, what is no text escaped, and count what cannot be read", async () => {
      const before = source.counters();
      const program = runProbed(probed.program, "strange", "1");
      await program.ended();
      const lines = await linesOf(program.pid, 6);
      const [large, blob, ...others] = lines;
      expect(large?.detail).toMatchObject({
        key: "k".repeat(255),
        value: "v".repeat(1023),
        truncated: true,
        key_truncated: true,
      });
      expect(blob?.detail).toMatchObject({
        value: "76".repeat(1023),
        truncated: true,
        value_bytes: 1 << 20,
      });
      expect(others.map(toldOf)).toEqual([
        ["test::empty", ""],
        ["../..//a\nb\x01::x/y", "\\xff\\xfe"],
        ["test::after", 7],
        ["test::end", -1],
      ]);
      expect(others[1]).toMatchObject({
        topic: "crypto/.._..__a_b_/x_y",
        detail: { escaped: ["detail"] },
      });
      const after = source.counters();
      // A key, a value, and an array of five that are nowhere; of an array of three the key and the value.
      expect(after.readFault - before.readFault).toBe(1 + 1 + 2 + 5);
      expect(after.truncated - before.truncated).toBe(2);
    });

    /** Lines of a process once each of the 24 facts is told or counted: what may not sleep cannot fetch a page. */
    const linesOrFaults = async (pid: number, before: number): Promise<readonly Line[]> => {
      for (;;) {
        const faults = source.counters().readFault - before;
        const count = variant === "raw_tp" ? 24 - faults : 24;
        const lines = await linesOf(pid, count);
        if (variant === "tp_btf") expect(faults).toBe(0);
        if (lines.length === count) return lines;
      }
    };

    it("of a library that is loaded late are told from its first mapping on, and the time before is a gap", async () => {
      const before = source.counters().readFault;
      const program = runProbed(probed.program, "load", probed.library, "77");
      const [attached] = await attachedAs(probed.library);
      program.go();
      await program.ended();
      const lines = await linesOrFaults(program.pid, before);
      if (variant === "tp_btf") expect(lines.filter(isDatum)).toHaveLength(22);
      // The reader is to find out what it belongs to.
      const context = idOf(program.pid, 77n);
      expect(lines[0]).toMatchObject({
        context,
        parent_context: context,
        detail: { library: probed.library, origin: buildIdOf(probed.library) },
      });
      expect(attached).toMatchObject({
        severity: "info",
        outcome: "success",
        detail: { source: "crypto", provider: "crypto_auditing", probes: 15 },
      });
      // Whatever else runs on this machine is looked at, too.
      const late = source.losses().find(({ reason }) => reason.includes(probed.library));
      expect(late).toMatchObject({ class: "unattached", count: null });
      const lateUs = (late?.toUs ?? Infinity) - (late?.fromUs ?? 0);
      expect(lateUs).toBeGreaterThan(0);
      expect(lateUs).toBeLessThan(5_000_000);
    });

    it("of another copy in another mount namespace are told with that copy's path", async () => {
      const before = source.counters().readFault;
      const other = join(folder.path, `other-${variant}`);
      mkdirSync(other);
      copyFileSync(probed.library, join(other, "libprobed.so"));
      const inside = join(folder.path, "only-there");
      mkdirSync(inside, { recursive: true });
      const copy = join(inside, "libprobed.so");
      const script = `mount --bind "$1" "$2" && exec "$3" load "$4" 78`;
      const program = runProbed(
        "unshare",
        ...["-m", "sh", "-c", script, "sh", other, inside, probed.program, copy],
      );
      await attachedAs(copy);
      program.go();
      await program.ended();
      const lines = await linesOrFaults(program.pid, before);
      expect(lines[0]?.detail["library"]).toBe(copy);
      expect(readdirSync(inside)).toEqual([]);
    });

    it("that are not there are told as what is wrong with the configuration", async () => {
      const status = await source.probe();
      const found = status.state === "on" ? status.hooks ?? [] : [];
      expect(found).toEqual([
        { name: "usdt", state: "on" },
        { name: `library ${probed.program}`, state: "on" },
        {
          name: `library ${join(folder.path, "missing")}`,
          state: "off",
          reason: "it cannot be opened: ENOENT",
        },
        {
          name: "library /bin/true",
          state: "off",
          reason: 'it has no probes of provider "crypto_auditing"',
        },
      ]);
      const faults = run.lines.filter(({ topic, outcome }) =>
        topic === "agent/config" && outcome === "failure"
      );
      expect(faults.map(({ severity, path }) => [severity, path])).toEqual([
        ["medium", join(folder.path, "missing")],
        ["medium", "/bin/true"],
      ]);
    });
  },
);

describe.runIf(hasBpf && hasProbes)("attached libraries", () => {
  it("that two overlays show as two files of one inode tell each hit once", async () => {
    await using folder = await openTemporaryFolder("crypto");
    using pins = openPinFolder();
    const lower = join(folder.path, "lower");
    mkdirSync(lower);
    compileProbes(lower);
    const mounted = ["one", "two"].map((name) => {
      const [upper, work, merged] = ["upper", "work", "merged"].map((part) => {
        const path = join(folder.path, name, part);
        mkdirSync(path, { recursive: true });
        return path;
      });
      const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
      execFileSync("mount", ["-t", "overlay", "overlay", "-o", options, String(merged)]);
      return join(String(merged), "probed");
    });
    try {
      const libraries = { pins, dataDirectory: folder.path, libraries: mounted };
      await using source = openTestCrypto(libraries);
      const run = await runAttached(source, pins);
      await run.waitFor((line) => line.topic === "agent/config", { count: 2 });
      for (const program of mounted) {
        const running = runProbed(program, "tell", "9");
        await running.ended();
        const isOurs = (line: Line): boolean => line["pid"] === running.pid;
        await run.waitFor(isOurs, { count: 24 });
        await delay(300);
        const keys = run.lines.filter(isOurs).map(({ topic, detail }) =>
          `${topic} ${String(detail["place"])}`
        );
        expect(keys).toHaveLength(24);
      }
      await run.stop();
    } finally {
      removePinFolder(pins.path);
      for (const program of mounted) await unmount(dirname(program));
    }
  });

  it("with counters of listeners are told and counted on; and go on over a new start", async () => {
    await using folder = await openTemporaryFolder("crypto");
    using pins = openPinFolder();
    const { program } = compileProbes(folder.path, ["-DSEMAPHORES"]);
    const options = { pins, dataDirectory: folder.path, libraries: [program], contextKey: KEY };
    let position;
    {
      await using source = openTestCrypto(options);
      const run = await runAttached(source, pins);
      const first = runProbed(program, "tell", "1");
      await first.ended();
      await run.waitFor((line) => line["pid"] === first.pid, { count: 24 });
      position = run.chunks.at(-1)?.position;
      await run.stop();
    }
    const [generation = ""] = readdirSync(pins.path);
    const links = readdirSync(join(pins.path, generation)).filter((name) =>
      /^link_usdt/.test(name)
    );
    expect(links.length).toBeGreaterThan(6);
    // Nobody reads; what is told meanwhile waits.
    const between = runProbed(program, "tell", "2");
    await between.ended();
    await using again = openTestCrypto({ ...options, position });
    const run = await runAttached(again, pins);
    const lines = await run.waitFor((line) => line["pid"] === between.pid, { count: 24 });
    expect(lines[0]?.detail["library"]).toBe(program);
    expect(readdirSync(join(pins.path, generation)).filter((name) => /^link_usdt/.test(name)))
      .toEqual(links);
    // A library that the configuration names no more is detached.
    await again.reconfigure?.({
      rules: { limits: {}, burstMs: 1, sampleEvery: 2, cgroupFactor: 1, filters: [] },
      crypto: { libraries: [], discover: false, provider: "crypto_auditing" },
    });
    await run.waitFor((line) => line.topic === "agent/config" && line["path"] === program, {
      count: 1,
      timeoutMs: 15_000,
    });
    const last = runProbed(program, "tell", "3");
    await last.ended();
    await delay(300);
    expect(run.lines.filter((line) => line["pid"] === last.pid)).toEqual([]);
    await run.stop();
  });
});

/** What was attached is let go of a moment after its link has ended. */
async function unmount(folder: string): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    if (spawnSync("umount", [folder]).status === 0) return;
    await delay(50);
  }
  throw new Error(`Cannot unmount ${folder}: it is held`);
}
