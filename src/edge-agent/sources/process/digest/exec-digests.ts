/**
 * The digests of what is executed: finds the file of each exec, says whether it is worth waiting for its digest, and
 * tells those that came too late.
 *
 * Invariants: a digest is told only of the content that was executed: of the very inode, unchanged since. What cannot be
 * told says why (`sha256_missing`). An exec waits at most {@link WAIT_NS}, and only while its file is being hashed.
 */
import { ERRNO, type Libc, O_NONBLOCK, O_RDONLY } from "../../../libc.ts";
import type { Log } from "../../../../runtime/log.ts";
import { type Clock, untilStepMs } from "../../../../runtime/clock.ts";
import type { SourceLoss } from "../../../source.ts";
import { isRemoteType, parseMountinfo } from "../../filesystem/mounts.ts";
import { createDigestQueue, type MissingReason } from "./digest-queue.ts";
import { createExecOpens, type ExecFiles, type Executed } from "./exec-opens.ts";
import { type ExecWatch, openExecWatch, READ_EVENTS_MAX } from "./exec-watch.ts";
import { createFileDigests, type FileDigest } from "./file-digests.ts";
import { readWholeText } from "./whole-text.ts";

/** How long the line of an exec waits for its digest. */
export const WAIT_NS = 100_000_000;
/** Bytes of executed files that are read in a second, when nothing else is said. */
export const DIGEST_BYTES_PER_SECOND = 64 * 1024 * 1024;
/** Execs told as pending whose digests are to follow, at most; further ones are told as missing. */
export const PENDING_MAX = 4096;
/** Reports taken in one turn, at most; the rest is taken in the next. */
const TURN_EVENTS_MAX = 32 * READ_EVENTS_MAX;
/** How often it is looked whether something was mounted, at most. */
const REFRESH_NS = 20_000_000;
const PATH_BYTES = 4096;
/** Reports are taken at most so often, beside what the reader of records asks for. */
const PAUSE_MS = 20;

/** An exec as its record tells it. */
export interface ExecutedImage extends Readonly<Executed> {
  /** µs since the Unix epoch. */
  readonly timeUs: number;
  readonly isMemfd: boolean;
}

/** Who ran what, as JSON texts. */
export interface ExecTold {
  readonly columns: string;
  /** The executable: the inside of a JSON string. */
  readonly name: string;
  /** The script as it was given to execve; "" when there is none. */
  readonly script: string;
}

/** A digest that came after its exec was told. */
export interface LateDigest {
  readonly told: ExecTold;
  /** Members of `detail`, as JSON. */
  readonly members: string;
  readonly isKnown: boolean;
  /** When it came, µs since the Unix epoch. */
  readonly timeUs: number;
}

export interface ExecDigests extends AsyncDisposable {
  /** Takes what was executed until now; to be called after the end of what will be read is known. */
  collect(): void;
  /** Whether an exec is so young, and its file so near to being hashed, that it is better told later. */
  isEarly(executed: ExecutedImage): boolean;
  /** Members of `detail`, each after a comma. To be called once for each exec, in order. */
  members(executed: ExecutedImage, told: ExecTold): string;
  /** Those that came since the last call. */
  late(): readonly LateDigest[];
  /** Makes those that are still to come {@link ExecDigests.late}, as missing: nobody will be there to tell them. */
  giveUp(): void;
  losses(): readonly SourceLoss[];
}

export interface ExecDigestsOptions {
  readonly libc: Libc;
  /** Boot time, ns. */
  readonly nowNs: () => number;
  readonly clock: Clock;
  readonly log: Log;
  /** {@link DIGEST_BYTES_PER_SECOND} by default. */
  readonly bytesPerSecond?: number;
}

type Found = ExecFiles | { readonly reason: MissingReason };

