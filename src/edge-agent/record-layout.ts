/**
 * Where the fields of a record lie, in bytes: the decoder's side of bpf/events.h. A test compares it with the layout
 * that the compiler gives.
 */

export const RECORD_VERSION = 2;

/** `enum probity_kind`. */
export const KIND = {
  exec: 1,
  fork: 2,
  exit: 3,
  credentials: 4,
  snapshot: 5,
  connect: 16,
  accept: 17,
  listen: 18,
  close: 19,
  dns: 20,
  fileOpen: 32,
  inodeDirty: 48,
  callCredentials: 80,
  ptrace: 81,
  signal: 82,
  cryptoContext: 96,
  cryptoDatum: 97,
  cryptoMapped: 98,
} as const;

/** Topics of the events that each kind of record becomes; none for records that are only learned from. */
export const KIND_TOPICS: Readonly<Record<keyof typeof KIND, readonly string[]>> = {
  exec: ["process/exec"],
  fork: ["process/fork"],
  exit: ["process/exit"],
  credentials: ["process/setuid"],
  // Learned from, when the agent starts.
  snapshot: [],
  connect: ["network/connect"],
  accept: ["network/accept"],
  listen: ["network/listen"],
  close: ["network/close"],
  // Learned from; no event of its own.
  dns: [],
  fileOpen: ["file/create", "file/write"],
  // A word for the source of file integrity, which no filter may silence.
  inodeDirty: [],
  callCredentials: ["process/setuid"],
  ptrace: ["process/ptrace"],
  signal: ["process/signal"],
  cryptoContext: ["crypto"],
  cryptoDatum: ["crypto"],
  // A word for whoever looks for libraries.
  cryptoMapped: [],
};

/** `enum probity_flag`. */
export const FLAG = {
  truncated: 1,
  deleted: 2,
  memfd: 4,
  created: 8,
  argvUnread: 16,
  noProcess: 32,
  untold: 64,
} as const;

export const HEADER = {
  version: 0,
  kind: 1,
  flags: 2,
  length: 4,
  sequence: 8,
  time_ns: 16,
  cpu: 24,
  exec_id: 26,
  tid: 28,
  pid: 32,
  ppid: 36,
  start_ns: 40,
  parent_start_ns: 48,
  uid: 56,
  euid: 60,
  gid: 64,
  auid: 68,
  session: 72,
  weight: 76,
  cgroup_id: 80,
  comm: 88,
} as const;
export const HEADER_BYTES = 104;
export const COMM_BYTES = 16;

export const IDS = {
  uid: 0,
  euid: 4,
  suid: 8,
  fsuid: 12,
  gid: 16,
  egid: 20,
  sgid: 24,
  fsgid: 28,
  permitted: 32,
  effective: 40,
  inheritable: 48,
  ambient: 56,
  pid_namespace: 64,
  mount_namespace: 68,
  network_namespace: 72,
  user_namespace: 76,
  uts_namespace: 80,
  ipc_namespace: 84,
  cgroup_namespace: 88,
} as const;
export const IDS_BYTES = 96;

export const ANCESTOR = { start_ns: 0, pid: 8, name_length: 12, is_exe: 14 } as const;
export const ANCESTOR_BYTES = 16;
export const ANCESTORS_MAX = 8;

export const EXEC = {
  inode: 104,
  device: 112,
  generation: 116,
  mode: 120,
  links: 124,
  argv_bytes: 128,
  argv_length: 132,
  env_bytes: 136,
  env_length: 140,
  exe_length: 144,
  cwd_length: 146,
  script_length: 148,
  ancestor_count: 152,
  marks: 156,
  tty: 160,
  caps_gained: 176,
  ids: 184,
  tail: 280,
} as const;
/** `enum probity_exec_mark`. */
export const EXEC_MARK = { beforeKnown: 1, envCut: 2, padded: 4 } as const;
export const TTY_BYTES = 16;

export const FORK_BYTES = 104;

export const EXIT = { status: 104 } as const;
export const EXIT_BYTES = 112;

export const CREDENTIALS = {
  call: 104,
  error: 108,
  before: 112,
  after: 208,
  groups_before_count: 304,
  groups_after_count: 308,
  groups_before: 312,
  groups_after: 440,
} as const;
export const CREDENTIALS_BYTES = 568;
/** Supplementary groups in a record, at most. */
export const GROUPS_MAX = 32;
/** `call` of an exec. */
export const CALL_EXEC = 0xffff_ffff;

