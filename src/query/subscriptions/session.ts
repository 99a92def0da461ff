/**
 * One reader's turn at a subscription: reserves what it is about to hand out, keeps the turn while it lasts, and gives
 * it back.
 *
 * Invariants: two sessions never both reserve the same place: a reservation replaces exactly the entry that the session
 * has seen, or fails. What was reserved stays written down until it is certain that it was sent, or the next reader has
 * been told.
 */
import { randomBytes } from "node:crypto";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Registry, RegistryEntry } from "../../storage/registry.ts";
import type { ReservedBlock, Subscription } from "../../storage/subscription.ts";
import { isRead } from "../../storage/subscription-lag.ts";
import { ProblemError } from "../problem.ts";
import { createUnsent, type Unsent } from "./unsent.ts";

export type Change = (subscription: Subscription) => Subscription;

/** What became of a reservation: `moved` when somebody else changed the subscription and it has to be looked at anew. */
export type Reservation = "reserved" | "moved";

export interface SessionOptions {
  readonly registry: Registry<Subscription>;
  readonly entry: RegistryEntry<Subscription>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A turn ends by itself after so long without a sign of its reader, and is renewed so often, in milliseconds. */
export const TURN_MS = 30_000;
export const RENEWAL_MS = 10_000;

/** The turn is over: another took it, or the subscription is gone. */
export class TurnLostError extends Error {
  override readonly name = "TurnLostError";
}

/** Guards the entry that was seen last; one change at a time. */
export class Session implements AsyncDisposable {
  readonly #options: SessionOptions;
  readonly #id = randomBytes(8).toString("hex");
  readonly #end = new AbortController();
  readonly #unsent: Unsent;
  #entry: RegistryEntry<Subscription>;
  #work: Promise<unknown> = Promise.resolve();
  #renewals: Promise<void> | undefined;
  /** Whether an entry may have been written that says so. */
  #hasTurn = false;
  #lost: TurnLostError | undefined;
  #isSettled = false;
  #closed: Promise<void> | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#entry = options.entry;
    this.#unsent = createUnsent(() => options.clock.elapsedMs());
    this.#unsent.adopt(options.entry.value.reserved);
  }

  /** As it was seen last. */
  get subscription(): Subscription {
    return this.#entry.value;
  }

