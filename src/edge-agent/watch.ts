/**
 * The agent at work: runs its sources, tells losses, says that it is here, and reads out what is left when it stops.
 *
 * Invariants: what presence says was told is durable: it is written after a flush, for a moment before it. A position
 * that says that a loss was told never becomes durable before the event that tells it.
 */
import type { Producer, RingPosition } from "../producer/producer.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import {
  type AgentReport,
  HEARTBEAT_INTERVAL_MS,
  heartbeatEvent,
  stopEvent,
  throttlingEvent,
} from "./agent-events.ts";
import { type CanaryOptions, runCanaries } from "./canary.ts";
import { createGapLedger, GAP_INTERVAL_MS, type GapLedger } from "./gaps.ts";
import { createLedgerCheck, type LedgerCheck } from "./ledger-check.ts";
import { type Presence, PRESENCE_INTERVAL_MS } from "./presence.ts";
import type { Source, SourceLoss } from "./source.ts";
import { runSource } from "./source-runner.ts";

/** How long sources may take to end, and then the disk to take what they gave, before the agent goes on without. */
export const STOP_LIMIT_MS = 10_000;

export interface WatchOptions {
  readonly producer: Producer;
  /** Those that are read before they are proven: their rings fill meanwhile. */
  readonly inherited: readonly Source[];
  /** Proves the sources and tells that the agent started; resolves with those that are on. */
  readonly begin: () => Promise<readonly Source[]>;
  readonly presence: Presence;
  readonly report: () => AgentReport;
  /** Told the class of each gap event. */
  readonly onGapEvent: (kind: string) => void;
  /** Told when a source fails, and when it is started again. */
  readonly onState: (name: string, state: "running" | "failed") => void;
  /** Without it no canaries are sent. */
  readonly canary?: Pick<CanaryOptions, "hooksOff" | "isFiltering" | "intervalMs" | "onOutcome">;
  readonly clock: Clock;
  readonly log: Log;
}

/** Watches until the signal is aborted; resolves when all that was seen is on disk. */
export async function watch(options: WatchOptions, signal: AbortSignal): Promise<void> {
  const { producer, inherited, begin, presence, report, clock, log } = options;
  const ledger = createGapLedger();
  const imbalances = createLedgerCheck();
  const active = createActive(options, ledger.add, signal);
  const losses = createLossTelling(options, { ledger, sources: active.sources });
  const endDurable = producer.onDurable((positions) => {
    for (const source of active.sources()) {
      const position = positions[source.name];
      if (position !== undefined) release(source, { position, log });
    }
  });
  try {
    await active.become(inherited);
    const sources = await begin();
    await active.become(sources);
    const { canary } = options;
    const canaries = canary === undefined
      ? Promise.resolve()
      : runCanaries({ ...canary, producer, sources, onGap: ledger.add, clock, log }, signal);
    losses.tell();
    // From the first agent's first moment on, an absence is one.
    if (presence.lastUs === undefined) touch({ presence, log }, clock.nowUs());
    await tick(options, { ledger, imbalances, tell: losses.tell, signal });
    const isEnded = await within(Promise.all([active.ended(), canaries]), clock);
    if (!isEnded) log.error("sources did not end in time; the next agent reads what they hold");
    const stoppedUs = clock.nowUs();
    const stopped = report();
    for (const gap of imbalances.gaps(stopped, stoppedUs)) ledger.add(gap);
    losses.tell();
    producer.emit(stopEvent(stopped, stoppedUs));
    const isDurable = await within(producer.flush(), clock);
    if (!isDurable) log.error("the last events are not on disk: does it take writes?");
    if (isDurable && isEnded) touch({ presence, log }, stoppedUs);
  } finally {
    endDurable();
  }
}

/** Sources that run now. */
interface Active {
  sources(): readonly Source[];
  /** Starts those that do not run yet; resolves when those that are not among them have ended. */
  become(sources: readonly Source[]): Promise<void>;
  /** Resolves when all have ended. */
  ended(): Promise<unknown>;
}

function createActive(
  { producer, onState, clock, log }: WatchOptions,
  onGap: GapLedger["add"],
  signal: AbortSignal,
): Active {
  const running = new Map<Source, { readonly stop: () => void; readonly ended: Promise<void> }>();
  const start = (source: Source): void => {
    const stopping = new AbortController();
    const either = AbortSignal.any([signal, stopping.signal]);
    const ended = runSource({ source, producer, clock, log, onGap, onState }, either);
    running.set(source, { stop: () => stopping.abort(), ended });
  };
  return {
    sources: () => [...running.keys()],
    async become(sources) {
      const ending = [...running].filter(([source]) => !sources.includes(source));
      // All of them first: what one of them still says, others must not wait for.
      for (const [, { stop }] of ending) stop();
      for (const [source, { ended }] of ending) {
        await ended;
        running.delete(source);
      }
      for (const source of sources) if (!running.has(source)) start(source);
    },
    ended: () => Promise.all([...running.values()].map(({ ended }) => ended)),
  };
}

