import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { hasClang } from "../support/clang.ts";
import {
  type Coverage,
  FILE_OPERATIONS,
  fileKey,
  FILESYSTEMS,
  PROCESS_OPERATIONS,
  processKey,
  runCoverage,
} from "../support/coverage-run.ts";
import { coverageTables } from "../support/coverage-table.ts";
import { requireCapability } from "../support/require.ts";
import { hasBpf } from "../support/ring-sources.ts";

const PAGE = fileURLToPath(new URL("../../docs/coverage.md", import.meta.url));
const [BEGIN, END] = ["<!-- derived: coverage -->", "<!-- /derived -->"];
const isX86 = requireCapability("i386-gate", process.arch === "x64", "only x86-64 has int 0x80");
const RING_WAYS = ["inline", "worker", "polled"] as const;

describe.runIf(hasBpf && hasClang)("what an agent sees", () => {
  let coverage: Coverage;
  beforeAll(async () => {
    coverage = await runCoverage();
  });

  it("names the process that did it, always", () => {
    const wrong = [...coverage.files, ...coverage.processes]
      .flatMap(([what, { wrong }]) => wrong.map(({ topic, pid }) => [what, topic, pid]));
    expect(wrong).toEqual([]);
  });

  it("is the same by io_uring as by system call", () => {
    const differing = RING_WAYS.flatMap((way) => [
      ...FILESYSTEMS.flatMap((type) =>
        Object.keys(FILE_OPERATIONS).flatMap((operation) => {
          const found = coverage.files.get(fileKey(type, way, operation));
          const plain = coverage.files.get(fileKey(type, "call", operation));
          if (found?.result === undefined || plain?.result === undefined) return [];
          const isSame = found.topics.join() === plain.topics.join();
          return isSame ? [] : [{ type, way, operation, found: found.topics, plain: plain.topics }];
        })
      ),
      ...Object.keys(PROCESS_OPERATIONS).flatMap((operation) => {
        const found = coverage.processes.get(processKey(way, operation));
        const plain = coverage.processes.get(processKey("call", operation));
        if (found?.result === undefined) return [];
        return found.topics.join() === plain?.topics.join() ? [] : [{ way, operation }];
      }),
    ]);
    expect(differing).toEqual([]);
  });

  it.runIf(isX86)("is what docs/coverage.md says", () => {
    const found = coverageTables(coverage);
    const page = readFileSync(PAGE, "utf8");
    const [before = "", rest = ""] = page.split(BEGIN);
    const [written = "", after = ""] = rest.split(END);
    if (process.env["PROBITY_WRITE"] === "coverage") {
      writeFileSync(PAGE, `${before}${BEGIN}\n\n${found}\n\n${END}${after}`);
      return;
    }
    expect(rowsOf(found)).toEqual(rowsOf(written));
  });
});

/** Lines without the padding of columns. */
function rowsOf(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "")
    .map((line) => line.replaceAll(/ *\| */g, "|").replaceAll(/-{3,}/g, "---"));
}
