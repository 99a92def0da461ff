/**
 * Markers that stand in kept content where a secret stood: a label that may be shown, and a keyed tag by which a
 * changed secret is noticed. Shown text has the label alone, and says which secrets are new.
 *
 * Invariants: without the agent's key a tag tells nothing about the secret; text of a file cannot forge a marker, for
 * the character that begins one is spelled out when a file is reduced.
 */
import { createHmac } from "node:crypto";

/** The agent's own secret key: the same over its life, so that tags stay comparable. */
export type TagKey = Uint8Array;

const EDGE = "\x7f";
const BORDER = "~";
const TAG_BYTES = 12;
const MARKER = /\x7f([^\x7f~]{1,200})~([0-9a-f]{24})\x7f/g;

export interface Secret {
  /** What it is, as it is shown: `sha512crypt`, `redacted`. */
  readonly label: string;
  /** Whose or where, so that equal secrets of two places have different tags: `password of root`. */
  readonly place: string;
  readonly text: string;
}

/** The marker of a secret. Texts are binary strings (one character per byte). */
export function markerOf({ label, place, text }: Secret, key: TagKey): string {
  const tag = createHmac("sha256", key)
    .update(`file secret\0${place}\0`, "latin1")
    .update(text, "latin1")
    .digest()
    .subarray(0, TAG_BYTES)
    .toString("hex");
  return `${EDGE}${label}${BORDER}${tag}${EDGE}`;
}

/** Most secrets of one file that are told apart: a tag takes 30 µs, and account files of 10,000 users are seldom. */
export const SECRETS_MAX = 10_000;

/** A file has more secrets than {@link SECRETS_MAX}: nothing of it is kept. */
export class TooManySecrets extends Error {}

/** Hands through what was reduced of one file, part by part; throws {@link TooManySecrets}. */
export function createSecretCount(): (reduced: string) => string {
  let count = 0;
  return (reduced) => {
    for (let at = reduced.indexOf(EDGE); at >= 0; at = reduced.indexOf(EDGE, at + 1)) count += 1;
    // A marker has two edges.
    if (count > 2 * SECRETS_MAX) throw new TooManySecrets(`more than ${SECRETS_MAX} secrets`);
    return reduced;
  };
}

/** Text of a file with its own edge characters spelled out. */
export function withoutEdges(text: string): string {
  return text.includes(EDGE) ? text.replaceAll(EDGE, "\\x7f") : text;
}

/** All markers of a text. */
export function markersOf(text: string): { readonly label: string; readonly tag: string }[] {
  if (!text.includes(EDGE)) return [];
  return Array.from(text.matchAll(MARKER), ([, label = "", tag = ""]) => ({ label, tag }));
}

/** Tags of all markers in a text. */
export function tagsOf(text: string): ReadonlySet<string> {
  return new Set(markersOf(text).map(({ tag }) => tag));
}

/** Text as it is shown: `{sha512crypt}`, and `{sha512crypt, new}` where the tag is not among the known ones. */
export function shown(text: string, known?: ReadonlySet<string>): string {
  if (!text.includes(EDGE)) return text;
  return text.replace(
    MARKER,
    (_all, label: string, tag: string) =>
      known === undefined || known.has(tag) ? `{${label}}` : `{${label}, new}`,
  );
}
