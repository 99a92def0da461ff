/**
 * Finds what changed while nobody was told: compares what is on disk with what is known, in small steps between which
 * everything else goes on.
 *
 * Invariants: new names are looked for before known ones are missed, so that what was moved keeps its history; what was
 * asked for while a run is under way gets a run of its own afterwards; a step ends after {@link STEP_MS} or when its
 * second's bytes are read.
 */
import type { Clock } from "../../../runtime/clock.ts";
import type { Libc } from "../../libc.ts";
import type { FileFacts, FileLooker } from "./file-look.ts";
import type { FileRecord, PlacedRecord } from "./file-record.ts";
import type { FileState } from "./file-state.ts";
import { type Origin, type PendingLooks, WAIT_MAX_MS, type Word } from "./pending-looks.ts";
import { walkTree } from "./tree-walk.ts";
import type { WatchedPlaces } from "./watch-policies.ts";

/** Longest step. */
export const STEP_MS = 8;
/** Bytes read per second by looks that a run asks for. */
export const BYTES_PER_SECOND = 64 * 1024 * 1024;
/** A run waits while this many looks do. */
const LOOKS_MAX = 256;
/** Directories whose new files are asked for at once; with more, everything is compared. */
const ASKED_MAX = 256;
const RECORDS_PER_QUERY = 64;
/**
 * What was looked at within this time after it changed may have changed once more with the same times: clocks of
 * filesystems tick in milliseconds.
 */
const RACY_US = 20_000;

export interface ReconciliationOptions {
  readonly state: FileState;
  readonly looker: FileLooker;
  readonly places: WatchedPlaces;
  readonly pending: PendingLooks;
  readonly libc: Libc;
  readonly clock: Clock;
  /** Watches a file from now on without a word: nobody asked about it before. */
  readonly adopt: (path: string) => Promise<void>;
  /** Writes what was adopted; called before anything is said to be done. */
  readonly writeAdopted: () => void;
  /** Forgets a file that is not watched any more. */
  readonly forget: (path: string) => void;
  /** Whether a path without a record was watched before, so that it is new. */
  readonly wasWatched: (path: string) => boolean;
  /** Tells of a record as it is met, before what it says is compared. */
  readonly onRecord: (record: PlacedRecord) => void;
}

export interface Reconciliation {
  /** Asks for a run over everything. */
  request(origin: Origin): void;
  /** Asks for new files below a directory alone, of all of which the word is said. */
  requestBelow(directory: string, word: Word): void;
  /** Goes on for a moment; false when nothing is left to do. */
  step(): Promise<boolean>;
  /** Told of every byte that a look reads. */
  spent(bytes: number): void;
  /** Whether a run is under way or was asked for. */
  readonly isAsked: boolean;
  /** What the oldest run over everything that has not ended is for. */
  readonly unfinished: Origin | undefined;
  /** Whether a run over everything has ended since the last one was asked for. */
  readonly isDone: boolean;
}

/** Between two files, or until looks that were asked for are done. */
type Pause = "go on" | "wait";

interface Run {
  readonly word: Word;
  readonly roots: readonly string[];
  readonly isWhole: boolean;
}

export function createReconciliation(options: ReconciliationOptions): Reconciliation {
  const { state, places, clock } = options;
  const asked: Run[] = [];
  let work: AsyncGenerator<Pause> | undefined;
  let current: Run | undefined;
  let bytesLeft = BYTES_PER_SECOND;
  let refilledMs = clock.elapsedMs();

  const refill = (): void => {
    const nowMs = clock.elapsedMs();
    const added = (nowMs - refilledMs) * BYTES_PER_SECOND / 1000;
    bytesLeft = Math.min(BYTES_PER_SECOND, bytesLeft + added);
    refilledMs = nowMs;
  };
  const ask = (run: Run): void => {
    const isAsked = asked.some(({ isWhole, roots }) =>
      isWhole || (!run.isWhole && roots[0] === run.roots[0])
    );
    if (isAsked) return;
    if (run.isWhole) asked.length = 0;
    asked.push(run);
  };
  const request = (origin: Origin): void =>
    ask({
      word: { how: undefined, writer: undefined, origin },
      roots: places.roots,
      isWhole: true,
    });
  return {
    request,
    requestBelow(directory, word) {
      if (asked.length < ASKED_MAX) {
        ask({ word, roots: [directory], isWhole: false });
        return;
      }
      const nowUs = clock.nowUs();
      request({ kind: "reconciled", fromUs: nowUs, toUs: nowUs });
    },
    async step() {
      refill();
      if (work === undefined) {
        current = asked.shift();
        if (current === undefined) return false;
        work = reconcile(current, options);
      }
      const untilMs = performance.now() + STEP_MS;
      while (
        performance.now() < untilMs && bytesLeft > 0 && options.pending.length < LOOKS_MAX
      ) {
        const { done, value } = await work.next();
        if (value === "wait") return true;
        if (done !== true) continue;
        work = undefined;
        current = undefined;
        return asked.length > 0;
      }
      return true;
    },
    spent(bytes) {
      bytesLeft -= bytes;
    },
    get isAsked() {
      return work !== undefined || asked.length > 0;
    },
    get unfinished() {
      const runs = [...(current === undefined ? [] : [current]), ...asked];
      return runs.find(({ isWhole }) => isWhole)?.word.origin;
    },
    get isDone() {
      return current?.isWhole !== true && !asked.some(({ isWhole }) => isWhole) &&
        state.setting(BASELINE) === places.text;
    },
  };
}

