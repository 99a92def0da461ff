/**
 * Paths of executables by inode and device, as exec records gave them: the kernel's token buckets know no more.
 *
 * Invariant: bounded; the names that were noted longest ago go first.
 */

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
