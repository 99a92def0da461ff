/**
 * Runs a command once as an agent does, a moment before a full minute of its own clock, and prints what is told. Words: data
 * folder, and a script for sh.
 */
import process from "node:process";
import { createCollectorSource } from "../../src/edge-agent/sources/collectors/collector-source.ts";
import {
  createCommandsCollector,
} from "../../src/edge-agent/sources/collectors/commands/commands-collector.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { createLog } from "../../src/runtime/log.ts";

const [dataDirectory = "", script = ""] = process.argv.slice(2);
const MINUTE_US = 60_000_000;
const offsetUs = MINUTE_US - systemClock.nowUs() % MINUTE_US - 300_000;
const rule = {
  ...{ name: "said", command: ["sh", "-c", script], schedule: "* * * * *", timezone: undefined },
  ...{ timeoutMs: 10_000, topic: "app/said", user: undefined, memoryBytes: 64 << 20 },
  ...{ outputBytes: 10_000, environment: {} },
};
const ending = new AbortController();
await using source = createCollectorSource({
  collector: createCommandsCollector({ rules: [rule] }),
  ...{ dataDirectory, position: undefined, log: createLog({ level: "error" }) },
  clock: { ...systemClock, nowUs: () => systemClock.nowUs() + offsetUs },
});
for await (const { fields } of source.start(ending.signal)) {
  for (const each of fields) console.log(`{${each}`);
  if (fields.some((each) => each.includes('"agent/collector"'))) ending.abort();
}
