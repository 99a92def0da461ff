/**
 * The text of a token: `prb_`, 32 random bytes and a checksum. The prefix is for scanners that look for secrets, the
 * checksum tells them, without asking anybody, that what they found is one.
 *
 * Layout: `prb_` · 43 digits of base 62 (the bytes as one number, the greatest first) · 6 digits of base 62 (CRC-32 of
 * the 43 digits as ASCII). Digits are 0-9, A-Z, a-z, in the order of their worth.
 */
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";

export const TOKEN_PREFIX = "prb_";
const SECRET_BYTES = 32;
/** 62^43 is more than 2^256, 62^6 more than 2^32. */
const SECRET_DIGITS = 43;
const CHECKSUM_DIGITS = 6;
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const FORM = new RegExp(`^${TOKEN_PREFIX}([0-9A-Za-z]{${SECRET_DIGITS}})([0-9A-Za-z]{6})$`);

/** A new one; `bytes` are {@link SECRET_BYTES} that nobody can guess. */
export function newTokenText(bytes: Uint8Array = randomBytes(SECRET_BYTES)): string {
  const secret = inBase62(BigInt(`0x${Buffer.from(bytes).toString("hex")}`), SECRET_DIGITS);
  return `${TOKEN_PREFIX}${secret}${checksumOf(secret)}`;
}

/** Whether a text has the form of a token and a checksum that fits. */
export function isTokenText(text: string): boolean {
  const [, secret, checksum] = FORM.exec(text) ?? [];
  return secret !== undefined && checksumOf(secret) === checksum;
}

function checksumOf(secret: string): string {
  return inBase62(BigInt(crc32(secret)), CHECKSUM_DIGITS);
}

function inBase62(value: bigint, digits: number): string {
  let text = "";
  for (let rest = value; rest > 0n; rest /= 62n) text = DIGITS.charAt(Number(rest % 62n)) + text;
  return text.padStart(digits, "0");
}
