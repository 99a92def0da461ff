/**
 * Changes of an authorized_keys file (sshd(8), AUTHORIZED_KEYS FILE FORMAT): which key, by type and fingerprint, and
 * what its options allow. Works on reduced lines, in which fingerprints stand in place of keys.
 */
import type { SemanticChange } from "./file-kind.ts";
import { shown } from "./secret-marker.ts";
import { SSH_KEY_TYPES } from "./ssh-key.ts";
import { lineChanges, type TextChange } from "./statements.ts";

/** One key that lets somebody in. */
export interface AuthorizedKey {
  /** As they stand in the file; "" when there are none. */
  readonly options: string;
  readonly type: string;
  readonly fingerprint: string;
  readonly comment: string;
}

const FINGERPRINT = /^SHA256:[A-Za-z0-9+/]{43}$/;

/** The key of a reduced line; undefined for every other line. */
export function authorizedKey(line: string): AuthorizedKey | undefined {
  const text = line.trim();
  if (text === "" || text.startsWith("#")) return undefined;
  const [first = ""] = /^\S+/.exec(text) ?? [];
  const optionsEnd = SSH_KEY_TYPES.has(first) ? 0 : endOfOptions(text);
  const options = text.slice(0, optionsEnd);
  const [type = "", fingerprint = "", ...comment] = text.slice(optionsEnd).trim().split(/[ \t]+/);
  if (!SSH_KEY_TYPES.has(type) || !FINGERPRINT.test(fingerprint)) return undefined;
  return { options, type, fingerprint, comment: comment.join(" ") };
}

/** Options end at the first blank outside of double quotes. */
function endOfOptions(text: string): number {
  let isQuoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === "\\" && text[at + 1] === '"') at += 1;
    else if (character === '"') isQuoted = !isQuoted;
    else if (!isQuoted && (character === " " || character === "\t")) return at;
  }
  return text.length;
}

/** All keys of a reduced file, the first of equal ones. */
export function authorizedKeys(text: string): Map<string, AuthorizedKey> {
  const keys = new Map<string, AuthorizedKey>();
  for (const line of text.split("\n")) {
    const key = authorizedKey(line);
    if (key === undefined) continue;
    const id = `${key.type} ${key.fingerprint}`;
    if (!keys.has(id)) keys.set(id, key);
  }
  return keys;
}

/** Keys that came, went or mean something else; malformed lines as they are. */
export function keyChanges(
  { before, after, known }: TextChange,
  owner: string | null,
): SemanticChange[] {
  const changes: SemanticChange[] = [];
  const add = (what: string, from: string | null, to: string | null): void => {
    const texts = { before: from, after: to === null ? null : shown(to, known) };
    changes.push({ what, who: owner, ...texts, before: from === null ? null : shown(from) });
  };
  const [old, now] = [authorizedKeys(before), authorizedKeys(after)];
  for (const [id, key] of old) {
    if (!now.has(id)) add("key/remove", keyText(key), null);
  }
  for (const [id, key] of now) {
    const former = old.get(id);
    if (former === undefined) {
      add("key/add", null, keyText(key));
      if (key.options !== "") add("key/options", `${id}`, `${id} ${key.options}`);
      continue;
    }
    if (former.options !== key.options) {
      add("key/options", `${id} ${former.options}`.trim(), `${id} ${key.options}`.trim());
    }
    if (former.comment !== key.comment) add("key/comment", keyText(former), keyText(key));
  }
  return [...changes, ...malformedChanges({ before, after, known }, owner)];
}

function keyText({ type, fingerprint, comment }: AuthorizedKey): string {
  return `${type} ${fingerprint} ${comment}`.trim();
}

function malformedChanges(
  { before, after, known }: TextChange,
  owner: string | null,
): SemanticChange[] {
  const malformed = (text: string): string[] =>
    text.split("\n").filter((line) =>
      line.trim() !== "" && !line.trim().startsWith("#") && authorizedKey(line) === undefined
    );
  return lineChanges(malformed(before), malformed(after))
    .map(({ sign, line }) =>
      sign === "-"
        ? { what: "line/remove", who: owner, before: shown(line), after: null }
        : { what: "line/add", who: owner, before: null, after: shown(line, known) }
    );
}
