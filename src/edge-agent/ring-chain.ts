/**
 * The rings of a family, oldest first: usually one. After a change of the programs or of the ring's size there are two
 * for a moment: the new programs take over from the old ones at one instant, and the old ring is read to its end.
 *
 * Invariants: at any moment one set of programs takes events. The instant is written into the new programs before the
 * old ones, so that a process killed in between leaves an overlap, never a hole; the reader passes over what the old
 * ring holds from that instant on.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { BootClock } from "./boot-clock.ts";
import { makePinFolder } from "./bpf-filesystem.ts";
import { listKernelFolder } from "./kernel-files.ts";
import type { Libbpf } from "./libbpf.ts";
import { openPinnedPrograms, type PinnedPrograms, pinPrograms } from "./pinned-programs.ts";
import { objectPath, type ProgramVariant } from "./program-object.ts";
import { NEVER_NS, type ProgramSettings } from "./program-settings.ts";

/** From writing the instant of a change until it comes. */
const HANDOVER_NS = 5_000_000n;

export interface RingChainOptions {
  readonly libbpf: Libbpf;
  readonly bootClock: BootClock;
  readonly pinFolder: string;
  readonly family: string;
  readonly variant: ProgramVariant;
  readonly ringBytes: number;
  /** Bounds of time are set here, not by the caller. */
  readonly settings: ProgramSettings;
}

/**
 * Opens the pinned programs of a family, pins new ones when the pinned ones are not of these options, and makes the
 * newest the one that takes events. The last of the list is the newest. Throws KernelRefusal, or when the BPF
 * filesystem cannot be used.
 */
export function openRingChain(options: RingChainOptions): PinnedPrograms[] {
  const { libbpf, pinFolder, family } = options;
  makePinFolder(pinFolder);
  const known = (listKernelFolder(pinFolder) ?? []).filter((name) => isGeneration(name, family))
    .map((name) => openPinnedPrograms(libbpf, `${pinFolder}/${name}`))
    .sort((left, right) => left.mapId - right.mapId);
  const prefix = `${pinFolder}/${family}-${digestOf(options)}-`;
  const newest = known.at(-1);
  // Programs that were replaced do not come back, also when what replaced them is taken back.
  if (newest?.folder.startsWith(prefix) && newest.settings().untilNs === 0n) {
    takeOver(known, options);
    return known;
  }
  const folder = prefix + String(known.filter((each) => each.folder.startsWith(prefix)).length);
  const fromNs = known.length === 0 ? 0n : NEVER_NS;
  pinPrograms(libbpf, folder, { ...options, settings: { ...options.settings, fromNs } });
  const chain = [...known, openPinnedPrograms(libbpf, folder)];
  takeOver(chain, options);
  return chain;
}

/** Writes the settings into all programs, each bounded by the start of the next. */
function takeOver(chain: readonly PinnedPrograms[], options: RingChainOptions): void {
  let untilNs = 0n;
  for (const programs of chain.toReversed()) {
    const known = programs.settings();
    const fromNs = known.fromNs === NEVER_NS
      ? options.bootClock.nowNs() + HANDOVER_NS
      : known.fromNs;
    programs.setSettings({
      ...options.settings,
      fromNs,
      untilNs: known.untilNs === 0n ? untilNs : known.untilNs,
    });
    untilNs = fromNs;
  }
}

/** Digest of what makes rings incompatible: the object's bytes, its variant and the ring's size. */
function digestOf({ family, variant, ringBytes }: RingChainOptions): string {
  return createHash("sha256").update(readFileSync(objectPath(family)))
    .update(`${variant} ${ringBytes}`).digest("hex").slice(0, 12);
}

/** `<family>-<digest>-<number>`: the number tells programs apart that came back after others. */
function isGeneration(name: string, family: string): boolean {
  return name.startsWith(`${family}-`) &&
    /^[0-9a-f]{12}-[0-9]+$/.test(name.slice(family.length + 1));
}