export const PTRACE = {
  request: 104,
  error: 108,
  target_start_ns: 112,
  target_pid: 120,
  asked_pid: 124,
  is_initial: 128,
  is_own: 132,
} as const;
export const PTRACE_BYTES = 136;
/** `PROBITY_VM_WRITEV`. */
export const VM_WRITEV = 65_536;

export const SIGNAL = {
  signal: 104,
  code: 108,
  target_start_ns: 112,
  target_pid: 120,
  result: 124,
} as const;
export const SIGNAL_BYTES = 128;

export const SNAPSHOT = { ids: 104, exe_length: 200, exe: 208 } as const;

export const NETWORK = {
  family: 104,
  protocol: 106,
  local_port: 108,
  remote_port: 110,
  local_address: 112,
  remote_address: 128,
  begun_ns: 144,
  error: 152,
  is_failure: 156,
  net_cookie: 160,
} as const;
export const NETWORK_BYTES = 168;

/** Begins with the fields of {@link NETWORK}. */
export const CLOSE = {
  bytes_in: 168,
  bytes_out: 176,
  packets_in: 184,
  packets_out: 192,
  role: 200,
  is_aggregate: 204,
} as const;
export const CLOSE_BYTES = 208;

export const DNS = { net_cookie: 104, payload_length: 112, payload: 120 } as const;

export const FILE = {
  inode: 104,
  size: 112,
  device: 120,
  generation: 124,
  mode: 128,
  links: 132,
  open_flags: 136,
  path_length: 140,
  path: 144,
} as const;

/** `PROBITY_CLASSES`: kinds of record of one family. */
export const RECORD_CLASSES = 16;
/** `PROBITY_QUIET_NS`. */
export const QUIET_NS = 5_000_000_000;

/** `struct probity_counters`: 64-bit numbers in this order. */
export const COUNTERS = [
  "attempted",
  "submitted",
  "ringFull",
  "filtered",
  "throttled",
  "readFault",
  "truncated",
  "recursion",
  "lostFromNs",
  "lostToNs",
] as const;
export const COUNTERS_BYTES = 80;

/** `struct probity_losses`: eight 64-bit numbers in this order; the names are the classes of gap events. */
export const LOSSES = ["ring_full", "throttled", "read_fault", "recursion", "unreadable"] as const;
export const LOSSES_BYTES = 64;

export const SETTINGS = {
  from_ns: 0,
  until_ns: 8,
  own_start_ticks: 16,
  own_pid: 32,
  data_inode: 40,
  data_device: 48,
  generation: 52,
} as const;
export const SETTINGS_BYTES = 56;
/** `PROBITY_OWNER_MAX`. */
export const OWNER_BYTES = 512;

/** `enum probity_by`. */
export const BY = { uid: 1, exe: 2, cgroup: 4, folder: 8 } as const;
/** `enum probity_scope`. */
export const SCOPE = { executable: 1, cgroup: 2 } as const;
/** `PROBITY_FILTERS_MAX`. */
export const FILTERS_MAX = 16;

export const FILTER = {
  cgroup_id: 0,
  exe_inode: 8,
  exe_device: 16,
  uid: 20,
  classes: 24,
  by: 26,
} as const;
export const FILTER_BYTES = 32;
export const LIMIT = { interval_ns: 0, burst_ns: 8 } as const;
export const LIMIT_BYTES = 16;
export const RULES = {
  filtered: 0,
  filtered_by_folder: 2,
  limited: 4,
  filter_count: 6,
  sample_every: 8,
  executable: 16,
  cgroup: 272,
  filters: 528,
} as const;
export const RULES_BYTES = 1040;
export const FOLDER = { inode: 0, device: 8, slot: 12 } as const;
export const FOLDER_BYTES = 16;
export const BUCKET_KEY = { id: 0, device: 8, class: 12, scope: 14 } as const;
export const BUCKET_KEY_BYTES = 16;
export const BUCKET = {
  next_ns: 0,
  from_ns: 8,
  last_ns: 16,
  beyond: 24,
  samples: 32,
  start_ns: 40,
  pid: 48,
} as const;
export const BUCKET_BYTES = 56;

export const INTEGRITY = {
  inode: 104,
  device: 112,
  generation: 116,
  how: 120,
  ancestor_count: 124,
  ancestors: 128,
} as const;
export const INTEGRITY_BYTES = 256;

/** `enum probity_store`, by its numbers from 1. */
export const INTEGRITY_HOWS = ["write", "mmap", "io_uring", "truncate"] as const;

export const WATCHED = { inode: 0, device: 8 } as const;
export const WATCHED_BYTES = 16;

export const IDENTITY = { start_ns: 0, pid: 8 } as const;
export const IDENTITY_BYTES = 16;
