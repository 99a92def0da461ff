/**
 * One process's turn at a sink: whoever has it feeds the sink, and writes down how far.
 *
 * Invariants: a place is written only over the entry that was seen; somebody else's change of any kind ends the turn.
 * A turn that could not be renewed ends here before it ends for others.
 */
import { randomBytes } from "node:crypto";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Registry, RegistryEntry } from "../../storage/registry.ts";
import type { SinkState } from "../../storage/sink.ts";

export interface TurnOptions {
  readonly registry: Registry<SinkState>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A turn ends by itself after so long without a renewal, for its holder a little earlier; in milliseconds. */
export const TURN_MS = 30_000;
const HELD_MS = 25_000;
const RENEWAL_MS = 8_000;
/** A turn that ends later than this is one of a clock that was wrong, in µs. */
const TURN_FAR_US = 600_000_000;

export class TurnOverError extends Error {
  override readonly name = "TurnOverError";
}

export function isInTurn({ turn }: Pick<SinkState, "turn">, nowUs: number): boolean {
  return turn !== undefined && turn.untilUs > nowUs && turn.untilUs - nowUs <= TURN_FAR_US;
}

/** Takes the turn; undefined while another process has it. */
export async function takeTurn(
  name: string,
  { create, signal, ...options }: TurnOptions & {
    readonly create: () => Promise<SinkState>;
    readonly signal: AbortSignal;
  },
): Promise<SinkTurn | undefined> {
  const { registry, clock } = options;
  const session = randomBytes(8).toString("hex");
  if (await registry.get(name, { signal }) === undefined) {
    await registry.create(name, await create(), { signal });
  }
  signal.throwIfAborted();
  // Not broken off: what may have been written would keep others from it until it ends by itself.
  const entry = await registry.change(name, (current) => {
    if (current === undefined || isInTurn(current, clock.nowUs())) return undefined;
    return { ...current, turn: turnOf(session, clock) };
  });
  if (entry?.value.turn?.session !== session) return undefined;
  const turn = new SinkTurn(entry, { ...options, session });
  if (!signal.aborted) return turn;
  await turn[Symbol.asyncDispose]();
  throw signal.reason;
}

/** Guards the entry that was seen last; one change at a time. */
export class SinkTurn implements AsyncDisposable {
  readonly #options: TurnOptions & { readonly session: string };
  readonly #end = new AbortController();
  readonly #renewals: Promise<void>;
  #entry: RegistryEntry<SinkState>;
  #heldMs = performance.now();
  #work: Promise<unknown> = Promise.resolve();
  #retries = 0;
  /** What is written with the next change or renewal, and at the latest when the turn is given back. */
  #later: readonly Change[] = [];
  #fault: string | undefined;

  constructor(entry: RegistryEntry<SinkState>, options: TurnOptions & { session: string }) {
    this.#entry = entry;
    this.#options = options;
    this.#fault = entry.value.fault;
    this.#renewals = this.#renew();
  }

  get state(): SinkState {
    return this.#entry.value;
  }

  /** Aborted once the turn is over. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** Notes a failed attempt; it is written with the next change or renewal. */
  failed(reason: string): void {
    this.#retries += 1;
    this.#fault = reason;
  }

  succeeded(): void {
    this.#fault = undefined;
  }

  /** Writes it with the next change or renewal; what stays unwritten comes again. */
  noteLater(change: Change): void {
    this.#later = [...this.#later, change];
  }

  /** Writes what has changed. Throws {@link TurnOverError} when somebody else has changed the sink. */
  async note(change: Change = (state) => state): Promise<void> {
    const done = this.#work.then(() => this.#write(change));
    this.#work = Promise.allSettled([done]);
    await done;
  }

  async #write(change: Change): Promise<void> {
    this.#end.signal.throwIfAborted();
    const { registry, session, clock } = this.#options;
    const retries = this.#retries;
    const later = this.#later;
    const value = change(applied(later, this.state));
    const written = await registry.replace(this.#entry, {
      ...value,
      turn: turnOf(session, clock),
      retries: value.retries + retries,
      fault: this.#fault,
    });
    if (written === undefined) throw this.#over("somebody else changed it");
    this.#retries -= retries;
    this.#later = this.#later.slice(later.length);
    this.#heldMs = performance.now();
    this.#entry = written;
  }

  async #renew(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#end;
    while (!signal.aborted) {
      await Promise.allSettled([clock.sleep(RENEWAL_MS, signal)]);
      if (signal.aborted) return;
      const renewed = this.note().catch((error: unknown) => {
        if (error instanceof TurnOverError) return;
        log.warn("a sink's turn was not renewed", {
          sink: this.#entry.name,
          error: String(error),
        });
      });
      // A write that does not come back must not hold the turn either.
      const leftMs = HELD_MS - (performance.now() - this.#heldMs);
      await Promise.race([
        renewed,
        Promise.allSettled([clock.sleep(Math.max(0, leftMs), signal)]),
      ]);
      if (performance.now() - this.#heldMs >= HELD_MS) this.#over("its turn could not be renewed");
    }
  }

  #over(why: string): unknown {
    this.#end.abort(new TurnOverError(`Cannot go on with sink "${this.#entry.name}": ${why}`));
    return this.#end.signal.reason;
  }

  /** Gives the turn back. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort(new TurnOverError(`The turn at sink "${this.#entry.name}" was given back`));
    await this.#renewals;
    await this.#work;
    await this.#giveBack().catch((error: unknown) =>
      this.#options.log.warn("a sink's turn was not given back", {
        sink: this.#entry.name,
        error: String(error),
      })
    );
  }

  async #giveBack(): Promise<void> {
    const { registry, session } = this.#options;
    const [retries, fault] = [this.#retries, this.#fault];
    const given = (state: SinkState): SinkState => ({
      ...{ ...state, turn: undefined, retries: state.retries + retries, fault },
    });
    const isMine = this.state.turn?.session === session;
    const last = given(applied(this.#later, this.state));
    if (isMine && await registry.replace(this.#entry, last) !== undefined) return;
    // Somebody put the sink elsewhere: what was to be written is of the place before.
    await registry.change(
      this.#entry.name,
      (current) => current?.turn?.session === session ? given(current) : undefined,
    );
  }
}

type Change = (state: SinkState) => SinkState;

function applied(changes: readonly Change[], state: SinkState): SinkState {
  return changes.reduce((changed, change) => change(changed), state);
}

function turnOf(session: string, clock: Clock): NonNullable<SinkState["turn"]> {
  return { session, untilUs: clock.nowUs() + TURN_MS * 1_000 };
}
