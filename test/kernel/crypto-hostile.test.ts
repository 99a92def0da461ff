import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Compiled,
  compileHostile,
  compileNarrow,
  compileProbes,
  hasProbes,
  openTestCrypto,
  runProbed,
} from "../support/probed-programs.ts";
import { hasBpf, openPinFolder, runAttached } from "../support/ring-sources.ts";
import type { Line, SourceRun } from "../support/source-run.ts";
import { openTemporaryFolder, type TemporaryFolder } from "../support/temporary-folder.ts";

const STALLED_THREADS = 64;
/** Faults of the kernel's own since it started. */
const oopsCount = () => Number(readFileSync("/sys/kernel/oops_count", "utf8"));
/** What `tell` tells (test/fixtures/crypto/probes.c). */
const TOLD = 24;

describe.runIf(hasBpf && hasProbes)(
  "programs that are hostile to whoever reads their probes",
  () => {
    let folder: TemporaryFolder;
    let probed: Compiled;
    let hostile: string;
    let run: SourceRun;
    let source: ReturnType<typeof openTestCrypto>;
    const pins = openPinFolder();
    beforeAll(async () => {
      folder = await openTemporaryFolder("crypto");
      probed = compileProbes(folder.path);
      hostile = compileHostile(folder.path);
      const libraries = [probed.program, hostile];
      source = openTestCrypto({ pins, dataDirectory: folder.path, libraries, discover: true });
      run = await runAttached(source, pins);
    });
    afterAll(async () => {
      await run.stop();
      await source[Symbol.asyncDispose]();
      pins[Symbol.dispose]();
      await folder[Symbol.asyncDispose]();
    });
    const linesOf = (pid: number, count: number) =>
      run.waitFor((line) => line["pid"] === pid && line.topic.startsWith("crypto/"), { count });
    const word = async (program: ReturnType<typeof runProbed>): Promise<string> =>
      String((await once(program.child.stdout ?? program.child, "data"))[0]).trim();

    it("and keep its programs waiting for memory that never comes cost no other process a record", async () => {
      const oopses = oopsCount();
      await using stalled = runProbed(hostile, "stall", String(STALLED_THREADS));
      expect(await word(stalled)).toBe("stalled");
      const before = source.counters();
      for (let time = 0; time < 4; time += 1) {
        const program = runProbed(probed.program, "tell", "4096");
        await program.ended();
        expect(await linesOf(program.pid, TOLD)).toHaveLength(TOLD);
      }
      const after = source.counters();
      expect((after.recursion ?? 0) - (before.recursion ?? 0)).toBe(0);
      // Each of them is woken, and finds its own stack.
      await stalled[Symbol.asyncDispose]();
      expect(oopsCount() - oopses).toBe(0);
    });

    it("and tell more data at once than are taken have that said of the last, and counted", async () => {
      const before = source.counters().truncated;
      const program = runProbed(hostile, "many");
      await program.ended();
      const lines = await linesOf(program.pid, 16);
      expect(lines.map(({ detail }) => [detail["value"], detail["place"], detail["count"]]))
        .toEqual(Array.from({ length: 16 }, (_, place) => [place, place, 20]));
      const cut = ({ detail }: Line) => [detail["truncated"], detail["data_truncated"]];
      expect(lines.map(cut).slice(0, 15).flat()).toEqual(Array(30).fill(undefined));
      expect(cut(lines[15] as Line)).toEqual([true, true]);
      expect(source.counters().truncated - before).toBe(1);
    });

    it("and have an argument nowhere in memory are counted, and not told as if it were 0", async () => {
      const before = source.counters().readFault;
      const program = runProbed(hostile, "far");
      await program.ended();
      const lines = await linesOf(program.pid, 1);
      expect(lines.map(({ detail }) => [detail["key"], detail["value"]])).toEqual([[
        "test::far",
        7,
      ]]);
      expect(source.counters().readFault - before).toBe(1);
    });

    it("and have files of 32 bits, whose probes cannot be attached, have that said", async () => {
      const narrow = compileNarrow(folder.path);
      await using program = runProbed(hostile, "protect", narrow);
      expect(await word(program)).toBe("protected");
      const [fault] = await run.waitFor(
        (line) => line.topic === "agent/config" && line["path"] === narrow,
        { count: 1 },
      );
      expect(fault).toMatchObject({
        ...{ severity: "medium", outcome: "failure" },
        detail: { reason: "it is a file of 32 bits, whose probes cannot be attached" },
      });
    });

    it("and make what they mapped executable only then are seen at once", async () => {
      await using program = runProbed(hostile, "protect", probed.library);
      expect(await word(program)).toBe("protected");
      await run.waitFor(
        (line) => line.topic === "agent/config" && line["path"] === probed.library,
        { count: 1 },
      );
    });
  },
);
