/**
 * One run of file integrity: takes in words, looks at files when their time has come, writes what was found, and hands
 * out lines.
 *
 * Invariants: lines are handed out after they were written, in the order of their numbers; reading what the kernel
 * queues never waits for a look, which may take long; a disk that refuses delays, and loses nothing.
 */
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import type { Libc } from "../../libc.ts";
import type { ProcessLookup } from "../../process-lookup.ts";
import type { SourceLoss } from "../../source.ts";
import type { FanotifyGroup } from "../filesystem/fanotify-group.ts";
import type { NameFeed } from "../filesystem/name-feed.ts";
import { createObserver } from "../filesystem/observer.ts";
import {
  createWatchedHandles,
  siftContentReports,
  type WatchedHandles,
} from "./content-reports.ts";
import { type ContentKinds, createExaminer } from "./examination.ts";
import { createFileLooker } from "./file-look.ts";
import type { FileRecord } from "./file-record.ts";
import type { FileState, NumberedLine, StateChange } from "./file-state.ts";
import { createHotFiles } from "./hot-files.ts";
import type { InodeHook } from "./inode-hook.ts";
import { createPackageFolding, type PackageFolding } from "./package-folding.ts";
import { createPendingLooks, type Origin, type PendingLook } from "./pending-looks.ts";
import { BASELINE, createReconciliation, firstOrigin, isUnchanged } from "./reconciliation.ts";
import { createWatchedPlaces, type WatchPolicies } from "./watch-policies.ts";
import { createWordIntake } from "./word-intake.ts";

/** Reports are read for this long before anything else gets its turn. */
const READ_MS = 5;
/** A look that could not be taken or written is taken again after this. */
const RETRY_MS = 500;
const DISK_RETRY_MS = 2000;
/** How often what the hook told is given back to the kernel. */
const SETTLE_MS = 1000;

export interface IntegrityCounts {
  submitted: number;
  filtered: number;
  ringFull: number;
}

