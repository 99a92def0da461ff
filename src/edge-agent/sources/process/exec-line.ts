/**
 * The line of an exec: full argument list, working directory, script and ancestry.
 *
 * Invariant: `argv` is what the kernel gave the new image. When it was cut, `argv_bytes` tells its true length,
 * `truncated` is true, and the last argument may be a part.
 */
import { isUtf8 } from "node:buffer";
import { escapedTextOf } from "../../byte-text.ts";
import { deviceText, flagsOf, timeNsOf, u16, u32, u64Text } from "../../decode-record.ts";
import { endOfText, isPlain, jsonInner } from "../../decode-text.ts";
import { type DecoderContext, escapedMember, type LocatedRecord } from "../../line-decoder.ts";
import { ticksOf } from "../../process-identity.ts";
import {
  ANCESTOR,
  ANCESTOR_BYTES,
  ANCESTORS_MAX,
  EXEC,
  FLAG,
  TTY_BYTES,
} from "../../record-layout.ts";
import type { Redactor } from "../../redaction.ts";
import type { RecordMemory } from "../../ring-buffer.ts";

/** Where the parts of a record's tail begin, in bytes; each ends where the next begins. */
export interface ExecParts {
  readonly exeFrom: number;
  readonly cwdFrom: number;
  readonly scriptFrom: number;
  readonly argvFrom: number;
  readonly end: number;
}

/** The parts of an exec record; undefined when its lengths do not add up. */
export function execParts(
  { words }: RecordMemory,
  offset: number,
  length: number,
): ExecParts | undefined {
  if (length < EXEC.tail) return undefined;
  const exeFrom = offset + EXEC.tail;
  const cwdFrom = exeFrom + u16(words, offset + EXEC.exe_length);
  const scriptFrom = cwdFrom + u16(words, offset + EXEC.cwd_length);
  const argvFrom = scriptFrom + u16(words, offset + EXEC.script_length);
  const end = argvFrom + u16(words, offset + EXEC.argv_length);
  if (end !== offset + length) return undefined;
  if (u32(words, offset + EXEC.ancestor_count) > ANCESTORS_MAX) return undefined;
  return { exeFrom, cwdFrom, scriptFrom, argvFrom, end };
}

export function execLine(context: DecoderContext, record: LocatedRecord): string | undefined {
  const { memory, offset, length, timeUs } = record;
  const parts = execParts(memory, offset, length);
  if (parts === undefined) return undefined;
  const { words, bytes } = memory;
  const { text } = context;
  const flags = flagsOf(memory, offset);
  const actor = context.actors.of(memory, offset);
  const escaped = [...actor.escaped];
  const read = (from: number, to: number, ...fields: string[]): string => {
    text.isEscaped = false;
    const value = text.json(bytes, from, to);
    if (text.isEscaped) escaped.push(...fields);
    return value;
  };
  const cwd = read(parts.cwdFrom, parts.scriptFrom, "cwd");
  const script = read(parts.scriptFrom, parts.argvFrom, "script");
  const args = readArguments(context.redactor, memory, parts);
  if (args.isEscaped) escaped.push("cmdline", "argv");
  const ttyFrom = offset + EXEC.tty;
  const tty = read(ttyFrom, endOfText(bytes, ttyFrom, ttyFrom + TTY_BYTES), "tty");
  return `"time":"${context.timeText(timeUs)}","topic":"process/exec","outcome":"success",` +
    `"severity":"info",${actor.columns}"cmdline":"${args.cmdline}",` +
    (cwd === "" ? "" : `"cwd":"${cwd}",`) +
    `"message":"${actor.userName} ran ${script === "" ? actor.name : script}",` +
    `"detail":{"argv":[${args.list}],"argv_bytes":${u32(words, offset + EXEC.argv_bytes)},` +
    `"truncated":${(flags & FLAG.truncated) !== 0},` +
    `"ancestors":[${ancestorsText(context, memory, offset)}]` +
    (tty === "" ? "" : `,"tty":"${tty}"`) +
    (script === "" ? "" : `,"interpreter":"${actor.name}","script":"${script}"`) +
    ((flags & FLAG.memfd) === 0 ? "" : ',"memfd":true') +
    ((flags & FLAG.deleted) === 0 ? "" : ',"deleted":true') +
    `,"inode":${u64Text(words, offset + EXEC.inode)},` +
    `"device":"${deviceText(u32(words, offset + EXEC.device))}"${redactedMember(args.redacted)}` +
    `${escapedMember(escaped)}}}`;
}

interface Arguments {
  /** Joined by spaces; the inside of a JSON string. */
  readonly cmdline: string;
  /** Members of a JSON list. */
  readonly list: string;
  readonly isEscaped: boolean;
  /** Places of those in which secrets were replaced. */
  readonly redacted: readonly number[];
}

function readArguments(
  redactor: Redactor,
  { bytes }: RecordMemory,
  { argvFrom, end }: ExecParts,
): Arguments {
  if (argvFrom === end) return { cmdline: "", list: "", isEscaped: false, redacted: [] };
  const textEnd = bytes[end - 1] === 0 ? end - 1 : end;
  // Before anything is made of them: a secret must be in no text that could be told.
  const { parts, places } = redactor.argv(bytes.toString("latin1", argvFrom, textEnd));
  const joined = parts.join(" ");
  if (isPlain(joined)) {
    return { cmdline: joined, list: listOf(parts), isEscaped: false, redacted: places };
  }
  // One argument that is no text makes all of them escaped: the field is, and its backslashes must mean one thing.
  const isEscaped = !isUtf8(Buffer.from(joined, "latin1"));
  const list = parts.map((argument) => {
    const argumentBytes = Buffer.from(argument, "latin1");
    return jsonInner(isEscaped ? escapedTextOf(argumentBytes) : argumentBytes.toString("utf8"));
  });
  return { cmdline: list.join(" "), list: listOf(list), isEscaped, redacted: places };
}

/** Arguments that are named one by one in `redacted`, at most. */
const REDACTED_NAMED_MAX = 64;

/** `,"redacted":["argv[2]"]`, or nothing; beyond the limit the last member says how many more there are. */
function redactedMember(places: readonly number[]): string {
  if (places.length === 0) return "";
  const named = places.slice(0, REDACTED_NAMED_MAX).map((place) => `"argv[${place}]"`);
  const more = places.length - named.length;
  return `,"redacted":[${named.join(",")}${more === 0 ? "" : `,"${more} more"`}]`;
}

function listOf(inners: readonly string[]): string {
  return `"${inners.join('","')}"`;
}

function ancestorsText(
  { processes }: DecoderContext,
  { words }: RecordMemory,
  offset: number,
): string {
  const timeNs = timeNsOf(words, offset);
  const count = u32(words, offset + EXEC.ancestor_count);
  let list = "";
  for (let place = 0; place < count; place += 1) {
    const at = offset + EXEC.ancestors + place * ANCESTOR_BYTES;
    const start = at + ANCESTOR.start_ns;
    const pid = u32(words, at + ANCESTOR.pid);
    const ticks = ticksOf(u32(words, start), u32(words, start + 4));
    const known = processes.peek(pid, ticks);
    const exe = known?.imageAt(timeNs).exe;
    list += `${place === 0 ? "" : ","}{"pid":${pid},"process_id":"` +
      `${known?.id ?? processes.idOf(pid, ticks)}"${exe === undefined ? "" : `,"exe":"${exe}"`}}`;
  }
  return list;
}
