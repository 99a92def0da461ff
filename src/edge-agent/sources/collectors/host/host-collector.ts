/**
 * The `host` source: kernel modules, settings of the kernel, mounted filesystems and listening ports, by comparison.
 *
 * Invariant: what cannot be read tells nothing, above all not that it is gone; a boot is not hidden: what differs from the
 * boot before is told.
 */
import { join } from "node:path";
import type { AuditEvent } from "../../../../event/event.ts";
import { readKernelText } from "../../../kernel-files.ts";
import type { SourceStatus } from "../../../source.ts";
import type { Collector } from "../collector.ts";
import { atIntervals, compare, type Difference } from "../differential.ts";
import { moduleEvents, parseModules } from "./kernel-modules.ts";
import { readSettings, settingEvents } from "./kernel-settings.ts";
import { listeningEvents, readListening } from "./listening-ports.ts";
import { mountEvents, parseMountInfo } from "./mounted.ts";

export const HOST_INTERVAL_MS = 30_000;

export interface HostCollectorOptions {
  /** Folder that stands for `/`. */
  readonly root?: string;
  readonly intervalMs?: number;
  /** Whether another source tells who begins to listen: then only what differs at the first look is told. */
  readonly portsToldBy?: "network" | "nobody";
}

type Known = (key: string) => string | undefined;

/** One kind of thing; nothing where the host has none. */
interface Part {
  readonly name: string;
  /** `known`: what was remembered under a key. */
  readonly read: (known: Known) => Promise<ReadonlyMap<string, string> | undefined>;
  readonly tell: (difference: Difference, timeUs: number) => readonly AuditEvent[];
  /** What happens from the first look on is another source's to tell; it is remembered. */
  readonly isToldOnce?: boolean;
}

export function createHostCollector(options: HostCollectorOptions = {}): Collector {
  const { root = "/", intervalMs = HOST_INTERVAL_MS, portsToldBy = "nobody" } = options;
  const parsed = (path: string, parse: (text: string) => ReadonlyMap<string, string>) => () => {
    const text = readKernelText(join(root, path));
    return Promise.resolve(text === undefined ? undefined : parse(text));
  };
  const parts: readonly Part[] = [
    { name: "modules", read: parsed("proc/modules", parseModules), tell: moduleEvents },
    {
      name: "settings",
      read: async (known) => {
        const settings = await readSettings(root, known);
        return settings.size === 0 ? undefined : settings;
      },
      tell: settingEvents,
    },
    { name: "mounts", read: parsed("proc/self/mountinfo", parseMountInfo), tell: mountEvents },
    {
      name: "ports",
      read: () => Promise.resolve(readListening(root)),
      tell: listeningEvents,
      isToldOnce: portsToldBy === "network",
    },
  ];
  return {
    name: "host",
    async probe(): Promise<SourceStatus> {
      const found: string[] = [];
      for (const { name, read } of parts) {
        const size = (await read(() => undefined))?.size;
        if (size !== undefined) found.push(`${size} ${name}`);
      }
      if (found.length > 0) return { state: "on", how: found.join(", ") };
      return { state: "off", reason: "/proc cannot be read", remedy: "mount /proc" };
    },
    async *collect(memory, { clock }, signal) {
      const told = new Set<string>();
      for await (const _ of atIntervals(clock, intervalMs, signal)) {
        for (const { name, read, tell, isToldOnce = false } of parts) {
          const snapshot = await read((key) => memory.get(`${name}:${key}`));
          if (snapshot === undefined) continue;
          const nowUs = clock.nowUs();
          yield* compare({
            memory,
            prefix: `${name}:`,
            snapshot,
            tell: (difference) => isToldOnce && told.has(name) ? [] : tell(difference, nowUs),
          });
          told.add(name);
        }
      }
    },
  };
}
