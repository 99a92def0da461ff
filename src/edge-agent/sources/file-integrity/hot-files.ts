/**
 * Files that somebody writes to and has not closed: what is stored through a mapping after the first store is told by
 * nobody, so they are looked at by the clock, ever less often.
 *
 * Invariants: a file stays until it is closed or was quiet for {@link QUIET_LIMIT_MS}; at most {@link HOT_FILES_MAX}.
 */

/** First wait: what the hook does not tell a second time within its second has come by then. */
const FIRST_WAIT_MS = 1100;
const WAIT_MAX_MS = 60_000;
const QUIET_LIMIT_MS = 10 * 60_000;
export const HOT_FILES_MAX = 1024;

export interface HotFiles {
  /** There is news of it: it was written to, or a look found a change, and it is still open. */
  note(path: string, nowMs: number): void;
  closed(path: string): void;
  /** Paths whose next look is due; their next wait is longer. Those that were quiet for too long come a last time. */
  due(nowMs: number): readonly string[];
  has(path: string): boolean;
  readonly size: number;
}

interface Hot {
  sinceMs: number;
  waitMs: number;
  nextMs: number;
}

export function createHotFiles(): HotFiles {
  const files = new Map<string, Hot>();
  return {
    note(path, nowMs) {
      const known = files.get(path);
      if (known !== undefined) {
        known.sinceMs = nowMs;
        return;
      }
      if (files.size >= HOT_FILES_MAX) {
        const [oldest] = files.keys();
        if (oldest !== undefined) files.delete(oldest);
      }
      files.set(path, { sinceMs: nowMs, waitMs: FIRST_WAIT_MS, nextMs: nowMs + FIRST_WAIT_MS });
    },
    closed: (path) => void files.delete(path),
    due(nowMs) {
      const due: string[] = [];
      for (const [path, hot] of files) {
        if (nowMs < hot.nextMs) continue;
        due.push(path);
        hot.waitMs = Math.min(WAIT_MAX_MS, 2 * hot.waitMs);
        hot.nextMs = nowMs + hot.waitMs;
        if (nowMs - hot.sinceMs > QUIET_LIMIT_MS) files.delete(path);
      }
      return due;
    },
    has: (path) => files.has(path),
    get size() {
      return files.size;
    },
  };
}
