/**
 * Drives the sender against the broker: asks it what to do, does it, tells it what came of it. Decides nothing itself
 * but how long to wait.
 *
 * Invariant: one batch at a time is on its way, and a place is recorded only from the broker's own answer.
 */
import { jetstream, JetStreamApiError } from "@nats-io/jetstream";
import { headers } from "@nats-io/transport-node";
import { incarnationOf } from "../event/event-id.ts";
import { parseWatermark, WATERMARK_BUCKET, watermarkKeyOf } from "../event/watermark.ts";
import { batchIdOf, encodeHeaders, resendIdOf, streamOf, subjectOf } from "../event/wire.ts";
import type { Clock } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import { type NatsConnection, openBucket, openStream, watchConnection } from "../runtime/nats.ts";
import { backoffMs } from "../runtime/retry.ts";
import type { ReadBacks } from "./read-back.ts";
import { createSender, type Sender, type SenderCommand, type SenderInput } from "./resend.ts";
import type { Spool } from "./spool.ts";

export interface PublisherOptions {
  readonly spool: Spool;
  readonly connection: NatsConnection;
  readonly clock: Clock;
  readonly log: Log;
  /** Who wants to read back what was published. */
  readonly readBacks?: ReadBacks;
  /** Told when what is not released went over to a new epoch, and why. */
  readonly onNewEpoch: (reason: string) => void;
}

export interface PublisherCounters {
  published: number;
  resent: number;
  released: number;
}

export interface Publisher extends AsyncDisposable {
  readonly counters: Readonly<PublisherCounters>;
  /** Says that there are further durable batches. */
  wake(): void;
}

const PUBLISH_TIMEOUT_MS = 5_000;
const WATERMARK_TIMEOUT_MS = 1_000;
/** While something is not released, the watermark is read so often. */
const POLL_MS = 1_000;
const BACKOFF = { firstMs: 250, maximumMs: 30_000 };
/** Between two epochs that a disagreement makes, at least. */
const NEW_EPOCH_MS = 30_000;
/** JetStream's error for an expectation that does not hold; the sequence is only in its text (ADR-22 of NATS). */
const WRONG_LAST_SEQUENCE = 10071;

/** Publishes from a spool until it is disposed. The connection stays the caller's. */
export function startPublisher(options: PublisherOptions): Publisher {
  const publisher = new SpoolPublisher(options);
  const work = publisher.run();
  return {
    counters: publisher.counters,
    wake: () => publisher.wake(),
    async [Symbol.asyncDispose]() {
      publisher.stop();
      await work;
    },
  };
}

/**
 * What a broker must allow a producer, and nothing more: to publish its own batches, to read the newest of them
 * and its own watermark, to ask what stream there is. Replies come below a prefix of its own.
 */
export function producerPermissions(
  options: { readonly shard: string; readonly agent: string },
): { readonly publish: readonly string[]; readonly subscribe: readonly string[] } {
  const { shard, agent } = options;
  const key = watermarkKeyOf(shard, agent);
  return {
    publish: [
      subjectOf(shard, agent),
      `$JS.API.STREAM.INFO.${streamOf(shard)}`,
      `$JS.API.DIRECT.GET.${streamOf(shard)}.${subjectOf(shard, agent)}`,
      `$JS.API.DIRECT.GET.KV_${WATERMARK_BUCKET}.$KV.${WATERMARK_BUCKET}.${key}`,
    ],
    subscribe: [`${inboxPrefixOf(agent)}.>`],
  };
}

export function inboxPrefixOf(agent: string): string {
  return `_INBOX_${agent}`;
}

