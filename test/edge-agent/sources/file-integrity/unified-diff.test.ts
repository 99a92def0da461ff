import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  EDITS_MAX,
  editScript,
} from "../../../../src/edge-agent/sources/file-integrity/kinds/edit-script.ts";
import {
  diffSide,
  unifiedDiff,
} from "../../../../src/edge-agent/sources/file-integrity/kinds/unified-diff.ts";
import { processorMsOf } from "../../../support/processor-time.ts";

const names = { before: "/etc/a", after: "/etc/a" };
const diff = (before: string, after: string, bytesMax = 1e7) =>
  unifiedDiff(diffSide(before), diffSide(after), { names, bytesMax });

/** Lines of few different texts, so that many are equal; with and without a newline at the end. */
const text = fc.tuple(
  fc.array(fc.constantFrom("a", "b", "c", "d", "", "-- x", "++ y", "\\ z"), { maxLength: 40 }),
  fc.boolean(),
).map(([lines, isCut]) => lines.join("\n") + (isCut || lines.length === 0 ? "" : "\n"));

/** What a reader of the format makes of it. */
function apply(before: string, patch: string): string {
  if (patch === "") return before;
  const old = before.split(/(?<=\n)/);
  const out: string[] = [];
  let at = 0;
  const lines = patch.split("\n").slice(2, -1);
  lines.forEach((line, place) => {
    const [, from, count] = /^@@ -(\d+)(?:,(\d+))? /.exec(line) ?? [];
    if (from !== undefined) {
      const start = Number(from) - (count === "0" ? 0 : 1);
      while (at < start) out.push(old[at++] ?? "");
      return;
    }
    const isLastCut = lines[place + 1]?.startsWith("\\") === true;
    const whole = line.slice(1) + (isLastCut ? "" : "\n");
    if (line.startsWith("+")) out.push(whole);
    else if (!line.startsWith("\\")) {
      expect(old[at]).toBe(whole);
      at += 1;
      if (line.startsWith(" ")) out.push(whole);
    }
  });
  return [...out, ...old.slice(at)].join("");
}

describe("a unified diff", () => {
  const lines = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, at) => `${from + at}\n`).join("");
  const cases: readonly (readonly [string, string, string, string])[] = [
    ["of equal texts is empty", "a\nb\n", "a\nb\n", ""],
    ["of a new file", "", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n"],
    ["of a file that went", "a\n", "", "@@ -1 +0,0 @@\n-a\n"],
    ["of a newline at the end", "a", "a\n", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"],
    ["of an empty line", "\n", "\n\n", "@@ -1 +1,2 @@\n \n+\n"],
    [
      "has three lines of context",
      lines(1, 9),
      lines(1, 4) + "x\n" + lines(6, 9),
      "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n",
    ],
    [
      "joins changes whose context meets",
      lines(1, 8),
      lines(2, 7),
      "@@ -1,8 +1,6 @@\n-1\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n",
    ],
    [
      "parts changes that are further off",
      lines(1, 9),
      lines(2, 8),
      "@@ -1,4 +1,3 @@\n-1\n 2\n 3\n 4\n@@ -6,4 +5,3 @@\n 6\n 7\n 8\n-9\n",
    ],
  ];
  it.each(cases)("%s", (_name, before, after, hunks) => {
    expect(diff(before, after)).toBe(hunks === "" ? "" : `--- /etc/a\n+++ /etc/a\n${hunks}`);
  });

  it("turns the text before into the text after", () => {
    fc.assert(fc.property(text, text, (before, after) => {
      const patch = diff(before, after) ?? "";
      expect(apply(before, patch)).toBe(after);
      expect(patch === "").toBe(before === after);
    }));
  });

  it("has no more lines than what diff(1) makes at its best", () => {
    const folder = mkdtempSync(join(tmpdir(), "probity-diff-"));
    try {
      fc.assert(
        fc.property(text, text, (before, after) => {
          const [old, now] = [join(folder, "old"), join(folder, "now")];
          writeFileSync(old, before);
          writeFileSync(now, after);
          const patch = diff(before, after) ?? "";
          const edits = patch.split("\n").slice(2).filter((line) => /^[+-]/.test(line)).length;
          expect(edits).toBe(editsOfDiff(old, now));
        }),
        { numRuns: 40 },
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("is missing when it would be longer than allowed, and not one byte earlier", () => {
    const whole = diff("a\nb\n", "ä\nb\n") ?? "";
    const size = Buffer.byteLength(whole);
    expect(diff("a\nb\n", "ä\nb\n", size)).toBe(whole);
    expect(diff("a\nb\n", "ä\nb\n", size - 1)).toBeUndefined();
  });

  it("of texts too different to compare replaces the middle, in bounded time", () => {
    const many = (mark: string) =>
      Array.from({ length: 20_000 }, (_, at) => at % 2 === 0 ? "same" : `${mark}${at}`);
    let runs: ReturnType<typeof editScript> = [];
    const tookMs = processorMsOf(() => {
      runs = editScript(["head", ...many("a"), "tail"], ["head", ...many("b"), "tail"]);
    });
    expect(tookMs).toBeLessThan(2_000);
    expect(runs.map(({ isEqual, beforeCount }) => [isEqual, beforeCount])).toEqual([
      [true, 2],
      [false, 19_999],
      [true, 1],
    ]);
    expect(EDITS_MAX).toBeLessThan(20_000);
  });

  it("spells out names with newlines, so that no name forges a line", () => {
    const forged = { before: "/etc/a\n+++ b", after: "/etc/a\n+++ b" };
    expect(unifiedDiff(diffSide("a\n"), diffSide("b\n"), { names: forged, bytesMax: 1_000 }))
      .toBe("--- /etc/a\\n+++ b\n+++ /etc/a\\n+++ b\n@@ -1 +1 @@\n-a\n+b\n");
  });
});

/** Lines that diff(1) takes away and adds with its minimal script. */
function editsOfDiff(old: string, now: string): number {
  try {
    execFileSync("diff", ["--minimal", "-U0", old, now]);
    return 0;
  } catch (error) {
    // as: of a command that ran and found differences
    const { stdout } = error as { readonly stdout: Buffer };
    return stdout.toString().split("\n").slice(2).filter((line) => /^[+-]/.test(line)).length;
  }
}
