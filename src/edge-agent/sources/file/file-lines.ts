/**
 * Lines of files opened for writing or made: `file/write` and `file/create`.
 */
import type { CreatedFiles } from "../../created-files.ts";
import {
  deviceText,
  flagsOf,
  kindOf,
  modeText,
  u16,
  u32,
  u64,
  u64Text,
} from "../../decode-record.ts";
import {
  type DecoderContext,
  escapedMember,
  type LineDecoder,
  type LocatedRecord,
} from "../../line-decoder.ts";
import { FILE, FLAG, HEADER, KIND } from "../../record-layout.ts";

/** Creates are noted in `createdFiles`, for a source that sees them by name, too: those that a filter took as well. */
export function createFileDecoder(
  context: DecoderContext,
  createdFiles: Pick<CreatedFiles, "note"> | undefined,
): LineDecoder {
  const flagTexts = new Map<number, string>();
  return {
    learn: () => undefined,
    line: (record) => {
      const isUntold = (flagsOf(record.memory, record.offset) & FLAG.untold) !== 0;
      const line = isUntold ? untoldLine(record) : fileLine(context, record, flagTexts);
      if (line !== undefined) noteCreate(record, createdFiles);
      return line;
    },
  };
}

/** No line, of what a filter took; undefined when the record has another length. */
function untoldLine({ memory, offset, length }: LocatedRecord): "" | undefined {
  return kindOf(memory, offset, length) === KIND.fileOpen && length === FILE.path ? "" : undefined;
}

function noteCreate(
  { memory: { words }, memory, offset }: LocatedRecord,
  createdFiles: Pick<CreatedFiles, "note"> | undefined,
): void {
  if (createdFiles === undefined || (flagsOf(memory, offset) & FLAG.created) === 0) return;
  // A file made without a name is not seen by name until it is linked, and that is to be told.
  if ((u32(words, offset + FILE.open_flags) & O_TMPFILE) === O_TMPFILE) return;
  createdFiles.note({
    device: u32(words, offset + FILE.device),
    inode: u64(words, offset + FILE.inode),
    generation: u32(words, offset + FILE.generation),
    pid: u32(words, offset + HEADER.pid),
  });
}

function fileLine(
  context: DecoderContext,
  { memory, offset, length, timeUs }: LocatedRecord,
  flagTexts: Map<number, string>,
): string | undefined {
  const { words, bytes } = memory;
  if (kindOf(memory, offset, length) !== KIND.fileOpen || length < FILE.path) return undefined;
  const from = offset + FILE.path;
  const to = from + u16(words, offset + FILE.path_length);
  if (to !== offset + length) return undefined;
  const flags = flagsOf(memory, offset);
  const actor = context.actors.of(memory, offset);
  context.text.isEscaped = false;
  const path = context.text.json(bytes, from, to);
  const escaped = context.text.isEscaped ? [...actor.escaped, "path", "message"] : actor.escaped;
  const isCreated = (flags & FLAG.created) !== 0;
  return `"time":"${context.timeText(timeUs)}",` +
    (isCreated ? '"topic":"file/create"' : '"topic":"file/write"') +
    `,"outcome":"success","severity":"info",${actor.columns}"path":"${path}","message":"` +
    (isCreated ? `${actor.name} created ${path}"` : `${actor.name} opened ${path} for writing"`) +
    `,"detail":{"inode":${u64Text(words, offset + FILE.inode)},` +
    `"device":"${deviceText(u32(words, offset + FILE.device))}",` +
    `"generation":${u32(words, offset + FILE.generation)},` +
    `"mode":"${modeText(u32(words, offset + FILE.mode))}",` +
    `"size":${u64(words, offset + FILE.size)},"links":${u32(words, offset + FILE.links)},` +
    `"flags":"${openFlagsText(u32(words, offset + FILE.open_flags), flagTexts)}",` +
    `"how":"${isCreated ? "open" : "write"}"` +
    ((flags & FLAG.deleted) === 0 ? "" : ',"deleted":true') +
    ((flags & FLAG.truncated) === 0 ? "" : ',"truncated":true') +
    (escaped.length === 0 ? "}}" : `${escapedMember(escaped)}}}`);
}

const O_TMPFILE = 0o20200000;
/** Flags of open(2) that an open file keeps; asm-generic numbers, as on x86-64. */
const OPEN_FLAGS: readonly (readonly [number, string])[] = [
  [0o2000, "O_APPEND"],
  [0o4000, "O_NONBLOCK"],
  [0o4010000, "O_SYNC"],
  [0o10000, "O_DSYNC"],
  [0o20000, "O_ASYNC"],
  [0o40000, "O_DIRECT"],
  [0o400000, "O_NOFOLLOW"],
  [0o1000000, "O_NOATIME"],
  [O_TMPFILE, "O_TMPFILE"],
];
const ACCESS_MODES = ["O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"] as const;
/** Combinations remembered. */
const FLAG_TEXTS_MAX = 1024;

/** Names of the flags, joined by `|`; `known` remembers the texts. */
export function openFlagsText(flags: number, known: Map<number, string>): string {
  const found = known.get(flags);
  if (found !== undefined) return found;
  let rest = flags;
  const names: string[] = [ACCESS_MODES[flags & 3] ?? ""];
  for (const [bits, name] of OPEN_FLAGS) {
    if ((rest & bits) !== bits) continue;
    rest &= ~bits;
    names.push(name);
  }
  const text = names.join("|");
  if (known.size < FLAG_TEXTS_MAX) known.set(flags, text);
  return text;
}
