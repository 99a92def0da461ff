/**
 * Runs seeds, one after the other, and prints what came of it as one line of JSON; a failure with the command that
 * repeats it. Node runs it as it is:
 *
 *     node test/simulation/run-seeds.ts --seed 1 --count 100
 *
 * After seed `--wrap` comes seed 1. `--step` leaves seeds to others that run beside it, `--trace` tells what happens, `--each` prints every seed's figures,
 * `--real` lets DuckDB make the rows, `--mutation` plants a bug first.
 */
import { parseArgs } from "node:util";
import process from "node:process";
import { nuid } from "@nats-io/transport-node";
import { MUTATIONS } from "./mutations.ts";
import { plantInSoftware } from "./software-modules.ts";
import { replaceGlobals } from "./software-globals.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    count: { type: "string", default: "1" },
    step: { type: "string", default: "1" },
    wrap: { type: "string", default: "4294967295" },
    trace: { type: "boolean", default: false },
    /** Rows made by DuckDB. */
    real: { type: "boolean", default: false },
    /** Name of a bug to plant. */
    mutation: { type: "string" },
    each: { type: "boolean", default: false },
  },
});

if (values.mutation !== undefined) {
  const mutation = MUTATIONS.find(({ name }) => name === values.mutation);
  if (mutation === undefined) throw new RangeError(`Cannot plant "${values.mutation}": unknown`);
  plantInSoftware(mutation);
}
const { World } = await import("./world.ts");
const { ROW_STAND_IN, parseRows } = await import("./row-stand-in.ts");
const real = values.real ? await (await import("./real-rows.ts")).openRealRows() : undefined;
const making = real === undefined
  ? { rows: ROW_STAND_IN, readRows: parseRows }
  : { rows: real.maker, readRows: undefined };

const startedMs = Date.now();
const realNow = Date.now;
// Its first name is drawn by chance, and only once per process.
nuid.next();
replaceGlobals();
// Thousands of errors are part of every run; where they come from is only asked in a trace.
if (!values.trace) Error.stackTraceLimit = 0;

const totals: Record<string, number> = {};
const first = Number(values.seed);
const step = Number(values.step);
const verdicts: Record<string, number> = {};
for (let at = 0; at < Number(values.count); at++) {
  const seed = (first + at * step - 1) % Number(values.wrap) + 1;
  const trace = values.trace ? { trace: (line: string) => process.stderr.write(`${line}\n`) } : {};
  const world = new World({ seed, ...making, ...trace });
  try {
    const { verdicts: seen, ...summary } = await world.run();
    await real?.check(world.bucket, world.referee.expected);
    for (const [name, value] of Object.entries(summary)) {
      if (name !== "seed") totals[name] = (totals[name] ?? 0) + value;
    }
    for (const [name, value] of Object.entries(seen)) {
      verdicts[name] = (verdicts[name] ?? 0) + value;
    }
    if (values.each) process.stdout.write(`${JSON.stringify({ ...summary, verdicts: seen })}\n`);
  } catch (error) {
    const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    const replay = `node test/simulation/run-seeds.ts --seed ${seed} --trace`;
    const atS = world.time.seconds;
    process.stdout.write(
      `${JSON.stringify({ failed: seed, tried: at + 1, atS, reason, replay })}\n`,
    );
    if (values.trace && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    await real?.[Symbol.asyncDispose]();
    process.exit(1);
  }
}
await real?.[Symbol.asyncDispose]();
const ms = realNow() - startedMs;
const perSecond = Math.round(Number(values.count) / ms * 10_000) / 10;
process.stdout.write(
  `${JSON.stringify({ seeds: Number(values.count), ms, perSecond, ...totals, verdicts })}\n`,
);
