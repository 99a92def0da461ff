/** Events as auditd would have written them, and its own search over them. */
import { execFileSync } from "node:child_process";
import { createWriteStream } from "node:fs";
import process from "node:process";
import { pipeline } from "node:stream/promises";
import { rowsOfFiles } from "../src/storage/data-rows.ts";
import type { Connection } from "../src/storage/duckdb.ts";
import { MESSAGE_LINES } from "./query-events.ts";

/** Each event as the records of a system call, by time, as auditd writes them to a file that it need not complete. */
export async function writeAuditLog(
  connection: Connection,
  { paths, path }: { readonly paths: readonly string[]; readonly path: string },
): Promise<void> {
  const head = (type: string): string =>
    `'node=' || host || ' type=${type} msg=audit(' || printf('%.3f', epoch_ms(time) / 1000.0) || ` +
    `':' || (seq * ${MESSAGE_LINES} + idx) || '): '`;
  const records = [
    `${head("SYSCALL")} || 'arch=c000003e syscall=59 success=yes exit=0 a0=55d0 a1=55d1 a2=55d2 ' ||
      'a3=8 items=1 ppid=' || ppid || ' pid=' || pid || ' auid=1000 uid=' || uid || ' gid=' || gid ||
      ' euid=' || euid || ' suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 comm="' || comm ||
      '" exe="' || exe || '" subj=unconfined key="' || topic || '"'`,
    `${head("CWD")} || 'cwd="' || coalesce(cwd, '/') || '"'`,
    `${head("PATH")} || 'item=0 name="' || coalesce(path, exe) || '" inode=17 dev=fe:00 ' ||
      'mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0'`,
    `${head("PROCTITLE")} || 'proctitle="' || comm || '"'`,
  ];
  const sql = `SELECT ${records.join(" || chr(10) || ")} AS line
    FROM ${rowsOfFiles(paths)} ORDER BY time, seq, idx`;
  const texts = async function* (): AsyncGenerator<string> {
    for await (const lines of connection.streamText(sql, { parameters: [] })) {
      yield `${lines.join("\n")}\n`;
    }
  };
  await pipeline(texts(), createWriteStream(path));
}

/** Events that it printed of a log; it ends in 1 when there are none. */
export function ausearch(
  path: string,
  { host, from, to }: { readonly host: string; readonly from: string; readonly to: string },
): number {
  // Its end is inclusive, and both are in seconds.
  const times = ["-ts", ...localTime(from, 0), "-te", ...localTime(to, -1)];
  const words = ["--input", path, "--raw", "--node", host, ...times];
  try {
    const options = { maxBuffer: 2 ** 30, env: { ...process.env, LC_ALL: "C", TZ: "UTC" } };
    const text = execFileSync("ausearch", words, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    return text.toString().split("\n").filter((line) => line.includes("type=SYSCALL")).length;
  } catch (error) {
    if (error instanceof Error && "status" in error && error.status === 1) return 0;
    throw error;
  }
}

function localTime(time: string, seconds: number): string[] {
  const text = new Date(Date.parse(time) + seconds * 1000).toISOString();
  const [year, month, day] = text.slice(0, 10).split("-");
  return [`${month}/${day}/${year?.slice(2)}`, text.slice(11, 19)];
}

export function isInstalled(name: string): boolean {
  try {
    execFileSync(name, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
