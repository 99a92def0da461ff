/**
 * What a snapshot of the kernel's processes teaches the process table: who is there, with which executable and rights.
 *
 * Invariants: nothing is read outside a record; what cannot be a record ends the reading, and what came before it stays.
 */
import { kindOf, u16, u32 } from "./decode-record.ts";
import type { KernelContext } from "./kernel-context.ts";
import { createDecoderContext } from "./line-decoder.ts";
import { soleUidIn } from "./process-certainty.ts";
import { ticksOf } from "./process-identity.ts";
import { HEADER, KIND, SNAPSHOT } from "./record-layout.ts";
import { recordMemory } from "./ring-buffer.ts";

/** What a snapshot is learned into. */
export type SnapshotContext = Pick<
  KernelContext,
  | "processes"
  | "userNames"
  | "cgroupNames"
  | "peerNames"
  | "redactor"
  | "initialNamespaces"
>;

const ALIGNMENT = 8;
/** The first kernel thread: its namespaces are the initial ones. */
const KTHREADD_PID = 2;

/** Learns records that lie one after the other (`struct probity_snapshot`); how many there were. */
export function learnSnapshot(context: SnapshotContext, records: Uint8Array): number {
  const copy = new ArrayBuffer(Math.ceil(records.length / ALIGNMENT) * ALIGNMENT);
  new Uint8Array(copy).set(records);
  const memory = recordMemory(copy, 0);
  const { words, bytes } = memory;
  const { actors, text } = createDecoderContext(context);
  let count = 0;
  for (let offset = 0; offset + SNAPSHOT.exe <= records.length; count += 1) {
    const length = u32(words, offset + HEADER.length);
    const exeFrom = offset + SNAPSHOT.exe;
    const exeEnd = exeFrom + u16(words, offset + SNAPSHOT.exe_length);
    const isWhole = length % ALIGNMENT === 0 && offset + length <= records.length &&
      kindOf(memory, offset, length) === KIND.snapshot && exeEnd <= offset + length;
    if (!isWhole) break;
    const pid = u32(words, offset + HEADER.pid);
    const start = offset + HEADER.start_ns;
    text.isEscaped = false;
    const exe = exeEnd === exeFrom ? undefined : text.json(bytes, exeFrom, exeEnd);
    const ticks = ticksOf(u32(words, start), u32(words, start + 4));
    context.processes.seed(pid, ticks, {
      exe,
      isEscaped: text.isEscaped,
      execId: u16(words, offset + HEADER.exec_id),
      soleUid: soleUidIn(memory, offset + SNAPSHOT.ids),
    });
    // Who it is, too: it may end before it does anything else.
    if (context.processes.peek(pid, ticks)?.actor === undefined) actors.of(memory, offset);
    if (pid === KTHREADD_PID) context.initialNamespaces.learn(memory, offset + SNAPSHOT.ids);
    offset += length;
  }
  return count;
}
