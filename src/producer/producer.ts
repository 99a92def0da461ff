/**
 * The producer as its users see it: every process that puts events into the log owns one (batcher, spool, publisher).
 *
 * Invariants: what {@link Producer.flush} has resolved for is on disk; batches leave in order, one at a time; nothing
 * leaves the spool before the archive's watermark covers it.
 */
import type { AuditEvent } from "../event/event.ts";
import type { ReadBack, ReadBackListener } from "./read-back.ts";

/** Place in a source's ring buffer up to which records are covered. */
export interface RingPosition {
  /** Which ring: it changes when a ring is made anew, and then positions of the old one mean nothing. */
  readonly ring: string;
  /** Consumer position, in bytes since the ring was made. */
  readonly position: number;
  /**
   * Losses of that ring already reported as `agent/gap` events, by class: kept with the position, so that a restarted
   * source reports each loss once.
   */
  readonly lost?: Readonly<Record<string, number>>;
}

/** Positions by name of the ring. */
export type RingPositions = Readonly<Record<string, RingPosition>>;

/**
 * What goes first when room runs out: bulk does, critical only when nothing else is left. Each lane has batches of its
 * own, so that one can go without the other.
 */
export type Lane = "critical" | "bulk";

/** Several lines: their texts as {@link Producer.append} takes them, and as many times. */
export interface Lines {
  readonly fields: readonly string[];
  readonly timesUs: readonly number[];
}

/** Most text of lines that share a mark, in UTF-16 units; it bounds how far a batch grows past its size. */
export const LINES_LENGTH_MAX = 1024 * 1024;

export interface Mark {
  readonly name: string;
  readonly position: RingPosition;
}

/** Where lines of a source go, and what of its ring they cover. */
export interface LinesOptions {
  /** The same one for all lines of a ring; critical by default. */
  readonly lane?: Lane;
  readonly mark?: Mark;
  /**
   * Closes the batch that they are in once what was closed before is on disk, because somebody waits until it is durable;
   * so many milliseconds after the batch before it at the earliest, and later while a long backlog waits for the broker.
   * When it is full or its interval over by default.
   */
  readonly spacingMs?: number;
}

export interface ProducerCounters {
  readonly eventsAppended: number;
  readonly batchesClosed: number;
  readonly batchesPublished: number;
  readonly batchesResent: number;
  readonly batchesReleased: number;
  /** Events whose batches the spool could not keep; each batch is sent as a void. */
  readonly eventsVoided: number;
  /** Events that never became part of a batch; an `agent/gap` event tells of them. */
  readonly eventsLost: number;
  readonly spoolBytes: number;
  readonly spoolBatches: number;
}

export interface Producer extends AsyncDisposable {
  readonly agent: string;
  readonly host: string;
  /** Positions of the newest batch on disk: where a restarted source reads on. */
  readonly positions: RingPositions;

  /** Adds an event to the open critical batch. */
  emit(event: AuditEvent): void;

  /**
   * Adds a line to the open critical batch without building an event: the text of its JSON object after the opening brace,
   * without `idx` (see `lineFields`), and its time in µs. Text must be valid UTF-16 without lone surrogates.
   */
  append(fields: string, timeUs: number): void;

  /**
   * States that every record of a ring up to a position was appended, to the critical lane. Durable with the batch that
   * is open now.
   */
  mark(name: string, position: RingPosition): void;

  /**
   * Adds lines, and the mark that covers them, to one batch: they become durable together or not at all. With a mark,
   * at most {@link LINES_LENGTH_MAX} UTF-16 units of text; without one, any number of lines, over as many batches.
   */
  appendAll(lines: Lines, options?: LinesOptions): void;

  /** Called with the marks that a batch, just fsynced, covers. Returns a function that ends the calls. */
  onDurable(listener: (positions: RingPositions) => void): () => void;

  /**
   * Resolves once there is room for more: a source that appends in bulk awaits it between chunks. With a part (up to 1)
   * also not before so much of the spool is free that no more than the part is taken: for what can wait elsewhere.
   */
  writable(signal?: AbortSignal, spoolPartMax?: number): Promise<void>;

  /** Closes the open batches; resolves when it and all before it are on disk. */
  flush(): Promise<void>;

  /** Reads every batch that the broker takes from now on back from the log, until what is returned is disposed of. */
  readBack(listener: ReadBackListener): ReadBack;

  /** Batches on disk that the broker has not taken yet. */
  unpublished(): number;

  counters(): ProducerCounters;
}