  /** Aborted once the turn is lost. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  /** Takes the turn and keeps it. Throws 409 while another has it, unless that is taken over. */
  async begin({ isTakingOver }: { readonly isTakingOver: boolean }): Promise<void> {
    await this.#serially(async () => {
      const { clock, registry } = this.#options;
      this.#hasTurn = true;
      const written = await registry.change(this.#entry.name, (current) => {
        if (current?.id !== this.subscription.id) return undefined;
        if (!isTakingOver) refuseWhileRead(current, this.#entry.name, clock.nowUs());
        return this.#inTurn(current);
      });
      if (written?.value.reader?.session !== this.#id) throw this.#over("it was removed");
      this.#adopt(written);
    });
    this.#renewals = this.#renew();
  }

  /** Throws 409 while another has the turn. */
  requireFree(): void {
    refuseWhileRead(this.subscription, this.#entry.name, this.#options.clock.nowUs());
  }

  /** Reserves a block, and takes the turn with it where it has none. Throws {@link TurnLostError}. */
  async reserve(block: Omit<ReservedBlock, "after">, change: Change): Promise<Reservation> {
    return await this.#replace((current) => {
      const own = { ...block, after: current.lastId };
      const reserved = this.#unsent.with(own);
      return {
        block: own,
        value: this.#inTurn({ ...change(current), reserved, lastId: block.to }),
      };
    });
  }

  /** Writes down what hands nothing out. Throws {@link TurnLostError}. */
  async note(change: Change): Promise<Reservation> {
    return await this.#replace((current) => {
      const next = change(current);
      // What was told of an earlier reader's block is struck out with the end of the turn.
      const isInTurn = this.#hasTurn || this.#unsent.block() !== undefined;
      const nowUs = this.#options.clock.nowUs();
      return { value: isInTurn ? this.#inTurn(next) : { ...next, seenUs: nowUs } };
    });
  }

  /**
   * What an earlier reader may have missed, once, unless this one has it by the id of its last event. It counts as being
   * on its way until {@link Session.taken}.
   */
  untold(lastId: string | undefined): ReservedBlock | undefined {
    const block = this.#unsent.untold();
    if (block === undefined || block.to !== lastId) return block;
    this.#unsent.forget();
    return undefined;
  }

  /** States that the reader has taken all that it was given, and waits for more; of a single block nobody knows. */
  taken(): void {
    if (this.#renewals !== undefined) this.#unsent.taken();
  }

  /** Throws {@link TurnLostError} once the turn is lost. */
  throwIfLost(): void {
    if (this.#lost !== undefined) throw this.#lost;
  }

  /** States that what was reserved has been sent whole; it is written down at the end. */
  settle(): void {
    this.#isSettled = true;
  }

  /** Gives the turn back; nothing can be reserved any more. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#end.abort();
    await this.#renewals;
    const { registry, log, clock } = this.#options;
    const { name } = this.#entry;
    await this.#serially(async () => {
      if (!this.#hasTurn || this.#lost !== undefined) return;
      await registry.change(name, (current) => {
        if (current?.reader?.session !== this.#id) return undefined;
        const reserved = this.#isSettled ? undefined : current.reserved;
        return { ...current, reserved, reader: undefined, seenUs: clock.nowUs() };
      });
    }).catch((error: unknown) =>
      // It ends by itself, and the next reader is told of a block that may as well have been received.
      log.warn("a reader's turn was not given back", { name, error: String(error) })
    );
  }

  #inTurn(subscription: Subscription): Subscription {
    const nowUs = this.#options.clock.nowUs();
    const reader = { session: this.#id, untilUs: nowUs + TURN_MS * 1_000 };
    return { ...subscription, reader, seenUs: nowUs };
  }

  async #replace(
    decide: (current: Subscription) => {
      readonly value: Subscription;
      readonly block?: ReservedBlock;
    },
  ): Promise<Reservation> {
    return await this.#serially(async () => {
      this.throwIfLost();
      if (this.#end.signal.aborted) throw this.#over("this reader has left");
      const { value, block } = decide(this.subscription);
      const hadTurn = this.#hasTurn;
      this.#hasTurn ||= value.reader?.session === this.#id;
      const written = await this.#options.registry.replace(this.#entry, value);
      if (written !== undefined) {
        if (block !== undefined) this.#unsent.handedOver(block);
        this.#entry = written;
        return "reserved";
      }
      this.#hasTurn = hadTurn;
      await this.#lookAnew();
      return "moved";
    });
  }

  async #lookAnew(): Promise<void> {
    const { registry, clock } = this.#options;
    const current = await registry.get(this.#entry.name);
    if (current?.value.id !== this.subscription.id) throw this.#over("it was removed");
    const isOurs = current.value.reader?.session === this.#id;
    if (!isOurs && this.#hasTurn) throw this.#over("another reader took it over");
    if (!isOurs) refuseWhileRead(current.value, current.name, clock.nowUs());
    this.#adopt(current);
  }

  #adopt(entry: RegistryEntry<Subscription>): void {
    const { reserved } = entry.value;
    if (JSON.stringify(reserved) !== JSON.stringify(this.subscription.reserved)) {
      this.#unsent.adopt(reserved);
    }
    this.#entry = entry;
  }

  async #renew(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#end;
    while (!signal.aborted) {
      await Promise.allSettled([clock.sleep(RENEWAL_MS, signal)]);
      if (signal.aborted) return;
      try {
        await this.note((current) => ({ ...current, reserved: this.#unsent.block() }));
      } catch (error) {
        if (error instanceof TurnLostError) return;
        log.warn("a reader's turn was not renewed", { error: String(error) });
      }
    }
  }

  #over(why: string): TurnLostError {
    this.#lost ??= new TurnLostError(`Cannot go on reading "${this.#entry.name}": ${why}`);
    this.#end.abort(this.#lost);
    return this.#lost;
  }

  #serially<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#work.then(work, work);
    this.#work = Promise.allSettled([done]);
    return done;
  }
}

function refuseWhileRead(subscription: Subscription, name: string, nowUs: number): void {
  if (!isRead(subscription, nowUs)) return;
  const untilUs = subscription.reader?.untilUs ?? nowUs;
  throw new ProblemError(409, `Somebody else reads subscription "${name}" now`, {
    accepted: "one reader at a time; take_over=true ends the other's turn",
    headers: { "Retry-After": String(Math.max(1, Math.ceil((untilUs - nowUs) / 1_000_000))) },
  });
}
