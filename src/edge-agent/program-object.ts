/**
 * One compiled object loaded into the kernel: programs of one variant, attached and pinned on request.
 *
 * Invariant: an object holds both variants of each hook; only those of the asked variant are loaded, because one
 * refused program fails its whole object. Programs named `call_…` are on the tracepoints of single system calls, in
 * both variants; calls that the kernel lacks are left out.
 */
import { fileURLToPath } from "node:url";
import { openRootCgroup } from "./cgroup-root.ts";
import type { Libbpf, Pointer } from "./libbpf.ts";
import {
  attachTracepoint,
  hasTracepoint,
  requireTraceFolder,
  tracepointsOf,
} from "./tracepoints.ts";

/**
 * How a program is typed: with the kernel's type information checked at load (tp_btf), or without (raw_tp); or that it
 * is one of the root cgroup, of which there is one form.
 */
export type ProgramVariant = "tp_btf" | "raw_tp" | "cgroup";

const PREFIXES: Readonly<Record<ProgramVariant, string>> = {
  tp_btf: "btf_",
  raw_tp: "raw_",
  cgroup: "cgroup_",
};

/** Those of tracepoints, in the order in which they are tried. */
export const PROGRAM_VARIANTS: readonly ProgramVariant[] = ["tp_btf", "raw_tp"];

/** As in bpf/scratch.h: working memory of one CPU, in slots. */
const SCRATCH_SLOTS = 2;
/** Maps that programs of a variant do not use, because only those of another do. */
const MAPS_NOT_OF_VARIANT: Readonly<Record<ProgramVariant, readonly string[]>> = {
  tp_btf: ["plain_owners"],
  raw_tp: ["socket_owners"],
  cgroup: [],
};
const CALL_PREFIX = "call_";
/** The program of probes in user space, without its variant's prefix: it is attached to each by itself. */
const PROBE_PROGRAM = "usdt";
/** Pins of its links. */
export const PROBE_LINK_PREFIX = "link_usdt_";
/** Programs on all system calls, for those in the i386 way. */
const COMPAT_PREFIX = "compat_";
/** Programs, without their variant's prefix, that are left out where the kernel lacks their tracepoint. */
const OPTIONAL_PROGRAMS: ReadonlyMap<string, string> = new Map([
  ["io_uring_complete", "io_uring/io_uring_complete"],
  ["sched_prepare_exec", "sched/sched_prepare_exec"],
]);
/** Maps that user space works with, and that are pinned. */
export const SHARED_MAPS = [
  "events",
  "counters",
  "settings",
  "ledger",
  "owner",
  "rules",
  "folders",
  "buckets",
] as const;
/** Maps of single families that user space works with, too; pinned where they are. */
export const FAMILY_MAPS = ["watched", "sites"] as const;
export type SharedMap = typeof SHARED_MAPS[number] | typeof FAMILY_MAPS[number];

export interface LoadOptions {
  /** Name of a compiled object, such as `process`. */
  readonly family: string;
  readonly variant: ProgramVariant;
  /** A power of two, at least one page. */
  readonly ringBytes: number;
  /** Whether programs that see calls in the i386 way are loaded, too; they cost every call of the host. */
  readonly compat?: boolean;
  /** Values of the family's own maps, each at key 0; these maps are pinned too. */
  readonly values?: Readonly<Record<string, Uint8Array>>;
}

/**
 * Disposing of it ends what was not pinned. The end of a link to a system call's tracepoint takes the kernel 40 ms and
 * more: `await using` does not hold up this thread.
 */
export interface ProgramObject extends Disposable, AsyncDisposable {
  /** Descriptor of a map; it lives as long as the object. */
  mapFd(name: SharedMap): number;
  /** Starts the programs. Throws when one cannot be attached; those before it then stay until dispose. */
  attach(): void;
  /** Pins maps, programs and links below an existing folder of a BPF filesystem, so that they outlive this process. */
  pin(folder: string): void;
}

/** The kernel refused; `errno` says why. */
export class KernelRefusal extends Error {
  readonly errno: number;

