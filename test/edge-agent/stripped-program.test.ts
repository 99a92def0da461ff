import { spawnSync } from "node:child_process";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { loadProcessCalls } from "../../src/edge-agent/process-calls.ts";
import { stripProgram } from "../../src/edge-agent/privilege/stripped-program.ts";

const ENTRY = new URL("../../src/edge-agent/privilege/serve.ts", import.meta.url);
/** Loads a program of ours and says whether what strips types was loaded for that. */
const SCRIPT = `
const { serve } = await import(${JSON.stringify(ENTRY.href)});
const isStripping = process.moduleLoadList.some((name) => name.includes("amaro"));
console.log(JSON.stringify([typeof serve, isStripping]));
`;

function run(words: readonly string[], fd?: number): unknown {
  const handed = fd === undefined ? [] : Array.from({ length: fd - 2 }, (_, at) => {
    return at + 3 === fd ? fd : "ignore" as const;
  });
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [...words, "--input-type=module", "-e", SCRIPT],
    {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe", ...handed],
      // What is kept of earlier runs has no types either.
      env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: "1" },
    },
  );
  try {
    return JSON.parse(stdout);
  } catch (cause) {
    throw new Error(`The script said: ${stderr}`, { cause });
  }
}

describe("the program without its types", () => {
  test("runs from the descriptor with all that it imports, and strips nothing", () => {
    using program = stripProgram(loadProcessCalls(), ENTRY);
    if (program === undefined) throw new Error("The program was not stripped");
    expect(run(program.words, program.fd)).toEqual(["function", false]);
  });

  test("cannot be changed by whoever comes to a descriptor of it", () => {
    using program = stripProgram(loadProcessCalls(), ENTRY);
    if (program === undefined) throw new Error("The program was not stripped");
    const another = openSync(`/proc/self/fd/${program.fd}`, "r+");
    try {
      expect(() => writeSync(another, "evil", 0)).toThrow("EPERM");
      expect(() => ftruncateSync(another, 0)).toThrow("EPERM");
    } finally {
      closeSync(another);
    }
    expect(run(program.words, program.fd)).toEqual(["function", false]);
  });

  test("is what saves a process from stripping types itself", () => {
    expect(run([])).toEqual(["function", true]);
  });
});
