/**
 * The BPF filesystem, in which programs outlive the process that loaded them.
 */
import { execFileSync } from "node:child_process";
import { dirname } from "node:path";
import { filesystemMagic, isKernelPath, makeKernelFolder } from "./kernel-files.ts";

/** Where the filesystem belongs; only there is it mounted when it is missing. */
export const BPF_FOLDER = "/sys/fs/bpf";
const BPF_MAGIC = 0xcafe4a11;
const MOUNT_TIMEOUT_MS = 10_000;

/** Makes a folder below the BPF filesystem, which is mounted when it is missing. Throws when that is not possible. */
export function makePinFolder(folder: string): void {
  const existing = nearestExisting(folder);
  if (!isBpf(existing) && (folder === BPF_FOLDER || folder.startsWith(`${BPF_FOLDER}/`))) {
    // Without a mode any user of the host could make folders in it, under the names that agents look for.
    execFileSync("mount", ["-t", "bpf", "-o", "mode=0700", "bpf", BPF_FOLDER], {
      timeout: MOUNT_TIMEOUT_MS,
      stdio: ["ignore", "ignore", "pipe"],
    });
  }
  if (!isBpf(nearestExisting(folder))) {
    throw new Error(`Cannot pin programs in "${folder}": not on a BPF filesystem`);
  }
  makeKernelFolder(folder);
}

function nearestExisting(folder: string): string {
  return isKernelPath(folder) ? folder : nearestExisting(dirname(folder));
}

function isBpf(folder: string): boolean {
  return filesystemMagic(folder) === BPF_MAGIC;
}