  constructor(message: string, errno: number) {
    super(`${message}: errno ${errno}`);
    this.errno = errno;
  }
}

/** Path of a compiled object. */
export function objectPath(family: string): string {
  return fileURLToPath(new URL(`../../bpf/${family}.bpf.o`, import.meta.url));
}

/** Loads an object; {@link loadProgramObject} is one. */
export type ObjectLoader = (libbpf: Libbpf, options: LoadOptions) => ProgramObject;
let loader: ObjectLoader = loadHere;

/** To be called at most once, at the start: who loads objects from then on. */
export function chooseObjectLoader(chosen: ObjectLoader): void {
  loader = chosen;
}

/** Loads an object. Throws {@link KernelRefusal} when the kernel refuses it. */
export function loadProgramObject(libbpf: Libbpf, options: LoadOptions): ProgramObject {
  return loader(libbpf, options);
}

function loadHere(libbpf: Libbpf, options: LoadOptions): ProgramObject {
  const path = objectPath(options.family);
  const object = libbpf.bpf_object__open_file(path);
  if (object === null) throw new KernelRefusal(`Cannot open object ${path}`, libbpf.errno());
  const loaded = new LoadedObject(libbpf, object, options);
  try {
    loaded.load();
  } catch (error) {
    loaded[Symbol.dispose]();
    throw error;
  }
  return loaded;
}

class LoadedObject implements ProgramObject {
  readonly #libbpf: Libbpf;
  readonly #options: LoadOptions;
  #object: Pointer | undefined;
  readonly #programs: { readonly name: string; readonly program: Pointer }[] = [];
  readonly #links: { readonly name: string; readonly link: Pointer }[] = [];
  /** Links of `call_` programs, several for each: descriptors. */
  readonly #callLinks: { readonly name: string; readonly fd: number }[] = [];

  constructor(libbpf: Libbpf, object: Pointer, options: LoadOptions) {
    this.#libbpf = libbpf;
    this.#object = object;
    this.#options = options;
  }

