/**
 * How old what is kept may be, on a machine whose clock may be wrong.
 *
 * Invariant: a clock that is put forward makes nothing older than the time that really passed: what was kept is compared
 * with the earlier of the clock and what passed since the start, and with nothing in the first day, in which a clock that
 * was wrong at the start is put right. A second bound, such as a size, is needed beside it.
 */
import type { Clock } from "../../../../runtime/clock.ts";

const DAY_MS = 24 * 3_600_000;
/** The clock and what passed differ by so much only when the clock was put. */
const MOVED_MS = 3_600_000;

export interface KeptTime {
  /** What is from before this moment is older than `keptMs`. */
  beforeMs(keptMs: number): number;
  /** By how much the clock was put since this was last asked; 0 when it was not. */
  movedMs(): number;
}

export function createKeptTime(clock: Clock): KeptTime {
  const wallMs = (): number => Math.floor(clock.nowUs() / 1000);
  const startedMs = wallMs();
  const startedElapsedMs = clock.elapsedMs();
  let toldMs = 0;
  const ranMs = (): number => clock.elapsedMs() - startedElapsedMs;
  return {
    beforeMs(keptMs) {
      if (ranMs() < DAY_MS) return 0;
      return Math.floor(Math.min(wallMs(), startedMs + ranMs())) - keptMs;
    },
    movedMs() {
      const more = Math.round(wallMs() - startedMs - ranMs()) - toldMs;
      if (Math.abs(more) < MOVED_MS) return 0;
      toldMs += more;
      return more;
    },
  };
}
