/**
 * An agent as a process of its own, for tests that kill it or take its rights away: settings as JSON in the first
 * argument; says `{"status": …}` when it runs and `{"stopped": true}` after an orderly end on SIGTERM.
 */
import process from "node:process";
import { openAgent } from "../../src/edge-agent/agent.ts";
import { createLog } from "../../src/runtime/log.ts";
import { openLifecycle } from "../../src/runtime/lifecycle.ts";

const settings = JSON.parse(process.argv[2] ?? "{}");
await using lifecycle = openLifecycle();
{
  await using agent = await openAgent({
    version: "0.0.0-test",
    log: createLog({ level: "info" }),
    ...settings,
  });
  const running = agent.run(lifecycle.signal);
  while (!agent.status().isWatching) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  say({ status: agent.status() });
  await running;
}
say({ stopped: true });

function say(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
