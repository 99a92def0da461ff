/**
 * For programs that audit what they do: events go to the agent on the same host, over its socket for applications.
 *
 * Invariants: `audit` never blocks and never throws for what happens elsewhere; what is not known to have arrived is kept,
 * in order, up to a bound in bytes, and sent again over a new connection; what is beyond the bound is counted, refused
 * to its caller, and told in the log itself once there is room. With acknowledgement, what an `audit` has resolved for
 * is on the agent's disk.
 */
import { connect, type Socket } from "node:net";
import { setTimeout as startTimer } from "node:timers";
import { createLineReader } from "./line-reader.ts";
import { EventTooLargeError, messageOf, type Topics } from "./message.ts";
import { OutgoingMessages } from "./outgoing-messages.ts";

/** What may wait for the agent by default, in bytes. */
export const BUFFER_BYTES_MAX = 1024 * 1024;
/** Most bytes of answers without a line end. */
const ANSWER_BYTES_MAX = 1024;
/** Waits between two connections, in milliseconds: doubled each time up to the longest. */
const RECONNECT_FIRST_MS = 50;
const RECONNECT_LONGEST_MS = 5_000;
/** How long the agent may take to answer when the emitter is closed. */
const CLOSE_LIMIT_MS = 5_000;

export interface EmitterOptions {
  /** The agent's Unix socket (`[applications] socket`), or its TCP port on this host (`port`). */
  readonly agent: { readonly socket: string } | { readonly port: number; readonly host?: string };
  /** Name of the program, a part of its topics: `app/<service>/…`. */
  readonly service: string;
  /**
   * Whether an event is kept until the agent has it on its disk, and `audit` resolves only then: the default. Otherwise
   * it is forgotten once it was sent, and whatever ends the connection then may lose it.
   */
  readonly acknowledge?: boolean;
  /** {@link BUFFER_BYTES_MAX} by default. */
  readonly bufferBytesMax?: number;
  /** Told why a connection ended or could not be had; nothing by default. */
  readonly onTrouble?: (error: Error) => void;
}

export interface Emitter extends AsyncDisposable {
  /**
   * Records an event below `app/<service>/`: of several topics, the first is the event's own. Resolves as
   * {@link EmitterOptions.acknowledge} says; rejects with {@link EventLostError} when too much waits, when the event is
   * too large, or when the emitter is closed before.
   */
  audit(topics: Topics, data?: Readonly<Record<string, unknown>>): Promise<void>;
  /** Resolves when nothing waits. */
  flush(): Promise<void>;
  /** Events that were refused so far. */
  readonly lost: number;
  /** Sends what waits, for at most some seconds, and ends the connection. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** An event did not become part of the record. */
export class EventLostError extends Error {}

/** Connects at the first event, and again whenever it must. Keeps the process alive only while events wait. */
export function openEmitter(options: EmitterOptions): Emitter {
  return new OpenEmitter(options);
}

class OpenEmitter implements Emitter {
  readonly #options: EmitterOptions;
  readonly #outgoing: OutgoingMessages;
  #socket: Socket | undefined;
  #isReady = false;
  #isScheduled = false;
  #isClosed = false;
  #failures = 0;
  /** The wait before the next connection, whoever has something to send meanwhile. */
  #reconnect: NodeJS.Timeout | undefined;
  readonly #name = crypto.randomUUID().slice(0, 8);
  #count = 0;
  #lost = 0;
  #untold = 0;
  #idle: (() => void)[] = [];

  constructor(options: EmitterOptions) {
    this.#options = options;
    const { bufferBytesMax = BUFFER_BYTES_MAX } = options;
    this.#outgoing = new OutgoingMessages(bufferBytesMax);
  }

  get lost(): number {
    return this.#lost;
  }

  audit(topics: Topics, data: Readonly<Record<string, unknown>> = {}): Promise<void> {
    if (this.#isClosed) return this.#lose("the emitter is closed");
    let text: string;
    try {
      // What is sent again may be there twice: this tells it.
      text = messageOf(topics, { ...data, emitted: `${this.#name}-${this.#count += 1}` });
    } catch (error) {
      if (error instanceof EventTooLargeError) return this.#lose(error.message);
      return Promise.reject(error);
    }
    const sent = this.#outgoing.add(text);
    if (sent === undefined) return this.#lose("too much waits for the agent");
    this.#schedule();
    return unlooked(sent);
  }

  #lose(why: string): Promise<void> {
    this.#lost += 1;
    this.#untold += 1;
    return unlooked(Promise.reject(new EventLostError(`Cannot audit: ${why}`)));
  }

