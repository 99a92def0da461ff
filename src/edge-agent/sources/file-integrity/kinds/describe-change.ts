/**
 * What a change of a watched file is told as: a unified diff of what may be shown, what it means for the kinds that have
 * a meaning, and how grave it is.
 *
 * Invariant: whatever the contents are, there is a description; a diff that cannot be given says why.
 */
import { isUtf8 } from "node:buffer";
import { escapedTextOf, textOfBinary } from "../../../byte-text.ts";
import { accessStatements } from "./access-rules.ts";
import { accountChanges } from "./account-changes.ts";
import { accountEvents } from "./account-events.ts";
import { accountFieldsOf } from "./account-lines.ts";
import { keyChanges } from "./authorized-keys.ts";
import { cronStatements } from "./cron-jobs.ts";
import {
  type ChangeDescription,
  DESCRIPTION_LIMITS,
  type DescriptionLimits,
  type FileKind,
  type KeptContent,
  type SemanticChange,
} from "./file-kind.ts";
import { accessState } from "./login-state.ts";
import { ownerOfKeyFile } from "./key-file.ts";
import { hasNewPrivateKey } from "./key-block-text.ts";
import { shown, tagsOf } from "./secret-marker.ts";
import { statementChanges, type TextChange } from "./statements.ts";
import { sudoersStatements } from "./sudoers-rules.ts";
import { type DiffOptions, diffSide, unifiedDiff } from "./unified-diff.ts";
import { unitStatements } from "./unit-settings.ts";

export interface ChangeOptions {
  readonly kind: FileKind;
  /** Binary (one character per byte), as names of files are. */
  readonly path: string;
  /** The user an authorized_keys file lets in, when it is known better than by its path. */
  readonly owner?: string | undefined;
  readonly limits?: DescriptionLimits;
}

/** Describes a change between what was kept of a file and what may be kept now; undefined: the file is not there. */
export function describeChange(
  before: KeptContent | undefined,
  after: KeptContent | undefined,
  options: ChangeOptions,
): ChangeDescription {
  const { kind, limits = DESCRIPTION_LIMITS } = options;
  const path = textOfBinary(options.path);
  const missing = before?.missing ?? after?.missing;
  const texts = textsOf(before, after);
  const all = missing === undefined ? semanticChanges(texts, { ...options, path: path.text }) : [];
  const semantic = all.slice(0, limits.semanticCount).map((each) => clipped(each, limits));
  // Of all changes: who changes an account file must not choose which of them have no event.
  const accounts = kind === "accounts" && !isCopy(path.text)
    ? accountEvents(all, {
      countMax: limits.eventCount,
      clip: (each) => clipped(each, limits),
    })
    : [];
  const state = kind === "access" && missing === undefined
    ? accessState(texts.before, texts.after)
    : undefined;
  const common = {
    ...(state === undefined ? {} : { state }),
    semantic,
    semanticOmitted: all.length - semantic.length,
    accounts,
    severity: severityOf(texts, { ...options, semantic, isUnknown: missing !== undefined }),
    isDiffEscaped: texts.isEscaped || path.isEscaped,
  };
  if (kind === "digest") return common;
  if (missing !== undefined) return { ...common, diffMissing: missing };
  const diff = diffOf(texts, {
    names: {
      before: before === undefined ? "/dev/null" : path.text,
      after: after === undefined ? "/dev/null" : path.text,
    },
    bytesMax: limits.diffBytes,
  });
  if (diff === undefined) {
    return { ...common, diffMissing: `the diff is larger than ${limits.diffBytes} bytes` };
  }
  return diff === "" ? common : { ...common, diff };
}

interface Texts extends TextChange {
  readonly isEscaped: boolean;
}

/** Both texts, escaped alike when one is no UTF-8, for else equal lines would differ. */
function textsOf(before: KeptContent | undefined, after: KeptContent | undefined): Texts {
  const [old, now] = [before?.text ?? new Uint8Array(), after?.text ?? new Uint8Array()];
  const isEscaped = !isUtf8(old) || !isUtf8(now);
  const textOf = (bytes: Uint8Array): string =>
    isEscaped
      ? escapedTextOf(bytes)
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  const text = textOf(old);
  return { before: text, after: textOf(now), known: tagsOf(text), isEscaped };
}

function diffOf({ before, after, known }: Texts, options: DiffOptions): string | undefined {
  return unifiedDiff(
    diffSide(before, (line) => shown(line)),
    diffSide(after, (line) => shown(line, known)),
    options,
  );
}

function semanticChanges(texts: Texts, { kind, path, owner }: ChangeOptions): SemanticChange[] {
  switch (kind) {
    case "accounts": {
      const shape = accountFieldsOf(path);
      return shape === undefined
        ? keyChanges(texts, owner ?? ownerOfKeyFile(path))
        : accountChanges(texts, shape);
    }
    case "access":
      return statementChanges(texts, accessStatements);
    case "sudoers":
      return statementChanges(texts, sudoersStatements);
    case "units":
      return statementChanges(texts, (text) => unitStatements(text, path));
    case "cron":
      return statementChanges(texts, (text) => cronStatements(text, path));
    case "content-diff":
    case "digest":
      return [];
  }
}

interface Gravity extends ChangeOptions {
  readonly semantic: readonly SemanticChange[];
  /** Whether the contents could not be compared. */
  readonly isUnknown: boolean;
}

/** High for what decides who may do what, unless the meaning is shown to be the same. */
function severityOf(
  { after, known }: Texts,
  { kind, path, semantic, isUnknown }: Gravity,
): ChangeDescription["severity"] {
  const isMeaning = isUnknown || semantic.length > 0;
  switch (kind) {
    case "accounts":
      return !isMeaning ? "info" : isCopy(path) ? "low" : "high";
    case "access":
    case "sudoers":
    case "units":
      return isMeaning ? "high" : "info";
    case "cron":
      return isMeaning ? "medium" : "info";
    case "content-diff":
      return hasNewPrivateKey(after, known) ? "high" : "info";
    case "digest":
      return "info";
  }
}

/** Copies that tools leave beside account files: a change of them is none of an account. */
function isCopy(path: string): boolean {
  return accountFieldsOf(path) !== undefined && !/\/(?:passwd|shadow|group|gshadow)$/.test(path);
}

/** Texts of a semantic change are cut: one line of a file may be as long as the file. */
function clipped(change: SemanticChange, { textLength }: DescriptionLimits): SemanticChange {
  const cut = (text: string | null): string | null =>
    text === null || text.length <= textLength
      ? text
      : `${text.slice(0, textLength).replace(/[\ud800-\udbff]$/, "")}…`;
  return { ...change, who: cut(change.who), before: cut(change.before), after: cut(change.after) };
}
