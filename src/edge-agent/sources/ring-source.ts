/**
 * The source of one family of kernel programs: reads its ring in place and turns records into lines.
 *
 * Invariants: the ring moves on only by release, so that what is not yet durable can be read again; lines come in the
 * order of the ring; before any other family makes a line, the process family's records up to that moment have been
 * learned, so that who did it is known. Reading is by polling: no process of the host ever pays for waking the agent.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Lane, RingPosition } from "../../producer/producer.ts";
import { type Clock, systemClock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { removeAbandoned } from "../abandoned-programs.ts";
import type { KernelContext } from "../kernel-context.ts";
import { loadLibc } from "../libc.ts";
import { waitUntilDue } from "../look-out.ts";
import { type ProbeResult, probeRingFamily, proveInherited, variantsOf } from "../probe.ts";
import type { ProgramObject, ProgramVariant } from "../program-object.ts";
import type { Ownership } from "../program-settings.ts";
import { RULES_GRACE_MS } from "../pinned-programs.ts";
import {
  findInherited,
  hasPinnedPrograms,
  type InheritedPrograms,
  openRingChain,
} from "../ring-chain.ts";
import { openRingReader, type RingReader } from "../ring-reader.ts";
import type { ProofAction } from "./ring-family.ts";
import { rulePlaces } from "../rule-places.ts";
import { type EncodedRules, encodeRules, NO_RULES, type RuleSettings } from "../rules.ts";
import type {
  Source,
  SourceChunk,
  SourceCounters,
  SourceLoss,
  SourceReconfiguration,
  SourceStatus,
  Throttling,
} from "../source.ts";
import { type ExecDigests, openExecDigests } from "./process/digest/exec-digests.ts";
import { ringFamilyOf, type RingFamilyOptions } from "./ring-families.ts";
import type { RingFamily } from "./ring-family.ts";

/** Size of a ring when none is given, in bytes. */
export const RING_BYTES = 16 * 1024 * 1024;
/** Rare events need no more. */
const SMALL_RING_BYTES = 1024 * 1024;
/** Where programs are pinned when no folder is given. */
export const PIN_FOLDER = "/sys/fs/bpf/probity";
/** How often it is looked whether what filters name is still the same file, folder or cgroup. */
const RULES_CHECK_MS = 5_000;

export interface RingSourceOptions extends RingFamilyOptions {
  /** Shared by all sources of an agent. */
  readonly context: KernelContext;
  /** Folder of a BPF filesystem; by default {@link PIN_FOLDER}. One agent per folder. */
  readonly pinFolder?: string;
  /** A power of two, at least 4096; by default {@link RING_BYTES}, and less for the family of rare events. */
  readonly ringBytes?: number;
  /** Whose file events inside which folder are filtered in the kernel; none by default. */
  readonly ownership?: Ownership;
  /** Position of the spool's newest record for this source: where to read on. */
  readonly position?: RingPosition | undefined;
  /** Of the process family: bytes of executed files that are read in a second to tell their digests; 0 for none. */
  readonly digestBytesPerSecond?: number;
  readonly log: Log;
  readonly clock?: Clock;
  /** What is not told; nothing is left out by default. */
  readonly rules?: RuleSettings;
  /** Whether calls in the i386 way are seen, at the cost of every call of the host; not by default. */
  readonly compat?: boolean;
  /** Variants to try, in order; both by default. */
  readonly variants?: readonly ProgramVariant[];
  /**
   * Whether programs that were proven stay where none are pinned, and are not loaded again; a trial is ended by default.
   * Then the source is to be started or closed soon: nobody reads what they meet meanwhile.
   */
  readonly keepsProven?: boolean;
}

/** Opens nothing in the kernel yet: that is done by probe (on trial) and start (for good). */
export function openRingSource(options: RingSourceOptions): Source {
  return new RingSource(options);
}

class RingSource implements Source {
  readonly name: string;
  readonly lane: Lane;
  readonly #options: RingSourceOptions;
  readonly #family: RingFamily;
  readonly #pinFolder: string;
  #probed: Promise<ProbeResult> | undefined;
  #reader: RingReader | undefined;
  #digests: ExecDigests | undefined;
  /** Up to where chunks were taken. */
  #reached: RingPosition | undefined;
  #isClosed = false;
  /** Proven, and not yet in use. */
  #kept: ProgramObject | undefined;
  #rules: RuleSettings | undefined;
  /** Those in use, as text, and when they came into use. */
  #rulesText = "";
  #rulesMs = 0;
  /** When the set of rules that is not in use was left. */
  #leftMs = -Infinity;

  constructor(options: RingSourceOptions) {
    this.name = options.family;
    this.#options = options;
    this.#family = ringFamilyOf(options);
    this.lane = this.#family.lane;
    this.#pinFolder = options.pinFolder ?? PIN_FOLDER;
    this.#reached = options.position;
    this.#rules = options.rules;
  }

