/**
 * The source of file integrity: what changed in watched files, who did it, and what it means. It unites three views:
 * fanotify (names, closes, attributes), the inode hook (stores through mappings, and who makes them) and comparison
 * with what is known (whatever happened while nobody watched).
 *
 * Invariants: a change is told once, whatever ends the agent: its lines are in `agent.db` together with the new state
 * until the spool has them on disk, and positions are numbers of those lines; no change of a watched file is lost
 * without a later look that finds it.
 */
import { createHash, randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { RingPosition } from "../../../producer/producer.ts";
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import { loadLibc } from "../../libc.ts";
import { LOOK_STEP_MS, waitUntilDue } from "../../look-out.ts";
import type { ProcessLookup } from "../../process-lookup.ts";
import type {
  Source,
  SourceChunk,
  SourceLoss,
  SourceReconfiguration,
  SourceStatus,
} from "../../source.ts";
import { openFanotifyGroup } from "../filesystem/fanotify-group.ts";
import { compareFields, detailOf, type ParsedLine, type ProofAction } from "../ring-family.ts";
import type { NameFeed } from "../filesystem/name-feed.ts";
import type { ContentKinds } from "./examination.ts";
import { type FileState, type NumberedLine, openFileState } from "./file-state.ts";
import type { InodeHook } from "./inode-hook.ts";
import { type IntegrityRun, openIntegrityRun, type UnfinishedRun } from "./integrity-run.ts";
import type { FileRule } from "./kinds/policy.ts";
import type { WatchPolicies } from "./watch-policies.ts";

/** How long an idle source sleeps between two looks at the queue. */
export const TICK_MS = 2 * LOOK_STEP_MS;
/** How often it is looked whether the host's users changed. */
const USERS_INTERVAL_MS = 1000;
/** Text of one chunk, at most (the last line may go beyond). */
const CHUNK_CHARACTERS_MAX = 384 * 1024;
/** At most this many different losses between two askings. */
const LOSSES_MAX = 32;
export const STATE_FILE = "agent.db";
/** Watched in every data folder: what is written to it must come back. */
export const CANARY_FILE = "integrity.canary";

export interface IntegritySourceOptions {
  readonly processes: ProcessLookup;
  readonly names: NameFeed;
  readonly policies: WatchPolicies;
  /** Policies of other rules, for a configuration that changes. Throws for rules that cannot be used. */
  readonly compile: (rules: readonly FileRule[]) => WatchPolicies;
  /** Changes when the same rules may name other files: with the host's users. Asked once a second. */
  readonly stampOfUsers?: () => string;
  /** See `IntegrityRunOptions`. */
  readonly parsePolicies: (text: string) => WatchPolicies | undefined;
  readonly kinds: ContentKinds;
  /** Opens the inode hook; undefined where there is none. */
  readonly openHook: () => Promise<InodeHook | undefined>;
  /** Proves that changes come back; see integrity-probe.ts. */
  readonly probe: () => Promise<SourceStatus>;
  readonly dataDirectory: string;
  /** See `IntegrityRunOptions`. */
  readonly packageRoot?: string;
  /** Position of the spool's newest line of this source. */
  readonly position: RingPosition | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

export interface IntegritySource extends Source {
  /** Whether everything was compared since the start and nothing waits. */
  readonly isSettled: boolean;
}

/** Opens nothing yet. */
export function createIntegritySource(options: IntegritySourceOptions): IntegritySource {
  return new IntegrityReader(options);
}

class IntegrityReader implements IntegritySource {
  readonly name = "integrity";
  readonly lane = "critical";
  readonly #options: IntegritySourceOptions;
  readonly #counts = { submitted: 0, filtered: 0, ringFull: 0 };
  #losses: SourceLoss[] = [];
  #state: FileState | undefined;
  #hook: InodeHook | undefined;
  #run: IntegrityRun | undefined;
  /** Number of the last line that was handed out. */
  #handedOut = 0;
  #isClosed = false;
  #policies: WatchPolicies;
  #rules: readonly FileRule[] | undefined;
  #usersStamp: string | undefined;
  #usersAskedMs = -Infinity;
  readonly #canaryPath: string;

  constructor(options: IntegritySourceOptions) {
    this.#options = options;
    this.#policies = options.policies;
    this.#canaryPath = join(options.dataDirectory, CANARY_FILE);
  }

  get isSettled(): boolean {
    return this.#run?.isSettled === true;
  }

  probe(): Promise<SourceStatus> {
    return this.#options.probe();
  }

  /** Changes the canary; nothing while files are still being compared. */
  prove(): Promise<ProofAction | undefined> {
    if (this.#run?.isCompared !== true) return Promise.resolve(undefined);
    const text = randomUUID();
    const expected = createHash("sha256").update(text).digest("hex");
    writeFileSync(this.#canaryPath, text);
    return Promise.resolve({
      hook: "change",
      check: (line: ParsedLine) =>
        detailOf(line)["sha256_after"] === expected
          ? compareFields(line, { topic: "file/change", pid: process.pid })
          : "other",
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  }

  async *start(signal: AbortSignal): AsyncGenerator<SourceChunk> {
    const { clock } = this.#options;
    const libc = loadLibc();
    const group = openFanotifyGroup(libc, "contents");
    if ("reason" in group) throw new Error(`Cannot watch contents: ${group.reason}`);
    using opened = group;
    const state = this.#openState();
    state.unholdAll();
    const left = state.pending().filter(({ number }) => number > this.#handedOut);
    yield* this.#chunks(left);
    this.#hook = await this.#options.openHook();
    makeCanary(this.#canaryPath);
    let followedUs: number | undefined;
    let unfinished: UnfinishedRun | undefined;
    try {
      while (!signal.aborted && !this.#isClosed) {
        using run = openIntegrityRun({
          ...this.#options,
          policies: this.#policies,
          canaryPath: this.#canaryPath,
          libc,
          group: opened,
          state,
          hook: this.#hook,
          followedUs,
          unfinished,
          counts: this.#counts,
          lost: (loss) => this.#lost(loss),
        });
        this.#run = run;
        const policies = this.#policies;
        followedUs = clock.nowUs();
        while (!signal.aborted && !this.#isClosed && policies === this.#policies) {
          // Users that come between two askings had files that nobody watched.
          if (this.#followUsers() === "the same") followedUs = clock.nowUs();
          run.round();
          yield* this.#chunks(run.take());
          const isDue = (): boolean => !run.isQuiet();
          await waitUntilDue(clock, { isDue, stepMs: TICK_MS }, signal);
        }
        await run.pause();
        if (signal.aborted || this.#isClosed) {
          await run.finish();
          yield* this.#chunks(run.take());
        } else unfinished = run.leave();
      }
    } finally {
      this.#run = undefined;
      this.#hook?.[Symbol.dispose]();
      this.#hook = undefined;
    }
  }

  /** Rules that change are compared with what is known at once: what they name anew is taken as it is. */
  reconfigure({ files }: SourceReconfiguration): Promise<void> {
    if (files === undefined) return Promise.resolve();
    try {
      const policies = this.#options.compile(files);
      this.#rules = files;
      if (policies.text !== this.#policies.text) this.#policies = policies;
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  release({ ring, position }: RingPosition): void {
    if (this.#state?.id === ring) this.#state.release(position);
  }

  losses(): readonly SourceLoss[] {
    const ofHook = this.#hook?.losses() ?? [];
    if (ofHook.length > 0) this.#run?.doubt();
    const told = [...this.#losses, ...ofHook];
    this.#losses = [];
    return told;
  }

  counters() {
    const { submitted, filtered, ringFull } = this.#counts;
    return {
      attempted: submitted + filtered + ringFull,
      submitted,
      filtered,
      ringFull,
      throttled: 0,
      readFault: 0,
      truncated: 0,
    };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#state?.[Symbol.dispose]();
    this.#state = undefined;
    return Promise.resolve();
  }

  /** What the spool has is forgotten, what it has not is told again. */
  #openState(): FileState {
    if (this.#state !== undefined) return this.#state;
    const { dataDirectory, position } = this.#options;
    const state = openFileState(join(dataDirectory, STATE_FILE));
    this.#state = state;
    if (state.wasDamaged) {
      this.#lost({
        class: "state",
        count: null,
        reason: "what was known of watched files could not be read and was put aside",
      });
    }
    if (position?.ring === state.id) {
      state.release(position.position);
      this.#handedOut = position.position;
    }
    return state;
  }

  *#chunks(lines: readonly NumberedLine[]): Generator<SourceChunk> {
    const ring = this.#state?.id ?? "";
    let fields: string[] = [];
    let timesUs: number[] = [];
    let characters = 0;
    for (const line of lines) {
      fields.push(line.fields);
      timesUs.push(line.timeUs);
      characters += line.fields.length;
      this.#handedOut = line.number;
      if (characters < CHUNK_CHARACTERS_MAX) continue;
      yield { fields, timesUs, position: { ring, position: line.number } };
      [fields, timesUs, characters] = [[], [], 0];
    }
    if (fields.length > 0) yield { fields, timesUs, position: { ring, position: this.#handedOut } };
  }

  #followUsers(): "not asked" | "the same" | "changed" {
    const { clock, compile, stampOfUsers } = this.#options;
    const nowMs = clock.elapsedMs();
    if (stampOfUsers === undefined || nowMs - this.#usersAskedMs < USERS_INTERVAL_MS) {
      return "not asked";
    }
    this.#usersAskedMs = nowMs;
    const stamp = stampOfUsers();
    const isChanged = this.#usersStamp !== undefined && this.#usersStamp !== stamp;
    this.#usersStamp = stamp;
    if (!isChanged) return "the same";
    const policies = compile(this.#rules ?? JSON.parse(this.#policies.rulesText));
    if (policies.text !== this.#policies.text) this.#policies = policies;
    return "changed";
  }

  #lost(loss: SourceLoss): void {
    const isKnown = this.#losses.some(({ reason }) => reason === loss.reason);
    if (!isKnown && this.#losses.length < LOSSES_MAX) this.#losses.push(loss);
  }
}

/** Without it nothing is proven, and nothing else is amiss. */
function makeCanary(path: string): void {
  try {
    writeFileSync(path, "", { flag: "a", mode: 0o600 });
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}
