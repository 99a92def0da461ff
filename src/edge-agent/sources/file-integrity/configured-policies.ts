/**
 * The policies of a configuration as the engine uses them, and those that hold when nothing is configured.
 *
 * Invariant: what was watched by a text is what is watched by it after the next start, as long as homes stay.
 */
import { readFileSync, statSync } from "node:fs";
import { createPolicies, type FileRule } from "./kinds/policy.ts";
import type { WatchPolicies } from "./watch-policies.ts";

/** What is watched when nothing is configured: who may log in, become root, run by itself or come in by key. */
export const DEFAULT_FILE_RULES: readonly FileRule[] = [
  {
    kind: "accounts",
    paths: [
      "/etc/passwd",
      "/etc/shadow",
      "/etc/group",
      "/etc/gshadow",
      "~/.ssh/authorized_keys",
      "~/.ssh/authorized_keys2",
    ],
  },
  { kind: "access", paths: ["/etc/security/access.conf", "/etc/security/access.d/*.conf"] },
  { kind: "sudoers", paths: ["/etc/sudoers", "/etc/sudoers.d/*"] },
  { kind: "units", paths: ["/etc/systemd/system/**", "/usr/local/lib/systemd/system/**"] },
  {
    kind: "cron",
    paths: ["/etc/crontab", "/etc/cron.*/*", "/var/spool/cron/**"],
  },
  {
    kind: "content-diff",
    paths: ["/etc/ssh/**", "/etc/pam.d/*", "/etc/nsswitch.conf", "/etc/ld.so.*", "/etc/profile*"],
    exclude: ["/etc/ld.so.cache"],
  },
];

export interface ConfiguredPoliciesOptions {
  /** Homes of all users, text. */
  readonly homes: readonly string[];
}

/** Compiled rules. Throws `PatternError` naming the pattern. */
export function configuredPolicies(
  rules: readonly FileRule[],
  { homes }: ConfiguredPoliciesOptions,
): WatchPolicies {
  const policies = createPolicies(rules, { homes });
  return {
    kindOf: (path) => policies.match(path)?.kind,
    mayContain: (directory) => policies.mayHoldBelow(directory),
    roots: policies.roots.map(({ folder }) => folder),
    text: JSON.stringify({ rules, homes }),
    rulesText: JSON.stringify(rules),
  };
}

/** Policies of a former {@link WatchPolicies.text}; undefined when it is none. */
export function parsePolicies(text: string): WatchPolicies | undefined {
  try {
    const { rules, homes }: { rules: FileRule[]; homes: string[] } = JSON.parse(text);
    return configuredPolicies(rules, { homes });
  } catch {
    return undefined;
  }
}

/** Home directories of all users, from /etc/passwd; none when it cannot be read. */
export function readHomes(path: string = "/etc/passwd"): readonly string[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return [];
  }
  const homes = text.split("\n").map((line) => line.split(":")[5] ?? "");
  return [...new Set(homes)].filter((home) => home.startsWith("/") && home !== "/").toSorted();
}

/** What changes when the users of the host do. */
export function stampOfUsers(path: string = "/etc/passwd"): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.ino} ${stat.size} ${stat.mtimeNs}`;
}
