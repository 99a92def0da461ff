/**
 * Whether a family of programs works here, found out by doing it: load, attach, act, and see the act come back with the
 * right fields. Configuration files and feature lists are not asked, because they are wrong too often.
 *
 * Invariant: never throws for what the machine lacks; the answer then says what would help. Each trial has programs and
 * a ring of its own, and leaves nothing behind but the programs that it is asked to keep.
 */
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../runtime/clock.ts";
import { makePinFolder } from "./bpf-filesystem.ts";
import { createDecoderContext, type LineDecoder, type LocatedRecord } from "./line-decoder.ts";
import type { Libbpf } from "./libbpf.ts";
import type { KernelContext } from "./kernel-context.ts";
import { isKernelPath } from "./kernel-files.ts";
import { createProcessTable } from "./process-table.ts";
import {
  KernelRefusal,
  loadProgramObject,
  PROGRAM_VARIANTS,
  type ProgramObject,
  type ProgramVariant,
} from "./program-object.ts";
import { openPinnedPrograms } from "./pinned-programs.ts";
import { proofWithin } from "./proof-limit.ts";
import { trialSettings } from "./program-settings.ts";
import { openRingBuffer, type RingBuffer, type RingCursor } from "./ring-buffer.ts";
import type { InheritedPrograms } from "./ring-chain.ts";
import type { HookStatus, SourceStatus } from "./source.ts";
import type {
  ParsedLine,
  ProofAction,
  ProofCheck,
  ProofResult,
  RingFamily,
} from "./sources/ring-family.ts";

/** Ring of a trial, in bytes. */
const TRIAL_RING_BYTES = 1024 * 1024;
/** How long one act is waited for, and how often it is done: a busy host may lose one in the small ring of a trial. */
const PROOF_TIMEOUT_MS = 2000;
const PROOF_ATTEMPTS = 5;
/** How long the further hooks are waited for when the needed one has come. */
const FURTHER_TIMEOUT_MS = 500;
const POLL_MS = 5;
const EPERM = 1;
const EACCES = 13;
const LIBBPF_REMEDY = "install libbpf 1.x: apt-get install libbpf1";
const PERMISSION_REMEDY =
  "run the agent as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN and CAP_SYS_PTRACE";
const BTF_PATH = "/sys/kernel/btf/vmlinux";

export interface ProbeResult {
  readonly status: SourceStatus;
  /** The variant that works; undefined when none does. */
  readonly variant: ProgramVariant | undefined;
  /** The programs that were proven, attached, when they were to be kept; whoever asked disposes of them. */
  readonly kept?: ProgramObject | undefined;
}

/** What programs that go on gave. */
export interface InheritedProof extends ProbeResult {
  /** Whether the event of every hook came back. */
  readonly isWhole: boolean;
}

/** Of a hook of programs that go on: why canaries go on asking for it. */
export const UNSEEN_REASON =
  "its event did not come back from the programs that an earlier agent left";

export interface ProbeOptions {
  readonly family: RingFamily;
  readonly pinFolder: string;
  /** Variants to try, in order; a family that has its own tries those. */
  readonly variants?: readonly ProgramVariant[];
  /** See `LoadOptions.compat`. The calls of this process cannot trigger these programs: they are loaded and attached. */
  readonly compat?: boolean;
  /** Size of the ring of programs that are kept after their proof, in bytes; they are ended when it is left out. */
  readonly keptRingBytes?: number;
}

/** Variants of a family's programs, in the order in which they are tried. */
export function variantsOf(
  family: RingFamily,
  chosen: readonly ProgramVariant[] = PROGRAM_VARIANTS,
): readonly ProgramVariant[] {
  return family.variants ?? chosen;
}

