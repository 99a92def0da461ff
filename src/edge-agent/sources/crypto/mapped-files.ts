/**
 * Files that processes have mapped to be executed, as /proc tells them, and one of them opened as the process has it,
 * whatever mount namespace it is in.
 *
 * Invariant: a file is opened by its mapping, never by its path: another namespace gives that path to another file.
 */
import { textOfBinary } from "../../byte-text.ts";
import { listKernelFolder, readKernelBytes } from "../../kernel-files.ts";
import { type Libc, O_NONBLOCK, O_RDONLY } from "../../libc.ts";

/** Of one process: far more than any has, and a bound for hostile ones. */
const MAPS_BYTES_MAX = 16 * 1024 * 1024;
/** `start-end perms offset major:minor inode path`. */
const MAPPING =
  /^0*([0-9a-f]+)-0*([0-9a-f]+) ..x. [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) ([0-9]+) +(.*)$/gm;
const DELETED = " (deleted)";

export interface ExecutableMapping {
  /** `major:minor` of the superblock, decimal. */
  readonly device: string;
  readonly inode: number;
  /** As the process would name it; what is not UTF-8 is escaped. */
  readonly path: string;
  /** Its name below /proc/PID/map_files. */
  readonly name: string;
}

/** Mappings of files that a process may execute; undefined when it is gone, or cannot be asked. */
export function executableMappings(pid: number): readonly ExecutableMapping[] | undefined {
  const bytes = readKernelBytes(`/proc/${pid}/maps`, MAPS_BYTES_MAX);
  return bytes === undefined ? undefined : parseMappings(bytes);
}

export function parseMappings(bytes: Buffer): readonly ExecutableMapping[] {
  const mappings: ExecutableMapping[] = [];
  for (const found of bytes.toString("latin1").matchAll(MAPPING)) {
    const [, start = "", end = "", major = "", minor = "", inode = "", path = ""] = found;
    if (inode === "0" || !path.startsWith("/")) continue;
    mappings.push({
      device: `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}`,
      inode: Number(inode),
      path: textOfBinary(path.endsWith(DELETED) ? path.slice(0, -DELETED.length) : path).text,
      name: `${start}-${end}`,
    });
  }
  return mappings;
}

/** A descriptor, or a negative errno. */
export function openMapping(
  { open }: Pick<Libc, "open">,
  pid: number,
  { name }: Pick<ExecutableMapping, "name">,
): number {
  return open(`/proc/${pid}/map_files/${name}`, O_RDONLY | O_NONBLOCK);
}

/** Processes that there are. */
export function livingProcesses(): readonly number[] {
  return (listKernelFolder("/proc") ?? []).filter((name) => /^[1-9][0-9]*$/.test(name)).map(Number);
}
