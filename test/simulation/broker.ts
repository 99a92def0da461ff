/**
 * The broker as its protocol shows it: the requests of JetStream that the software makes, answered as a server of
 * version 2.9 does. Deliveries to readers are in broker-consumer.ts, the way to and fro in broker-connection.ts.
 */
import { headers, type MsgHdrs } from "@nats-io/transport-node";
import { Consumer, type PullRequest } from "./broker-consumer.ts";
import {
  isMatch,
  SimulatedStream,
  type StoredMessage,
  type StreamSettings,
} from "./broker-stream.ts";
import type { SimulatedTime } from "./simulated-time.ts";

export interface Request {
  readonly subject: string;
  readonly headers: MsgHdrs | undefined;
  readonly data: Uint8Array;
  /** Since when its sender may know nothing of the broker. */
  readonly lookedAtUs: number;
  /** Where an answer goes; "" for nowhere. */
  readonly reply: string;
  /** Gives a reader what it pulls. */
  readonly deliver: (to: string, message: Delivery) => void;
}

export interface Delivery {
  readonly subject: string;
  readonly reply: string;
  readonly headers: MsgHdrs | undefined;
  readonly data: Uint8Array;
}

/** An answer, silence, or the news that nobody listens there. */
export type Answer =
  | { readonly kind: "answer"; readonly headers: MsgHdrs | undefined; readonly data: Uint8Array }
  | { readonly kind: "silence" }
  | { readonly kind: "nobody" };

export interface BrokerListener {
  /** `replaced` is what stood under its subject, where only one message of each is kept. */
  stored(
    stream: SimulatedStream,
    message: StoredMessage,
    replaced: StoredMessage | undefined,
  ): void;
  purged(stream: SimulatedStream, beforeSequence: number, lookedAtUs: number): void;
}

const SILENCE: Answer = { kind: "silence" };
const text = new TextDecoder();

export class SimulatedBroker {
  readonly streams = new Map<string, SimulatedStream>();
  readonly #consumers = new Map<string, Consumer>();
  readonly #time: SimulatedTime;
  listener: BrokerListener = { stored: () => undefined, purged: () => undefined };
  #made = 0;

  constructor(time: SimulatedTime) {
    this.#time = time;
  }

  handle(request: Request): Answer {
    const { subject } = request;
    if (subject.startsWith("$JS.API.")) return this.#api(subject.split(".").slice(2), request);
    const stream = [...this.streams.values()]
      .find(({ settings }) => settings.subjects.some((filter) => isMatch(filter, subject)));
    if (stream === undefined) return { kind: "nobody" };
    return this.#publish(stream, request);
  }

  /** Puts a message into a stream as if somebody had published it without any condition. */
  inject(stream: SimulatedStream, message: Omit<StoredMessage, "sequence" | "atUs">): void {
    this.#announce(stream, stream.append({ ...message, atUs: this.#time.nowUs }));
  }

  /** Readers are forgotten, as they live in memory. */
  forgetReaders(): void {
    for (const consumer of this.#consumers.values()) consumer.end();
    this.#consumers.clear();
  }

  remove(name: string): void {
    this.streams.delete(name);
    for (const [key, consumer] of this.#consumers) {
      if (consumer.stream.settings.name !== name) continue;
      consumer.end();
      this.#consumers.delete(key);
    }
  }

  #publish(stream: SimulatedStream, request: Request): Answer {
    const { subject, headers, data } = request;
    const outcome = stream.publish({ subject, headers, data, atUs: this.#time.nowUs });
    const { name } = stream.settings;
    if (outcome.kind === "wrongLast") {
      return failure(400, 10071, `wrong last sequence: ${outcome.last}`);
    }
    const { sequence, isDuplicate } = outcome;
    const stored = stream.messages.get(sequence);
    if (!isDuplicate && stored !== undefined) this.#announce(stream, stored);
    return success({ stream: name, seq: sequence, ...(isDuplicate ? { duplicate: true } : {}) });
  }

  #announce(stream: SimulatedStream, message: StoredMessage): void {
    this.listener.stored(stream, message, stream.replaced);
    for (const consumer of this.#consumers.values()) {
      if (consumer.stream === stream) consumer.pump();
    }
  }

  #api([area = "", verb = "", ...names]: string[], request: Request): Answer {
    if (area === "INFO") return success({ type: "io.nats.jetstream.api.v1.account_info_response" });
    if (area === "DIRECT") return this.#direct(names);
    if (area === "CONSUMER") return this.#consumer(verb, names, request);
    const [name = ""] = verb === "MSG" ? names.slice(1) : names;
    const stream = this.streams.get(name);
    if (verb === "CREATE") return this.#create(bodyOf(request));
    if (stream === undefined) return failure(404, 10059, "stream not found");
    const body = request.data.length === 0 ? {} : bodyOf(request);
    switch (verb) {
      case "INFO":
        return success(infoOf(stream));
      case "UPDATE":
        stream.settings = settingsOf(body);
        return success(infoOf(stream));
      case "DELETE":
        this.remove(name);
        return success({ success: true });
      case "PURGE": {
        const before = Number(body["seq"] ?? stream.lastSequence + 1);
        this.listener.purged(stream, before, request.lookedAtUs);
        return success({ success: true, purged: stream.purge(before) });
      }
      case "MSG":
        return storedAnswer(stream.messages.get(Number(body["seq"])));
      default:
        throw new Error(`Cannot simulate the broker's "${request.subject}": not part of it`);
    }
  }

