/**
 * Which class and activity of OCSF each topic is told as. A row holds for its topic and all below it that have none of
 * their own; what has no row is a base event.
 */
import {
  type ActivityChoice,
  administration,
  beginning,
  ending,
  fileAttribute,
  fileChange,
  groupChange,
  kernelModule,
  mount,
  signalling,
  tracing,
  userChange,
} from "./activities.ts";
import type { ClassName } from "./classes.ts";

export interface TopicMapping {
  readonly topic: string;
  readonly eventClass: ClassName;
  /** All that occur, by `activity_id`; the first is the usual one. */
  readonly activities: readonly [number, ...number[]];
  /** Name of the activity 99. */
  readonly other?: string;
  readonly choose?: ActivityChoice;
}

export const TOPIC_MAPPINGS: readonly TopicMapping[] = [
  { topic: "process/exec", eventClass: "process", activities: [1] },
  { topic: "process/fork", eventClass: "process", activities: [1] },
  { topic: "process/exit", eventClass: "process", activities: [2] },
  { topic: "process/hash", eventClass: "process", activities: [99], other: "Digest" },
  { topic: "process/setuid", eventClass: "process", activities: [5] },
  { topic: "process/ptrace", eventClass: "process", activities: [3, 4], choose: tracing },
  {
    topic: "process/signal",
    eventClass: "process",
    activities: [99, 2],
    other: "Signal",
    choose: signalling,
  },
  { topic: "file/create", eventClass: "file", activities: [1] },
  { topic: "file/write", eventClass: "file", activities: [3] },
  { topic: "file/rename", eventClass: "file", activities: [5] },
  { topic: "file/delete", eventClass: "file", activities: [4] },
  { topic: "file/attribute", eventClass: "file", activities: [6, 7], choose: fileAttribute },
  { topic: "file/link", eventClass: "file", activities: [1] },
  { topic: "file/mount", eventClass: "file", activities: [12, 13], choose: mount },
  { topic: "file/change", eventClass: "file", activities: [3, 1, 4, 5], choose: fileChange },
  { topic: "network/connect", eventClass: "network", activities: [1, 4, 5], choose: beginning },
  { topic: "network/accept", eventClass: "network", activities: [1, 4, 5], choose: beginning },
  { topic: "network/listen", eventClass: "network", activities: [7, 4, 5], choose: beginning },
  { topic: "network/close", eventClass: "network", activities: [2, 3], choose: ending },
  { topic: "auth/login", eventClass: "authentication", activities: [1] },
  { topic: "auth/logout", eventClass: "authentication", activities: [2] },
  { topic: "auth/failure", eventClass: "authentication", activities: [1] },
  { topic: "auth/sudo", eventClass: "authentication", activities: [7] },
  { topic: "auth/su", eventClass: "authentication", activities: [7] },
  { topic: "account/user/add", eventClass: "account", activities: [1] },
  {
    topic: "account/user/change",
    eventClass: "account",
    activities: [99, 3],
    other: "Change",
    choose: userChange,
  },
  { topic: "account/user/remove", eventClass: "account", activities: [6] },
  { topic: "account/group/add", eventClass: "group", activities: [6] },
  {
    topic: "account/group/change",
    eventClass: "group",
    activities: [99, 3, 4],
    other: "Change",
    choose: groupChange,
  },
  { topic: "account/group/remove", eventClass: "group", activities: [5] },
  { topic: "account/key/add", eventClass: "account", activities: [99], other: "Add Key" },
  { topic: "account/key/change", eventClass: "account", activities: [99], other: "Change Key" },
  { topic: "account/key/remove", eventClass: "account", activities: [99], other: "Remove Key" },
  { topic: "package/install", eventClass: "application", activities: [1] },
  { topic: "package/update", eventClass: "application", activities: [8] },
  { topic: "package/remove", eventClass: "application", activities: [2] },
  { topic: "service/start", eventClass: "application", activities: [3] },
  { topic: "service/stop", eventClass: "application", activities: [4] },
  { topic: "service/enable", eventClass: "application", activities: [6] },
  { topic: "service/disable", eventClass: "application", activities: [7] },
  { topic: "service/change", eventClass: "application", activities: [99], other: "Change" },
  {
    topic: "kernel/module",
    eventClass: "kernelExtension",
    activities: [1, 2],
    choose: kernelModule,
  },
  { topic: "kernel/bpf", eventClass: "kernel", activities: [4] },
  { topic: "kernel/uring", eventClass: "kernel", activities: [4] },
  { topic: "kernel/sysctl", eventClass: "base", activities: [99] },
  { topic: "agent/start", eventClass: "eventLog", activities: [6] },
  { topic: "agent/stop", eventClass: "eventLog", activities: [7] },
  { topic: "agent/gap", eventClass: "eventLog", activities: [99], other: "Gap" },
  { topic: "agent/heartbeat", eventClass: "eventLog", activities: [99], other: "Heartbeat" },
  { topic: "agent/config", eventClass: "eventLog", activities: [99], other: "Configure" },
  { topic: "agent/collector", eventClass: "eventLog", activities: [99], other: "Collect" },
  { topic: "audit/query", eventClass: "api", activities: [2] },
  { topic: "audit/login", eventClass: "authentication", activities: [1] },
  { topic: "audit/export", eventClass: "eventLog", activities: [3] },
  {
    topic: "audit/admin",
    eventClass: "api",
    activities: [99, 1, 3, 4],
    other: "Administer",
    choose: administration,
  },
  { topic: "crypto", eventClass: "base", activities: [99] },
  { topic: "app", eventClass: "base", activities: [99] },
];

const BY_TOPIC: ReadonlyMap<string, TopicMapping> = new Map(
  TOPIC_MAPPINGS.map((mapping) => [mapping.topic, mapping]),
);
const UNKNOWN_TOPIC: TopicMapping = { topic: "", eventClass: "base", activities: [99] };

/** The row of a topic, or of the nearest one above it. */
export function mappingOf(topic: string): TopicMapping {
  for (let name = topic; name !== ""; name = name.slice(0, Math.max(0, name.lastIndexOf("/")))) {
    const found = BY_TOPIC.get(name);
    if (found !== undefined) return found;
  }
  return UNKNOWN_TOPIC;
}
