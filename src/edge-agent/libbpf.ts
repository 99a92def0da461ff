/**
 * libbpf through koffi: one method per function, named after it, and the three calls of the C library that mapping a
 * ring and reading its clock take. Nothing is decided here.
 *
 * Invariants: a failure is a negative errno or a null pointer, never an exception; libbpf prints nothing.
 */
import process from "node:process";
import koffi from "koffi";

/** A pointer of the library; it means something only to the library. */
export type Pointer = bigint;

export const CLOCK_REALTIME = 0;
export const CLOCK_BOOTTIME = 7;

export interface Libbpf {
  libbpf_version_string(): string;
  /** CPUs that per-CPU maps have values for. */
  libbpf_num_possible_cpus(): number;
  /** Parses an object file; null with {@link Libbpf.errno} when it cannot. */
  bpf_object__open_file(path: string): Pointer | null;
  bpf_object__load(object: Pointer): number;
  bpf_object__close(object: Pointer): void;
  bpf_object__next_program(object: Pointer, previous: Pointer | null): Pointer | null;
  bpf_object__find_map_by_name(object: Pointer, name: string): Pointer | null;
  bpf_program__name(program: Pointer): string;
  bpf_program__section_name(program: Pointer): string;
  bpf_program__fd(program: Pointer): number;
  bpf_program__set_autoload(program: Pointer, autoload: boolean): number;
  bpf_program__attach(program: Pointer): Pointer | null;
  bpf_program__attach_cgroup(program: Pointer, cgroupFd: number): Pointer | null;
  bpf_program__pin(program: Pointer, path: string): number;
  bpf_link__fd(link: Pointer): number;
  /** Closes the link; a pinned one goes on. */
  bpf_link__destroy(link: Pointer): number;
  bpf_map__fd(map: Pointer): number;
  bpf_map__set_max_entries(map: Pointer, entries: number): number;
  bpf_map__set_autocreate(map: Pointer, autocreate: boolean): number;
  /** `bpf_link_create` of a program with a perf event: a descriptor of the link. The program can ask for the cookie. */
  bpf_link_create_perf(programFd: number, eventFd: number, cookie?: number): number;
  bpf_obj_pin(fd: number, path: string): number;
  bpf_obj_get(path: string): number;
  /** Fills `info`, whose layout depends on what the descriptor is. */
  bpf_obj_get_info_by_fd(fd: number, info: Uint8Array): number;
  bpf_map_lookup_elem(fd: number, key: Uint8Array, value: Uint8Array): number;
  bpf_map_update_elem(fd: number, key: Uint8Array, value: Uint8Array): number;
  bpf_map_delete_elem(fd: number, key: Uint8Array): number;
  /** Fills `next` with the key after `key`, or the first; negative when there is none. */
  bpf_map_get_next_key(fd: number, key: Uint8Array | null, next: Uint8Array): number;
  /** From then on only programs write the map. */
  bpf_map_freeze(fd: number): number;
  /** An array of one value: a descriptor. */
  bpf_map_create_array(valueBytes: number): number;
  /** A program that runs when it is told to (`BPF_PROG_TYPE_SYSCALL`), of these instructions: a descriptor. */
  bpf_prog_load_syscall(instructions: BigUint64Array): number;
  /** Runs such a program: what it returns, or a negative errno. */
  bpf_prog_run(fd: number): number;

  /** Calls code of this process with two numbers and a text. */
  call(address: Pointer, words: CallWords): void;
  /** Maps a descriptor, shared but for code; null when it cannot. The view must not be touched after {@link Libbpf.munmap}. */
  mmap(fd: number, options: MmapOptions): Mapping | null;
  munmap(mapping: Mapping): void;
  /** `perf_event_open` of a tracepoint's number for all processes: a descriptor. */
  perf_event_open_tracepoint(id: number): number;
  /** `perf_event_open` of a place in a file, for all processes: a descriptor. */
  perf_event_open_uprobe(path: string, place: UprobePlace): number;
  /** Makes a ring; fills `params` (`struct io_uring_params`). A descriptor. */
  io_uring_setup(entries: number, params: Uint8Array): number;
  io_uring_enter(fd: number, options: IoUringEnterOptions): number;
  /** `ptrace(PTRACE_SEIZE, pid)`: 0 or a negative errno. */
  ptrace_seize(pid: number): number;
  /** Closes a descriptor that this library opened. */
  close(fd: number): number;
  /** The same on another thread, for what takes the kernel long. */
  closeLater(fd: number): Promise<number>;
  /** Nanoseconds of a clock. */
  clock_gettime(clock: number): bigint;
  /** Error number of the last failed call. */
  errno(): number;
}

