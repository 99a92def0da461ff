/**
 * Namespaces that every process has unless it was given others: those of the kernel's own threads. What equals them is
 * left out of events.
 *
 * Invariant: a namespace that is not known to be the initial one is told.
 */
import { u32 } from "./decode-record.ts";
import { readKernelLink } from "./kernel-files.ts";
import { IDS } from "./record-layout.ts";
import type { RecordMemory } from "./ring-buffer.ts";

/** Kinds by their names in /proc/<pid>/ns, and where a record's `struct probity_ids` has them. */
export const NAMESPACES = [
  ["pid", IDS.pid_namespace],
  ["mnt", IDS.mount_namespace],
  ["net", IDS.network_namespace],
  ["user", IDS.user_namespace],
  ["uts", IDS.uts_namespace],
  ["ipc", IDS.ipc_namespace],
  ["cgroup", IDS.cgroup_namespace],
] as const;

/** Numbers that the kernel gives its own on every machine (Linux, include/linux/proc_ns.h). */
const FIXED: Readonly<Record<string, number>> = {
  pid: 0xeffffffc,
  user: 0xeffffffd,
  uts: 0xeffffffe,
  ipc: 0xefffffff,
  cgroup: 0xeffffffb,
};

export interface InitialNamespaces {
  /** Takes those of a kernel thread from a record's `struct probity_ids`. */
  learn(memory: RecordMemory, ids: number): void;
  /** JSON members of the namespaces in a record's ids that are not the initial ones: `"net":4026532448,…`, or nothing. */
  others(memory: RecordMemory, ids: number): string;
}

/** Starts with what the kernel fixes, and /proc shows of its first thread. */
export function createInitialNamespaces(
  readLink: (path: string) => string | undefined = readKernelLink,
): InitialNamespaces {
  const initial = NAMESPACES.map(([kind]) =>
    FIXED[kind] ?? numberIn(readLink(`/proc/2/ns/${kind}`))
  );
  return {
    learn: ({ words }, ids) => {
      for (const [place, [, field]] of NAMESPACES.entries()) {
        initial[place] = u32(words, ids + field);
      }
    },
    others: ({ words }, ids) => {
      let members = "";
      for (let place = 0; place < NAMESPACES.length; place += 1) {
        const kind = NAMESPACES[place];
        if (kind === undefined) break;
        const number = u32(words, ids + kind[1]);
        // 0: a process on its way out has none any more.
        if (number === initial[place] || number === 0) continue;
        members += `${members === "" ? "" : ","}"${kind[0]}":${number}`;
      }
      return members;
    },
  };
}

/** Number in a link's text, `net:[4026531840]`; 0 when there is none. */
function numberIn(link: string | undefined): number {
  return Number(/\[([0-9]+)\]/.exec(link ?? "")?.[1] ?? 0);
}
