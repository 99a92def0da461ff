/** Events of the day in `audit-day.ts`, each made from what differs. */
import type { AuditEvent } from "../../src/event/event.ts";

type Event = Partial<AuditEvent> & { readonly topic: string };

export const DAY_US = Date.UTC(2026, 5, 1) * 1000;
export const INTRUDER = "203.0.113.77";

/** `07:30:05` of the day; events of one moment follow each other by a microsecond. */
export function at(clock: string, event: Event): AuditEvent {
  const [hours = 0, minutes = 0, seconds = 0] = clock.split(":").map(Number);
  const timeUs = DAY_US + ((hours * 60 + minutes) * 60 + seconds) * 1_000_000;
  return { severity: "info", ...event, timeUs };
}

let processes = 100;

/** Processes of each day have the same numbers. */
export function beginDay(): void {
  processes = 100;
}

interface Run {
  readonly line: string;
  readonly exe?: string;
  readonly user?: string;
  readonly uid?: number;
  readonly session?: string;
  readonly parent?: string;
  readonly id?: string;
  readonly detail?: Readonly<Record<string, unknown>>;
}

export function exec(
  clock: string,
  { line, exe, user = "root", uid = 0, parent, id, ...run }: Run,
) {
  const argv = line.split(" ");
  processes += 1;
  return at(clock, {
    topic: "process/exec",
    pid: processes,
    process_id: id ?? `p-${processes}`,
    ...(parent === undefined ? {} : { parent_process_id: parent }),
    ...(run.session === undefined ? {} : { session: run.session }),
    exe: exe ?? `/usr/bin/${argv[0]}`,
    comm: String(argv[0]),
    ...{ user, uid },
    cmdline: line,
    detail: { argv, ...run.detail },
  });
}

export function login(clock: string, user: string, remote: string, isRight = true): AuditEvent {
  return at(clock, {
    topic: isRight ? "auth/login" : "auth/failure",
    severity: isRight ? "info" : "medium",
    outcome: isRight ? "success" : "failure",
    user,
    service: "sshd",
    src_ip: remote,
    detail: {
      source: "journal",
      remote,
      method: remote.startsWith("10.") ? "publickey" : "password",
    },
  });
}

export function close(
  clock: string,
  exe: string,
  to: readonly [ip: string, port: number],
  sent: number,
) {
  return at(clock, {
    topic: "network/close",
    exe,
    user: exe.includes("nginx") ? "www-data" : "root",
    dst_ip: to[0],
    dst_port: to[1],
    protocol: "tcp",
    detail: {
      bytes_out: sent,
      bytes_in: Math.round(sent / 10),
      duration_ms: 900,
      ...(to[0] === INTRUDER
        ? {}
        : { names: [to[1] === 443 ? "deb.debian.org" : "db-1.internal"] }),
    },
  });
}

export function upgrade(clock: string, [name, before, version]: readonly [string, string, string]) {
  return at(clock, {
    topic: before === "" ? "package/install" : "package/update",
    detail: {
      source: "dpkg",
      name,
      version,
      arch: "amd64",
      ...(before === "" ? {} : { old_version: before }),
    },
  });
}

export function beats(): AuditEvent[] {
  return Array.from({ length: 12 }, (_, each) =>
    at(`${String(each * 2).padStart(2, "0")}:00:00`, {
      topic: "agent/heartbeat",
      detail: { version: "1.0.0", spool_bytes: 0 },
    }));
}
