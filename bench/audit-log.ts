/**
 * The log that auditd would have written of an archive's events, as a machine that collects the logs of all hosts has it.
 *
 * Recorded with auditd 3.0.9 (Debian's configuration, `log_format = ENRICHED`) on Linux 6.18, with rules for the calls
 * that stand behind each topic, a watched file, `sudo` and `su`: which records an event has and in which order, the
 * fields of each and their lengths. An exec is seven records (1,470 bytes; six when it is not by root), a rename seven
 * (1,630), a link six (1,380), what makes or removes a name five (1,150), an open for writing or of a watched file four
 * (950), a bind, connect or accept three (780), a fork, exit or close two (560 to 640), a login, `sudo` or the start of
 * a service one (200 to 270). Names of ids stand behind 0x1d, the title of a process is hexadecimal, nothing says that
 * an event is whole (`EOE` is not written), and times are those of the kernel's coarse clock, 4 ms apart. Serial numbers
 * are each host's own; `node=` is what auditd adds where hosts are told apart (`name_format`).
 *
 * Since nothing ends an event, ausearch looks through all events of the last two seconds for each record: 40,000 opens
 * that were recorded within ten seconds took it 4.0 s of processor time, and 0.3 s with their times drawn apart. Events
 * stand in this log as far apart as in the archive, which is what suits it.
 *
 * The records of an event stood together in the recording, of two processes that did nothing else in 97 of 100 cases
 * too, and two hosts hardly ever do something in the same 4 ms here: events come whole, by time. What the archive lacks
 * (addresses, inodes, terminals) is invented at its length. An exec that failed has the fewer records that one has;
 * other calls that failed have those of one that did not. What systemd, sshd, su and applications say was not recorded,
 * nor was a change of ids: they are worded as theirs.
 */
import { createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { rowsOfFiles } from "../src/storage/data-rows.ts";
import type { Connection } from "../src/storage/duckdb.ts";
import { listOf } from "../src/storage/sql-text.ts";

const NAMES = "chr(29)";
/** The kernel's coarse clock. */
const TICK_MS = 4;
/** Nobody has logged in. */
const UNSET = 4_294_967_295;
const LOADER = "'/lib64/ld-linux-x86-64.so.2'";

export interface AuditLogOptions {
  /** Data files of the archive. */
  readonly paths: readonly string[];
  /** The log. */
  readonly path: string;
}

/** Writes the log; resolves to its size. */
export async function writeAuditLog(
  connection: Connection,
  { paths, path }: AuditLogOptions,
): Promise<{ readonly bytes: number }> {
  let bytes = 0;
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of connection.streamBytes(logSql(paths), { parameters: [] })) {
      bytes += piece.bytes.length;
      yield piece.bytes;
    }
  };
  await pipeline(pieces(), createWriteStream(path));
  return { bytes };
}

/** The hosts and the serial numbers that events have in the log; a place is an event's sequence and index. */
export async function serialsOf(
  connection: Connection,
  paths: readonly string[],
  places: readonly string[],
): Promise<{ readonly place: string; readonly host: string; readonly serial: number }[]> {
  const { rows } = await connection.query(
    `SELECT place, host, serial FROM (SELECT *, seq || '-' || idx AS place FROM (${
      eventsSql(paths)
    })) WHERE list_contains(${listOf(places)}, place)`,
  );
  return rows.map((row) => ({
    place: String(row["place"]),
    host: String(row["host"]),
    serial: Number(row["serial"]),
  }));
}

function eventsSql(paths: readonly string[]): string {
  // What logs tell in the archive has no process there: auditd's records of it have one.
  return `SELECT * REPLACE (
      coalesce(pid, 300 + hash(seq, idx)::UBIGINT % 30000) AS pid, coalesce(ppid, 1) AS ppid, coalesce(uid, 0) AS uid,
      coalesce(comm, service, 'systemd') AS comm,
      coalesce(exe, CASE service WHEN 'sudo' THEN '/usr/bin/sudo' WHEN 'su' THEN '/usr/bin/su'
        ELSE '/usr/lib/systemd/systemd' END) AS exe,
      coalesce(process_id, host || idx) AS process_id),
      row_number() OVER (PARTITION BY host ORDER BY time, seq, idx) AS serial
    FROM ${rowsOfFiles(paths)}`;
}

function logSql(paths: readonly string[]): string {
  const tickMs = `epoch_ms(time) // ${TICK_MS} * ${TICK_MS}`;
  const dressed = `SELECT *,
      'msg=audit(' || (${tickMs}) // 1000 || '.' || printf('%03d', (${tickMs}) % 1000) || ':' || serial || '): ' AS stamp,
      CASE uid WHEN 0 THEN 'root' ELSE 'deploy' END AS name,
      CASE uid WHEN 0 THEN ${UNSET} ELSE uid END AS login_uid,
      CASE uid WHEN 0 THEN ${UNSET} ELSE 3 END AS ses,
      CASE uid WHEN 0 THEN 'unset' ELSE 'deploy' END AS login,
      outcome IS NULL OR outcome = 'success' AS is_done,
      comm || ' --run task-' || hash(process_id) % 900 || ' -o /srv/app/build/output-' ||
        hash(process_id) % 6300 AS title
    FROM (${eventsSql(paths)})`;
  const cases = Object.entries(RECORDS).map(([topic, records]) =>
    `WHEN '${topic}' THEN ${records.join(" || ")}`
  );
  return `SELECT encode(CASE topic ${cases.join("\n")} ELSE ${OF_APPLICATIONS} END) AS records
    FROM (${dressed}) ORDER BY time, host, serial`;
}