  async flush(): Promise<void> {
    while (this.#outgoing.size > 0 && !this.#isClosed) {
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    const limit = Promise.withResolvers<void>();
    const timer = startTimer(limit.resolve, CLOSE_LIMIT_MS);
    await Promise.race([this.flush(), limit.promise]);
    clearTimeout(timer);
    this.#isClosed = true;
    clearTimeout(this.#reconnect);
    this.#lost += this.#outgoing.size;
    this.#outgoing.refuse(new EventLostError("Cannot audit: the agent did not take it in time"));
    for (const resolve of this.#idle.splice(0)) resolve();
    const socket = this.#socket;
    if (socket === undefined) return;
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.end();
    startTimer(() => socket.destroy(), 1_000).unref();
    await closed;
  }

  /** Events of one turn of the program leave together. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#isClosed || this.#reconnect !== undefined) return;
    const socket = this.#socket ?? this.#connect();
    if (!this.#isReady || socket.writableNeedDrain) return;
    this.#tellLost();
    while (!socket.writableNeedDrain) {
      const { text, written } = this.#outgoing.take();
      if (text === "") return;
      socket.ref();
      socket.write(text, (error) => {
        // With an error it was not sent: the next connection sends it again.
        if (error || this.#options.acknowledge !== false || this.#socket !== socket) return;
        this.#done(written);
      });
    }
  }

  /** A loss is an event as well, as soon as there is room for it. */
  #tellLost(): void {
    if (this.#untold === 0) return;
    const text = messageOf("emitter/lost", {
      level: "warn",
      message: `${this.#untold} events were lost: too large, or too much waited for the agent`,
      count: this.#untold,
    });
    const told = this.#outgoing.add(text);
    if (told === undefined) return;
    void unlooked(told);
    this.#untold = 0;
  }

  #done(count: number): void {
    this.#failures = 0;
    this.#outgoing.settle(count);
    if (this.#outgoing.size > 0) return this.#schedule();
    // An idle connection keeps no program alive.
    this.#socket?.unref();
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #connect(): Socket {
    const { agent, service, acknowledge = true } = this.#options;
    const socket = "socket" in agent
      ? connect(agent.socket)
      : connect(agent.port, agent.host ?? "127.0.0.1");
    this.#socket = socket;
    let answered = 0;
    const answer = createLineReader(ANSWER_BYTES_MAX, (line) => {
      const { probity, ack } = answerOf(line);
      if (probity) {
        this.#isReady = true;
        this.#send();
      } else if (ack !== undefined && ack > answered) {
        this.#done(ack - answered);
        answered = ack;
      }
    });
    socket.on("connect", () => {
      socket.write(`${JSON.stringify({ probity: { ack: acknowledge, service } })}\n`);
    });
    socket.on("data", (chunk) => {
      if (!answer(chunk)) socket.destroy(new Error("The agent answers what is no answer"));
    });
    socket.on("drain", () => this.#send());
    let trouble: Error | undefined;
    socket.on("error", (error) => {
      trouble = error;
    });
    socket.on("close", () => {
      if (trouble !== undefined) this.#options.onTrouble?.(trouble);
      this.#socket = undefined;
      this.#isReady = false;
      this.#outgoing.again();
      if (!this.#isClosed && this.#outgoing.size > 0) this.#reconnectLater();
    });
    return socket;
  }

  #reconnectLater(): void {
    const waitMs = Math.min(RECONNECT_LONGEST_MS, RECONNECT_FIRST_MS * 2 ** this.#failures);
    this.#failures = Math.min(this.#failures + 1, 10);
    this.#reconnect = startTimer(() => {
      this.#reconnect = undefined;
      this.#send();
    }, waitMs / 2 + Math.random() * waitMs / 2);
  }
}

/** A caller that does not look is not ended by it; one that awaits it gets the error all the same. */
function unlooked(sent: Promise<void>): Promise<void> {
  sent.catch((error: unknown) => error);
  return sent;
}

function answerOf(line: string): { readonly probity: boolean; readonly ack: number | undefined } {
  if (line.startsWith('{"probity":')) return { probity: true, ack: undefined };
  const ack = /^\{"ack":(\d{1,15})\}$/.exec(line)?.[1];
  return { probity: false, ack: ack === undefined ? undefined : Number(ack) };
}
