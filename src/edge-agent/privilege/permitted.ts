/**
 * What the privileged process does for whoever asks, and what it refuses. Pure.
 *
 * Invariants: what is not named here is refused. No path with an empty, `.` or `..` segment is looked at; where a
 * symbolic link may stand in a path, what counts is the path of what was opened, not the path that was asked for.
 */
import process from "node:process";
import { O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK, O_PATH } from "../libc.ts";

const O_NOATIME = 0o1000000;
const O_LARGEFILE = process.arch === "arm64" ? 0o400000 : 0o100000;
/** Reading only, nothing that waits or changes. */
const OPEN_FLAGS = O_NONBLOCK | O_CLOEXEC | O_PATH | O_NOFOLLOW | O_NOATIME;
const PROCESS_FILE =
  /^\/proc\/[1-9][0-9]{0,9}(\/(stat|status|cgroup|loginuid|sessionid|cmdline|comm|exe|maps|mountinfo|fd|task|ns|net|net\/(tcp6?|udp6?)))?$/;
const PROCESS_LINK = /^\/proc\/[1-9][0-9]{0,9}\/(exe|cwd|root|fd\/[0-9]{1,9}|ns\/[a-z_]{1,32})$/;
/** A file as a process has it mapped, and the list of what it has mapped. */
const MAPPED_FILE = /^\/proc\/([1-9][0-9]{0,9})\/map_files\/([0-9a-f]{1,16}-[0-9a-f]{1,16})$/;
/** A mapping that may be executed, as /proc/PID/maps has it, by the name that it has below map_files. */
const EXECUTABLE = /^0*([0-9a-f]+)-0*([0-9a-f]+) ..x/gm;
const PIN = /^\/sys\/fs\/bpf(\/probity[a-z0-9_-]*(\/[A-Za-z0-9_-]+){0,2})?$/;
const PIN_INSIDE = /^\/sys\/fs\/bpf\/probity[a-z0-9_-]*(\/[A-Za-z0-9_-]+){0,2}$/;

/** fanotify_init: notifications only (no class that makes others wait for an answer), descriptors of files to read. */
const FAN_CLASS_BITS = 0x0c;
const FAN_KNOWN_BITS = 0x3fff;
/** Groups whose events name files by handle; others get a descriptor of each file, open to read. */
const FAN_REPORT_FID_BITS = 0x200 | 0x400;
/** fanotify_mark: no permission events. */
const FAN_PERMISSION_EVENTS = 0x0001_0000 | 0x0002_0000 | 0x0004_0000 | 0x0010_0000;
const FAN_OPEN_EXEC = 0x1000;

export function areOpenFlags(flags: number): boolean {
  return (flags & ~OPEN_FLAGS) === 0;
}

/** Files that the kernel makes up about processes. */
export function isProcessFile(path: string): boolean {
  return path === "/proc" || PROCESS_FILE.test(path);
}

/** Probity's pins and their folders, and the folder that these are in. A link may stand there: its owner can make one. */
export function isPinOrAbove(path: string): boolean {
  return PIN.test(path);
}

/** Process and name of a mapping, when a path is that of one. */
export function mappedFile(
  path: string,
): { readonly pid: string; readonly name: string } | undefined {
  const [, pid, name] = MAPPED_FILE.exec(path) ?? [];
  return pid === undefined || name === undefined ? undefined : { pid, name };
}

/** Whether a process may execute a mapping, by its list of them. */
export function isExecutable(maps: string, name: string): boolean {
  return maps.matchAll(EXECUTABLE).some(([, start, end]) => `${start}-${end}` === name);
}

/** Links below /proc whose text is told. */
export function isKernelLink(path: string): boolean {
  return PROCESS_LINK.test(path);
}

/** Probity's own folders and pins below the BPF filesystem. */
export function isPin(path: string): boolean {
  return PIN_INSIDE.test(path);
}

/** A path as it may be asked for: nothing in it points back. */
export function isPlain(path: string): boolean {
  return path === "/" ||
    path.split("/").every((segment, place) =>
      place === 0
        ? segment === "" && path !== ""
        : segment !== "" && segment !== "." && segment !== ".."
    );
}

export function areGroupFlags(flags: number, eventFlags: number): boolean {
  return (flags & FAN_CLASS_BITS) === 0 && (flags & ~FAN_KNOWN_BITS) === 0 &&
    areOpenFlags(eventFlags & ~O_LARGEFILE) && (eventFlags & O_PATH) === 0;
}

/**
 * Whether a group may be marked for events: `fdinfo` is the kernel's text about its descriptor. A group that gets
 * descriptors gets those of executed files alone: it could read whatever anyone opens.
 */
export function isMarkMask(mask: number, fdinfo: string): boolean {
  // Above 32 bits there is no event.
  if (mask > 0xffffffff || (mask & FAN_PERMISSION_EVENTS) !== 0) return false;
  const flags = /^fanotify flags:([0-9a-f]+) /m.exec(fdinfo)?.[1];
  if (flags === undefined) return false;
  return (Number.parseInt(flags, 16) & FAN_REPORT_FID_BITS) !== 0 || mask === FAN_OPEN_EXEC;
}

/** A name in a folder; `.` and `..` are the folder itself and the one above. Empty: what a descriptor is on. */
export function isEntryName(name: string): boolean {
  return !name.includes("/") && !name.includes("\0");
}
