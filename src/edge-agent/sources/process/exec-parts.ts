/**
 * Where the parts of an exec's record lie.
 *
 * Invariant: parts that were found add up to the record, and hold as many ancestors as it claims; what does not is no
 * exec.
 */
import { u16, u32 } from "../../decode-record.ts";
import { ANCESTOR, ANCESTOR_BYTES, ANCESTORS_MAX, EXEC, EXEC_MARK } from "../../record-layout.ts";
import type { RecordMemory } from "../../ring-buffer.ts";

/** Where the parts of a record's tail begin, in bytes; each ends where the next begins. */
export interface ExecParts {
  readonly ancestorCount: number;
  readonly ancestorsFrom: number;
  readonly exeFrom: number;
  readonly cwdFrom: number;
  readonly scriptFrom: number;
  readonly ancestorNamesFrom: number;
  readonly envFrom: number;
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
  const ancestorCount = u32(words, offset + EXEC.ancestor_count);
  const ancestorsFrom = offset + EXEC.tail;
  const exeFrom = ancestorsFrom + ancestorCount * ANCESTOR_BYTES;
  const recordEnd = offset + length;
  if (ancestorCount > ANCESTORS_MAX || exeFrom > recordEnd) return undefined;
  const cwdFrom = exeFrom + u16(words, offset + EXEC.exe_length);
  const scriptFrom = cwdFrom + u16(words, offset + EXEC.cwd_length);
  const ancestorNamesFrom = scriptFrom + u16(words, offset + EXEC.script_length);
  let envFrom = ancestorNamesFrom;
  for (let at = ancestorsFrom; at < exeFrom; at += ANCESTOR_BYTES) {
    envFrom += u16(words, at + ANCESTOR.name_length);
  }
  const argvFrom = envFrom + u32(words, offset + EXEC.env_length);
  const end = argvFrom + u32(words, offset + EXEC.argv_length);
  const isPadded = (u32(words, offset + EXEC.marks) & EXEC_MARK.padded) !== 0;
  if (isPadded ? end > recordEnd : end !== recordEnd) return undefined;
  return {
    ancestorCount,
    ancestorsFrom,
    exeFrom,
    cwdFrom,
    scriptFrom,
    ancestorNamesFrom,
    envFrom,
    argvFrom,
    end,
  };
}
