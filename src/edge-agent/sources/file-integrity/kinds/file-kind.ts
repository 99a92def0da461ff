/**
 * Kinds of watched files: what is kept of a file between two looks, and what a change of it is told as.
 *
 * Invariant: nothing of these types holds a password hash, the text of a key or a secret; those are keyed tags, states
 * and fingerprints from the moment on that a file was read.
 */
import type { Severity } from "../../../../event/event.ts";
import type { FixedTopic } from "../../../../event/topic.ts";
import type { AccessState, AccountState } from "./login-state.ts";

/** Kinds from the most specific to the least: of several policies that match a path, the earlier kind wins. */
export const FILE_KINDS = [
  "accounts",
  "access",
  "sudoers",
  "units",
  "cron",
  "content-diff",
  "digest",
] as const;

/** What is recorded of a file's change; `content-diff` unless a policy says otherwise. */
export type FileKind = typeof FILE_KINDS[number];

/**
 * What may be kept of a file between looks: its reduced content, to be compressed and stored as it is, or in words why
 * there is none (`binary`, `larger than 1048576 bytes`). A file that is not there is `undefined`.
 */
export type KeptContent =
  | { readonly text: Uint8Array; readonly missing?: undefined }
  | { readonly text?: undefined; readonly missing: string };

/** One change in the meaning of a file, for `detail.semantic`. */
export interface SemanticChange {
  /** Object and aspect: `user/shell`, `key/add`, `rule/remove`, `unit/set`. */
  readonly what: string;
  /** Which user, group, unit section or job; null when the file as a whole. */
  readonly who: string | null;
  readonly before: string | null;
  readonly after: string | null;
}

/** An event of its own that follows from a change of an account file. */
export interface AccountEvent {
  readonly topic: Extract<FixedTopic, `account/${string}`>;
  readonly severity: "high";
  /** The user or group; of a key, the user it lets in, null when unknown. */
  readonly target: string | null;
  /** As in {@link SemanticChange}. */
  readonly what: string;
  readonly before: string | null;
  readonly after: string | null;
  /** One English sentence. */
  readonly message: string;
}

export interface ChangeDescription {
  /** Unified diff of the reduced contents. */
  readonly diff?: string;
  /** Why there is none, in words, for `detail.diff_missing`. */
  readonly diffMissing?: string;
  /** Whether bytes of the diff are written as `\xNN`: `detail.escaped` then names it. */
  readonly isDiffEscaped: boolean;
  readonly semantic: readonly SemanticChange[];
  /** Semantic changes above the limit that are not in the list. */
  readonly semanticOmitted: number;
  /** `account/*` events that follow; empty for kinds other than `accounts`. */
  readonly accounts: readonly AccountEvent[];
  readonly severity: Severity;
  /** For `detail.state`: of `access`, who may and may not; of `accounts`, who can log in, by all their files. */
  readonly state?: AccessState | AccountState;
}

/** Bounds of one description. */
export interface DescriptionLimits {
  /** Longest diff; a longer one is missing. */
  readonly diffBytes: number;
  /** Most semantic changes in the list. */
  readonly semanticCount: number;
  /** Most `account/*` events; one more then tells of how many there are none. */
  readonly eventCount: number;
  /** Longest text in a semantic change, in characters; a longer one is cut and ends in `…`. */
  readonly textLength: number;
}

export const DESCRIPTION_LIMITS: DescriptionLimits = {
  diffBytes: 65_536,
  semanticCount: 100,
  eventCount: 10_000,
  textLength: 1_000,
};