/** What a source cannot give up now (a full disk) goes with a later position, or with its next start; the others do. */
function release(
  source: Source,
  { position, log }: { readonly position: RingPosition; readonly log: Log },
): void {
  try {
    source.release(position);
  } catch (error) {
    log.warn("source keeps what is durable until later", {
      source: source.name,
      error: String(error),
    });
  }
}

/** What happens by the clock, until the signal is aborted. */
async function tick(
  { producer, presence, report, clock, log }: WatchOptions,
  { ledger, imbalances, tell, signal }: {
    readonly ledger: GapLedger;
    readonly imbalances: LedgerCheck;
    readonly tell: () => void;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  let heartbeatMs = clock.elapsedMs();
  let presentUs = clock.nowUs();
  let saidMs = -Infinity;
  /** A disk that refuses keeps this waiting, not the rest. */
  let isSaying = false;
  for (;;) {
    try {
      await clock.sleep(GAP_INTERVAL_MS, signal);
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    tell();
    const [nowUs, nowMs] = [clock.nowUs(), clock.elapsedMs()];
    if (nowMs - heartbeatMs >= HEARTBEAT_INTERVAL_MS) {
      const told = report();
      producer.emit(heartbeatEvent(told, nowUs));
      for (const gap of imbalances.gaps(told, nowUs)) ledger.add(gap);
      heartbeatMs = nowMs;
    }
    if (nowMs - saidMs >= PRESENCE_INTERVAL_MS && !isSaying) {
      isSaying = true;
      void saySoFar({ producer, presence, log }, presentUs).then(() => isSaying = false);
      saidMs = nowMs;
      presentUs = nowUs;
    }
  }
}

/** A moment that lies one interval back: events of then that sources held back were appended meanwhile. */
async function saySoFar(
  { producer, presence, log }: Pick<WatchOptions, "producer" | "presence" | "log">,
  untilUs: number,
): Promise<void> {
  const [flushed] = await Promise.allSettled([producer.flush()]);
  if (flushed.status === "fulfilled") touch({ presence, log }, untilUs);
}

function touch({ presence, log }: Pick<WatchOptions, "presence" | "log">, nowUs: number): void {
  try {
    presence.touch(nowUs);
  } catch (error) {
    log.error("cannot write down that the agent is here", { error: String(error) });
  }
}

/** Asks the sources for losses and tells them; of what an earlier agent missed, once per source. */
function createLossTelling(
  { producer, presence, onGapEvent, clock }: WatchOptions,
  { ledger, sources }: { readonly ledger: GapLedger; readonly sources: () => readonly Source[] },
): { tell(): void } {
  const hasToldAbsence = new Set<string>();
  let askedUs = clock.nowUs();
  const startedUs = askedUs;
  let isFirst = true;
  const add = (source: Source, loss: SourceLoss, nowUs: number): void => {
    if (loss.class !== "absent") {
      // What was lost before this agent began was lost since an agent was last here.
      const sinceUs = isFirst ? Math.min(presence.lastUs ?? startedUs, startedUs) : askedUs;
      const { fromUs = sinceUs, toUs = nowUs } = loss;
      ledger.add({ ...loss, source: source.name, fromUs, toUs });
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
      for (const source of sources()) {
        for (const loss of source.losses()) add(source, loss, nowUs);
        for (const each of source.throttling?.() ?? []) {
          producer.emit(throttlingEvent(each, { source: source.name, timeUs: nowUs }));
        }
      }
      askedUs = nowUs;
      isFirst = false;
      const events = ledger.take(nowUs);
      for (const event of events) {
        producer.emit(event);
        onGapEvent(String(event.detail?.["class"]));
      }
      // From here on positions say that these losses were told, those in the bulk lane too, and its batches may become
      // durable before the open critical one. What is closed now comes before all that is appended from now on.
      if (events.length > 0) void Promise.allSettled([producer.flush()]);
    },
  };
}

/** Whether it was done within {@link STOP_LIMIT_MS}. */
async function within(work: Promise<unknown>, clock: Clock): Promise<boolean> {
  const ended = new AbortController();
  const limit = clock.sleep(STOP_LIMIT_MS, ended.signal).then(() => false, () => false);
  const isDone = await Promise.race([work.then(() => true), limit]);
  ended.abort();
  return isDone;
}
