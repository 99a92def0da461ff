/** Prints what the probes of the ring sources find, for tests that take something away from this process first. */
import { createKernelContext } from "../../src/edge-agent/kernel-context.ts";
import { openRingSource } from "../../src/edge-agent/sources/ring-source.ts";
import { createLog } from "../../src/runtime/log.ts";

const context = createKernelContext();
const log = createLog({ level: "error" });
const [pinFolder = "", only] = process.argv.slice(2);
const statuses: unknown[] = [];
for (const family of ["process", "control", "network", "flow", "file"] as const) {
  if (only !== undefined && only !== family) continue;
  await using source = openRingSource({ family, context, log, pinFolder });
  statuses.push(await source.probe());
}
process.stdout.write(`${JSON.stringify(statuses)}\n`);
