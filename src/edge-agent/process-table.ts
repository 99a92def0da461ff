/**
 * What is known about processes: which image each has run and since when. Learned from exec, fork and exit records, and
 * from /proc for processes older than the programs.
 *
 * Invariants: an entry is a process identity (pid and start), so a reused pid is another entry; a question names a
 * time, and is answered with the image of that time, so that sources whose rings are read at different moments agree;
 * the table is bounded: entries of ended processes go first, in the order of their ends, once every reader is past them.
 */
import { readLiveExe } from "./live-executable.ts";
import { type ProcessIds, ticksOf } from "./process-identity.ts";

/** Ended processes are kept until every reader has passed their end by this much. */
export const ENDED_KEPT_NS = 5_000_000_000;
/** Ended processes kept at most, for records that are decoded late: more than a ring of 32 MiB can tell of. */
export const ENDED_PROCESSES_MAX = 65_536;
/** Processes kept in all. */
export const PROCESSES_MAX = 131_072;
/** Unknown processes looked up in /proc, per second; and as many that run what no record has told of. */
const LOOKUPS_PER_SECOND = 500;
/** Places that are free at the front of a list before it is moved. */
const COMPACT_FROM = 1024;
/** Images remembered of one process. */
const IMAGES_MAX = 8;

export interface ProcessImage {
  /** Boot time of the exec, ns; minus infinity when it was running before anything was known. */
  readonly sinceNs: number;
  /** Path of the executable, as the inside of a JSON string; undefined for kernel threads and unknown ones. */
  readonly exe: string | undefined;
  /** The path had bytes that are not UTF-8. */
  readonly isEscaped: boolean;
  /** By which records say that it runs (`exec_id` of bpf/events.h); 0 or undefined: not known. */
  readonly execId?: number;
  /** The file that is executed, as its exec record names it; undefined where no such record told of it. */
  readonly inode?: number | undefined;
  readonly device?: number | undefined;
  /** Of an interpreter, what it was executed for, as the kernel was given it: the inside of a JSON string. */
  readonly script?: string;
}

/** What a record says of the process that it is about. */
export interface RunMoment {
  /** Boot time, ns. */
  readonly timeNs: number;
  readonly execId: number;
  readonly comm: string;
}

/** Texts that decoders made from a process, and from what they made them (see decode-actor.ts). */
export interface ActorText {
  readonly columns: string;
  readonly name: string;
  readonly userName: string;
  readonly escaped: readonly string[];
  readonly ppid: number;
  readonly words: readonly number[];
  readonly image: ProcessImage;
  readonly namesVersion: number;
}

/** The image that a process was seen with. */
export type SeenImage =
  & Pick<ProcessImage, "exe">
  & Partial<Pick<ProcessImage, "isEscaped" | "execId">>
  & { readonly soleUid?: number | undefined };

const NO_IMAGE: ProcessImage = { sinceNs: -Infinity, exe: undefined, isEscaped: false, execId: 0 };
const EXEC_IDS = 0x10000;

/** One process. */
export class ProcessEntry {
  readonly id: string;
  readonly pid: number;
  readonly startTicks: number;
  startLow = 0;
  startHigh = 0;
  /** Newest last; the first may come from /proc. */
  images: readonly ProcessImage[];
  /** Boot time at which the image from /proc was seen, ns; undefined when there is none. */
  seededNs: number | undefined;
  /** Boot time of the end, ns; infinity while it lives. */
  endedNs = Infinity;
  /** The process that had the pid before. */
  before: ProcessEntry | undefined;
  /** Texts of the record that was decoded last; kept here so that they go with the process. */
  actor: ActorText | undefined;
  /** Texts of the record of its end, once that is learned: no older record that is decoded later takes them back. */
  ending: ActorText | undefined;
  /**
   * The one user that all its ids have had since a boot time, ns: it could take no other without another exec, or was
   * root. Undefined: not known.
   */
  soleUid: number | undefined;
  soleUidSinceNs = Infinity;
  /** Boot time, ns, since which each exec was told that came before another one. Infinity: the last one was not. */
  unbrokenSinceNs = -Infinity;

