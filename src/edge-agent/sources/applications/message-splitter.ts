/**
 * Cuts a stream of bytes into messages, whatever pieces it comes in: frames of a length (u32, big-endian) and as many
 * bytes, or lines.
 *
 * Invariants: a message that lies in one piece is handed on where it lies; of others, what has come is held once, in room
 * that grows with it, so that a length alone costs nothing. No more is ever held than the limit.
 */

/** Takes messages: the bytes of `chunk` from `start` to before `end`, valid until it returns. */
export type TakeMessage = (chunk: Buffer, start: number, end: number) => void;

/** Why a stream cannot be read on. */
export type SplitFault = "too_large";

export interface Splitter {
  /** Bytes that are held for a message whose end has not come. */
  readonly heldBytes: number;
  /** Hands on every message that is whole now. After a fault nothing more may be pushed. */
  push(chunk: Buffer): SplitFault | undefined;
  /** The stream ended: whether a message had begun that did not end. */
  finish(): "whole" | "cut";
}

const LENGTH_BYTES = 4;
/** Room for the beginning of a message, in bytes. */
const ROOM_BYTES_LEAST = 4 * 1024;

export function createFrameSplitter(bytesMax: number, take: TakeMessage): Splitter {
  const held = new HeldBytes();
  let lengthBytes = 0;
  let length = 0;

  /** Goes on with the message that had begun; where the next one begins, or -1 for a fault. */
  const goOn = (chunk: Buffer): number => {
    let at = 0;
    while (lengthBytes < LENGTH_BYTES && at < chunk.length) {
      length = length * 256 + (chunk[at] ?? 0);
      lengthBytes += 1;
      at += 1;
    }
    if (lengthBytes < LENGTH_BYTES) return at;
    if (length > bytesMax) return -1;
    const missing = length - held.sizeBytes;
    if (chunk.length - at < missing) {
      held.add(chunk.subarray(at), length);
      return chunk.length;
    }
    if (held.sizeBytes === 0) take(chunk, at, at + length);
    else {
      held.add(chunk.subarray(at, at + missing), length);
      take(held.bytes, 0, length);
      held.clear();
    }
    lengthBytes = 0;
    length = 0;
    return at + missing;
  };

  return {
    get heldBytes() {
      return held.roomBytes;
    },
    push(chunk) {
      let at = lengthBytes > 0 ? goOn(chunk) : 0;
      while (at >= 0 && lengthBytes === 0 && chunk.length - at >= LENGTH_BYTES) {
        const size = chunk.readUInt32BE(at);
        if (size > bytesMax) return "too_large";
        const end = at + LENGTH_BYTES + size;
        if (end > chunk.length) break;
        take(chunk, at + LENGTH_BYTES, end);
        at = end;
      }
      if (at >= 0 && at < chunk.length) at = goOn(chunk.subarray(at));
      return at < 0 ? "too_large" : undefined;
    },
    finish: () => lengthBytes === 0 ? "whole" : "cut",
  };
}

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** Lines that end with LF or CRLF, the last one also with the stream; empty ones are no messages. */
export function createLineSplitter(bytesMax: number, take: TakeMessage): Splitter {
  const held = new HeldBytes();
  const takeLine = (chunk: Buffer, start: number, lineEnd: number): void => {
    const end = lineEnd > start && chunk[lineEnd - 1] === CARRIAGE_RETURN ? lineEnd - 1 : lineEnd;
    if (end > start) take(chunk, start, end);
  };
  return {
    get heldBytes() {
      return held.roomBytes;
    },
    push(chunk) {
      let at = 0;
      while (at < chunk.length) {
        const found = chunk.indexOf(LINE_FEED, at);
        const end = found < 0 ? chunk.length : found;
        if (held.sizeBytes + end - at > bytesMax) return "too_large";
        if (found < 0 || held.sizeBytes > 0) held.add(chunk.subarray(at, end), bytesMax);
        if (found < 0) return undefined;
        if (held.sizeBytes === 0) takeLine(chunk, at, end);
        else {
          takeLine(held.bytes, 0, held.sizeBytes);
          held.clear();
        }
        at = end + 1;
      }
      return undefined;
    },
    finish() {
      if (held.sizeBytes > 0) takeLine(held.bytes, 0, held.sizeBytes);
      held.clear();
      return "whole";
    },
  };
}

/** Bytes of one message, gathered piece by piece. */
class HeldBytes {
  bytes: Buffer = Buffer.alloc(0);
  sizeBytes = 0;

  get roomBytes(): number {
    return this.bytes.length;
  }

  /** Adds a copy; there will never be more than `bytesMax`. */
  add(piece: Uint8Array, bytesMax: number): void {
    const needed = this.sizeBytes + piece.length;
    if (needed > this.bytes.length) {
      const room = Math.min(bytesMax, Math.max(needed, 2 * this.bytes.length, ROOM_BYTES_LEAST));
      const grown = Buffer.allocUnsafeSlow(room);
      grown.set(this.bytes.subarray(0, this.sizeBytes));
      this.bytes = grown;
    }
    this.bytes.set(piece, this.sizeBytes);
    this.sizeBytes = needed;
  }

  clear(): void {
    this.bytes = Buffer.alloc(0);
    this.sizeBytes = 0;
  }
}
