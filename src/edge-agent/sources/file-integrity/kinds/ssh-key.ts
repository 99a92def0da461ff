/**
 * SSH public keys in text: their types, and fingerprints as `ssh-keygen -l` prints them (RFC 4253, section 6.6; RFC
 * 8709; PROTOCOL.u2f and PROTOCOL.certkeys of OpenSSH).
 *
 * Invariant: a fingerprint is given only for a blob that names the type that stands before it.
 */
import { createHash } from "node:crypto";

/** Longest base64 text of a key that is read; RSA of 16384 bits has about 2,800 characters, certificates more. */
const BLOB_LENGTH_MAX = 16_384;

const CERTIFICATE = "-cert-v01@openssh.com";

const PLAIN_TYPES = [
  "ssh-rsa",
  "ssh-dss",
  "ssh-ed25519",
  "ssh-ed448",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
] as const;
const HARDWARE_TYPES = ["sk-ssh-ed25519", "sk-ecdsa-sha2-nistp256"] as const;

/** Every type of key and certificate that stands in files of OpenSSH. */
export const SSH_KEY_TYPES: ReadonlySet<string> = new Set([
  ...PLAIN_TYPES.flatMap((type) => [type, `${type}${CERTIFICATE}`]),
  ...HARDWARE_TYPES.flatMap((type) => [`${type}@openssh.com`, `${type}${CERTIFICATE}`]),
  "ssh-xmss@openssh.com",
  `ssh-xmss${CERTIFICATE}`,
  "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
]);

/** `SHA256:` and unpadded base64; undefined when the blob is not one of this type. */
export function fingerprintOf(type: string, base64: string): string | undefined {
  if (base64.length > BLOB_LENGTH_MAX || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  const blob = Buffer.from(base64, "base64");
  if (blob.length < 4) return undefined;
  const nameBytes = blob.readUInt32BE(0);
  if (nameBytes > 64 || blob.toString("latin1", 4, 4 + nameBytes) !== type) return undefined;
  // Certificates hold numbers, too; keys are nothing but strings.
  if (!type.endsWith(CERTIFICATE) && !isStrings(blob, 4 + nameBytes)) return undefined;
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/** Whether at least one string (length, then bytes) stands from a place on, and the last ends with the blob. */
function isStrings(blob: Buffer, from: number): boolean {
  let at = from;
  while (at + 4 <= blob.length) at += 4 + blob.readUInt32BE(at);
  return at === blob.length && at > from;
}
