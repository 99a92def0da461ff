/**
 * Cursors: where a page ended, and up to which sequence of every stream its query reads, so that what arrives later
 * does not disturb paging. Opaque to clients and signed.
 *
 * Invariant: a cursor that was changed, or that belongs to another query, is never used.
 */
import { createHash, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";

/** Place of a row in the order of answers. */
export interface RowPlace {
  readonly timeUs: number;
  readonly incarnation: string;
  readonly sequence: number;
  readonly idx: number;
}

export interface Cursor {
  /** Digest of the query it continues, see {@link queryDigest}. */
  readonly query: string;
  /** The time range as it was resolved for the first page. */
  readonly fromUs: number;
  readonly toUs: number;
  /** Last row of the page before. */
  readonly after: RowPlace;
  /** Highest sequence that the first page could see, per incarnation that was being written. */
  readonly upper: ReadonlyMap<string, number>;
}

export interface CursorCodec {
  encode(cursor: Cursor): string;
  /** The cursor a text holds; undefined when it is none of ours. */
  decode(text: string): Cursor | undefined;
}

/** Longest text that is looked at, in characters. */
export const CURSOR_LENGTH_MAX = 4_096;

const KEY_BYTES = 32;
const SIGNATURE_BYTES = 16;

/** The key is derived from a secret that outlives the process, so that cursors do too. */
export function cursorKeyOf(secret: string | Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", secret, "", "probity cursor 1", KEY_BYTES));
}

/** What makes two requests pages of one query: their filters and order, as they were written. */
export function queryDigest(parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url").slice(0, 22);
}

export function createCursorCodec(key: Uint8Array): CursorCodec {
  const sign = (text: string): Uint8Array =>
    createHmac("sha256", key).update(text).digest().subarray(0, SIGNATURE_BYTES);
  return {
    encode({ query, fromUs, toUs, after, upper }) {
      const { timeUs, incarnation, sequence, idx } = after;
      const fields = [1, query, fromUs, toUs, timeUs, incarnation, sequence, idx, [...upper]];
      const text = Buffer.from(JSON.stringify(fields)).toString("base64url");
      return `${text}.${Buffer.from(sign(text)).toString("base64url")}`;
    },
    decode(text) {
      const match = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/.exec(text);
      if (text.length > CURSOR_LENGTH_MAX || match === null) return undefined;
      const [, body = "", signature = ""] = match;
      const given = Buffer.from(signature, "base64url");
      const expected = sign(body);
      if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
      return parseFields(Buffer.from(body, "base64url").toString());
    },
  };
}

function parseFields(text: string): Cursor | undefined {
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(fields) || fields[0] !== 1) return undefined;
  const [, query, fromUs, toUs, timeUs, incarnation, sequence, idx, upper] = fields;
  if (
    typeof query !== "string" || !isNatural(fromUs) || !isNatural(toUs) || !isNatural(timeUs) ||
    typeof incarnation !== "string" || !isNatural(sequence) || !isNatural(idx) ||
    !Array.isArray(upper)
  ) return undefined;
  const known = new Map<string, number>();
  for (const entry of upper) {
    if (!Array.isArray(entry)) return undefined;
    const [name, last] = entry;
    if (typeof name !== "string" || !isNatural(last)) return undefined;
    known.set(name, last);
  }
  return { query, fromUs, toUs, after: { timeUs, incarnation, sequence, idx }, upper: known };
}

function isNatural(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
