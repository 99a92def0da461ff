/**
 * The instant at which programs take over from those before them, written into all of them.
 *
 * Invariant: the newer programs know of the instant before it comes. Where a busy host let it pass meanwhile, a later one
 * is chosen: what the newer ones took before that is passed over by the reader, since the older ones took it, too. The
 * older ones are told last, so that whoever is killed in between leaves an overlap, never a hole.
 */
import type { BootClock } from "./boot-clock.ts";
import type { PinnedPrograms } from "./pinned-programs.ts";
import { NEVER_NS, type ProgramSettings } from "./program-settings.ts";

/** From choosing the instant of a change until it comes. */
export const HANDOVER_NS = 50_000_000n;
/** So long before the instant the programs must have been told. */
const MARGIN_NS = 10_000_000n;
/** The time is doubled so often, at most: to a quarter of an hour. */
const ATTEMPTS_MAX = 15;

export type Adjustable = Pick<PinnedPrograms, "settings" | "setSettings">;

/** Writes the settings into all programs, oldest first, each bounded by the start of the next. */
export function takeOver(
  chain: readonly Adjustable[],
  settings: ProgramSettings,
  bootClock: Pick<BootClock, "nowNs">,
): void {
  let untilNs = 0n;
  for (const programs of chain.toReversed()) {
    const known = programs.settings();
    // The first write of a frozen map makes its gate: that must not fall between telling the time and writing it.
    programs.setSettings(known);
    const write = (fromNs: bigint): void =>
      programs.setSettings({
        ...settings,
        generation: known.generation,
        fromNs,
        untilNs: known.untilNs === 0n ? untilNs : known.untilNs,
      });
    if (known.fromNs === NEVER_NS) untilNs = begin(write, bootClock);
    else {
      write(known.fromNs);
      untilNs = known.fromNs;
    }
  }
}

/** The instant that was written in time. Throws when the host is too busy to write any. */
function begin(write: (fromNs: bigint) => void, { nowNs }: Pick<BootClock, "nowNs">): bigint {
  let aheadNs = HANDOVER_NS;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const fromNs = nowNs() + aheadNs;
    write(fromNs);
    if (nowNs() + MARGIN_NS < fromNs) return fromNs;
    aheadNs *= 2n;
  }
  write(NEVER_NS);
  throw new Error("Cannot take over from older programs: the instant is always past already");
}
