/**
 * Addresses in an answer of the DNS (RFC 1035), for the one name that was asked for.
 *
 * Invariants: the bytes are hostile. Nothing outside them is read; a name's pointers only go back, so that none loops;
 * names and records are bounded. Only addresses count that belong to the name asked for, or to a name that the answer
 * says it stands for. What was cut off is missing, what came before it counts.
 */
import { ipv4Text, ipv6Text } from "./ip-text.ts";

/** Records looked at in one answer, and names that one name may stand for. */
const RECORDS_MAX = 128;
const ALIASES_MAX = 16;
/** Bytes of a name (RFC 1035, 2.3.4). */
const NAME_BYTES_MAX = 255;
const HEADER_BYTES = 12;
const TYPE_A = 1;
const TYPE_CNAME = 5;
const TYPE_AAAA = 28;
const CLASS_IN = 1;

export interface DnsAddress {
  /** As `dst_ip` has it. */
  readonly address: string;
  readonly ttlSeconds: number;
}

export interface DnsAnswer {
  /** In lower case, without the last dot; bytes other than letters, digits, `-` and `_` as `\DDD` (decimal). */
  readonly name: string;
  readonly addresses: readonly DnsAddress[];
}

/** Undefined when the bytes are no answer, or one without a name and address. */
export function readDnsAnswer(bytes: Uint8Array): DnsAnswer | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || !isGoodAnswer(view)) return undefined;
  const question = readName(bytes, HEADER_BYTES);
  if (question === undefined || question.name === "" || question.next + 4 > bytes.length) {
    return undefined;
  }
  if (view.getUint16(question.next + 2) !== CLASS_IN) return undefined;
  const names = new Set([question.name]);
  const addresses: DnsAddress[] = [];
  let at = question.next + 4;
  const count = Math.min(view.getUint16(6), RECORDS_MAX);
  for (let record = 0; record < count; record += 1) {
    const owner = readName(bytes, at);
    if (owner === undefined || owner.next + 10 > bytes.length) break;
    const dataAt = owner.next + 10;
    const next = dataAt + view.getUint16(owner.next + 8);
    if (next > bytes.length) break;
    if (view.getUint16(owner.next + 2) === CLASS_IN && names.has(owner.name)) {
      const type = view.getUint16(owner.next);
      const target = type === TYPE_CNAME ? readName(bytes, dataAt) : undefined;
      if (target?.next === next && names.size < ALIASES_MAX) names.add(target.name);
      const address = addressText(bytes, { type, at: dataAt, next });
      const ttlSeconds = ttlOf(view.getUint32(owner.next + 4));
      if (address !== undefined) addresses.push({ address, ttlSeconds });
    }
    at = next;
  }
  return addresses.length === 0 ? undefined : { name: question.name, addresses };
}

/** A response without error to a plain query with one question. */
function isGoodAnswer(view: DataView): boolean {
  const flags = view.getUint16(2);
  return (flags & 0x8000) !== 0 && (flags & 0x7800) === 0 && (flags & 0x000f) === 0 &&
    view.getUint16(4) === 1;
}

/** A time to live with the highest bit set counts as 0 (RFC 2181, 8). */
function ttlOf(ttlSeconds: number): number {
  return ttlSeconds > 0x7fffffff ? 0 : ttlSeconds;
}

interface RecordData {
  readonly type: number;
  readonly at: number;
  readonly next: number;
}

function addressText(bytes: Uint8Array, { type, at, next }: RecordData): string | undefined {
  if (type === TYPE_A && next - at === 4) return ipv4Text(bytes, at);
  if (type === TYPE_AAAA && next - at === 16) return ipv6Text(bytes, at);
  return undefined;
}

interface ReadName {
  readonly name: string;
  /** Where what follows the name begins. */
  readonly next: number;
}

/** The name at a place, pointers followed; undefined when it is none or not whole. */
function readName(bytes: Uint8Array, start: number): ReadName | undefined {
  const labels: string[] = [];
  let at = start;
  /** Where the part that is being read began: pointers must go before it. */
  let from = start;
  let next: number | undefined;
  let sizeBytes = 1;
  while (true) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return { name: labels.join("."), next: next ?? at + 1 };
    if (length >= 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined) return undefined;
      const target = (length & 0x3f) * 256 + low;
      if (target >= from) return undefined;
      next ??= at + 2;
      at = from = target;
      continue;
    }
    sizeBytes += length + 1;
    // 0x40 and 0x80 begin no label that anyone uses.
    if (length > 63 || sizeBytes > NAME_BYTES_MAX || at + 1 + length > bytes.length) {
      return undefined;
    }
    labels.push(labelText(bytes.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
}

function labelText(label: Uint8Array): string {
  return Array.from(label, byteText).join("");
}

function byteText(byte: number): string {
  const text = String.fromCharCode(byte);
  return /[A-Za-z0-9_-]/.test(text) ? text.toLowerCase() : `\\${String(byte).padStart(3, "0")}`;
}
