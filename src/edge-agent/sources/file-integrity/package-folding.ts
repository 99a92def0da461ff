/**
 * Holds back what package managers write until it is known what packages deliver, and tells it as one event per
 * package. What is held is in `agent.db`, with the state of the files.
 *
 * Invariants: every held line is told, in its place or within a package's; a restart tells those that were held singly.
 * Only what every writer between two looks did for a package manager is held.
 */
import process from "node:process";
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import { timeLimit } from "../../../runtime/time-limit.ts";
import { readStartTicks } from "../../process-identity.ts";
import { textsOf } from "../../process-lookup.ts";
import type { FileState, NumberedLine, StateChange } from "./file-state.ts";
import { packageLine, strayLine } from "./package-lines.ts";
import { loadManifests } from "./packages/load-manifests.ts";
import type { FileDigests } from "./packages/manifest-entry.ts";
import { createManifestIndex, type ManifestIndex } from "./packages/manifest-index.ts";
import { createPackageFold, type FoldedChanges } from "./packages/package-fold.ts";
import { type PackageManager, packageManagerOf } from "./packages/package-writer.ts";
import type { PendingLook } from "./pending-looks.ts";

/** How often it is looked whether a manager has ended. */
const END_CHECK_MS = 1000;
/** How long reading the manifests may take. */
const LOAD_LIMIT_MS = 60_000;
/** The same while the agent ends. */
const LAST_LOAD_LIMIT_MS = 4_000;

export interface PackageFoldingOptions {
  readonly state: FileState;
  /** Folder that stands for `/` where manifests are read. */
  readonly root?: string;
  readonly onLines: (lines: readonly NumberedLine[]) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export interface PackageFolding {
  /** Writes a change and holds its lines; false when it is to be told at once, and nothing was written. */
  hold(change: StateChange & { readonly digests?: FileDigests }, look: PendingLook): boolean;
  /** Begins to tell what is due. */
  step(): void;
  /** Tells everything. */
  finish(): Promise<void>;
}

interface Told {
  readonly numbers: readonly number[];
}

export function createPackageFolding(options: PackageFoldingOptions): PackageFolding {
  const { state, onLines, clock, log, root } = options;
  const fold = createPackageFold<Told>();
  const managers = new Set<string>();
  /** Manifests after the last manager, or when the first change came: what is removed is in these alone. */
  let before: Promise<ManifestIndex> | undefined;
  let work: Promise<void> | undefined;
  let checkedMs = 0;

  /** What cannot be read delivers nothing: its files are told singly. */
  const load = async (limitMs: number): Promise<ManifestIndex> => {
    try {
      const signal = timeLimit(limitMs);
      const place = root === undefined ? {} : { root };
      const { index, faults } = await loadManifests({ signal, ...place });
      for (const fault of faults) log.warn("cannot read the manifests of packages", { fault });
      return index;
    } catch (error) {
      log.warn("cannot read the manifests of packages", { error: String(error) });
      return createManifestIndex();
    }
  };
  const tell = ({ packages, strays }: FoldedChanges<Told>): void => {
    for (const { owner, manager, changes } of packages) {
      const numbers = changes.flatMap((each) => each.numbers);
      onLines(state.replace(numbers, packageLine(state.held(numbers), { owner, manager })));
    }
    for (const { numbers } of strays) {
      onLines(state.replace(numbers, state.held(numbers).map(strayLine)));
    }
    if (fold.size === 0) {
      before = undefined;
      managers.clear();
    }
  };
  const noticeEnds = (nowMs: number): void => {
    if (nowMs - checkedMs < END_CHECK_MS) return;
    checkedMs = nowMs;
    for (const id of managers) {
      const [, pid = 0, ticks] = id.split("-").map(Number);
      if (pid === process.pid || readStartTicks(pid) === ticks) continue;
      fold.exited(id);
      managers.delete(id);
    }
  };
  return {
    hold(change, look) {
      const manager = managerOf(look);
      const isFull = fold.dueMs !== undefined && fold.size >= HELD_MAX;
      if (manager === undefined || change.lines.length === 0 || isFull) return false;
      // Taken before the manager has changed them all, as far as that can be.
      before ??= load(LOAD_LIMIT_MS);
      const numbers = state.hold(change);
      const { digests } = change;
      const told = { path: look.path, digests, manager, told: { numbers } };
      if (!fold.add(told, clock.elapsedMs())) onLines(state.replace(numbers, state.held(numbers)));
      if (manager.processId !== undefined) managers.add(manager.processId);
      return true;
    },
    step() {
      const nowMs = clock.elapsedMs();
      if (fold.size === 0 || work !== undefined) return;
      noticeEnds(nowMs);
      if ((fold.dueMs ?? Infinity) > nowMs) return;
      work = (async () => {
        try {
          const [now, then] = [await load(LOAD_LIMIT_MS), await before];
          tell(fold.fold({ now, before: then }, clock.elapsedMs()));
          // What the next manager removes: it may have dropped its manifest when its first change is seen.
          if (fold.size === 0) before = Promise.resolve(now);
        } catch (error) {
          // They stay in the database: the next start tells them.
          log.error("cannot tell what packages changed", { error: String(error) });
        } finally {
          work = undefined;
        }
      })();
    },
    async finish() {
      await work;
      if (fold.size === 0) return;
      const [now, then] = [await load(LAST_LOAD_LIMIT_MS), await before];
      tell(fold.foldAll({ now, before: then }));
    },
  };
}

/** Lines held at once: each is in the database, not in memory. */
const HELD_MAX = 50_000;

/** The package manager for which all of a look's writers work. */
export function managerOf({ writers, origin }: PendingLook): PackageManager | undefined {
  if (origin.kind !== "live") return undefined;
  const managers = writers.map(({ actor, ancestors = [] }) =>
    packageManagerOf([{ ...textsOf(actor.image), ...columnsOf(actor.columns) }, ...ancestors])
  );
  return managers.includes(undefined) ? undefined : managers.at(-1);
}

function columnsOf(columns: string): { readonly process_id?: string; readonly exe?: string } {
  return JSON.parse(`{${columns.slice(0, -1)}}`);
}
