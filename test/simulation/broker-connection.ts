/**
 * What the software under simulation gets for `connect`: connections to the simulated broker, as the client libraries
 * for JetStream and key-value buckets use them. Requests and answers take time and may get lost; a request whose sender
 * gave up may still arrive.
 */
import { errors, type Msg, type MsgHdrs, type NatsConnection } from "@nats-io/transport-node";
import type { Answer, Delivery, SimulatedBroker } from "./broker.ts";
import type { Timer } from "./simulated-time.ts";
import { afterIn, type Life, lifeAt, never, stage } from "./stage.ts";

/** The broker, and whether it can be reached. */
export class AddressedBroker {
  readonly server: SimulatedBroker;
  readonly #connections = new Set<SimulatedConnection>();
  isUp = true;

  constructor(server: SimulatedBroker) {
    this.server = server;
  }

  add(connection: SimulatedConnection): void {
    this.#connections.add(connection);
  }

  forget(connection: SimulatedConnection): void {
    this.#connections.delete(connection);
  }

  goDown(): void {
    this.isUp = false;
    this.server.forgetReaders();
    for (const connection of this.#connections) connection.tell("disconnect");
  }

  comeBack(): void {
    this.isUp = true;
    for (const connection of this.#connections) connection.tell("reconnect");
  }
}

export function connect(
  options: { readonly servers?: string | string[] },
): Promise<NatsConnection> {
  const [server = ""] = [options.servers ?? ""].flat();
  const life = lifeAt(server.replace(/^.*\/\//, ""));
  if (!life.isAlive()) return never();
  const { time, broker, random } = stage();
  return new Promise((resolve, reject) => {
    time.after(random.next() * TRAVEL_US, () => {
      if (!life.isAlive()) return;
      if (!broker.isUp) return reject(new errors.ConnectionError("as simulated"));
      const connection = new SimulatedConnection(life);
      broker.add(connection);
      life.machine.onDeath.push(() => broker.forget(connection));
      // as: what the libraries use of a connection is there; the rest is not part of the simulation
      resolve(connection as unknown as NatsConnection);
    });
  });
}

const TRAVEL_US = 3_000;
const TIMEOUT_MS = 5_000;
/** Who sends has heard an answer at most so long before, µs, unless it waited for something else. */
const LOOK_US = 4 * TRAVEL_US;
/** A request that nobody waits for any more arrives within so long, µs. */
const LATE_US = 40_000_000;

interface Requesting {
  readonly timeout?: number;
  readonly headers?: MsgHdrs;
}

type Status = "disconnect" | "reconnect";

class SimulatedConnection {
  readonly #life: Life;
  readonly #callbacks = new Map<string, (error: Error | null, message: Msg) => void>();
  readonly #statuses: { type: Status }[] = [];
  #wakeStatus: () => void = () => undefined;
  #isClosed = false;
  /** What waits for the broker to come back. */
  #waiting: (() => void)[] = [];
  readonly options = { inboxPrefix: "_INBOX" };
  readonly info = { version: "2.9.10", max_payload: 8_388_608 };
  readonly features = {
    get: () => ({ ok: true, min: "2.9.10" }),
    supports: () => true,
    require: () => undefined,
  };

  constructor(life: Life) {
    this.#life = life;
  }

  getServerVersion() {
    return { major: 2, minor: 9, micro: 10 };
  }

  isClosed(): boolean {
    return this.#isClosed;
  }

  isDraining(): boolean {
    return false;
  }

  closed(): Promise<void> {
    return never();
  }

  async drain(): Promise<void> {
    await this.close();
  }

  async close(): Promise<void> {
    if (!this.#life.isAlive()) return await never<void>();
    this.#isClosed = true;
    stage().broker.forget(this);
    this.#callbacks.clear();
    this.#wakeStatus();
  }

  async *status(): AsyncGenerator<{ type: Status }> {
    while (!this.#isClosed) {
      const next = this.#statuses.shift();
      if (next !== undefined) yield next;
      else await new Promise<void>((resolve) => this.#wakeStatus = resolve);
    }
  }

  tell(type: Status): void {
    this.#statuses.push({ type });
    this.#wakeStatus();
    if (type === "reconnect") { for (const send of this.#waiting.splice(0)) send(); }
  }

  subscribe(
    subject: string,
    options: { readonly callback: (error: Error | null, message: Msg) => void },
  ) {
    const key = subject.replace(/\.\*$/, "");
    this.#callbacks.set(key, options.callback);
    return { unsubscribe: () => this.#callbacks.delete(key) };
  }

  publish(
    subject: string,
    payload: Uint8Array | string = "",
    options: { readonly reply?: string; readonly headers?: MsgHdrs } = {},
  ): void {
    if (this.#isClosed) throw new errors.ClosedConnectionError();
    if (!this.#life.isAlive()) return;
    const data = typeof payload === "string" ? Buffer.from(payload) : payload;
    this.#travel(() => {
      stage().broker.server.handle({
        subject,
        headers: options.headers,
        lookedAtUs: stage().time.nowUs,
        data,
        reply: options.reply ?? "",
        deliver: (to, delivery) => this.#deliver(to, delivery),
      });
    });
  }

  request(subject: string, payload?: Uint8Array | string, options: Requesting = {}): Promise<Msg> {
    if (!this.#life.isAlive()) return never();
    if (this.#isClosed) return Promise.reject(new errors.ClosedConnectionError());
    const { time, random, faults } = stage();
    const data = typeof payload === "string" ? Buffer.from(payload) : payload ?? new Uint8Array();
    const sent = subject.startsWith("audit.") && random.chance(faults.payloadDamaged)
      ? damaged(data)
      : data;
    const lookedAtUs = this.#life.machine.lookedAtUs(LOOK_US);
    const isLost = random.chance(faults.requestLost);
    const isLate = random.chance(faults.requestLate);
    const isAnswerLost = random.chance(faults.answerLost);
    return new Promise((resolve, reject) => {
      const limit: Timer = afterIn(
        this.#life,
        (options.timeout ?? TIMEOUT_MS) * 1000,
        () => reject(new errors.TimeoutError()),
      );
      const arrive = (): void => {
        const answer = stage().broker.server.handle({
          subject,
          headers: options.headers,
          lookedAtUs,
          data: sent,
          reply: "",
          deliver: () => undefined,
        });
        if (answer.kind === "silence" || isAnswerLost || isLate) return;
        afterIn(this.#life, random.next() * TRAVEL_US, () => {
          if (!stage().broker.isUp) return;
          limit.cancel();
          settle(answer, { subject, resolve, reject });
        });
      };
      if (isLost) return;
      if (isLate) time.after(random.next() * LATE_US, () => stage().broker.isUp && arrive());
      else this.#travel(arrive);
    });
  }

  /** To the broker, as soon as it can be reached. */
  #travel(arrive: () => void): void {
    const { time, random, broker } = stage();
    const send = (): void => {
      if (!broker.isUp) this.#waiting.push(send);
      else time.after(random.next() * TRAVEL_US, () => broker.isUp && arrive());
    };
    send();
  }

  #deliver(to: string, delivery: Delivery): void {
    const { random } = stage();
    // In order: each takes the same time but for what the reader's own turn takes.
    afterIn(this.#life, 1 + random.next(), () => {
      const callback = this.#callbacks.get(to.slice(0, to.lastIndexOf(".")));
      if (!stage().broker.isUp) return;
      callback?.(null, messageOf(delivery));
    });
  }
}

function settle(
  answer: Exclude<Answer, { kind: "silence" }>,
  { subject, resolve, reject }: {
    readonly subject: string;
    readonly resolve: (message: Msg) => void;
    readonly reject: (error: Error) => void;
  },
): void {
  if (answer.kind === "nobody") {
    const cause = new errors.NoRespondersError(subject);
    return reject(new errors.RequestError("no responders", { cause }));
  }
  const { headers, data } = answer;
  resolve(messageOf({ subject: "", reply: "", headers, data }));
}

/** as: the software and the libraries read these fields only */
function messageOf({ subject, reply, headers, data }: Delivery): Msg {
  const message = {
    subject,
    reply,
    headers,
    data,
    json: () => JSON.parse(new TextDecoder().decode(data)),
    string: () => new TextDecoder().decode(data),
  };
  return message as unknown as Msg;
}

function damaged(data: Uint8Array): Uint8Array {
  const copy = data.slice();
  const at = stage().random.between(0, Math.max(0, copy.length - 1));
  copy[at] = (copy[at] ?? 0) ^ 0x55;
  return copy;
}
