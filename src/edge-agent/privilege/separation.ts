/**
 * Divides the agent in two: a small process that keeps the capabilities, and this one, which gives them up for good.
 *
 * Invariants: a program's threads each have rights of their own, so giving them up in this thread would leave them to
 * the others: this process is replaced by the same program (exec), which has one thread, without any right. Whoever
 * runs with a connection to the privileged process has no capability and no way to one.
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { chooseAudit } from "../audit-socket.ts";
import { chooseLibbpf } from "../libbpf.ts";
import { chooseLibc, loadLibc, POLLFD_BYTES, POLLIN } from "../libc.ts";
import { CAPABILITY, loadProcessCalls, type ProcessCalls } from "../process-calls.ts";
import { takePassedAudit, variablesOfPassed } from "../passed-audit.ts";
import { chooseProbeAttacher } from "../attach-probe.ts";
import { chooseGateLoader } from "../map-gate.ts";
import { chooseObjectLoader } from "../program-object.ts";
import { createConnection, type PrivilegedConnection } from "./connection.ts";
import { encodeRequest, parseReply } from "./messages.ts";
import type { ReadableFiles } from "./readable.ts";
import { createRemoteLibc } from "./remote-libc.ts";
import {
  attachRemoteProbe,
  createRemoteLibbpf,
  loadRemoteGate,
  loadRemoteObject,
} from "./remote-objects.ts";
import { SOCKET_VARIABLE } from "./socket-variable.ts";
import { stripProgram } from "./stripped-program.ts";

/** What the privileged process needs; what for, in docs/operations.md. */
const KEPT = [
  CAPABILITY.CAP_SYS_ADMIN,
  CAPABILITY.CAP_DAC_READ_SEARCH,
  CAPABILITY.CAP_SYS_PTRACE,
  CAPABILITY.CAP_AUDIT_READ,
];
const PROGRAM = new URL("privileged-process.ts", import.meta.url);
/** How long the privileged process may take to answer its first question. */
const START_LIMIT_MS = 20_000;
/** Capabilities that a kernel may know; those it does not end the list. */
const CAPABILITIES_MAX = 64;
/** V8 listens for a debugger on SIGUSR1, which any process of the same user may send. */
const NO_DEBUGGER = "--disable-sigusr1";
/** Of the agent: young objects get 2 MiB, old ones a third more than they need before they are collected. */
const MEMORY_OPTIONS = ["--max-semi-space-size=2", "--heap-growing-percent=30"];
/**
 * For the C library (glibc) of both: one heap for all threads instead of one for each, of which every one keeps what it
 * once needed; and what is large or free at the heap's end is given back.
 */
const MEMORY_VARIABLES = { MALLOC_ARENA_MAX: "1", MALLOC_TRIM_THRESHOLD_: "131072" };
/** Of the privileged process, which needs little memory and hardly computes. */
const NODE_OPTIONS = [
  NO_DEBUGGER,
  "--max-old-space-size=32",
  "--max-semi-space-size=1",
  "--optimize-for-size",
  "--v8-pool-size=0",
];
const DENO_OPTIONS = ["run", "-q", "--no-prompt", "--allow-ffi", "--allow-read", "--allow-env"];

export interface SeparationOptions {
  /** Who to become; undefined: whoever this is. */
  readonly account: { readonly uid: number; readonly gid: number } | undefined;
  readonly contents: ReadableFiles;
  /** Folder for caches of the process without rights. */
  readonly cache: string;
  /** See {@link takePassed}. */
  readonly passedAudit: number | undefined;
  /** Called when everything has been started, before this program is taken up anew. */
  readonly onLeave: () => void;
}

/** Whether this process has what the privileged one needs. */
export function canSeparate(): boolean {
  const { permitted } = loadProcessCalls().capget();
  return (permitted & bit(CAPABILITY.CAP_SYS_ADMIN)) !== 0n;
}

/**
 * The descriptor of the audit socket that whoever started the agent passed to it, which is then listened to; undefined when
 * there is none. To be called once, before anything is started. Throws when something else was passed.
 */
