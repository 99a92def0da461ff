/**
 * What sshd, sudo, su, login and PAM's pam_unix say of logins, word by word. Pure.
 *
 * Invariant: names that a stranger may choose (of a failed login, of a folder or a command) cannot make up other fields:
 * expressions are anchored at both ends and take what the program itself wrote last.
 */
import type { LoginRecord } from "./login-record.ts";

export type AuthMessage = Omit<LoginRecord, "source" | "timeUs" | "pid">;

/** Undefined: about something else; unreadable: it begins like one of theirs, and goes on otherwise. */
export function messageOf(
  program: string,
  message: string,
): AuthMessage | "unreadable" | undefined {
  if (message.startsWith("pam_unix(")) return pamMessage(message);
  const [, times, repeated] = /^message repeated ([0-9]{1,9}) times: \[ (.*)\]$/s.exec(message) ??
    [];
  if (repeated !== undefined && times !== undefined) {
    const once = messageOf(program, repeated);
    return typeof once === "object" ? { ...once, reason: `${times} times more` } : once;
  }
  switch (program) {
    case "sshd":
    case "sshd-session":
    case "sshd-auth":
      return sshMessage(message);
    case "sudo":
      return sudoMessage(message);
    case "su":
      return suMessage(message);
    case "login":
      return loginMessage(message);
    default:
      return undefined;
  }
}

/** A name of an account that exists is short; the key's digest follows. */
const ACCEPTED = /^Accepted (\S+) for (.+?) from (\S+) port ([0-9]{1,5})(?: ssh2)?(?:: .*)?$/s;
/** The name is the stranger's: the last whence is sshd's. */
const FAILED =
  /^Failed (\S+) for (?:invalid user )?(.*) from (\S+) port ([0-9]{1,5})(?: ssh2)?(?:: [A-Z0-9-]+ SHA256:[A-Za-z0-9+/]+)?$/s;

function sshMessage(message: string): AuthMessage | "unreadable" | undefined {
  const isAccepted = message.startsWith("Accepted ");
  if (!isAccepted && !message.startsWith("Failed ")) return undefined;
  const [, method, user, remote, port] = (isAccepted ? ACCEPTED : FAILED).exec(message) ?? [];
  if (user === undefined) return "unreadable";
  // Clients ask so which methods there are.
  if (!isAccepted && method === "none") return undefined;
  const what = isAccepted ? "login" as const : "failure" as const;
  return { what, user, remote, port: Number(port), method, service: "sshd" };
}

/** Of whose sessions something else tells: those of sshd begin with "Accepted". */
const NO_LOGINS =
  /^(?:cron|crond|atd|sudo|sudo-i|su|su-l|runuser|runuser-l|systemd-user|polkit-1)$/;

/** Whether a session of this service of PAM is no login. */
export function isNoLogin(service: string): boolean {
  return NO_LOGINS.test(service);
}

const PAM = /^pam_unix\(([^\s:()]+):([a-z]+)\): (.*)$/s;

function pamMessage(message: string): AuthMessage | "unreadable" | undefined {
  const [, service, phase, said] = PAM.exec(message) ?? [];
  if (service === undefined || said === undefined) return "unreadable";
  if (phase !== "session" || isNoLogin(service)) return undefined;
  const [, verb, name] = /^session (opened|closed) for user (.+?)(?:\(uid=[0-9]+\))?(?: by .*)?$/s
    .exec(said) ?? [];
  if (verb === undefined) return said.startsWith("session ") ? "unreadable" : undefined;
  if (verb === "closed") return { what: "logout", user: name, service };
  return service === "sshd" ? undefined : { what: "login", user: name, service };
}

/**
 * `ann : TTY=pts/0 ; PWD=/home/ann ; USER=root ; COMMAND=/usr/bin/id`, with a reason before when it was refused. The folder
 * and the command are anybody's: where the target could be either's, it is left out.
 */
function sudoMessage(message: string): AuthMessage | "unreadable" | undefined {
  const [, user, rest = ""] = /^(\S.*?) : (.*)$/s.exec(message) ?? [];
  if (user === undefined || rest.startsWith("(command continued)")) return undefined;
  // Without a terminal there is no TTY.
  const [, reason, tty, after] =
    /^(?:(?!TTY=|PWD=|CHROOT=)(.*?) ; )?(?:TTY=(\S+) ; )?((?:PWD|CHROOT)=.*)$/s.exec(rest) ?? [];
  if (after === undefined) return rest.includes("COMMAND=") ? "unreadable" : undefined;
  const refused = reason === undefined ? {} : { isRefused: true, reason };
  const common = {
    ...{ what: "sudo" as const, user, service: "sudo", ...refused },
    ...(tty === undefined || tty === "unknown" ? {} : { tty }),
  };
  const [, target, more = "", ...others] = after.split(/(?<= ); USER=/).length === 2
    ? /^.* ; USER=(.*?) ; (.*)$/s.exec(after) ?? []
    : [];
  if (target === undefined || others.length > 0) return common;
  const commands = more.split("COMMAND=");
  const isPlain = commands[0] === "" || commands.length === 2;
  return { ...common, target, ...(isPlain ? { command: commands.slice(1).join("COMMAND=") } : {}) };
}

const SU = /^(FAILED SU )?\(to (.*)\) (\S+) on (\S+)$/s;
const SHADOW_SU = /^(FAILED|Successful) su for (.*) by (\S+)$/s;

function suMessage(message: string): AuthMessage | "unreadable" | undefined {
  const common = { what: "su" as const, service: "su" };
  const [, failed, target, user, tty] = SU.exec(message) ?? [];
  const isRefused = { isRefused: true };
  if (target !== undefined) {
    const where = tty === "none" ? {} : { tty };
    return { ...common, target, user, ...where, ...(failed === undefined ? {} : isRefused) };
  }
  const [, verb, whom, who] = SHADOW_SU.exec(message) ?? [];
  if (whom !== undefined) {
    return { ...common, target: whom, user: who, ...(verb === "FAILED" ? isRefused : {}) };
  }
  return /^(?:FAILED SU|\(to |FAILED su|Successful su)/.test(message) ? "unreadable" : undefined;
}

const FAILED_LOGIN =
  /^FAILED LOGIN (?:SESSION )?\(?[0-9]*\)? ?on '([^']*)'(?: from '([^']*)')? FOR '(.*)', ([^']*)$/s;
const FAILED_LOGIN_BARE =
  /^(?:FAILED LOGIN (?:SESSION )?|TOO MANY LOGIN TRIES \()[0-9]*\)? ?FROM (\S+)() FOR (.*), ([^,]*)$/s;

function loginMessage(message: string): AuthMessage | "unreadable" | undefined {
  if (!/^(?:FAILED LOGIN|TOO MANY LOGIN)/.test(message)) return undefined;
  const [, tty, remote, user, reason] = FAILED_LOGIN.exec(message) ??
    FAILED_LOGIN_BARE.exec(message) ?? [];
  if (tty === undefined) return "unreadable";
  const from = remote === undefined || remote === "" ? {} : { remote };
  const where = { tty: tty.replace(/^\/dev\//, ""), ...from };
  return { what: "failure", user, ...where, reason, service: "login" };
}
