/**
 * The relay to a KMS: signs each message as it is received, collects them in batches, has the KMS confirm each batch, and
 * answers what it inquires. It speaks as the sidecar of that protocol does.
 *
 * Invariants: a message is taken only when it is on disk; keys, messages and batches outlive this process; a batch is
 * sent until the KMS confirms it; when too much waits for the KMS nothing more is taken, and nothing is thrown away. The
 * KMS being away ends nothing: it is tried again for ever, and told.
 */
import { randomUUID } from "node:crypto";
import type { Clock } from "../../../../runtime/clock.ts";
import type { Log } from "../../../../runtime/log.ts";
import { connectKms } from "./connection.ts";
import {
  type Demand,
  ERROR_CODES,
  KmsError,
  readBatchAnswer,
  readChallengeAnswer,
  readRegistration,
} from "./messages.ts";
import { createKeptTime, type KeptTime } from "./kept-time.ts";
import type { KmsSettings } from "./kms-settings.ts";
import { openRowStore, type RowStore } from "./row-store.ts";
import { createKmsSession, type KmsSession } from "./session.ts";
import { createSigner } from "./signatures.ts";
import { createSparseLog } from "./sparse-log.ts";
import { createTurns, type Turns } from "./turns.ts";

/** What may wait for the KMS, in characters of text. */
export const UNSENT_BYTES_MAX = 256 * 1024 * 1024;
/**
 * Confirmed batches are kept this long, which is the longest range that a KMS inquires, and up to this size; however the
 * clock is put, see `kept-time.ts`.
 */
export const KEPT_MS = 31 * 24 * 3_600_000;
export const KEPT_BYTES_MAX = 1024 * 1024 * 1024;
const HOUR_MS = 3_600_000;
/** Inquiries that may wait for their answers; each may hold the text of a batch. */
export const INQUIRIES_MAX = 16;

export interface KmsRelay extends AsyncDisposable {
  /** Takes messages in their order: they are on disk when it returns. Throws when the disk refuses. */
  record(messages: readonly string[]): void;
  /** Whether too much waits for the KMS: nothing more is to be recorded until `onRoom` was called. */
  readonly isFull: boolean;
  status(): KmsStatus;
}

export interface KmsStatus {
  readonly isRegistered: boolean;
  readonly waitingRows: number;
  readonly unsentBatches: number;
  /** Why there is no registration now, or why the newest batch was not confirmed. */
  readonly trouble: string | undefined;
  /** How long the newest ping took. */
  readonly pongMs: number | undefined;
}

export interface KmsRelayOptions {
  readonly settings: KmsSettings;
  /** Application that the KMS knows the messages by. */
  readonly service: string;
  /** Database of the relay. */
  readonly path: string;
  readonly version: string;
  /** {@link UNSENT_BYTES_MAX} by default. */
  readonly unsentBytesMax?: number;
  /** Told when there is room again. */
  readonly onRoom?: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

export function openKmsRelay(options: KmsRelayOptions): KmsRelay {
  return new Relay(options, openRowStore(options.path, options.service));
}

class Relay implements KmsRelay {
  readonly #options: KmsRelayOptions;
  readonly #store: RowStore;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  readonly #startedMs: number;
  readonly #keptTime: KeptTime;
  /** For what the KMS gives cause for. */
  readonly #kmsLog: Log;
  #timer: NodeJS.Timeout | undefined;
  #isRegistered = false;
  /** Wakes who waits for a batch to send, and who waits until one is confirmed. */
  #work = Promise.withResolvers<void>();
  #progress = Promise.withResolvers<void>();
  #trouble: string | undefined = "not connected yet";
  #pongMs: number | undefined;

  constructor(options: KmsRelayOptions, store: RowStore) {
    this.#options = options;
    this.#store = store;
    this.#startedMs = options.clock.elapsedMs();
    this.#keptTime = createKeptTime(options.clock);
    this.#kmsLog = createSparseLog(options.log, options.clock);
    this.#batchWhileFull();
    this.#armTimer();
    this.#running = this.#run();
  }

  get isFull(): boolean {
    return this.#store.unsentBytes > (this.#options.unsentBytesMax ?? UNSENT_BYTES_MAX);
  }

  record(messages: readonly string[]): void {
    this.#store.add(messages, this.#nowMs());
    this.#batchWhileFull();
  }

