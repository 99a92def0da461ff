/** `service/…` events of units whose state differs. Pure. */
import type { AuditEvent } from "../../../../event/event.ts";
import type { UnitState } from "./unit-state.ts";

export interface UnitChange {
  readonly name: string;
  /** Undefined: it was not there, or is not any more. */
  readonly before: UnitState | undefined;
  readonly now: UnitState | undefined;
  /** When systemd changed it, as far as it says so. */
  readonly changedUs: number | undefined;
  readonly nowUs: number;
  /** Whether the host was started anew since the look before. */
  readonly isOtherBoot: boolean;
}

const ENABLED: ReadonlySet<string> = new Set(["enabled", "enabled-runtime"]);

export function unitEvents(change: UnitChange): readonly AuditEvent[] {
  const { name, before, now } = change;
  const told = [fileEvent(change), runEvent(change)].filter((each) => each !== undefined);
  if (told.length > 0 || before !== undefined && now !== undefined) return told;
  // Units that come and go without a file, and run all the time between: nothing of them was started or stopped.
  return before?.enabled === "" || now?.enabled === ""
    ? []
    : [event(change, { topic: "service/change", what: `${name} changed` })];
}

/** What became of its file: enabled, disabled, masked, added, removed. */
function fileEvent(change: UnitChange): AuditEvent | undefined {
  const { name, before, now } = change;
  const [old, current] = [before?.enabled ?? "", now?.enabled ?? ""];
  if (old === current) return undefined;
  const [wasOn, isOn] = [ENABLED.has(old), ENABLED.has(current)];
  const states = { state: current, old_state: old };
  if (old === "") {
    return event(change, { topic: "service/change", what: `${name} was added`, states });
  }
  if (current === "") {
    return event(change, { topic: "service/change", what: `${name} was removed`, states });
  }
  if (!wasOn && isOn) {
    return event(change, { topic: "service/enable", what: `${name} was enabled`, states });
  }
  if (wasOn && !isOn) {
    return event(change, { topic: "service/disable", what: `${name} is ${current} now`, states });
  }
  return event(change, { topic: "service/change", what: `${name} is ${current} now`, states });
}

/** Whether it runs, ran meanwhile, or was restarted. */
function runEvent(change: UnitChange): AuditEvent | undefined {
  const { name, before, now, isOtherBoot } = change;
  const [old, current] = [before?.active ?? "inactive", now?.active ?? "inactive"];
  const [wasUp, isUp] = [isRunning(old), isRunning(current)];
  const states = { state: current, old_state: old };
  const isFailed = current === "failed" && old !== "failed";
  const timed = { isTimed: true, states };
  if (!wasUp && isUp) {
    return event(change, { topic: "service/start", what: `${name} was started`, ...timed });
  }
  if (wasUp && !isUp || isFailed) {
    const why = isFailed ? `failed (${now?.result})` : "was stopped";
    return event(change, { topic: "service/stop", what: `${name} ${why}`, ...timed, isFailed });
  }
  const isOther = !isOtherBoot && (now?.invocation ?? "") !== "" &&
    now?.invocation !== before?.invocation;
  if (!isOther) return undefined;
  const what = isUp ? "was restarted" : "ran";
  return event(change, {
    topic: "service/change",
    what: `${name} ${what}`,
    ...timed,
    isFailed: current === "failed",
  });
}

function isRunning(active: string): boolean {
  return active === "active" || active === "activating" || active === "reloading";
}

function event(
  { name, now, changedUs, nowUs }: UnitChange,
  { topic, what, states = {}, isTimed = false, isFailed = false }: {
    readonly topic: string;
    readonly what: string;
    readonly states?: Readonly<Record<string, string>>;
    /** Whether systemd's time of change is that of this event. */
    readonly isTimed?: boolean;
    readonly isFailed?: boolean;
  },
): AuditEvent {
  const knownUs = isTimed && changedUs !== undefined && changedUs <= nowUs ? changedUs : undefined;
  const { restarts = 0, result = "", exitCode = 0, sub } = now ?? {};
  return {
    timeUs: knownUs ?? nowUs,
    topic,
    severity: isFailed ? "medium" : "info",
    outcome: isFailed ? "failure" : "success",
    unit: name,
    message: `${what}`,
    detail: {
      source: "systemd",
      ...Object.fromEntries(Object.entries(states).filter(([, value]) => value !== "")),
      enabled: ENABLED.has(now?.enabled ?? ""),
      ...(sub === undefined ? {} : { sub_state: sub }),
      ...(restarts === 0 ? {} : { restarts }),
      ...(result === "" || result === "success" ? {} : { result }),
      ...(exitCode === 0 ? {} : { exit_code: exitCode }),
      ...(knownUs === undefined ? { noticed: true } : {}),
    },
  };
}
