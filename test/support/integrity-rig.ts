/** The source of file integrity with the source of names that it listens to, over one data folder, started and stopped. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCreatedFiles } from "../../src/edge-agent/created-files.ts";
import type { ProcessLookup } from "../../src/edge-agent/process-lookup.ts";
import { contentKinds } from "../../src/edge-agent/sources/file-integrity/content-kinds.ts";
import type { InodeHook } from "../../src/edge-agent/sources/file-integrity/inode-hook.ts";
import {
  createIntegritySource,
  type IntegritySource,
} from "../../src/edge-agent/sources/file-integrity/integrity-source.ts";
import type { FileKind } from "../../src/edge-agent/sources/file-integrity/kinds/file-kind.ts";
import type { WatchPolicies } from "../../src/edge-agent/sources/file-integrity/watch-policies.ts";
import { createFilesystemSource } from "../../src/edge-agent/sources/filesystem/filesystem-source.ts";
import { createNameFeed } from "../../src/edge-agent/sources/filesystem/name-feed.ts";
import type { RingPosition } from "../../src/producer/producer.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { testLog } from "./ring-sources.ts";
import { type Line, runSource, type SourceRun, type WaitOptions } from "./source-run.ts";

/** Every process is known by its pid alone. */
export const plainProcesses: ProcessLookup = {
  catchUp: () => undefined,
  actorOf: (pid) => ({ columns: `"pid":${pid},`, name: `process ${pid}`, escaped: [] }),
  ancestorsOf: () => [],
  isOwn: () => false,
};

export interface IntegrityRigOptions {
  /** `<folder>/**` or whole paths. */
  readonly paths: readonly string[];
  readonly kind?: FileKind;
  readonly processes?: ProcessLookup;
  readonly packageRoot?: string;
  /** A temporary folder by default. */
  readonly dataDirectory?: string;
  readonly openHook?: () => Promise<InodeHook | undefined>;
}

export interface IntegrityRig extends AsyncDisposable {
  readonly dataDirectory: string;
  /** Of all runs. */
  readonly lines: readonly Line[];
  /** Resolves when everything was compared once. */
  start(): Promise<IntegritySource>;
  stop(): Promise<void>;
  waitFor(want: (line: Line) => boolean, options: WaitOptions): Promise<readonly Line[]>;
}

const SETTLE_LIMIT_MS = 20_000;

/** Paths with `/**` at their end, and whole ones. */
export function plainPolicies(paths: readonly string[], kind: FileKind): WatchPolicies {
  const folders = paths.filter((path) => path.endsWith("/**")).map((path) => path.slice(0, -2));
  return {
    kindOf: (path) =>
      paths.includes(path) || folders.some((folder) => path.startsWith(folder)) ? kind : undefined,
    mayContain: (directory) =>
      folders.some((folder) =>
        `${directory}/`.startsWith(folder) || folder.startsWith(`${directory}/`)
      ),
    roots: paths.map((path) => path.replace(/\/\*\*$/, "")),
    text: JSON.stringify({ paths, kind }),
    rulesText: JSON.stringify({ kind }),
  };
}

export function openIntegrityRig(options: IntegrityRigOptions): IntegrityRig {
  const dataDirectory = options.dataDirectory ??
    mkdtempSync(join(tmpdir(), "probity-integrity-"));
  mkdirSync(dataDirectory, { recursive: true });
  const policies = plainPolicies(options.paths, options.kind ?? "content-diff");
  const lines: Line[] = [];
  let position: RingPosition | undefined;
  let source: IntegritySource | undefined;
  let runs: SourceRun[] = [];
  let taken = 0;
  const collect = (): void => {
    const all = runs[0]?.lines ?? [];
    lines.push(...all.slice(taken));
    taken = all.length;
    position = runs[0]?.chunks.at(-1)?.position ?? position;
  };
  const stop = async (): Promise<void> => {
    const stopping = runs;
    for (const run of stopping) await run.stop();
    collect();
    runs = [];
    await source?.[Symbol.asyncDispose]();
  };
  return {
    dataDirectory,
    get lines() {
      collect();
      return lines;
    },
    async start() {
      const names = createNameFeed();
      const { processes = plainProcesses } = options;
      const filesystem = createFilesystemSource({
        processes,
        createdFiles: createCreatedFiles(),
        names,
        dataDirectory,
        clock: systemClock,
      });
      source = createIntegritySource({
        processes,
        names,
        policies,
        compile: () => plainPolicies(options.paths, options.kind ?? "content-diff"),
        stampOfUsers: () => String(options.paths.length),
        parsePolicies: (text) => text === policies.text ? policies : undefined,
        kinds: contentKinds(Buffer.alloc(32, 7)),
        openHook: options.openHook ?? (() => Promise.resolve(undefined)),
        probe: () => Promise.resolve({ state: "on", how: "test" }),
        dataDirectory,
        ...(options.packageRoot === undefined ? {} : { packageRoot: options.packageRoot }),
        position,
        clock: systemClock,
        log: testLog,
      });
      const started = source;
      taken = 0;
      runs = [runSource(started), runSource(filesystem)];
      const untilMs = performance.now() + SETTLE_LIMIT_MS;
      while (!started.isSettled) {
        if (performance.now() > untilMs) throw new Error("Cannot settle the integrity source");
        await runs[0]?.waitFor(() => true, { count: 0 });
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      collect();
      return started;
    },
    stop,
    async waitFor(want, { count, timeoutMs = 5000 }) {
      const untilMs = performance.now() + timeoutMs;
      for (;;) {
        collect();
        const found = lines.filter(want);
        if (found.length >= count) return found;
        await runs[0]?.waitFor(() => true, { count: 0 });
        if (performance.now() > untilMs) {
          throw new Error(`Cannot find ${count} lines: ${found.length} came in ${timeoutMs} ms`);
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    async [Symbol.asyncDispose]() {
      await stop();
      rmSync(dataDirectory, { recursive: true });
    },
  };
}
