/**
 * Folds the changes that a package manager makes: those whose content is what the package delivers become one event per
 * package; all others are told one by one, and are grave. A pure state machine: time and manifests come in.
 *
 * Invariants: every change that goes in comes out once, as one of a package's or alone; what nobody's package manager
 * wrote is not held for a moment; what is held is bounded in number and in time.
 */
import type { FileDigests, PackageName } from "./manifest-entry.ts";
import type { ManifestIndex } from "./manifest-index.ts";
import type { PackageManager } from "./package-writer.ts";

/** A change of a file, with whatever is to be told of it. */
export interface PackageChange<T> {
  /** Binary. */
  readonly path: string;
  /** Digests of the content that is there now; undefined when the file is gone. */
  readonly digests: FileDigests | undefined;
  /** See `packageManagerOf`; undefined when the writer works for none or is not known. */
  readonly manager: PackageManager | undefined;
  readonly told: T;
}

export interface PackageChanges<T> {
  readonly owner: PackageName;
  /** Name of the program: `dpkg`, `apt-get`. */
  readonly manager: string;
  /** In the order in which they came; their number is `detail.count`. */
  readonly changes: readonly T[];
}

export interface FoldedChanges<T> {
  /** One event each, with `detail.package` and `detail.count`. */
  readonly packages: readonly PackageChanges<T>[];
  /** Written by a package manager, and not what a package delivers: severity high, each alone. */
  readonly strays: readonly T[];
}

/** Manifests as they are now, and as they were before the manager began, for what was removed. */
export interface FoldManifests {
  readonly now: Pick<ManifestIndex, "ownerOf">;
  readonly before?: Pick<ManifestIndex, "ownerOf" | "ownerOfPath"> | undefined;
}

export interface PackageFold<T> {
  /** Takes a change; false when it is not held, for no manager wrote it or too many are: tell it at once. */
  add(change: PackageChange<T>, nowMs: number): boolean;
  /** A process ended: a manager's work may be done. */
  exited(processId: string): void;
  /** When to fold next, in ms of the clock that `add` is given; undefined when nothing is held. */
  readonly dueMs: number | undefined;
  /** Gives out what is due: load the manifests, then call this. */
  fold(manifests: FoldManifests, nowMs: number): FoldedChanges<T>;
  /** Gives out everything, as at the end of the agent. */
  foldAll(manifests: FoldManifests): FoldedChanges<T>;
  readonly size: number;
}

export interface PackageFoldLimits {
  /** After so long without a change, a manager's changes are folded. */
  readonly quietMs: number;
  /** What no manifest has yet is held so long, for manifests are written after the files. */
  readonly holdMs: number;
  /** Changes that are held at once; more are not taken. */
  readonly changesMax: number;
}

export const PACKAGE_FOLD_LIMITS: PackageFoldLimits = {
  quietMs: 5_000,
  holdMs: 60_000,
  changesMax: 50_000,
};

interface Held<T> {
  readonly change: PackageChange<T>;
  readonly sinceMs: number;
}

interface Session<T> {
  readonly manager: PackageManager;
  held: Held<T>[];
  lastMs: number;
  isOver: boolean;
}

export function createPackageFold<T>(
  { quietMs, holdMs, changesMax }: PackageFoldLimits = PACKAGE_FOLD_LIMITS,
): PackageFold<T> {
  /** By process; managers whose process is not known share one. */
  const sessions = new Map<string, Session<T>>();
  const sizeOf = (): number =>
    [...sessions.values()].reduce((sum, { held }) => sum + held.length, 0);
  let size = 0;

  const dueOf = ({ held, lastMs, isOver }: Session<T>): number => {
    if (isOver) return lastMs;
    const oldest = held[0]?.sinceMs ?? lastMs;
    // What is still there after the first quiet time waits for its manifest.
    return lastMs + quietMs > oldest + holdMs ? oldest + holdMs : lastMs + quietMs;
  };
  const foldSessions = (
    due: readonly (readonly [string, Session<T>])[],
    { manifests, isFinal }: {
      readonly manifests: FoldManifests;
      readonly isFinal: (held: Held<T>, session: Session<T>) => boolean;
    },
  ): FoldedChanges<T> => {
    const packages: PackageChanges<T>[] = [];
    const strays: T[] = [];
    for (const [id, session] of due) {
      const byPackage = new Map<string, { owner: PackageName; changes: T[] }>();
      const kept: Held<T>[] = [];
      for (const held of session.held) {
        const owner = ownerOf(held.change, manifests);
        if (owner !== undefined) {
          const name = JSON.stringify([owner.package, owner.version, owner.arch]);
          const found = byPackage.get(name) ?? { owner, changes: [] };
          found.changes.push(held.change.told);
          byPackage.set(name, found);
        } else if (isFinal(held, session)) strays.push(held.change.told);
        else kept.push(held);
      }
      for (const found of byPackage.values()) {
        packages.push({ ...found, manager: session.manager.name });
      }
      session.held = kept;
      if (kept.length === 0) sessions.delete(id);
    }
    size = sizeOf();
    return { packages, strays };
  };
  return {
    add(change, nowMs) {
      const { manager } = change;
      if (manager === undefined || size >= changesMax) return false;
      const id = manager.processId ?? "";
      const session = sessions.get(id) ?? { manager, held: [], lastMs: nowMs, isOver: false };
      sessions.set(id, session);
      session.held.push({ change, sinceMs: nowMs });
      session.lastMs = nowMs;
      size += 1;
      return true;
    },
    exited(processId) {
      const session = sessions.get(processId);
      if (session !== undefined) session.isOver = true;
    },
    get dueMs() {
      if (sessions.size === 0) return undefined;
      return Math.min(...[...sessions.values()].map(dueOf));
    },
    fold(manifests, nowMs) {
      const due = [...sessions].filter(([, session]) => dueOf(session) <= nowMs);
      const folded = foldSessions(due, {
        manifests,
        isFinal: ({ sinceMs }, { isOver }) => isOver || sinceMs + holdMs <= nowMs,
      });
      // Those that wait for a manifest are looked at again after another quiet time.
      for (const [, session] of due) session.lastMs = nowMs;
      return folded;
    },
    foldAll: (manifests) => foldSessions([...sessions], { manifests, isFinal: () => true }),
    get size() {
      return size;
    },
  };
}

/** Names that a file has while it is put in place, or beside one that its owner changed: dpkg's, rpm's, apk's. */
const PASSING = /(?:\.dpkg-(?:new|tmp|dist)|;[0-9a-f]{8}|\.rpmnew|\.apk-new)$/;

/** The package whose content this is; of a file that is gone, the one that had it. */
function ownerOf<T>(
  { path, digests }: PackageChange<T>,
  { now, before }: FoldManifests,
): PackageName | undefined {
  const name = path.replace(PASSING, "");
  if (digests === undefined) return before?.ownerOfPath(name);
  const owner = now.ownerOf(name, digests);
  // What is put aside is what the package delivered before.
  return owner === undefined && name !== path ? before?.ownerOf(name, digests) : owner;
}
