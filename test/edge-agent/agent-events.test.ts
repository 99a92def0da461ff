import { expect, test } from "vitest";
import { type AgentReport, heartbeatEvent } from "../../src/edge-agent/agent-events.ts";
import { UNSEEN_REASON } from "../../src/edge-agent/probe.ts";
import type { HookStatus } from "../../src/edge-agent/source.ts";

const counters = {
  ...{ attempted: 0, submitted: 0, ringFull: 0, filtered: 0, throttled: 0, readFault: 0 },
  truncated: 0,
};
const producer = {
  ...{ eventsAppended: 0, eventsLost: 0, eventsVoided: 0, batchesClosed: 0, batchesPublished: 0 },
  ...{ batchesResent: 0, batchesReleased: 0, spoolBytes: 0, batchesSpooled: 0 },
};

test("a heartbeat names the hooks that are off, but not those that canaries look for", () => {
  const hooks: HookStatus[] = [
    { name: "exec", state: "on" },
    { name: "fork", state: "off", reason: "refused" },
    { name: "exit", state: "off", reason: UNSEEN_REASON },
  ];
  const status = { state: "on", how: "tp_btf", hooks } as const;
  const report = {
    ...{ version: "1", boot: "b", pid: 1, configSha256: "" },
    sources: [
      { name: "process", status, counters },
      { name: "file", status, isBlind: true, counters },
      { name: "crypto", status: { state: "off", reason: "none", remedy: "some" }, counters },
    ],
    producer,
  } satisfies Omit<AgentReport, "producer"> & { producer: object };
  // as: of the producer's counters only those that are told
  expect(heartbeatEvent(report as unknown as AgentReport, 1).detail?.["sources"]).toEqual([
    { name: "process", state: "on", hooks: [{ name: "fork", state: "off", reason: "refused" }] },
    { name: "file", state: "blind" },
    { name: "crypto", state: "off" },
  ]);
});
