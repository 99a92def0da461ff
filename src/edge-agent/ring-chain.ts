/**
 * The rings of a family, oldest first: usually one. After a change of the programs or of the ring's size there are two
 * for a moment: the new programs take over from the old ones at one instant, and the old ring is read to its end.
 *
 * Invariant: at any moment one set of programs takes events; the reader passes over what the old ring holds from the
 * instant of a change on, and what the new one holds from before it (take-over.ts).
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { BootClock } from "./boot-clock.ts";
import { makePinFolder } from "./bpf-filesystem.ts";
import { listKernelFolder } from "./kernel-files.ts";
import type { Libbpf } from "./libbpf.ts";
import { createLossLedger } from "./losses.ts";
import {
  openPinnedPrograms,
  type PinnedPrograms,
  pinPrograms,
  removePins,
} from "./pinned-programs.ts";
import { type EncodedRules, NO_RULES } from "./rules.ts";
import { objectPath, type ProgramObject, type ProgramVariant } from "./program-object.ts";
import { encodeOwner, NEVER_NS, type Ownership, settingsFor } from "./program-settings.ts";
import { takeOver } from "./take-over.ts";

export interface RingChainOptions {
  readonly libbpf: Libbpf;
  readonly bootClock: BootClock;
  readonly pinFolder: string;
  readonly family: string;
  readonly variant: ProgramVariant;
  readonly ringBytes: number;
  /** See `LoadOptions.compat`. */
  readonly compat?: boolean;
  readonly ownership: Ownership | undefined;
  /** What is not told; nothing is left out by default. */
  readonly rules?: EncodedRules;
  /** Of the family's own maps; see `RingFamily.values`. */
  readonly values?: Readonly<Record<string, Uint8Array>>;
  /**
   * Programs of these options that are attached already, to be used instead of new ones where new ones are needed; then
   * this process has let go of them.
   */
  readonly loaded?: ProgramObject | undefined;
}

export interface RingChain {
  /** Oldest first; the last takes events. */
  readonly programs: readonly PinnedPrograms[];
  /** How many sets of programs were there of which something was missing; they were removed. */
  readonly damaged: number;
}

/**
 * Opens the pinned programs of a family, pins new ones when the pinned ones are not of these options, and makes the
 * newest the one that takes events. Throws KernelRefusal, or when the BPF filesystem cannot be used.
 */
export function openRingChain(options: RingChainOptions): RingChain {
  const { libbpf, pinFolder, family, ownership, rules = NO_RULES } = options;
  makePinFolder(pinFolder);
  const { known, damaged } = openKnown(options);
  const prefix = `${pinFolder}/${family}-${digestOf(options)}-`;
  const newest = known.at(-1);
  const settings = settingsFor(ownership);
  // Programs that were replaced do not come back, also when what replaced them is taken back.
  if (newest?.folder.startsWith(prefix) && newest.settings().untilNs === 0n) {
    setValues(newest, options);
    takeOver(known, settings, options.bootClock);
    newest.setRules(rules);
    return { programs: known, damaged };
  }
  const folder = prefix + String(known.filter((each) => each.folder.startsWith(prefix)).length);
  const fromNs = known.length === 0 ? 0n : NEVER_NS;
  const owner = encodeOwner(ownership);
  pinPrograms(libbpf, folder, { ...options, rules, owner, settings: { ...settings, fromNs } });
  const pinned = openPinnedPrograms(libbpf, folder);
  if (options.loaded !== undefined) {
    // What was proven earlier may have values of then.
    setValues(pinned, options);
    forgetLosses(pinned, options);
  }
  const programs = [...known, pinned];
  takeOver(programs, settings, options.bootClock);
  return { programs, damaged };
}

function setValues(programs: PinnedPrograms, { values = {} }: RingChainOptions): void {
  for (const [map, value] of Object.entries(values)) programs.setValue(map, value);
}

/** What the kernel counts of programs cannot be emptied: it counts as reported. */
function forgetLosses(programs: PinnedPrograms, { family, bootClock }: RingChainOptions): void {
  const ledger = createLossLedger({ programs, family, bootClock, known: undefined });
  ledger.collect();
  const reported = ledger.reported();
  if (reported !== undefined) ledger.persist(reported);
}

/** Programs of a family that an agent of the same options has left. */
export interface InheritedPrograms {
  readonly folder: string;
  readonly variant: ProgramVariant;
}

/**
 * The pinned programs of a family, when there are none but those of these options in one of the variants: then
 * {@link openRingChain} loads nothing.
 */
export function findInherited(
  options: Pick<RingChainOptions, "pinFolder" | "family" | "ringBytes" | "compat">,
  variants: readonly ProgramVariant[],
): InheritedPrograms | undefined {
  const { pinFolder, family } = options;
  const [name, ...others] = (listKernelFolder(pinFolder) ?? [])
    .filter((each) => isGeneration(each, family));
  if (name === undefined || others.length > 0) return undefined;
  const variant = variants.find((each) =>
    name.startsWith(`${family}-${digestOf({ ...options, variant: each })}-`)
  );
  return variant === undefined ? undefined : { folder: `${pinFolder}/${name}`, variant };
}

/** Whether programs of a family are pinned, of whatever options. */
export function hasPinnedPrograms(pinFolder: string, family: string): boolean {
  return listKernelFolder(pinFolder)?.some((name) => isGeneration(name, family)) ?? false;
}

/** The sets of programs that are pinned, oldest first. One that cannot be opened whole is of no use and is removed. */
function openKnown(
  { libbpf, pinFolder, family }: RingChainOptions,
): { known: PinnedPrograms[]; damaged: number } {
  const known: PinnedPrograms[] = [];
  let damaged = 0;
  for (const name of listKernelFolder(pinFolder) ?? []) {
    // A draft is of an agent that was killed while it pinned: its programs take events that nobody reads.
    if (isGeneration(name.replace(/-draft$/, ""), family) && name.endsWith("-draft")) {
      removePins(`${pinFolder}/${name}`);
    }
    if (!isGeneration(name, family)) continue;
    const programs = tryOpen(libbpf, `${pinFolder}/${name}`);
    if (programs?.isWhole()) known.push(programs);
    else {
      programs?.[Symbol.dispose]();
      removePins(`${pinFolder}/${name}`);
      damaged += 1;
    }
  }
  return { known: known.sort((left, right) => left.mapId - right.mapId), damaged };
}

function tryOpen(libbpf: Libbpf, folder: string): PinnedPrograms | undefined {
  try {
    return openPinnedPrograms(libbpf, folder);
  } catch {
    return undefined;
  }
}

/** Digest of what makes rings incompatible: the object's bytes, its variant and the ring's size. */
function digestOf(
  { family, variant, ringBytes, compat }: Pick<
    RingChainOptions,
    "family" | "variant" | "ringBytes" | "compat"
  >,
): string {
  return createHash("sha256").update(readFileSync(objectPath(family)))
    .update(`${variant} ${ringBytes}${compat === true ? " compat" : ""}`).digest("hex").slice(
      0,
      12,
    );
}

/** `<family>-<digest>-<number>`: the number tells programs apart that came back after others. */
function isGeneration(name: string, family: string): boolean {
  return name.startsWith(`${family}-`) &&
    /^[0-9a-f]{12}-[0-9]+$/.test(name.slice(family.length + 1));
}
