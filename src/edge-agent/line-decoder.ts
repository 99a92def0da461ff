/**
 * The interface between a ring and a family's decoder: one record in, the text of one line out.
 */
import type { CgroupNames } from "./cgroup-names.ts";
import { type Actors, createActors } from "./decode-actor.ts";
import { createTimeText } from "./decode-record.ts";
import { RecordText } from "./decode-text.ts";
import { createInitialNamespaces, type InitialNamespaces } from "./initial-namespaces.ts";
import type { ProcessTable } from "./process-table.ts";
import type { Redactor } from "./redaction.ts";
import type { RecordMemory } from "./ring-buffer.ts";
import { createPeerNames, type PeerNames } from "./sources/network/peer-names.ts";
import type { SourceLoss } from "./source.ts";
import type { ExecDigests } from "./sources/process/digest/exec-digests.ts";
import type { UserNames } from "./user-names.ts";

/** A record in a ring's memory, with the wall time of its event. */
export interface LocatedRecord {
  readonly memory: RecordMemory;
  /** Where the record starts, in bytes; a multiple of 8. */
  readonly offset: number;
  readonly length: number;
  /** Microseconds since the Unix epoch. */
  readonly timeUs: number;
}

export interface LineDecoder {
  /** Takes from a record what it says about processes or names; called once per record, before any line is made from it. */
  learn(record: LocatedRecord): void;
  /**
   * The line after its opening brace, without `idx` (see `lineFields`); undefined when the bytes make no sense, empty when they are only
   * to be learned from.
   */
  line(record: LocatedRecord): string | undefined;
  /** Takes what is to be known beside the records; called before each read, when its end is known. */
  prepare?(): void;
  /** Whether a record is better told by a later read, with all after it: briefly. */
  isEarly?(record: LocatedRecord): boolean;
  /** Lines for which there is no record, since the last call. */
  further?(): readonly FurtherLine[];
  /** Makes what is still to be told {@link LineDecoder.further}: nothing is read after it. */
  finish?(): void;
  /** What was lost beside the records, since the last call. */
  losses?(): readonly SourceLoss[];
}

export interface FurtherLine {
  /** As of {@link LineDecoder.line}. */
  readonly fields: string;
  readonly timeUs: number;
}

export interface DecoderContext {
  readonly processes: ProcessTable;
  readonly actors: Actors;
  readonly text: RecordText;
  readonly peerNames: PeerNames;
  /** Takes the secrets out of arguments and environment values. */
  readonly redactor: Redactor;
  /** Of executed files; undefined when nobody asked for them. */
  readonly digests: ExecDigests | undefined;
  /** RFC 3339 text of a time in µs. */
  readonly timeText: (timeUs: number) => string;
  readonly userNames: UserNames;
  readonly initialNamespaces: InitialNamespaces;
}

export interface DecoderContextOptions {
  readonly processes: ProcessTable;
  readonly userNames: UserNames;
  readonly cgroupNames: (cgroupId: number, pid: number) => CgroupNames;
  /** What DNS answered; by default nothing yet. */
  readonly peerNames?: PeerNames;
  readonly redactor: Redactor;
  readonly initialNamespaces?: InitialNamespaces;
  readonly digests?: ExecDigests | undefined;
}

export function createDecoderContext(options: DecoderContextOptions): DecoderContext {
  const text = new RecordText();
  return {
    processes: options.processes,
    actors: createActors({ ...options, text }),
    text,
    peerNames: options.peerNames ?? createPeerNames(),
    redactor: options.redactor,
    digests: options.digests,
    timeText: createTimeText(),
    userNames: options.userNames,
    initialNamespaces: options.initialNamespaces ?? createInitialNamespaces(),
  };
}

/** `,"escaped":["path"]`, or nothing. */
export function escapedMember(names: readonly string[]): string {
  return names.length === 0 ? "" : `,"escaped":${JSON.stringify(names)}`;
}

/** A line that says how many events it stands for. */
export function withSample(line: string, weight: number): string {
  const sample = `"sample":${weight}`;
  // A quote inside a string has a backslash before it: this can only be the member itself.
  const [before, after] = splitAt(line, ',"detail":{');
  if (after === undefined) return `${line},"detail":{${sample}}`;
  return `${before},"detail":{${sample}${after.startsWith("}") ? "" : ","}${after}`;
}

function splitAt(text: string, mark: string): readonly [string, string | undefined] {
  const place = text.indexOf(mark);
  return place < 0 ? [text, undefined] : [text.slice(0, place), text.slice(place + mark.length)];
}