export interface UprobePlace {
  /** Number of the kernel's kind of event, as /sys/bus/event_source/devices/uprobe/type has it. */
  readonly type: number;
  /** In bytes from the beginning of the file. */
  readonly offset: number;
  /** Of the counter that is above 0 while anybody listens; 0: there is none. */
  readonly semaphore: number;
}

export interface CallWords {
  readonly first: number;
  readonly text: string;
  readonly last: number;
}

export interface MmapOptions {
  readonly sizeBytes: number;
  readonly offsetBytes: number;
  readonly access: "read" | "read-write" | "execute";
}

export interface IoUringEnterOptions {
  /** Requests to submit, and completions to wait for. */
  readonly submit: number;
  readonly complete: number;
  readonly flags: number;
}

export interface Mapping {
  readonly address: Pointer;
  readonly sizeBytes: number;
  readonly view: ArrayBuffer;
}

const ENAMETOOLONG = 36;
const PTRACE_SEIZE = 0x4206;
/** PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4. */
const PROTECTIONS = { read: 1, "read-write": 3, execute: 5 } as const;
/** MAP_SHARED 1, MAP_PRIVATE 2: code is mapped as programs map it. */
const MAPPINGS = { read: 1, "read-write": 1, execute: 2 } as const;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;
const BPF_ANY = 0n;
const BPF_MAP_TYPE_ARRAY = 2;
const BPF_PROG_TYPE_SYSCALL = 31;
const BPF_F_SLEEPABLE = 1 << 4;
/** `struct bpf_prog_load_opts` and `struct bpf_test_run_opts` of libbpf 1.0. */
const PROG_LOAD_OPTS_BYTES = 64;
const PROG_LOAD_OPTS = { attempts: 8, flags: 20 } as const;
const TEST_RUN_OPTS_BYTES = 80;
const TEST_RUN_OPTS_RESULT = 56;
/** `enum bpf_attach_type`. */
const BPF_PERF_EVENT = 41;
const SYS_PERF_EVENT_OPEN = process.arch === "arm64" ? 241n : 298n;
const SYS_IO_URING_SETUP = 425n;
const SYS_IO_URING_ENTER = 426n;
/** `struct perf_event_attr` as of Linux 4.1: the kernel takes any size that it knows. */
const PERF_ATTR_BYTES = 112;
const PERF_ATTR_FLAGS = 40;
const PERF_TYPE_TRACEPOINT = 2;
/** Where the attributes of an uprobe are, and its path's longest text. */
const UPROBE = { semaphore: 12, path: 56, offset: 64 } as const;
const UPROBE_PATH_BYTES = 64;
/** `struct bpf_link_create_opts` of libbpf 1.0. */
const LINK_CREATE_OPTS_BYTES = 40;
const LINK_CREATE_OPTS_COOKIE = 32;
const PERF_FLAG_FD_CLOEXEC = 8n;

/** The clocks, which are there without libbpf, too. Throws when this is not Linux with glibc. */
export function loadClocks(): Pick<Libbpf, "clock_gettime"> {
  return bindLibc(koffi.load("libc.so.6"));
}

/** Makes another variant of the calls out of the plain ones. */
export type LibbpfVariant = (direct: Libbpf) => Libbpf;
let variant: LibbpfVariant = (direct) => direct;

/** To be called at most once, at the start: what {@link loadLibbpf} gives from then on. */
export function chooseLibbpf(chosen: LibbpfVariant): void {
  variant = chosen;
}

/** Loads libbpf 1.x. Throws when it is not installed or this process cannot load it. */
export function loadLibbpf(): Libbpf {
  const library = koffi.load("libbpf.so.1");
  library.func("void *libbpf_set_print(void *fn)")(null);
  const libc = bindLibc(koffi.load("libc.so.6"));
  return variant({ ...bindObjects(library), ...bindMaps(library), ...libc });
}

const PROBE_FUNCTION = koffi.proto("void probe(int64_t first, const char *text, int64_t last)");

type Library = ReturnType<typeof koffi.load>;

