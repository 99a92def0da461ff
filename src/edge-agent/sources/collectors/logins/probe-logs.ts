/**
 * Which logs of logins there are on a host and can be read: what doctor, the agent's start and its heartbeats say.
 *
 * Invariant: a log that is missing is off only where nothing else tells what it would: of sudo, su and logins without a
 * terminal, a log of text, the journal or the kernel's audit.
 */
import type { HookStatus, SourceStatus } from "../../../source.ts";
import type { AuditState } from "./audit-tap.ts";
import type { FollowedLogins } from "./login-logs.ts";
import type { LoginSource } from "./login-record.ts";

/** A log, and whether it is there. */
export interface LogState extends Pick<FollowedLogins, "name" | "remedy"> {
  readonly state: Awaited<ReturnType<FollowedLogins["state"]>>;
}

/** What of them there is now. */
export async function statesOf(logs: readonly FollowedLogins[]): Promise<readonly LogState[]> {
  return await Promise.all(
    logs.map(async ({ name, remedy, state }) => ({ name, remedy, state: await state() })),
  );
}

/** `audit` is undefined where nobody listens to it. */
export function statusOfLogs(
  states: readonly LogState[],
  audit: AuditState | undefined,
): SourceStatus {
  const found = states.flatMap(({ name, remedy, state }): readonly HookStatus[] => {
    if (state === "absent") return [];
    if (state === "there") return [{ name, state: "on" }];
    return [{ name, state: "off", reason: `${state.reason}; ${remedy}` }];
  });
  const isAudited = audit?.state === "on";
  const hooks = [...(isAudited ? [{ name: "audit", state: "on" } as const] : []), ...found];
  const isHidden = hooks.length > 0 && hooks.every(({ state }) => state === "off");
  if (isHidden) {
    const remedies = states.flatMap(({ remedy, state }) =>
      typeof state === "object" ? [remedy] : []
    );
    return { state: "off", reason: "no log of logins can be read", remedy: remedies.join("; ") };
  }
  const on = hooks.filter(({ state }) => state === "on").map(({ name }) => name).join(", ") ||
    "there is no log yet";
  const isTold = isAudited || states.some(({ name, state }) => isText(name) && state !== "absent");
  const without = audit?.state === "off" ? audit.reason : undefined;
  const missing: readonly HookStatus[] = isTold
    ? []
    : [{ name: "auth.log", state: "off", reason: NO_TEXT }];
  return {
    state: "on",
    how: without === undefined ? on : `${on}; not audit (${without})`,
    hooks: [...hooks, ...missing],
  };
}

const NO_TEXT = "there is neither auth.log, nor secure, nor systemd's journal, nor the kernel's " +
  "audit, so sudo, su and logins without a terminal are not told; let syslog write one " +
  "(Debian: apt-get install rsyslog)";

function isText(name: LoginSource): boolean {
  return name === "auth.log" || name === "secure" || name === "journal";
}
