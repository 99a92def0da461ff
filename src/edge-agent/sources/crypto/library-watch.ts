/**
 * Which libraries are to be attached: those of the configuration, their copies elsewhere, and, when that is asked for,
 * every file with probes that a process maps.
 *
 * Invariants: a file is told apart by device and inode, never by its path. Who maps a file is told by the kernel at once; a
 * look at all processes, now and then, finds what that misses. Every list has a limit, since whoever may run a program
 * may map files without end.
 */
import { realpathSync } from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ERRNO, errnoText, type Libc, O_NONBLOCK, O_PATH, O_RDONLY } from "../../libc.ts";
import type { AttachedLibraries, AttachOutcome } from "./attached-libraries.ts";
import type { MappedFile } from "./crypto-lines.ts";
import type { CryptoSettings } from "./crypto-settings.ts";
import type { LibraryNotices } from "./library-notices.ts";
import {
  type ExecutableMapping,
  executableMappings,
  livingProcesses,
  openMapping,
} from "./mapped-files.ts";
import { libraryFile } from "./open-library.ts";
import { createUnattachedFiles } from "./unattached-files.ts";

/** Files that wait to be looked at, and those that were. */
const WAITING_MAX = 4096;
const EXAMINED_MAX = 65_536;
/** How often a mapping is looked for that is not there yet: it was told of when it was asked for. */
const TRIES_MAX = 4;
/** Looks at all processes that a library may be missing from before it is detached. */
const UNSEEN_MAX = 2;
/** Processes that are looked at before others get their turn. */
const PROCESSES_PER_TURN = 8;
/** How long files are looked at before others get their turn, in milliseconds. */
const LOOK_MS_MAX = 50;
/** New files of one process that are opened in one look at all. */
const FILES_PER_PROCESS_MAX = 256;
/** Files that nobody could look at in time, of which is remembered since when. */
const MISSED_MAX = 4096;

export interface LibraryWatchOptions {
  readonly attached: AttachedLibraries;
  readonly libc: Libc;
  readonly notices: LibraryNotices;
  readonly nowUs: () => number;
}

export interface LibraryWatch {
  /** Takes the configuration; libraries that it does not name are detached at the next looks. */
  configure(settings: CryptoSettings): void;
  /** Attaches what the configuration names, as it is now. */
  attachConfigured(): void;
  mapped(file: MappedFile): void;
  /** Looks at the files that were mapped. */
  step(): void;
  /** Looks at all processes. */
  scan(signal: AbortSignal): Promise<void>;
}

interface Examined {
  readonly generation: number | undefined;
  readonly sizeBytes: number | undefined;
  /** Of the library that it is. */
  readonly number: number | undefined;
}

