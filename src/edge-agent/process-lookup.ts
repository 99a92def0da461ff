/**
 * Who has a pid, for sources that are told no more than that: from the process table and, while the process lives, from
 * /proc.
 *
 * Invariants: credentials from /proc are at most {@link FRESH_MS} old; of a process that has ended, what the record of
 * its end told counts: the kernel writes it before /proc forgets the process. A pid alone can be reused: the answer is
 * for the process that has it now or had it last.
 */
import { actorColumns, actorName, type ProcessFacts } from "./actor-columns.ts";
import { namesOfCgroup } from "./cgroup-names.ts";
import { UNSET } from "./decode-record.ts";
import { jsonInner } from "./decode-text.ts";
import type { KernelContext } from "./kernel-context.ts";
import { readProcText, readStartTicks } from "./process-identity.ts";
import type { ActorText, ProcessEntry, ProcessImage } from "./process-table.ts";

/** How long an answer from /proc is used again: one costs 0.1 ms, and nothing tells that credentials changed. */
const FRESH_MS = 50;
/** Answers kept. */
const ANSWERS_MAX = 1024;

/** Texts for a line; see `ActorText`. */
export interface LookedUpActor {
  readonly columns: string;
  readonly name: string;
  readonly escaped: readonly string[];
  /** What it runs, where that is known. */
  readonly image?: Pick<ProcessImage, "script"> | undefined;
}

/** A process above another, as in `detail.ancestors`. */
export interface AncestorFacts {
  readonly pid: number;
  readonly process_id: string;
  readonly exe?: string;
  /** Of an interpreter, what it was executed for. */
  readonly script?: string;
}

/** Processes above one that are told. */
export const ANCESTORS_MAX = 8;

export interface ProcessLookup {
  /** Learns what the kernel has told of processes until now. */
  catchUp(): void;
  /** The process that has a pid, or had it just now. */
  actorOf(pid: number): LookedUpActor;
  /** Its parent and what is above it, nearest first, at most {@link ANCESTORS_MAX}: as far as they can be found. */
  ancestorsOf(pid: number): readonly AncestorFacts[];
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
  readonly endedNs: number | undefined;
  /** What a record told, when that is the answer. */
  readonly told: ActorText | undefined;
  readonly atMs: number;
}

export function createProcessLookup(options: ProcessLookupOptions): ProcessLookup {
  const { context, ownPids, nowMs = () => performance.now() } = options;
  const answers = new Map<number, Answer>();
  const answerOf = (pid: number): Answer => {
    const known = answers.get(pid);
    const newest = context.processes.newestOf(pid);
    if (known !== undefined && nowMs() - known.atMs < FRESH_MS && holds(known, newest)) {
      return known;
    }
    const answer = { ...lookUp(context, pid), atMs: nowMs() };
    if (answers.size >= ANSWERS_MAX) answers.clear();
    answers.set(pid, answer);
    return answer;
  };
  return {
    catchUp: () => context.processes.catchUp(),
    actorOf: answerOf,
    ancestorsOf(pid) {
      const found: AncestorFacts[] = [];
      let { ppid } = answerOf(pid);
      while (ppid > 0 && found.length < ANCESTORS_MAX) {
        const { entry, image, ppid: above } = answerOf(ppid);
        if (entry === undefined) break;
        found.push({ pid: ppid, process_id: entry.id, ...textsOf(image) });
        ppid = above;
      }
      return found;
    },
    isOwn: (pid) => ownPids.includes(pid) || ownPids.includes(answerOf(pid).ppid),
  };
}

/** What an image says, as plain text. */
export function textsOf(
  image: Partial<Pick<ProcessImage, "exe" | "script">> | undefined,
): { readonly exe?: string; readonly script?: string } {
  const { exe, script } = image ?? {};
  return {
    ...(exe === undefined ? {} : { exe: textOfInner(exe) }),
    ...(script === undefined ? {} : { script: textOfInner(script) }),
  };
}

function textOfInner(inner: string): string {
  return inner.includes("\\") ? JSON.parse(`"${inner}"`) : inner;
}

/** Whether nothing was learned since that would make another answer. */
function holds(known: Answer, newest: ProcessEntry | undefined): boolean {
  return known.entry === newest && known.image === newest?.imageAt(Infinity) &&
    known.endedNs === newest?.endedNs &&
    (known.told === undefined || known.told === toldOf(newest));
}

/** What records told of a process: that of its end, or else the one that was decoded last. */
function toldOf(entry: ProcessEntry | undefined): ActorText | undefined {
  return entry?.ending ?? entry?.actor;
}

function lookUp(context: LookupContext, pid: number): Omit<Answer, "atMs"> {
  const facts = livingFacts(context, pid);
  if (facts === undefined) {
    // It was not gone yet, perhaps, when the records were read.
    context.processes.catchUp();
    return endedActor(context.processes.newestOf(pid), pid);
  }
  const { entry, image, ppid } = facts;
  return {
    columns: actorColumns(facts, context.userNames),
    name: actorName(facts),
    escaped: image.isEscaped ? ["exe"] : [],
    ppid,
    entry,
    image,
    endedNs: entry.endedNs,
    told: undefined,
  };
}

/** What is left of a process that has ended. */
function endedActor(entry: ProcessEntry | undefined, pid: number): Omit<Answer, "atMs"> {
  const image = entry?.imageAt(Infinity);
  const told = toldOf(entry);
  const source = { entry, image, endedNs: entry?.endedNs, told };
  if (told !== undefined) {
    const { columns, name, escaped, ppid } = told;
    return { columns, name, escaped, ppid, ...source };
  }
  const exe = image?.exe;
  return {
    columns: `"pid":${pid},` + (entry === undefined ? "" : `"process_id":"${entry.id}",`) +
      (exe === undefined ? "" : `"exe":"${exe}",`),
    name: exe ?? `Process ${pid}`,
    escaped: [],
    ppid: 0,
    ...source,
  };
}

/** What /proc shows; undefined when the process is gone, also when it went while it was looked at. */
function livingFacts(context: LookupContext, pid: number): ProcessFacts | undefined {
  const ticks = readStartTicks(pid);
  const status = ticks === undefined ? undefined : readProcText(pid, "status");
  if (ticks === undefined || status === undefined) return undefined;
  const facts = factsOf(context, context.processes.live(pid, ticks), status);
  return readStartTicks(pid) === ticks ? facts : undefined;
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
