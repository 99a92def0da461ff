/**
 * Fills the process table with the processes that are alive now, so that those older than the programs have an
 * executable and ancestors too. To be called once the programs are attached, so that none falls between.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { listKernelFolder } from "./kernel-files.ts";
import { readStartTicks } from "./process-identity.ts";
import { type ProcessTable, readLiveExe } from "./process-table.ts";

/** Processes read between two turns of the event loop. */
const PROCESSES_PER_TURN = 64;

export async function seedProcessTable(table: ProcessTable): Promise<void> {
  const pids = (listKernelFolder("/proc") ?? []).filter((name) => /^[1-9][0-9]*$/.test(name)).map(
    Number,
  );
  for (const [place, pid] of pids.entries()) {
    if (place % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
    const ticks = readStartTicks(pid);
    if (ticks === undefined) continue;
    table.seed(pid, ticks, readLiveExe(pid, ticks));
  }
}
