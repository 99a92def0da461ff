/**
 * Attaches a pinned program to one place of a file, for every process that executes it, now or later; the link is pinned,
 * so that it outlives whoever made it.
 *
 * Invariant: the file is named by an open descriptor, so it is the one that was looked at, whatever its path leads to now.
 */
import { readKernelText } from "./kernel-files.ts";
import type { Libbpf } from "./libbpf.ts";

const UPROBE_TYPE = "/sys/bus/event_source/devices/uprobe/type";
const ENODEV = 19;
/** Places are 32-bit numbers where the kernel keeps the semaphore's. */
const SEMAPHORE_MAX = 0xffff_ffff;

export interface ProbeAttachment {
  /** Pins: of the program, which is there, and of the link, which is made. */
  readonly program: string;
  readonly link: string;
  readonly fileFd: number;
  /** In bytes from the beginning of the file; `semaphore`: 0 for none. */
  readonly offset: number;
  readonly semaphore: number;
  /** What the program is told at a hit; not 0. */
  readonly cookie: number;
}

/** Attaches; {@link attachProbe} is one. */
export type ProbeAttacher = (libbpf: Libbpf, attachment: ProbeAttachment) => number;
let attacher: ProbeAttacher = attachHere;

/** To be called at most once, at the start: who attaches probes from then on. */
export function chooseProbeAttacher(chosen: ProbeAttacher): void {
  attacher = chosen;
}

/** 0, or a negative errno. */
export function attachProbe(libbpf: Libbpf, attachment: ProbeAttachment): number {
  return attacher(libbpf, attachment);
}

function attachHere(libbpf: Libbpf, attachment: ProbeAttachment): number {
  const { program, link, fileFd, offset, semaphore, cookie } = attachment;
  const type = Number(readKernelText(UPROBE_TYPE)?.trim());
  if (!Number.isSafeInteger(type) || semaphore > SEMAPHORE_MAX) return -ENODEV;
  const path = `/proc/self/fd/${fileFd}`;
  const open: number[] = [];
  const kept = (fd: number): number => {
    if (fd >= 0) open.push(fd);
    return fd;
  };
  try {
    const eventFd = kept(libbpf.perf_event_open_uprobe(path, { type, offset, semaphore }));
    if (eventFd < 0) return eventFd;
    const programFd = kept(libbpf.bpf_obj_get(program));
    if (programFd < 0) return programFd;
    const linkFd = kept(libbpf.bpf_link_create_perf(programFd, eventFd, cookie));
    return linkFd < 0 ? linkFd : libbpf.bpf_obj_pin(linkFd, link);
  } finally {
    for (const fd of open) libbpf.close(fd);
  }
}
