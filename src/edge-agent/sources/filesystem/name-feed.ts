/**
 * What the filesystem source sees by name, handed on to who watches single files: one reader of the kernel's names is
 * enough for both.
 *
 * Invariant: reports come in the kernel's order, each once; without a listener they are dropped, so whoever begins to
 * listen looks at everything afterwards.
 */
import type { Actor, Observation } from "./describe.ts";
import type { FileHandle } from "./file-handle.ts";

export interface NameReport {
  readonly pid: number;
  readonly actor: Actor;
  readonly seen: Observation;
  readonly target: FileHandle | undefined;
}

export interface NameListener {
  told(report: NameReport): void;
  /** Reports between two times (µs since the Unix epoch) are missing. */
  lost(fromUs: number, toUs: number): void;
}

export interface NameFeed extends NameListener {
  /** Sets who listens, or nobody. */
  listen(listener: NameListener | undefined): void;
}

export function createNameFeed(): NameFeed {
  let listener: NameListener | undefined;
  return {
    told: (report) => listener?.told(report),
    lost: (fromUs, toUs) => listener?.lost(fromUs, toUs),
    listen(next) {
      listener = next;
    },
  };
}
