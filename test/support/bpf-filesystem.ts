/**
 * The BPF filesystem, for tests that make files in it: on a machine where no agent has run yet it is mounted, as an
 * agent mounts it, before the first test of a project starts. Each file doing so would hide the files of another.
 */
import { BPF_FOLDER, makePinFolder } from "../../src/edge-agent/bpf-filesystem.ts";

/** What Vitest calls once, in its own process. */
export function setup(): void {
  if (process.getuid?.() !== 0) return;
  try {
    makePinFolder(BPF_FOLDER);
  } catch (error) {
    process.stderr.write(`no BPF filesystem for tests: ${String(error)}\n`);
  }
}
