/**
 * The kinds of reports, as data: which topics each tells of, which sources of an agent see that, and its columns. Names
 * of sources are given although agents do not have all of them yet: a topic that no source sees is watched by nobody. Names
 * of members of `detail` are those of the contract, whoever sends the events.
 */
import type { ColumnName } from "../../event/columns.ts";

/** Where a cell comes from; of several, the first that is there. */
export type CellSource =
  | { readonly column: ColumnName }
  | { readonly detail: string }
  /** A list in `detail` of what changed, whose, from what and to what: in words. */
  | { readonly changes: string }
  | { readonly either: readonly CellSource[] }
  /** The topic without what all topics of the report begin with. */
  | { readonly topicBelow: string };

export interface ReportColumn {
  readonly name: string;
  /** As people read it. */
  readonly title: string;
  readonly from: CellSource;
}

export interface ReportKind {
  readonly name: string;
  readonly title: string;
  /** Topics, each with all below it. */
  readonly topics: readonly string[];
  /** Of `process/exec`, only those that gained rights. */
  readonly withGains?: boolean;
  /** By the source of an agent that sees them: the topics. A host without one of them is not watched for its topics. */
  readonly sources: Readonly<Record<string, readonly string[]>>;
  /** One sentence for a range without an event. */
  readonly nothing: string;
  /** Beside `time`, `host` and `id`. */
  readonly columns: readonly ReportColumn[];
  /** Columns whose values are counted, beside `host`. */
  readonly counted: readonly string[];
}

const detail = (name: string): CellSource => ({ detail: name });
const stored = (column: ColumnName): CellSource => ({ column });
const cell = (name: string, title: string, from: CellSource): ReportColumn => ({
  ...{ name, title, from },
});

const BY = cell("by", "By", { either: [stored("auid_user"), stored("user")] });
const EXE = cell("exe", "Program", stored("exe"));
const USER = cell("user", "User", stored("user"));
/** Who logged in, whoever they became since. */
const LOGIN = cell("login", "Login", stored("auid_user"));
const OUTCOME = cell("outcome", "Outcome", stored("outcome"));
/** It happened then or before. */
const NOTICED = cell("noticed", "Only noticed then", detail("noticed"));
const TARGET = cell("target", "Target", { either: [detail("target"), detail("target_exe")] });

export const REPORT_KINDS = {
  packages: {
    name: "packages",
    title: "Packages",
    topics: ["package"],
    sources: { packages: ["package"] },
    nothing: "No package was installed, updated or removed.",
    columns: [
      cell("change", "Change", { topicBelow: "package" }),
      cell("name", "Package", detail("name")),
      cell("arch", "Architecture", detail("arch")),
      cell("old_version", "Old version", detail("old_version")),
      cell("version", "Version", detail("version")),
      ...[BY, EXE],
      cell("command", "Command", { either: [detail("command"), stored("cmdline")] }),
      cell("session", "Session", stored("session")),
      NOTICED,
    ],
    counted: ["change"],
  },
  services: {
    name: "services",
    title: "Services",
    topics: ["service"],
    sources: { services: ["service"] },
    nothing: "No service was started, stopped, enabled, disabled or changed.",
    columns: [
      cell("change", "Change", { topicBelow: "service" }),
      cell("service", "Service", { either: [stored("unit"), detail("name"), detail("target")] }),
      cell("old_state", "Old state", detail("old_state")),
      cell("state", "State", detail("state")),
      cell("enabled", "Enabled", detail("enabled")),
      cell("result", "Result", detail("result")),
      cell("exit_code", "Exit code", detail("exit_code")),
      cell("restarts", "Restarts by systemd", detail("restarts")),
      ...[OUTCOME, BY],
      cell("session", "Session", stored("session")),
      NOTICED,
    ],
    counted: ["service", "change"],
  },
  logins: {
    name: "logins",
    title: "Logins",
    topics: ["auth"],
    sources: { logins: ["auth"] },
    nothing: "Nobody logged in or out, and no attempt failed.",
    columns: [
      cell("what", "What", { topicBelow: "auth" }),
      ...[USER, LOGIN, TARGET],
      cell("remote", "From", { either: [detail("remote"), stored("src_ip")] }),
      cell("method", "Method", detail("method")),
      cell("tty", "Terminal", detail("tty")),
      cell("session", "Session", stored("session")),
      OUTCOME,
    ],
    counted: ["what", "user", "remote"],
  },
  privilege: {
    name: "privilege",
    title: "Privilege",
    topics: ["auth/sudo", "auth/su", "process/setuid", "process/ptrace", "account", "kernel"],
    withGains: true,
    sources: {
      control: ["process/ptrace"],
      host: ["kernel/module", "kernel/sysctl"],
      integrity: ["account"],
      kernel: ["kernel/bpf", "kernel/uring"],
      logins: ["auth/sudo", "auth/su"],
      process: ["process/setuid", "process/exec"],
    },
    nothing:
      "No rights were taken, and no account, kernel module or program of the kernel changed.",
    columns: [
      cell("what", "What", stored("topic")),
      ...[USER, LOGIN, TARGET],
      EXE,
      cell("before", "Before", detail("before")),
      cell("after", "After", { either: [detail("after"), detail("caps_gained"), detail("name")] }),
      OUTCOME,
    ],
    counted: ["what", "user"],
  },
  files: {
    name: "files",
    title: "Watched files",
    topics: ["file/change"],
    sources: { integrity: ["file/change"] },
    nothing: "No watched file changed.",
    columns: [
      cell("path", "File", stored("path")),
      cell("kind", "Kind", detail("kind")),
      ...[BY, EXE],
      cell("what", "What", { either: [{ changes: "semantic" }, stored("message")] }),
      cell("package", "Package", detail("package")),
      cell("offline", "While nobody watched", detail("offline")),
      cell("sha256_before", "SHA-256 before", detail("sha256_before")),
      cell("sha256_after", "SHA-256 after", detail("sha256_after")),
    ],
    counted: ["path"],
  },
} as const satisfies Readonly<Record<string, ReportKind>>;

export const REPORT_NAMES = [
  "packages",
  "services",
  "logins",
  "privilege",
  "files",
  "crypto",
  "gaps",
] as const;

export type ReportName = typeof REPORT_NAMES[number];

/** Topics and sources of reports that have no list of events. */
export const CRYPTO_REPORT = {
  title: "Cryptography",
  topics: ["crypto"],
  sources: { crypto: ["crypto"] },
  nothing: "No use of cryptography was recorded.",
} as const;

export const GAPS_REPORT = {
  title: "Gaps",
  topics: ["agent"],
  nothing: "All hosts were watched all the time, and no event is known to be missing.",
} as const;
