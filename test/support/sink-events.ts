/** Events as sinks get them. */
import type { SinkEvent } from "../../src/query/sinks/target.ts";

/** With pids from 0. */
export function sinkEvents(count: number): SinkEvent[] {
  return Array.from({ length: count }, (_, pid) => {
    const id = `0a1b2c3d-${pid + 1}-0`;
    const time = "2026-06-15T12:00:00.000000Z";
    const fields = { topic: "app/test", time, host: "web-1", severity: "high" };
    return { id, ...fields, json: JSON.stringify({ id, ...fields, pid }) };
  });
}
