/**
 * What records of the kernel's audit say of logins, one after the other: a session is opened by two records or more
 * (PAM's and the program's own), sudo tells its command in one and its target in another.
 *
 * Invariants: a session is opened once and closed once; what is remembered to join records is bounded; nothing is told
 * that no record says. A program may say what it likes of names and terminals, but only who has CAP_AUDIT_WRITE says
 * anything, and process, session and login uid are the kernel's.
 */
import { isIP } from "node:net";
import { basename } from "node:path";
import { AUDIT_TYPE } from "../../../audit-socket.ts";
import { isNoLogin } from "./auth-messages.ts";
import type { AuditRecord } from "./audit-record.ts";
import { present } from "./login-events.ts";
import type { LoginRecord, LoginTopic } from "./login-record.ts";

export interface AuditLogins {
  /** What these say, with those before them. `nameOf`: of a uid. */
  take(
    records: readonly AuditRecord[],
    nameOf: (uid: number) => string | undefined,
  ): readonly LoginRecord[];
}

/** Sessions, and commands of sudo, that are remembered; the oldest are forgotten. */
export const REMEMBERED_MAX = 10_000;
/** Programs that open sessions which are no logins, beside services of PAM of the same name. */
const NO_LOGIN_PROGRAMS = new Set(["systemd", "systemd-executor", "(sd-pam)", "anacron", "pkexec"]);
/** Their failures are PAM's, too: of those sshd tells one for each method that it is asked about. */
const TELLS_BY_PAM = new Set(["sshd", "login"]);

export function createAuditLogins(): AuditLogins {
  /** Sessions by what was told of them. */
  const told = new Map<string, true>();
  /** Commands of sudo whose target is to come, by process. */
  const commands = new Map<number, LoginRecord>();
  let older: readonly number[] = [];

  const once = (what: "login" | "logout", { session, pid }: AuditRecord): boolean => {
    const whose = session === undefined ? `of ${pid}` : session;
    if (told.has(`${what} ${whose}`)) return false;
    remember(told, `${what} ${whose}`, true);
    // A process without a session lets in one after the other, and its number is used again; a session's is not.
    if (session === undefined) told.delete(`${what === "login" ? "logout" : "login"} ${whose}`);
    return true;
  };
  const sudo = (record: AuditRecord, common: LoginRecord): LoginRecord => {
    const command = commands.get(record.pid);
    commands.delete(record.pid);
    const target = record.said.get("acct");
    return { ...common, ...command, ...present({ target }), escaped: escapedOf(record, "target") };
  };

  return {
    take(records, nameOf) {
      const logins: LoginRecord[] = [];
      for (const record of records) {
        const login = loginOf(record, { once, sudo, commands, nameOf });
        if (login !== undefined) logins.push(login);
      }
      // sudo opens the session of its target at once, or not at all.
      for (const pid of older) {
        const command = commands.get(pid);
        if (command !== undefined) logins.push(command);
        commands.delete(pid);
      }
      older = [...commands.keys()];
      return logins;
    },
  };
}

interface Joining {
  readonly once: (what: "login" | "logout", record: AuditRecord) => boolean;
  readonly sudo: (record: AuditRecord, common: LoginRecord) => LoginRecord;
  readonly commands: Map<number, LoginRecord>;
  readonly nameOf: (uid: number) => string | undefined;
}

