/** Runs of token buckets in words: who reached which limit, and when. */
import type { ThrottleNotice } from "./buckets.ts";
import { classNameOf } from "./class-counters.ts";
import type { KernelContext } from "./kernel-context.ts";
import { WORD } from "./decode-record.ts";
import { ticksOf } from "./process-identity.ts";
import { readLiveExe } from "./live-executable.ts";
import type { Throttling } from "./source.ts";

/** What the notice says, with the names that the process table knows. */
export function describeThrottling(
  context: KernelContext,
  { family, notice }: { readonly family: string; readonly notice: ThrottleNotice },
): Throttling {
  const { phase, bucket } = notice;
  const { scope, id, pid, beyond, samples } = bucket;
  const kind = classNameOf(family, bucket.place);
  const names = scope === "cgroup" ? context.cgroupNames(id, pid) : undefined;
  return {
    phase,
    scope,
    kind,
    exe: executableOf(context, { ...bucket, kind }),
    id,
    container: names?.container,
    unit: names?.unit,
    pid,
    fromUs: wallUs(context, bucket.fromNs),
    toUs: wallUs(context, bucket.lastNs),
    beyond,
    samples,
  };
}

/**
 * By the inode as exec records named it. Else by the process, if it is one whose exec was not what was withheld: what the
 * process table knows of it, or /proc.
 */
function executableOf(
  { executables, processes }: KernelContext,
  { scope, id, device, pid, startNs, fromNs, kind }: ThrottleNotice["bucket"] & {
    readonly kind: string;
  },
): string | undefined {
  const named = scope === "executable" ? executables.nameOf(id, device) : undefined;
  if (named !== undefined || kind === "exec") return named;
  const ticks = ticksOf(startNs % WORD, Math.floor(startNs / WORD));
  const inner = processes.peek(pid, ticks)?.imageAt(fromNs).exe ?? readLiveExe(pid, ticks);
  return inner === undefined ? undefined : String(JSON.parse(`"${inner}"`));
}

function wallUs({ bootClock }: KernelContext, timeNs: number): number {
  return bootClock.wallUs(timeNs % WORD, Math.floor(timeNs / WORD));
}
