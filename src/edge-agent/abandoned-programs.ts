/**
 * Programs of agents that will not come back: pinned ones outlive their agent by design, and an agent whose data folder
 * was removed has nothing to come back to. Left alone they would cost every system call of the host until it restarts.
 *
 * Invariants: only programs that name their data folder are looked at; they are ended only when that folder is gone and
 * none of the processes that they were told are their own is alive. Nothing is guessed from names or ages.
 */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../runtime/log.ts";
import { BPF_FOLDER } from "./bpf-filesystem.ts";
import { listKernelFolder } from "./kernel-files.ts";
import type { Libbpf } from "./libbpf.ts";
import { removePinFolder } from "./pinned-programs.ts";
import { readStartTicks } from "./process-identity.ts";
import { decodeOwner, decodeSettings } from "./program-settings.ts";
import { OWNER_BYTES, SETTINGS_BYTES } from "./record-layout.ts";

/** Ends abandoned programs in the folders beside `pinFolder`. Called once by each source that starts. */
export function removeAbandoned(libbpf: Libbpf, pinFolder: string, log: Log): void {
  if (dirname(pinFolder) !== BPF_FOLDER) return;
  for (const name of listKernelFolder(BPF_FOLDER) ?? []) {
    const folder = `${BPF_FOLDER}/${name}`;
    if (!name.startsWith("probity") || folder === pinFolder) continue;
    const sets = listKernelFolder(folder) ?? [];
    if (sets.length === 0 || !sets.every((set) => isAbandoned(libbpf, `${folder}/${set}`))) {
      continue;
    }
    try {
      removePinFolder(folder);
    } catch (error) {
      // Another user's: whoever is not root leaves them to root.
      log.warn("cannot end programs whose data folder is gone", { folder, error: String(error) });
      continue;
    }
    log.info("ended programs whose data folder is gone", { folder });
  }
}

function isAbandoned(libbpf: Libbpf, folder: string): boolean {
  const owner = readPinned(libbpf, `${folder}/map_owner`, OWNER_BYTES);
  const settings = readPinned(libbpf, `${folder}/map_settings`, SETTINGS_BYTES);
  if (owner === undefined || settings === undefined) return false;
  const dataFolder = decodeOwner(owner);
  const { ownProcesses } = decodeSettings(new DataView(settings.buffer));
  return dataFolder !== "" && !existsSync(dataFolder) &&
    ownProcesses.every(({ pid, startTicks }) => readStartTicks(pid) !== startTicks);
}

/** The first value of a pinned array; undefined when there is none. */
function readPinned(libbpf: Libbpf, path: string, sizeBytes: number): Uint8Array | undefined {
  const fd = libbpf.bpf_obj_get(path);
  if (fd < 0) return undefined;
  const value = new Uint8Array(sizeBytes);
  const result = libbpf.bpf_map_lookup_elem(fd, new Uint8Array(4), value);
  libbpf.close(fd);
  return result < 0 ? undefined : value;
}
