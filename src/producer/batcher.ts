/**
 * Collects lines into batches: decides when a batch closes and which lines never enter one.
 *
 * Invariants: lines keep their order; a mark stays with the batch that holds the last line before it; what is refused
 * is counted, never dropped in silence.
 */
import { BACKLOG_JSON_BYTES, BATCH_JSON_BYTES } from "../event/wire.ts";
import type { RingPosition, RingPositions } from "./producer.ts";

/** Lines of one batch that is closed but not yet encoded. */
export interface ClosedLines {
  /** Text of each line after its opening brace, without `idx`. */
  readonly fields: readonly string[];
  /** Time of each line, µs since the Unix epoch. */
  readonly timesUs: readonly number[];
  /** Ring positions these lines reach, and those before them. */
  readonly positions: RingPositions | undefined;
  /** About how much JSON it is: UTF-16 units, which no byte count exceeds threefold. */
  readonly weight: number;
}

export interface BatcherOptions {
  /** Whether so many batches wait that new ones close at 4 MiB instead of 256 KiB. */
  readonly isBacklog: () => boolean;
  /** Takes a batch that closed because it is full. */
  readonly onFull: (lines: ClosedLines) => void;
  /** Told of the first line or mark of a batch: time to start its flush interval. */
  readonly onOpen: () => void;
  /** Told of a line that is too large for any batch. */
  readonly onRefused: (weight: number, timeUs: number) => void;
}

export interface Batcher {
  append(fields: string, timeUs: number): void;
  mark(name: string, position: RingPosition): void;
  /** Takes what is open; undefined when that is nothing. */
  close(): ClosedLines | undefined;
}

/** What `{"idx":n,` and the line's end weigh. */
const LINE_OVERHEAD = 16;
/** A longer line is refused: alone it would be more than a batch may ever hold. In UTF-16 units. */
export const LINE_LENGTH_MAX = BACKLOG_JSON_BYTES - LINE_OVERHEAD;

export function createBatcher(options: BatcherOptions): Batcher {
  const { isBacklog, onFull, onOpen, onRefused } = options;
  let fields: string[] = [];
  let timesUs: number[] = [];
  let weight = 0;
  let positions: Record<string, RingPosition> | undefined;

  const close = (): ClosedLines | undefined => {
    if (fields.length === 0 && positions === undefined) return undefined;
    const closed = { fields, timesUs, positions, weight };
    fields = [];
    timesUs = [];
    weight = 0;
    positions = undefined;
    return closed;
  };
  const closeFull = (): void => {
    const closed = close();
    if (closed !== undefined) onFull(closed);
  };

  return {
    append(text, timeUs) {
      const size = text.length + LINE_OVERHEAD;
      if (weight + size > BATCH_JSON_BYTES && !fitsBacklog(weight + size, isBacklog)) {
        if (text.length > LINE_LENGTH_MAX) return onRefused(size, timeUs);
        if (fields.length > 0) closeFull();
      }
      if (weight === 0 && positions === undefined) onOpen();
      fields.push(text);
      timesUs.push(timeUs);
      weight += size;
    },
    mark(name, position) {
      if (weight === 0 && positions === undefined) onOpen();
      positions = { ...positions, [name]: position };
    },
    close,
  };
}

function fitsBacklog(weight: number, isBacklog: () => boolean): boolean {
  return weight <= BACKLOG_JSON_BYTES && isBacklog();
}