export function takePassed(): number | undefined {
  const { env: environment, pid } = process;
  const passed = takePassedAudit(loadLibc(), { calls: loadProcessCalls(), environment, pid });
  if (passed !== undefined) chooseAudit({ open: (libc) => libc.dup(passed) });
  return passed;
}

/**
 * Starts the privileged process and takes up this program anew without rights; then {@link connectPrivileged} finds the
 * connection. Does not return: both start at the same time. Throws when one cannot be started; this process then has
 * fewer rights.
 */
export function separate(options: SeparationOptions): never {
  const calls = loadProcessCalls();
  const pair = calls.socketpair();
  if (typeof pair === "number") throw failure("make a socket", pair);
  const [own, other] = pair;
  // Node closes them on exec.
  for (const standard of [0, 1, 2]) calls.setInherited(standard, "inherited");
  keepOnly(calls, options.account);
  startPrivileged(calls, other);
  introduce(calls, own, options.contents);
  dropAll(calls);
  checked(calls.setInherited(own, "inherited"), "keep the socket");
  const { passedAudit } = options;
  if (passedAudit !== undefined) {
    checked(calls.setInherited(passedAudit, "inherited"), "hand over a socket");
  }
  options.onLeave();
  const environment = {
    ...MEMORY_VARIABLES,
    ...process.env,
    ...(passedAudit === undefined ? {} : variablesOfPassed(process.pid)),
    XDG_CACHE_HOME: options.cache,
    [SOCKET_VARIABLE]: String(own),
  };
  const status = calls.execve(process.execPath, wordsOfThis(), entriesOf(environment));
  throw failure("start the agent anew", status);
}

/**
 * The connection that {@link separate} left to this program; undefined when it is not so divided. From then on files,
 * programs and fanotify groups are asked for. To be called once, before anything is opened. Throws when the privileged
 * process does not answer.
 */
export function connectPrivileged(): PrivilegedConnection | undefined {
  const socketFd = Number(process.env[SOCKET_VARIABLE] ?? "");
  delete process.env[SOCKET_VARIABLE];
  if (!Number.isSafeInteger(socketFd) || socketFd <= 2) return undefined;
  const calls = loadProcessCalls();
  checked(calls.setInherited(socketFd, "closed on exec"), "keep the socket");
  checked(calls.setDumpable("closed"), "close this process to others");
  awaitPrivileged(calls, socketFd);
  const connection = createConnection(calls, loadLibc(), socketFd);
  chooseLibc((direct) => createRemoteLibc(direct, connection));
  chooseLibbpf((direct) => createRemoteLibbpf(direct, connection));
  chooseObjectLoader((libbpf, options) => loadRemoteObject(libbpf, connection, options));
  chooseProbeAttacher((_libbpf, attachment) => attachRemoteProbe(connection, attachment));
  chooseAudit({
    open: () => connection.askDescriptor("audit_socket", {}),
    stir: () => void connection.ask("audit_stir", {}),
  });
  chooseGateLoader((_libbpf, mapFd, sizes) => loadRemoteGate(connection, mapFd, sizes));
  return connection;
}

/** Leaves this thread the capabilities that the privileged process gets, as whoever it is to be. */
function keepOnly(calls: ProcessCalls, account: SeparationOptions["account"]): void {
  const { permitted } = calls.capget();
  const kept = KEPT.filter((each) => (permitted & bit(each)) !== 0n);
  const canDropBounding = (permitted & bit(CAPABILITY.CAP_SETPCAP)) !== 0n;
  for (let each = 0; canDropBounding && each < CAPABILITIES_MAX; each += 1) {
    if (!kept.some((one) => one === each) && calls.dropBounding(each) < 0) break;
  }
  if (account !== undefined) {
    checked(calls.keepCapabilities(), "keep capabilities");
    checked(calls.setgroups([]), "leave all groups");
    checked(calls.setresgid(account.gid), "change the group");
    checked(calls.setresuid(account.uid), "change the user");
  }
  const inheritable = kept.reduce((set, each) => set | bit(each), 0n);
  const own = canDropBounding ? inheritable | bit(CAPABILITY.CAP_SETPCAP) : inheritable;
  checked(calls.capset({ effective: own, permitted: own, inheritable }), "set capabilities");
  checked(calls.clearAmbient(), "clear capabilities");
  for (const each of kept) checked(calls.raiseAmbient(each), "hand on capabilities");
  checked(calls.setNoNewPrivileges(), "forbid new rights");
}

