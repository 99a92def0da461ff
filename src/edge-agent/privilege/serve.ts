/**
 * The privileged process's work: takes one request after the other and does it, or refuses.
 *
 * Invariants: only what `permitted.ts` names is done; no byte of an event or of a file's content is ever looked at here,
 * but for the probes that a file declares: only those are attached.
 * Every descriptor that comes with a request, or is made for a reply, is closed once the reply is sent.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  AT_EMPTY_PATH,
  ERRNO,
  type Libc,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  POLLFD_BYTES,
  POLLIN,
  STATX_BASIC_STATS,
  STATX_BYTES,
} from "../libc.ts";
import type { Libbpf } from "../libbpf.ts";
import { loadGate, type MapSizes } from "../map-gate.ts";
import type { ObjectLoader } from "../program-object.ts";
import { attachProbe } from "../attach-probe.ts";
import { openAuditSocket, stirAudit } from "../audit-socket.ts";
import { readKernelBytes } from "../kernel-files.ts";
import { ElfError } from "../sources/crypto/elf-file.ts";
import { type LibraryFile, libraryFile } from "../sources/crypto/open-library.ts";
import { readProbeFile } from "../sources/crypto/probe-notes.ts";
import type { MessageSocket } from "../process-calls.ts";
import { type Answer, bytesOf, done, handedOver, refused } from "./answers.ts";
import { encodeReply, parseRequest, type Request } from "./messages.ts";
import {
  areGroupFlags,
  areOpenFlags,
  isEntryName,
  isExecutable,
  isKernelLink,
  isMarkMask,
  isPin,
  isPinOrAbove,
  isPlain,
  isProcessFile,
  mappedFile,
} from "./permitted.ts";
import { inActual, onActual } from "./actual-paths.ts";
import { createReadable, type IsReadable } from "./readable.ts";
import { createObjects } from "./serve-objects.ts";

/** The event loop gets a turn after so many requests: what calls leave behind is freed in its turns alone. */
const REQUESTS_PER_TURN = 256;
/** How long a request waits at most while objects are being ended, in milliseconds. */
const ENDING_POLL_MS = 2;
/** Largest key or value that is written through a gate. */
const GATE_BYTES_MAX = 64 * 1024;
const LINK_BYTES = 4096;
/** Of a process's list of what it has mapped. */
const MAPS_BYTES_MAX = 16 * 1024 * 1024;
/** `struct file_handle` without its bytes. */
const HANDLE_HEADER_BYTES = 8;
const HANDLE_BYTES_MAX = 128;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;

export interface ServeOptions {
  readonly libc: Libc;
  /** Undefined when it cannot be loaded. */
  readonly libbpf: Libbpf | undefined;
  readonly loadObject: ObjectLoader;
}

export interface Service {
  /** Whether objects that were closed are still being taken out of the kernel. */
  isEnding(): boolean;
  answer(bytes: Uint8Array, descriptors: readonly number[]): Answer;
}

/** Answers until the other side is gone; then everything that was loaded and not pinned ends with this process. */
export async function serve(
  socket: MessageSocket,
  { socketFd, ...options }: ServeOptions & { readonly socketFd: number },
): Promise<void> {
  const service = createService(options);
  const poll = new DataView(new ArrayBuffer(POLLFD_BYTES));
  poll.setInt32(0, socketFd, true);
  poll.setInt16(4, POLLIN, true);
  for (let requests = 1;; requests++) {
    if (requests % REQUESTS_PER_TURN === 0) await nextTurn();
    // What is being ended in the background gets its turn; there is nothing else that could.
    while (service.isEnding()) {
      await nextTurn();
      if (options.libc.poll(new Uint8Array(poll.buffer), ENDING_POLL_MS) > 0) break;
    }
    const message = socket.receive();
    if (typeof message === "number") {
      if (message !== -ERRNO.EINVAL) return;
      socket.send(encodeReply(refused(ERRNO.EINVAL)), []);
      continue;
    }
    const { bytes, descriptors } = message;
    if (bytes.length === 0) return;
    const answer = service.answer(bytes, descriptors);
    const { descriptors: given = [], isKept = false } = answer;
    socket.send(encodeReply(answer), given);
    for (const each of [...descriptors, ...(isKept ? [] : given)]) options.libc.close(each);
  }
}

