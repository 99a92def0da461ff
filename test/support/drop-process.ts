/**
 * Reads a drop folder as an agent does, into a file that stands for the spool: lines and the position that covers them in
 * one write. Words: data folder, drop folder, that file, and the step at which it kills itself (0: never).
 */
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import process from "node:process";
import type { Collector } from "../../src/edge-agent/sources/collectors/collector.ts";
import { createCollectorSource } from "../../src/edge-agent/sources/collectors/collector-source.ts";
import {
  createCommandsCollector,
} from "../../src/edge-agent/sources/collectors/commands/commands-collector.ts";
import type { RingPosition } from "../../src/producer/producer.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";

const [dataDirectory = "", path = "", spool = "", dieAt = "0"] = process.argv.slice(2);

let step = 0;
function mayDie(): void {
  step += 1;
  if (step === Number(dieAt)) process.kill(process.pid, "SIGKILL");
}

const plain = createCommandsCollector({ rules: [], drop: { path, intervalMs: 20 } });
const collector: Collector = {
  ...plain,
  async *collect(memory, context, signal) {
    for await (const collection of plain.collect(memory, context, signal)) {
      mayDie();
      yield collection;
      mayDie();
    }
  },
};
const written = existsSync(spool) ? readFileSync(spool, "utf8").trim().split("\n") : [];
const last = written.at(-1) ?? "";
const position: RingPosition | undefined = last === "" ? undefined : JSON.parse(last).position;
const ending = new AbortController();
process.once("SIGTERM", () => ending.abort());
await using source = createCollectorSource({
  ...{ collector, dataDirectory, position },
  clock: systemClock,
  log: createLog({ level: "error" }),
});
for await (const { fields, position } of source.start(ending.signal)) {
  mayDie();
  appendFileSync(spool, `${JSON.stringify({ fields, position })}\n`);
  mayDie();
  if (position !== undefined) source.release(position);
  mayDie();
}
