/**
 * Invented events with the shape of real ones, for figures on machines where nothing can be captured: a few hosts,
 * each running shells, builds and servers. The same seed gives the same events.
 */
import type { AuditEvent } from "../src/event/event.ts";

export interface SyntheticOptions {
  readonly seed: number;
  /** Time of the first event, µs since the Unix epoch. */
  readonly startUs: number;
  /** Mean distance between two events of a host, µs. */
  readonly stepUs: number;
}

interface Process {
  readonly pid: number;
  readonly id: string;
  readonly exe: string;
  readonly parent: Process | undefined;
  readonly uid: number;
  readonly cwd: string;
  readonly startedUs: number;
}

const COMMANDS: readonly (readonly [exe: string, argv: readonly string[]])[] = [
  ["/usr/bin/ls", ["ls", "--color=auto", "-la"]],
  ["/usr/bin/grep", ["grep", "-rn", "TODO", "src"]],
  ["/usr/bin/cc", ["cc", "-O2", "-Wall", "-Wextra", "-c", "-o", "build/%.o", "src/%.c"]],
  ["/usr/lib/gcc/x86_64-linux-gnu/12/cc1", [
    "/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
    "-quiet",
    "-imultiarch",
    "x86_64-linux-gnu",
    "src/%.c",
    "-o",
    "/tmp/cc%.s",
  ]],
  ["/usr/bin/as", ["as", "--64", "-o", "build/%.o", "/tmp/cc%.s"]],
  ["/usr/bin/git", ["git", "status", "--porcelain=v2"]],
  ["/usr/bin/sed", ["sed", "-n", "1,%p", "README.md"]],
  ["/usr/bin/dash", ["sh", "-c", "test -f build/%.o && echo %"]],
  ["/usr/bin/date", ["date", "+%s"]],
  ["/usr/bin/curl", ["curl", "-sS", "http://10.0.0.7:8080/health"]],
  ["/usr/sbin/runc", ["runc", "--root", "/run/runc", "state", "%"]],
];
const USERS = ["root", "www-data", "postgres", "deploy"] as const;

/** Events of one host, in order of time; endless. */
export function* syntheticEvents(options: SyntheticOptions): Generator<AuditEvent> {
  const random = createRandom(options.seed);
  const boot = hexOf(random, 8);
  let nextPid = 1000 + random(1000);
  let timeUs = options.startUs;
  const processOf = (exe: string, parent: Process | undefined, uid: number): Process => {
    nextPid = nextPid > 4_000_000 ? 300 : nextPid + 1 + random(3);
    const id = `${boot}-${nextPid}-${(timeUs - options.startUs) * 1000 + random(1000)}`;
    return { pid: nextPid, id, exe, parent, uid, cwd: `/home/user${uid}/work`, startedUs: timeUs };
  };
  const systemd = processOf("/usr/lib/systemd/systemd", undefined, 0);
  const shells = Array.from({ length: 6 }, (_, place) => {
    const session = processOf("/usr/sbin/sshd", systemd, 0);
    return processOf("/usr/bin/bash", session, place % USERS.length);
  });
  const server = processOf("/usr/sbin/nginx", systemd, 1);
  while (true) {
    const shell = shells[random(shells.length)] ?? systemd;
    const [exe, template] = COMMANDS[random(COMMANDS.length)] ?? ["", []];
    const number = String(random(5000));
    const argv = template.map((each) => each.replaceAll("%", number));
    const child = processOf(exe, shell, shell.uid);
    const step = (): number => timeUs += 1 + random(2 * options.stepUs);
    yield forkOf(child, step());
    yield execOf(child, argv, step());
    for (let left = random(4); left > 0; left--) {
      const kind = random(3) === 0 ? "file/create" : "file/write";
      const path = `${child.cwd}/build/${random(400)}.o`;
      yield fileOf(child, { kind, path, inode: 500_000 + random(400) }, step());
    }
    if (random(3) === 0) yield connectionOf(server, random, step());
    yield exitOf(child, random(12) === 0 ? 1 : 0, step());
  }
}

function common(process: Process, timeUs: number) {
  const { pid, id, parent, exe, uid } = process;
  return {
    timeUs,
    severity: "info",
    outcome: "success",
    user: USERS[uid] ?? "root",
    uid,
    euid: uid,
    gid: uid,
    ...(uid === 0 ? {} : { auid: 1000 + uid, auid_user: `user${uid}` }),
    pid,
    ppid: parent?.pid ?? 0,
    process_id: id,
    parent_process_id: parent?.id ?? id,
    exe,
    comm: exe.slice(exe.lastIndexOf("/") + 1, exe.lastIndexOf("/") + 16),
  } as const;
}

function forkOf(process: Process, timeUs: number): AuditEvent {
  const message = `bash started process ${process.pid}.`;
  return { ...common(process, timeUs), topic: "process/fork", message, detail: {} };
}

function execOf(process: Process, argv: readonly string[], timeUs: number): AuditEvent {
  const ancestors: object[] = [];
  for (let each = process.parent; each !== undefined; each = each.parent) {
    ancestors.push({ pid: each.pid, process_id: each.id, exe: each.exe });
  }
  const cmdline = argv.join(" ");
  return {
    ...common(process, timeUs),
    topic: "process/exec",
    cmdline,
    cwd: process.cwd,
    session: String(process.uid + 3),
    message: `${USERS[process.uid]} ran ${cmdline}.`,
    detail: { argv, argv_bytes: cmdline.length + 1, ancestors, tty: `pts/${process.uid}` },
  };
}

function exitOf(process: Process, code: number, timeUs: number): AuditEvent {
  const milliseconds = Math.floor((timeUs - process.startedUs) / 1000);
  return {
    ...common(process, timeUs),
    topic: "process/exit",
    message: `${process.exe} ended with code ${code}.`,
    detail: { exit_code: code, duration_ms: milliseconds },
  };
}

function fileOf(
  process: Process,
  file: { readonly kind: string; readonly path: string; readonly inode: number },
  timeUs: number,
): AuditEvent {
  const { kind, path, inode } = file;
  return {
    ...common(process, timeUs),
    topic: kind,
    path,
    message: `${process.exe} opened ${path} for writing.`,
    detail: { inode, device: "8:1", mode: "0644", how: "write", flags: ["O_WRONLY", "O_CREAT"] },
  };
}

function connectionOf(
  server: Process,
  random: (below: number) => number,
  timeUs: number,
): AuditEvent {
  const from = `10.0.${random(4)}.${random(250)}`;
  const port = 32768 + random(28000);
  return {
    ...common(server, timeUs),
    topic: "network/accept",
    src_ip: from,
    src_port: port,
    dst_ip: "10.0.0.7",
    dst_port: 8080,
    protocol: "tcp",
    message: `nginx accepted a connection from ${from}:${port}.`,
    detail: { family: "ipv4" },
  };
}

/** A small generator of numbers below a bound (a linear congruence modulo 2^32, upper bits). */
function createRandom(seed: number): (below: number) => number {
  let state = (seed * 2654435761 + 1) >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * below);
  };
}

function hexOf(random: (below: number) => number, digits: number): string {
  return Array.from({ length: digits }, () => random(16).toString(16)).join("");
}
