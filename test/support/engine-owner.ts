/**
 * A service that runs one statement without an end, for tests that kill it. Arguments: a folder. Says the pid of the
 * process in which the statement runs, then `ready` when it does.
 */
import process from "node:process";
import { openEngineProcess } from "../../src/query/sql/engine/engine-process.ts";

const [directory = ""] = process.argv.slice(2);
const engine = await openEngineProcess({
  ...{ memoryLimitBytes: 60_000_000, tempLimitBytes: 10_000_000, threads: 1 },
  ...{ directory, readable: [], onFault: (what) => process.stderr.write(`${what}\n`) },
});
console.log(JSON.stringify({ pid: engine.pid }));
const bounds = { rowsMax: 10, bytesMax: 10_000 };
const sql = "SELECT sum(a.i * b.i) FROM range(10000000) a(i), range(10000000) b(i)";
const request = {
  do: "answer",
  isExplained: false,
  format: "ndjson",
  bounds,
  sql,
  parameters: [],
} as const;
const answered = engine.ask(request, new AbortController().signal);
setTimeout(() => console.log(JSON.stringify("ready")), 300);
await answered;
