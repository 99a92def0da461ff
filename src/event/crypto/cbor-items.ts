/**
 * Cuts a CBOR sequence (RFC 8742) that arrives in pieces into its items, and refuses what crypto-auditing never writes
 * before anything is built of it: tags, floats, indefinite lengths, numbers that are longer than need be, deep nesting,
 * large items, text that is no UTF-8. Iterative: no input makes it deep.
 *
 * Invariants: what waits is never more than one item and one piece; a refusal names the place in the sequence; pieces cut
 * anywhere give the same items.
 */
import { isUtf8 } from "node:buffer";

/** Largest item, in bytes: what crypto-auditing's broker takes for a frame. */
export const ITEM_BYTES_MAX = 8 * 1024 * 1024;
/** A group, its events, one of them, its members. */
const DEPTH_MAX = 4;
/** Events of a group. */
export const ARRAY_ENTRIES_MAX = 65_536;
/** No map of the format has more than 4. */
const MAP_ENTRIES_MAX = 8;
const FIRST_ROOM_BYTES = 4_096;

export interface CborItem {
  /** Valid until the next item is asked for. */
  readonly bytes: Uint8Array;
  /** Of its first byte in the sequence. */
  readonly offset: number;
}

export interface CborItems {
  /** Items that are whole with this piece. Throws a {@link CborFault}, after which it cannot go on. */
  push(piece: Uint8Array): Generator<CborItem, void, undefined>;
  /** Bytes of an item that is not whole. */
  pendingBytes(): number;
}

/** Input that is refused, and where. */
export class CborFault extends Error {
  /** In bytes from the begin of the sequence. */
  readonly offset: number;

  constructor(offset: number, fault: string) {
    super(`Cannot read CBOR at byte ${offset}: ${fault}`);
    this.name = "CborFault";
    this.offset = offset;
  }
}

/** `firstOffset`: of the first byte that is pushed. */
export function createCborItems(firstOffset = 0): CborItems {
  let room = new Uint8Array(FIRST_ROOM_BYTES);
  let length = 0;
  /** Where the room begins in the sequence. */
  let base = firstOffset;
  /** Where the open item begins, and up to where it was looked at, in the room. */
  let start = 0;
  let at = 0;
  /** Entries still to come, of each array and map that is open. */
  const open: number[] = [];

  const take = (piece: Uint8Array): void => {
    room.copyWithin(0, start, length);
    base += start;
    length -= start;
    at -= start;
    start = 0;
    if (length + piece.length > room.length) {
      const larger = new Uint8Array(Math.max(2 * room.length, length + piece.length));
      larger.set(room.subarray(0, length));
      room = larger;
    }
    room.set(piece, length);
    length += piece.length;
  };
  /** Looks at one head and what it holds; false when more bytes are needed. */
  const step = (): boolean => {
    const head = readHead(room.subarray(at, length), base + at);
    if (head === undefined) return false;
    const { major, argument, sizeBytes } = head;
    let end = at + sizeBytes;
    if (major === BYTES || major === TEXT) {
      if (end - start + argument > ITEM_BYTES_MAX) throw tooLarge(base + at);
      if (end + argument > length) return false;
      if (major === TEXT && !isUtf8(room.subarray(end, end + argument))) {
        throw new CborFault(base + at, "the text is not UTF-8");
      }
      end += argument;
    }
    const entries = entriesOf(head, base + at);
    if (entries > 0 && open.length === DEPTH_MAX) {
      throw new CborFault(base + at, `it is nested more than ${DEPTH_MAX} deep`);
    }
    at = end;
    if (at - start > ITEM_BYTES_MAX) throw tooLarge(base + at);
    if (entries > 0) open.push(entries);
    else close();
    return true;
  };
  const close = (): void => {
    while (open.length > 0) {
      const left = (open.pop() ?? 0) - 1;
      if (left > 0) return void open.push(left);
    }
  };
  return {
    *push(piece) {
      take(piece);
      while (at < length && step()) {
        if (open.length > 0) continue;
        const item = { bytes: room.subarray(start, at), offset: base + start };
        start = at;
        yield item;
      }
    },
    pendingBytes: () => length - start,
  };
}

const [BYTES, TEXT, ARRAY, MAP, TAG] = [2, 3, 4, 5, 6] as const;

interface Head {
  readonly major: number;
  /** A value or a length; beyond 2^53 it is rounded, and no length then. */
  readonly argument: number;
  readonly sizeBytes: number;
}

/** The head that begins here; undefined when it is not whole. */
function readHead(bytes: Uint8Array, offset: number): Head | undefined {
  const [first = 0] = bytes;
  const major = first >> 5;
  const minor = first & 31;
  if (major === TAG) throw new CborFault(offset, "a tag, which the format has not");
  if (major > TAG) throw new CborFault(offset, "a float or simple value, which the format has not");
  if (minor === 31) throw new CborFault(offset, "a length that is indefinite");
  if (minor > 27) throw new CborFault(offset, "a length of a reserved form");
  if (minor < 24) return { major, argument: minor, sizeBytes: 1 };
  const width = 2 ** (minor - 24);
  if (bytes.length <= width) return undefined;
  let argument = 0;
  for (let place = 1; place <= width; place++) argument = argument * 256 + (bytes[place] ?? 0);
  if (argument < (width === 1 ? 24 : 2 ** (4 * width))) {
    throw new CborFault(offset, "a number that is longer than need be");
  }
  return { major, argument, sizeBytes: 1 + width };
}

/** Items that an array or map still has to hold; 0 for everything else. */
function entriesOf({ major, argument }: Head, offset: number): number {
  if (major === ARRAY) {
    if (argument <= ARRAY_ENTRIES_MAX) return argument;
    throw new CborFault(offset, `an array of more than ${ARRAY_ENTRIES_MAX} entries`);
  }
  if (major !== MAP) return 0;
  if (argument <= MAP_ENTRIES_MAX) return 2 * argument;
  throw new CborFault(offset, `a map of more than ${MAP_ENTRIES_MAX} entries`);
}

function tooLarge(offset: number): CborFault {
  return new CborFault(offset, `an item of more than ${ITEM_BYTES_MAX} bytes`);
}
