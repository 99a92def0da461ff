/**
 * What the agent was told and tells of it: `agent/config` when its configuration was read anew, and the limits and filters
 * that stand in `agent/start`, so that whoever reads the record knows what was left out of it. Pure.
 */
import type { AuditEvent } from "../event/event.ts";
import { type FilterRule, isCritical, type RulePlaces, type RuleSettings } from "./rules.ts";

export interface ConfigChange {
  readonly pid: number;
  /** SHA-256 of the settings before and now, hex. */
  readonly before: string;
  readonly now: string;
  /** Keys that changed and hold now. */
  readonly changed: readonly string[];
  /** Keys that changed and hold after the next start only. */
  readonly needsRestart: readonly string[];
  readonly rules: RuleSettings;
  readonly places: RulePlaces;
}

export function configEvent(change: ConfigChange, timeUs: number): AuditEvent {
  const { pid, before, now, changed, needsRestart, rules, places } = change;
  return {
    timeUs,
    topic: "agent/config",
    severity: severityOf(rules),
    outcome: "success",
    pid,
    message: changed.length === 0
      ? "The configuration was read anew; nothing changed that can change now."
      : `The configuration was read anew: ${changed.join(", ")} changed.`,
    detail: {
      config_sha256: now,
      config_sha256_before: before,
      changed,
      ...(needsRestart.length === 0 ? {} : { needs_restart: needsRestart }),
      ...rulesTold(rules, places),
    },
  };
}

/** A configuration that was not taken; what held before goes on. */
export function refusedConfigEvent(
  { pid, now, reason }: { readonly pid: number; readonly now: string; readonly reason: string },
  timeUs: number,
): AuditEvent {
  return {
    timeUs,
    topic: "agent/config",
    severity: "medium",
    outcome: "failure",
    pid,
    message: "A new configuration was refused; the old one goes on.",
    detail: { config_sha256: now, config_sha256_before: now, changed: [], reason },
  };
}

/** Members of `detail` that say what is not told. */
export function rulesTold(
  { limits, burstMs, sampleEvery, cgroupFactor, filters }: RuleSettings,
  places: RulePlaces,
): Readonly<Record<string, unknown>> {
  return {
    limits: {
      per_second: limits,
      burst_ms: burstMs,
      sample: sampleEvery,
      cgroup_factor: cgroupFactor,
    },
    ...(filters.length === 0 ? {} : {
      filters: filters.map((filter) => ({
        ...filter,
        ...(isMissing(filter, places) ? { missing: true } : {}),
      })),
    }),
  };
}

/** Filters of what matters most are told like evidence of tampering. */
export function severityOf({ filters }: RuleSettings): "info" | "high" {
  return filters.some(isCritical) ? "high" : "info";
}

/** Whether a filter names what is not there, and therefore matches nothing. */
function isMissing({ path, exe, cgroup }: FilterRule, places: RulePlaces): boolean {
  return [path, exe].some((file) => file !== undefined && places.fileAt(file) === undefined) ||
    (cgroup !== undefined && places.cgroupAt(cgroup) === undefined);
}
