/**
 * What the roll-up says of itself in the log: `agent/start`, `agent/heartbeat`, `agent/stop`.
 *
 * Invariant: never an event because of a commit: it would have to be committed, and so on without end.
 */
import process from "node:process";
import type { AuditEvent } from "../event/event.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Producer } from "../producer/producer.ts";

/** How often a running roll-up says so. */
export const HEARTBEAT_INTERVAL_MS = 60_000;

/** Totals since the roll-up was opened. */
export interface RollupTotals {
  readonly commits: number;
  readonly messages: number;
  readonly rows: number;
}

export interface OwnEventsOptions {
  readonly producer: Producer;
  readonly shard: string;
  readonly version: string;
  readonly clock: Clock;
  readonly totals: () => RollupTotals;
}

/** Says that the roll-up runs, until the signal is aborted, and then that it stopped; resolves when that is on disk. */
export async function tellOfRun(options: OwnEventsOptions, signal: AbortSignal): Promise<void> {
  const { producer, shard, clock } = options;
  const emit = (topic: "agent/start" | "agent/heartbeat" | "agent/stop", message: string): void =>
    producer.emit(eventOf(options, topic, message));
  emit("agent/start", `The roll-up of shard ${shard} started.`);
  while (!signal.aborted) {
    // The signal ends the pause as well as the loop.
    await Promise.allSettled([clock.sleep(HEARTBEAT_INTERVAL_MS, signal)]);
    if (!signal.aborted) emit("agent/heartbeat", `The roll-up of shard ${shard} is here.`);
  }
  emit("agent/stop", `The roll-up of shard ${shard} stopped as it was told.`);
  await producer.flush();
}

function eventOf(
  { producer, shard, version, clock, totals }: OwnEventsOptions,
  topic: "agent/start" | "agent/heartbeat" | "agent/stop",
  message: string,
): AuditEvent {
  const { spoolBytes } = producer.counters();
  return {
    timeUs: clock.nowUs(),
    topic,
    severity: "info",
    service: "probity-rollup",
    pid: process.pid,
    message,
    detail: {
      version,
      shard,
      ...(topic === "agent/start" ? {} : { counters: { ...totals() }, spool_bytes: spoolBytes }),
    },
  };
}
