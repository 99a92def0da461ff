/**
 * What a process surely was throughout a span of time: for filters of events whose own time is known no better than that
 * they came in it.
 *
 * Invariants: what may have been otherwise for a moment of the span is not said: a process that does something and then
 * executes a file, or takes a user, for which that would be filtered, is not taken for one that was this before. Nothing
 * is said of a time before an exec that was not told, which the numbers of the execs show; and what the records say must
 * be what /proc, or the record of its end, shows after they were learned: else such an exec was the last.
 */
import { u32, UNSET } from "./decode-record.ts";
import { kernelFileIdentity } from "./kernel-files.ts";
import { readProcText, readStartTicks } from "./process-identity.ts";
import type { ProcessEntry, ProcessImage, ProcessTable } from "./process-table.ts";
import { HEADER, IDS } from "./record-layout.ts";
import type { RecordMemory } from "./ring-buffer.ts";

/** Members are missing where they are not known for the whole of the time. */
export interface SureFacts {
  /** The user of all its ids, the effective one among them. */
  readonly uid?: number;
  /** The file that it executes. */
  readonly exe?: ExecutedFile;
}

/** As the kernel has it: `major << 20 | minor`. */
export interface ExecutedFile {
  readonly inode: number;
  readonly device: number;
}

export interface ProcessCertainty {
  /** Boot time now, ns. */
  nowNs(): number;
  /**
   * What the process with a pid has been from a boot time in ns until the process table was last brought up to date, or
   * until its end: what may have been done later is to be asked for after that was done again.
   */
  since(pid: number, sinceNs: number): SureFacts;
}

/** For those whom nobody tells of execs: nothing is sure. */
export const NOTHING_SURE: ProcessCertainty = { nowNs: () => 0, since: () => ({}) };

/** What /proc showed is kept of so many processes. */
const PRESENT_MAX = 1024;

/** What a process is now, or was at its end. */
interface Present {
  readonly uid: number | undefined;
  readonly exe: ExecutedFile | undefined;
}

export interface CertaintyOptions {
  /** To be brought up to date by whoever asks. */
  readonly processes: ProcessTable;
  /** What a living process is; by default from /proc. */
  readonly readPresent?: (pid: number, startTicks: number) => Present | undefined;
}

export function createProcessCertainty(options: CertaintyOptions): ProcessCertainty {
  const { processes, readPresent = readProc } = options;
  const known = new Map<ProcessEntry, Present>();
  let catchUps = processes.catchUps;
  const presentOf = (entry: ProcessEntry): Present | undefined => {
    if (entry.endedNs !== Infinity) return presentAtEnd(entry);
    // Who asks again may ask for what was done since.
    if (catchUps !== processes.catchUps || known.size >= PRESENT_MAX) known.clear();
    catchUps = processes.catchUps;
    const found = known.get(entry);
    if (found !== undefined) return found;
    const present = readPresent(entry.pid, entry.startTicks);
    if (present === undefined) {
      // It was not gone yet, perhaps, when the records were read.
      processes.catchUp();
      return entry.endedNs === Infinity ? undefined : presentAtEnd(entry);
    }
    known.set(entry, present);
    return present;
  };
  return {
    nowNs: () => processes.nowNs(),
    since(pid, sinceNs) {
      const entry = processes.isFollowed ? processes.newestOf(pid) : undefined;
      if (entry === undefined || entry.unbrokenSinceNs > sinceNs) return {};
      // Who had the pid before may have been it, or who had it after and was not told of.
      if ((entry.before?.endedNs ?? -Infinity) > sinceNs || entry.endedNs < sinceNs) return {};
      const present = presentOf(entry);
      if (present === undefined || isAnother(entry, present)) return {};
      const uid = entry.soleUidSinceNs <= sinceNs ? entry.soleUid : undefined;
      const exe = executedSince(entry, { sinceNs, present });
      return {
        ...(uid === undefined || uid !== present.uid ? {} : { uid }),
        ...(exe === undefined ? {} : { exe }),
      };
    },
  };
}

/**
 * The one user of the ids at a place of a record (`struct probity_ids`), if all are of one and the process cannot take
 * another without an exec, or is root: what that does as another for a while it could do as root. Not counted are the
 * subordinate users that it may have in a user namespace of its own: those are its own (subuid(5)).
 */
export function soleUidIn({ words }: Pick<RecordMemory, "words">, ids: number): number | undefined {
  const uid = u32(words, ids + IDS.uid);
  const others = [IDS.euid, IDS.suid, IDS.fsuid].map((field) => u32(words, ids + field));
  if (others.some((other) => other !== uid)) return undefined;
  return uid === 0 || (u32(words, ids + IDS.permitted) & CAP_SETUID) === 0 ? uid : undefined;
}

/** capabilities(7): number 7. */
const CAP_SETUID = 1 << 7;

/** The file that a process has executed all the time; undefined when it was another one, or that is not known. */
function executedSince(
  { images, seededNs }: ProcessEntry,
  { sinceNs, present }: { readonly sinceNs: number; readonly present: Present },
): ExecutedFile | undefined {
  const { exe } = present;
  if (exe === undefined) return undefined;
  for (let place = images.length - 1; place >= 0; place -= 1) {
    const image = images[place];
    // What was seen, and not told of, is known from that moment on, and until something is told.
    const isSeen = place === 0 && seededNs !== undefined;
    const isSame = image !== undefined &&
      (isOf(image, exe) || (isSeen && images.length === 1 && image.inode === undefined));
    if (!isSame) return undefined;
    if ((isSeen ? seededNs : image.sinceNs) <= sinceNs) return exe;
  }
  return undefined;
}

/** Whether it executes another file than was told: then it may also have been another user meanwhile. */
function isAnother({ images }: ProcessEntry, { exe }: Present): boolean {
  const newest = images.at(-1);
  return exe !== undefined && newest?.inode !== undefined && !isOf(newest, exe);
}

function isOf({ inode, device }: ProcessImage, exe: ExecutedFile): boolean {
  return inode === exe.inode && device === exe.device;
}

/** Words of an {@link ProcessEntry.ending} begin with the parent. */
const UID_WORD = (HEADER.uid - HEADER.ppid) >> 2;
const EUID_WORD = (HEADER.euid - HEADER.ppid) >> 2;

/** By the record of its end, which says after which exec that was. */
function presentAtEnd({ ending, images }: ProcessEntry): Present | undefined {
  const newest = images.at(-1);
  if (ending === undefined || newest === undefined || ending.image !== newest) return undefined;
  const uid = (ending.words[UID_WORD] ?? UNSET) >>> 0;
  const euid = (ending.words[EUID_WORD] ?? UNSET) >>> 0;
  const { inode, device } = newest;
  return {
    uid: uid === euid ? uid : undefined,
    exe: inode === undefined || device === undefined ? undefined : { inode, device },
  };
}

function readProc(pid: number, startTicks: number): Present | undefined {
  const uids = /^Uid:\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$/m
    .exec(readProcText(pid, "status") ?? "")?.slice(1).map(Number);
  const file = kernelFileIdentity(`/proc/${pid}/exe`);
  // After the rest: the pid was this process's all along.
  if (readStartTicks(pid) !== startTicks) return undefined;
  const [uid] = uids ?? [];
  return {
    uid: uids?.every((each) => each === uid) === true ? uid : undefined,
    exe: file === undefined ? undefined : { inode: Number(file.inode), device: file.device },
  };
}
