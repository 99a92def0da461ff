/**
 * Addresses in an answer of the DNS (RFC 1035), for the one name that was asked for.
 *
 * Invariants: the bytes are hostile. Nothing outside them is read; a name's pointers only go back, so that none loops;
 * names, records and the work for all names of an answer are bounded. Only addresses count that belong to the name asked for, or to a name that the answer
 * says it stands for. What was cut off is missing, what came before it counts.
 */
import { ipv4Text, ipv6Text } from "./ip-text.ts";

/** Records looked at in one answer, and names that one name may stand for. */
const RECORDS_MAX = 128;
const ALIASES_MAX = 16;
/** Bytes of a name (RFC 1035, 2.3.4). */
const NAME_BYTES_MAX = 255;
/** Bytes of names followed in one answer: as many as different names that count can have. */
const ANSWER_NAME_BYTES_MAX = 4096;
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
  const readName = createNameReader(bytes);
  const question = readName(HEADER_BYTES);
  if (question === undefined || question.name === "" || question.next + 4 > bytes.length) {
    return undefined;
  }
  if (view.getUint16(question.next + 2) !== CLASS_IN) return undefined;
  const names = new Set([question.name]);
  const addresses: DnsAddress[] = [];
  let at = question.next + 4;
  const count = Math.min(view.getUint16(6), RECORDS_MAX);
  for (let record = 0; record < count; record += 1) {
    const owner = readName(at);
    if (owner === undefined || owner.next + 10 > bytes.length) break;
    const dataAt = owner.next + 10;
    const next = dataAt + view.getUint16(owner.next + 8);
    if (next > bytes.length) break;
    if (view.getUint16(owner.next + 2) === CLASS_IN && names.has(owner.name)) {
      const type = view.getUint16(owner.next);
      const target = type === TYPE_CNAME ? readName(dataAt) : undefined;
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

/** Reads the names at places of one answer; each once, since all its records may point to the same. */
function createNameReader(bytes: Uint8Array): (start: number) => ReadName | undefined {
  const known = new Map<number, ReadName | undefined>();
  let leftBytes = ANSWER_NAME_BYTES_MAX;
  return (start) => {
    const next = isPointer(bytes[start]) ? start + 2 : undefined;
    const at = next === undefined ? start : targetOf(bytes, { at: start, from: start });
    if (at === undefined) return undefined;
    if (!known.has(at)) {
      const read = readName(bytes, { start: at, readBytesMax: leftBytes });
      leftBytes -= read.readBytes;
      known.set(at, read.name);
    }
    const found = known.get(at);
    return found === undefined || next === undefined ? found : { name: found.name, next };
  };
}

function isPointer(length: number | undefined): boolean {
  return length !== undefined && length >= 0xc0;
}

/** Where the pointer at a place goes; undefined when that is not before `from`, or it is cut off. */
function targetOf(
  bytes: Uint8Array,
  { at, from }: { readonly at: number; readonly from: number },
): number | undefined {
  const [high, low] = [bytes[at], bytes[at + 1]];
  if (high === undefined || low === undefined) return undefined;
  const target = (high & 0x3f) * 256 + low;
  return target < from ? target : undefined;
}

/** The name at a place, pointers followed; undefined when it is none, not whole, or goes on beyond the limit. */
function readName(
  bytes: Uint8Array,
  { start, readBytesMax }: { readonly start: number; readonly readBytesMax: number },
): { readonly name: ReadName | undefined; readonly readBytes: number } {
  let text = "";
  let at = start;
  /** Where the part that is being read began: pointers must go before it. */
  let from = start;
  let next: number | undefined;
  let sizeBytes = 1;
  let readBytes = 0;
  while (true) {
    const length = bytes[at];
    readBytes += length === undefined || isPointer(length) ? 2 : length + 1;
    if (length === undefined || readBytes > readBytesMax) return { name: undefined, readBytes };
    if (length === 0) return { name: { name: text, next: next ?? at + 1 }, readBytes };
    if (isPointer(length)) {
      const target = targetOf(bytes, { at, from });
      if (target === undefined) return { name: undefined, readBytes };
      next ??= at + 2;
      at = from = target;
      continue;
    }
    sizeBytes += length + 1;
    // 0x40 and 0x80 begin no label that anyone uses.
    if (length > 63 || sizeBytes > NAME_BYTES_MAX || at + 1 + length > bytes.length) {
      return { name: undefined, readBytes };
    }
    if (text !== "") text += ".";
    for (const end = at + 1 + length; ++at < end;) text += BYTE_TEXTS[bytes[at] ?? 0];
  }
}

/** How each byte of a label is written. */
const BYTE_TEXTS: readonly string[] = Array.from({ length: 256 }, (_, byte) => {
  const text = String.fromCharCode(byte);
  return /[A-Za-z0-9_-]/.test(text) ? text.toLowerCase() : `\\${String(byte).padStart(3, "0")}`;
});