  #create(body: Body): Answer {
    const settings = settingsOf(body);
    const known = this.streams.get(settings.name);
    if (known !== undefined) return success(infoOf(known));
    this.#made += 1;
    const seconds = new Date(this.#time.nowUs / 1000).toISOString().slice(0, 19);
    const fraction = String(this.#time.nowUs % 1_000_000).padStart(6, "0");
    const created = `${seconds}.${fraction}${String(this.#made % 1000).padStart(3, "0")}Z`;
    const stream = new SimulatedStream(settings, { text: created, atUs: this.#time.nowUs });
    this.streams.set(settings.name, stream);
    return success(infoOf(stream));
  }

  #direct([name = "", ...tokens]: string[]): Answer {
    // Of a stream that is not there the server says nothing.
    const stream = this.streams.get(name);
    if (stream === undefined) return SILENCE;
    const found = stream.lastOf(tokens.join("."));
    if (found === undefined) {
      return { kind: "answer", headers: headers(404, "Message Not Found"), data: new Uint8Array() };
    }
    const answer = headers();
    for (const [key, values] of found.headers ?? []) {
      for (const each of values) answer.append(key, each);
    }
    answer.set("Nats-Stream", name);
    answer.set("Nats-Subject", found.subject);
    answer.set("Nats-Sequence", String(found.sequence));
    answer.set("Nats-Time-Stamp", new Date(found.atUs / 1000).toISOString());
    return { kind: "answer", headers: answer, data: found.data };
  }

  #consumer(verb: string, names: string[], request: Request): Answer {
    const isNext = verb === "MSG";
    const [streamName = "", name = ""] = isNext ? names.slice(1) : names;
    const stream = this.streams.get(streamName);
    const key = `${streamName}/${name}`;
    if (stream === undefined) return isNext ? SILENCE : failure(404, 10059, "stream not found");
    if (verb === "CREATE") {
      const config = bodyOf(request)["config"];
      const startTime = fieldOf(config, "opt_start_time");
      const from = typeof startTime === "string"
        ? stream.firstSince(Date.parse(startTime) * 1000)
        : Number(fieldOf(config, "opt_start_seq") ?? 1);
      const filter = String(fieldOf(config, "filter_subject") ?? ">");
      this.#consumers.set(key, new Consumer({ stream, name, from, filter }));
      return success({
        stream_name: streamName,
        name,
        config,
        created: stream.created,
        num_pending: stream.countFrom(from, filter),
        delivered: { consumer_seq: 0, stream_seq: from - 1 },
      });
    }
    const consumer = this.#consumers.get(key);
    if (verb === "DELETE") {
      consumer?.end();
      this.#consumers.delete(key);
      return success({ success: true });
    }
    if (consumer === undefined) return SILENCE;
    consumer.pull(pullOf(request));
    return SILENCE;
  }
}

type Body = Readonly<Record<string, unknown>>;

function bodyOf({ data }: Request): Body {
  const value: unknown = JSON.parse(text.decode(data));
  if (typeof value !== "object" || value === null) throw new Error("Cannot simulate: no object");
  return { ...value };
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? { ...value as Body }[name] : undefined;
}

/** as: settings are echoed as they came */
function settingsOf(body: Body): StreamSettings {
  return body as unknown as StreamSettings;
}

function pullOf(request: Request): PullRequest {
  const body = bodyOf(request);
  return {
    reply: request.reply,
    deliver: request.deliver,
    messages: Number(body["batch"]),
    sizeBytes: Number(body["max_bytes"]),
    expiresUs: Number(body["expires"]) / 1000,
    heartbeatUs: Number(body["idle_heartbeat"]) / 1000,
  };
}

function infoOf(stream: SimulatedStream): unknown {
  const { settings, created, messages, bytes, firstSequence, lastSequence } = stream;
  return {
    config: settings,
    created,
    state: {
      messages: messages.size,
      bytes,
      first_seq: firstSequence,
      last_seq: lastSequence,
    },
  };
}

function storedAnswer(message: StoredMessage | undefined): Answer {
  if (message === undefined) return failure(404, 10037, "no message found");
  const { subject, sequence, headers, data, atUs } = message;
  const seconds = new Date(atUs / 1000).toISOString().slice(0, 19);
  return success({
    message: {
      subject,
      seq: sequence,
      data: Buffer.from(data).toString("base64"),
      ...(headers === undefined ? {} : { hdrs: Buffer.from(textOf(headers)).toString("base64") }),
      time: `${seconds}.${String(atUs % 1_000_000).padStart(6, "0")}Z`,
    },
  });
}

/** Headers as they travel. */
function textOf(fields: MsgHdrs): string {
  const lines = [...fields].flatMap(([name, values]) =>
    values.map((each) => `${name}: ${each}\r\n`)
  );
  return `NATS/1.0\r\n${lines.join("")}\r\n`;
}

function success(value: unknown): Answer {
  return { kind: "answer", headers: undefined, data: Buffer.from(JSON.stringify(value)) };
}

function failure(code: number, err_code: number, description: string): Answer {
  return success({ error: { code, err_code, description } });
}
