/**
 * Is every event in the table exactly once, whatever dies, for as long as asked? `--seconds` (an hour), `--rate` numbered
 * events a second (500), `--kill` milliseconds between two kills on average (2,000), `--day` milliseconds that maintenance
 * takes for a day (5,000), `--interval` of roll-ups (1,000), `--seed`, `--logs` folder for what the processes say. Says
 * each disaster on standard error. Exit code 1 when anything is missing or doubled.
 */
import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { runChaos } from "../test/support/chaos.ts";
import { printReport } from "./report.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "3600" },
    rate: { type: "string", default: "500" },
    kill: { type: "string", default: "2000" },
    day: { type: "string", default: "5000" },
    interval: { type: "string", default: "1000" },
    logs: { type: "string" },
    seed: { type: "string", default: String(randomInt(2 ** 31)) },
  },
});
const { disasters, ...report } = await runChaos({
  seconds: Number(values.seconds),
  seed: Number(values.seed),
  perSecond: Number(values.rate),
  killEveryMs: [Number(values.kill) / 2, Number(values.kill) * 1.5],
  dayMs: Number(values.day),
  intervalMs: Number(values.interval),
  logs: values.logs,
  onDisaster: (text) => process.stderr.write(`${text}\n`),
});
const lost = report.events - report.found;
printReport("chaos", { ...report, lost, disasters: disasters.length });
process.exitCode = lost > report.countedLost || report.doubled + report.rowsDoubled > 0 ? 1 : 0;