  isInherited(): boolean {
    return this.#inherited() !== undefined;
  }

  async probe(): Promise<SourceStatus> {
    return (await this.#probe()).status;
  }

  /** Throws when the programs cannot be loaded: probe first, unless it is inherited. */
  async *start(signal: AbortSignal): AsyncGenerator<SourceChunk> {
    const { context, createdFiles, clock = systemClock } = this.#options;
    // A second start goes on where the first one stopped: what it yielded counts as taken.
    const reader = this.#reader ?? await this.#open();
    await context.seed(this.#pinFolder);
    await this.#family.prepare(context);
    /** Whether a ring was written to. What makes files by name, and not by a ring, waits for the rings' silence. */
    const isDue = (): boolean => {
      const askedMs = clock.elapsedMs();
      if (!reader.isQuiet()) return true;
      if (this.name === "file") createdFiles?.settle(askedMs);
      return false;
    };
    try {
      while (!signal.aborted && !this.#isClosed) {
        context.refresh();
        this.#followRules(reader);
        const askedMs = clock.elapsedMs();
        const chunk = reader.read();
        if (chunk !== undefined) {
          this.#reached = chunk.position;
          yield chunk;
          await nextTurn();
        } else {
          if (this.name === "file") createdFiles?.settle(askedMs);
          await waitUntilDue(clock, { isDue }, signal);
        }
      }
      const last = this.#isClosed ? undefined : reader.finish();
      if (last !== undefined) {
        this.#reached = last.position;
        yield last;
      }
    } catch (error) {
      // What failed may be gone for good (its pins, above all): the next start opens it anew.
      await this.#close();
      throw error;
    }
  }

  release(position: RingPosition): void {
    this.#reader?.release(position);
  }

  losses(): readonly SourceLoss[] {
    return this.#reader?.losses() ?? [];
  }

  counters(): SourceCounters {
    return this.#reader?.counters() ?? NO_COUNTERS;
  }

  async prove(): Promise<ProofAction | undefined> {
    const { libbpf } = this.#options.context;
    return libbpf === undefined ? undefined : await this.#family.prove(libbpf);
  }

  throttling(): readonly Throttling[] {
    return this.#reader?.throttling() ?? [];
  }

  /** The programs go on meanwhile: they judge by the rules before or by these, never by half of them. */
  async reconfigure(settings: SourceReconfiguration): Promise<void> {
    const { rules } = settings;
    const encoded = this.#encode(rules);
    for (let restMs = this.#graceMs(); restMs > 0; restMs = this.#graceMs()) {
      await pause(this.#options.clock ?? systemClock, Math.ceil(restMs), NEVER_ABORTED);
    }
    this.#rules = rules;
    const values = this.#family.reconfigure?.(settings) ?? {};
    if (this.#reader === undefined) return;
    this.#use(this.#reader, encoded);
    this.#reader.setValues(values);
  }

  /** Leaves the programs running: what happens from now on is read after the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    const kept = this.#takeKept();
    await kept?.[Symbol.asyncDispose]();
    await this.#close();
  }

  /** Files, folders and cgroups that filters name may be made anew: then they are others. */
  #followRules(reader: RingReader): void {
    const rules = this.#rules;
    const nowMs = performance.now();
    if (rules === undefined || rules.filters.length === 0) return;
    if (nowMs - this.#rulesMs < RULES_CHECK_MS || this.#graceMs() > 0) return;
    this.#rulesMs = nowMs;
    this.#use(reader, this.#encode(rules));
  }

  #use(reader: RingReader, encoded: EncodedRules): void {
    const text = textOf(encoded);
    if (text === this.#rulesText) return;
    reader.setRules(encoded);
    this.#leftMs = performance.now();
    this.#rulesText = text;
    this.#rulesMs = performance.now();
  }

  /** How long a program may still be judging by the set that was left, ms. */
  #graceMs(): number {
    return this.#leftMs + RULES_GRACE_MS - performance.now();
  }

  #encode(rules: RuleSettings): EncodedRules {
    return encodeRules(this.#family.name, rules, rulePlaces);
  }

  async #close(): Promise<void> {
    this.#reader?.[Symbol.dispose]();
    this.#reader = undefined;
    const digests = this.#digests;
    this.#digests = undefined;
    await digests?.[Symbol.asyncDispose]();
  }

  #takeKept(): ProgramObject | undefined {
    const kept = this.#kept;
    this.#kept = undefined;
    return kept;
  }

  /** Size of the ring, in bytes. */
  #ringBytes(): number {
    const { family, ringBytes } = this.#options;
    return ringBytes ?? (family === "control" ? SMALL_RING_BYTES : RING_BYTES);
  }