  constructor(id: string, process: { pid: number; startTicks: number; image: ProcessImage }) {
    this.id = id;
    this.pid = process.pid;
    this.startTicks = process.startTicks;
    this.images = [process.image];
  }

  /** The image that ran at a boot time in ns. */
  imageAt(timeNs: number): ProcessImage {
    for (let place = this.images.length - 1; place >= 0; place -= 1) {
      const image = this.images[place];
      if (image !== undefined && image.sinceNs <= timeNs) return image;
    }
    return NO_IMAGE;
  }
}

export interface ProcessTable {
  /** The process with a pid and start (boot time in ns as two words); made, and looked up in /proc, when unknown. */
  find(pid: number, startLow: number, startHigh: number): ProcessEntry;
  /** As {@link ProcessTable.find}, for a record that brings the image itself: nothing is looked up. */
  introduce(pid: number, startLow: number, startHigh: number): ProcessEntry;
  /** As {@link ProcessTable.find}, but makes nothing. */
  peek(pid: number, startTicks: number): ProcessEntry | undefined;
  /** The process that has a pid, as far as is known, or had it last. */
  newestOf(pid: number): ProcessEntry | undefined;
  /** The living process with a pid and start; made, and looked up in /proc, when unknown. */
  live(pid: number, startTicks: number): ProcessEntry;
  /**
   * The image that a record says: one that is known, or, when no record has told of its exec (a filter or a limit
   * withheld it, or it was lost), what /proc shows. Without executable when that may be another one by now.
   */
  imageOf(entry: ProcessEntry, moment: RunMoment): ProcessImage;
  /** Identity of a process that need not be known. */
  idOf(pid: number, startTicks: number): string;
  /** A process seen alive, which no record has told of. */
  seed(pid: number, startTicks: number, image: SeenImage): void;
  /** `soleUid`: see {@link ProcessEntry.soleUid}. */
  noteExec(entry: ProcessEntry, image: ProcessImage, soleUid?: number): void;
  noteFork(child: ProcessEntry, parent: ProcessEntry, timeNs: number): void;
  noteExit(entry: ProcessEntry, timeNs: number): void;
  /** A reader has passed a boot time in ns, or stops reading (undefined): what ended long before may go. */
  passed(reader: string, timeNs: number | undefined): void;
  /** Sets what brings the table up to date with the kernel before other sources ask it. */
  follow(catchUp: (() => void) | undefined): void;
  /** Learns from all process records that the kernel has written until now. */
  catchUp(): void;
  /** How often it was brought up to date. */
  readonly catchUps: number;
  /** Whether there is something that brings it up to date: without, an exec since may not be known. */
  readonly isFollowed: boolean;
  /** Boot time now, ns. */
  nowNs(): number;
  readonly size: number;
}

export interface ProcessTableOptions {
  readonly ids: ProcessIds;
  /** Boot time now, ns. */
  readonly nowNs: () => number;
  /** Reads the image of a live process, of one with this comm if that is given; by default from /proc. */
  readonly readExe?: ExeReader;
}

type ExeReader = (pid: number, startTicks: number, comm?: string) => string | undefined;

export function createProcessTable(options: ProcessTableOptions): ProcessTable {
  return new Table(options);
}

class Table implements ProcessTable {
  readonly #ids: ProcessIds;
  readonly #nowNs: () => number;
  readonly #readExe: ExeReader;
  readonly #newest = new Map<number, ProcessEntry>();
  readonly #readers = new Map<string, number>();
  /** In the order of their ends; those before `endedFrom` are gone. */
  readonly #ended: ProcessEntry[] = [];
  #endedFrom = 0;
  #size = 0;
  readonly #adoptions = createAllowance();
  readonly #recognitions = createAllowance();
  #catchUp: (() => void) | undefined;
  #catchUps = 0;

  constructor({ ids, nowNs, readExe = readLiveExe }: ProcessTableOptions) {
    this.#ids = ids;
    this.#nowNs = nowNs;
    this.#readExe = readExe;
  }

  get size(): number {
    return this.#size;
  }