  load(): void {
    const { family, variant, ringBytes, compat = false } = this.#options;
    const libbpf = this.#libbpf;
    const object = this.#open();
    const prefix = PREFIXES[variant];
    let program = libbpf.bpf_object__next_program(object, null);
    while (program !== null) {
      const name = libbpf.bpf_program__name(program);
      const isOurs = name.startsWith(CALL_PREFIX) || (compat && name.startsWith(COMPAT_PREFIX)) ||
        (name.startsWith(prefix) && isPossible(name.slice(prefix.length)));
      libbpf.bpf_program__set_autoload(program, isOurs);
      if (isOurs) this.#programs.push({ name, program });
      program = libbpf.bpf_object__next_program(object, program);
    }
    libbpf.bpf_map__set_max_entries(this.#map("events"), ringBytes);
    const scratches = libbpf.bpf_object__find_map_by_name(object, "scratches");
    if (scratches !== null) {
      libbpf.bpf_map__set_max_entries(scratches, SCRATCH_SLOTS * libbpf.libbpf_num_possible_cpus());
    }
    for (const name of MAPS_NOT_OF_VARIANT[variant]) {
      const map = libbpf.bpf_object__find_map_by_name(object, name);
      if (map !== null) libbpf.bpf_map__set_autocreate(map, false);
    }
    refused(libbpf.bpf_object__load(object), `Cannot load programs "${family}" as ${variant}`);
    for (const [name, value] of Object.entries(this.#options.values ?? {})) {
      const fd = libbpf.bpf_map__fd(this.#map(name));
      refused(libbpf.bpf_map_update_elem(fd, new Uint8Array(4), value), `Cannot fill "${name}"`);
    }
  }

  mapFd(name: SharedMap): number {
    return this.#libbpf.bpf_map__fd(this.#map(name));
  }

  attach(): void {
    if (this.#options.variant !== "cgroup") return this.#attach(undefined);
    const cgroupFd = openRootCgroup();
    try {
      this.#attach(cgroupFd);
    } finally {
      this.#libbpf.close(cgroupFd);
    }
  }

  #attach(cgroupFd: number | undefined): void {
    const libbpf = this.#libbpf;
    for (const { name, program } of this.#programs) {
      if (isOfProbes(name)) continue;
      if (name.startsWith(CALL_PREFIX)) {
        this.#attachCall(name, program);
        continue;
      }
      const link = cgroupFd === undefined
        ? libbpf.bpf_program__attach(program)
        : libbpf.bpf_program__attach_cgroup(program, cgroupFd);
      if (link === null) {
        throw new KernelRefusal(`Cannot attach program "${name}"`, libbpf.errno());
      }
      this.#links.push({ name, link });
    }
  }

  pin(folder: string): void {
    const libbpf = this.#libbpf;
    const pinned = (result: number, path: string): void => refused(result, `Cannot pin "${path}"`);
    const ofFamily = FAMILY_MAPS.filter((name) =>
      libbpf.bpf_object__find_map_by_name(this.#open(), name) !== null
    );
    for (const name of [...SHARED_MAPS, ...ofFamily, ...Object.keys(this.#options.values ?? {})]) {
      const path = `${folder}/map_${name}`;
      pinned(libbpf.bpf_obj_pin(libbpf.bpf_map__fd(this.#map(name)), path), path);
    }
    const attached = new Set([...this.#links, ...this.#callLinks].map(({ name }) => name));
    for (const { name, program } of this.#programs) {
      if (!attached.has(name) && !isOfProbes(name)) continue;
      const path = `${folder}/prog_${name}`;
      pinned(libbpf.bpf_program__pin(program, path), path);
    }
    for (const { name, link } of this.#links) {
      const path = `${folder}/link_${name}`;
      pinned(libbpf.bpf_obj_pin(libbpf.bpf_link__fd(link), path), path);
    }
    for (const [name, links] of Map.groupBy(this.#callLinks, (link) => link.name)) {
      for (const [place, { fd }] of links.entries()) {
        const path = `${folder}/link_${name}_${place + 1}of${links.length}`;
        pinned(libbpf.bpf_obj_pin(fd, path), path);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#callLinks.splice(0).map(({ fd }) => this.#libbpf.closeLater(fd)));
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#callLinks.splice(0)) this.#libbpf.close(fd);
    for (const { link } of this.#links.splice(0).reverse()) this.#libbpf.bpf_link__destroy(link);
    this.#programs.length = 0;
    if (this.#object !== undefined) this.#libbpf.bpf_object__close(this.#object);
    this.#object = undefined;
  }

  #attachCall(name: string, program: Pointer): void {
    const libbpf = this.#libbpf;
    requireTraceFolder();
    const programFd = libbpf.bpf_program__fd(program);
    for (const tracepoint of tracepointsOf(libbpf.bpf_program__section_name(program))) {
      const fd = attachTracepoint(libbpf, { tracepoint, programFd });
      if (fd === undefined) continue;
      refused(fd, `Cannot attach program "${name}" to "${tracepoint}"`);
      this.#callLinks.push({ name, fd });
    }
  }

  #open(): Pointer {
    if (this.#object === undefined) throw new Error("Cannot use a program object: closed");
    return this.#object;
  }

  #map(name: string): Pointer {
    const map = this.#libbpf.bpf_object__find_map_by_name(this.#open(), name);
    if (map === null) throw new Error(`Cannot use map "${name}": not in the object`);
    return map;
  }
}

/** Whether a program, by its name or that of its pin, is the one of probes in user space. */
export function isOfProbes(name: string): boolean {
  return name.endsWith(`_${PROBE_PROGRAM}`);
}

function isPossible(hook: string): boolean {
  const tracepoint = OPTIONAL_PROGRAMS.get(hook);
  if (tracepoint === undefined) return true;
  try {
    requireTraceFolder();
  } catch {
    return true; // The kernel will say what is not possible.
  }
  return hasTracepoint(tracepoint);
}

function refused(result: number, message: string): void {
  if (result < 0) throw new KernelRefusal(message, -result);
}