/** A line of the log; null, and so nothing of it, where the condition does not hold. */
function record(type: string, body: string, condition = "true"): string {
  return `CASE WHEN ${condition} THEN 'node=' || host || ' type=${type} ' || stamp || ${body} || chr(10) ELSE '' END`;
}

interface Call {
  readonly number: number;
  readonly name: string;
  /** Paths of the event. */
  readonly items: string;
  /** What it returns. */
  readonly exit?: string;
  readonly pid?: string;
  readonly ppid?: string;
  /** The rule's. */
  readonly key?: string;
}

function syscall(
  { number, name, items, exit = "0", pid = "pid", ppid = "ppid", key = "replace(topic, '/', '_')" }:
    Call,
): string {
  const ids = ["uid", "gid", "euid", "suid", "fsuid", "egid", "sgid", "fsgid"];
  // A process that ends does not come back from the call.
  const result = name === "exit_group"
    ? "''"
    : `CASE WHEN is_done THEN 'success=yes exit=' || ${exit} ELSE 'success=no exit=-' || errno END || ' '`;
  const argument = (place: number): string =>
    `printf('%x', hash(serial, ${place}) % 140737488355328)`;
  const body = `'arch=c000003e syscall=${number} ' || ${result} || 'a0=' || ${argument(0)} ||
    ' a1=' || ${argument(1)} || ' a2=' || printf('%x', serial % 256) || ' a3=' || ${argument(3)} ||
    ' items=' || ${items} || ' ppid=' || ${ppid} || ' pid=' || ${pid} || ' auid=' || login_uid ||
    ${ids.map((each) => `' ${each}=' || uid`).join(" || ")} || ' tty=(none) ses=' || ses ||
    ' comm="' || comm || '" exe="' || exe || '" key="' || ${key} || '"' || ${NAMES} ||
    'ARCH=x86_64 SYSCALL=${name} AUID="' || login || '"' ||
    ${ids.map((each) => `' ${each.toUpperCase()}="' || name || '"'`).join(" || ")}`;
  return record("SYSCALL", body);
}

interface PathItem {
  readonly item: number;
  /** SQL of its text. */
  readonly name: string;
  readonly kind: "CREATE" | "DELETE" | "NORMAL" | "PARENT";
  readonly mode?: string;
  readonly condition?: string;
}

function pathRecord({ item, name, kind, mode = "0100644", condition }: PathItem): string {
  const body = `'item=${item} name="' || ${name} || '" inode=' || hash(${name}) % 3000000 ||
    ' dev=fe:00 mode=${mode} ouid=0 ogid=0 rdev=00:00 nametype=${kind} ' ||
    'cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0' || ${NAMES} || 'OUID="root" OGID="root"'`;
  return record("PATH", body, condition);
}

function parentRecord(item: number, path = "path"): string {
  const name = `regexp_extract(${path}, '.*/')`;
  return pathRecord({ item, name, kind: "PARENT", mode: "040755" });
}

function hexOfWords(text: string): string {
  return `array_to_string(list_transform(string_split(${text}, ' '), word -> hex(encode(word))), '00')[:256]`;
}

/** An IPv4 address, as it lies in memory and as auditd words it. */
function addressRecord(ip: string, port: string): string {
  const octets =
    `array_to_string(list_transform(string_split(${ip}, '.'), part -> printf('%02X', part::INTEGER)), '')`;
  const body =
    `'saddr=0200' || printf('%04X', ${port}) || ${octets} || '0000000000000000' || ${NAMES} ||
    'SADDR={ saddr_fam=inet laddr=' || ${ip} || ' lport=' || ${port} || ' }'`;
  return record("SOCKADDR", body);
}

/** What a program says of itself: one record, and no call. */
function saidRecord(type: string, message: string): string {
  const body =
    `'pid=' || pid || ' uid=' || uid || ' auid=' || login_uid || ' ses=' || ses || ' msg=''' ||
    ${message} || ' exe="' || exe || '" hostname=? addr=? terminal=? res=' ||
    CASE WHEN is_done THEN 'success' ELSE 'failed' END || '''' || ${NAMES} ||
    'UID="' || name || '" AUID="' || login || '"'`;
  return record(type, body);
}

const CWD = record("CWD", `'cwd="' || coalesce(cwd, '/srv/app') || '"'`);
const TITLE = record("PROCTITLE", `'proctitle=' || ${hexOfWords("coalesce(cmdline, title)")}`);
const CAPABILITIES = "000001fffeffffff";

