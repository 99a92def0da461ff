/**
 * What a live client has not taken yet: bounded, since a client may read as slowly as it likes. When it is full, what
 * comes is left out and counted until the client has taken all that waits, and then it is told.
 *
 * Invariant: the order of the stream is kept, and whatever is left out stands in a gap at its place.
 */

/** A row of the record on its way to a client. */
export interface TailRow {
  readonly incarnation: string;
  readonly sequence: number;
  readonly idx: number;
  /** The event as JSON. */
  readonly json: string;
}

/** Rows that were left out because the client was too slow. */
export interface Skipped {
  readonly count: number;
  /** One of each stream, in the order in which they were left out first. */
  readonly ranges: readonly SkippedRange[];
}

/** Rows of one stream that were left out. */
export interface SkippedRange {
  readonly first: TailRow;
  readonly last: TailRow;
  /** Times of the earliest and the latest event of them, as answers have them. */
  readonly earliest: string;
  readonly latest: string;
}

export type Taken =
  | { readonly kind: "rows"; readonly rows: readonly TailRow[] }
  | { readonly kind: "skipped"; readonly skipped: Skipped }
  /** Nothing came within the time. */
  | { readonly kind: "quiet" }
  /** The live stream no longer continues what the client has: it must catch up. */
  | { readonly kind: "broken" }
  | { readonly kind: "closed" };

export interface LiveQueueOptions {
  readonly rowsMax: number;
  /** Bound of waiting JSON, in characters. */
  readonly lengthMax: number;
  /** Whether others wait a moment for the client when it fills; they do by default. */
  readonly isWaitedFor?: boolean;
}

export const QUEUE_ROWS_MAX = 10_000;
export const QUEUE_LENGTH_MAX = 8 * 1024 * 1024;

const LIMITS: LiveQueueOptions = { rowsMax: QUEUE_ROWS_MAX, lengthMax: QUEUE_LENGTH_MAX };

export function createLiveQueue({ isDurable }: { readonly isDurable: boolean }): LiveQueue {
  return new LiveQueue({ ...LIMITS, isWaitedFor: !isDurable });
}

export class LiveQueue {
  readonly #options: LiveQueueOptions;
  #rows: TailRow[] = [];
  #length = 0;
  #skipped: { count: number; ranges: Map<string, SkippedRange> } | undefined;
  #isBroken = false;
  #isClosed = false;
  #wake: () => void = () => undefined;

  constructor(options: LiveQueueOptions = LIMITS) {
    this.#options = options;
  }

  get hasSkipped(): boolean {
    return this.#skipped !== undefined;
  }

  /** Whether the next rows may not fit, though the client has kept up until now. */
  get isFilling(): boolean {
    const { rowsMax, lengthMax, isWaitedFor = true } = this.#options;
    if (!isWaitedFor) return false;
    const isHalfFull = this.#rows.length > rowsMax / 2 || this.#length > lengthMax / 2;
    return isHalfFull && this.#skipped === undefined && !this.#isBroken && !this.#isClosed;
  }

  push(rows: readonly TailRow[]): void {
    const { rowsMax, lengthMax } = this.#options;
    for (const row of rows) {
      const isFull = this.#rows.length >= rowsMax || this.#length + row.json.length > lengthMax;
      if (this.#skipped === undefined && !(isFull && this.#rows.length > 0)) {
        this.#rows.push(row);
        this.#length += row.json.length;
        continue;
      }
      this.#skipped ??= { count: 0, ranges: new Map() };
      this.#skipped.count += 1;
      const { ranges } = this.#skipped;
      ranges.set(row.incarnation, withRow(ranges.get(row.incarnation), row));
    }
    if (rows.length > 0) this.#wake();
  }

  /** From now on only {@link Taken} of kind `broken` is given, after what waits was forgotten. */
  break(): void {
    this.#isBroken = true;
    this.#rows = [];
    this.#length = 0;
    this.#skipped = undefined;
    this.#wake();
  }

  /** What waits is still given, then `closed`. */
  close(): void {
    this.#isClosed = true;
    this.#wake();
  }

  async take(options: { readonly signal: AbortSignal; readonly quietMs: number }): Promise<Taken> {
    const { signal, quietMs } = options;
    if (this.#isIdle && !signal.aborted) await this.#untilSomething(signal, quietMs);
    if (signal.aborted) return { kind: "closed" };
    if (this.#isBroken) return { kind: "broken" };
    if (this.#rows.length > 0) {
      const rows = this.#rows;
      this.#rows = [];
      this.#length = 0;
      return { kind: "rows", rows };
    }
    if (this.#skipped !== undefined) {
      const { count, ranges } = this.#skipped;
      this.#skipped = undefined;
      return { kind: "skipped", skipped: { count, ranges: [...ranges.values()] } };
    }
    return this.#isClosed ? { kind: "closed" } : { kind: "quiet" };
  }

  get #isIdle(): boolean {
    const hasWork = this.#rows.length > 0 || this.#skipped !== undefined;
    return !hasWork && !this.#isBroken && !this.#isClosed;
  }

  #untilSomething(signal: AbortSignal, quietMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        this.#wake = () => undefined;
        resolve();
      };
      const timer = setTimeout(done, quietMs);
      this.#wake = done;
      signal.addEventListener("abort", done);
    });
  }
}

function withRow(range: SkippedRange | undefined, row: TailRow): SkippedRange {
  const time = TIME.exec(row.json)?.[1] ?? "";
  if (range === undefined) return { first: row, last: row, earliest: time, latest: time };
  return {
    first: range.first,
    last: row,
    earliest: time < range.earliest ? time : range.earliest,
    latest: time > range.latest ? time : range.latest,
  };
}

/** The members of an event begin with these two. */
const TIME = /^\{"id":"[^"]*","time":"([^"]*)"/;