  #openDigests(): ExecDigests | undefined {
    const { context, clock = systemClock, log, digestBytesPerSecond } = this.#options;
    if (this.name !== "process" || digestBytesPerSecond === 0) return undefined;
    return openExecDigests({
      libc: loadLibc(),
      nowNs: () => Number(context.bootClock.nowNs()),
      clock,
      log,
      ...(digestBytesPerSecond === undefined ? {} : { bytesPerSecond: digestBytesPerSecond }),
    });
  }

  #probe(): Promise<ProbeResult> {
    this.#probed ??= this.#probeOnce();
    return this.#probed;
  }

  /** What an earlier agent of the same options left running. */
  #inherited(): InheritedPrograms | undefined {
    const { context, variants, compat } = this.#options;
    if (context.libbpf === undefined) return undefined;
    return findInherited({
      pinFolder: this.#pinFolder,
      family: this.name,
      ringBytes: this.#ringBytes(),
      ...(compat === undefined ? {} : { compat }),
    }, variantsOf(this.#family, variants));
  }

  async #probeOnce(): Promise<ProbeResult> {
    const { context, variants, compat } = this.#options;
    const inherited = this.#inherited();
    const family = this.#family;
    const before = this.#keptBack();
    const proven = inherited && await proveInherited(context, { family, inherited });
    if (proven?.isWhole) return proven;
    const keptBack = this.#keptBack();
    const { kept, ...found } = await probeRingFamily(context, {
      family,
      pinFolder: this.#pinFolder,
      ...(variants === undefined ? {} : { variants }),
      ...(compat === undefined ? {} : { compat }),
      ...(this.#isKeptWhenProven() ? { keptRingBytes: this.#ringBytes() } : {}),
    });
    // Nobody else will end them.
    if (this.#isClosed) await kept?.[Symbol.asyncDispose]();
    else this.#kept = kept;
    // Those that are read count, not those of a trial: unless it may be known why nothing came of them.
    const isBlind = before !== undefined && before === keptBack && found.variant !== undefined;
    return isBlind ? proven ?? found : found;
  }

  /** Events that the programs that are read kept back or lost, which is told elsewhere. */
  #keptBack(): number | undefined {
    const counters = this.#reader?.counters();
    if (counters === undefined) return undefined;
    return counters.filtered + counters.throttled + counters.ringFull + counters.readFault;
  }

  /** Programs that are pinned go on, or are taken over from by new ones at one instant: a proof has no part in that. */
  #isKeptWhenProven(): boolean {
    const { keepsProven = false } = this.#options;
    return keepsProven && this.#family.tellsOnce !== true &&
      !hasPinnedPrograms(this.#pinFolder, this.name);
  }

  async #provenVariant(): Promise<ProgramVariant> {
    const { variant, status } = await this.#probe();
    if (variant !== undefined) return variant;
    const why = status.state === "off" ? status.reason : "not proven";
    throw new Error(`Cannot start source "${this.name}": ${why}`);
  }

  async #open(): Promise<RingReader> {
    const { context, ownership, log, compat = false } = this.#options;
    const { libbpf } = context;
    const variant = this.#inherited()?.variant ?? await this.#provenVariant();
    if (libbpf === undefined) throw new Error(`Cannot start source "${this.name}": no libbpf`);
    if (this.#isClosed) throw new Error(`Cannot start source "${this.name}": closed`);
    // Before the programs: of what runs earlier, only /proc knows the file.
    this.#digests ??= this.#openDigests();
    removeAbandoned(libbpf, this.#pinFolder, log);
    const rules = this.#rules === undefined ? NO_RULES : this.#encode(this.#rules);
    this.#rulesText = textOf(rules);
    // Used or ended here, also when this fails: the next start loads its own.
    await using kept = this.#takeKept();
    const chain = openRingChain({
      libbpf,
      bootClock: context.bootClock,
      pinFolder: this.#pinFolder,
      family: this.#family.name,
      variant,
      ringBytes: this.#ringBytes(),
      compat,
      ownership,
      loaded: kept,
      ...(this.#family.values === undefined ? {} : { values: this.#family.values }),
      rules,
    });
    const newest = chain.programs.at(-1);
    if (newest !== undefined) this.#family.opened?.(newest);
    // Programs that were there may have got theirs just now.
    this.#leftMs = performance.now();
    this.#reader = openRingReader({
      context,
      chain,
      family: this.#family,
      position: this.#reached,
      digests: this.#digests,
      log,
    });
    return this.#reader;
  }
}

export const NO_COUNTERS: SourceCounters = {
  attempted: 0,
  submitted: 0,
  ringFull: 0,
  filtered: 0,
  throttled: 0,
  readFault: 0,
  truncated: 0,
};

const NEVER_ABORTED = new AbortController().signal;

function textOf({ bytes, folders }: EncodedRules): string {
  const named = folders.map(({ inode, device, filters }) => `${inode} ${device} ${filters}`);
  return `${Buffer.from(bytes).toString("base64")} ${named.join(" ")}`;
}

async function pause(clock: Clock, pauseMs: number, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(pauseMs, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
