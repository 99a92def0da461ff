/** `auth/…` events of records. Pure. */
import { isIP } from "node:net";
import type { AuditEvent, Severity } from "../../../../event/event.ts";
import { FAILURES_MANY } from "./login-book.ts";
import type { LoginIdentity, LoginRecord } from "./login-record.ts";

export interface EventCircumstances extends LoginIdentity {
  /** Failures from the same place lately, with this one. */
  readonly failures: number;
  readonly uidOf: (user: string) => number | undefined;
  readonly nameOf: (uid: number) => string | undefined;
}

export function loginEvent(record: LoginRecord, known: EventCircumstances): AuditEvent {
  const { what, source, timeUs, user, pid, tty, remote, target, method, service, port } = record;
  const { session, auid, failures, uidOf, nameOf } = known;
  const isFailed = what === "failure" || record.isRefused === true;
  const address = record.address ?? (remote !== undefined && isIP(remote) > 0 ? remote : undefined);
  return present({
    timeUs,
    topic: `auth/${what}`,
    severity: severityOf(record, failures),
    outcome: isFailed ? "failure" as const : "success" as const,
    ...{ user, pid, session, auid, service, src_ip: address, src_port: port },
    uid: user === undefined ? undefined : uidOf(user),
    auid_user: auid === undefined ? undefined : nameOf(auid),
    cmdline: record.command,
    message: sentence(record, isFailed),
    detail: present({
      ...{ source, tty, remote: remote ?? address, target, method },
      escaped: record.escaped?.length === 0 ? undefined : record.escaped,
    }),
  });
}

/** A single failed login is a mistake; several from one place, and refused sudo and su, are none. */
function severityOf({ what, isRefused }: LoginRecord, failures: number): Severity {
  if (what === "failure") return failures >= FAILURES_MANY ? "high" : "medium";
  return isRefused === true ? "high" : "info";
}

function sentence(record: LoginRecord, isFailed: boolean): string {
  const { what, user = "somebody", tty, remote, address, target, method, reason } = record;
  const from = remote ?? address;
  const where = (from === undefined ? "" : ` from ${from}`) +
    (tty === undefined ? "" : ` on ${tty}`);
  const how = method === undefined ? "" : ` by ${method}`;
  const why = reason === undefined ? "" : `: ${reason}`;
  const become = target === undefined ? "" : ` to become ${target}`;
  switch (what) {
    case "login":
      return `${user} logged in${where}${how}`;
    case "logout":
      return `${user} logged out${where}`;
    case "failure":
      return `${user} failed to log in${where}${how}${why}`;
    case "sudo":
      return isFailed ? `${user} was refused sudo${become}${why}` : `${user} used sudo${become}`;
    case "su":
      return isFailed ? `${user} was refused su${become}${why}` : `${user} used su${become}`;
  }
}

type Present<T> =
  & { [K in keyof T as undefined extends T[K] ? never : K]: T[K] }
  & { [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined> };

/** Without members that are undefined. */
export function present<T extends object>(value: T): Present<T>;
export function present(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined));
}
