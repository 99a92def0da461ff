/**
 * The one interface of event sources: process, network, file and filesystem now; one folder per family below
 * `sources/`. A source proves that it works, then yields chunks of lines; the agent only wires.
 */
import type { Lane, RingPosition } from "../producer/producer.ts";
import type { FileRule } from "./sources/file-integrity/kinds/policy.ts";
import type { CryptoSettings } from "./sources/crypto/crypto-settings.ts";
import type { RuleSettings } from "./rules.ts";
import type { ProofAction } from "./sources/ring-family.ts";

/** What the proof of one hook found: its event came back as it should, or did not and why. */
export type HookStatus =
  | { readonly name: string; readonly state: "on" }
  | { readonly name: string; readonly state: "off"; readonly reason: string };

/** What a probe found: on, or off with the reason and what would turn it on. A source may be on without some hooks. */
export type SourceStatus =
  | { readonly state: "on"; readonly how: string; readonly hooks?: readonly HookStatus[] }
  | { readonly state: "off"; readonly reason: string; readonly remedy: string };

/** Lines read in one go, in order. */
export interface SourceChunk {
  /** Text of each line after its opening brace, without `idx` (see `lineFields`). */
  readonly fields: readonly string[];
  /** Time of each line, µs since the Unix epoch; as long as `fields`. */
  readonly timesUs: readonly number[];
  /** Ring position that the chunk reaches, for sources that read a ring. */
  readonly position: RingPosition | undefined;
  /** Its batch is to close as soon as the disk is free, so many milliseconds after the one before: somebody waits for it. */
  readonly spacingMs?: number;
}

/** Loss of a source since it was last asked: it becomes an `agent/gap` event. */
export interface SourceLoss {
  /** What was lost: `ring_full`, `throttled`, `read_fault`, `overflow`, `absent` … */
  readonly class: string;
  /** How many events; null when unknowable. */
  readonly count: number | null;
  readonly reason: string;
  /** Of the count, as far as it is known: by class of event, and by CPU. */
  readonly classes?: Readonly<Record<string, number>>;
  readonly cpus?: readonly LostOnCpu[];
  /** First and last moment, µs since the Unix epoch, when they are known closer than by the times of asking. */
  readonly fromUs?: number;
  readonly toUs?: number;
}

export interface LostOnCpu {
  readonly cpu: number;
  readonly count: number;
}

/**
 * Totals since the source was made. For kernel programs: attempted = submitted + ring full + filtered + throttled +
 * read fault + recursion; truncated is a part of submitted.
 */
export interface SourceCounters {
  readonly attempted: number;
  readonly submitted: number;
  readonly ringFull: number;
  readonly filtered: number;
  readonly throttled: number;
  readonly readFault: number;
  readonly truncated: number;
  /** Programs that did not run, or not to their end, because they interrupted each other; none when left out. */
  readonly recursion?: number;
  /** Records that the reader could make nothing of, of those submitted; none when left out. */
  readonly unreadable?: number;
  /** The same by class of event and CPU, where the source knows. */
  readonly parts?: readonly CounterPart[];
}

/** Counters of one class of event (by the kind of its record) on one CPU. */
export type CounterPart = Omit<SourceCounters, "parts" | "unreadable"> & {
  readonly kind: string;
  readonly cpu: number;
};

/** Of sources whose senders can wait: the rest of the spool is kept for what cannot. */
export const WAITING_SPOOL_PART_MAX = 0.75;

export interface Source extends AsyncDisposable {
  /** `process`, `network`, `file`, `filesystem`, `applications` … */
  readonly name: string;
  /** Whether its lines go first when room runs out: bulk does. */
  readonly lane: Lane;
  /** Part of the spool, up to 1, above which it is to wait for room rather than make the oldest go; 1 when left out. */
  readonly spoolPartMax?: number;
  /**
   * Whether programs of an earlier agent go on in the kernel that need nothing new: then it may be started before it is
   * proven. Never, when it is left out.
   */
  isInherited?(): boolean;
  /** Tries for real (load, attach, trigger); never throws for a missing capability. */
  probe(): Promise<SourceStatus>;
  /** What a probe would find now, where that may change while it runs; undefined: what it found at the start. */
  status?(): SourceStatus | undefined;
  /** Reads until the signal is aborted. A ring moves on only by {@link Source.release}. */
  start(signal: AbortSignal): AsyncIterable<SourceChunk>;
  /** States that everything up to a position is durable; only then may the ring's consumer position move. */
  release(position: RingPosition): void;
  /** Losses since the last call. */
  losses(): readonly SourceLoss[];
  counters(): SourceCounters;
  /** Does something small that the source must see, for a canary; undefined when it cannot. */
  prove?(): Promise<ProofAction | undefined>;
  /** Limits that were reached, and that are kept again, since the last call. */
  throttling?(): readonly Throttling[];
  /**
   * Takes what the configuration says now, while it runs and without losing an event. Rejects when it cannot: then what
   * held before goes on. A source without it has nothing to change.
   */
  reconfigure?(settings: SourceReconfiguration): Promise<void>;
}

/** A limit that an executable or a cgroup reached, or keeps again. */
export interface Throttling {
  readonly phase: "begin" | "end";
  readonly scope: "executable" | "cgroup";
  /** Class of event. */
  readonly kind: string;
  /** The executable; of a cgroup, that of the process that reached the limit. */
  readonly exe: string | undefined;
  /** Inode of the executable, or id of the cgroup. */
  readonly id: number;
  readonly container: string | undefined;
  readonly unit: string | undefined;
  /** Process that reached the limit. */
  readonly pid: number;
  /** First and last event beyond the limit so far, µs since the Unix epoch. */
  readonly fromUs: number;
  readonly toUs: number;
  /** Events beyond the limit so far; of them, how many were told as samples. */
  readonly beyond: number;
  readonly samples: number;
}

/** What a source may be told anew while it runs; each takes what concerns it. */
export interface SourceReconfiguration {
  /** Limits and filters of the kernel's programs. */
  readonly rules: RuleSettings;
  /** Files that are watched; undefined: as before. */
  readonly files?: readonly FileRule[];
  /** Names of the environment variables that an exec tells; undefined: as before. */
  readonly environment?: readonly string[];
  /** Libraries whose probes are attached; undefined: as before. */
  readonly crypto?: CryptoSettings;
}
