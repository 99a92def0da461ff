/**
 * Canaries: at intervals each source is given something small to see, whose events must come back from the log with
 * the right fields. A source whose canary does not come back is blind, whatever it says of itself.
 *
 * Invariants: one canary at a time; no verdict without the log: while the broker is away, or cannot be read, nothing is
 * said of the sources. What a source lost and tells of as a loss, or keeps back as the configuration says, does not make
 * it blind. Each blindness is a gap when it
 * begins, and a second one, with its whole time, when it ends.
 */
import process from "node:process";
import type { Producer } from "../producer/producer.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { AgentGap } from "./gaps.ts";
import { proofWithin } from "./proof-limit.ts";
import type { Source, SourceCounters } from "./source.ts";
import type { ProofAction, ProofCheck, ProofResult } from "./sources/ring-family.ts";

/** How often canaries are sent. */
export const CANARY_INTERVAL_MS = 60_000;
/** How long events may take on their way to the spool; then it is flushed and what it has must suffice. */
const SETTLE_MS = 3_000;
/** What is on disk is waited for as long as it takes, and looked at so often. */
const POLL_MS = 100;

/** Seen, not seen although the log has all that came after, or not to be told (the log cannot be read). */
export type CanaryOutcome = "seen" | "missed" | "undecided";

