/**
 * Lines of what processes do to themselves and to others: `process/setuid`, `process/ptrace` and `process/signal`.
 *
 * Invariant: severity is high where Probity's own processes are taken hold of, killed or stopped otherwise than
 * in order, else info. What the canary does every minute, trying in vain to trace itself, is nothing of that.
 */
import { constants } from "node:os";
import { kindOf, timeNsOf, u32 } from "../../decode-record.ts";
import { readKernelText } from "../../kernel-files.ts";
import {
  type DecoderContext,
  escapedMember,
  type LineDecoder,
  type LocatedRecord,
} from "../../line-decoder.ts";
import {
  HEADER,
  KIND,
  PTRACE,
  PTRACE_BYTES,
  SIGNAL,
  SIGNAL_BYTES,
  VM_WRITEV,
} from "../../record-layout.ts";
import { errorName, signalName } from "../process/call-names.ts";
import { credentialsLine } from "../process/credentials-line.ts";

export function createControlDecoder(context: DecoderContext): LineDecoder {
  return {
    learn: () => undefined,
    line: (record) => {
      switch (kindOf(record.memory, record.offset, record.length)) {
        case KIND.callCredentials:
          return credentialsLine(context, record);
        case KIND.ptrace:
          return record.length === PTRACE_BYTES ? ptraceLine(context, record) : undefined;
        case KIND.signal:
          return record.length === SIGNAL_BYTES ? signalLine(context, record) : undefined;
        default:
          return undefined;
      }
    },
  };
}

interface Target {
  /** The inside of a JSON string. */
  readonly name: string;
  /** JSON members. */
  readonly members: string;
}

/** A process that a record names by pid and start; `exe` is its image at the moment of the record. */
function targetAt(
  { processes }: DecoderContext,
  { memory: { words }, offset }: LocatedRecord,
  fields: { readonly target_pid: number; readonly target_start_ns: number },
): Target {
  const pid = u32(words, offset + fields.target_pid);
  const start = offset + fields.target_start_ns;
  const entry = processes.find(pid, u32(words, start), u32(words, start + 4));
  const exe = entry.imageAt(timeNsOf(words, offset)).exe;
  return {
    name: exe ?? `process ${pid}`,
    members: `"target_pid":${pid},"target_process_id":"${entry.id}"` +
      (exe === undefined ? "" : `,"target_exe":"${exe}"`),
  };
}

const REQUESTS: Readonly<Record<number, readonly [how: string, did: string]>> = {
  0: ["traceme", "let its parent trace it"],
  16: ["attach", "attached to"],
  0x4206: ["seize", "attached to"],
  [VM_WRITEV]: ["process_vm_writev", "wrote into the memory of"],
};

function ptraceLine(context: DecoderContext, record: LocatedRecord): string {
  const { memory: { words }, offset, timeUs } = record;
  const actor = context.actors.of(record.memory, offset);
  const request = u32(words, offset + PTRACE.request);
  const error = u32(words, offset + PTRACE.error);
  const [how, did] = REQUESTS[request] ?? [`request ${request}`, "controlled"];
  const target = tracedAt(context, record);
  const isOwn = u32(words, offset + PTRACE.is_own) !== 0 || isOwnThread(record);
  const isVain = error !== 0 && isOfItself(record);
  const what = how === "traceme" ? did : `${did} ${target.name}`;
  const said = error === 0 ? what : `could not ${how} ${target.name}: ${errorName(error)}`;
  return `"time":"${context.timeText(timeUs)}","topic":"process/ptrace",` +
    (error === 0 ? '"outcome":"success",' : `"outcome":"failure","errno":${error},`) +
    `"severity":"${isOwn && !isVain ? "high" : "info"}",${actor.columns}` +
    `"message":"${actor.name} ${said}",` +
    `"detail":{"how":"${how}"${target.members === "" ? "" : `,${target.members}`}` +
    `${escapedMember(actor.escaped)}}}`;
}

/** Whether a process asked for itself: the kernel refuses that, whoever runs in it. */
function isOfItself({ memory: { words }, offset }: LocatedRecord): boolean {
  const pid = u32(words, offset + HEADER.pid);
  const target = u32(words, offset + PTRACE.target_pid);
  if (target !== 0) return target === pid;
  return u32(words, offset + PTRACE.is_initial) !== 0 &&
    u32(words, offset + PTRACE.asked_pid) === pid;
}

/** Whether the target is known by its number alone, and that is of a thread of this process. */
function isOwnThread({ memory: { words }, offset }: LocatedRecord): boolean {
  return u32(words, offset + PTRACE.target_pid) === 0 &&
    u32(words, offset + PTRACE.is_initial) !== 0 &&
    readKernelText(`/proc/self/task/${u32(words, offset + PTRACE.asked_pid)}/comm`) !== undefined;
}

/** The target as the kernel knows it, or else by the number that was asked for. */
function tracedAt(context: DecoderContext, record: LocatedRecord): Target {
  const { memory: { words }, offset } = record;
  if (u32(words, offset + PTRACE.target_pid) !== 0) return targetAt(context, record, PTRACE);
  const asked = u32(words, offset + PTRACE.asked_pid);
  const unknown = { name: `process ${asked}`, members: `"target_pid":${asked}` };
  const isInitial = u32(words, offset + PTRACE.is_initial) !== 0;
  const entry = isInitial ? context.processes.newestOf(asked) : undefined;
  if (!isInitial) return { ...unknown, members: `"target_pid_inside":${asked}` };
  if (entry === undefined) return unknown;
  const exe = entry.imageAt(timeNsOf(words, offset)).exe;
  return {
    name: exe ?? unknown.name,
    members: `${unknown.members},"target_process_id":"${entry.id}"` +
      (exe === undefined ? "" : `,"target_exe":"${exe}"`),
  };
}

const { signals } = constants;
/** What Probity's processes pass over, or end by in order: all else kills, stops or opens them. */
const HARMLESS: ReadonlySet<number> = new Set([
  ...[0, signals.SIGCONT, signals.SIGCHLD, signals.SIGWINCH, signals.SIGURG, signals.SIGPIPE],
  ...[signals.SIGHUP, signals.SIGTERM, signals.SIGINT],
]);
const RESULTS = ["delivered", "ignored", "pending", "lost", "lost"] as const;

function signalLine(context: DecoderContext, record: LocatedRecord): string {
  const { memory: { words }, offset, timeUs } = record;
  const actor = context.actors.of(record.memory, offset);
  const signal = u32(words, offset + SIGNAL.signal);
  const code = u32(words, offset + SIGNAL.code) | 0;
  const result = RESULTS[u32(words, offset + SIGNAL.result)] ?? "unknown";
  const target = targetAt(context, record, SIGNAL);
  const name = signalName(signal);
  const said = code > 0
    ? `The kernel sent ${name} to ${target.name} while ${actor.name} ran`
    : `${actor.name} sent ${name} to ${target.name}`;
  return `"time":"${context.timeText(timeUs)}","topic":"process/signal","outcome":"success",` +
    `"severity":"${HARMLESS.has(signal) ? "info" : "high"}",${actor.columns}` +
    `"message":"${said}","detail":{"signal":${signal},"result":"${result}",` +
    (code > 0 ? '"from_kernel":true,' : "") + `${target.members}${escapedMember(actor.escaped)}}}`;
}
