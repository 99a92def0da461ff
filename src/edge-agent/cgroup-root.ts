/**
 * The root of the host's cgroups (version 2): what is attached there sees the packets of every socket.
 *
 * Invariant: never a cgroup below it, which would show one container and look as if it showed all. Where no version 2
 * is mounted (it may be that nobody uses it), it is for a moment, so that it can be opened.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isKernelPath, openKernelFolder, readKernelText } from "./kernel-files.ts";

const MOUNT_TIMEOUT_MS = 10_000;

/** A descriptor, to be closed by the caller. Throws when the root cannot be had. */
export function openRootCgroup(): number {
  const mounted = cgroupMounts(readKernelText("/proc/self/mountinfo") ?? "");
  const root = mounted.find(isRoot);
  if (root !== undefined) return openKernelFolder(root);
  const folder = mkdtempSync(join(tmpdir(), "probity-cgroup-"));
  try {
    run("mount", ["-t", "cgroup2", "cgroup2", folder]);
    try {
      if (isRoot(folder)) return openKernelFolder(folder);
      throw new Error("Cannot open the root cgroup: this process is in a cgroup namespace");
    } finally {
      // The descriptor keeps what it needs.
      run("umount", ["--lazy", folder]);
    }
  } finally {
    rmdirSync(folder);
  }
}

/** Folders on which cgroups of version 2 are mounted, from the text of /proc/self/mountinfo (proc(5)). */
export function cgroupMounts(mountinfo: string): string[] {
  return mountinfo.split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const folder = before.split(" ")[4];
    return after.startsWith("cgroup2 ") && folder !== undefined ? [unescaped(folder)] : [];
  });
}

/** Every cgroup but the root has a type. */
function isRoot(folder: string): boolean {
  return isKernelPath(`${folder}/cgroup.procs`) && !isKernelPath(`${folder}/cgroup.type`);
}

/** Blank, tab, newline and backslash are in octal. */
function unescaped(text: string): string {
  return text.replace(
    /\\([0-7]{3})/g,
    (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

function run(command: string, parameters: readonly string[]): void {
  execFileSync(command, parameters, {
    timeout: MOUNT_TIMEOUT_MS,
    stdio: ["ignore", "ignore", "pipe"],
  });
}