export async function probeRingFamily(
  context: KernelContext,
  options: ProbeOptions,
): Promise<ProbeResult> {
  const { family, pinFolder, compat = false, keptRingBytes } = options;
  const variants = variantsOf(family, options.variants);
  const { libbpf } = context;
  if (libbpf === undefined) return off({ reason: context.libbpfError, remedy: LIBBPF_REMEDY });
  const ringBytes = keptRingBytes ?? TRIAL_RING_BYTES;
  const reasons: string[] = [];
  let forbidden = 0;
  for (const variant of variants) {
    try {
      await using trial = new AsyncDisposableStack();
      const object = trial.use(loadProgramObject(libbpf, {
        family: family.name,
        variant,
        ringBytes,
        compat,
        ...(family.values === undefined ? {} : { values: family.values }),
      }));
      const found = await tryObject(context, { libbpf, family, object, ringBytes });
      if (typeof found !== "string") {
        const result = provenIn(variant, { pinFolder, hooks: found });
        if (keptRingBytes === undefined || result.variant === undefined) return result;
        trial.move();
        return { ...result, kept: object };
      }
      reasons.push(`${variant}: ${found}`);
    } catch (error) {
      if (isForbidden(error)) forbidden += 1;
      reasons.push(`${variant}: ${messageOf(error)}`);
    }
  }
  const reason = reasons.join("; ");
  // One variant may be forbidden on a kernel that takes the other; all of them are forbidden to who may load none.
  return off(
    forbidden === variants.length
      ? { reason: `not allowed to load kernel programs: ${reason}`, remedy: PERMISSION_REMEDY }
      : { reason, remedy: remedyForRefusal(variants) },
  );
}

/**
 * Proves a family by programs that run already, whose ring somebody else reads and releases: nothing is loaded.
 * Filters and limits may keep back what a trial would see. Undefined when they cannot be read.
 */
export async function proveInherited(
  context: KernelContext,
  { family, inherited: { folder, variant } }: {
    readonly family: RingFamily;
    readonly inherited: InheritedPrograms;
  },
): Promise<InheritedProof | undefined> {
  const { libbpf } = context;
  if (libbpf === undefined) return undefined;
  try {
    using programs = openPinnedPrograms(libbpf, folder);
    const { ring } = programs;
    const cursor = ring.cursorAt(ring.producerPosition());
    await using action = await proofWithin(family.prove(libbpf), systemClock);
    const results = new Map<string, ProofResult>();
    await findProofs(context, { family, ring, cursor, action, results });
    const hooks = hooksOf(action, results, UNSEEN_REASON);
    const isWhole = [...results.values()].every((result) => result === "proven");
    return { status: { state: "on", how: variant, hooks }, variant, isWhole };
  } catch {
    // Pins that are damaged, a ring that went round meanwhile: the trial says what is wrong, if anything is.
    return undefined;
  }
}

/** Programs work; now whether they could be kept. */
function provenIn(
  variant: ProgramVariant,
  { pinFolder, hooks }: { readonly pinFolder: string; readonly hooks: readonly HookStatus[] },
): ProbeResult {
  try {
    makePinFolder(pinFolder);
  } catch (error) {
    const remedy = "mount the BPF filesystem: mount -t bpf bpf /sys/fs/bpf";
    return off({ reason: messageOf(error), remedy });
  }
  return { status: { state: "on", how: variant, hooks }, variant };
}

/** What became of each hook, the needed one first; or why the programs do not work. */
async function tryObject(
  context: KernelContext,
  { libbpf, family, object, ringBytes }: {
    readonly libbpf: Libbpf;
    readonly family: RingFamily;
    readonly object: ProgramObject;
    readonly ringBytes: number;
  },
): Promise<readonly HookStatus[] | string> {
  using ring = openRingBuffer(libbpf, object.mapFd("events"), ringBytes);
  libbpf.bpf_map_update_elem(object.mapFd("settings"), new Uint8Array(4), trialSettings());
  object.attach();
  const results = new Map<string, ProofResult>();
  for (let attempt = 0; attempt < PROOF_ATTEMPTS; attempt += 1) {
    await using action = await proofWithin(family.prove(libbpf, object), systemClock);
    const cursor = ring.cursorAt(ring.consumerPosition());
    const onRead = (): void => ring.release(cursor.position);
    await findProofs(context, { family, ring, cursor, onRead, action, results });
    const needed = results.get(action.hook) ?? "other";
    if (typeof needed === "object") return `the event came back wrong: ${needed.wrong}`;
    const isAll = ![...results.values()].includes("other");
    // A hook that is only one of many is worth waiting for, but not for long.
    if (needed === "proven" && (isAll || attempt > 0)) return hooksOf(action, results);
  }
  return `the event did not come back in ${PROOF_ATTEMPTS} attempts of ${PROOF_TIMEOUT_MS} ms`;
}

