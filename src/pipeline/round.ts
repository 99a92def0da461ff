/**
 * One round of the roll-up as it is collected: messages in order are decided on and laid down unopened in a scratch
 * folder, payload by payload, with all of them in the evidence segment.
 *
 * Invariants: memory does not grow with the payloads; nothing of a round matters before its commit, so it may be thrown
 * away and collected again at any time.
 */
import { createHash } from "node:crypto";
import { closeSync, ftruncateSync, openSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { type FileHandle, mkdir, open, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type AcceptanceState, createAcceptance, type Verdict } from "../event/acceptance.ts";
import { readArrival } from "../event/arrival.ts";
import type { StreamMessage } from "../runtime/stream-message.ts";
import type { SequenceRange } from "../storage/layout.ts";
import { checkPayload } from "../storage/payload.ts";
import type { DecidedMessage } from "../storage/placed-message.ts";
import { payloadFileName } from "../storage/typed-read.ts";
import { PAYLOADS_FOLDER } from "./scratch.ts";
import { createSegmentEncoder } from "./segment.ts";

/** Most messages of one round. */
export const ROUND_MESSAGES_MAX = 20_000;

export interface RoundOptions {
  /** A folder of the round's own, empty but for spare files of payloads. */
  readonly folder: string;
  readonly shard: string;
  /** Acceptance state the round starts from. */
  readonly state: AcceptanceState;
}

/** A payload that is part of the record, in its file. */
export interface RoundPayload {
  readonly path: string;
  readonly contentBytes: number;
}

export interface RoundMessage {
  readonly decided: DecidedMessage;
  /** Only of an accepted message whose frame is whole. */
  readonly payload: RoundPayload | undefined;
  /** Why an accepted message has no rows. */
  readonly unreadable: string | undefined;
}

/** What goes to `quarantine/`: the payload, and beside it what is known of its message. */
export interface Quarantined {
  readonly path: string;
  readonly note: QuarantineNote;
}

export interface QuarantineNote {
  readonly sequence: number;
  readonly storedAtUs: number;
  readonly agent: string | undefined;
  readonly verdict: Verdict;
  readonly reason: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Round {
  readonly folder: string;
  readonly range: SequenceRange;
  /** Acceptance state after its last message. */
  readonly state: AcceptanceState;
  readonly messages: readonly RoundMessage[];
  readonly quarantined: readonly Quarantined[];
  readonly segment: { readonly path: string; readonly sha256: string; readonly sizeBytes: number };
  readonly verdicts: Readonly<Record<Verdict, number>>;
  /** Times that sequences of the stream itself were missing. */
  readonly holes: number;
  /** JSON of the accepted payloads, in bytes. */
  readonly contentBytes: number;
  /** Agents that something arrived of. */
  readonly agents: ReadonlySet<string>;
  /** When the broker stored the first message, µs since the Unix epoch. */
  readonly firstStoredAtUs: number;
}

/** A round while messages are added to it. */
export interface OpenRound extends AsyncDisposable {
  readonly messages: number;
  readonly contentBytes: number;
  /** Bytes of the payloads as they are stored. */
  readonly storedBytes: number;
  /** Decides on the next message and lays it down. */
  add(message: StreamMessage): Promise<void>;
  /** Ends the round; undefined when nothing was added. */
  finish(): Promise<Round | undefined>;
}

export async function openRound(options: RoundOptions): Promise<OpenRound> {
  const { folder } = options;
  const payloads = join(folder, PAYLOADS_FOLDER);
  await mkdir(payloads, { recursive: true });
  await mkdir(join(folder, QUARANTINE), { recursive: true });
  const path = join(folder, "evidence.segment");
  const spare = (await readdir(payloads)).map((name) => join(payloads, name));
  return new ScratchRound({ ...options, path, file: await open(path, "wx"), spare });
}

interface ScratchRoundOptions extends RoundOptions {
  readonly path: string;
  readonly file: FileHandle;
  readonly spare: readonly string[];
}

const QUARANTINE = "quarantine";
/** Parts of the segment are written together once they are this long, in bytes. */
const SEGMENT_WRITE_BYTES = 1024 * 1024;

/** Guards that state, files and figures tell of the same messages. */
class ScratchRound implements OpenRound {
  readonly #options: ScratchRoundOptions;
  /** Files that may be written over. */
  readonly #spare: Set<string>;
  readonly #acceptance: ReturnType<typeof createAcceptance>;
  readonly #encoder: ReturnType<typeof createSegmentEncoder>;
  readonly #hash = createHash("sha256");
  readonly #messages: RoundMessage[] = [];
  readonly #quarantined: Quarantined[] = [];
  readonly #agents = new Set<string>();
  readonly #verdicts: Record<Verdict, number> = {
    accepted: 0,
    void: 0,
    duplicate: 0,
    fork: 0,
    ahead: 0,
    refused: 0,
  };
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #segmentBytes = 0;
  #contentBytes = 0;
  #storedBytes = 0;
  #holes = 0;

  constructor(options: ScratchRoundOptions) {
    this.#options = options;
    this.#spare = new Set(options.spare);
    this.#acceptance = createAcceptance(options.state);
    const { shard, state } = options;
    this.#encoder = createSegmentEncoder({ shard, incarnation: state.incarnation });
    this.#keep(this.#encoder.begin());
  }

  get messages(): number {
    return this.#messages.length;
  }

  get contentBytes(): number {
    return this.#contentBytes;
  }

  get storedBytes(): number {
    return this.#storedBytes;
  }

  async add(message: StreamMessage): Promise<void> {
    const { sequence, storedAtUs, payload } = message;
    const { shard, state } = this.#options;
    const { agent, header, arrival } = readArrival(message, shard);
    const { verdict, gaps, reason } = this.#acceptance.decide(arrival);
    const decided: DecidedMessage = {
      incarnation: state.incarnation,
      sequence,
      loggedAtUs: storedAtUs,
      agent,
      header,
      verdict,
      gaps,
    };
    this.#verdicts[verdict] += 1;
    this.#holes += gaps.filter((gap) => gap.class === "stream").length;
    if (agent !== undefined) this.#agents.add(agent);
    this.#storedBytes += payload.length;
    for (const part of this.#encoder.message(message)) this.#keep(part);
    if (this.#waitingBytes >= SEGMENT_WRITE_BYTES) await this.#writeSegment();
    if (verdict === "fork" || verdict === "refused") {
      await this.#quarantine(decided, message, reason ?? verdict);
    }
    this.#messages.push(
      verdict === "accepted"
        ? await this.#layDown(decided, message)
        : { decided, payload: undefined, unreadable: undefined },
    );
  }

  async finish(): Promise<Round | undefined> {
    this.#keep(this.#encoder.end());
    await this.#writeSegment();
    await this.#options.file.close();
    const first = this.#messages[0]?.decided;
    const last = this.#messages.at(-1)?.decided;
    if (first === undefined || last === undefined) return undefined;
    return {
      folder: this.#options.folder,
      range: { incarnation: first.incarnation, first: first.sequence, last: last.sequence },
      state: this.#acceptance.state(),
      messages: this.#messages,
      quarantined: this.#quarantined,
      segment: {
        path: this.#options.path,
        sha256: this.#hash.digest("hex"),
        sizeBytes: this.#segmentBytes,
      },
      verdicts: this.#verdicts,
      holes: this.#holes,
      contentBytes: this.#contentBytes,
      agents: this.#agents,
      firstStoredAtUs: first.loggedAtUs,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#options.file.close();
  }

  async #layDown(decided: DecidedMessage, message: StreamMessage): Promise<RoundMessage> {
    const checked = await checkPayload(message.payload);
    if (!checked.ok) {
      await this.#quarantine(decided, message, checked.reason);
      return { decided, payload: undefined, unreadable: checked.reason };
    }
    const path = join(this.#options.folder, PAYLOADS_FOLDER, payloadFileName(message.sequence));
    this.#writeFile(path, checked.frame);
    this.#contentBytes += checked.contentBytes;
    const { contentBytes } = checked;
    return { decided, payload: { path, contentBytes }, unreadable: undefined };
  }

  /** Thousands of small files: off the main thread, each would take four times as long. */
  #writeFile(path: string, content: Uint8Array): void {
    const [first] = this.#spare;
    const spare = this.#spare.has(path) ? path : first;
    if (spare === undefined) return writeFileSync(path, content);
    this.#spare.delete(spare);
    if (spare !== path) renameSync(spare, path);
    // Cut after it is written, not before: a file that was cut to nothing is on the disk before ext4 closes it.
    const file = openSync(path, "r+");
    try {
      for (let at = 0; at < content.length;) at += writeSync(file, content, at);
      ftruncateSync(file, content.length);
    } finally {
      closeSync(file);
    }
  }

  async #quarantine(
    { sequence, agent, verdict, loggedAtUs }: DecidedMessage,
    { payload, headers }: StreamMessage,
    reason: string,
  ): Promise<void> {
    const path = join(this.#options.folder, QUARANTINE, String(sequence));
    await writeFile(path, payload);
    const note: QuarantineNote = {
      sequence,
      storedAtUs: loggedAtUs,
      agent,
      verdict,
      reason,
      headers: Object.fromEntries(headers),
    };
    this.#quarantined.push({ path, note });
  }

  #keep(part: Uint8Array): void {
    this.#hash.update(part);
    this.#waiting.push(part);
    this.#waitingBytes += part.length;
  }

  async #writeSegment(): Promise<void> {
    const parts = this.#waiting;
    this.#segmentBytes += this.#waitingBytes;
    this.#waiting = [];
    this.#waitingBytes = 0;
    await this.#options.file.appendFile(Buffer.concat(parts));
  }
}
