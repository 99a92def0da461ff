/**
 * The identity of a process, stable over pid reuse: `<boot>-<pid>-<start>`, where boot is the first 8 hex characters of
 * /proc/sys/kernel/random/boot_id, and start the time at which the process started, in clock ticks (10 ms) since boot:
 * field 22 of /proc/<pid>/stat. Whoever has a shell on the host can compute it.
 */
import { readKernelText } from "./kernel-files.ts";

const TICK_NS = 10_000_000;
const WORD = 4294967296;
/** 2^32 ns in whole ticks and the rest. */
const WORD_REST = WORD % TICK_NS;

/** Clock ticks of a time in nanoseconds, given as its two 32-bit words; exact for 285 years. */
export function ticksOf(lowWord: number, highWord: number): number {
  const rest = ((highWord % TICK_NS) * WORD_REST) % TICK_NS;
  const wholeTicks = Math.round((highWord * WORD - rest) / TICK_NS);
  return wholeTicks + Math.floor((rest + lowWord) / TICK_NS);
}

export interface ProcessIds {
  /** First 8 hex characters of the boot id. */
  readonly boot: string;
  idOf(pid: number, startTicks: number): string;
}

export function createProcessIds(bootId: string): ProcessIds {
  const boot = bootId.replaceAll("-", "").slice(0, 8);
  return { boot, idOf: (pid, startTicks) => `${boot}-${pid}-${startTicks}` };
}

/** Boot id of the running kernel. Throws when /proc is not mounted. */
export function readBootId(): string {
  const text = readKernelText("/proc/sys/kernel/random/boot_id");
  if (text === undefined) throw new Error("Cannot read the boot id: is /proc mounted?");
  return text.trim();
}

/** Start of a live process in clock ticks; undefined when there is none. */
export function readStartTicks(pid: number): number | undefined {
  const text = readProcText(pid, "stat");
  if (text === undefined) return undefined;
  // comm, in parentheses, may hold anything: fields are counted from the last closing one.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[19]);
  return Number.isSafeInteger(ticks) ? ticks : undefined;
}

/** A file of /proc/<pid>; undefined when the process is gone or hidden. */
export function readProcText(pid: number, name: string): string | undefined {
  return readKernelText(`/proc/${pid}/${name}`);
}