/** Without fanotify, files are found through /proc alone: of processes that are gone by then there is no digest. */
export function openExecDigests(options: ExecDigestsOptions): ExecDigests {
  const { libc, nowNs, clock, log, bytesPerSecond = DIGEST_BYTES_PER_SECOND } = options;
  const opened = openExecWatch(libc);
  const watch: ExecWatch | undefined = "reason" in opened ? undefined : opened;
  if ("reason" in opened) {
    log.warn("digests of executables are incomplete", { reason: opened.reason });
  }
  const queue = createDigestQueue({ libc, bytesPerSecond, clock });
  const files = createFileDigests({ libc, queue, clock });
  const opens = createExecOpens();
  const nameOf = createNames(libc);
  let found: { readonly executed: Executed; readonly files: Found } | undefined;
  let ready: LateDigest[] = [];
  /** Told as pending; each is told once more, with its digest or why there is none. */
  const pending = new Set<Pending>();
  let isBroken = false;
  let refreshedNs = -Infinity;
  const ended = new AbortController();

  const find = (executed: ExecutedImage): Found => {
    if (found?.executed.pid !== executed.pid || found.executed.timeNs !== executed.timeNs) {
      found = { executed, files: opens.take(executed) ?? fromProcess(executed) };
    }
    return found.files;
  };
  /** The image of a living process: memfds and filesystems that cannot be marked have no other way. */
  const fromProcess = (executed: ExecutedImage): Found => {
    const refusal = executed.isMemfd ? undefined : refusalOf(libc, watch, executed);
    if (refusal !== undefined) return { reason: refusal };
    const fd = libc.open(`/proc/${executed.pid}/exe`, O_RDONLY | O_NONBLOCK);
    if (fd === -ERRNO.EACCES || fd === -ERRNO.EPERM) return { reason: "unreadable" };
    if (fd < 0) return { reason: "gone" };
    const image = files.of(fd);
    const isSame = image?.version.inodeLow === executed.inodeLow &&
      image.version.inodeHigh === executed.inodeHigh;
    return image !== undefined && isSame
      ? { image, before: [], isMerged: false }
      : { reason: "gone" };
  };
  /** Members for a file that was not hashed in time: they follow, if there is room to remember that. */
  const tellLater = (file: FileDigest, key: Key, { executed, told }: Telling): string => {
    if (pending.size >= PENDING_MAX) return `,"${key}_missing":"rate"`;
    const each: Pending = { key, told };
    pending.add(each);
    file.onOutcome(() => {
      if (!pending.delete(each)) return;
      const isKnown = file.outcome !== undefined && "sha256" in file.outcome;
      const members = membersOf(file, key, executed).slice(1) +
        `,"size":${file.version.sizeBytes}`;
      ready.push({ told, members, isKnown, timeUs: clock.nowUs() });
    });
    return `,"${key}_pending":true`;
  };
  const membersFor = (file: FileDigest, key: Key, telling: Telling): string =>
    file.outcome === undefined
      ? tellLater(file, key, telling)
      : membersOf(file, key, telling.executed);

  const take = (from: ExecWatch): void => {
    const seenNs = nowNs();
    for (let events = 0; events < TURN_EVENTS_MAX;) {
      const batch = from.read();
      if (batch.length === 0) return;
      for (const { fd, pid } of batch) {
        let name: string | undefined;
        const file = files.of(fd, (known) => {
          if (mayBeScript(known)) name = nameOf(fd);
        });
        if (file !== undefined) opens.note(pid, { file, name, seenNs });
      }
      events += batch.length;
    }
  };
  /** What cannot be read costs digests, never the events. */
  const collect = (): void => {
    if (watch === undefined || isBroken) return;
    try {
      take(watch);
    } catch (error) {
      isBroken = true;
      log.error("executed files are looked at by their processes alone", { error: String(error) });
    }
  };
  /** Takes reports at once: as long as one waits, its filesystem cannot be unmounted. */
  const follow = async (openWatch: ExecWatch): Promise<void> => {
    while (!ended.signal.aborted && !isBroken) {
      await openWatch.wait();
      if (ended.signal.aborted) return;
      collect();
      await pause(clock, ended.signal);
    }
  };
  const following = watch === undefined ? undefined : follow(watch).catch((error: unknown) => {
    log.error("executed files are looked at less often", { error: String(error) });
  });

  return {
    collect() {
      const askedNs = nowNs();
      if (askedNs - refreshedNs >= REFRESH_NS) {
        refreshedNs = askedNs;
        watch?.refresh();
      }
      collect();
    },
    isEarly(executed) {
      if (nowNs() - executed.timeNs >= WAIT_NS) return false;
      const files = find(executed);
      if ("reason" in files) return false;
      // Of what was opened before the image, a script is to be told with it.
      return files.image.outcome === undefined ||
        files.before.some(({ file }) => file.outcome === undefined);
    },
    members(executed, told) {
      const files = find(executed);
      found = undefined;
      if ("reason" in files) return `,"sha256_missing":"${files.reason}"`;
      const telling = { executed, told };
      const script = told.script === "" ? undefined : scriptOf(files, told.script);
      return membersFor(files.image, "sha256", telling) +
        (script === undefined ? "" : membersFor(script, "script_sha256", telling));
    },
    late() {
      const all = ready;
      if (all.length > 0) ready = [];
      return all;
    },
    giveUp() {
      const timeUs = clock.nowUs();
      for (const { key, told } of pending) {
        ready.push({ told, members: `"${key}_missing":"stopped"`, isKnown: false, timeUs });
      }
      pending.clear();
    },
    losses() {
      const lost = watch?.takeLost() ?? 0;
      if (lost === 0) return [];
      const reason = "reports of executed files were lost: digests of some may be missing";
      return [{ class: "overflow", count: null, reason }];
    },
    async [Symbol.asyncDispose]() {
      ended.abort(new Error("digests were closed"));
      await following;
      watch?.[Symbol.dispose]();
      await queue[Symbol.asyncDispose]();
    },
  };
}

