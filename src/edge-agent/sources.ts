/**
 * The sources of an agent: one per family, sharing what is known of the kernel and its processes.
 *
 * Invariant: every source is there, whatever the machine lacks: one that cannot work says why when it is probed.
 */
import process from "node:process";
import type { RingPositions } from "../producer/producer.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { createCreatedFiles } from "./created-files.ts";
import { createKernelContext, type KernelContext } from "./kernel-context.ts";
import { readableAtOnce } from "./inherited-sources.ts";
import { isKernelPath, type KernelLock, lockKernelPath } from "./kernel-files.ts";
import { createProcessIds, readBootId } from "./process-identity.ts";
import { createProcessCertainty } from "./process-certainty.ts";
import { createProcessLookup, type ProcessLookup } from "./process-lookup.ts";
import { createProcessTable } from "./process-table.ts";
import { openRedactionKey } from "./redaction-key.ts";
import { DEFAULT_RULES, type RuleSettings } from "./rules.ts";
import type { Source, SourceReconfiguration, SourceStatus } from "./source.ts";
import type { FileRule } from "./sources/file-integrity/kinds/policy.ts";
import { openCryptoSource } from "./sources/crypto/crypto-source.ts";
import { type CryptoSettings, isCryptoWanted } from "./sources/crypto/crypto-settings.ts";
import { openIntegrity } from "./sources/file-integrity/open-integrity.ts";
import { createNameFeed } from "./sources/filesystem/name-feed.ts";
import type { CollectorName } from "./sources/collectors/collector-names.ts";
import { type CollectorSettings, openCollectors } from "./sources/collectors/open-collectors.ts";
import { createFilesystemSource } from "./sources/filesystem/filesystem-source.ts";
import type { RingFamilyName } from "./sources/ring-family.ts";
import { NO_COUNTERS, openRingSource, PIN_FOLDER } from "./sources/ring-source.ts";
import { createUserNames } from "./user-names.ts";

const RING_FAMILIES = [
  "process",
  "control",
  "network",
  "flow",
  "file",
] as const satisfies readonly RingFamilyName[];
/** Sources that watch what happens, by the kernel. */
export const SOURCE_NAMES = [...RING_FAMILIES, "filesystem", "integrity", "crypto"] as const;
export type SourceName = typeof SOURCE_NAMES[number] | CollectorName;

export interface SourceSettings {
  /** What own processes do in it is filtered. */
  readonly dataDirectory: string;
  /** Process whose children are Probity's own, as the agent's are. */
  readonly supervisorPid?: number;
  /** Folder of a BPF filesystem in which programs and rings outlive the agent; one agent per folder. */
  readonly pinDirectory?: string;
  /** Sizes of rings in bytes, powers of two. */
  readonly ringBytes?: Readonly<Partial<Record<RingFamilyName | "integrity", number>>>;
  /** Files whose changes are told; `DEFAULT_FILE_RULES` when there are none. */
  readonly files?: readonly FileRule[];
  /** Bytes of executed files that are read in a second to tell their digests; 0 for none. */
  readonly digestBytesPerSecond?: number;
  /** Libraries whose probes are attached; without any, and without being asked to find them, there is no such source. */
  readonly crypto?: CryptoSettings;
  /** Names of the environment variables that an exec tells; see {@link ENVIRONMENT_NAMES}. */
  readonly environment?: readonly string[];
  /** What is not told; {@link DEFAULT_RULES} by default. */
  readonly rules?: RuleSettings;
  /** Whether calls in the i386 way are seen, at the cost of every call of the host; not by default. */
  readonly compat?: boolean;
  /** Undefined: no source that looks again and again. */
  readonly collectors?: CollectorSettings;
  /** Sources that stay off. */
  readonly disabledSources?: readonly SourceName[];
}

