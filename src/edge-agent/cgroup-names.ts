/**
 * Container and systemd unit of a cgroup, from the path that /proc shows for a process in it.
 *
 * Invariants: each cgroup (version 2) is looked up once, through the first process seen in it; the cache is bounded.
 * The id of a cgroup is its inode and is not used again while the machine is up.
 */
import { readProcText } from "./process-identity.ts";

/** Cgroups remembered. */
const CGROUPS_MAX = 8192;
/** Id of the root cgroup: no container, no unit. */
const ROOT_ID = 1;

export interface CgroupNames {
  readonly container: string | undefined;
  readonly unit: string | undefined;
}

const NONE: CgroupNames = { container: undefined, unit: undefined };

/** A function from a cgroup id, and a process in it, to names. */
export function createCgroupNames(
  read: (pid: number) => string | undefined = (pid) => readProcText(pid, "cgroup"),
): (cgroupId: number, pid: number) => CgroupNames {
  const known = new Map<number, CgroupNames>();
  return (cgroupId, pid) => {
    if (cgroupId <= ROOT_ID) return NONE;
    const found = known.get(cgroupId);
    if (found !== undefined) return found;
    const text = read(pid);
    if (text === undefined) return NONE;
    if (known.size >= CGROUPS_MAX) known.clear();
    const names = namesOfCgroup(text);
    known.set(cgroupId, names);
    return names;
  };
}

/** Names in the text of /proc/<pid>/cgroup: a container's 64 hex digits, and the innermost unit. */
export function namesOfCgroup(text: string): CgroupNames {
  const line = text.split("\n").find((each) => each.startsWith("0::"));
  if (line === undefined) return NONE;
  const segments = line.slice(3).split("/");
  return {
    container: segments.map((each) => /([0-9a-f]{64})/.exec(each)?.[1]).findLast(Boolean),
    unit: segments.findLast((each) => /^[A-Za-z0-9:_.\\@-]+\.(service|scope)$/.test(each)),
  };
}