const UNIT = `'unit=' || unit || ' comm="systemd"'`;

/** Records of an event of each topic, in their order. */
const RECORDS: Readonly<Record<string, readonly string[]>> = {
  "process/exec": [
    syscall({ number: 59, name: "execve", items: "CASE WHEN is_done THEN 2 ELSE 1 END" }),
    record(
      "BPRM_FCAPS",
      `'fver=0 fp=0 fi=0 fe=0 old_pp=${CAPABILITIES} old_pi=0 old_pe=${CAPABILITIES} old_pa=0 ` +
        `pp=${CAPABILITIES} pi=0 pe=${CAPABILITIES} pa=0 frootid=0'`,
      "is_done AND uid = 0",
    ),
    record(
      "EXECVE",
      `'argc=' || len(string_split(cmdline, ' ')) || ' ' || array_to_string(list_transform(
        string_split(cmdline, ' '), (word, place) -> 'a' || (place - 1) || '="' || word || '"'), ' ')`,
      "is_done",
    ),
    CWD,
    pathRecord({ item: 0, name: "exe", kind: "NORMAL", mode: "0100755" }),
    pathRecord({ item: 1, name: LOADER, kind: "NORMAL", mode: "0100755", condition: "is_done" }),
    TITLE,
  ],
  // Recorded is the call of the process that forks, and the event is of the one that is made.
  "process/fork": [
    syscall({ number: 56, name: "clone", items: "0", exit: "pid", pid: "ppid", ppid: "1" }),
    TITLE,
  ],
  "process/exit": [syscall({ number: 231, name: "exit_group", items: "0" }), TITLE],
  "file/create": [
    syscall({ number: 83, name: "mkdir", items: "2" }),
    CWD,
    parentRecord(0),
    pathRecord({ item: 1, name: "path", kind: "CREATE", mode: "040755" }),
    TITLE,
  ],
  "file/delete": [
    syscall({ number: 87, name: "unlink", items: "2" }),
    CWD,
    parentRecord(0),
    pathRecord({ item: 1, name: "path", kind: "DELETE" }),
    TITLE,
  ],
  "file/write": [
    syscall({ number: 257, name: "openat", items: "1", exit: "3" }),
    CWD,
    pathRecord({ item: 0, name: "path", kind: "NORMAL" }),
    TITLE,
  ],
  "file/change": [
    syscall({ number: 257, name: "openat", items: "1", exit: "3", key: "'watched'" }),
    CWD,
    pathRecord({ item: 0, name: "path", kind: "NORMAL" }),
    TITLE,
  ],
  "file/rename": [
    syscall({ number: 82, name: "rename", items: "4" }),
    CWD,
    parentRecord(0, "old_path"),
    parentRecord(1),
    pathRecord({ item: 2, name: "old_path", kind: "DELETE" }),
    pathRecord({ item: 3, name: "path", kind: "CREATE" }),
    TITLE,
  ],
  "file/link": [
    syscall({ number: 86, name: "link", items: "3" }),
    CWD,
    parentRecord(0),
    pathRecord({ item: 1, name: "path || '.tmp'", kind: "NORMAL" }),
    pathRecord({ item: 2, name: "path", kind: "CREATE" }),
    TITLE,
  ],
  "network/connect": [
    syscall({ number: 42, name: "connect", items: "0" }),
    addressRecord("dst_ip", "dst_port"),
    TITLE,
  ],
  "network/accept": [
    syscall({ number: 288, name: "accept4", items: "0", exit: "5" }),
    addressRecord("src_ip", "src_port"),
    TITLE,
  ],
  "network/listen": [
    syscall({ number: 49, name: "bind", items: "0" }),
    addressRecord("src_ip", "src_port"),
    TITLE,
  ],
  "network/close": [syscall({ number: 3, name: "close", items: "0" }), TITLE],
  "auth/login": [
    saidRecord(
      "USER_START",
      `'op=PAM:session_open grantors=pam_env,pam_env,pam_mail,pam_limits,pam_permit,pam_unix acct="deploy"'`,
    ),
  ],
  "auth/sudo": [saidRecord("USER_CMD", `'cwd="/srv/app" cmd="' || comm || '"'`)],
  "auth/logout": [saidRecord("USER_END", `'op=PAM:session_close acct="deploy"'`)],
  "auth/failure": [saidRecord("USER_AUTH", `'op=PAM:authentication grantors=? acct="deploy"'`)],
  "auth/su": [saidRecord("USER_START", `'op=PAM:session_open grantors=pam_unix acct="deploy"'`)],
  "service/start": [saidRecord("SERVICE_START", UNIT)],
  "service/stop": [saidRecord("SERVICE_STOP", UNIT)],
  "service/change": [saidRecord("SERVICE_START", UNIT)],
  "process/setuid": [syscall({ number: 117, name: "setresuid", items: "0" }), TITLE],
};

/** Programs may tell auditd what they like, as applications tell an agent. */
const OF_APPLICATIONS = saidRecord("USER_MSG", "message");
