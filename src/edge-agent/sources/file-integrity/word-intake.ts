/**
 * From what the kernel reports to words about watched paths: names from the feed, closes and attributes from the group
 * of contents, stores from the inode hook.
 *
 * Invariant: whoever did it is asked for at once, while the process may still be there; what is not about a watched
 * path costs no such question.
 */
import type { Clock } from "../../../runtime/clock.ts";
import type { ProcessLookup } from "../../process-lookup.ts";
import type { Observation } from "../filesystem/describe.ts";
import { FAN_CREATE, FAN_DELETE, FAN_ONDIR, FAN_RENAME } from "../filesystem/fanotify-event.ts";
import type { NameReport } from "../filesystem/name-feed.ts";
import type { ContentReport } from "./content-reports.ts";
import type { FileState } from "./file-state.ts";
import type { InodeHit } from "./inode-hook.ts";
import type { How, PendingLooks, Word, Writer } from "./pending-looks.ts";
import type { Reconciliation } from "./reconciliation.ts";
import type { WatchedPlaces } from "./watch-policies.ts";
import { isUnder } from "../filesystem/directory-tree.ts";

/** Files of a directory that was moved which are followed one by one; with more, everything is compared. */
export const MOVED_FILES_MAX = 10_000;

export interface WordIntakeOptions {
  readonly state: FileState;
  readonly places: WatchedPlaces;
  readonly pending: PendingLooks;
  readonly reconciliation: Pick<Reconciliation, "request" | "requestBelow">;
  readonly processes: ProcessLookup;
  /** Before it no agent ran, µs since the Unix epoch. */
  readonly startedUs: number;
  readonly clock: Clock;
}

export interface WordIntake {
  name(report: NameReport): void;
  /** Whether it was about a watched file. */
  content(report: ContentReport): boolean;
  hit(hit: InodeHit): boolean;
}

export function createWordIntake(options: WordIntakeOptions): WordIntake {
  const { state, places, pending, reconciliation, processes, startedUs, clock } = options;

  const add = (path: string, word: Word): void => pending.add(path, word, clock.elapsedMs());
  const writerOf = (
    pid: number,
    { how, atUs, actor }: {
      readonly how: How;
      readonly atUs: number;
      readonly actor?: Writer["actor"];
    },
  ): Writer => ({
    pid,
    actor: actor ?? processes.actorOf(pid),
    ancestors: processes.ancestorsOf(pid),
    how,
    atUs,
    isSeenWriting: false,
  });

  /** Everything that was known below a directory follows it. */
  const moveDirectory = (seen: Observation, word: Word): void => {
    const newPath = seen.newPath?.isComplete === true ? seen.newPath.path : undefined;
    for (const from of places.writtenOf(seen.path.path)) {
      const paths = state.below(from, MOVED_FILES_MAX + 1);
      if (paths.length > MOVED_FILES_MAX) {
        const nowUs = clock.nowUs();
        reconciliation.request({ kind: "reconciled", fromUs: nowUs, toUs: nowUs });
        return;
      }
      for (const path of paths) {
        const rest = path.slice(from.length);
        add(path, { ...word, ...(newPath === undefined ? {} : { newPath: newPath + rest }) });
        if (newPath === undefined) continue;
        for (const to of places.namesOf(newPath + rest)) add(to, { ...word, oldPath: path });
      }
    }
    if (newPath === undefined) return;
    for (const to of places.writtenOf(newPath)) {
      if (places.mayContain(to)) reconciliation.requestBelow(to, word);
    }
  };
  /** What stands above a root decides what is at it. */
  const lookAtRoots = (path: string, word: Word): void => {
    places.refresh();
    for (const written of places.writtenOf(path)) {
      for (const root of places.roots.filter((each) => isUnder(each, written))) {
        reconciliation.requestBelow(root, word);
        add(root, word);
        for (const below of state.below(root, MOVED_FILES_MAX)) add(below, word);
      }
    }
  };

  return {
    name({ seen, target, pid, actor }) {
      const { mask } = seen;
      const isDirectory = (mask & FAN_ONDIR) !== 0;
      const from = seen.path.isComplete ? places.namesOf(seen.path.path) : [];
      const to = seen.newPath?.isComplete === true ? places.namesOf(seen.newPath.path) : [];
      const known = target === undefined || isDirectory ? [] : state.pathsOf(target);
      const changed = [seen.path, ...(seen.newPath === undefined ? [] : [seen.newPath])]
        .filter(({ isComplete }) => isComplete).map(({ path }) => path);
      const above = changed.filter((path) =>
        places.isAboveRoot(path) &&
        (isDirectory || seen.linkText !== undefined || !places.roots.includes(path))
      );
      const isMove = isDirectory && (mask & FAN_RENAME) !== 0 &&
        (changed.some((path) => places.writtenOf(path).some(places.mayContain)));
      if (from.length + to.length + known.length + above.length === 0 && !isMove) return;
      const how = howOfName(seen);
      const word: Word = { how, writer: writerOf(pid, { how, atUs: seen.readAtUs, actor }) };
      const newPath = seen.newPath?.path;
      if (isMove) moveDirectory(seen, word);
      for (const path of above) lookAtRoots(path, word);
      if (isDirectory) {
        for (const path of [...from, ...to]) add(path, word);
        return;
      }
      for (const path of from) {
        add(path, { ...word, ...(newPath === undefined ? {} : { newPath }) });
      }
      for (const path of to) {
        const oldPath = places.namesOf(seen.path.path)[0] ?? seen.path.path;
        add(path, seen.path.isComplete ? { ...word, oldPath } : word);
      }
      for (const path of known) {
        if (!from.includes(path) && !to.includes(path)) add(path, word);
      }
    },
    content({ handle, pid, isClosed }) {
      const paths = state.pathsOf(handle);
      if (paths.length === 0) return false;
      const how = isClosed ? "write" : "attribute";
      const writer = writerOf(pid, { how, atUs: clock.nowUs() });
      for (const path of paths) {
        add(path, isClosed ? { how, writer, isOpen: false } : { how, writer });
      }
      return true;
    },
    hit({ device, inode, writer }) {
      const paths = state.pathsOfInode(device, inode);
      // The ring holds what was stored while no agent ran, too.
      const origin = writer.atUs < startedUs ? { origin: { kind: "offline" } as const } : {};
      for (const path of paths) add(path, { how: writer.how, writer, isOpen: true, ...origin });
      return paths.length > 0;
    },
  };
}

function howOfName({ mask, isExchange, isLink }: Observation): How {
  if ((mask & FAN_RENAME) !== 0) return isExchange ? "exchange" : "rename";
  if ((mask & FAN_CREATE) !== 0) return isLink ? "link" : "create";
  return (mask & FAN_DELETE) !== 0 ? "delete" : "attribute";
}
