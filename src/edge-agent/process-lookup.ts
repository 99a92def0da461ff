/**
 * Who has a pid, for sources that are told no more than that: from the process table and, while the process lives, from
 * /proc.
 *
 * Invariants: credentials from /proc are at most {@link FRESH_MS} old; of a process that has ended, the newest that a
 * record told counts. A pid alone can be reused: the answer is for the process that has it now or had it last.
 */
import { actorColumns, actorName, type ProcessFacts } from "./actor-columns.ts";
import { namesOfCgroup } from "./cgroup-names.ts";
import { UNSET } from "./decode-record.ts";
import { jsonInner } from "./decode-text.ts";
import type { KernelContext } from "./kernel-context.ts";
import { readProcText, readStartTicks } from "./process-identity.ts";
import type { ProcessEntry, ProcessImage } from "./process-table.ts";

/** How long an answer from /proc is used again. */
const FRESH_MS = 250;
/** Answers kept. */
const ANSWERS_MAX = 1024;

/** Texts for a line; see `ActorText`. */
export interface LookedUpActor {
  readonly columns: string;
  readonly name: string;
  readonly escaped: readonly string[];
}

export interface ProcessLookup {
  /** Learns what the kernel has told of processes until now. */
  catchUp(): void;
  /** The process that has a pid, or had it just now. */
  actorOf(pid: number): LookedUpActor;
  /** Whether a process is one of the own ones, or a child of one. */
  isOwn(pid: number): boolean;
}

/** What a lookup asks. */
export type LookupContext = Pick<KernelContext, "processes" | "userNames">;

export interface ProcessLookupOptions {
  readonly context: LookupContext;
  readonly ownPids: readonly number[];
  readonly nowMs?: () => number;
}

interface Answer extends LookedUpActor {
  readonly ppid: number;
  /** What it is an answer about; another process or image makes it void. */
  readonly entry: ProcessEntry | undefined;
  readonly image: ProcessImage | undefined;
  readonly atMs: number;
}

export function createProcessLookup(options: ProcessLookupOptions): ProcessLookup {
  const { context, ownPids, nowMs = () => performance.now() } = options;
  const answers = new Map<number, Answer>();
  const answerOf = (pid: number): Answer => {
    const known = answers.get(pid);
    const newest = context.processes.newestOf(pid);
    if (
      known !== undefined && nowMs() - known.atMs < FRESH_MS && known.entry === newest &&
      known.image === newest?.imageAt(Infinity)
    ) return known;
    const answer = { ...lookUp(context, pid), atMs: nowMs() };
    if (answers.size >= ANSWERS_MAX) answers.clear();
    answers.set(pid, answer);
    return answer;
  };
  return {
    catchUp: () => context.processes.catchUp(),
    actorOf: answerOf,
    isOwn: (pid) => ownPids.includes(pid) || ownPids.includes(answerOf(pid).ppid),
  };
}

function lookUp(context: LookupContext, pid: number): Omit<Answer, "atMs"> {
  const ticks = readStartTicks(pid);
  const status = ticks === undefined ? undefined : readProcText(pid, "status");
  if (ticks === undefined || status === undefined) {
    return endedActor(context.processes.newestOf(pid), pid);
  }
  const entry = context.processes.live(pid, ticks);
  const facts = factsOf(context, entry, status);
  return {
    columns: actorColumns(facts, context.userNames),
    name: actorName(facts),
    escaped: facts.image.isEscaped ? ["exe"] : [],
    ppid: facts.ppid,
    entry,
    image: facts.image,
  };
}

/** What is left of a process that has ended. */
function endedActor(entry: ProcessEntry | undefined, pid: number): Omit<Answer, "atMs"> {
  const image = entry?.imageAt(Infinity);
  if (entry?.actor !== undefined) {
    const { columns, name, escaped, ppid } = entry.actor;
    return { columns, name, escaped, ppid, entry, image };
  }
  const exe = image?.exe;
  return {
    columns: `"pid":${pid},` + (entry === undefined ? "" : `"process_id":"${entry.id}",`) +
      (exe === undefined ? "" : `"exe":"${exe}",`),
    name: exe ?? `Process ${pid}`,
    escaped: [],
    ppid: 0,
    entry,
    image,
  };
}

function factsOf(context: LookupContext, entry: ProcessEntry, status: string): ProcessFacts {
  const line = (name: string): string =>
    new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1] ?? "";
  const [uid = UNSET, euid = UNSET] = line("Uid").split(/\s+/).map(Number);
  const ppid = Number(line("PPid"));
  const parentTicks = ppid === 0 ? undefined : readStartTicks(ppid);
  return {
    entry,
    image: entry.imageAt(Infinity),
    uid,
    euid,
    gid: Number(line("Gid").split(/\s+/)[0]),
    auid: numberIn(entry.pid, "loginuid"),
    session: numberIn(entry.pid, "sessionid"),
    ppid,
    parentId: parentTicks === undefined ? undefined : context.processes.idOf(ppid, parentTicks),
    // The kernel writes line feeds and backslashes of a name as \n and \\.
    comm: jsonInner(line("Name")),
    cgroup: namesOfCgroup(readProcText(entry.pid, "cgroup") ?? ""),
  };
}

function numberIn(pid: number, name: string): number {
  const text = readProcText(pid, name);
  return text === undefined || text === "" ? UNSET : Number(text);
}
