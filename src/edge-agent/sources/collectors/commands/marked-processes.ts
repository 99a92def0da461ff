/**
 * Processes that a run has left: whatever it starts bears the run's mark in its environment, also what makes a session of
 * its own. Whoever takes the mark away on purpose gets away: a mark is no prison.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { listKernelFolder, readKernelBytes } from "../../../kernel-files.ts";
import { loadProcessCalls, type ProcessCalls } from "../../../process-calls.ts";

export const RUN_VARIABLE = "PROBITY_RUN";
/** Who starts others faster than they are found is not followed for ever. */
const ROUNDS_MAX = 5;
/** Processes looked at between two turns of the event loop. */
const PROCESSES_PER_TURN = 32;
/** The kernel lets no process begin with more (a quarter of the largest stack, by default). */
const ENVIRONMENT_BYTES_MAX = 6 * 1024 * 1024;
const SIGKILL = 9;

/** Kills them; resolves with how many there were. */
export async function endMarked(mark: string): Promise<number> {
  let count = 0;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const found = await findMarked(mark);
    for (const pid of found) if (kill(pid)) count += 1;
    if (found.length === 0) break;
  }
  return count;
}

async function findMarked(mark: string): Promise<readonly number[]> {
  const sought = `\0${RUN_VARIABLE}=${mark}\0`;
  const pids = (listKernelFolder("/proc") ?? []).filter((name) => /^[1-9][0-9]*$/.test(name));
  const found: number[] = [];
  for (const [place, pid] of pids.entries()) {
    if (place % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
    // Those of other users cannot be read, nor can they be a run's.
    const environment = readKernelBytes(`/proc/${pid}/environ`, ENVIRONMENT_BYTES_MAX);
    if (`\0${environment?.toString("latin1") ?? ""}`.includes(sought)) found.push(Number(pid));
  }
  return found;
}

let calls: ProcessCalls | undefined;

/** False when it has ended. Deno lets nobody send signals who may not start every program, hence the C library's call. */
function kill(pid: number): boolean {
  calls ??= loadProcessCalls();
  return calls.kill(pid, SIGKILL) === 0;
}