function hooksOf(
  action: ProofAction,
  results: ReadonlyMap<string, ProofResult>,
  unseen = "its event did not come back",
): HookStatus[] {
  const tried = [...results].map(([name, result]): HookStatus => {
    if (result === "proven") return { name, state: "on" };
    const reason = result === "other" ? unseen : result.wrong;
    return { name, state: "off", reason };
  });
  const untried = Object.entries(action.untried ?? {})
    .map(([name, reason]): HookStatus => ({ name, state: "off", reason }));
  return [...tried, ...untried];
}

interface Trial {
  readonly family: RingFamily;
  readonly ring: RingBuffer;
  /** Where to read on. */
  readonly cursor: RingCursor;
  /** Called when all that was there has been looked at. */
  readonly onRead?: () => void;
  readonly action: ProofAction;
  /** By hook; those that are settled stay. */
  readonly results: Map<string, ProofResult>;
}

/** Reads the ring until every hook is settled or the time is over. */
async function findProofs(
  context: KernelContext,
  { family, ring, cursor, onRead, action, results }: Trial,
): Promise<void> {
  const decoder = trialDecoder(context, family);
  let endMs = performance.now() + PROOF_TIMEOUT_MS;
  const checks: [string, ProofCheck][] = [
    [action.hook, (line) => action.check(line)],
    ...Object.entries(action.further ?? {}),
  ];
  for (const [hook] of checks) if (!results.has(hook)) results.set(hook, "other");
  const open = (): typeof checks => checks.filter(([hook]) => results.get(hook) === "other");
  while (performance.now() < endMs && open().length > 0) {
    const limit = ring.producerPosition();
    for (let offset = cursor.next(limit); offset >= 0; offset = cursor.next(limit)) {
      const record = { memory: ring.memory, offset, length: cursor.length, timeUs: 0 };
      const parsed = lineOf(decoder, record);
      if (parsed === undefined) continue;
      for (const [hook, check] of open()) results.set(hook, check(parsed));
    }
    onRead?.();
    if (results.get(action.hook) !== "other") {
      endMs = Math.min(endMs, performance.now() + FURTHER_TIMEOUT_MS);
    }
    await delay(POLL_MS);
  }
}

/** The line of a record; undefined when there is none, also when somebody else's makes no sense: it proves nothing. */
function lineOf(decoder: LineDecoder, record: LocatedRecord): ParsedLine | undefined {
  try {
    decoder.learn(record);
    const line = decoder.line(record);
    return line === undefined || line === "" ? undefined : JSON.parse(`{${line}`);
  } catch {
    return undefined;
  }
}

/** A decoder that leaves the agent's own table alone. */
function trialDecoder(context: KernelContext, family: RingFamily): LineDecoder {
  const nowNs = (): number => Number(context.bootClock.nowNs());
  const processes = createProcessTable({ ids: context.ids, nowNs });
  return family.createDecoder(createDecoderContext({ ...context, processes }));
}

function off(why: { reason: string; remedy: string }): ProbeResult {
  return { status: { state: "off", ...why }, variant: undefined };
}

function isForbidden(error: unknown): boolean {
  return error instanceof KernelRefusal && [EPERM, EACCES].includes(error.errno);
}

function remedyForRefusal(variants: readonly ProgramVariant[]): string {
  if (variants.includes("cgroup")) {
    return "run the agent in the host's cgroup namespace, with CAP_SYS_ADMIN, on a kernel of 5.17 or later";
  }
  return isKernelPath(BTF_PATH)
    ? "use a kernel of 5.17 or later with BPF tracing programs allowed"
    : "use a kernel built with CONFIG_DEBUG_INFO_BTF";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
