/**
 * The members of `detail` that views have as columns, with their types: the only list of them. Derived from it are the
 * views of people's SQL and the table in docs/sql.md.
 *
 * Invariant: within a topic and all below it a name has one type, so that the view of a group can have them all.
 */
import { isTopicUnder } from "../../event/topic.ts";

/** `texts` is a list of text; `json` whatever has members of its own, or another form from event to event. */
export type DetailType = "text" | "long" | "boolean" | "time" | "texts" | "json";

export interface DetailKey {
  readonly name: string;
  readonly type: DetailType;
}

const TYPES: readonly DetailType[] = ["text", "long", "boolean", "time", "texts", "json"];

/** `sample` and the like: in events of any topic. */
export const COMMON_KEYS = keys("sample:long claimed_time:text escaped:texts");

/** By topic; what is said of one holds for all below it. */
const BY_TOPIC: readonly (readonly [topic: string, keys: readonly DetailKey[]])[] = [
  [
    "process/exec",
    keys(
      "argv:texts argv_bytes:long truncated:boolean env:json env_repeated:texts env_truncated:boolean " +
        "ancestors:json tty:text interpreter:text script:text memfd:boolean deleted:boolean " +
        "suid:long fsuid:long egid:long sgid:long fsgid:long caps_gained:texts namespaces:json " +
        "inode:long device:text redacted:texts sha256:text sha256_pending:boolean " +
        "sha256_touched:boolean sha256_missing:text script_sha256:text script_sha256_pending:boolean " +
        "script_sha256_touched:boolean script_sha256_missing:text",
    ),
  ],
  [
    "process/hash",
    keys(
      "sha256:text sha256_touched:boolean sha256_missing:text script_sha256:text " +
        "script_sha256_touched:boolean script_sha256_missing:text size:long",
    ),
  ],
  ["process/exit", keys("exit_code:long signal:long core:boolean duration_ms:long")],
  ["process/setuid", keys("how:text before:json after:json caps_gained:texts")],
  [
    "process/ptrace",
    keys(
      "how:text target_pid:long target_process_id:text target_exe:text target_pid_inside:long",
    ),
  ],
  [
    "process/signal",
    keys(
      "signal:long result:text from_kernel:boolean target_pid:long target_process_id:text target_exe:text",
    ),
  ],
  [
    "file",
    keys(
      "how:text type:text inode:long device:text generation:long mode:text size:long links:long " +
        "flags:text offline:boolean target:text merged:boolean incomplete:texts deleted:boolean " +
        "truncated:boolean",
    ),
  ],
  ["file/mount", keys("noticed:boolean")],
  [
    "file/attribute",
    keys(
      "kind:text owner:text changed:texts mode_before:text owner_before:text type_before:text " +
        "links_before:long changed_at:time reconciled:json writers:json ancestors:json",
    ),
  ],
  [
    "file/change",
    keys(
      "kind:text owner:text diff:text diff_missing:text semantic:json semantic_omitted:long " +
        "sha256_before:text sha256_after:text mode_before:text owner_before:text type_before:text " +
        "links_before:long inode_before:long new_path:text changed_at:time reconciled:json " +
        "writers:json ancestors:json state:json canary:boolean package:text version:text arch:text " +
        "manager:text count:long paths:texts",
    ),
  ],
  ["network", keys("family:text duration_ms:long names:texts")],
  ["network/listen", keys("noticed:boolean")],
  [
    "network/close",
    keys(
      "ends:text bytes_in:long bytes_out:long packets_in:long packets_out:long aggregate:boolean " +
        "noticed:boolean",
    ),
  ],
  ["auth", keys("source:text tty:text remote:text target:text method:text")],
  [
    "account",
    keys(
      "source:text target:text what:text before:text after:text offline:boolean reconciled:json " +
        "changed_at:time",
    ),
  ],
  [
    "package",
    keys(
      "source:text name:text version:text old_version:text arch:text command:text noticed:boolean",
    ),
  ],
  [
    "service",
    keys(
      "source:text state:text old_state:text enabled:boolean sub_state:text restarts:long result:text " +
        "exit_code:long noticed:boolean",
    ),
  ],
  ["kernel", keys("name:text how:text before:text after:text noticed:boolean")],
  [
    "agent/start",
    keys(
      "version:text boot:text sources:json config_sha256:text limits:json filters:json labels:json",
    ),
  ],
  ["agent/stop", keys("version:text counters:json spool_bytes:long")],
  [
    "agent/heartbeat",
    keys("version:text boot:text sources:json counters:json spool_bytes:long config_sha256:text"),
  ],
  [
    "agent/config",
    keys(
      "config_sha256:text config_sha256_before:text changed:texts needs_restart:texts limits:json " +
        "filters:json reason:text source:text provider:text origin:text probes:long",
    ),
  ],
  [
    "agent/collector",
    keys(
      "collector:text state:text exit_code:long signal:text collector_pid:long duration_ms:long " +
        "lines:long missed:long stderr:text file:text reason:text",
    ),
  ],
  [
    "agent/gap",
    keys(
      "class:text count:long reason:text from:time to:time agent:text epoch:text batches:json " +
        "sources:json classes:json cpus:json kind:text scope:text id:long first_pid:long beyond:long " +
        "samples:long",
    ),
  ],
  ["audit", keys("principal:text route:text parameters:json rows:long bytes:long remote:text")],
  ["audit/login", keys("reason:text suppressed:long")],
  [
    "crypto",
    keys(
      "key:text value:json type:text origin:text since_boot_ns:text executable:text sequence:json " +
        "library:text tid:long place:long count:long key_truncated:boolean data_truncated:boolean " +
        "value_bytes:long truncated:boolean",
    ),
  ],
];

/** Keys of a view of this topic: its own, those of the topics above it, and of all below it. */
export function detailKeysOf(topic: string): readonly DetailKey[] {
  const found = new Map<string, DetailKey>();
  for (const [other, list] of BY_TOPIC) {
    if (!isTopicUnder(topic, other) && !isTopicUnder(other, topic)) continue;
    for (const key of list) {
      const before = found.get(key.name);
      if (before !== undefined && before.type !== key.type) {
        throw new RangeError(`Cannot list detail of "${topic}": two types of "${key.name}"`);
      }
      found.set(key.name, key);
    }
  }
  return [...found.values(), ...COMMON_KEYS];
}

function keys(text: string): readonly DetailKey[] {
  return text.split(" ").map((each) => {
    const [name = "", type = ""] = each.split(":");
    return { name, type: typeOf(type) };
  });
}

function typeOf(text: string): DetailType {
  const type = TYPES.find((each) => each === text);
  if (type === undefined) throw new RangeError(`Cannot list detail: no type "${text}"`);
  return type;
}