type Key = "sha256" | "script_sha256";

interface Pending {
  readonly key: Key;
  readonly told: ExecTold;
}

interface Telling {
  readonly executed: ExecutedImage;
  readonly told: ExecTold;
}

/** What is known of a file that has been hashed, each member after a comma. */
function membersOf(file: FileDigest, key: Key, { timeUs }: ExecutedImage): string {
  const { outcome, version } = file;
  if (outcome === undefined) return `,"${key}_pending":true`;
  if ("reason" in outcome) return `,"${key}_missing":"${outcome.reason}"`;
  if (version.mtimeUs > timeUs) return `,"${key}_missing":"changed"`;
  const isTouched = outcome.isTouched || version.ctimeUs > timeUs;
  return `,"${key}":"${outcome.sha256}"` + (isTouched ? `,"${key}_touched":true` : "");
}

/** The script of an exec, of the files that were opened before its interpreter; undefined when it is in doubt. */
function scriptOf({ before, isMerged }: ExecFiles, script: string): FileDigest | undefined {
  const wanted = script.slice(script.lastIndexOf("/") + 1);
  const scripts = before.filter(({ file, name }) => name !== undefined && mayBeScript(file));
  const named = scripts.find(({ name }) => name === wanted);
  // Called by another name, through a symbolic link: it is the one script that there is.
  return (named ?? (scripts.length === 1 && !isMerged ? scripts[0] : undefined))?.file;
}

function mayBeScript({ outcome }: FileDigest): boolean {
  return outcome === undefined || ("sha256" in outcome && outcome.isScript);
}

const DELETED_MARK = " (deleted)";

/** Names of open files, without folders, binary. */
function createNames(libc: Libc): (fd: number) => string | undefined {
  const buffer = Buffer.alloc(PATH_BYTES);
  return (fd) => {
    const length = libc.readlink(`/proc/self/fd/${fd}`, buffer);
    if (length <= 0) return undefined;
    const path = buffer.toString("latin1", 0, length);
    const whole = path.endsWith(DELETED_MARK) ? path.slice(0, -DELETED_MARK.length) : path;
    return whole.slice(whole.lastIndexOf("/") + 1);
  };
}

/** Why the image is not opened by its process: opening must not wait for another machine or process. */
function refusalOf(
  libc: Libc,
  watch: ExecWatch | undefined,
  { pid, device }: ExecutedImage,
): MissingReason | undefined {
  const known = watch?.typeOf(device);
  if (known !== undefined) return isRemoteType(known) ? "remote" : undefined;
  // The mount may be the process' own.
  const mounts = parseMountinfo(readWholeText(libc, `/proc/${pid}/mountinfo`));
  if (mounts.length === 0) return "gone";
  const type = mounts.find((mount) => mount.device === device)?.type;
  if (type === undefined) return "unmounted";
  return isRemoteType(type) ? "remote" : undefined;
}

async function pause(clock: Clock, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(untilStepMs(clock, PAUSE_MS), signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