function bindObjects(library: Library) {
  const openFile = library.func("void *bpf_object__open_file(const char *path, const void *opts)");
  const nextProgram = library.func("void *bpf_object__next_program(void *obj, void *prev)");
  const setAutoload = library.func("int bpf_program__set_autoload(void *prog, bool autoload)");
  return {
    libbpf_version_string: library.func("const char *libbpf_version_string()"),
    libbpf_num_possible_cpus: library.func("int libbpf_num_possible_cpus()"),
    bpf_object__open_file: (path: string): Pointer | null => openFile(path, null),
    bpf_object__load: library.func("int bpf_object__load(void *obj)"),
    bpf_object__close: library.func("void bpf_object__close(void *obj)"),
    bpf_object__next_program: (object: Pointer, previous: Pointer | null): Pointer | null =>
      nextProgram(object, previous),
    bpf_object__find_map_by_name: library.func(
      "void *bpf_object__find_map_by_name(void *obj, const char *name)",
    ),
    bpf_program__name: library.func("const char *bpf_program__name(void *prog)"),
    bpf_program__set_autoload: (program: Pointer, autoload: boolean): number =>
      setAutoload(program, autoload),
    bpf_program__section_name: library.func(
      "const char *bpf_program__section_name(void *prog)",
    ),
    bpf_program__fd: library.func("int bpf_program__fd(void *prog)"),
    bpf_program__attach_cgroup: library.func(
      "void *bpf_program__attach_cgroup(void *prog, int cgroup_fd)",
    ),
    bpf_program__attach: library.func("void *bpf_program__attach(void *prog)"),
    bpf_program__pin: library.func("int bpf_program__pin(void *prog, const char *path)"),
    bpf_link__fd: library.func("int bpf_link__fd(void *link)"),
    bpf_link__destroy: library.func("int bpf_link__destroy(void *link)"),
  };
}

function bindMaps(library: Library) {
  const getInfo = library.func(
    "int bpf_obj_get_info_by_fd(int fd, void *info, _Inout_ uint32_t *len)",
  );
  const update = library.func(
    "int bpf_map_update_elem(int fd, void *key, void *value, uint64_t flags)",
  );
  const createLink = library.func(
    "int bpf_link_create(int prog, int target, int type, const void *opts)",
  );
  const freeze = library.func("int bpf_map_freeze(int fd)");
  const createMap = library.func(
    "int bpf_map_create(int type, const char *name, uint32_t key, uint32_t value, uint32_t entries, void *opts)",
  );
  const loadProgram = library.func(
    "int bpf_prog_load(int type, const char *name, const char *license, void *code, size_t count, void *opts)",
  );
  const run = library.func("int bpf_prog_test_run_opts(int fd, void *opts)");
  return {
    bpf_map_freeze: (fd: number): number => freeze(fd),
    bpf_map_create_array: (valueBytes: number): number =>
      createMap(BPF_MAP_TYPE_ARRAY, "probity_gate", 4, valueBytes, 1, null),
    bpf_prog_load_syscall(instructions: BigUint64Array): number {
      const options = new DataView(new ArrayBuffer(PROG_LOAD_OPTS_BYTES));
      options.setBigUint64(0, BigInt(PROG_LOAD_OPTS_BYTES), true);
      options.setInt32(PROG_LOAD_OPTS.attempts, 1, true);
      options.setUint32(PROG_LOAD_OPTS.flags, BPF_F_SLEEPABLE, true);
      const bytes = new Uint8Array(options.buffer);
      const { length } = instructions;
      return loadProgram(
        BPF_PROG_TYPE_SYSCALL,
        "probity_gate",
        "Dual BSD/GPL",
        instructions,
        length,
        bytes,
      );
    },
    bpf_prog_run(fd: number): number {
      const options = new DataView(new ArrayBuffer(TEST_RUN_OPTS_BYTES));
      options.setBigUint64(0, BigInt(TEST_RUN_OPTS_BYTES), true);
      const status = run(fd, new Uint8Array(options.buffer));
      return status < 0 ? status : options.getInt32(TEST_RUN_OPTS_RESULT, true);
    },
    bpf_link_create_perf(programFd: number, eventFd: number, cookie = 0): number {
      const options = new DataView(new ArrayBuffer(LINK_CREATE_OPTS_BYTES));
      options.setBigUint64(0, BigInt(LINK_CREATE_OPTS_BYTES), true);
      options.setBigUint64(LINK_CREATE_OPTS_COOKIE, BigInt(cookie), true);
      const bytes = new Uint8Array(options.buffer);
      return createLink(programFd, eventFd, BPF_PERF_EVENT, cookie === 0 ? null : bytes);
    },
    bpf_obj_pin: library.func("int bpf_obj_pin(int fd, const char *path)"),
    bpf_map__fd: library.func("int bpf_map__fd(void *map)"),
    bpf_map__set_max_entries: library.func("int bpf_map__set_max_entries(void *map, uint32_t n)"),
    bpf_map__set_autocreate: library.func("int bpf_map__set_autocreate(void *map, bool create)"),
    bpf_obj_get: library.func("int bpf_obj_get(const char *path)"),
    bpf_obj_get_info_by_fd: (fd: number, info: Uint8Array): number =>
      getInfo(fd, info, [info.byteLength]),
    bpf_map_lookup_elem: library.func("int bpf_map_lookup_elem(int fd, void *key, void *value)"),
    bpf_map_update_elem: (fd: number, key: Uint8Array, value: Uint8Array): number =>
      update(fd, key, value, BPF_ANY),
    bpf_map_delete_elem: library.func("int bpf_map_delete_elem(int fd, void *key)"),
    bpf_map_get_next_key: library.func("int bpf_map_get_next_key(int fd, void *key, void *next)"),
  };
}

