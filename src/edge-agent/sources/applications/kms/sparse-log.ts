/** Lines about somebody who may give cause for any number of them: so many a minute, and how many were left out. */
import type { Clock } from "../../../../runtime/clock.ts";
import type { Log } from "../../../../runtime/log.ts";

export const LINES_PER_MINUTE = 30;
const MINUTE_MS = 60_000;

/** The same log, sparse. */
export function createSparseLog(log: Log, clock: Pick<Clock, "elapsedMs">): Log {
  let sinceMs = -Infinity;
  let count = 0;
  const isTold = (): boolean => {
    const nowMs = clock.elapsedMs();
    if (nowMs - sinceMs >= MINUTE_MS) {
      const leftOut = count - LINES_PER_MINUTE;
      sinceMs = nowMs;
      count = 0;
      if (leftOut > 0) log.warn("Left out lines about the KMS", { count: leftOut });
    }
    count += 1;
    return count <= LINES_PER_MINUTE;
  };
  return {
    ...log,
    debug: (...line) => isTold() && log.debug(...line),
    info: (...line) => isTold() && log.info(...line),
    warn: (...line) => isTold() && log.warn(...line),
    error: (...line) => isTold() && log.error(...line),
  };
}
