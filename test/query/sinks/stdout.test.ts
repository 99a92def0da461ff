import { execFile } from "node:child_process";
import process from "node:process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { sinkEvents } from "../../support/sink-events.ts";

const MODULE = new URL("../../../src/query/sinks/stdout.ts", import.meta.url);

test("events are lines on the output, all of them written when the delivery ends", async () => {
  const events = sinkEvents(3_000);
  const script = `
    import { createStdoutTarget } from ${JSON.stringify(MODULE.href)};
    const { sinkEvents } = await import(${
    JSON.stringify(new URL("../../support/sink-events.ts", import.meta.url).href)
  });
    const target = createStdoutTarget();
    await target.deliver(sinkEvents(3_000), new AbortController().signal);
    process.exit(0);`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...["--input-type=module", "--eval", script],
  ], { maxBuffer: 10_000_000 });
  expect(stdout).toBe(events.map(({ json }) => `${json}\n`).join(""));
});
