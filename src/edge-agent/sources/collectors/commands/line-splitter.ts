/**
 * Cuts a stream of bytes into lines. Pure.
 *
 * Invariants: any splitting of the same bytes gives the same lines; at most {@link LINE_BYTES_MAX} bytes are held, and what
 * a line has beyond is dropped, and said of it.
 */
import { LINE_BYTES_MAX } from "./line-event.ts";

export interface OutputLine {
  readonly bytes: Uint8Array;
  readonly isCut: boolean;
}

export interface LineSplitter {
  /** Lines that these bytes end; empty ones are left out. */
  push(bytes: Uint8Array): readonly OutputLine[];
  /** A last line without an end. */
  end(): readonly OutputLine[];
}

const NEWLINE = 10;
const RETURN = 13;

export function createLineSplitter(): LineSplitter {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  let isCut = false;
  const hold = (bytes: Uint8Array): void => {
    const room = bytes.subarray(0, LINE_BYTES_MAX - heldBytes);
    isCut ||= room.length < bytes.length;
    if (room.length > 0) held.push(room.slice());
    heldBytes += room.length;
  };
  const take = (): readonly OutputLine[] => {
    const whole = Buffer.concat(held);
    const bytes = whole.at(-1) === RETURN ? whole.subarray(0, -1) : whole;
    const line = { bytes, isCut };
    [held, heldBytes, isCut] = [[], 0, false];
    return bytes.length === 0 ? [] : [line];
  };
  return {
    push(bytes) {
      const lines: OutputLine[] = [];
      let from = 0;
      for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, from)) {
        hold(bytes.subarray(from, at));
        lines.push(...take());
        from = at + 1;
      }
      hold(bytes.subarray(from));
      return lines;
    },
    end: take,
  };
}