class SpoolPublisher {
  readonly #options: PublisherOptions;
  readonly #stop = new AbortController();
  readonly #endWatch: () => void;
  readonly counters: PublisherCounters = { published: 0, resent: 0, released: 0 };
  #inputs: SenderInput[] = [];
  #isOnline = true;
  #wakeUp: () => void = () => undefined;
  #isAwake = false;
  #isPolling = false;
  #polledAtMs = -Infinity;
  #newEpochAtMs = -Infinity;
  /** The highest batch of the head epoch that the sender knows, and the last that was released. */
  #known = 0;
  #released = 0;
  /** The head epoch when the sender was made: with its last release the spool goes on to the next one. */
  #epoch = "";
  #incarnation = "";
  #epochs = 0;
  #trouble = "";

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#endWatch = watchConnection(options.connection, (event) => {
      this.#isOnline = event === "connected";
      this.#tell({ kind: event });
    });
  }

  wake(): void {
    this.#isAwake = true;
    this.#wakeUp();
  }

  stop(): void {
    this.#endWatch();
    this.#stop.abort();
    this.wake();
  }

  async run(): Promise<void> {
    const { connection, clock, log } = this.#options;
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted && !connection.isClosed()) {
      try {
        await this.#runEpoch(this.#startSender());
        failures = 0;
      } catch (error) {
        // The spool's disk, in all likelihood: what it holds is read anew, so nothing is taken for done that is not.
        failures += 1;
        log.error("publishing failed; starting over from the spool", { error: String(error) });
        await Promise.allSettled([clock.sleep(backoffMs(failures, { backoff: BACKOFF }), signal)]);
      }
    }
  }

  #startSender(): Sender {
    const { epoch, others, isClosed, released, batches, lastStored } = this.#options.spool.head();
    const start = { epoch: epoch.epoch, others, isClosed, released, batches, lastStored };
    this.#known = released.number + batches.length;
    this.#released = released.number;
    this.#epoch = epoch.epoch;
    this.#epochs += 1;
    this.#inputs = this.#isOnline ? [{ kind: "connected" }] : [];
    return createSender(start);
  }

  async #runEpoch(sender: Sender): Promise<void> {
    while (!this.#stop.signal.aborted && !this.#options.connection.isClosed()) {
      // The next epoch's batches have the same numbers: none of them is this sender's to see or to release.
      if (this.#options.spool.epoch.epoch !== this.#epoch) return;
      this.#feed(sender);
      const command = sender.next();
      if (command.kind === "startEpoch") return await this.#startEpoch(command.reason);
      if (command.kind === "finished") return await this.#options.spool.release(this.#known);
      await this.#obey(sender, command);
    }
  }

  async #obey(
    sender: Sender,
    command: Exclude<SenderCommand, { kind: "startEpoch" | "finished" }>,
  ): Promise<void> {
    switch (command.kind) {
      case "offline":
        return await this.#rest(undefined);
      case "readStream":
        return sender.take({ kind: "stream", status: await this.#readStream() });
      case "readWatermark":
        return sender.take({ kind: "watermark", watermark: await this.#readWatermark() });
      case "publish":
        this.#poll();
        return sender.take(await this.#publish(command));
      case "release":
        this.counters.released += command.through - this.#released;
        this.#released = command.through;
        return await this.#options.spool.release(command.through);
      case "pause":
        await this.#pause(backoffMs(command.failures, { backoff: BACKOFF }));
        return sender.take({ kind: "rested" });
      case "idle":
        if (command.isPolling) this.#poll();
        return await this.#rest(command.isPolling ? POLL_MS : undefined);
    }
  }

  async #startEpoch(reason: string): Promise<void> {
    const { clock, spool, log, onNewEpoch } = this.#options;
    const waitMs = this.#newEpochAtMs + NEW_EPOCH_MS - clock.elapsedMs();
    if (waitMs > 0) await Promise.allSettled([clock.sleep(waitMs, this.#stop.signal)]);
    if (this.#stop.signal.aborted) return;
    this.#newEpochAtMs = clock.elapsedMs();
    log.error("the record and the spool disagree; starting a new epoch", { reason });
    await spool.startEpoch();
    onNewEpoch(reason);
  }

  /** Gives the sender what came in meanwhile. */
  #feed(sender: Sender): void {
    this.#isAwake = false;
    for (const input of this.#inputs.splice(0)) sender.take(input);
    for (;;) {
      const digest = this.#options.spool.digestOf(this.#known + 1);
      if (digest === undefined) return;
      this.#known += 1;
      sender.take({ kind: "durable", number: this.#known, digest });
    }
  }

  async #publish(
    { number, expected, resend }: Extract<SenderCommand, { kind: "publish" }>,
  ): Promise<SenderInput> {
    const { spool, connection } = this.#options;
    const { ordinal, header, payload } = await spool.read(number);
    const fields = headers();
    for (const [name, value] of encodeHeaders(header)) fields.set(name, value);
    const request = jetstream(connection).publish(
      subjectOf(spool.epoch.shard, spool.agent),
      payload,
      {
        msgID: resend === undefined ? batchIdOf(header) : resendIdOf(header, resend),
        headers: fields,
        expect: { lastSubjectSequence: expected },
        timeout: PUBLISH_TIMEOUT_MS,
      },
    );
    try {
      const { seq: sequence } = await this.#untilStopped(request);
      this.#reportTrouble("");
      // Only behind what was expected is it the answer to this very publish.
      if (sequence > expected) {
        spool.recordStored(number, { incarnation: this.#incarnation, sequence });
      }
      this.counters[resend === undefined ? "published" : "resent"] += 1;
      const [stream, subject] = [
        streamOf(spool.epoch.shard),
        subjectOf(spool.epoch.shard, spool.agent),
      ];
      await this.#options.readBacks?.read(connection, { ordinal, stream, subject, sequence });
      return { kind: "stored", number, sequence };
    } catch (error) {
      const reported = reportedSequence(error);
      if (reported !== undefined) return { kind: "refused", reported };
      this.#reportTrouble(`publish: ${error instanceof Error ? error.message : String(error)}`);
      return { kind: "unanswered" };
    }
  }

  async #readStream(): Promise<Extract<SenderInput, { kind: "stream" }>["status"]> {
    const { connection, spool } = this.#options;
    const name = streamOf(spool.epoch.shard);
    try {
      const status = await this.#untilStopped(openStream(connection, name));
      if (status === undefined) throw new Error(`there is no stream "${name}"`);
      this.#incarnation = incarnationOf(name, status.created);
      return { incarnation: this.#incarnation, lastSequence: status.lastSequence };
    } catch (error) {
      this.#reportTrouble(`stream: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  }

  async #readWatermark(): Promise<Extract<SenderInput, { kind: "watermark" }>["watermark"]> {
    const { connection, spool, clock, log } = this.#options;
    this.#polledAtMs = clock.elapsedMs();
    try {
      const bucket = await openBucket(connection, WATERMARK_BUCKET, {
        timeoutMs: WATERMARK_TIMEOUT_MS,
      });
      const key = watermarkKeyOf(spool.epoch.shard, spool.agent);
      const text = await this.#untilStopped(bucket.get(key));
      return text === undefined ? undefined : parseWatermark(text);
    } catch (error) {
      log.debug("watermark not read", { error: String(error) });
      return undefined;
    }
  }

  /** Reads the watermark beside whatever else goes on. */
  #poll(): void {
    const sinceMs = this.#options.clock.elapsedMs() - this.#polledAtMs;
    if (this.#isPolling || !this.#isOnline || sinceMs < POLL_MS) return;
    this.#isPolling = true;
    const asked = this.#epochs;
    void this.#readWatermark().then((watermark) => {
      this.#isPolling = false;
      if (asked === this.#epochs) this.#tell({ kind: "watermark", watermark });
    });
  }

  #tell(input: SenderInput): void {
    this.#inputs.push(input);
    this.wake();
  }

  /** One line when trouble begins, changes or ends, not one per attempt. */
  #reportTrouble(trouble: string): void {
    if (trouble === this.#trouble) return;
    const { log, spool } = this.#options;
    const waiting = spool.unpublished;
    // Nothing waits yet: whoever starts before the stream is made need not alarm anybody.
    if (trouble !== "" && waiting === 0) return;
    if (trouble === "") log.info("publishing again", { waiting });
    else log.warn("cannot publish; batches wait in the spool", { trouble, waiting });
    this.#trouble = trouble;
  }

  /** Waits, unless something came in meanwhile or comes in; without a limit until then. */
  async #rest(ms: number | undefined): Promise<void> {
    if (this.#isAwake || this.#stop.signal.aborted) return;
    const woken = new AbortController();
    this.#wakeUp = () => woken.abort();
    const forever = new Promise<void>((resolve) =>
      woken.signal.addEventListener("abort", () => resolve(), { once: true })
    );
    await (ms === undefined
      ? forever
      : Promise.allSettled([this.#options.clock.sleep(ms, woken.signal)]));
    this.#wakeUp = () => undefined;
  }

  /** Waits; further batches do not shorten it, news of the connection do. */
  async #pause(ms: number): Promise<void> {
    const { clock } = this.#options;
    const endMs = clock.elapsedMs() + ms;
    while (!this.#stop.signal.aborted && this.#inputs.length === 0) {
      const leftMs = endMs - clock.elapsedMs();
      if (leftMs <= 0) return;
      this.#isAwake = false;
      await this.#rest(leftMs);
    }
  }

  async #untilStopped<T>(work: Promise<T>): Promise<T> {
    const { signal } = this.#stop;
    const stopped = Promise.withResolvers<never>();
    const stop = (): void => stopped.reject(new Error("Cannot wait for the broker: stopped"));
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    try {
      return await Promise.race([work, stopped.promise]);
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }
}

function reportedSequence(error: unknown): number | undefined {
  if (!(error instanceof JetStreamApiError) || error.code !== WRONG_LAST_SEQUENCE) return undefined;
  const [, sequence] = /wrong last sequence: (\d+)/.exec(error.message) ?? [];
  return sequence === undefined ? undefined : Number(sequence);
}