export function createService(options: ServeOptions): Service {
  const { libc } = options;
  const objects = createObjects(options);
  const isDeclared = createDeclared(libc);
  let isReadable: IsReadable | undefined;
  const linkBuffer = Buffer.alloc(LINK_BYTES);

  const lookAt = (pathFd: number): DataView | undefined => {
    const statx = new DataView(new ArrayBuffer(STATX_BYTES));
    const buffer = new Uint8Array(statx.buffer);
    const asked = { flags: AT_EMPTY_PATH, mask: STATX_BASIC_STATS, buffer };
    return libc.statx(pathFd, "", asked) < 0 ? undefined : statx;
  };
  /** Whether a file is what its path leads to here: with mounts of its own another process gives it any path. */
  const isHere = (path: string, statx: DataView): boolean => {
    const fd = libc.open(bytesOf(path), O_PATH | O_NOFOLLOW);
    if (fd < 0) return false;
    const found = lookAt(fd);
    libc.close(fd);
    return found !== undefined && identityOf(found) === identityOf(statx);
  };
  /** Opens anew what a path descriptor is on, when it may be read. */
  const reopen = (pathFd: number, flags: number): Answer => {
    const own = `/proc/self/fd/${pathFd}`;
    const statx = lookAt(pathFd);
    const length = libc.readlink(own, linkBuffer);
    if (statx === undefined || length < 0) return refused(ERRNO.EACCES);
    const kind = statx.getUint16(28, true) & S_IFMT;
    const path = linkBuffer.toString("latin1", 0, length);
    const isAllowed = kind === S_IFDIR ||
      (kind === S_IFREG && isReadable?.(path) === true && isHere(path, statx));
    if (!isAllowed) return refused(ERRNO.EPERM);
    // It is no link, and its own name is one.
    return handedOver(libc.open(own, (flags & ~O_NOFOLLOW) | O_NONBLOCK));
  };
  const openOf = (pathFd: number, flags: number): Answer => {
    if (pathFd < 0 || (flags & O_PATH) !== 0) return handedOver(pathFd);
    const answer = reopen(pathFd, flags);
    libc.close(pathFd);
    return answer;
  };

  const onPin = (path: string, act: (own: string) => number): Answer =>
    isPin(path) ? done(inActual(libc, path, act)) : refused(ERRNO.EPERM);
  /** The kernel's text about a descriptor; empty when it cannot be read. */
  const fdinfoOf = (descriptor: number): string => {
    const fd = libc.open(`/proc/self/fdinfo/${descriptor}`, O_RDONLY);
    if (fd < 0) return "";
    const length = libc.read(fd, linkBuffer);
    libc.close(fd);
    return linkBuffer.toString("latin1", 0, Math.max(0, length));
  };

  /** What a process executes, it may read, and so may who looks for probes: regular files only, and nothing else of it. */
  const openMapped = (
    path: string,
    { pid, name }: { readonly pid: string; readonly name: string },
    flags: number,
  ): Answer => {
    const maps = readKernelBytes(`/proc/${pid}/maps`, MAPS_BYTES_MAX)?.toString("latin1") ?? "";
    if (!isExecutable(maps, name)) return refused(ERRNO.EPERM);
    const pathFd = libc.open(path, O_PATH);
    if (pathFd < 0) return done(pathFd);
    const statx = lookAt(pathFd);
    const isRegular = statx !== undefined && (statx.getUint16(28, true) & S_IFMT) === S_IFREG;
    const answer = isRegular
      ? handedOver(libc.open(`/proc/self/fd/${pathFd}`, (flags & ~O_NOFOLLOW) | O_NONBLOCK))
      : refused(ERRNO.EPERM);
    libc.close(pathFd);
    return answer;
  };

  const perform = (request: Request, descriptors: readonly number[]): Answer => {
    const [first = -1, second = -1] = descriptors;
    switch (request.operation) {
      case "policy":
        if (isReadable !== undefined) return refused(ERRNO.EPERM);
        try {
          isReadable = createReadable(request.fields);
          return done(0);
        } catch (error) {
          return { ...refused(ERRNO.EINVAL), text: String(error) };
        }
      case "open": {
        const { path, flags } = request.fields;
        if (!areOpenFlags(flags) || !isPlain(path)) return refused(ERRNO.EPERM);
        if (isProcessFile(path)) {
          return handedOver(libc.open(bytesOf(path), flags | O_NONBLOCK | O_RDONLY));
        }
        if (isPinOrAbove(path)) {
          const open = (own: string) => libc.open(own, (flags & ~O_NOFOLLOW) | O_NONBLOCK);
          return handedOver(onActual(libc, path, open));
        }
        const mapped = mappedFile(path);
        if (mapped !== undefined) return openMapped(path, mapped, flags);
        // Below /proc and /sys a path need not be that of what it leads to.
        if (/^\/(proc|sys)\//.test(path)) return refused(ERRNO.EPERM);
        return openOf(libc.open(bytesOf(path), flags | O_PATH), flags);
      }
      case "open_at": {
        const { path, flags } = request.fields;
        if (!areOpenFlags(flags) || (path !== "" && !isPlain(`/${path}`))) {
          return refused(ERRNO.EPERM);
        }
        if (path === "") return reopen(first, flags);
        const below = bytesOf(`/proc/self/fd/${first}/${path}`);
        return openOf(libc.open(below, flags | O_PATH), flags);
      }
      case "readlink": {
        const { path } = request.fields;
        if (!isPlain(path) || !isKernelLink(path)) return refused(ERRNO.EPERM);
        const length = libc.readlink(path, linkBuffer);
        return { status: length, text: linkBuffer.toString("latin1", 0, Math.max(0, length)) };
      }
      case "mkdir":
        return onPin(request.fields.path, (own) => libc.mkdir(own, 0o700));
      case "rmdir":
        return onPin(request.fields.path, (own) => libc.rmdir(own));
      case "unlink":
        return onPin(request.fields.path, (own) => libc.unlink(own));
      case "rename": {
        const { path, to } = request.fields;
        if (!isPin(to)) return refused(ERRNO.EPERM);
        return onPin(path, (own) => inActual(libc, to, (ownTo) => libc.rename(own, ownTo)));
      }
      case "fanotify_init": {
        const { flags, eventFlags } = request.fields;
        if (!areGroupFlags(flags, eventFlags)) return refused(ERRNO.EPERM);
        return handedOver(libc.fanotify_init(flags, eventFlags));
      }
      case "fanotify_mark": {
        const { flags, mask } = request.fields;
        if (!isMarkMask(mask, fdinfoOf(first))) return refused(ERRNO.EPERM);
        return done(libc.fanotify_mark(first, { flags, mask, markedFd: second }));
      }
      case "handle_of": {
        const { name, sizeBytes, flags } = request.fields;
        if (!isEntryName(name) || sizeBytes > HANDLE_BYTES_MAX) return refused(ERRNO.EPERM);
        const handle = Buffer.alloc(HANDLE_HEADER_BYTES + sizeBytes);
        handle.writeUInt32LE(sizeBytes, 0);
        const status = libc.name_to_handle_at(first, bytesOf(name), handle, flags);
        return { status, text: handle.toString("latin1") };
      }
      case "open_by_handles": {
        const { handles, flags } = request.fields;
        // Something to be looked at, not read.
        if (flags !== O_PATH) return refused(ERRNO.EPERM);
        const all = handles.map(bytesOf);
        if (!all.every(isWholeHandle)) return refused(ERRNO.EPERM);
        const opened = libc.open_by_handles_at(first, all, flags);
        const descriptors = opened.filter((fd) => fd >= 0);
        return { status: 0, text: opened.map((fd) => Math.min(0, fd)).join(" "), descriptors };
      }
      case "audit_socket":
        return handedOver(openAuditSocket(libc));
      case "audit_stir":
        stirAudit(libc, () => options.libbpf);
        return done(0);
      case "pin_open": {
        const { path } = request.fields;
        if (!isPin(path) || options.libbpf === undefined) return refused(ERRNO.EPERM);
        const { libbpf } = options;
        return handedOver(onActual(libc, path, (own) => libbpf.bpf_obj_get(own)));
      }
      case "probe_attach": {
        const { program, link } = request.fields;
        if (!isPin(program) || !isPin(link) || options.libbpf === undefined) {
          return refused(ERRNO.EPERM);
        }
        if (!isDeclared(first, request.fields)) return refused(ERRNO.EPERM);
        const { libbpf } = options;
        const attach = (ownProgram: string): number =>
          inActual(libc, link, (ownLink) => {
            const own = { program: ownProgram, link: ownLink, fileFd: first };
            return attachProbe(libbpf, { ...request.fields, ...own });
          });
        return done(onActual(libc, program, attach));
      }
      case "gate_open":
        return gateOf(options.libbpf, first, request.fields);
      default:
        return objects.perform(request);
    }
  };
  return {
    isEnding: () => objects.isEnding(),
    answer(bytes, descriptors) {
      const request = parseRequest(bytes, descriptors.length);
      if (request === undefined) return refused(ERRNO.EINVAL);
      return perform(request, descriptors);
    },
  };
}

/** Sizes that are not the map's own are refused by the kernel. */
function gateOf(libbpf: Libbpf | undefined, mapFd: number, sizes: MapSizes): Answer {
  const isSmall = sizes.keyBytes <= GATE_BYTES_MAX && sizes.valueBytes <= GATE_BYTES_MAX;
  if (libbpf === undefined || !isSmall) return refused(ERRNO.EPERM);
  try {
    const { scratch, update, remove } = loadGate(libbpf, mapFd, sizes);
    return { status: 0, text: "", descriptors: [scratch, update, remove] };
  } catch (error) {
    return { status: -ERRNO.EINVAL, text: error instanceof Error ? error.message : String(error) };
  }
}

/** The kernel reads as many bytes as the first field says. */
function isWholeHandle(handle: Buffer): boolean {
  return handle.length >= HANDLE_HEADER_BYTES &&
    handle.readUInt32LE(0) <= handle.length - HANDLE_HEADER_BYTES;
}

/** Inode and device (`struct statx`, include/uapi/linux/stat.h). */
function identityOf(statx: DataView): string {
  return `${statx.getBigUint64(32, true)} ${statx.getBigUint64(136, true)}`;
}

interface ProbePlace {
  readonly offset: number;
  readonly semaphore: number;
}

/**
 * Whether the file itself declares a probe at the place: nobody is made to stop, or to count, anywhere else. A file is
 * read once for all of its probes, which are asked for one after the other.
 */
function createDeclared(libc: Libc): (fd: number, place: ProbePlace) => boolean {
  let latest = { identity: "", places: new Set<string>() };
  return (fd, { offset, semaphore }) => {
    const file = libraryFile(libc, fd);
    if (file === undefined) return false;
    if (file.identity !== latest.identity) {
      latest = { identity: file.identity, places: placesOf(file) };
    }
    return latest.places.has(`${offset} ${semaphore}`);
  };
}

function placesOf(file: LibraryFile): Set<string> {
  try {
    const { probes = [] } = readProbeFile(file) ?? {};
    return new Set(probes.map(({ offset, semaphore }) => `${offset} ${semaphore}`));
  } catch (error) {
    if (error instanceof ElfError) return new Set();
    throw error;
  }
}
