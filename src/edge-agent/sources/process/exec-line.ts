/**
 * The line of an exec: full argument list, chosen environment, working directory, script, ids and ancestry.
 *
 * Invariant: `argv` is what the kernel gave the new image. When it was cut, `argv_bytes` tells its true length,
 * `truncated` is true, and the last argument may be a part.
 */
import { deviceText, flagsOf, timeNsOf, u16, u32, u64Text } from "../../decode-record.ts";
import { endOfText, isPlain, jsonInner } from "../../decode-text.ts";
import { type DecoderContext, escapedMember, type LocatedRecord } from "../../line-decoder.ts";
import { ticksOf } from "../../process-identity.ts";
import {
  ANCESTOR,
  ANCESTOR_BYTES,
  EXEC,
  EXEC_MARK,
  FLAG,
  IDS,
  TTY_BYTES,
} from "../../record-layout.ts";
import { capabilityNames } from "./capabilities.ts";
import { type ExecParts, execParts } from "./exec-parts.ts";
import { readExecTexts } from "./exec-texts.ts";
import { digestMembers } from "./digest/digest-lines.ts";

/** What the line of an exec depends on beside the record. */
export interface ExecOptions {
  /** Names of the environment variables that are told. */
  readonly environment: ReadonlySet<string>;
}

export function execLine(
  context: DecoderContext,
  record: LocatedRecord,
  { environment }: ExecOptions,
): string | undefined {
  const { memory, offset, length, timeUs } = record;
  const parts = execParts(memory, offset, length);
  if (parts === undefined) return undefined;
  const { words, bytes } = memory;
  const { text } = context;
  const flags = flagsOf(memory, offset);
  const actor = context.actors.of(memory, offset);
  const escaped = [...actor.escaped];
  const read = (from: number, to: number, field: string): string => {
    text.isEscaped = false;
    const value = text.json(bytes, from, to);
    if (text.isEscaped) escaped.push(field);
    return value;
  };
  const cwd = read(parts.cwdFrom, parts.scriptFrom, "cwd");
  const script = read(parts.scriptFrom, parts.ancestorNamesFrom, "script");
  const texts = readExecTexts(memory, parts, { environment, redactor: context.redactor });
  if (texts.isArgvEscaped) escaped.push("cmdline", "argv");
  if (texts.isEnvEscaped) escaped.push("env");
  const ttyFrom = offset + EXEC.tty;
  const tty = read(ttyFrom, endOfText(bytes, ttyFrom, ttyFrom + TTY_BYTES), "tty");
  const { cmdline, list } = joinArguments(texts.argv);
  const env = environmentText(texts.env);
  const repeated = texts.envRepeated.map(jsonInner);
  const isEnvCut = (u32(words, offset + EXEC.marks) & EXEC_MARK.envCut) !== 0;
  return `"time":"${context.timeText(timeUs)}","topic":"process/exec","outcome":"success",` +
    `"severity":"info",${actor.columns}"cmdline":"${cmdline}",` +
    (cwd === "" ? "" : `"cwd":"${cwd}",`) +
    `"message":"${actor.userName} ran ${script === "" ? actor.name : script}",` +
    `"detail":{"argv":[${list}],"argv_bytes":${u32(words, offset + EXEC.argv_bytes)},` +
    `"truncated":${(flags & FLAG.truncated) !== 0}` +
    (env === "" ? "" : `,"env":{${env}}`) +
    (repeated.length === 0 ? "" : `,"env_repeated":["${repeated.join('","')}"]`) +
    (isEnvCut ? ',"env_truncated":true' : "") +
    `,"ancestors":[${ancestorsText(context, record, parts)}]` +
    (tty === "" ? "" : `,"tty":"${tty}"`) +
    (script === "" ? "" : `,"interpreter":"${actor.name}","script":"${script}"`) +
    ((flags & FLAG.memfd) === 0 ? "" : ',"memfd":true') +
    ((flags & FLAG.deleted) === 0 ? "" : ',"deleted":true') +
    privilegeText(context, record) +
    digestMembers(context, record, { columns: actor.columns, name: actor.name, script }) +
    `,"inode":${u64Text(words, offset + EXEC.inode)},` +
    `"device":"${deviceText(u32(words, offset + EXEC.device))}"` +
    `${redactedMember(texts.redacted)}${escapedMember(escaped)}}}`;
}

