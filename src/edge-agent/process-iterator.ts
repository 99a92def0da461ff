/**
 * Reads the kernel's list of processes through an iterator (bpf/snapshot.bpf.c): loaded, pinned, read like a file, and
 * taken away again.
 *
 * Invariant: nothing stays in the kernel; a kernel that refuses is no error, there is just no snapshot.
 */
import { makeKernelFolder, readKernelBytes } from "./kernel-files.ts";
import type { Libbpf } from "./libbpf.ts";
import { removePins } from "./pinned-programs.ts";
import { loadProgramObject } from "./program-object.ts";

/** Longest snapshot, in bytes: some 250,000 processes. */
const SNAPSHOT_BYTES_MAX = 64 * 1024 * 1024;
/** Ring of an object that writes to none: the smallest. */
const NO_RING_BYTES = 4096;
const LINK = "link_btf_task";

/** Records (`struct probity_snapshot`), one after the other; undefined when the kernel, or a right, does not allow it. */
export function takeSnapshot(libbpf: Libbpf, pinFolder: string): Buffer | undefined {
  const folder = `${pinFolder}/snapshot`;
  try {
    removePins(folder); // Of an agent that was killed while it read.
    using object = loadProgramObject(libbpf, {
      family: "snapshot",
      variant: "tp_btf",
      ringBytes: NO_RING_BYTES,
    });
    object.attach();
    makeKernelFolder(folder);
    try {
      object.pin(folder);
      return readKernelBytes(`${folder}/${LINK}`, SNAPSHOT_BYTES_MAX);
    } finally {
      removePins(folder);
    }
  } catch {
    return undefined; // Whoever needs the processes reads /proc then.
  }
}