export function createLibraryWatch(options: LibraryWatchOptions): LibraryWatch {
  const { attached, libc, notices, nowUs } = options;
  const beganUs = nowUs();
  let settings: CryptoSettings = { libraries: [], discover: false, provider: "" };
  let names: ReadonlySet<string> = new Set();
  /** Numbers of the libraries that the configuration's paths lead to. */
  let configured: ReadonlySet<number> = new Set();
  let waiting: { readonly file: MappedFile; readonly tries: number }[] = [];
  let examined = new Map<string, Examined>();
  const unseen = new Map<number, number>();
  /** When libraries were attached, µs; of those that went on from an earlier agent nothing. */
  const attachedUs = new Map<number, number>();
  const unattached = createUnattachedFiles(notices);
  /** Files that were mapped, since when, µs, and whose processes ended before they could be looked at. */
  const missed = new Map<string, { readonly fromUs: number; isTold: boolean }>();

  const isNamed = (path: string): boolean => {
    const name = basename(path);
    return names.has(name) || [...names].some((each) => name.startsWith(`${each}.`));
  };
  const isWanted = (path: string): boolean => settings.discover || isNamed(path);

  /** `fromUs`: since when a process may have used it. */
  const told = (outcome: AttachOutcome, fromUs: number | undefined) => {
    if (outcome.state !== "attached") return;
    const toUs = nowUs();
    attachedUs.set(outcome.library.number, toUs);
    notices.attached(outcome.library, outcome.faults);
    if (fromUs !== undefined) notices.late(outcome.library, { fromUs, toUs });
  };
  /** `fromUs`: since when it is mapped at the latest; of a file that the kernel told of, when. */
  const examine = (
    pid: number,
    mapping: ExecutableMapping,
    { fromUs, ...version }: Partial<Omit<Examined, "number">> & { readonly fromUs: number },
  ): void => {
    const key = keyOf(mapping);
    const sinceUs = Math.min(fromUs, missed.get(key)?.fromUs ?? fromUs);
    const note = (number: number | undefined): void => {
      if (examined.size >= EXAMINED_MAX) examined = new Map();
      const { generation, sizeBytes } = version;
      examined.set(key, { generation, sizeBytes, number });
    };
    if (!isWanted(mapping.path)) return note(undefined);
    const fd = openMapping(libc, pid, mapping);
    if (fd < 0) {
      // When it is gone, or another process of the same number has it not, whoever maps it again tells.
      const isGone = fd === -ERRNO.ENOENT || !mappingsOf(pid).has(key);
      if (!isGone) notices.fault(mapping.path, `it cannot be opened: ${errnoText(fd)}`);
      return;
    }
    missed.delete(key);
    try {
      const outcome = attached.attach(fd, mapping.path);
      const untoldUs = "library" in outcome ? unattached.forget(key) : undefined;
      told(outcome, untoldUs ?? sinceUs);
      const isFault = outcome.state === "fault" ||
        (outcome.state === "unreadable" && isNamed(mapping.path));
      if (isFault) unattached.found(key, { path: mapping.path, reason: outcome.reason, sinceUs });
      if (outcome.state === "known" && version.generation !== undefined) {
        // It was attached by its path, and mapped before that.
        const toUs = attachedUs.get(outcome.library.number) ?? 0;
        if (sinceUs < toUs) notices.late(outcome.library, { fromUs: sinceUs, toUs });
      }
      note("library" in outcome ? outcome.library.number : undefined);
    } finally {
      libc.close(fd);
    }
  };
  const look = (
    { file, tries }: typeof waiting[number],
    mapping: ExecutableMapping | undefined,
  ): void => {
    const { generation, sizeBytes, timeUs } = file;
    if (mapping !== undefined) {
      return examine(file.pid, mapping, { generation, sizeBytes, fromUs: timeUs });
    }
    if (tries < TRIES_MAX) waiting.push({ file, tries: tries + 1 });
    else miss(keyOf(file), timeUs);
  };
  const miss = (key: string, fromUs: number): void => {
    if (missed.has(key)) return;
    const [oldest] = missed.size >= MISSED_MAX ? missed.keys() : [];
    if (oldest !== undefined) missed.delete(oldest);
    missed.set(key, { fromUs, isTold: false });
  };
  /** Of files that were asked for and may have had probes: which they were nobody knows any more. */
  const tellMissed = (): void => {
    const untold = [...missed.values()].filter(({ isTold }) => !isTold);
    for (const each of untold) each.isTold = true;
    if (untold.length === 0 || !settings.discover) return;
    const fromUs = untold.reduce((least, each) => Math.min(least, each.fromUs), Infinity);
    notices.missed(untold.length, { fromUs, toUs: nowUs() });
  };
  const isKnown = ({ device, inode, generation, sizeBytes }: MappedFile): boolean => {
    const found = examined.get(keyOf({ device, inode }));
    if (found === undefined) return false;
    if (found.generation === undefined) {
      examined.set(keyOf({ device, inode }), { ...found, generation, sizeBytes });
      return true;
    }
    return found.generation === generation && found.sizeBytes === sizeBytes;
  };
  /** Whether a path leads to the file on the filesystem that this system runs from: nobody waits for it to be unmounted. */
  const isAtHome = ({ identity, path }: { readonly identity: string; readonly path: string }) => {
    const there = identityAt(libc, path);
    return there?.identity === identity &&
      there.device === identityAt(libc, "/proc/self/exe")?.device;
  };
  const detachUnseen = (seen: ReadonlySet<number>): void => {
    for (const library of attached.attached()) {
      const { number, path } = library;
      if (seen.has(number) || configured.has(number) || (isWanted(path) && isAtHome(library))) {
        unseen.delete(number);
        continue;
      }
      const times = (unseen.get(number) ?? 0) + 1;
      unseen.set(number, times);
      if (times < UNSEEN_MAX && isWanted(path)) continue;
      unseen.delete(number);
      attached.detach(number);
      for (const [key, { number: known }] of examined) if (known === number) examined.delete(key);
      notices.detached(library);
    }
  };

  return {
    configure(next) {
      settings = next;
      unattached.tell(nowUs());
      unattached.clear();
      names = new Set(next.libraries.flatMap((path) => [basename(path), basename(realOf(path))]));
      examined = new Map();
    },
    attachConfigured() {
      const found = new Set<number>();
      for (const path of settings.libraries) {
        const fd = libc.open(path, O_RDONLY | O_NONBLOCK);
        if (fd < 0) {
          notices.fault(path, `it cannot be opened: ${errnoText(fd)}`);
          continue;
        }
        try {
          const fromUs = nowUs();
          const outcome = attached.attach(fd, path, { isReserved: true });
          const reason = faultOf(outcome, settings.provider);
          const isReplaced = outcome.state === "attached" && outcome.isReplaced;
          if (reason !== undefined) notices.fault(path, reason);
          else told(outcome, isReplaced ? fromUs : undefined);
          if ("library" in outcome) found.add(outcome.library.number);
        } finally {
          libc.close(fd);
        }
      }
      configured = found;
      attached.reserve(found);
    },
    mapped(file) {
      // Its own are those of proofs.
      if (file.pid === process.pid || isKnown(file)) return;
      if (waiting.length < WAITING_MAX) waiting.push({ file, tries: 0 });
      else miss(keyOf(file), file.timeUs);
    },
    step() {
      const taken = waiting.filter(({ file }) => !isKnown(file));
      waiting = [];
      let endMs = Infinity;
      const mappings = new Map<number, ReadonlyMap<string, ExecutableMapping>>();
      for (const each of taken) {
        const { file } = each;
        // A process may have mapped tens of thousands: its list is read once for all of its files.
        const isOver = performance.now() >= endMs;
        const known = mappings.get(file.pid) ?? (isOver ? undefined : mappingsOf(file.pid));
        if (known !== undefined) mappings.set(file.pid, known);
        if (endMs === Infinity) endMs = performance.now() + LOOK_MS_MAX;
        const mapping = known?.get(keyOf(file));
        const isLater = known === undefined ||
          (isOver && mapping !== undefined && isWanted(mapping.path));
        if (isLater) waiting.push(each);
        else if (!isKnown(file)) look(each, mapping);
      }
    },
    async scan(signal) {
      const seen = new Set<number>();
      for (const [place, pid] of livingProcesses().entries()) {
        if (place % PROCESSES_PER_TURN === 0) await nextTurn();
        if (signal.aborted) return;
        if (pid === process.pid) continue;
        let opened = 0;
        let endMs = performance.now() + LOOK_MS_MAX;
        for (const mapping of executableMappings(pid) ?? []) {
          if (!examined.has(keyOf(mapping))) {
            if (isWanted(mapping.path) && (opened += 1) > FILES_PER_PROCESS_MAX) continue;
            examine(pid, mapping, { fromUs: beganUs });
          }
          unattached.seen(keyOf(mapping));
          const number = examined.get(keyOf(mapping))?.number;
          if (number !== undefined) seen.add(number);
          if (performance.now() < endMs) continue;
          await nextTurn();
          if (signal.aborted) return;
          endMs = performance.now() + LOOK_MS_MAX;
        }
      }
      detachUnseen(seen);
      // There may be room by then, or another file in its place.
      for (const key of unattached.tell(nowUs())) examined.delete(key);
      tellMissed();
    },
  };
}

/** Why a configured file tells nothing; undefined when it does. */
export function faultOf(outcome: AttachOutcome, provider: string): string | undefined {
  switch (outcome.state) {
    case "none":
      return `it has no probes of provider "${provider}"`;
    case "fault":
    case "unreadable":
      return outcome.reason;
    default:
      return undefined;
  }
}

function mappingsOf(pid: number): ReadonlyMap<string, ExecutableMapping> {
  return new Map((executableMappings(pid) ?? []).map((each) => [keyOf(each), each]));
}

function keyOf({ device, inode }: Pick<MappedFile, "device" | "inode">): string {
  return `${device} ${inode}`;
}

/** Whoever made the file may have put anything at its path since: it is looked at, and not opened. */
function identityAt(libc: Libc, path: string) {
  const fd = libc.open(path, O_PATH);
  if (fd < 0) return undefined;
  const file = libraryFile(libc, fd);
  libc.close(fd);
  return file;
}

function realOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path; // It is not there: whoever opens it says so.
  }
}
