/**
 * SSH public keys inside any text: each blob gives way to its fingerprint, or to a marker when it is malformed.
 *
 * Invariant: no run of base64 that may be the blob of a key, or a part of one, is left.
 */
import { markerOf, type TagKey } from "./secret-marker.ts";
import { fingerprintOf, SSH_KEY_TYPES } from "./ssh-key.ts";

/** A type and a blob, as in authorized_keys, known_hosts and `.pub` files. */
const TYPED_KEY =
  /(?<![a-z])([a-z][a-z0-9@.-]{2,63})([ \t]+)([A-Za-z0-9+/]{16,16384}={0,2})(?=[\s"',]|$)/g;
/** Blobs begin with four bytes of length, the first three of which are zero. */
const BLOB = /AAAA[A-Za-z0-9+/]{12,}={0,2}/g;
/** What may be the rest of a blob that was broken in two. */
const LONG_RUN = /[A-Za-z0-9+/]{40,}={0,2}/g;

/** The text with fingerprints in place of keys. Texts are binary strings. */
export function withoutKeys(text: string, key: TagKey): string {
  if (text.length < 20) return text;
  const hidden = (blob: string): string =>
    markerOf({ label: "key", place: "public key", text: blob }, key);
  const typed = text.replace(TYPED_KEY, (all, type: string, space: string, blob: string) => {
    if (!SSH_KEY_TYPES.has(type)) return all;
    return `${type}${space}${fingerprintOf(type, blob) ?? hidden(blob)}`;
  });
  // Fingerprints are 43 characters of base64 themselves: what stands between them is looked at alone.
  return typed.split(/(SHA256:[A-Za-z0-9+/]{43}(?![A-Za-z0-9+/])|\x7f[^\x7f]*\x7f)/)
    .map((part, at) =>
      at % 2 === 1 ? part : part.replace(BLOB, hidden).replace(
        LONG_RUN,
        (run) => isKeyLike(run) ? hidden(run) : run,
      )
    ).join("");
}

/** Words and paths of this length have no digits, or no capitals; base64 of 30 bytes has all three. */
function isKeyLike(run: string): boolean {
  return /[0-9]/.test(run) && /[A-Z]/.test(run) && /[a-z]/.test(run);
}
