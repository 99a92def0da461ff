/**
 * Thousands of seeds hold, and every planted bug is found. Each run is a process of its own, as modules are replaced in
 * it; a failure names the command that repeats it.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MUTATIONS } from "./mutations.ts";

/** From the first on; `PROBITY_SIMULATION_SEEDS=<first>+<count>` runs others. */
const [FIRST = 1, SEEDS = 2_000] = (process.env["PROBITY_SIMULATION_SEEDS"] ?? "")
  .split("+").filter((text) => text !== "").map(Number);
/** Those in which DuckDB makes the rows. */
const REAL_SEEDS = 50;
/** A planted bug has to be found among so many. */
const MUTATION_SEEDS = 500;
const PROCESSES = Math.min(4, availableParallelism());
const TEST_MS = 600_000;

interface Outcome {
  readonly failed?: number;
  readonly tried?: number;
  readonly reason?: string;
  readonly seeds?: number;
  readonly commits?: number;
}

/** Each process compiles the same files: the first one leaves them to the others. */
const compiled = mkdtempSync(join(tmpdir(), "probity-compiled-"));
afterAll(() => rmSync(compiled, { recursive: true, force: true }));

const PROGRAM = fileURLToPath(new URL("run-seeds.ts", import.meta.url));

function start(options: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...options], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, NODE_COMPILE_CACHE: compiled },
    });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => text += part);
    child.on("error", reject);
    child.on("close", () => resolve(text));
  });
}

async function run(options: readonly string[]): Promise<Outcome> {
  const text = await start(options);
  return JSON.parse(text.trim().split("\n").at(-1) ?? "");
}

/** Seeds shared out among processes. */
async function runSeeds(first: number, count: number, more: readonly string[] = []) {
  const shares = Array.from({ length: PROCESSES }, (_, at) => {
    const share = Math.ceil((count - at) / PROCESSES);
    const seeds = ["--seed", first + at, "--step", PROCESSES, "--count", share].map(String);
    return run([...seeds, ...more]);
  });
  return await Promise.all(shares);
}

/** So many at a time; what fails is seen by who asks for it. */
function inTurns<Key, Value>(keys: readonly Key[], work: (key: Key) => Promise<Value>) {
  const done = new Map(keys.map((key) => [key, Promise.withResolvers<Value>()]));
  const left = [...done].values();
  const worker = async (): Promise<void> => {
    for (const [key, { resolve, reject }] of left) await work(key).then(resolve, reject);
  };
  for (let count = 0; count < PROCESSES; count++) void worker();
  return (key: Key): Promise<Value> | undefined => done.get(key)?.promise;
}

describe("the pipeline in a simulation", () => {
  it(`keeps its promises under ${SEEDS} seeds`, { timeout: TEST_MS }, async () => {
    const startedMs = performance.now();
    const outcomes = await runSeeds(FIRST, SEEDS);
    const seconds = (performance.now() - startedMs) / 1_000;
    const rate = (SEEDS / seconds).toFixed(1);
    process.stdout.write(`${SEEDS} seeds in ${seconds.toFixed(0)} s, ${rate} per second\n`);
    expect(outcomes.filter(({ failed }) => failed !== undefined)).toEqual([]);
    expect(outcomes.reduce((sum, { seeds = 0 }) => sum + seeds, 0)).toBe(SEEDS);
    expect(outcomes.reduce((sum, { commits = 0 }) => sum + commits, 0)).toBeGreaterThan(SEEDS);
  });

  it(`keeps them under ${REAL_SEEDS} seeds with rows made by DuckDB`, {
    timeout: TEST_MS,
  }, async () => {
    const outcomes = await runSeeds(FIRST, REAL_SEEDS, ["--real"]);
    expect(outcomes.filter(({ failed }) => failed !== undefined)).toEqual([]);
    expect(outcomes.reduce((sum, { seeds = 0 }) => sum + seeds, 0)).toBe(REAL_SEEDS);
  });

  it("does the same under the same seed, whatever ran before", { timeout: TEST_MS }, async () => {
    const series = await start(["--seed", "1", "--count", "12", "--each"]);
    const alone = await start(["--seed", "12", "--count", "1", "--each"]);
    expect(series.split("\n")[11]).toBe(alone.split("\n")[0]);
  });
});

describe("a planted bug is found:", () => {
  let outcomeOf: ReturnType<typeof inTurns<string, Outcome>>;

  beforeAll(() => {
    const seedOf = new Map(MUTATIONS.map(({ name, seed }) => [name, seed]));
    const among = ["--count", MUTATION_SEEDS, "--wrap", MUTATION_SEEDS].map(String);
    outcomeOf = inTurns([...seedOf.keys()], (name) => {
      const seed = String(seedOf.get(name));
      return run(["--mutation", name, "--seed", seed, ...among]);
    });
  });

  it.each(MUTATIONS)("$name", { timeout: TEST_MS }, async ({ name, seed }) => {
    const outcome = await outcomeOf(name);
    expect(outcome?.reason).toMatch(/^(ViolationError|EndlessRunError): /);
    expect(outcome?.failed).toBeLessThanOrEqual(MUTATION_SEEDS);
    const late = outcome?.failed === seed ? "" : `, no longer by seed ${seed}`;
    process.stdout.write(`found by seed ${outcome?.failed}${late}: ${name}\n`);
  });
});
