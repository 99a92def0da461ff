/**
 * What an entry of each log makes of those who are there, and what is to be told of it.
 *
 * Invariant: an entry of a baseline is learnt from, and only from what stands in it: the processes of then are gone.
 */
import type { LoginBook, OpenLogin } from "./login-book.ts";
import { present } from "./login-events.ts";
import { loginIdentityOf } from "./login-identity.ts";
import type { LoginIdentity, LoginRecord } from "./login-record.ts";
import type { UtmpRecord } from "./utmp.ts";

export interface Told {
  readonly record: LoginRecord;
  readonly identity: LoginIdentity;
}

export interface TurnOptions {
  readonly book: LoginBook;
  readonly isBaseline: boolean;
  readonly proc: string;
}

/** Makes something to tell of an entry, and notes who is there. */
export type Turn<T> = (entry: T, options: TurnOptions) => Told | undefined;

/** Of wtmp: logins and logouts; what the boot ended has no record of its own. */
export function comeOrGone(entry: UtmpRecord, options: TurnOptions): Told | undefined {
  const { book, isBaseline, proc } = options;
  const { kind, pid, tty, user, timeUs, escaped } = entry;
  if (kind === "boot") book.closeAll();
  const from = { remote: textOr(entry.host), address: entry.address };
  const common = { source: "wtmp", timeUs, pid: pid === 0 ? undefined : pid, tty } as const;
  if (kind === "user" && user !== "") {
    const identity = isBaseline ? {} : loginIdentityOf(pid, { timeUs, proc });
    book.open(tty, { user, pid, ...present(from), ...identity });
    return { record: { ...common, what: "login", user, ...from, escaped }, identity };
  }
  if (kind !== "dead") return undefined;
  const login = book.close(tty);
  // What init and getty end on a terminal that nobody was on is no logout.
  if (login === undefined) return undefined;
  const { identity, who } = partsOf(login);
  return { record: { ...common, ...who, what: "logout" }, identity };
}

/** Of a log of text. Whoever came without a terminal is known by the process that let them in. */
export function said(record: LoginRecord, options: TurnOptions): Told {
  const { book, isBaseline, proc } = options;
  const { what, pid, user = "", timeUs, remote, identity: written = {} } = record;
  if (pid === undefined) return { record, identity: written };
  const key = `process ${pid}`;
  if (what === "logout") {
    const login = book.close(key);
    if (login === undefined || login.user !== user) return { record, identity: written };
    const { identity, who } = partsOf(login);
    return { record: { ...record, ...who }, identity };
  }
  const running = isBaseline || what === "failure" ? {} : loginIdentityOf(pid, {
    timeUs,
    proc,
  });
  // A login gets its session after sshd has told of it; who asks for sudo had theirs before.
  const identity = what === "login" ? { ...written, ...running } : { ...running, ...written };
  if (what === "login") book.open(key, { user, pid, ...present({ remote }), ...identity });
  return { record, identity };
}

/** Of the kernel's audit, which knows the session itself. */
export function audited(record: LoginRecord, { book }: TurnOptions): Told {
  const { what, pid, user = "", remote, address, identity = {} } = record;
  const key = `process ${pid}`;
  if (pid !== undefined && what === "login") {
    book.open(key, { user, pid, ...present({ remote, address }), ...identity });
  }
  if (what !== "logout") return { record, identity };
  const login = book.close(key);
  const from = present({ remote: login?.remote, address: login?.address });
  return { record: { ...from, ...present(record) }, identity };
}

/** Of btmp. */
export function failed(
  { kind, pid, tty, user, host, address, ...entry }: UtmpRecord,
): Told | undefined {
  if (kind !== "login_process" && kind !== "user") return undefined;
  const { timeUs, escaped } = entry;
  const who = { user: textOr(user), pid: pid === 0 ? undefined : pid, tty: textOr(tty) };
  const from = { remote: textOr(host), address };
  const record: LoginRecord = { what: "failure", source: "btmp", timeUs, ...who, ...from, escaped };
  return { record, identity: {} };
}

function partsOf({ session, auid, ...who }: OpenLogin) {
  return { who, identity: present({ session, auid }) };
}

function textOr(text: string): string | undefined {
  return text === "" ? undefined : text;
}
