/**
 * What the agent says of itself: `agent/start`, `agent/heartbeat`, `agent/stop`, and limits that were reached. Pure.
 */
import { type AuditEvent, formatTime } from "../event/event.ts";
import type { ProducerCounters } from "../producer/producer.ts";
import { rulesTold, severityOf } from "./config-events.ts";
import { figuresOf } from "./counter-figures.ts";
import type { RulePlaces, RuleSettings } from "./rules.ts";
import { UNSEEN_REASON } from "./probe.ts";
import type { HookStatus, SourceCounters, SourceStatus, Throttling } from "./source.ts";

/** How often a running agent says so. */
export const HEARTBEAT_INTERVAL_MS = 30_000;

export interface SourceReport {
  readonly name: string;
  readonly status: SourceStatus;
  /** Whether its last canary did not come back. */
  readonly isBlind?: boolean;
  readonly counters: SourceCounters;
}

export type HookOff = Extract<HookStatus, { readonly state: "off" }>;

export interface AgentReport {
  readonly version: string;
  /** Of the running kernel, as in ids of processes: tells a start of the agent from one of the host. */
  readonly boot: string;
  readonly pid: number;
  readonly sources: readonly SourceReport[];
  readonly producer: ProducerCounters;
  /** SHA-256 of the agent's settings, hex. */
  readonly configSha256: string;
}

export interface StartReport extends AgentReport {
  readonly rules: RuleSettings;
  readonly places: RulePlaces;
  readonly labels: Readonly<Record<string, string>>;
}

export function startEvent(report: StartReport, timeUs: number): AuditEvent {
  const { version, boot, pid, sources, configSha256, labels, rules, places } = report;
  const on = sources.filter(({ status }) => status.state === "on").map(({ name }) => name);
  const off = sources.filter(({ status }) => status.state === "off").map(({ name }) => name);
  return {
    timeUs,
    topic: "agent/start",
    severity: severityOf(rules),
    pid,
    message: `The agent started with ${listed(on)} on and ${listed(off)} off.`,
    detail: {
      version,
      boot,
      sources: sources.map(({ name, status }) => ({ name, ...status })),
      config_sha256: configSha256,
      ...rulesTold(rules, places),
      ...(Object.keys(labels).length === 0 ? {} : { labels }),
    },
  };
}

export function heartbeatEvent(report: AgentReport, timeUs: number): AuditEvent {
  const { version, boot, pid, producer } = report;
  return {
    timeUs,
    topic: "agent/heartbeat",
    severity: "info",
    pid,
    message: "The agent is here.",
    detail: {
      version,
      boot,
      sources: report.sources.map(({ name, status, isBlind }) => {
        const hooks = isBlind === true ? [] : hooksOff(status);
        const state = isBlind === true ? "blind" : status.state;
        return { name, state, ...(hooks.length === 0 ? {} : { hooks }) };
      }),
      counters: countersOf(report),
      spool_bytes: producer.spoolBytes,
      config_sha256: report.configSha256,
    },
  };
}

export function stopEvent(report: AgentReport, timeUs: number): AuditEvent {
  const { version, pid, producer } = report;
  return {
    timeUs,
    topic: "agent/stop",
    severity: "info",
    pid,
    message: "The agent stopped as it was told.",
    detail: { version, counters: countersOf(report), spool_bytes: producer.spoolBytes },
  };
}

/** Hooks whose proof failed at the start; not those of programs that go on, which canaries are to find blind. */
export function hooksOff(status: SourceStatus | undefined): readonly HookOff[] {
  const hooks = status?.state === "on" ? status.hooks ?? [] : [];
  return hooks.flatMap((hook) =>
    hook.state === "off" && hook.reason !== UNSEEN_REASON ? [hook] : []
  );
}

/** Totals since the agent started, in the columns' spelling. */
function countersOf({ sources, producer }: AgentReport): Readonly<Record<string, unknown>> {
  return {
    events: producer.eventsAppended,
    batches: producer.batchesClosed,
    batches_published: producer.batchesPublished,
    batches_resent: producer.batchesResent,
    batches_released: producer.batchesReleased,
    events_lost: producer.eventsLost,
    events_voided: producer.eventsVoided,
    sources: Object.fromEntries(
      sources.filter(({ status }) => status.state === "on")
        .map(({ name, counters }) => [name, figuresOf(counters)]),
    ),
  };
}

/**
 * A limit that was reached (`throttle_begin`), or is kept again (`throttle_end`). How many events were withheld is told by
 * gaps of class `throttled`, from the counters: the count here is 0, so that sums over gaps hold.
 */
export function throttlingEvent(
  { phase, kind, scope, exe, ...throttling }: Throttling,
  { source, timeUs }: { readonly source: string; readonly timeUs: number },
): AuditEvent {
  const { id, container, unit, pid, fromUs, toUs, beyond, samples } = throttling;
  const who = scope === "executable"
    ? `executable ${exe ?? `with inode ${id}`}`
    : `cgroup ${unit ?? container ?? id}`;
  const what = phase === "begin" ? "goes beyond its limit of" : "keeps its limit again of";
  return {
    timeUs,
    topic: "agent/gap",
    severity: "high",
    ...(exe === undefined ? {} : { exe }),
    ...(container === undefined ? {} : { container }),
    ...(unit === undefined ? {} : { unit }),
    message: `The ${who} ${what} events of class ${kind}.`,
    detail: {
      class: `throttle_${phase}`,
      count: 0,
      reason: phase === "begin" ? "a limit was reached" : "the limit is kept again",
      from: formatTime(fromUs),
      to: formatTime(toUs),
      sources: [source],
      kind,
      scope,
      id,
      first_pid: pid,
      ...(phase === "begin" ? {} : { beyond, samples }),
    },
  };
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? "no source" : names.join(", ");
}
