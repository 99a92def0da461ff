/**
 * Fills the process table with the processes that are alive now, so that those older than the programs have an
 * executable and ancestors too. To be called once the programs are attached, so that none falls between.
 *
 * Invariant: what records have told of a process is never overwritten by what is seen later.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { KernelContext } from "./kernel-context.ts";
import { kernelFileIdentity, listKernelFolder } from "./kernel-files.ts";
import { readStartTicks } from "./process-identity.ts";
import { learnSnapshot, type SnapshotContext } from "./process-snapshot.ts";
import { takeSnapshot } from "./process-iterator.ts";
import { readLiveExe } from "./live-executable.ts";
import type { ProcessEntry, ProcessTable } from "./process-table.ts";

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
    const known = isSnapshotTaken ? table.newestOf(pid) : undefined;
    if (known !== undefined) noteFile(table, known);
    if (known !== undefined) continue;
    if (place % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
    const ticks = readStartTicks(pid);
    if (ticks === undefined) continue;
    table.seed(pid, ticks, { exe: readLiveExe(pid, ticks) });
  }
}

/** Which file it executes: those that it forks later execute the same until they execute another. */
function noteFile(table: ProcessTable, entry: ProcessEntry): void {
  const [image, second] = entry.images;
  if (image === undefined || image.inode !== undefined || second !== undefined) return;
  const file = kernelFileIdentity(`/proc/${entry.pid}/exe`);
  if (file === undefined || readStartTicks(entry.pid) !== entry.startTicks) return;
  entry.images = [{ ...image, inode: Number(file.inode), device: file.device }];
  entry.seededNs = table.nowNs();
}