/** Places that are named one by one in `redacted`, at most. */
const REDACTED_NAMED_MAX = 64;

/** `,"redacted":["argv[2]"]`, or nothing; beyond the limit the last member says how many more there are. */
function redactedMember(places: readonly string[]): string {
  if (places.length === 0) return "";
  const named = places.slice(0, REDACTED_NAMED_MAX).map((place) => `"${place}"`);
  const more = places.length - named.length;
  return `,"redacted":[${named.join(",")}${more === 0 ? "" : `,"${more} more"`}]`;
}

/** Arguments joined by spaces (the inside of a JSON string), and as members of a JSON list. */
function joinArguments(argv: readonly string[]): { cmdline: string; list: string } {
  if (argv.length === 0) return { cmdline: "", list: "" };
  const joined = argv.join(" ");
  const inners = isPlain(joined) ? argv : argv.map(jsonInner);
  return { cmdline: inners === argv ? joined : inners.join(" "), list: `"${inners.join('","')}"` };
}

function environmentText(env: ReadonlyMap<string, string>): string {
  let members = "";
  for (const [name, value] of env) {
    members += `${members === "" ? "" : ","}"${name}":"${jsonInner(value)}"`;
  }
  return members;
}

/** Ids that differ from those in the columns, capabilities gained, namespaces that are not the initial ones. */
function privilegeText(context: DecoderContext, { memory, offset }: LocatedRecord): string {
  const { words } = memory;
  const ids = offset + EXEC.ids;
  const id = (field: number): number => u32(words, ids + field);
  const isUsual = id(IDS.suid) === id(IDS.euid) && id(IDS.fsuid) === id(IDS.euid) &&
    id(IDS.egid) === id(IDS.gid) && id(IDS.sgid) === id(IDS.gid) && id(IDS.fsgid) === id(IDS.gid);
  const gained = capabilityNames(words, offset + EXEC.caps_gained);
  const namespaces = context.initialNamespaces.others(memory, ids);
  return (isUsual ? "" : `,"suid":${id(IDS.suid)},"fsuid":${id(IDS.fsuid)},` +
    `"egid":${id(IDS.egid)},"sgid":${id(IDS.sgid)},"fsgid":${id(IDS.fsgid)}`) +
    (gained === "" ? "" : `,"caps_gained":[${gained}]`) +
    (namespaces === "" ? "" : `,"namespaces":{${namespaces}}`);
}

/** Whether a text is just these bytes, all of them ASCII. */
function isText(text: string | undefined, bytes: Uint8Array, from: number, end: number): boolean {
  if (text?.length !== end - from) return false;
  for (let at = from; at < end; at += 1) if (text.charCodeAt(at - from) !== bytes[at]) return false;
  return true;
}

function ancestorsText(
  { processes, text }: DecoderContext,
  { memory: { words, bytes }, offset }: LocatedRecord,
  parts: ExecParts,
): string {
  const timeNs = timeNsOf(words, offset);
  let list = "";
  let nameFrom = parts.ancestorNamesFrom;
  for (let place = 0; place < parts.ancestorCount; place += 1) {
    const at = parts.ancestorsFrom + place * ANCESTOR_BYTES;
    const start = at + ANCESTOR.start_ns;
    const pid = u32(words, at + ANCESTOR.pid);
    const ticks = ticksOf(u32(words, start), u32(words, start + 4));
    const nameEnd = nameFrom + u16(words, at + ANCESTOR.name_length);
    const known = processes.peek(pid, ticks);
    const isExe = u16(words, at + ANCESTOR.is_exe) !== 0;
    const told = known?.imageAt(timeNs).exe;
    // The kernel noted what was executed, also when no record told of it.
    const exe = isExe && !isText(told, bytes, nameFrom, nameEnd) ? undefined : told;
    list += `${place === 0 ? "" : ","}{"pid":${pid},"process_id":"` +
      `${known?.id ?? processes.idOf(pid, ticks)}"`;
    if (exe !== undefined) list += `,"exe":"${exe}"}`;
    else {
      const field = isExe ? "exe" : "comm";
      list += `,"${field}":"${text.json(bytes, nameFrom, nameEnd)}"}`;
    }
    nameFrom = nameEnd;
  }
  return list;
}
