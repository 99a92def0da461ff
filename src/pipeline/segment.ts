/**
 * The evidence segment: every message of a range of a stream, as the broker stored it, in one object.
 *
 * Invariant: a segment is read whole or refused: its end says how many messages there are and what the digest of all
 * before it is. Numbers are little-endian. Layout (docs/formats.md):
 *
 *     magic    16 bytes  "probity-segment" and the version, 1
 *     origin   u32 length, JSON {"shard", "incarnation"}
 *     message  u8 1, u64 sequence, i64 time stored in µs, u32 length of head, u32 length of payload,
 *              head as JSON {"subject", "headers": [[name, value] …]}, payload
 *     end      u8 0, u64 number of messages, SHA-256 of every byte before it
 */
import { createHash, type Hash } from "node:crypto";
import type { StreamMessage } from "../runtime/stream-message.ts";

export interface SegmentOrigin {
  readonly shard: string;
  readonly incarnation: string;
}

export interface Segment {
  readonly origin: SegmentOrigin;
  /** In order of sequence. */
  readonly messages: readonly StreamMessage[];
}

/** Makes a segment's bytes part by part. */
export interface SegmentEncoder {
  /** The bytes before the first message. */
  begin(): Uint8Array;
  /** Throws RangeError unless sequences go up. */
  message(message: StreamMessage): readonly Uint8Array[];
  end(): Uint8Array;
}

const MAGIC = new TextEncoder().encode("probity-segment\x01");
const MESSAGE_TAG = 1;
const END_TAG = 0;
const FIXED_BYTES = 25;
const END_BYTES = 41;
/** Longest head of a message in bytes; the broker's own limit on headers is far below. */
const HEAD_BYTES_MAX = 4 * 1024 * 1024;

export function createSegmentEncoder(origin: SegmentOrigin): SegmentEncoder {
  const hash = createHash("sha256");
  let count = 0;
  let last = 0;
  return {
    begin() {
      const text = new TextEncoder().encode(JSON.stringify(origin));
      const bytes = new Uint8Array(MAGIC.length + 4 + text.length);
      bytes.set(MAGIC);
      viewOf(bytes).setUint32(MAGIC.length, text.length, true);
      bytes.set(text, MAGIC.length + 4);
      hash.update(bytes);
      return bytes;
    },
    message(message) {
      const { sequence, storedAtUs, subject, headers, payload } = message;
      if (sequence <= last) {
        throw new RangeError(`Cannot add message ${sequence} to a segment: after ${last}`);
      }
      last = sequence;
      count += 1;
      const head = new TextEncoder().encode(JSON.stringify({ subject, headers: [...headers] }));
      const fixed = new Uint8Array(FIXED_BYTES);
      const view = viewOf(fixed);
      view.setUint8(0, MESSAGE_TAG);
      view.setBigUint64(1, BigInt(sequence), true);
      view.setBigInt64(9, BigInt(storedAtUs), true);
      view.setUint32(17, head.length, true);
      view.setUint32(21, payload.length, true);
      const parts = [fixed, head, payload];
      for (const part of parts) hash.update(part);
      return parts;
    },
    end: () => encodeEnd(count, hash),
  };
}

/** Reads a segment. Throws SyntaxError that names the byte at which it is not one. */
export function parseSegment(bytes: Uint8Array): Segment {
  const cursor = new Cursor(bytes);
  if (!MAGIC.every((byte, place) => bytes[place] === byte)) {
    cursor.fail("this is no segment, or one of another version");
  }
  cursor.take(MAGIC.length);
  const origin = parseOrigin(cursor);
  const messages: StreamMessage[] = [];
  for (;;) {
    const tag = cursor.u8();
    if (tag === END_TAG) break;
    if (tag !== MESSAGE_TAG) cursor.fail(`unknown tag ${tag}`);
    const message = parseMessage(cursor);
    if (message.sequence <= (messages.at(-1)?.sequence ?? 0)) cursor.fail("sequences do not go up");
    messages.push(message);
  }
  const bodyEnd = cursor.at - 1;
  if (cursor.integer() !== messages.length) cursor.fail("the number of messages is another");
  const digest = createHash("sha256").update(bytes.subarray(0, bodyEnd)).digest();
  if (!digest.equals(cursor.take(32))) cursor.fail("the digest is another");
  if (cursor.at !== bytes.length) cursor.fail("bytes follow the end");
  return { origin, messages };
}

function encodeEnd(count: number, hash: Hash): Uint8Array {
  const bytes = new Uint8Array(END_BYTES);
  viewOf(bytes).setUint8(0, END_TAG);
  viewOf(bytes).setBigUint64(1, BigInt(count), true);
  bytes.set(hash.digest(), 9);
  return bytes;
}

function parseOrigin(cursor: Cursor): SegmentOrigin {
  const value = cursor.json(cursor.u32());
  const { shard, incarnation } = fieldsOf(value) ?? {};
  if (typeof shard === "string" && typeof incarnation === "string") return { shard, incarnation };
  return cursor.fail("the origin is malformed");
}

function parseMessage(cursor: Cursor): StreamMessage {
  const sequence = cursor.integer();
  const storedAtUs = cursor.integer();
  const headBytes = cursor.u32();
  const payloadBytes = cursor.u32();
  if (headBytes > HEAD_BYTES_MAX) cursor.fail("a head is too long");
  const { subject, headers } = fieldsOf(cursor.json(headBytes)) ?? {};
  if (typeof subject !== "string" || !isHeaders(headers)) return cursor.fail("a head is malformed");
  const payload = cursor.take(payloadBytes);
  return { sequence, storedAtUs, subject, headers: new Map(headers), payload };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null ? { ...value } : undefined;
}

function isHeaders(value: unknown): value is readonly (readonly [string, string])[] {
  return Array.isArray(value) &&
    value.every((each) =>
      Array.isArray(each) && each.length === 2 && each.every((text) => typeof text === "string")
    );
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Guards that nothing is read beyond the bytes. */
class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get at(): number {
    return this.#at;
  }

  fail(reason: string): never {
    throw new SyntaxError(`Cannot read segment: ${reason}, near byte ${this.#at}`);
  }

  take(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) this.fail("it is cut short");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  u8(): number {
    return viewOf(this.take(1)).getUint8(0);
  }

  u32(): number {
    return viewOf(this.take(4)).getUint32(0, true);
  }

  /** A 64-bit number that JavaScript can hold. */
  integer(): number {
    const value = Number(viewOf(this.take(8)).getBigInt64(0, true));
    return Number.isSafeInteger(value) ? value : this.fail("a number is too large");
  }

  json(length: number): unknown {
    const bytes = this.take(length);
    try {
      return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch {
      return this.fail("a head is no JSON"); // whatever is wrong with it, its place says enough
    }
  }
}
