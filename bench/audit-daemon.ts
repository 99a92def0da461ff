/**
 * Debian's auditd, beside which the agent is measured: started with the rules asked for, and gone without a trace.
 *
 * Invariant: while auditd does not run, no task pays for it. A kernel that ever had audit on gives each new task an audit
 * context, and each call of that task the slow way through the kernel; the rule `never,task` is what prevents that.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const BACKLOG = "8192";
const START_MS = 1_500;

export interface Auditd extends AsyncDisposable {
  /** Its own threads, and the kernel's that serves it. */
  readonly pids: readonly number[];
  /** Events that were lost since the start. */
  lost(): number;
}

/** Keeps new tasks free of audit contexts until disposed of, or until auditd is opened. */
export function keepAuditAway(): Disposable {
  auditctl("-D");
  auditctl("-a", "never,task");
  return { [Symbol.dispose]: () => void auditctl("-D") };
}

/** Starts auditd, whose log lies in `folder`. `rules`: words of auditctl behind `-a always,exit -F arch=b64`. */
export async function openAuditd(
  { folder, rules }: { readonly folder: string; readonly rules: readonly (readonly string[])[] },
): Promise<Auditd> {
  const config = readFileSync("/etc/audit/auditd.conf", "utf8")
    .replace(/^log_file.*/m, `log_file = ${join(folder, "audit.log")}`)
    .replace(/^max_log_file_action.*/m, "max_log_file_action = IGNORE")
    .replace(/^(admin_|)space_left_action.*/gm, "$1space_left_action = IGNORE");
  writeFileSync(join(folder, "auditd.conf"), config, { mode: 0o640 });
  chmodSync(folder, 0o750);
  auditctl("-D");
  const daemon = spawn("auditd", ["-n", "-s", "enable", "-c", folder], { stdio: "ignore" });
  const closed = once(daemon, "close");
  const end = async (): Promise<void> => {
    auditctl("-D");
    auditctl("-e", "0");
    daemon.kill("SIGTERM");
    await closed;
  };
  try {
    await delay(START_MS);
    auditctl("-b", BACKLOG);
    for (const rule of rules) auditctl("-a", "always,exit", "-F", "arch=b64", ...rule);
  } catch (error) {
    await end();
    throw error;
  }
  const lost = (): number => Number(/^lost (\d+)/m.exec(auditctl("-s"))?.[1]);
  const from = lost();
  return {
    pids: [...pidsOf("kauditd"), ...(daemon.pid === undefined ? [] : [daemon.pid])],
    lost: () => lost() - from,
    [Symbol.asyncDispose]: end,
  };
}

function auditctl(...words: string[]): string {
  return execFileSync("auditctl", words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
}

function pidsOf(name: string): number[] {
  return readdirSync("/proc").filter((entry) => /^\d+$/.test(entry)).map(Number).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/comm`, "utf8").trim() === name;
    } catch {
      return false; // It has ended meanwhile.
    }
  });
}
