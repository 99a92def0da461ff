/**
 * Settings of the kernel (sysctl(8), /proc/sys), and events of those that differ.
 *
 * Invariants: what changes by itself is not among them; a setting that cannot be read, or not any more, is no change.
 */
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { AuditEvent } from "../../../../event/event.ts";
import { listKernelFolder, readKernelText } from "../../../kernel-files.ts";
import type { Difference } from "../differential.ts";

/** Folders below /proc/sys; each with all below it but what is left out. */
const FOLDERS = ["fs", "kernel", "user", "vm", "net/core", "net/ipv4", "net/ipv6", "net/netfilter"];
/** Counters and states; one of each interface and neighbour table, where `all` and `default` are told. */
const LEFT_OUT = [
  /^fs\.(?:aio-nr|dentry-state|file-nr|inode-nr|inode-state|quota\.)/,
  /^kernel\.(?:ns_last_pid|random\.|pty\.nr$|sched_domain\.|tainted$)/,
  /^net\.ipv[46]\.neigh\./,
  /^net\.ipv[46]\.conf\.(?!all\.|default\.)/,
  /^net\.netfilter\.nf_conntrack_count$/,
];
const VALUE_CHARACTERS_MAX = 1024;
const SETTINGS_MAX = 10_000;
/** Files that are read between two turns of the event loop. */
const FILES_PER_TURN = 64;
const DEPTH_MAX = 6;

/**
 * Values by name with dots, as sysctl spells them. `root` stands for `/`; `known` is what was read before: what is there
 * and cannot be read now is taken to be the same, so that a change meanwhile is seen when it can be read again.
 */
export async function readSettings(
  root: string,
  known: (name: string) => string | undefined,
): Promise<ReadonlyMap<string, string>> {
  const settings = new Map<string, string>();
  let read = 0;
  for (const path of FOLDERS.flatMap((folder) => filesIn(join(root, "proc/sys"), folder, 0))) {
    if (settings.size >= SETTINGS_MAX) break;
    const name = path.replaceAll("/", ".");
    if (LEFT_OUT.some((pattern) => pattern.test(name))) continue;
    const value = readValue(join(root, "proc/sys", path)) ?? known(name);
    if (value !== undefined) settings.set(name, value);
    read += 1;
    if (read % FILES_PER_TURN === 0) await nextTurn();
  }
  return settings;
}

export function settingEvents(
  { key, before, now }: Difference,
  timeUs: number,
): readonly AuditEvent[] {
  // It came or went with a module or an interface: nobody set it.
  if (before === undefined || now === undefined) return [];
  return [{
    timeUs,
    topic: "kernel/sysctl",
    severity: "info",
    outcome: "success",
    message: `The kernel's setting ${key} changed from ${quoted(before)} to ${quoted(now)}`,
    detail: { name: key, before, after: now, noticed: true },
  }];
}

/** What cannot be listed is a file, or tells nobody: then it cannot be read either. */
function filesIn(base: string, path: string, depth: number): readonly string[] {
  const names = depth > DEPTH_MAX ? [] : listKernelFolder(join(base, path));
  return names?.flatMap((name) => filesIn(base, `${path}/${name}`, depth + 1)) ?? [path];
}

/** Undefined: for root alone, or to be written only. */
function readValue(path: string): string | undefined {
  return readKernelText(path)?.trim().replaceAll(/\s+/g, " ").slice(0, VALUE_CHARACTERS_MAX);
}

function quoted(value: string): string {
  return JSON.stringify(value.slice(0, 100));
}
