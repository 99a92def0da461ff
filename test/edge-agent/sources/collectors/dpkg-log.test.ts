import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { AuditEvent } from "../../../../src/event/event.ts";
import {
  openCollectorState,
} from "../../../../src/edge-agent/sources/collectors/collector-state.ts";
import {
  createPackagesCollector,
} from "../../../../src/edge-agent/sources/collectors/packages/packages-collector.ts";
import { systemClock } from "../../../../src/runtime/clock.ts";
import { testLog } from "../../../support/ring-sources.ts";
import { openTemporaryFolder } from "../../../support/temporary-folder.ts";

it("what is written into a log of dpkg that was missing at first is told from its beginning", async () => {
  await using folder = await openTemporaryFolder("dpkg-log");
  const root = join(folder.path, "root");
  for (const name of ["var/lib/dpkg", "var/log"]) mkdirSync(join(root, name), { recursive: true });
  const status = join(root, "var/lib/dpkg/status");
  const of = (name: string): string =>
    `Package: ${name}\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n`;
  writeFileSync(status, of("before"));
  const install = (): void => {
    const lines = ["install tiny:all <none> 1", "status half-configured tiny:all 1"];
    lines.push("status installed tiny:all 1", "remove brief:all 2 <none>");
    const text = lines.map((line) => `2026-03-01 10:00:00 ${line}\n`).join("");
    writeFileSync(join(root, "var/log/dpkg.log"), text);
    writeFileSync(status, of("before") + of("tiny"));
  };
  using state = openCollectorState(join(folder.path, "agent-packages.db"));
  const stopping = new AbortController();
  let looks = 0;
  const sleep = (): Promise<void> => {
    looks += 1;
    if (looks === 1) install();
    if (looks === 3) stopping.abort();
    return Promise.resolve();
  };
  const context = { clock: { ...systemClock, sleep }, log: testLog, lost: () => undefined };
  const told: AuditEvent[] = [];
  const collector = createPackagesCollector({ root });
  for await (const each of collector.collect(state.memory, context, stopping.signal)) {
    state.commit(each);
    told.push(...each.events);
  }
  // By the log: with its time, and not only noticed.
  expect(told.map(({ topic, detail }) => [topic, detail?.["name"], detail?.["noticed"]])).toEqual([
    ["package/install", "tiny", undefined],
  ]);
});
