/**
 * One reader's deliveries: in order unless they are lost, doubled or swapped on the way, which its count of deliveries
 * then shows to the reader.
 */
import { headers } from "@nats-io/transport-node";
import type { Delivery } from "./broker.ts";
import type { SimulatedStream, StoredMessage } from "./broker-stream.ts";
import type { Timer } from "./simulated-time.ts";
import { stage } from "./stage.ts";

export interface PullRequest {
  readonly reply: string;
  readonly deliver: (to: string, message: Delivery) => void;
  readonly messages: number;
  readonly sizeBytes: number;
  readonly expiresUs: number;
  readonly heartbeatUs: number;
}

/** Between two deliveries to one reader, at most. */
const GAP_US = 2_000;

export class Consumer {
  readonly stream: SimulatedStream;
  readonly #name: string;
  readonly #filter: string;
  #next: number;
  #deliveries = 0;
  #pull: { readonly request: PullRequest; left: number; leftBytes: number } | undefined;
  #timers: Timer[] = [];
  #isPumping = false;
  /** A delivery that another one overtakes. */
  #late: Delivery | undefined;

  constructor(
    options: {
      readonly stream: SimulatedStream;
      readonly name: string;
      readonly from: number;
      readonly filter: string;
    },
  ) {
    this.stream = options.stream;
    this.#name = options.name;
    this.#next = options.from;
    this.#filter = options.filter;
  }

  pull(request: PullRequest): void {
    this.#endPull();
    this.#pull = { request, left: request.messages, leftBytes: request.sizeBytes };
    const { time } = stage();
    this.#timers = [
      time.after(request.expiresUs, () => this.#finish(408, "Request Timeout")),
      time.after(request.heartbeatUs, () => this.#beat()),
    ];
    this.pump();
  }

  /** Gives what there is; called whenever there may be more. */
  pump(): void {
    if (this.#isPumping || this.#pull === undefined) return;
    if (this.stream.from(this.#next, this.#filter) === undefined) return;
    this.#isPumping = true;
    const { time, random } = stage();
    time.after(random.next() * GAP_US, () => {
      this.#isPumping = false;
      const message = this.stream.from(this.#next, this.#filter);
      if (message === undefined || this.#pull === undefined) return;
      if (message.data.length > this.#pull.leftBytes) {
        return this.#finish(409, "Message Size Exceeds MaxBytes");
      }
      this.#give(message);
      this.pump();
    });
  }

  end(): void {
    this.#endPull();
  }

  #give(message: StoredMessage): void {
    const { random, faults } = stage();
    const pull = this.#pull;
    if (pull === undefined) return;
    this.#next = message.sequence + 1;
    this.#deliveries += 1;
    pull.left -= 1;
    pull.leftBytes -= message.data.length;
    const { request } = pull;
    const delivery = this.#deliveryOf(message);
    if (pull.left === 0) this.#endPull();
    if (random.chance(faults.deliveryLost)) return;
    if (this.#late === undefined && random.chance(faults.deliverySwapped)) {
      this.#late = delivery;
      return;
    }
    request.deliver(request.reply, delivery);
    if (random.chance(faults.deliveryDoubled)) request.deliver(request.reply, delivery);
    if (this.#late !== undefined) request.deliver(request.reply, this.#late);
    this.#late = undefined;
  }

  #deliveryOf({ sequence, subject, headers, data, atUs }: StoredMessage): Delivery {
    const { name } = this.stream.settings;
    const pending = this.stream.countFrom(sequence + 1, this.#filter);
    const reply =
      `$JS.ACK.${name}.${this.#name}.1.${sequence}.${this.#deliveries}.${atUs}000.${pending}`;
    return { subject, reply, headers, data };
  }

  #beat(): void {
    const pull = this.#pull;
    if (pull === undefined) return;
    this.#status(pull.request, 100, "Idle Heartbeat");
    this.#timers.push(stage().time.after(pull.request.heartbeatUs, () => this.#beat()));
  }

  #finish(code: number, description: string): void {
    const pull = this.#pull;
    this.#endPull();
    if (pull !== undefined) this.#status(pull.request, code, description);
  }

  #status({ reply, deliver }: PullRequest, code: number, description: string): void {
    deliver(reply, {
      subject: reply,
      reply: "",
      headers: headers(code, description),
      data: new Uint8Array(),
    });
  }

  #endPull(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#timers = [];
    this.#pull = undefined;
  }
}