  status(): KmsStatus {
    const { waitingRows, unsentBatches } = this.#store;
    const isRegistered = this.#isRegistered;
    return {
      isRegistered,
      waitingRows,
      unsentBatches,
      trouble: this.#trouble,
      pongMs: this.#pongMs,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(new Error("The relay is stopping"));
    clearTimeout(this.#timer);
    await this.#running;
    this.#store[Symbol.dispose]();
  }

  #nowMs(): number {
    return Math.floor(this.#options.clock.nowUs() / 1000);
  }

  #batchWhileFull(): void {
    const { batchSize } = this.#options.settings;
    let isNew = false;
    this.#attempt(() => {
      while (this.#store.waitingRows >= batchSize && this.#makeBatch()) isNew = true;
    });
    if (isNew) this.#armTimer();
  }

  /** What the disk refuses stays as it is: the next messages, the timer and the next connection try again. */
  #attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.log.error("Cannot put messages together for the KMS", { reason });
    }
  }

  #makeBatch(): boolean {
    const isMade = this.#store.makeBatch(this.#options.settings.batchSize, this.#nowMs());
    if (isMade) this.#wake();
    return isMade;
  }

  #wake(): void {
    this.#work.resolve();
    this.#work = Promise.withResolvers();
  }

  /** Counts the time from the newest batch, as the sidecar does. */
  #armTimer(): void {
    const { batchIntervalMs, sendsEmptyBatches } = this.#options.settings;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#attempt(() => {
        if (this.#store.waitingRows > 0 || sendsEmptyBatches) this.#makeBatch();
        this.#prune();
      });
      this.#armTimer();
    }, batchIntervalMs);
    this.#timer.unref();
  }

  #prune(): void {
    const movedMs = this.#keptTime.movedMs();
    if (movedMs !== 0) this.#options.log.warn("The clock of this host was put", { movedMs });
    const beforeMs = this.#keptTime.beforeMs(KEPT_MS);
    const count = this.#store.prune({ beforeMs, bytesMax: KEPT_BYTES_MAX });
    if (count > 0) this.#options.log.info("Removed confirmed batches of the KMS", { count });
  }

  async #run(): Promise<void> {
    const { settings, clock, log } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#connect();
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        // The same again and again needs no further line.
        if (reason !== this.#trouble) log.warn("No registration with the KMS", { reason });
        this.#trouble = reason;
      }
      if (this.#stop.signal.aborted) return;
      const slept = clock.sleep(settings.reconnectIntervalMs, this.#stop.signal);
      await slept.catch((error) => error);
    }
  }

  /** One connection from its beginning to its end, which is an error unless the relay is stopping. */
  async #connect(): Promise<void> {
    const { settings, clock, log } = this.#options;
    const talk: { session?: KmsSession } = {};
    const connection = await connectKms({
      ...settings,
      signal: this.#stop.signal,
      // A KMS says nothing before it is asked to register somebody.
      onText: (text) => talk.session?.receive(text),
      onPong: (tookMs) => {
        this.#pongMs = tookMs;
      },
    });
    const inquiries = createTurns(INQUIRIES_MAX, (error) => this.#tellUnanswered("inquiry", error));
    const session = createKmsSession({
      send: (text) => connection.send(text),
      onDemand: (demand) => this.#answer(session, demand, inquiries),
      requestTimeoutMs: settings.requestTimeoutMs,
      clock,
      log: this.#kmsLog,
    });
    talk.session = session;
    const ended = connection.closed.then(({ code, reason }) => {
      const end = new Error(`The KMS ended the connection: ${code} ${reason}`.trimEnd());
      session.end(end);
      return end;
    });
    try {
      await this.#register(session);
      log.info("Registered with the KMS", { service: this.#options.service });
      await this.#serve(session, ended);
    } finally {
      this.#isRegistered = false;
      await connection[Symbol.asyncDispose]();
    }
    if (!this.#stop.signal.aborted) throw await ended;
  }

  async #serve(session: KmsSession, ended: Promise<Error>): Promise<void> {
    this.#isRegistered = true;
    this.#trouble = undefined;
    this.#batchWhileFull();
    const end = new AbortController();
    const sending = this.#sendAll(session, end.signal);
    // It ends before the connection only when the disk refuses: then with a new connection it begins anew.
    await Promise.race([ended, sending]);
    end.abort();
    this.#wake();
    await sending;
  }

  /** Each connection registers under a name of its own: a KMS takes each name once. */
  async #register(session: KmsSession): Promise<void> {
    const id = randomUUID();
    const params = { id, serviceName: this.#options.service };
    const answer = await session.request("register", params, readRegistration);
    if (answer.id.toLowerCase() !== id) throw new Error("The KMS registered another id");
    const rowKey = Buffer.from(answer.rowKey, "hex");
    const batchKey = Buffer.from(answer.batchKey, "hex");
    const signer = createSigner(rowKey, batchKey);
    await session.request("challenge", {
      batchSignature: signer.batch(answer.challenge),
      rowSignature: signer.row(answer.challenge),
    }, readChallengeAnswer);
    this.#store.adopt({ keyId: id, rowKey, batchKey });
  }

  /** Has batch after batch confirmed, oldest first, until the connection ends. */
  async #sendAll(session: KmsSession, signal: AbortSignal): Promise<void> {
    const { clock, log, settings } = this.#options;
    while (!signal.aborted) {
      const { promise: work } = this.#work;
      const batch = this.#store.firstUnsent();
      if (batch === undefined) {
        await work;
        continue;
      }
      try {
        await session.request("batch", { ...batch }, readBatchAnswer).catch(unlessKnown);
        this.#confirm(batch.id);
      } catch (error) {
        if (signal.aborted) return;
        this.#trouble = error instanceof Error ? error.message : String(error);
        log.warn("The KMS did not confirm a batch", { batch: batch.id, reason: this.#trouble });
        const slept = clock.sleep(settings.reconnectIntervalMs, signal);
        await slept.catch((reason) => reason);
      }
    }
  }

  #confirm(id: string): void {
    const wasFull = this.isFull;
    this.#store.confirm(id);
    this.#trouble = undefined;
    this.#progress.resolve();
    this.#progress = Promise.withResolvers();
    if (wasFull && !this.isFull) this.#options.onRoom?.();
  }

  #answer(session: KmsSession, demand: Demand, inquiries: Turns): void {
    const { method, id } = demand;
    const tell = (error: unknown): void => this.#tellUnanswered(method, error);
    if (method === "inquiry") {
      if (inquiries.add(() => this.#answerInquiry(session, demand))) return;
      return void session.refuse(id, "too many inquiries wait").catch(tell);
    }
    Promise.try(() => session.reply(id, this.#health())).catch(tell);
  }

  #tellUnanswered(method: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#kmsLog.warn("Could not answer the KMS", { method, reason });
  }

  #health(): object {
    const nowMs = this.#nowMs();
    return {
      id: this.#store.keyId,
      version: this.#options.version,
      current: new Date(nowMs).toISOString(),
      uptime: Math.floor(this.#options.clock.elapsedMs() - this.#startedMs),
      eventCountLastHour: this.#store.rowsSince(nowMs - HOUR_MS),
    };
  }

  /** Answers with what the KMS has confirmed, as it could verify nothing else; first it confirms what there is. */
  async #answerInquiry(
    session: KmsSession,
    inquired: Demand & { method: "inquiry" },
  ): Promise<void> {
    const { inquiry, fromMs, toMs } = inquired;
    if (session.isEnded) return;
    while (this.#store.waitingRows > 0 && this.#makeBatch());
    await this.#confirmed();
    const ids = this.#store.batchesBetween(fromMs, toMs);
    const total = ids.length;
    if (total === 0) await session.tell("inquiry-response", { inquiry, total, item: 0 });
    for (const [at, id] of ids.entries()) {
      const body = this.#store.batchData(id);
      if (body === undefined) continue;
      await session.tell("inquiry-response", { inquiry, id, body, total, item: at + 1 });
    }
  }

  /** Resolves when no batch waits, or when none was confirmed for as long as a request may take. */
  async #confirmed(): Promise<void> {
    const { clock, settings } = this.#options;
    while (this.#store.unsentBatches > 0) {
      const before = this.#store.unsentBatches;
      const limit = new AbortController();
      const late = clock.sleep(settings.requestTimeoutMs, limit.signal).catch(() => "in time");
      await Promise.race([this.#progress.promise, late]);
      limit.abort();
      if (this.#store.unsentBatches >= before) return;
    }
  }
}

/** A batch that the KMS has already needs nothing more: its answer was lost. */
function unlessKnown(error: unknown): void {
  if (!(error instanceof KmsError && error.code === ERROR_CODES.duplicateBatch)) throw error;
}
