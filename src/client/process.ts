/**
 * A process with its family and what it did, as the service answers it.
 *
 * as: an object with a process and a list of ancestors is taken for the answer; its members are what the service says
 */
import type { AnswerFacts } from "./request.ts";

/** What the record says of a process; what no event says is absent. */
export interface RecordedProcess {
  /** Stable over pid reuse: boot, pid, start. */
  readonly process_id: string;
  readonly pid?: number;
  readonly parent_process_id?: string;
  readonly ppid?: number;
  readonly started?: string;
  readonly ended?: string;
  readonly duration_ms?: number;
  readonly exit_code?: number;
  /** That ended it. */
  readonly signal?: number;
  readonly execs?: number;
  readonly exe?: string;
  readonly comm?: string;
  readonly cmdline?: string;
  readonly cwd?: string;
  readonly user?: string;
  readonly uid?: number;
  readonly auid_user?: string;
  readonly session?: string;
  readonly container?: string;
  readonly unit?: string;
  /** Of its own, in the range; 0: others name it. */
  readonly events: number;
  /** Of a descendant: generations from the process asked for. */
  readonly depth?: number;
}

/** How often, first and last; the other members say of what. */
export interface Deed {
  readonly count: number;
  readonly first: string;
  readonly last: string;
}

/** The values with the most events, and how many there are. */
export interface Deeds<T> {
  readonly total: number;
  readonly values: readonly (Deed & T)[];
}

export interface Peer {
  /** `out`: the process connected; `in`: it was connected to. */
  readonly direction: "out" | "in";
  readonly address?: string;
  /** That was connected to. */
  readonly port?: number;
  readonly protocol?: string;
  readonly bytes_in?: number;
  readonly bytes_out?: number;
}

export interface ProcessTree {
  readonly from: string;
  readonly to: string;
  readonly host: string;
  readonly process: RecordedProcess;
  /** The parent first. */
  readonly ancestors: readonly RecordedProcess[];
  readonly ancestors_cut: boolean;
  readonly descendants: {
    readonly total: number;
    /** Whether there are more than are given. */
    readonly cut: boolean;
    /** Generation after generation. */
    readonly processes: readonly RecordedProcess[];
  };
  readonly activity: {
    readonly topics: Deeds<{ readonly topic: string }>;
    readonly peers: Deeds<Peer>;
    readonly files: Deeds<{ readonly path: string; readonly topics: readonly string[] }>;
  };
}

export interface ProcessQuery {
  /** Inclusive; 24 hours before `to` unless given. */
  readonly from?: string;
  /** Exclusive; now unless given. */
  readonly to?: string;
  /** Needed when several hosts tell of the same id. */
  readonly host?: string;
}

/** The tree in the JSON of an answer. Throws TypeError when it is none. */
export function processTree(value: unknown, facts: AnswerFacts): ProcessTree & AnswerFacts {
  if (
    typeof value !== "object" || value === null || !("process" in value) ||
    !("ancestors" in value) || !Array.isArray(value.ancestors)
  ) {
    throw new TypeError("Cannot read a process: the answer has none");
  }
  return { ...facts, ...value as unknown as ProcessTree };
}
