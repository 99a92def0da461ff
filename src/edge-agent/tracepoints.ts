/**
 * Programs on the tracepoints of single system calls, which are attached through a perf event: the event's number
 * stands in the trace filesystem.
 *
 * Invariant: a tracepoint that the kernel lacks (arm64 has no open(2), only openat(2)) is no error; a trace filesystem
 * that is missing is one.
 */
import { execFileSync } from "node:child_process";
import { isKernelPath, readKernelText } from "./kernel-files.ts";
import type { Libbpf } from "./libbpf.ts";

/** Where the filesystem belongs. */
export const TRACE_FOLDER = "/sys/kernel/tracing";
const MOUNT_TIMEOUT_MS = 10_000;

/** Mounts the trace filesystem when it is missing. Throws when it cannot be had. */
export function requireTraceFolder(): void {
  if (isKernelPath(`${TRACE_FOLDER}/events`)) return;
  try {
    execFileSync("mount", ["-t", "tracefs", "tracefs", TRACE_FOLDER], {
      timeout: MOUNT_TIMEOUT_MS,
      stdio: ["ignore", "ignore", "pipe"],
    });
  } catch (cause) {
    if (isKernelPath(`${TRACE_FOLDER}/events`)) return; // Another process was quicker.
    throw new Error(`Cannot mount the trace filesystem at "${TRACE_FOLDER}"`, { cause });
  }
}

/** Whether the kernel has a tracepoint, such as `io_uring/io_uring_complete`. */
export function hasTracepoint(name: string): boolean {
  return isKernelPath(`${TRACE_FOLDER}/events/${name}`);
}

/** Tracepoints that a section names: `tracepoint/syscalls/sys_exit_{open,openat}`, or one without braces. */
export function tracepointsOf(section: string): readonly string[] {
  const found = /^tracepoint\/([^{]*)\{?([^}]*)\}?(.*)$/.exec(section);
  const [, before = "", calls = "", after = ""] = found ?? [];
  return calls.split(",").map((call) => `${before}${call}${after}`);
}

/**
 * Attaches a loaded program to one tracepoint, such as `syscalls/sys_exit_openat`. A descriptor of the link, or a
 * negative errno; undefined when the kernel has no such tracepoint.
 */
export function attachTracepoint(
  libbpf: Libbpf,
  { tracepoint, programFd }: { readonly tracepoint: string; readonly programFd: number },
): number | undefined {
  const id = Number(readKernelText(`${TRACE_FOLDER}/events/${tracepoint}/id`) ?? "");
  if (id === 0) return undefined;
  keep(libbpf, id);
  const event = libbpf.perf_event_open_tracepoint(id);
  if (event < 0) return event;
  const link = libbpf.bpf_link_create_perf(programFd, event);
  libbpf.close(event); // The link holds it.
  return link;
}

/** An event of each tracepoint ever used by this process: the last one's end would cost its caller 70 ms. */
const kept = new Set<number>();

function keep(libbpf: Libbpf, id: number): void {
  if (!kept.has(id) && libbpf.perf_event_open_tracepoint(id) >= 0) kept.add(id);
}
