/**
 * When an agent was last here: what sources without a ring saw while none was, nobody knows, and the next agent says
 * from when to when that was.
 *
 * Invariant: the time told is never later than the true one. A small file, replaced in one step; losing the newest
 * version in a power failure only makes the told interval longer.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { makeFolders } from "../runtime/folders.ts";

/** How often a running agent says that it is here. */
export const PRESENCE_INTERVAL_MS = 5000;

export interface Presence {
  /** When the agent before this one was last here, µs since the Unix epoch; undefined if there was none. */
  readonly lastUs: number | undefined;
  /** Says that the agent is here, and has told everything up to this time. */
  touch(nowUs: number): void;
}

/** Reads who was here before; `path` is a file that {@link Presence.touch} makes. */
export function createPresence(path: string): Presence {
  const lastUs = readLast(path);
  const written = `${path}.new`;
  return {
    lastUs,
    touch(nowUs) {
      makeFolders(dirname(path), 0o700);
      writeFileSync(written, `${JSON.stringify({ here_us: nowUs })}\n`, { mode: 0o600 });
      renameSync(written, path);
    },
  };
}

function readLast(path: string): number | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined; // No agent was here, or its file was cut: nothing is known.
  }
  if (typeof value !== "object" || value === null || !("here_us" in value)) return undefined;
  return Number.isSafeInteger(value.here_us) ? Number(value.here_us) : undefined;
}
