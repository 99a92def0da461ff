/**
 * A collector as a source of the agent.
 *
 * Invariant: an event is told at least once, and once only as long as the spool is whole: it is committed with what the
 * collector remembers, handed out with its number as the position, and kept until the spool has made that position
 * durable; a start hands out again what the spool has not.
 */
import { join } from "node:path";
import type { RingPosition } from "../../../producer/producer.ts";
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import type { Source, SourceChunk, SourceLoss } from "../../source.ts";
import type { Collector } from "./collector.ts";
import { type CollectedLine, type CollectorState, openCollectorState } from "./collector-state.ts";

/** Text of one chunk, at most (the last line may go beyond). */
const CHUNK_CHARACTERS_MAX = 384 * 1024;
/** At most this many different losses between two askings. */
const LOSSES_MAX = 32;

export interface CollectorSourceOptions {
  readonly collector: Collector;
  readonly dataDirectory: string;
  /** Position of the spool's newest line of this source. */
  readonly position: RingPosition | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** Opens nothing yet. */
export function createCollectorSource(options: CollectorSourceOptions): Source {
  return new CollectorReader(options);
}

class CollectorReader implements Source {
  readonly name: string;
  readonly lane = "critical";
  readonly spoolPartMax?: number;
  readonly #options: CollectorSourceOptions;
  #state: CollectorState | undefined;
  #losses: SourceLoss[] = [];
  #submitted = 0;
  /** Number of the last line that was handed out. */
  #handedOut = 0;
  readonly #closing = new AbortController();

  constructor(options: CollectorSourceOptions) {
    this.#options = options;
    this.name = options.collector.name;
    const { spoolPartMax } = options.collector;
    if (spoolPartMax !== undefined) this.spoolPartMax = spoolPartMax;
  }

  probe() {
    return this.#options.collector.probe();
  }

  status() {
    return this.#options.collector.status?.();
  }

  async *start(signal: AbortSignal): AsyncGenerator<SourceChunk> {
    const { collector, clock, log } = this.#options;
    const state = this.#openState();
    for (;;) {
      const left = state.pending(this.#handedOut);
      if (left.length === 0) break;
      yield* this.#chunks(left);
    }
    const context = { clock, log, lost: (loss: SourceLoss) => this.#lost(loss) };
    const either = AbortSignal.any([signal, this.#closing.signal]);
    for await (const collection of collector.collect(state.memory, context, either)) {
      if (this.#closing.signal.aborted) return;
      yield* this.#chunks(state.commit(collection));
    }
  }

  release({ ring, position }: RingPosition): void {
    if (this.#state?.id === ring) this.#state.release(position);
  }

  losses(): readonly SourceLoss[] {
    const told = this.#losses;
    this.#losses = [];
    return told;
  }

  counters() {
    const submitted = this.#submitted;
    const none = { ringFull: 0, filtered: 0, throttled: 0, readFault: 0, truncated: 0 };
    return { attempted: submitted, submitted, ...none };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#state?.[Symbol.dispose]();
    this.#state = undefined;
    return Promise.resolve();
  }

  /** What the spool has is forgotten, what it has not is told again. */
  #openState(): CollectorState {
    if (this.#state !== undefined) return this.#state;
    const { dataDirectory, position } = this.#options;
    const state = openCollectorState(join(dataDirectory, `agent-${this.name}.db`));
    this.#state = state;
    if (state.wasDamaged) {
      this.#lost({
        class: "state",
        count: null,
        reason: `what the ${this.name} source knew could not be read and was put aside`,
      });
    }
    if (position?.ring === state.id) {
      state.release(position.position);
      this.#handedOut = position.position;
    }
    return state;
  }

  *#chunks(lines: readonly CollectedLine[]): Generator<SourceChunk> {
    const ring = this.#state?.id ?? "";
    const last = lines.at(-1);
    let [fields, timesUs, characters]: [string[], number[], number] = [[], [], 0];
    for (const line of lines) {
      fields.push(line.fields);
      timesUs.push(line.timeUs);
      characters += line.fields.length;
      if (characters < CHUNK_CHARACTERS_MAX && line !== last) continue;
      yield { fields, timesUs, position: { ring, position: line.number } };
      // Not before it was taken: what was not is handed out again by the next start.
      this.#handedOut = line.number;
      this.#submitted += fields.length;
      [fields, timesUs, characters] = [[], [], 0];
    }
  }

  /** What is told twice between two askings is one loss, of both counts. */
  #lost(loss: SourceLoss): void {
    const at = this.#losses.findIndex(({ reason }) => reason === loss.reason);
    const known = this.#losses[at];
    if (known !== undefined) {
      const isKnown = known.count !== null && loss.count !== null;
      const count = isKnown ? Number(known.count) + Number(loss.count) : null;
      this.#losses[at] = { ...known, count };
    } else if (this.#losses.length < LOSSES_MAX) this.#losses.push(loss);
  }
}
