/**
 * The key under which a host's secrets are told apart without being told: 32 random bytes in the data folder, made once.
 *
 * Invariant: it stays in the file (mode 0600) and in this process: it is never logged, sent or part of an error.
 */
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

export const REDACTION_KEY_BYTES = 32;
export const REDACTION_KEY_FILE = "redaction.key";

/**
 * Reads the key of a data folder, or makes it. Throws when the file cannot be read or written, or has another length:
 * a new key would make equal secrets unequal, and nobody would know.
 */
export function openRedactionKey(dataDirectory: string): Uint8Array {
  const path = join(dataDirectory, REDACTION_KEY_FILE);
  const known = readKey(path);
  if (known !== undefined) return known;
  mkdirSync(dataDirectory, { recursive: true, mode: 0o700 });
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  writeFileSync(draft, randomBytes(REDACTION_KEY_BYTES), { mode: 0o600, flag: "wx", flush: true });
  try {
    // A link appears whole or not at all, and not over the key that another start has just made.
    linkSync(draft, path);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") {
      throw new Error(`Cannot make "${path}": ${codeOf(error)}`, { cause: error });
    }
  } finally {
    unlinkSync(draft);
  }
  const made = readKey(path);
  if (made === undefined) throw new Error(`Cannot read "${path}": it was removed`);
  return made;
}

function readKey(path: string): Uint8Array | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw new Error(`Cannot read "${path}": ${codeOf(error)}`, { cause: error });
  }
  if (bytes.byteLength !== REDACTION_KEY_BYTES) {
    throw new Error(
      `Cannot use "${path}": it has ${bytes.byteLength} bytes instead of ${REDACTION_KEY_BYTES}`,
    );
  }
  // Whoever copied the folder may have opened it to others.
  if ((statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
  return bytes;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
