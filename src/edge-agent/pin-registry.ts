/**
 * Which pin folder belongs to which data folder. Programs outlive their agent, and on purpose; those of an agent whose
 * data folder is gone would run for nobody, and cost the host until its next start. The next agent removes them.
 *
 * Invariants: the registry lives as long as pins do (/run and the BPF filesystem are both empty after a start); pins
 * are removed only while their folder's lock is held, so never those of a running agent.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Log } from "../runtime/log.ts";
import { listKernelFolder, lockKernelPath, removeKernelFolder } from "./kernel-files.ts";
import { removePins } from "./pinned-programs.ts";

export const PIN_REGISTRY_FOLDER = "/run/probity/pins";

/** Whose programs a folder holds. */
export interface PinOwner {
  readonly pinFolder: string;
  readonly dataFolder: string;
}

export interface PinRegistryOptions {
  readonly log: Log;
  /** {@link PIN_REGISTRY_FOLDER} by default. */
  readonly folder?: string;
}

/** Notes an owner, then removes the programs of those whose data folders are gone. Only logs what it cannot do. */
export function keepPinRegistry(own: PinOwner, options: PinRegistryOptions): void {
  const { log, folder = PIN_REGISTRY_FOLDER } = options;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, basename(own.pinFolder)), JSON.stringify(own), { mode: 0o600 });
    for (const name of readdirSync(folder)) removeAbandoned(join(folder, name), log);
  } catch (error) {
    log.warn("cannot look for programs that nobody reads", { error: String(error) });
  }
}

function removeAbandoned(note: string, log: Log): void {
  const owner = parseOwner(readFileSync(note, "utf8"));
  if (owner !== undefined && existsSync(owner.dataFolder)) return;
  if (owner !== undefined && listKernelFolder(owner.pinFolder) !== undefined) {
    using lock = lockKernelPath(owner.pinFolder);
    if (lock === undefined) return;
    for (const name of listKernelFolder(owner.pinFolder) ?? []) {
      removePins(join(owner.pinFolder, name));
    }
    removeKernelFolder(owner.pinFolder);
    log.info("removed programs of an agent whose data folder is gone", { ...owner });
  }
  rmSync(note);
}

function parseOwner(text: string): PinOwner | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // Cut by a crash: its agent writes it anew.
  }
  if (typeof value !== "object" || value === null) return undefined;
  if (!("pinFolder" in value) || !("dataFolder" in value)) return undefined;
  const { pinFolder, dataFolder } = value;
  if (typeof pinFolder !== "string" || typeof dataFolder !== "string") return undefined;
  return { pinFolder, dataFolder };
}
