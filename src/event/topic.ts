/**
 * Topics: segments joined by `/`; a topic contains all topics below it, on segment borders.
 */

/** Every fixed topic; `crypto/…` and `app/…` go on with names of their senders. */
export const TOPICS = [
  "process/exec",
  "process/hash",
  "process/fork",
  "process/exit",
  "process/setuid",
  "process/ptrace",
  "process/signal",
  "file/create",
  "file/write",
  "file/rename",
  "file/delete",
  "file/attribute",
  "file/link",
  "file/mount",
  "file/change",
  "network/connect",
  "network/accept",
  "network/listen",
  "network/close",
  "auth/login",
  "auth/logout",
  "auth/failure",
  "auth/sudo",
  "auth/su",
  "account/user/add",
  "account/user/change",
  "account/user/remove",
  "account/group/add",
  "account/group/change",
  "account/group/remove",
  "account/key/add",
  "account/key/change",
  "account/key/remove",
  "package/install",
  "package/update",
  "package/remove",
  "service/start",
  "service/stop",
  "service/enable",
  "service/disable",
  "service/change",
  "kernel/module",
  "kernel/bpf",
  "kernel/uring",
  "kernel/sysctl",
  "agent/start",
  "agent/stop",
  "agent/gap",
  "agent/heartbeat",
  "agent/config",
  "agent/collector",
  "audit/query",
  "audit/login",
  "audit/export",
  "audit/admin",
] as const;

export type FixedTopic = typeof TOPICS[number];

/** At most this many characters in one topic. */
export const TOPIC_LENGTH_MAX = 256;

const TOPIC = /^[a-z0-9_.-]+(\/[a-zA-Z0-9_.:-]+)*$/;

export function isTopic(text: string): boolean {
  return text.length <= TOPIC_LENGTH_MAX && TOPIC.test(text);
}

/** Whether `topic` is `ancestor` or lies below it. */
export function isTopicUnder(topic: string, ancestor: string): boolean {
  return topic === ancestor || topic.startsWith(`${ancestor}/`);
}

/** Changes of watched files, with what changed. */
export const FILE_CHANGE_TOPIC = "file/change";
