/**
 * Blocks of keys and certificates in text (RFC 7468, OpenSSH's PROTOCOL.key, OpenPGP): each gives way to one line with
 * what it is and its fingerprint, of a private key that of the public half when it can be had without a passphrase.
 *
 * Invariant: no line of a private key is left, also when its block does not end.
 */
import { createHash, createPublicKey } from "node:crypto";
import { createSecretCount, markerOf, markersOf, type TagKey } from "./secret-marker.ts";
import { fingerprintOf } from "./ssh-key.ts";

const BEGIN = /-{4,5} ?BEGIN ([A-Za-z0-9][A-Za-z0-9 ]{0,60}[A-Za-z0-9]) ?-{4,5}/g;
const PUTTY = /^PuTTY-User-Key-File-\d: /m;
/** Longest block that is decoded; keys and certificates are below 16 KiB. */
const BLOCK_LENGTH_MAX = 65_536;
/** Most private keys of a text whose public half is worked out. */
const PRIVATE_KEYS_MAX = 64;

/** Most blocks without an end, private keys aside, of a text whose end is looked for. */
const UNENDED_MAX = 64;

/** The text with one line for each block. Texts are binary strings. Throws {@link TooManySecrets}. */
export function reducedBlocks(text: string, key: TagKey): string {
  const putty = PUTTY.exec(text);
  if (putty !== null) {
    const rest = text.slice(putty.index);
    return `${reducedBlocks(text.slice(0, putty.index), key)}${
      blockMarker("PuTTY PRIVATE KEY", rest, key)
    }\n`;
  }
  const parts: string[] = [];
  let plainFrom = 0;
  let privateKeys = 0;
  let unended = 0;
  const counted = createSecretCount();
  for (const begin of text.matchAll(BEGIN)) {
    if (begin.index < plainFrom) continue;
    const what = begin[1] ?? "";
    const isPrivate = isPrivateBlock(what);
    // Each search goes to the end of the text.
    if (!isPrivate && unended >= UNENDED_MAX) continue;
    const end = endOfBlock(text, { from: begin.index + begin[0].length, what });
    if (end === undefined && !isPrivate) {
      unended += 1;
      continue;
    }
    const block = text.slice(begin.index, end);
    privateKeys += isPrivate ? 1 : 0;
    const fingerprint = !isPrivate
      ? bytesFingerprint(block)
      : privateKeys <= PRIVATE_KEYS_MAX
      ? publicFingerprint(block)
      : undefined;
    const told = fingerprint === undefined ? "" : ` ${fingerprint}`;
    parts.push(text.slice(plainFrom, begin.index), counted(blockMarker(what, block, key)), told);
    plainFrom = end ?? text.length;
  }
  parts.push(text.slice(plainFrom));
  return parts.join("");
}

function blockMarker(what: string, block: string, key: TagKey): string {
  return markerOf({ label: what.toLowerCase(), place: "block", text: block }, key);
}

/** Behind the line that ends the block; undefined when there is none. */
function endOfBlock(
  text: string,
  { from, what }: { readonly from: number; readonly what: string },
): number | undefined {
  const at = text.indexOf(`END ${what}`, from);
  if (at < 0) return undefined;
  const dashes = /^ ?-{0,5}/.exec(text.slice(at + 4 + what.length, at + 16 + what.length));
  return at + 4 + what.length + (dashes?.[0].length ?? 0);
}

/** SHA-256 of the bytes of a block that holds nothing secret. */
function bytesFingerprint(block: string): string | undefined {
  if (block.length > BLOCK_LENGTH_MAX) return undefined;
  const bytes = Buffer.from(block.replaceAll(/-{4,5}[^\n-]*-{4,5}|\s/g, ""), "base64");
  return `SHA256:${createHash("sha256").update(bytes).digest("base64").replace(/=+$/, "")}`;
}

/** Fingerprint of the public half: as `ssh-keygen -l` prints it for OpenSSH's form, of the SPKI bytes for others. */
function publicFingerprint(block: string): string | undefined {
  if (block.length > BLOCK_LENGTH_MAX) return undefined;
  const pem = block.replaceAll(/\\n|\r/g, "\n").replaceAll(/\n[ \t]+/g, "\n");
  if (pem.includes("OPENSSH PRIVATE KEY")) return opensshFingerprint(pem);
  try {
    const spki = createPublicKey(pem).export({ type: "spki", format: "der" });
    return `SHA256:${createHash("sha256").update(spki).digest("base64").replace(/=+$/, "")}`;
  } catch {
    // Encrypted, cut off, or of a kind that is not known here: then there is no fingerprint to tell.
    return undefined;
  }
}

/** The public blob stands unencrypted before the private one: magic, cipher, kdf, options, count, blob. */
function opensshFingerprint(pem: string): string | undefined {
  const base64 = pem.replaceAll(/-----[^\n-]*-----/g, "").replaceAll(/\s/g, "");
  const bytes = Buffer.from(base64, "base64");
  const magic = "openssh-key-v1\0";
  if (bytes.toString("latin1", 0, magic.length) !== magic) return undefined;
  let at = magic.length;
  for (let skipped = 0; skipped < 3; skipped += 1) {
    if (at + 4 > bytes.length) return undefined;
    at += 4 + bytes.readUInt32BE(at);
  }
  at += 4;
  if (at + 8 > bytes.length) return undefined;
  const blob = bytes.subarray(at + 4, at + 4 + bytes.readUInt32BE(at));
  const type = blob.toString("latin1", 4, 4 + Math.min(64, blob.readUInt32BE(0)));
  return fingerprintOf(type, blob.toString("base64"));
}

/** Whether a reduced text has a private key that is not among the known ones. */
export function hasNewPrivateKey(text: string, known: ReadonlySet<string>): boolean {
  return markersOf(text).some(({ label, tag }) => isPrivateBlock(label) && !known.has(tag));
}

/** By what stands behind BEGIN. */
function isPrivateBlock(what: string): boolean {
  return /private|static key|secret/i.test(what);
}