  find(pid: number, startLow: number, startHigh: number): ProcessEntry {
    const newest = this.#newest.get(pid);
    if (newest?.startLow === startLow && newest.startHigh === startHigh) return newest;
    const ticks = ticksOf(startLow, startHigh);
    return started(this.peek(pid, ticks) ?? this.#adopt(pid, ticks), startLow, startHigh);
  }

  introduce(pid: number, startLow: number, startHigh: number): ProcessEntry {
    const newest = this.#newest.get(pid);
    if (newest?.startLow === startLow && newest.startHigh === startHigh) return newest;
    const ticks = ticksOf(startLow, startHigh);
    const entry = this.peek(pid, ticks) ?? this.#insert(pid, ticks, undefined);
    return started(entry, startLow, startHigh);
  }

  peek(pid: number, startTicks: number): ProcessEntry | undefined {
    let entry = this.#newest.get(pid);
    while (entry !== undefined && entry.startTicks !== startTicks) entry = entry.before;
    return entry;
  }

  newestOf(pid: number): ProcessEntry | undefined {
    return this.#newest.get(pid);
  }

  live(pid: number, startTicks: number): ProcessEntry {
    return this.peek(pid, startTicks) ?? this.#adopt(pid, startTicks);
  }

  idOf(pid: number, startTicks: number): string {
    return this.#ids.idOf(pid, startTicks);
  }

  imageOf(entry: ProcessEntry, { timeNs, execId, comm }: RunMoment): ProcessImage {
    const told = entry.imageAt(timeNs);
    if (execId === 0 || told.execId === execId) return told;
    if (!told.execId) {
      // What was seen without its number: this is the first record since.
      const numbered = { ...told, execId };
      entry.images = entry.images.map((each) => each === told ? numbered : each);
      return entry.imageAt(timeNs);
    }
    const known = entry.images.find((each) => each.execId === execId);
    if (known !== undefined) return known;
    const newest = entry.images.at(-1) ?? told;
    const isLater = (execId - (newest.execId ?? 0) + EXEC_IDS) % EXEC_IDS < EXEC_IDS / 2;
    if (isLater) entry.unbrokenSinceNs = Infinity;
    if (!isLater || !this.#recognitions.take(this.#nowNs())) return NO_IMAGE;
    const exe = this.#readExe(entry.pid, entry.startTicks, comm);
    if (exe === undefined) return NO_IMAGE;
    const sinceNs = Math.max(timeNs, newest.sinceNs);
    const image: ProcessImage = { sinceNs, exe, isEscaped: false, execId };
    entry.images = [...entry.images, image].slice(-IMAGES_MAX);
    return image;
  }

  get catchUps(): number {
    return this.#catchUps;
  }

  get isFollowed(): boolean {
    return this.#catchUp !== undefined;
  }

  nowNs(): number {
    return this.#nowNs();
  }

  seed(pid: number, startTicks: number, seen: SeenImage): void {
    if (this.peek(pid, startTicks) !== undefined) return;
    const { exe, isEscaped = false, execId = 0, soleUid } = seen;
    const entry = this.#insert(pid, startTicks, exe);
    entry.seededNs = this.#nowNs();
    entry.soleUid = soleUid;
    entry.soleUidSinceNs = entry.seededNs;
    entry.images = entry.images.map((image) => ({ ...image, isEscaped, execId }));
  }

  noteExec(entry: ProcessEntry, image: ProcessImage, soleUid?: number): void {
    if (soleUid === undefined || soleUid !== entry.soleUid) entry.soleUidSinceNs = image.sinceNs;
    entry.soleUid = soleUid;
    const isNext = isNextExec(entry.images.at(-1), image);
    if (!isNext || entry.unbrokenSinceNs === Infinity) entry.unbrokenSinceNs = image.sinceNs;
    // An image from /proc is the newest of its moment: it says nothing about the time before an exec older than it.
    const isSeedOlder = entry.seededNs !== undefined && entry.seededNs < image.sinceNs;
    const kept = entry.seededNs === undefined || isSeedOlder ? entry.images : [];
    entry.seededNs = isSeedOlder ? entry.seededNs : undefined;
    entry.images = [...kept, image].slice(-IMAGES_MAX);
  }

  noteFork(child: ProcessEntry, parent: ProcessEntry, timeNs: number): void {
    if (child.images.length > 1 || child.images[0]?.exe !== undefined) return;
    child.images = [{ ...parent.imageAt(timeNs), sinceNs: -Infinity }];
    child.unbrokenSinceNs = parent.unbrokenSinceNs <= timeNs ? -Infinity : Infinity;
    if (parent.soleUidSinceNs > timeNs) return;
    child.soleUid = parent.soleUid;
    child.soleUidSinceNs = -Infinity;
  }

  noteExit(entry: ProcessEntry, timeNs: number): void {
    if (entry.endedNs !== Infinity) return;
    entry.endedNs = timeNs;
    this.#ended.push(entry);
    if (this.#ended.length - this.#endedFrom > ENDED_PROCESSES_MAX) this.#dropOldestEnded();
  }

  passed(reader: string, timeNs: number | undefined): void {
    if (timeNs === undefined) this.#readers.delete(reader);
    else this.#readers.set(reader, timeNs);
    const allNs = Math.min(...this.#readers.values());
    if (allNs === Infinity) return;
    while ((this.#ended[this.#endedFrom]?.endedNs ?? Infinity) < allNs - ENDED_KEPT_NS) {
      this.#dropOldestEnded();
    }
  }

  follow(catchUp: (() => void) | undefined): void {
    this.#catchUp = catchUp;
  }

  catchUp(): void {
    this.#catchUps += 1;
    this.#catchUp?.();
  }

  /** Makes an entry for a process that no record has introduced. */
  #adopt(pid: number, startTicks: number): ProcessEntry {
    const nowNs = this.#nowNs();
    const exe = this.#adoptions.take(nowNs) ? this.#readExe(pid, startTicks) : undefined;
    const entry = this.#insert(pid, startTicks, exe);
    if (exe !== undefined) entry.seededNs = nowNs;
    return entry;
  }

  #insert(pid: number, startTicks: number, exe: string | undefined): ProcessEntry {
    if (this.#size >= PROCESSES_MAX) this.#dropOldest();
    const image = exe === undefined ? NO_IMAGE : { ...NO_IMAGE, exe };
    const entry = new ProcessEntry(this.#ids.idOf(pid, startTicks), { pid, startTicks, image });
    const newest = this.#newest.get(pid);
    if (newest === undefined || newest.startTicks < startTicks) {
      entry.before = newest;
      this.#newest.delete(pid);
      this.#newest.set(pid, entry);
    } else {
      entry.before = newest.before;
      newest.before = entry;
    }
    this.#size += 1;
    return entry;
  }

  #dropOldestEnded(): void {
    const entry = this.#ended[this.#endedFrom];
    this.#endedFrom += 1;
    if (this.#endedFrom > this.#ended.length / 2 && this.#endedFrom > COMPACT_FROM) {
      this.#ended.splice(0, this.#endedFrom);
      this.#endedFrom = 0;
    }
    if (entry !== undefined) this.#drop(entry);
  }

  /** Drops what was known of the pid that has been in the table for longest. */
  #dropOldest(): void {
    const oldest = this.#newest.values().next().value;
    if (oldest !== undefined) this.#drop(oldest);
  }

  #drop(entry: ProcessEntry): void {
    let place = this.#newest.get(entry.pid);
    if (place === entry) {
      this.#size -= 1;
      if (entry.before === undefined) this.#newest.delete(entry.pid);
      else this.#newest.set(entry.pid, entry.before);
      return;
    }
    while (place !== undefined && place.before !== entry) place = place.before;
    if (place === undefined) return;
    place.before = entry.before;
    this.#size -= 1;
  }
}

/** Whether no exec lies between two, as far as both have numbers. */
function isNextExec(before: ProcessImage | undefined, image: ProcessImage): boolean {
  const { execId } = image;
  return !!execId && !!before?.execId && (before.execId + 1) % EXEC_IDS === execId;
}

/** So many in a second. */
function createAllowance(): { take(nowNs: number): boolean } {
  let [fromNs, taken] = [0, 0];
  return {
    take(nowNs) {
      if (nowNs - fromNs > 1e9) [fromNs, taken] = [nowNs, 0];
      taken += 1;
      return taken <= LOOKUPS_PER_SECOND;
    },
  };
}

function started(entry: ProcessEntry, startLow: number, startHigh: number): ProcessEntry {
  entry.startLow = startLow;
  entry.startHigh = startHigh;
  return entry;
}