function bindLibc(library: Library) {
  const mmap = library.func(
    "uintptr_t mmap(void *address, size_t size, int access, int flags, int fd, int64_t offset)",
  );
  const syscall = library.func(
    "int64_t syscall(int64_t n, void *attr, int64_t pid, int64_t cpu, int64_t group, uint64_t flags)",
  );
  const setup = library.func("int64_t syscall(int64_t n, int64_t entries, void *params)");
  const enter = library.func(
    "int64_t syscall(int64_t n, int64_t fd, int64_t submit, int64_t complete, int64_t flags, " +
      "void *mask, int64_t size)",
  );
  const orErrno = (result: bigint | number): number =>
    Number(result) < 0 ? -koffi.errno() : Number(result);
  const close = library.func("int close(int fd)");
  const ptrace = library.func("int64_t ptrace(int request, int pid, void *address, void *data)");
  const munmap = library.func("int munmap(uintptr_t address, size_t size)");
  // The one that the rest of the process calls, which need not be the library's own: times of records agree with `Date`.
  const clockGettime = koffi.load(null).func("int clock_gettime(int clock, void *time)");
  return {
    mmap: (fd: number, { sizeBytes, offsetBytes, access }: MmapOptions): Mapping | null => {
      const address = BigInt(
        mmap(null, sizeBytes, PROTECTIONS[access], MAPPINGS[access], fd, offsetBytes),
      );
      if (address === MAP_FAILED) return null;
      return { address, sizeBytes, view: koffi.view(address, sizeBytes) };
    },
    call: (address: Pointer, { first, text, last }: CallWords): void =>
      koffi.call(address, PROBE_FUNCTION, first, text, last),
    munmap: ({ address, sizeBytes }: Mapping): void => munmap(address, sizeBytes),
    perf_event_open_tracepoint: (id: number): number => {
      const attr = new DataView(new ArrayBuffer(PERF_ATTR_BYTES));
      attr.setUint32(0, PERF_TYPE_TRACEPOINT, true);
      attr.setUint32(4, PERF_ATTR_BYTES, true);
      attr.setBigUint64(8, BigInt(id), true);
      // One CPU's event carries the program for all, and only the program: it takes no samples itself.
      attr.setBigUint64(PERF_ATTR_FLAGS, 1n, true);
      const bytes = new Uint8Array(attr.buffer);
      return orErrno(syscall(SYS_PERF_EVENT_OPEN, bytes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC));
    },
    perf_event_open_uprobe: (path: string, { type, offset, semaphore }: UprobePlace): number => {
      const text = new TextEncoder().encode(`${path}\0`);
      if (text.length > UPROBE_PATH_BYTES) return -ENAMETOOLONG;
      const attr = new DataView(new ArrayBuffer(PERF_ATTR_BYTES));
      attr.setUint32(0, type, true);
      attr.setUint32(4, PERF_ATTR_BYTES, true);
      attr.setUint32(UPROBE.semaphore, semaphore, true);
      attr.setBigUint64(UPROBE.offset, BigInt(offset), true);
      const memory = koffi.alloc("uint8_t", UPROBE_PATH_BYTES);
      try {
        koffi.encode(memory, koffi.array("uint8_t", text.length), [...text]);
        attr.setBigUint64(UPROBE.path, memory, true);
        const bytes = new Uint8Array(attr.buffer);
        return orErrno(syscall(SYS_PERF_EVENT_OPEN, bytes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC));
      } finally {
        koffi.free(memory);
      }
    },
    io_uring_setup: (entries: number, params: Uint8Array): number =>
      orErrno(setup(SYS_IO_URING_SETUP, entries, params)),
    io_uring_enter: (fd: number, { submit, complete, flags }: IoUringEnterOptions): number =>
      orErrno(enter(SYS_IO_URING_ENTER, fd, submit, complete, flags, null, 0)),
    ptrace_seize: (pid: number): number =>
      Number(ptrace(PTRACE_SEIZE, pid, null, null)) < 0 ? -koffi.errno() : 0,
    close,
    closeLater: (fd: number): Promise<number> =>
      new Promise((resolve, reject) => {
        close.async(fd, (error: Error | null, result: number) => {
          if (error === null) resolve(result);
          else reject(error);
        });
      }),
    clock_gettime: (clock: number): bigint => {
      const time = new BigInt64Array(2);
      clockGettime(clock, time);
      return (time[0] ?? 0n) * 1_000_000_000n + (time[1] ?? 0n);
    },
    errno: (): number => koffi.errno(),
  };
}
