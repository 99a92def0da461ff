/**
 * Digests in lines: as members of an exec's detail, and as lines of their own, `process/hash`, when they come too late.
 */
import { deviceText, flagsOf, kindOf, timeNsOf, u32 } from "../../../decode-record.ts";
import type { DecoderContext, FurtherLine, LocatedRecord } from "../../../line-decoder.ts";
import { EXEC, FLAG, HEADER, KIND } from "../../../record-layout.ts";
import type { ExecTold, ExecutedImage } from "./exec-digests.ts";

/** Whether an exec is better told later; other records never are. */
export function isEarlyExec({ digests }: DecoderContext, record: LocatedRecord): boolean {
  const { memory, offset, length } = record;
  if (digests === undefined || length < EXEC.tail) return false;
  return kindOf(memory, offset, length) === KIND.exec && digests.isEarly(executedImage(record));
}

/** Members of an exec's detail, each after a comma. */
export function digestMembers(
  { digests }: DecoderContext,
  record: LocatedRecord,
  told: ExecTold,
): string {
  return digests === undefined ? "" : digests.members(executedImage(record), told);
}

/** Digests that came since the last call, as lines. */
export function hashLines({ digests, timeText }: DecoderContext): readonly FurtherLine[] {
  if (digests === undefined) return [];
  return digests.late().map(({ told, members, isKnown, timeUs }) => ({
    timeUs,
    fields: `"time":"${timeText(timeUs)}","topic":"process/hash","severity":"info",` +
      `${told.columns}"message":"The digest of ${told.name} ` +
      `${isKnown ? "is known" : "could not be had"}","detail":{${members}}}`,
  }));
}

function executedImage({ memory, offset, timeUs }: LocatedRecord): ExecutedImage {
  const { words } = memory;
  return {
    pid: u32(words, offset + HEADER.pid),
    device: deviceText(u32(words, offset + EXEC.device)),
    inodeLow: u32(words, offset + EXEC.inode),
    inodeHigh: u32(words, offset + EXEC.inode + 4),
    timeNs: timeNsOf(words, offset),
    timeUs,
    isMemfd: (flagsOf(memory, offset) & FLAG.memfd) !== 0,
  };
}
