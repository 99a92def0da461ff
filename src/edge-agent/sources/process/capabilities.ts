/** Names of capabilities (capabilities(7)), by their numbers. */
import { u32 } from "../../decode-record.ts";

const NAMES = [
  "chown",
  "dac_override",
  "dac_read_search",
  "fowner",
  "fsetid",
  "kill",
  "setgid",
  "setuid",
  "setpcap",
  "linux_immutable",
  "net_bind_service",
  "net_broadcast",
  "net_admin",
  "net_raw",
  "ipc_lock",
  "ipc_owner",
  "sys_module",
  "sys_rawio",
  "sys_chroot",
  "sys_ptrace",
  "sys_pacct",
  "sys_admin",
  "sys_boot",
  "sys_nice",
  "sys_resource",
  "sys_time",
  "sys_tty_config",
  "mknod",
  "lease",
  "audit_write",
  "audit_control",
  "setfcap",
  "mac_override",
  "mac_admin",
  "syslog",
  "wake_alarm",
  "block_suspend",
  "audit_read",
  "perfmon",
  "bpf",
  "checkpoint_restore",
] as const;

const WORD_BITS = 32;

/** A set of 64 bits, given as its two words, as members of a JSON list: `"cap_setuid","cap_kill"`. */
export function capabilityNames(words: Uint32Array, at: number): string {
  let list = "";
  for (let word = 0; word < 2; word += 1) {
    const bits = u32(words, at + 4 * word);
    for (let bit = 0; bits !== 0 && bit < WORD_BITS; bit += 1) {
      if (((bits >>> bit) & 1) === 0) continue;
      const number = word * WORD_BITS + bit;
      list += `${list === "" ? "" : ","}"cap_${NAMES[number] ?? number}"`;
    }
  }
  return list;
}

/** A set as 16 hex digits, as /proc/<pid>/status shows it. */
export function capabilityDigits(words: Uint32Array, at: number): string {
  const digits = (word: number): string => word.toString(16).padStart(8, "0");
  return digits(u32(words, at + 4)) + digits(u32(words, at));
}
