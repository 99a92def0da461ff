/**
 * The two signatures of the KMS protocol: each message by AES-256-CMAC, each batch of messages by Ed25519.
 *
 * Invariant: what is signed is text, byte for byte: the JSON of a row or of a batch exactly as it is kept and sent, so
 * that whoever verifies it needs no serialiser of ours.
 */
import {
  createCipheriv,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  sign,
} from "node:crypto";

/** Bytes of the key for rows, and of the key for batches: a seed and its public key, as NaCl keeps them. */
export const ROW_KEY_BYTES = 32;
export const BATCH_KEY_BYTES = 64;

const BLOCK_BYTES = 16;
const SEED_BYTES = 32;
/** What stands before a seed of Ed25519 in PKCS #8 (RFC 8410). */
const PKCS8_BEFORE_SEED = Buffer.from("302e020100300506032b657004220420", "hex");

/** One message as it was received; the order of its keys is a part of what is signed. */
export interface Row {
  /** Which keys signed it: the name under which they were given. */
  readonly keyId: string;
  /** From 1, by one, for each `keyId`. */
  readonly sequence: number;
  readonly message: string;
  /** RFC 3339, milliseconds, `Z`. */
  readonly timestamp: string;
}

export interface SignedRow {
  readonly row: Row;
  /** Lower-case hexadecimal. */
  readonly signature: string;
}

export interface Signer {
  /** AES-256-CMAC of a text, 32 lower-case hexadecimal digits. */
  row(text: string): string;
  /** Ed25519 of a text, 128 lower-case hexadecimal digits. */
  batch(text: string): string;
}

/** Text of a row that is signed. */
export function rowText({ keyId, sequence, message, timestamp }: Row): string {
  return JSON.stringify({ keyId, sequence, message, timestamp });
}

/** Text of a batch that is signed: its rows in their order. */
export function batchText(rows: readonly SignedRow[]): string {
  return `[${
    rows.map(({ row, signature }) => `{"row":${rowText(row)},"signature":"${signature}"}`).join(",")
  }]`;
}

/** Throws when a key has another size, or when the public half of the batch key is not that of its seed. */
export function createSigner(rowKey: Uint8Array, batchKey: Uint8Array): Signer {
  const cmac = createCmac(rowKey);
  const privateKey = openBatchKey(batchKey);
  return {
    row: (text) => cmac(Buffer.from(text)).toString("hex"),
    batch: (text) => sign(null, Buffer.from(text), privateKey).toString("hex"),
  };
}

/** CMAC over AES-256 (RFC 4493, NIST SP 800-38B). */
export function createCmac(key: Uint8Array): (message: Uint8Array) => Buffer {
  if (key.byteLength !== ROW_KEY_BYTES) {
    throw new RangeError(`Cannot sign rows: the key has ${key.byteLength} bytes, not 32`);
  }
  const block = encrypt("aes-256-ecb", key, Buffer.alloc(BLOCK_BYTES));
  const forWhole = double(block);
  const forPadded = double(forWhole);
  return (message) => {
    const isWhole = message.byteLength > 0 && message.byteLength % BLOCK_BYTES === 0;
    const sizeBytes = isWhole
      ? message.byteLength
      : (Math.floor(message.byteLength / BLOCK_BYTES) + 1) * BLOCK_BYTES;
    const padded = Buffer.alloc(sizeBytes);
    padded.set(message);
    if (!isWhole) padded[message.byteLength] = 0x80;
    const mask = isWhole ? forWhole : forPadded;
    const last = sizeBytes - BLOCK_BYTES;
    for (const [at, byte] of mask.entries()) padded[last + at] = (padded[last + at] ?? 0) ^ byte;
    return encrypt("aes-256-cbc", key, padded).subarray(last);
  };
}

function encrypt(algorithm: "aes-256-ecb" | "aes-256-cbc", key: Uint8Array, text: Buffer): Buffer {
  const vector = algorithm === "aes-256-ecb" ? null : Buffer.alloc(BLOCK_BYTES);
  const cipher = createCipheriv(algorithm, key, vector).setAutoPadding(false);
  return Buffer.concat([cipher.update(text), cipher.final()]);
}

/** Twice a block in the field of CMAC: shifted by one bit, and reduced when a bit falls out. */
function double(block: Buffer): Buffer {
  const doubled = Buffer.alloc(BLOCK_BYTES);
  for (let at = 0; at < BLOCK_BYTES; at++) {
    doubled[at] = ((block[at] ?? 0) << 1) | ((block[at + 1] ?? 0) >> 7);
  }
  if (((block[0] ?? 0) & 0x80) !== 0) doubled[15] = (doubled[15] ?? 0) ^ 0x87;
  return doubled;
}

function openBatchKey(batchKey: Uint8Array): KeyObject {
  if (batchKey.byteLength !== BATCH_KEY_BYTES) {
    throw new RangeError(`Cannot sign batches: the key has ${batchKey.byteLength} bytes, not 64`);
  }
  const key = Buffer.concat([PKCS8_BEFORE_SEED, batchKey.subarray(0, SEED_BYTES)]);
  const privateKey = createPrivateKey({ key, format: "der", type: "pkcs8" });
  const publicKey = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  if (!publicKey.subarray(-SEED_BYTES).equals(batchKey.subarray(SEED_BYTES))) {
    throw new RangeError("Cannot sign batches: the public half of the key is not that of its seed");
  }
  return privateKey;
}
