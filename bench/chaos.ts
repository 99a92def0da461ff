/**
 * Is every event in the table exactly once, whatever dies, for as long as asked? `--seconds` (an hour), `--rate` numbered
 * events a second (500), `--seed`; says each disaster on standard error. Exit code 1 when anything is missing or doubled.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { runChaos } from "../test/support/chaos.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "3600" },
    rate: { type: "string", default: "500" },
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
  },
});
const { disasters, ...report } = await runChaos({
  seconds: Number(values.seconds),
  seed: Number(values.seed),
  perSecond: Number(values.rate),
  onDisaster: (text) => process.stderr.write(`${text}\n`),
});
const lost = report.events - report.found;
printReport("chaos", { ...report, lost, disasters: disasters.length });
process.exitCode = lost > report.countedLost || report.doubled + report.rowsDoubled > 0 ? 1 : 0;
