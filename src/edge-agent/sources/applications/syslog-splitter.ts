/**
 * Cuts a stream into syslog messages by RFC 6587: those that begin with a digit are counted (`LENGTH SP MESSAGE`), all
 * others end with a line feed. Each message says anew which it is, as senders mix them.
 */
import type { Splitter, TakeMessage } from "./message-splitter.ts";

const [SPACE, LINE_FEED, CARRIAGE_RETURN, ZERO, NINE] = [0x20, 0x0a, 0x0d, 0x30, 0x39] as const;
/** Digits of a length. */
const LENGTH_DIGITS_MAX = 8;

export function createSyslogSplitter(bytesMax: number, take: TakeMessage): Splitter {
  /** What has come of a message that is not whole. */
  let held: Buffer = Buffer.alloc(0);
  let heldBytes = 0;
  /** Bytes that are needed before it is worth looking again: a long message is not looked through for each piece. */
  let neededBytes = 0;
  /** Up to here there is no line feed. */
  let searchedBytes = 0;

  const hold = (rest: Buffer): void => {
    if (heldBytes + rest.length > held.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(heldBytes + rest.length, 2 * held.length));
      grown.set(held.subarray(0, heldBytes));
      held = grown;
    }
    held.set(rest, heldBytes);
    heldBytes += rest.length;
  };
  /** Takes whole messages of bytes: where the first that is not whole begins, or -1 for a fault. */
  const takeAll = (bytes: Buffer): number => {
    let at = 0;
    while (at < bytes.length) {
      const first = bytes[at] ?? 0;
      const end = first > ZERO && first <= NINE ? takeCounted(bytes, at) : takeLine(bytes, at);
      if (end < 0) return -1;
      if (end === at) return at;
      at = end;
    }
    return at;
  };
  const takeCounted = (bytes: Buffer, start: number): number => {
    let length = 0;
    for (let at = start; at < bytes.length; at += 1) {
      const code = bytes[at] ?? 0;
      if (code === SPACE) {
        if (length > bytesMax) return -1;
        const end = at + 1 + length;
        if (end > bytes.length) {
          neededBytes = end - start;
          return start;
        }
        take(bytes, at + 1, end);
        return end;
      }
      if (code < ZERO || code > NINE || at - start >= LENGTH_DIGITS_MAX) return -1;
      length = length * 10 + code - ZERO;
    }
    return start;
  };
  const takeLine = (bytes: Buffer, start: number): number => {
    const end = bytes.indexOf(LINE_FEED, start + searchedBytes);
    if ((end < 0 ? bytes.length : end) - start > bytesMax) return -1;
    if (end < 0) {
      searchedBytes = bytes.length - start;
      return start;
    }
    searchedBytes = 0;
    const last = end > start && bytes[end - 1] === CARRIAGE_RETURN ? end - 1 : end;
    if (last > start) take(bytes, start, last);
    return end + 1;
  };

  return {
    get heldBytes() {
      return held.length;
    },
    push(chunk) {
      let bytes = chunk;
      if (heldBytes > 0) {
        hold(chunk);
        if (heldBytes < neededBytes) return undefined;
        bytes = held.subarray(0, heldBytes);
      }
      neededBytes = 0;
      const end = takeAll(bytes);
      if (end < 0) return "too_large";
      if (bytes !== chunk && end === 0) return undefined;
      const rest = bytes.subarray(end);
      held = Buffer.alloc(0);
      heldBytes = 0;
      if (rest.length > 0) hold(rest);
      return undefined;
    },
    finish() {
      if (heldBytes === 0) return "whole";
      const first = held[0] ?? 0;
      if (first > ZERO && first <= NINE) return "cut";
      take(held, 0, heldBytes);
      heldBytes = 0;
      return "whole";
    },
  };
}
