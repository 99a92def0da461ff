/**
 * One command, run whenever its schedule says so, and what it said as events.
 *
 * Invariants: it never runs twice at once: times that pass while it runs, or while there is no agent, are counted and told;
 * each run ends in one event that says how. When the agent is killed during a run, its time counts as missed.
 */
import type { AuditEvent } from "../../../../event/event.ts";
import type { Clock } from "../../../../runtime/clock.ts";
import { textOfBytes } from "../../../byte-text.ts";
import { type Collection, type CollectorContext, EVENTS_MAX, type Memory } from "../collector.ts";
import { countBetween, createSchedule } from "../schedule.ts";
import type { CommandRule } from "./command-rule.ts";
import { eventOfLine } from "./line-event.ts";
import { createLineSplitter, type OutputLine } from "./line-splitter.ts";
import { type CommandRun, type RunAs, type RunEnd, startCommand } from "./run-command.ts";

/** More are told as so many. */
const MISSED_MAX = 10_000;
/** Longest sleep, so that a clock that is put right counts. */
const SLEEP_MS_MAX = 30_000;
/** Lines of one collection. */
const LINES_MAX = Math.min(1000, EVENTS_MAX);

export interface CommandLoopOptions {
  readonly rule: CommandRule;
  /** Why it cannot be run as it should, instead of whom to run it as. */
  readonly runAs: RunAs | { readonly reason: string };
}

export async function* runBySchedule(
  { rule, runAs }: CommandLoopOptions,
  { memory, context }: { readonly memory: Memory; readonly context: CollectorContext },
  signal: AbortSignal,
): AsyncGenerator<Collection> {
  const { clock } = context;
  const schedule = createSchedule(rule.schedule, rule.timezone);
  const key = `due:${rule.name}`;
  let doneMs = Number(memory.get(key) ?? nowMs(clock));
  for (;;) {
    const missed = countBetween(schedule, {
      afterMs: doneMs,
      untilMs: nowMs(clock),
      countMax: MISSED_MAX,
    });
    doneMs = nowMs(clock);
    const events = missed === 0 ? [] : [missedEvent(rule, missed, clock.nowUs())];
    if (missed > 0) yield { events, put: new Map([[key, String(doneMs)]]) };
    const dueMs = schedule.nextMs(doneMs);
    if (dueMs === undefined || !await sleepUntil(dueMs, clock, signal)) return;
    doneMs = dueMs;
    for await (const collection of runOnce({ rule, runAs }, context, signal)) yield collection;
    yield { events: [], put: new Map([[key, String(dueMs)]]) };
  }
}

async function* runOnce(
  { rule, runAs }: CommandLoopOptions,
  { clock, lost }: CollectorContext,
  signal: AbortSignal,
): AsyncGenerator<Collection> {
  const startedMs = clock.elapsedMs();
  const run = "object" === typeof runAs && "reason" in runAs
    ? undefined
    : startCommand(rule, runAs, signal);
  const splitter = createLineSplitter();
  let lineCount = 0;
  const collect = (lines: readonly OutputLine[]): Collection => ({
    events: lines.map(({ bytes, isCut }): AuditEvent => {
      const { name, topic } = rule;
      return eventOfLine(bytes, { name, topic, isCut, nowUs: clock.nowUs() });
    }),
  });
  for await (const piece of run?.output ?? []) {
    const lines = splitter.push(piece);
    lineCount += lines.length;
    for (let at = 0; at < lines.length; at += LINES_MAX) {
      yield collect(lines.slice(at, at + LINES_MAX));
    }
  }
  const last = splitter.end();
  const end = await endOf(run, runAs);
  if (end.state === "output") {
    lost({
      class: "output",
      count: null,
      reason: `collector "${rule.name}" wrote more than ${rule.outputBytes} bytes in one run`,
    });
  }
  const told = endEvent(rule, {
    end,
    pid: run?.pid,
    durationMs: Math.round(clock.elapsedMs() - startedMs),
    lines: lineCount + last.length,
    errors: run?.errors() ?? new Uint8Array(),
    timeUs: clock.nowUs(),
  });
  yield { events: [...collect(last).events, told] };
}

function endOf(
  run: CommandRun | undefined,
  runAs: CommandLoopOptions["runAs"],
): Promise<RunEnd> {
  if (run !== undefined) return run.end();
  const reason = typeof runAs === "object" && "reason" in runAs ? runAs.reason : "";
  return Promise.resolve({ state: "failed", reason });
}

interface EndReport {
  readonly end: RunEnd;
  readonly pid: number | undefined;
  readonly durationMs: number;
  readonly lines: number;
  readonly errors: Uint8Array;
  readonly timeUs: number;
}

function endEvent(rule: CommandRule, report: EndReport): AuditEvent {
  const { end, pid, durationMs, lines, errors, timeUs } = report;
  const isGood = end.state === "exited" && end.code === 0;
  const { text, isEscaped } = textOfBytes(errors);
  return {
    timeUs,
    topic: "agent/collector",
    severity: isGood || end.state === "stopped" ? "info" : "medium",
    outcome: isGood ? "success" : "failure",
    service: rule.name,
    message: `Collector ${rule.name} ${sentenceOf(end, rule)}.`,
    detail: {
      collector: rule.name,
      state: end.state,
      ...(end.state === "exited" ? { exit_code: end.code } : {}),
      ...(end.state === "signalled" ? { signal: end.signal } : {}),
      ...(end.state === "failed" ? { reason: end.reason } : {}),
      ...(pid === undefined ? {} : { collector_pid: pid }),
      duration_ms: durationMs,
      lines,
      ...(text === "" ? {} : { stderr: text }),
      ...(isEscaped ? { escaped: ["stderr"] } : {}),
    },
  };
}

function sentenceOf(end: RunEnd, { timeoutMs, outputBytes }: CommandRule): string {
  switch (end.state) {
    case "exited":
      return end.code === 0 ? "ran" : `ended with exit code ${end.code}`;
    case "signalled":
      return `was ended by ${end.signal}`;
    case "timeout":
      return `was ended after ${timeoutMs} ms`;
    case "output":
      return `was ended after ${outputBytes} bytes of output`;
    case "stopped":
      return "was ended, since the agent stops";
    case "failed":
      return `cannot run: ${end.reason}`;
  }
}

function missedEvent({ name }: CommandRule, missed: number, timeUs: number): AuditEvent {
  return {
    timeUs,
    topic: "agent/collector",
    severity: "medium",
    outcome: "failure",
    service: name,
    message: `Collector ${name} missed ${missed} ${missed === 1 ? "run" : "runs"}.`,
    detail: { collector: name, state: "missed", missed },
  };
}

function nowMs(clock: Clock): number {
  return Math.floor(clock.nowUs() / 1000);
}

/** False when it was aborted. */
async function sleepUntil(dueMs: number, clock: Clock, signal: AbortSignal): Promise<boolean> {
  for (let leftMs = dueMs - nowMs(clock); leftMs > 0; leftMs = dueMs - nowMs(clock)) {
    try {
      await clock.sleep(Math.min(leftMs + 1, SLEEP_MS_MAX), signal);
    } catch (error) {
      if (signal.aborted) return false;
      throw error;
    }
  }
  return !signal.aborted;
}
