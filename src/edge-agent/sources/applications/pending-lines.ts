/**
 * Lines that came and that the agent has not taken yet.
 *
 * Invariants: lines keep their order; the number of those that came so far is a place in it, which becomes durable with
 * the lines before it. More than {@link PENDING_LENGTH_MAX} never wait: then `onFull` is to stop what brings them.
 */
import { LINES_LENGTH_MAX, type RingPosition } from "../../../producer/producer.ts";
import type { SourceChunk } from "../../source.ts";

/** Text that may wait before no more is read, in UTF-16 units. */
export const PENDING_LENGTH_MAX = 2 * 1024 * 1024;
/** Batches of messages that are awaited close so long after each other: each costs the agent and the archive some work. */
export const AWAITED_SPACING_MS = 3;

export interface PendingLinesOptions {
  /** Names the places of this run; those of an earlier one mean nothing. */
  readonly ring: string;
  /** Told when too much waits, and when there is room again. */
  readonly onFull: () => void;
  readonly onRoom: () => void;
}

export class PendingLines {
  readonly #options: PendingLinesOptions;
  #fields: string[] = [];
  #timesUs: number[] = [];
  #length = 0;
  #taken = 0;
  #isAwaited = false;
  #isFull = false;
  #wake: (() => void) | undefined;

  constructor(options: PendingLinesOptions) {
    this.#options = options;
  }

  /** Lines that came so far. */
  get total(): number {
    return this.#taken + this.#fields.length;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  add(fields: string, timeUs: number): void {
    this.#fields.push(fields);
    this.#timesUs.push(timeUs);
    this.#length += fields.length;
  }

  /** States that what was added is to be taken; `awaited` that somebody waits until it is durable. */
  settle(awaited: "awaited" | "not awaited"): void {
    if (awaited === "awaited") this.#isAwaited = true;
    this.#wake?.();
    if (this.#isFull || this.#length <= PENDING_LENGTH_MAX) return;
    this.#isFull = true;
    this.#options.onFull();
  }

  /** Resolves once there are lines, or the signal is aborted. */
  async ready(signal: AbortSignal): Promise<void> {
    if (this.#fields.length > 0 || signal.aborted) return;
    const woken = Promise.withResolvers<void>();
    this.#wake = woken.resolve;
    const abort = (): void => woken.resolve();
    signal.addEventListener("abort", abort, { once: true });
    await woken.promise;
    signal.removeEventListener("abort", abort);
    this.#wake = undefined;
  }

  /** The next lines, as many as may share a mark; undefined when none wait. */
  take(): SourceChunk | undefined {
    const count = this.#countOfChunk();
    if (count === 0) return undefined;
    const isAll = count === this.#fields.length;
    const fields = isAll ? this.#fields : this.#fields.splice(0, count);
    const timesUs = isAll ? this.#timesUs : this.#timesUs.splice(0, count);
    if (isAll) {
      this.#fields = [];
      this.#timesUs = [];
    }
    this.#length = isAll ? 0 : this.#length - lengthOf(fields);
    this.#taken += count;
    const flush = this.#isAwaited ? { spacingMs: AWAITED_SPACING_MS } : {};
    if (isAll) this.#isAwaited = false;
    return { fields, timesUs, position: this.#positionAt(this.#taken), ...flush };
  }

  /** To be called when what was taken is on its way. */
  makeRoom(): void {
    if (!this.#isFull || this.#length > PENDING_LENGTH_MAX / 2) return;
    this.#isFull = false;
    this.#options.onRoom();
  }

  #positionAt(position: number): RingPosition {
    return { ring: this.#options.ring, position };
  }

  #countOfChunk(): number {
    if (this.#length <= LINES_LENGTH_MAX) return this.#fields.length;
    let length = 0;
    const end = this.#fields.findIndex((text) => (length += text.length) > LINES_LENGTH_MAX);
    return end < 0 ? this.#fields.length : Math.max(1, end);
  }
}

function lengthOf(fields: readonly string[]): number {
  return fields.reduce((sum, text) => sum + text.length, 0);
}
