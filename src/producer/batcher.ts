/**
 * Collects lines into batches: decides when a batch closes and which lines never enter one.
 *
 * Invariants: lines keep their order; a mark stays with the batch that holds the last line before it, and with all lines
 * that are added together with it; lines without a mark never make a batch larger than its limit, however many come at
 * once; what is refused is counted, never dropped in silence.
 */
import { BACKLOG_JSON_BYTES, BATCH_JSON_BYTES } from "../event/wire.ts";
import type { Lane, Lines, Mark, RingPosition, RingPositions } from "./producer.ts";

/** Lines of one batch that is closed but not yet encoded. */
export interface ClosedLines {
  readonly lane: Lane;
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
  /** Of all its batches. */
  readonly lane: Lane;
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
  /** Of the open batch, as {@link ClosedLines.weight}. */
  readonly weight: number;
  append(fields: string, timeUs: number): void;
  mark(name: string, position: RingPosition): void;
  /** Puts lines and their mark into one batch, which closes before or after them; without a mark, line by line. */
  appendAll(lines: Lines, mark: Mark | undefined): void;
  /** Takes what is open; undefined when that is nothing. */
  close(): ClosedLines | undefined;
}

/** What `{"idx":n,` and the line's end weigh. */
const LINE_OVERHEAD = 16;
/** A longer line is refused: alone it would be more than a batch may ever hold. In UTF-16 units. */
export const LINE_LENGTH_MAX = BACKLOG_JSON_BYTES - LINE_OVERHEAD;

export function createBatcher(options: BatcherOptions): Batcher {
  const { lane, isBacklog, onFull, onOpen, onRefused } = options;
  let fields: string[] = [];
  let timesUs: number[] = [];
  let weight = 0;
  let positions: Record<string, RingPosition> | undefined;

  const close = (): ClosedLines | undefined => {
    if (fields.length === 0 && positions === undefined) return undefined;
    const closed = { lane, fields, timesUs, positions, weight };
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

  const isTooMuch = (more: number): boolean =>
    weight + more > BATCH_JSON_BYTES && !fitsBacklog(weight + more, isBacklog);
  const push = (text: string, timeUs: number): void => {
    if (weight === 0 && positions === undefined) onOpen();
    fields.push(text);
    timesUs.push(timeUs);
    weight += text.length + LINE_OVERHEAD;
  };
  const mark = (name: string, position: RingPosition): void => {
    if (weight === 0 && positions === undefined) onOpen();
    positions = { ...positions, [name]: position };
  };

  const append = (text: string, timeUs: number): void => {
    const size = text.length + LINE_OVERHEAD;
    if (isTooMuch(size)) {
      if (text.length > LINE_LENGTH_MAX) return onRefused(size, timeUs);
      if (fields.length > 0) closeFull();
    }
    push(text, timeUs);
  };

  return {
    get weight() {
      return weight;
    },
    append,
    appendAll(lines, covered) {
      if (covered === undefined) {
        lines.fields.forEach((text, place) => append(text, lines.timesUs[place] ?? 0));
        return;
      }
      const size = lines.fields.reduce((sum, text) => sum + text.length + LINE_OVERHEAD, 0);
      if (fields.length > 0 && isTooMuch(size)) closeFull();
      lines.fields.forEach((text, place) => {
        const timeUs = lines.timesUs[place] ?? 0;
        if (text.length > LINE_LENGTH_MAX) onRefused(text.length + LINE_OVERHEAD, timeUs);
        else push(text, timeUs);
      });
      mark(covered.name, covered.position);
      if (isTooMuch(0)) closeFull();
    },
    mark,
    close,
  };
}

function fitsBacklog(weight: number, isBacklog: () => boolean): boolean {
  return weight <= BACKLOG_JSON_BYTES && isBacklog();
}
