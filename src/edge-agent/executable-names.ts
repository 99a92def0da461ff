/**
 * Paths of executables by inode and device, as exec records gave them: the kernel's token buckets know no more.
 *
 * Invariant: bounded; the names that were noted longest ago go first.
 */
import { kindOf, u32, u64 } from "./decode-record.ts";
import type { LocatedRecord } from "./line-decoder.ts";
import { EXEC, KIND } from "./record-layout.ts";

/** Executables remembered. */
const EXECUTABLES_MAX = 4096;

export interface ExecutableNames {
  /** Whether the name is known: then it need not be noted. */
  has(inode: number, device: number): boolean;
  note(exe: string, inode: number, device: number): void;
  nameOf(inode: number, device: number): string | undefined;
}

export function createExecutableNames(): ExecutableNames {
  const names = new Map<string, string>();
  return {
    has: (inode, device) => names.has(`${inode} ${device}`),
    note(exe, inode, device) {
      const [oldest] = names.keys();
      if (names.size >= EXECUTABLES_MAX && oldest !== undefined) names.delete(oldest);
      names.set(`${inode} ${device}`, exe);
    },
    nameOf: (inode, device) => names.get(`${inode} ${device}`),
  };
}

/** The executable that a line names. */
export function executableInLine(line: string): string | undefined {
  // A quote inside a string has a backslash before it: the first is the column.
  const quoted = /(?:^|,)"exe":("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
  return quoted === undefined ? undefined : String(JSON.parse(quoted));
}

/** Notes the executable of an exec; other records are passed over. */
export function noteExecutable(
  executables: ExecutableNames,
  { record, line }: { readonly record: LocatedRecord; readonly line: string },
): void {
  const { memory, offset, length } = record;
  if (kindOf(memory, offset, length) !== KIND.exec) return;
  const inode = u64(memory.words, offset + EXEC.inode);
  const device = u32(memory.words, offset + EXEC.device);
  if (executables.has(inode, device)) return;
  const exe = executableInLine(line);
  if (exe !== undefined) executables.note(exe, inode, device);
}
