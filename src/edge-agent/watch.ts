/**
 * The agent at work: runs its sources, tells losses, says that it is here, and reads out what is left when it stops.
 *
 * Invariant: what presence says was told is durable: it is written after a flush, for a moment before it.
 */
import type { Producer } from "../producer/producer.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import {
  type AgentReport,
  HEARTBEAT_INTERVAL_MS,
  heartbeatEvent,
  stopEvent,
} from "./agent-events.ts";
import { createGapLedger, GAP_INTERVAL_MS, type GapLedger } from "./gaps.ts";
import { type Presence, PRESENCE_INTERVAL_MS } from "./presence.ts";
import type { Source, SourceLoss } from "./source.ts";
import { runSource } from "./source-runner.ts";

/** How long sources may take to end before the agent goes on without them. */
export const STOP_LIMIT_MS = 10_000;

export interface WatchOptions {
  readonly producer: Producer;
  /** Those that are on. */
  readonly sources: readonly Source[];
  readonly presence: Presence;
  readonly report: () => AgentReport;
  /** Told the class of each gap event. */
  readonly onGapEvent: (kind: string) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Watches until the signal is aborted; resolves when all that was seen is on disk. */
export async function watch(options: WatchOptions, signal: AbortSignal): Promise<void> {
  const { producer, sources, presence, report, clock, log } = options;
  const ledger = createGapLedger();
  const losses = createLossTelling(options, ledger);
  const endDurable = producer.onDurable((positions) => {
    for (const source of sources) {
      const position = positions[source.name];
      if (position !== undefined) source.release(position);
    }
  });
  try {
    const onGap = ledger.add;
    const running = sources.map((source) =>
      runSource({ source, producer, clock, log, onGap }, signal)
    );
    losses.tell();
    await tick(options, { tell: losses.tell, signal });
    await allWithin(running, { limitMs: STOP_LIMIT_MS, clock, log });
    losses.tell();
    producer.emit(stopEvent(report(), clock.nowUs()));
    const stoppedUs = clock.nowUs();
    await producer.flush();
    presence.touch(stoppedUs);
  } finally {
    endDurable();
  }
}

/** What happens by the clock, until the signal is aborted. */
async function tick(
  { producer, presence, report, clock, log }: WatchOptions,
  { tell, signal }: { readonly tell: () => void; readonly signal: AbortSignal },
): Promise<void> {
  let heartbeatUs = clock.nowUs();
  let presentUs = clock.nowUs();
  for (;;) {
    try {
      await clock.sleep(GAP_INTERVAL_MS, signal);
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    tell();
    const nowUs = clock.nowUs();
    if (nowUs - heartbeatUs >= HEARTBEAT_INTERVAL_MS * 1000) {
      producer.emit(heartbeatEvent(report(), nowUs));
      heartbeatUs = nowUs;
    }
    if (nowUs - presentUs >= PRESENCE_INTERVAL_MS * 1000) {
      await saySoFar({ producer, presence, log }, presentUs);
      presentUs = nowUs;
    }
  }
}

/** A moment that lies one interval back: events of then that sources held back were appended meanwhile. */
async function saySoFar(
  { producer, presence, log }: Pick<WatchOptions, "producer" | "presence" | "log">,
  untilUs: number,
): Promise<void> {
  try {
    await producer.flush();
    presence.touch(untilUs);
  } catch (error) {
    log.error("cannot write down that the agent is here", { error: String(error) });
  }
}

/** Asks the sources for losses and tells them; of what an earlier agent missed, once per source. */
function createLossTelling(
  { producer, sources, presence, onGapEvent, clock }: WatchOptions,
  ledger: GapLedger,
): { tell(): void } {
  const hasToldAbsence = new Set<string>();
  let askedUs = clock.nowUs();
  const startedUs = askedUs;
  const add = (source: Source, loss: SourceLoss, nowUs: number): void => {
    if (loss.class !== "absent") {
      ledger.add({ ...loss, source: source.name, fromUs: askedUs, toUs: nowUs });
      return;
    }
    // Before the first agent nothing was promised; a later absence is an outage, which its runner tells.
    if (presence.lastUs === undefined || hasToldAbsence.has(source.name)) return;
    hasToldAbsence.add(source.name);
    const fromUs = Math.min(presence.lastUs, startedUs);
    ledger.add({ ...loss, source: source.name, fromUs, toUs: startedUs });
  };
  return {
    tell() {
      const nowUs = clock.nowUs();
      for (const source of sources) {
        for (const loss of source.losses()) add(source, loss, nowUs);
      }
      askedUs = nowUs;
      for (const event of ledger.take(nowUs)) {
        producer.emit(event);
        onGapEvent(String(event.detail?.["class"]));
      }
    },
  };
}

async function allWithin(
  running: readonly Promise<void>[],
  { limitMs, clock, log }: { readonly limitMs: number; readonly clock: Clock; readonly log: Log },
): Promise<void> {
  const ended = new AbortController();
  const all = Promise.all(running).then(() => true);
  const limit = clock.sleep(limitMs, ended.signal).then(() => false, () => false);
  const isDone = await Promise.race([all, limit]);
  ended.abort();
  if (!isDone) log.error("sources did not end in time; what they hold is read by the next agent");
}
