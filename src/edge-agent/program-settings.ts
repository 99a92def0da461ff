/**
 * What programs are told while they run, as they read it (`struct probity_settings` in bpf/map-values.h).
 */
import { statSync } from "node:fs";
import process from "node:process";
import { readStartTicks } from "./process-identity.ts";
import { OWNER_BYTES, SETTINGS, SETTINGS_BYTES } from "./record-layout.ts";

/** Programs that do not take events yet. */
export const NEVER_NS = (1n << 63n) - 1n;

/** Probity's own processes, of which file events inside the data folder are filtered in the kernel and counted. */
export interface Ownership {
  /** Processes that count with their children: the agent itself, and whoever started everything; at most two. */
  readonly pids: readonly number[];
  readonly dataFolder: string;
}

/** What the programs are told; see `struct probity_settings`. */
export interface ProgramSettings {
  /** Boot times between which events are taken, ns; 0: no bound. */
  readonly fromNs: bigint;
  readonly untilNs: bigint;
  readonly ownProcesses: readonly { readonly pid: number; readonly startTicks: number }[];
  /** The data folder: its inode and the kernel's device number; 0: none. */
  readonly dataInode: bigint;
  readonly dataDevice: number;
  /** Its lowest bit names the rules in use (see rules.ts). */
  readonly generation: number;
}

/** Path of a data folder as it is noted with the programs; empty when it is too long. */
export function encodeOwner(ownership: Ownership | undefined): Uint8Array {
  const value = new Uint8Array(OWNER_BYTES);
  const path = new TextEncoder().encode(ownership?.dataFolder ?? "");
  if (path.length < OWNER_BYTES) value.set(path);
  return value;
}

export function decodeOwner(value: Uint8Array): string {
  return new TextDecoder().decode(value.subarray(0, value.indexOf(0)));
}

/** Settings without bounds of time. Throws when the data folder cannot be read. */
export function settingsFor(ownership: Ownership | undefined): ProgramSettings {
  if (ownership === undefined) return NO_OWNERSHIP;
  const stat = statSync(ownership.dataFolder, { bigint: true });
  const ownProcesses = ownership.pids.flatMap((pid) => {
    const startTicks = readStartTicks(pid);
    return startTicks === undefined ? [] : [{ pid, startTicks }];
  });
  return {
    ...NO_OWNERSHIP,
    ownProcesses,
    dataInode: stat.ino,
    dataDevice: kernelDevice(stat.dev),
  };
}

/** Settings of programs on trial: this process is Probity's own, and has no data folder. */
export function trialSettings(): Uint8Array {
  const startTicks = readStartTicks(process.pid);
  const ownProcesses = startTicks === undefined ? [] : [{ pid: process.pid, startTicks }];
  return encodeSettings({ ...NO_OWNERSHIP, ownProcesses });
}

const NO_OWNERSHIP: ProgramSettings = {
  fromNs: 0n,
  untilNs: 0n,
  ownProcesses: [],
  dataInode: 0n,
  dataDevice: 0,
  generation: 0,
};

/** A device number as stat gives it, in the kernel's own form: major << 20 | minor. */
export function kernelDevice(device: bigint): number {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn & 0xfffffn);
  return Number(((major << 20n) | minor) & 0xffffffffn);
}

export function encodeSettings(settings: ProgramSettings): Uint8Array {
  const view = new DataView(new ArrayBuffer(SETTINGS_BYTES));
  view.setBigUint64(SETTINGS.from_ns, settings.fromNs, true);
  view.setBigUint64(SETTINGS.until_ns, settings.untilNs, true);
  for (const [place, own] of settings.ownProcesses.slice(0, 2).entries()) {
    view.setBigUint64(SETTINGS.own_start_ticks + 8 * place, BigInt(own.startTicks), true);
    view.setUint32(SETTINGS.own_pid + 4 * place, own.pid, true);
  }
  view.setBigUint64(SETTINGS.data_inode, settings.dataInode, true);
  view.setUint32(SETTINGS.data_device, settings.dataDevice, true);
  view.setUint32(SETTINGS.generation, settings.generation, true);
  return new Uint8Array(view.buffer);
}

export function decodeSettings(view: DataView): ProgramSettings {
  const own = [0, 1].map((place) => ({
    pid: view.getUint32(SETTINGS.own_pid + 4 * place, true),
    startTicks: Number(view.getBigUint64(SETTINGS.own_start_ticks + 8 * place, true)),
  }));
  return {
    fromNs: view.getBigUint64(SETTINGS.from_ns, true),
    untilNs: view.getBigUint64(SETTINGS.until_ns, true),
    ownProcesses: own.filter(({ pid }) => pid !== 0),
    dataInode: view.getBigUint64(SETTINGS.data_inode, true),
    dataDevice: view.getUint32(SETTINGS.data_device, true),
    generation: view.getUint32(SETTINGS.generation, true),
  };
}