function startPrivileged(calls: ProcessCalls, socketFd: number): void {
  const isNode = process.versions["deno"] === undefined;
  using program = stripProgram(calls, PROGRAM);
  const options = isNode ? [...NODE_OPTIONS, ...program?.words ?? []] : DENO_OPTIONS;
  const words = [process.execPath, ...options, fileURLToPath(PROGRAM), String(socketFd)];
  checked(calls.setInherited(socketFd, "inherited"), "hand over a socket");
  if (program !== undefined) checked(calls.setInherited(program.fd, "inherited"), "hand over code");
  // No variable of whoever started the agent changes what this program does.
  const environment = { LANG: "C.UTF-8", HOME: "/nonexistent", ...MEMORY_VARIABLES };
  const pid = calls.posix_spawn(process.execPath, words, entriesOf(environment));
  if (pid < 0) throw failure("start the privileged process", pid);
  loadLibc().close(socketFd);
}

/** Says what may be read. The answer is the privileged process's first word, and waited for by whoever is connected. */
function introduce(
  calls: ProcessCalls,
  socketFd: number,
  { contents, belowHomes }: ReadableFiles,
): void {
  const status = calls.messages(socketFd).send(
    encodeRequest("policy", { contents, belowHomes }),
    [],
  );
  if (status < 0) throw failure("start the privileged process", status);
}

/** Waits until the privileged process has heard what {@link introduce} said. */
function awaitPrivileged(calls: ProcessCalls, socketFd: number): void {
  const poll = new DataView(new ArrayBuffer(POLLFD_BYTES));
  poll.setInt32(0, socketFd, true);
  poll.setInt16(4, POLLIN, true);
  const isThere = loadLibc().poll(new Uint8Array(poll.buffer), START_LIMIT_MS) > 0;
  const answer = isThere ? calls.messages(socketFd).receive() : undefined;
  if (typeof answer !== "object" || answer.bytes.length === 0) {
    throw new Error("Cannot start the privileged process: no answer");
  }
  const { status } = parseReply(answer.bytes);
  if (status < 0) throw failure("start the privileged process", status);
}

/** Takes every right from this thread; exec takes the other threads. */
function dropAll(calls: ProcessCalls): void {
  checked(calls.clearAmbient(), "clear capabilities");
  const canDropBounding = (calls.capget().effective & bit(CAPABILITY.CAP_SETPCAP)) !== 0n;
  for (let each = 0; canDropBounding && each < CAPABILITIES_MAX; each += 1) {
    if (calls.dropBounding(each) < 0) break;
  }
  checked(calls.capset({ effective: 0n, permitted: 0n, inheritable: 0n }), "drop capabilities");
}

/** The command line of this process, without a debugger, with {@link MEMORY_OPTIONS} unless it has others. */
function wordsOfThis(): readonly string[] {
  const { execPath, execArgv, argv } = process;
  const isNode = process.versions["deno"] === undefined;
  if (!isNode) return readCommandLine();
  const added = [NO_DEBUGGER, ...MEMORY_OPTIONS].filter((option) =>
    !execArgv.some((each) => nameOf(each) === nameOf(option))
  );
  return [execPath, ...added, ...execArgv, ...argv.slice(1)];
}

function nameOf(option: string): string {
  return option.split("=")[0] ?? option;
}

function readCommandLine(): readonly string[] {
  const libc = loadLibc();
  const buffer = Buffer.alloc(1024 * 1024);
  const fd = libc.open("/proc/self/cmdline", 0);
  const length = libc.read(fd, buffer);
  libc.close(fd);
  return buffer.toString("utf8", 0, Math.max(0, length - 1)).split("\0");
}

function entriesOf(environment: Readonly<Record<string, string | undefined>>): readonly string[] {
  return Object.entries(environment).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${value}`]
  );
}

function bit(capability: number): bigint {
  return 1n << BigInt(capability);
}

function checked(status: number, what: string): void {
  if (status < 0) throw failure(what, status);
}

function failure(what: string, negative: number): Error {
  return new Error(`Cannot ${what}: errno ${-negative}`);
}
