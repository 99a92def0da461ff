/**
 * The `packages` source: what dpkg, rpm and apk have installed, and how it changes.
 *
 * Invariant: one manager that cannot be read does not hide the others.
 */
import type { SourceStatus } from "../../../source.ts";
import type { Collector } from "../collector.ts";
import { atIntervals } from "../differential.ts";
import { createDpkgDatabase } from "./dpkg-database.ts";
import { createApkDatabase, createRpmDatabase } from "./file-database.ts";
import { PackageDatabaseError } from "./installed.ts";

/** How often it is looked whether a database changed: a stat of each. */
export const PACKAGES_INTERVAL_MS = 5_000;

export interface PackagesCollectorOptions {
  /** Folder that stands for `/`. */
  readonly root?: string;
  readonly intervalMs?: number;
}

export function createPackagesCollector(options: PackagesCollectorOptions = {}): Collector {
  const { root = "/", intervalMs = PACKAGES_INTERVAL_MS } = options;
  const databases = [createDpkgDatabase(root), createRpmDatabase(root), createApkDatabase(root)];
  return {
    name: "packages",
    async probe(): Promise<SourceStatus> {
      const there: string[] = [];
      for (const database of databases) {
        if (await database.isThere()) there.push(database.manager);
      }
      if (there.length > 0) return { state: "on", how: there.join(", ") };
      return {
        state: "off",
        reason: "there is no database of dpkg, rpm or apk",
        remedy: "run the agent on the host itself, where packages are installed",
      };
    },
    async *collect(memory, context, signal) {
      for await (const _ of atIntervals(context.clock, intervalMs, signal)) {
        for (const database of databases) {
          try {
            yield* database.look(memory, context, signal);
          } catch (error) {
            if (signal.aborted) return;
            if (!(error instanceof PackageDatabaseError)) throw error;
            context.log.warn("packages cannot be read", { error: error.message });
            context.lost({ class: "unreadable", count: null, reason: error.message });
          }
        }
      }
    },
  };
}