export interface OpenSourcesOptions extends SourceSettings {
  /** Whether what is proven stays in the kernel for the start, as an agent wants it; nothing does by default. */
  readonly keepsProven?: boolean;
  /** Where rings are read on. */
  readonly positions: RingPositions;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Sources extends AsyncDisposable {
  readonly all: readonly Source[];
  /** Who has a pid, for sources beside these. */
  readonly processes: ProcessLookup;
  /**
   * Those that may be started at once, since an earlier agent's programs go on, theirs and those that teach them; the pin folder is this agent's from then
   * on. To be called once, before {@link Sources.probe}.
   */
  inherited(): readonly Source[];
  /** Proves each source; to be called once, before any other is started. */
  probe(): Promise<ReadonlyMap<string, SourceStatus>>;
  /** Tells every source what the configuration says now. Rejects when one refuses: then what held before holds for all. */
  reconfigure(
    next: SourceReconfiguration,
    before: SourceReconfiguration,
  ): Promise<void>;
}

/** Opens nothing in the kernel yet. Throws when the data folder's redaction key cannot be used. */
export function openSources(options: OpenSourcesOptions): Sources {
  const { dataDirectory, supervisorPid, disabledSources = [], clock } = options;
  const { rules = DEFAULT_RULES } = options;
  const ownPids = [process.pid, ...(supervisorPid === undefined ? [] : [supervisorPid])];
  const createdFiles = createCreatedFiles();
  const redactionKey = openRedactionKey(dataDirectory);
  const context = openContext(redactionKey);
  const plain = createPlainLookup(ownPids);
  let processes = plain;
  const lookup: ProcessLookup = {
    catchUp: () => processes.catchUp(),
    actorOf: (pid) => processes.actorOf(pid),
    ancestorsOf: (pid) => processes.ancestorsOf(pid),
    isOwn: (pid) => processes.isOwn(pid),
  };
  const names = createNameFeed();
  const filesystem = createFilesystemSource({
    processes: lookup,
    ...("reason" in context ? {} : { certainty: createProcessCertainty(context) }),
    createdFiles,
    names,
    dataDirectory,
    filters: rules.filters,
    clock,
  });
  const integrityRingBytes = options.ringBytes?.integrity;
  const integrity = openIntegrity({
    rules: options.files ?? [],
    context: "reason" in context ? undefined : context,
    contextReason: "reason" in context ? context.reason : "",
    redactionKey,
    pinFolder: options.pinDirectory ?? PIN_FOLDER,
    ...(integrityRingBytes === undefined ? {} : { ringBytes: integrityRingBytes }),
    processes: lookup,
    names,
    dataDirectory,
    position: options.positions["integrity"],
    clock,
    log: options.log,
  });
  const rings = RING_FAMILIES.map((family): Source => {
    if ("reason" in context) return createMissingSource(family, { state: "off", ...context });
    const ringBytes = options.ringBytes?.[family];
    return openRingSource({
      family,
      context,
      ownership: { pids: ownPids, dataFolder: dataDirectory },
      position: options.positions[family],
      createdFiles,
      log: options.log,
      clock,
      ...(options.digestBytesPerSecond === undefined
        ? {}
        : { digestBytesPerSecond: options.digestBytesPerSecond }),
      ...(options.compat === undefined ? {} : { compat: options.compat }),
      ...(options.environment === undefined ? {} : { environment: options.environment }),
      rules,
      ...(options.keepsProven === undefined ? {} : { keepsProven: options.keepsProven }),
      ...(options.pinDirectory === undefined ? {} : { pinFolder: options.pinDirectory }),
      ...(ringBytes === undefined ? {} : { ringBytes }),
    });
  });
  const crypto = options.crypto !== undefined && isCryptoWanted(options.crypto)
    ? [openCrypto({ ...options, settings: options.crypto, context, ownPids, rules })]
    : [];
  const collectors = options.collectors === undefined ? [] : openCollectors({
    ...options,
    settings: options.collectors,
    portsToldBy: "reason" in context || disabledSources.includes("network") ? "nobody" : "network",
  });
  const all = [...rings, filesystem, integrity, ...crypto, ...collectors];
  let lock: KernelLock | undefined;
  /** One agent per folder: two that read the same rings would each have a part of what happened. */
  const lockPins = (): SourceStatus | undefined => {
    const folder = options.pinDirectory ?? PIN_FOLDER;
    if (!isKernelPath(folder)) return undefined;
    lock ??= lockKernelPath(folder);
    return lock === undefined ? pinsTaken(folder) : undefined;
  };
  const isDisabled = ({ name }: Source): boolean =>
    disabledSources.some((disabled) => disabled === name);
  return {
    all,
    processes: lookup,
    inherited() {
      const enabled = all.filter((source) => !isDisabled(source));
      const left = enabled.filter((source) => source.isInherited?.() === true);
      const found = readableAtOnce(left, enabled);
      if (found.length === 0 || lockPins() !== undefined) return [];
      // Before the first create is noted it must be known that notes will come.
      if (found.some(({ name }) => name === "file")) createdFiles.settle(0);
      return found;
    },
    async probe() {
      const statuses = new Map<string, SourceStatus>();
      for (const source of all) {
        const status = isDisabled(source) ? DISABLED : await probeSource(source);
        const isRing = source !== filesystem && !collectors.includes(source) &&
          status.state === "on";
        const taken = isRing ? lockPins() : undefined;
        // It will not be started: what was proven must not stay for nobody.
        if (taken !== undefined) await source[Symbol.asyncDispose]();
        statuses.set(source.name, taken ?? status);
      }
      const isOn = (name: SourceName): boolean => statuses.get(name)?.state === "on";
      if (isOn("integrity") && !isOn("filesystem")) statuses.set("integrity", NAMELESS);
      // Before the first create is noted it must be known that notes will come.
      if (isOn("file")) createdFiles.settle(createdFiles.settledMs ?? 0);
      // An inherited one that is not to go on: nobody waits for its notes.
      else if (createdFiles.settledMs !== undefined) createdFiles.settle(Infinity);
      if (isOn("process") && !("reason" in context)) {
        processes = createProcessLookup({ context, ownPids });
      }
      return statuses;
    },
    async reconfigure(next, before) {
      const tellAll = (settings: SourceReconfiguration) =>
        Promise.allSettled(all.map((source) => source.reconfigure?.(settings)));
      const failed = (await tellAll(next)).find(({ status }) => status === "rejected");
      if (failed?.status !== "rejected") return;
      await tellAll(before);
      throw failed.reason;
    },
    async [Symbol.asyncDispose]() {
      for (const source of all.toReversed()) await source[Symbol.asyncDispose]();
      lock?.[Symbol.dispose]();
    },
  };
}

const DISABLED: SourceStatus = {
  state: "off",
  reason: "it was turned off",
  remedy: "take it from the configuration's list of what is off",
};

const NAMELESS: SourceStatus = {
  state: "off",
  reason: "the filesystem source is off, which tells it names",
  remedy: "turn the filesystem source on",
};

function pinsTaken(folder: string): SourceStatus {
  return {
    state: "off",
    reason: `another agent uses the programs pinned in "${folder}"`,
    remedy: "stop the other agent, or give this one a pin folder of its own",
  };
}

/** A probe does not throw for what is missing; what else it throws turns the source off, not the agent. */
async function probeSource(source: Source): Promise<SourceStatus> {
  try {
    return await source.probe();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { state: "off", reason, remedy: "report this as a fault of Probity" };
  }
}

/** Libraries' own probes: where kernel programs cannot be used, it says so. */
function openCrypto(
  { context, ownPids, dataDirectory, ...options }: OpenSourcesOptions & {
    readonly settings: CryptoSettings;
    readonly context: ReturnType<typeof openContext>;
    readonly ownPids: readonly number[];
    readonly rules: RuleSettings;
  },
): Source {
  if ("reason" in context) return createMissingSource("crypto", { state: "off", ...context });
  const { pinDirectory, keepsProven } = options;
  const ringBytes = options.ringBytes?.crypto;
  return openCryptoSource({
    settings: options.settings,
    dataDirectory,
    context,
    ownership: { pids: ownPids, dataFolder: dataDirectory },
    position: options.positions["crypto"],
    rules: options.rules,
    log: options.log,
    clock: options.clock,
    ...(keepsProven === undefined ? {} : { keepsProven }),
    ...(pinDirectory === undefined ? {} : { pinFolder: pinDirectory }),
    ...(ringBytes === undefined ? {} : { ringBytes }),
  });
}

function openContext(
  redactionKey: Uint8Array,
): KernelContext | { readonly reason: string; readonly remedy: string } {
  try {
    return createKernelContext({ redactionKey });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return {
      reason: `libbpf cannot be used: ${reason}`,
      remedy: "install libbpf 1 (Debian: apt-get install libbpf1) and run the agent on Linux",
    };
  }
}

/** Processes as /proc shows them, each time anew: without a process source nothing tells that one changed. */
function createPlainLookup(ownPids: readonly number[]): ProcessLookup {
  const ids = createProcessIds(readBootId());
  const userNames = createUserNames();
  const create = (): ProcessLookup => {
    const processes = createProcessTable({ ids, nowNs: () => performance.now() * 1e6 });
    return createProcessLookup({ context: { processes, userNames }, ownPids });
  };
  let lookup = create();
  return {
    catchUp() {
      userNames.refresh();
      lookup = create();
    },
    actorOf: (pid) => lookup.actorOf(pid),
    ancestorsOf: (pid) => lookup.ancestorsOf(pid),
    isOwn: (pid) => lookup.isOwn(pid),
  };
}

/** Stands for a source that this machine cannot have. */
function createMissingSource(name: string, status: SourceStatus): Source {
  return {
    name,
    lane: "bulk",
    probe: () => Promise.resolve(status),
    start() {
      throw new Error(`Cannot start source "${name}": it is off`);
    },
    release: () => undefined,
    losses: () => [],
    counters: () => NO_COUNTERS,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
