import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { AuditEvent } from "../../../../src/event/event.ts";
import {
  openCollectorState,
} from "../../../../src/edge-agent/sources/collectors/collector-state.ts";
import {
  createHostCollector,
} from "../../../../src/edge-agent/sources/collectors/host/host-collector.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import { testLog } from "../../../support/ring-sources.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";

it("a setting that could not be read for one look has not lost its value", async () => {
  await using folder = await openTemporaryFolder("settings");
  const root = join(folder.path, "root");
  const settings = join(root, "proc/sys/kernel");
  mkdirSync(settings, { recursive: true });
  const name = join(settings, "panic");
  writeFileSync(join(settings, "other"), "1\n");
  writeFileSync(name, "0\n");
  const changes = [
    () => {
      rmSync(name);
      symlinkSync("panic", name);
    },
    () => {
      rmSync(name);
      writeFileSync(name, "10\n");
    },
  ];
  using state = openCollectorState(join(folder.path, "agent-host.db"));
  const stopping = new AbortController();
  const sleep = (): Promise<void> => {
    const change = changes.shift();
    if (change === undefined) stopping.abort();
    else change();
    return Promise.resolve();
  };
  const context = { clock: { ...systemClock, sleep }, log: testLog, lost: () => undefined };
  const told: AuditEvent[] = [];
  const collector = createHostCollector({ root });
  for await (const each of collector.collect(state.memory, context, stopping.signal)) {
    state.commit(each);
    told.push(...each.events);
  }
  expect(told).toMatchObject([
    { topic: "kernel/sysctl", detail: { name: "kernel.panic", before: "0", after: "10" } },
  ]);
});