/**
 * What the first run over everything is for. `followedUs`: since when nobody followed these policies, though an agent
 * ran; `compared`: what a run was for that had not ended then. Times are µs since the Unix epoch.
 */
export function firstOrigin({ followedUs, compared, nowUs }: {
  readonly followedUs: number | undefined;
  readonly compared: Origin | undefined;
  readonly nowUs: number;
}): Origin {
  if (followedUs === undefined || compared?.kind === "offline") return { kind: "offline" };
  const fromUs = compared?.kind === "reconciled" ? compared.fromUs : followedUs;
  return { kind: "reconciled", fromUs: Math.min(fromUs, followedUs), toUs: nowUs };
}

/** Policies by which a run over everything has ended, in the settings of the state. */
export const BASELINE = "policies";
/** How long looks that were asked for are waited for. */
const MOVES_WAIT_MS = 5 * WAIT_MAX_MS;

/** One run; yields after every file. */
async function* reconcile(run: Run, options: ReconciliationOptions): AsyncGenerator<Pause> {
  const { state, pending, clock, places } = options;
  if (run.isWhole) yield* meetRecords(options);
  for (const root of run.roots) yield* findNew(root, run, options);
  options.writeAdopted();
  if (!run.isWhole) return;
  // What was moved takes its history along before its old name is missed.
  const untilMs = clock.elapsedMs() + MOVES_WAIT_MS;
  while (pending.length > 0 && clock.elapsedMs() < untilMs) yield "wait";
  yield* compareRecords(run.word, options);
  while (pending.length > 0 && clock.elapsedMs() < untilMs + MOVES_WAIT_MS) yield "wait";
  state.setSetting(BASELINE, places.text);
}

async function* meetRecords({ state, onRecord }: ReconciliationOptions): AsyncGenerator<Pause> {
  for (const record of recordsOf(state)) {
    onRecord(record);
    yield "go on";
  }
}

async function* findNew(
  root: string,
  { word, isWhole }: Run,
  { libc, looker, places, state, adopt, wasWatched, pending, clock }: ReconciliationOptions,
): AsyncGenerator<Pause> {
  const isDirectory = (path: string): boolean => {
    const facts = looker.facts(path);
    return typeof facts === "object" && "type" in facts && facts.type === "directory";
  };
  for (const path of walkTree(root, { libc, mayContain: places.mayContain, isDirectory })) {
    if (places.kindOf(path) !== undefined && state.byPath(path) === undefined) {
      if (!isWhole || wasWatched(path)) pending.add(path, word, clock.elapsedMs());
      else await adopt(path);
    }
    yield "go on";
  }
}

async function* compareRecords(
  word: Word,
  { state, looker, places, pending, clock, forget }: ReconciliationOptions,
): AsyncGenerator<Pause> {
  for (const record of recordsOf(state)) {
    const { path } = record;
    if (places.kindOf(path) === undefined) {
      // No policy names it any more.
      forget(path);
    } else if (!isUnchanged(record, looker.facts(path)) || places.kindOf(path) !== record.kind) {
      pending.add(path, word, clock.elapsedMs());
    }
    yield "go on";
  }
}

function* recordsOf(state: FileState): Generator<PlacedRecord> {
  for (let id = 0;;) {
    const records = state.after(id, RECORDS_PER_QUERY);
    yield* records;
    const last = records.at(-1);
    if (last === undefined) return;
    id = last.id;
  }
}

function isThere(facts: ReturnType<FileLooker["facts"]>): facts is FileFacts {
  return typeof facts === "object" && "type" in facts;
}

/** Whether nothing can have changed since a file was looked at. */
export function isUnchanged(record: FileRecord, facts: ReturnType<FileLooker["facts"]>): boolean {
  if (!isThere(facts)) return false;
  const isRacy = record.lookedAtUs - record.changedAtUs < RACY_US;
  return !record.isHot && !isRacy && facts.handle === record.handle &&
    facts.times === record.times && facts.sizeBytes === record.sizeBytes &&
    facts.mode === record.mode && facts.uid === record.uid && facts.gid === record.gid;
}
