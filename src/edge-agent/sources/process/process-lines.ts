/**
 * Lines of processes: `process/exec`, `process/fork`, `process/exit` and the `process/setuid` of an exec; and what their records teach the process table.
 */
import { imageOf } from "../../decode-actor.ts";
import { kindOf, timeNsOf, u16, u32, u64 } from "../../decode-record.ts";
import {
  type DecoderContext,
  escapedMember,
  type LineDecoder,
  type LocatedRecord,
} from "../../line-decoder.ts";
import { ticksOf } from "../../process-identity.ts";
import type { ProcessEntry } from "../../process-table.ts";
import { soleUidIn } from "../../process-certainty.ts";
import { EXEC, EXIT, EXIT_BYTES, FORK_BYTES, HEADER, KIND } from "../../record-layout.ts";
import type { RecordMemory } from "../../ring-buffer.ts";
import { signalName } from "./call-names.ts";
import { credentialsLine } from "./credentials-line.ts";
import { ENVIRONMENT_NAMES } from "./environment.ts";
import { execLine, type ExecOptions } from "./exec-line.ts";
import { execParts } from "./exec-parts.ts";
import { hashLines, isEarlyExec } from "./digest/digest-lines.ts";

/** What is told when nothing else was asked for. */
const USUAL: ExecOptions = { environment: new Set(ENVIRONMENT_NAMES) };

export function createProcessDecoder(
  context: DecoderContext,
  options: ExecOptions = USUAL,
): LineDecoder {
  return {
    prepare: () => context.digests?.collect(),
    isEarly: (record) => isEarlyExec(context, record),
    further: () => hashLines(context),
    finish: () => context.digests?.giveUp(),
    losses: () => context.digests?.losses() ?? [],
    learn: (record) => learn(context, record),
    line: (record) => {
      switch (kindOf(record.memory, record.offset, record.length)) {
        case KIND.exec:
          return execLine(context, record, options);
        case KIND.fork:
          return record.length === FORK_BYTES ? forkLine(context, record) : undefined;
        case KIND.exit:
          return record.length === EXIT_BYTES ? exitLine(context, record) : undefined;
        case KIND.credentials:
          return credentialsLine(context, record);
        default:
          return undefined;
      }
    },
  };
}

function learn(context: DecoderContext, record: LocatedRecord): void {
  const { processes, text } = context;
  const { memory, offset, length } = record;
  const kind = kindOf(memory, offset, length);
  if (kind === 0) return;
  const timeNs = timeNsOf(memory.words, offset);
  const entry = entryAt(processes, memory, offset);
  if (kind === KIND.exit) processes.noteExit(entry, timeNs);
  if (kind === KIND.fork) {
    const forking = parentAt(processes, memory, offset);
    // The child has the parent's image: when that is another one than is known, it is the parent that /proc is asked for.
    imageOf(processes, forking, record);
    processes.noteFork(entry, forking, timeNs);
  }
  const parts = kind === KIND.exec ? execParts(memory, offset, length) : undefined;
  // Who it is must be known at once: others ask for a process that may be gone before its lines are made.
  if (kind === KIND.fork) context.actors.of(memory, offset);
  if (kind === KIND.exit) entry.ending = context.actors.of(memory, offset);
  if (parts === undefined) return;
  text.isEscaped = false;
  const exe = text.json(memory.bytes, parts.exeFrom, parts.cwdFrom);
  const execId = u16(memory.words, offset + HEADER.exec_id);
  const { words, bytes } = memory;
  const { isEscaped } = text;
  const script = text.json(bytes, parts.scriptFrom, parts.ancestorNamesFrom);
  processes.noteExec(entry, {
    sinceNs: timeNs,
    exe,
    isEscaped,
    execId,
    ...(script === "" ? {} : { script }),
    inode: u64(words, offset + EXEC.inode),
    device: u32(words, offset + EXEC.device),
  }, soleUidIn(memory, offset + EXEC.ids));
  context.actors.of(memory, offset);
}

type Processes = DecoderContext["processes"];

function entryAt(processes: Processes, { words }: RecordMemory, offset: number): ProcessEntry {
  const start = offset + HEADER.start_ns;
  return processes.introduce(
    u32(words, offset + HEADER.pid),
    u32(words, start),
    u32(words, start + 4),
  );
}

/** The parent, which may be older than all records: then /proc is asked. */
function parentAt(processes: Processes, { words }: RecordMemory, offset: number): ProcessEntry {
  const start = offset + HEADER.parent_start_ns;
  return processes.find(u32(words, offset + HEADER.ppid), u32(words, start), u32(words, start + 4));
}

function forkLine(context: DecoderContext, { memory, offset, timeUs }: LocatedRecord): string {
  const { words } = memory;
  const actor = context.actors.of(memory, offset);
  const start = offset + HEADER.parent_start_ns;
  const ppid = u32(words, offset + HEADER.ppid);
  const parent = context.processes.peek(ppid, ticksOf(u32(words, start), u32(words, start + 4)));
  const name = parent?.imageAt(timeNsOf(words, offset)).exe ?? `Process ${ppid}`;
  return `"time":"${context.timeText(timeUs)}","topic":"process/fork","outcome":"success",` +
    `"severity":"info",${actor.columns}"message":"${name} forked process ` +
    `${u32(words, offset + HEADER.pid)}"${escapedDetail(actor.escaped)}}`;
}

function escapedDetail(names: readonly string[]): string {
  return names.length === 0 ? "" : `,"detail":{${escapedMember(names).slice(1)}}`;
}

const SIGNAL_MASK = 0x7f;
const CORE_BIT = 0x80;

function exitLine(context: DecoderContext, { memory, offset, timeUs }: LocatedRecord): string {
  const { words } = memory;
  const actor = context.actors.of(memory, offset);
  const status = u32(words, offset + EXIT.status);
  const signal = status & SIGNAL_MASK;
  const code = (status >>> 8) & 0xff;
  const livedNs = u64(words, offset + HEADER.time_ns) - u64(words, offset + HEADER.start_ns);
  const how = signal === 0 ? `exited with code ${code}` : `was ended by ${signalName(signal)}`;
  const detail = signal === 0
    ? `"exit_code":${code}`
    : `"signal":${signal},"core":${(status & CORE_BIT) !== 0}`;
  return `"time":"${context.timeText(timeUs)}","topic":"process/exit","severity":"info",` +
    `${actor.columns}"message":"${actor.name} ${how}",` +
    `"detail":{${detail},"duration_ms":${(livedNs / 1e6).toFixed(3)}` +
    `${escapedMember(actor.escaped)}}}`;
}
