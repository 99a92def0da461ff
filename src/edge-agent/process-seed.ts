/**
 * Fills the process table with the processes that are alive now, so that those older than the programs have an
 * executable and ancestors too. To be called once the programs are attached, so that none falls between.
 *
 * Invariant: what records have told of a process is never overwritten by what is seen later.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { KernelContext } from "./kernel-context.ts";
import { listKernelFolder } from "./kernel-files.ts";
import { readStartTicks } from "./process-identity.ts";
import { learnSnapshot, type SnapshotContext } from "./process-snapshot.ts";
import { takeSnapshot } from "./process-iterator.ts";
import { type ProcessTable, readLiveExe } from "./process-table.ts";

/** Processes read between two turns of the event loop. */
const PROCESSES_PER_TURN = 64;

/**
 * By the kernel's own list, and by /proc what that did not show. `pinFolder`: where the iterator is pinned for a moment.
 */
export async function seedProcessTable(
  context: SnapshotContext & Pick<KernelContext, "libbpf">,
  pinFolder: string,
): Promise<"iterator" | "proc"> {
  const snapshot = context.libbpf === undefined
    ? undefined
    : takeSnapshot(context.libbpf, pinFolder);
  const isSeen = snapshot !== undefined && learnSnapshot(context, snapshot) > 0;
  await seedFromProc(context.processes, { isSnapshotTaken: isSeen });
  return isSeen ? "iterator" : "proc";
}

async function seedFromProc(
  table: ProcessTable,
  { isSnapshotTaken }: { readonly isSnapshotTaken: boolean },
): Promise<void> {
  const pids = (listKernelFolder("/proc") ?? []).filter((name) => /^[1-9][0-9]*$/.test(name)).map(
    Number,
  );
  for (const [place, pid] of pids.entries()) {
    if (isSnapshotTaken && table.newestOf(pid) !== undefined) continue;
    if (place % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
    const ticks = readStartTicks(pid);
    if (ticks === undefined) continue;
    table.seed(pid, ticks, { exe: readLiveExe(pid, ticks) });
  }
}