function loginOf(
  record: AuditRecord,
  { once, sudo, commands, nameOf }: Joining,
): LoginRecord | undefined {
  const { type, pid, said } = record;
  // Some versions of sudo do not name themselves.
  const program = type === AUDIT_TYPE.USER_CMD ? "sudo" : programOf(said.get("exe"));
  const isFailed = said.get("res") !== "success" && said.get("res") !== "1";
  const asker = nameOf(record.uid);
  const by = (what: LoginTopic, more: Partial<LoginRecord> = {}): LoginRecord => ({
    ...commonOf(record, what, program),
    ...more,
  });
  const user = userOf(record, nameOf);
  const escaped = escapedOf(record, "user");
  switch (type) {
    case AUDIT_TYPE.USER_CMD: {
      const command = by("sudo", present({ user: asker, command: said.get("cmd") }));
      if (isFailed) return { ...command, isRefused: true };
      remember(commands, pid, command);
      return undefined;
    }
    case AUDIT_TYPE.USER_AUTH:
    case AUDIT_TYPE.USER_ACCT:
      if (!isFailed) return undefined;
      if (program === "su") return { ...su(record, by, asker), isRefused: true };
      return isOther(program) ? undefined : by("failure", present({ user, escaped }));
    case AUDIT_TYPE.USER_START:
      if (program === "sudo") {
        return isFailed ? undefined : sudo(record, by("sudo", present({ user: asker })));
      }
      if (program === "su") {
        return { ...su(record, by, asker), ...(isFailed ? { isRefused: true } : {}) };
      }
      if (isOther(program)) return undefined;
      if (isFailed) return by("failure", present({ user, escaped }));
      return once("login", record) ? by("login", present({ user, escaped })) : undefined;
    case AUDIT_TYPE.USER_LOGIN:
      if (isFailed) {
        return TELLS_BY_PAM.has(program) ? undefined : by("failure", present({ user, escaped }));
      }
      return once("login", record) ? by("login", present({ user, escaped })) : undefined;
    case AUDIT_TYPE.USER_END:
    case AUDIT_TYPE.USER_LOGOUT:
      if (isFailed || isOther(program)) return undefined;
      return once("logout", record) ? by("logout", present({ user, escaped })) : undefined;
    default:
      return undefined;
  }
}

function su(
  record: AuditRecord,
  by: (what: LoginTopic, more: Partial<LoginRecord>) => LoginRecord,
  user: string | undefined,
): LoginRecord {
  const target = record.said.get("acct");
  return by("su", present({ user, target, escaped: escapedOf(record, "target") }));
}

function commonOf(
  { timeUs, pid, session, auid, said }: AuditRecord,
  what: LoginTopic,
  service: string,
): LoginRecord {
  const [, tty] = /^(?:\/dev\/)?((?:pts\/|tty|console|hvc)\S*)$/.exec(said.get("terminal") ?? "") ??
    [];
  const address = said.get("addr");
  return {
    ...{ what, source: "audit", timeUs, pid },
    ...present({
      tty,
      remote: said.get("hostname"),
      address: address !== undefined && isIP(address) > 0 ? address : undefined,
      service: service === "" ? undefined : service,
    }),
    identity: present({ session, auid }),
  };
}

/** Of a login: `acct`, or the uid in `id`. */
function userOf(
  { said }: AuditRecord,
  nameOf: (uid: number) => string | undefined,
): string | undefined {
  const [acct, id] = [said.get("acct"), said.get("id")];
  if (acct !== undefined) return acct;
  return id !== undefined && /^[0-9]{1,10}$/.test(id) ? nameOf(Number(id)) ?? id : undefined;
}

function escapedOf({ escaped }: AuditRecord, name: "user" | "target"): readonly string[] {
  return escaped.includes("acct") ? [name] : [];
}

function programOf(exe: string | undefined): string {
  const name = basename(exe ?? "");
  return /^sshd(?:-session|-auth)?$/.test(name) ? "sshd" : name;
}

/** What is no login by itself, sudo and su among it. */
function isOther(program: string): boolean {
  return isNoLogin(program) || NO_LOGIN_PROGRAMS.has(program);
}

function remember<K, V>(entries: Map<K, V>, key: K, value: V): void {
  entries.delete(key);
  entries.set(key, value);
  const [oldest] = entries.keys();
  if (entries.size > REMEMBERED_MAX && oldest !== undefined) entries.delete(oldest);
}
