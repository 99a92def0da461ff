/**
 * What a live process executes, from /proc, in the words of records.
 *
 * Invariant: what is said is of the process with the start asked for, never of one that has its pid by now.
 */
import { jsonInner } from "./decode-text.ts";
import { readKernelLink } from "./kernel-files.ts";
import { readProcText, readStartTicks } from "./process-identity.ts";

/**
 * Executable of a live process, from /proc, as the inside of a JSON string; undefined when it is gone, another one, or
 * has none; or when it has another comm than is given: with each exec the kernel sets that anew.
 */
export function readLiveExe(pid: number, startTicks: number, comm?: string): string | undefined {
  if (readStartTicks(pid) !== startTicks) return undefined;
  const link = readKernelLink(`/proc/${pid}/exe`);
  // After the link: what was executed in between shows.
  if (comm !== undefined && readProcText(pid, "comm") !== `${comm}\n`) return undefined;
  return link === undefined ? undefined : jsonInner(exeOfLink(link));
}

/** Path that /proc/<pid>/exe names, as records give it: without the marks for deleted files and memfds. */
export function exeOfLink(link: string): string {
  return link.replace(/ \(deleted\)$/, "").replace(/^\/memfd:/, "memfd:");
}