export interface CanaryOptions {
  readonly producer: Pick<Producer, "readBack" | "flush" | "counters">;
  /** Those that are on. */
  readonly sources: readonly Source[];
  /** Hooks of a source that were not proven at the start: nothing is expected of them. */
  readonly hooksOff: (source: string) => readonly string[];
  /** Whether the configuration has filters now: what they keep back is not missing. */
  readonly isFiltering: () => boolean;
  readonly intervalMs: number;
  readonly onGap: (gap: AgentGap) => void;
  /** Told of each canary of each source. */
  readonly onOutcome: (source: string, outcome: CanaryOutcome) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Sends canaries until the signal is aborted; never rejects. */
export async function runCanaries(options: CanaryOptions, signal: AbortSignal): Promise<void> {
  const { clock, intervalMs, log } = options;
  const verdicts = createVerdicts(options);
  while (!signal.aborted) {
    // Aborted: the loop ends.
    await Promise.allSettled([clock.sleep(intervalMs, signal)]);
    if (signal.aborted) return;
    try {
      const birds = await sendAll(options, signal);
      for (const bird of birds) if (!signal.aborted) verdicts.take(bird);
    } catch (error) {
      log.error("canary failed", { error: String(error) });
    }
  }
}

/** What became of one source's canary. */
interface Bird {
  readonly source: string;
  readonly outcome: CanaryOutcome;
  /** What is missing or wrong. */
  readonly reason: string;
}

interface Flight {
  readonly source: Source;
  readonly action: ProofAction;
  readonly checks: readonly (readonly [hook: string, check: ProofCheck])[];
  readonly results: Map<string, ProofResult>;
  readonly before: SourceCounters;
}

async function sendAll(options: CanaryOptions, signal: AbortSignal): Promise<readonly Bird[]> {
  const { producer, clock } = options;
  const flights: Flight[] = [];
  const lostBefore = producer.counters().eventsLost;
  using reading = producer.readBack((lines) => look(lines, flights));
  await using actions = new AsyncDisposableStack();
  for (const source of options.sources) {
    const before = source.counters();
    const action = await proofOf(source, options);
    if (action === undefined) continue;
    actions.use(action);
    const off = options.hooksOff(source.name);
    const all: readonly (readonly [string, ProofCheck])[] = [
      [action.hook, (line) => action.check(line)],
      ...Object.entries(action.further ?? {}),
    ];
    const checks = all.filter(([hook]) => !off.includes(hook));
    flights.push({ source, action, checks, results: new Map(), before });
  }
  const isDone = (): boolean =>
    flights.every(({ checks, results }) => results.size === checks.length);
  const settledMs = clock.elapsedMs() + Math.min(SETTLE_MS, 5 * options.intervalMs);
  while (!signal.aborted && !isDone() && clock.elapsedMs() < settledMs) await rest(clock, signal);
  if (!isDone()) await producer.flush();
  // What comes later has nothing of these canaries.
  reading.upToNow();
  // Once a batch could not be read back, none of what is missing is decided.
  const isWaiting = (): boolean => reading.fault === undefined && !reading.isCaughtUp();
  while (!signal.aborted && !isDone() && isWaiting()) await rest(clock, signal);
  const isFiltering = options.isFiltering();
  const hasLost = producer.counters().eventsLost > lostBefore;
  const fault = reading.fault ?? (hasLost ? "the producer lost events, and tells them" : undefined);
  return flights.map((flight) => birdOf(flight, { fault, isFiltering }));
}

/** What cannot be done (a full disk, no processes left, a firewall on loopback) says nothing of the source; the others get theirs. */
async function proofOf(
  source: Source,
  { clock, log }: Pick<CanaryOptions, "clock" | "log">,
): Promise<ProofAction | undefined> {
  try {
    if (source.prove === undefined) return undefined;
    return await proofWithin(source.prove(), clock);
  } catch (error) {
    log.warn("canary not sent", { source: source.name, error: String(error) });
    return undefined;
  }
}

/** Every event of a canary has this process as its own or its parent. */
const TRACE = new RegExp(`pid":${process.pid}\\b`);

function look(lines: readonly string[], flights: readonly Flight[]): void {
  for (const text of lines) {
    if (!TRACE.test(text)) continue;
    const line = JSON.parse(text);
    for (const { checks, results } of flights) {
      for (const [hook, check] of checks) {
        if (results.has(hook)) continue;
        const result = check(line);
        if (result !== "other") results.set(hook, result);
      }
    }
  }
}

function birdOf(
  { source, checks, results, before }: Flight,
  { fault, isFiltering }: { readonly fault: string | undefined; readonly isFiltering: boolean },
): Bird {
  const missing = checks.filter(([hook]) => results.get(hook) !== "proven");
  const reason = missing.map(([hook]) => {
    const result = results.get(hook);
    return typeof result === "object" ? `${hook}: ${result.wrong}` : `${hook} did not come back`;
  }).join("; ");
  if (missing.length === 0) return { source: source.name, outcome: "seen", reason };
  if (fault !== undefined) return { source: source.name, outcome: "undecided", reason: fault };
  const counted = { before, now: source.counters(), isFiltering };
  const isTold = missing.every(([hook]) => isToldOf(HOOK_KINDS[`${source.name} ${hook}`], counted));
  return { source: source.name, outcome: isTold ? "undecided" : "missed", reason };
}

/** Class of the records (`CounterPart.kind`) that a hook gives, by source and hook. */
const HOOK_KINDS: Readonly<Record<string, string>> = {
  "process exec": "exec",
  "process fork": "fork",
  "process exit": "exit",
  "network connect": "connect",
  "network listen": "listen",
  "network accept": "accept",
  "flow send": "connect",
  "flow receive": "accept",
  "flow bind": "listen",
  "flow close": "close",
  "file open": "file_open",
  "file io_uring": "file_open",
  "control credentials": "call_credentials",
  "control ptrace": "ptrace",
  "control signal": "signal",
};

/** Whether events that a hook gives were lost, or kept back, since a canary was sent; of no known class, any at all. */
function isToldOf(
  kind: string | undefined,
  { before, now, isFiltering }: {
    readonly before: SourceCounters;
    readonly now: SourceCounters;
    readonly isFiltering: boolean;
  },
): boolean {
  const told = ["ringFull", "throttled", "readFault"] as const;
  const keys = isFiltering ? [...told, "filtered"] as const : told;
  const sumOf = (counters: SourceCounters): number => {
    const parts = kind === undefined ? undefined : counters.parts;
    return (parts?.filter((part) => part.kind === kind) ?? [counters])
      .reduce((sum, part) => sum + keys.reduce((all, key) => all + part[key], 0), 0);
  };
  return sumOf(now) > sumOf(before);
}

/** Turns outcomes into gaps: at the beginning and at the end of each blindness. */
function createVerdicts(
  { onGap, onOutcome, clock, log }: CanaryOptions,
): { take(bird: Bird): void } {
  const seenUs = new Map<string, number>();
  const blindSinceUs = new Map<string, number>();
  const startedUs = clock.nowUs();
  return {
    take({ source, outcome, reason }) {
      const toUs = clock.nowUs();
      const sinceUs = blindSinceUs.get(source);
      onOutcome(source, outcome);
      if (outcome === "undecided") log.warn("canary not decided", { source, reason });
      if (outcome === "missed" && sinceUs === undefined) {
        const fromUs = seenUs.get(source) ?? startedUs;
        blindSinceUs.set(source, fromUs);
        log.error("source is blind", { source, reason });
        const text = `the ${source} source is blind: of its canary ${reason}`;
        onGap({ class: "blind", source, count: null, reason: text, fromUs, toUs });
      }
      if (outcome !== "seen") return;
      seenUs.set(source, toUs);
      if (sinceUs === undefined) return;
      blindSinceUs.delete(source);
      log.info("source sees again", { source });
      const text = `the ${source} source was blind and sees again`;
      onGap({ class: "blind", source, count: null, reason: text, fromUs: sinceUs, toUs });
    },
  };
}

async function rest(clock: Clock, signal: AbortSignal): Promise<void> {
  await Promise.allSettled([clock.sleep(POLL_MS, signal)]);
}