export interface IntegrityRunOptions {
  readonly libc: Libc;
  readonly group: FanotifyGroup;
  readonly state: FileState;
  readonly hook: InodeHook | undefined;
  readonly names: NameFeed;
  readonly policies: WatchPolicies;
  /** Policies of a former text; undefined when it cannot be read any more. */
  readonly parsePolicies: (text: string) => WatchPolicies | undefined;
  readonly kinds: ContentKinds;
  readonly processes: ProcessLookup;
  readonly dataDirectory: string;
  /** A file in it that is watched, too. */
  readonly canaryPath: string;
  /** Folder that stands for `/` where manifests of packages are read. */
  readonly packageRoot?: string;
  /** Since when policies were others while the agent ran, µs since the Unix epoch; undefined when none ran before. */
  readonly followedUs: number | undefined;
  /** Of the run that goes on by other policies in this one. */
  readonly unfinished?: UnfinishedRun | undefined;
  readonly counts: IntegrityCounts;
  readonly lost: (loss: SourceLoss) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** What a run leaves to the next one: what was said and who said it, and lines that wait. */
export interface UnfinishedRun {
  readonly looks: readonly PendingLook[];
  /** Reports that the kernel has queued are about these, before the next run has compared anything. */
  readonly handles: WatchedHandles;
  readonly folding: PackageFolding;
  readonly ready: NumberedLine[];
  /** What a comparison was for that had not ended. */
  readonly compared: Origin | undefined;
}

export interface IntegrityRun extends Disposable {
  /** Reads, and sets looks going; throws what a look threw. */
  round(): void;
  /** Whether a round would find nothing to do; cheap. */
  isQuiet(): boolean;
  /** Lines written since the last call. */
  take(): readonly NumberedLine[];
  /** Reports were lost: everything is to be compared. */
  doubt(): void;
  /** Looks at everything that waits, as if its time had come. */
  finish(): Promise<void>;
  /** Resolves when nothing is being looked at. */
  pause(): Promise<void>;
  /** Ends a paused run for one that is to be opened at once: nothing said is lost. Throws what a look threw. */
  leave(): UnfinishedRun;
  /** Whether everything was compared once … */
  readonly isCompared: boolean;
  /** … and nothing waits. */
  readonly isSettled: boolean;
}

export function openIntegrityRun(options: IntegrityRunOptions): IntegrityRun {
  const { libc, group, state, hook, names, policies, processes, unfinished } = options;
  const { followedUs, counts, lost, clock, log } = options;
  const filesystemOf = (fsid: string) => group.filesystemOf(fsid);
  const observer = createObserver({ libc, filesystemOf, pump: () => undefined });
  const canaryPath = binaryOfPath(options.canaryPath);
  const places = createWatchedPlaces({
    policies,
    pathOf: (directory) => observer.pathOf(directory),
    dataDirectory: binaryOfPath(options.dataDirectory),
    canaryPath,
  });
  observer.release();
  const looker = createFileLooker(libc, filesystemOf);
  const pending = createPendingLooks(() => crowded());
  const handles = unfinished?.handles ?? createWatchedHandles();
  const hot = createHotFiles();
  const formerText = state.setting(BASELINE);
  const former = formerText === undefined ? undefined : options.parsePolicies(formerText);
  const examiner = createExaminer({
    state,
    looker,
    kinds: options.kinds,
    kindOf: places.kindOf,
    isCanary: (path) => path === canaryPath,
    clock,
    onBytes: (count) => reconciliation.spent(count),
  });
  const ready = unfinished?.ready ?? [];
  let work: Promise<void> | undefined;
  let failure: { readonly error: unknown } | undefined;
  let emptyAtUs = clock.nowUs();

  /** What was known of all paths of a change, before it is written. */
  const knownOf = ({ put, remove }: StateChange): ReadonlyMap<string, FileRecord> =>
    new Map(
      [...remove, ...put.map(({ path }) => path)].flatMap((path) => {
        const known = state.byPath(path);
        return known === undefined ? [] : [[path, known]];
      }),
    );
  /** What the kernel is to look out for from now on; of inodes without a name left, not any more. */
  const follow = ({ put }: StateChange, known: ReadonlyMap<string, FileRecord>): void => {
    for (const record of known.values()) {
      if (state.pathsOfInode(record.device, record.inode).length === 0) hook?.unwatch(record);
    }
    for (const record of put) listenTo(record);
    for (const record of put) {
      if (known.get(record.path)?.handle !== record.handle) lookAgain(record);
    }
  };
  /** Nobody listened to an inode before it was written down: what came since its look was told to nobody. */
  const lookAgain = (record: FileRecord): void => {
    // One that is open is looked at by the clock.
    if (record.isHot || isUnchanged(record, looker.facts(record.path))) return;
    pending.add(record.path, { how: undefined, writer: undefined }, clock.elapsedMs());
  };
  /** Adopted together: a transaction each would cost as much as the looks. */
  const adopted: FileRecord[] = [];
  const adopt = async (path: string): Promise<void> => {
    adopted.push(...(await examiner.adopt(path))?.put ?? []);
  };
  /** The run that adopts compares them later, so nothing is looked at again here. */
  function writeAdopted(): void {
    if (adopted.length === 0) return;
    const put = adopted.splice(0);
    state.write({ put, remove: [], lines: [] });
    for (const record of put) listenTo(record);
  }
  function listenTo(record: FileRecord): void {
    if (record.handle !== "") handles.add(record.handle);
    hook?.watch(record);
  }
  const reconciliation = createReconciliation({
    state,
    looker,
    places,
    pending,
    libc,
    clock,
    adopt,
    writeAdopted,
    forget: (path) => {
      const change = { put: [], remove: [path], lines: [] };
      const known = knownOf(change);
      state.write(change);
      follow(change, known);
    },
    // Once everything was compared by these policies, what comes to be is news.
    wasWatched: (path) =>
      state.setting(BASELINE) === policies.text ||
      former?.kindOf(path) !== undefined || former?.rulesText === policies.rulesText,
    onRecord: listenTo,
  });
  const startedUs = followedUs === undefined ? clock.nowUs() : 0;
  const intake = createWordIntake({
    state,
    places,
    pending,
    reconciliation,
    processes,
    startedUs,
    clock,
  });

  const folding = unfinished?.folding ?? createPackageFolding({
    state,
    onLines: (lines) => void ready.push(...lines),
    clock,
    log,
    ...(options.packageRoot === undefined ? {} : { root: options.packageRoot }),
  });
  const lookAt = async (look: PendingLook): Promise<void> => {
    const startedMs = clock.elapsedMs();
    const change = await examiner.examine(look);
    const nowMs = clock.elapsedMs();
    pending.spent(look.path, nowMs - startedMs, nowMs);
    if (change === "retry") {
      pending.retry(look, nowMs + RETRY_MS);
      return;
    }
    // A look by the clock that finds nothing is no news: a file that is never closed would be read for ever.
    const isNews = look.hows.length > 0 || (change?.lines.length ?? 0) > 0;
    if (look.isOpen && isNews) hot.note(look.path, nowMs);
    else if (!look.isOpen && look.hows.includes("write")) hot.closed(look.path);
    if (change === undefined) {
      counts.filtered += 1;
      return;
    }
    try {
      const known = knownOf(change);
      const { missed } = change;
      if (missed !== undefined) {
        const word = { how: "rename", newPath: look.path, origin: look.origin } as const;
        pending.add(missed, { ...word, writer: look.writers.at(-1) }, nowMs);
      }
      if (!folding.hold(change, look)) ready.push(...state.write(change));
      follow(change, known);
      counts.submitted += change.lines.length;
      if (change.lines.length === 0) counts.filtered += 1;
    } catch (error) {
      log.error("cannot write down what a file was changed to; it will be tried again", {
        error: String(error),
      });
      pending.retry(look, nowMs + DISK_RETRY_MS);
    }
  };
  let settledMs = clock.elapsedMs();
  /** However much goes on, the ring is emptied: a look takes far less than a second to come. */
  const settle = (): void => {
    if (clock.elapsedMs() - settledMs < SETTLE_MS) return;
    settledMs = clock.elapsedMs();
    hook?.settle();
  };
  const workOn = async (): Promise<void> => {
    for (const look of pending.due(clock.elapsedMs())) await lookAt(look);
    // A step ends with what it adopted written: no look comes in between.
    await reconciliation.step();
    writeAdopted();
    folding.step();
    settle();
  };
  const doubt = (): void =>
    reconciliation.request({ kind: "reconciled", fromUs: emptyAtUs, toUs: clock.nowUs() });
  /** What is dropped is found by comparison, without who did it. */
  const crowded = (): void => {
    lost({
      class: "overflow",
      count: null,
      reason: "too many watched files changed at once: who wrote to some of them may be missing",
    });
    doubt();
  };
  const overflowed = (): void => {
    counts.ringFull += 1;
    lost({
      class: "overflow",
      count: null,
      reason: "the fanotify queue was full: who wrote to watched files may be missing",
    });
    doubt();
  };
  /** Before the closes: what is stored before a file is closed must not open it again. */
  const readHook = (): void => {
    for (const hit of hook?.read() ?? []) {
      if (!intake.hit(hit)) counts.filtered += 1;
    }
  };
  const readContents = (): void => {
    const untilMs = performance.now() + READ_MS;
    for (;;) {
      const askedUs = clock.nowUs();
      const bytes = group.readBytes();
      if (bytes.byteLength === 0) {
        emptyAtUs = askedUs;
        return;
      }
      const { watched, others, overflows } = siftContentReports(bytes, handles);
      counts.filtered += others;
      if (overflows > 0) overflowed();
      if (watched.length > 0) processes.catchUp();
      for (const report of watched) {
        if (!intake.content(report)) counts.filtered += 1;
      }
      if (performance.now() >= untilMs) return;
    }
  };
  const followMounts = (): void => {
    const before = group.watched.length;
    if (group.refresh() === undefined) return;
    observer.forgetPaths();
    places.refresh();
    observer.release();
    const points = group.watched.flatMap(({ mounts }) => mounts.map(({ point }) => point));
    const isNear = group.watched.length !== before ||
      points.some((point) => places.isAboveRoot(point) || places.mayContain(point));
    if (isNear) doubt();
  };

  names.listen({
    told: (report) => intake.name(report),
    lost: (fromUs, toUs) => reconciliation.request({ kind: "reconciled", fromUs, toUs }),
  });
  for (const look of unfinished?.looks ?? []) pending.resume(look, clock.elapsedMs());
  reconciliation.request(
    firstOrigin({ followedUs, compared: unfinished?.compared, nowUs: clock.nowUs() }),
  );

  return {
    round() {
      if (failure !== undefined) throw failure.error;
      followMounts();
      readHook();
      readContents();
      for (const path of hot.due(clock.elapsedMs())) {
        const word = { how: undefined, writer: undefined };
        pending.add(path, hot.has(path) ? { ...word, isOpen: true } : word, clock.elapsedMs());
      }
      work ??= workOn()
        .catch((error) => {
          failure = { error };
        })
        .finally(() => {
          work = undefined;
        });
    },
    isQuiet() {
      const isIdle = failure === undefined && work === undefined && !reconciliation.isAsked &&
        pending.length === 0 && ready.length === 0;
      if (!isIdle || hook?.isQuiet() === false) return false;
      const askedUs = clock.nowUs();
      if (!group.isQuiet()) return false;
      emptyAtUs = askedUs;
      return true;
    },
    take: () => ready.splice(0),
    doubt,
    pause: () => work ?? Promise.resolve(),
    leave() {
      if (failure !== undefined) throw failure.error;
      names.listen(undefined);
      readHook();
      readContents();
      const compared = reconciliation.unfinished;
      return { looks: pending.rest(), handles, folding, ready, compared };
    },
    async finish() {
      await work;
      readHook();
      readContents();
      for (const look of pending.rest()) await lookAt(look);
      await folding.finish();
      hook?.settle();
      hook?.settle();
    },
    get isCompared() {
      return reconciliation.isDone;
    },
    get isSettled() {
      return reconciliation.isDone && pending.length === 0 && work === undefined &&
        ready.length === 0;
    },
    [Symbol.dispose]() {
      names.listen(undefined);
      observer.release();
    },
  };
}

/** A path of ours as the kernel's names are: one character for each byte. */
function binaryOfPath(path: string): string {
  return Buffer.from(path).toString("latin1");
}
