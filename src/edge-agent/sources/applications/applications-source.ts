/**
 * The applications source: what programs send becomes lines, as quickly as the spool takes them and no quicker.
 *
 * Invariants: nothing that was read is dropped: when the spool is full, or the agent behind, nothing more is read until
 * there is room. A message is answered only when it is durable. One address that cannot be had turns off that one.
 */
import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import type { RingPosition } from "../../../producer/producer.ts";
import type { Clock } from "../../../runtime/clock.ts";
import type { Log } from "../../../runtime/log.ts";
import { jsonInner } from "../../decode-text.ts";
import type { ListenAddress } from "../../http.ts";
import { type Libc, loadLibc } from "../../libc.ts";
import type { ProcessLookup } from "../../process-lookup.ts";
import {
  type HookStatus,
  type Source,
  type SourceChunk,
  type SourceCounters,
  type SourceStatus,
  WAITING_SPOOL_PART_MAX,
} from "../../source.ts";
import type { KmsSettings } from "./kms/kms-settings.ts";
import { type KmsRelay, openKmsRelay } from "./kms/relay.ts";
import { createUserNames } from "../../user-names.ts";
import {
  type ApplicationSettings,
  MESSAGE_BYTES_DEFAULT,
  UNNAMED_SERVICE,
} from "./application-settings.ts";
import { type Intake, type Protocol, serveConnection } from "./connection.ts";
import { type DatagramListener, openDatagramListener } from "./datagram-listener.ts";
import { createIngest, type Ingest } from "./ingest.ts";
import { createMessageLines, type Sender } from "./message-lines.ts";
import { addressPeer, type Peer, unixPeer } from "./peer.ts";
import { PendingLines } from "./pending-lines.ts";
import { createRefusals } from "./refusals.ts";
import { createReleased } from "./released.ts";
import { openSidecarHealth, type SidecarHealth } from "./sidecar-health.ts";
import { type Endpoint, openStreamListener, type StreamListener } from "./stream-listener.ts";
import { takeSyslog } from "./syslog-lines.ts";
import { topicPart } from "./topic-names.ts";

/** Bytes of unfinished messages that all connections together may hold. */
export const HELD_BYTES_MAX = 64 * 1024 * 1024;

export interface ApplicationsOptions {
  /** {@link HELD_BYTES_MAX} by default. */
  readonly heldBytesMax?: number;
  readonly settings: ApplicationSettings;
  readonly processes: ProcessLookup;
  readonly clock: Clock;
  readonly log: Log;
  /** Where a relay to a KMS keeps what it must not forget; needed with `settings.kms`. */
  readonly relay?: { readonly path: string; readonly version: string };
}

export interface ApplicationsSource extends Source {
  /** Ports of the listeners; undefined while there is none. */
  readonly port: number | undefined;
  readonly syslogPort: number | undefined;
  readonly healthPort: number | undefined;
  /** Takes events over HTTP. */
  readonly ingest: Ingest;
}

/** Listens when it is probed; reads once it is started. */
export function openApplicationsSource(options: ApplicationsOptions): ApplicationsSource {
  return new OpenApplications(options);
}

class OpenApplications implements ApplicationsSource {
  readonly name = "applications";
  readonly lane = "critical";
  readonly spoolPartMax = WAITING_SPOOL_PART_MAX;
  readonly ingest: Ingest;
  readonly #options: ApplicationsOptions;
  readonly #ring = randomUUID();
  readonly #refusals: ReturnType<typeof createRefusals>;
  readonly #pending: PendingLines;
  readonly #intake: Intake;
  readonly #released = createReleased();
  readonly #userNames = createUserNames();
  #calls: Pick<Libc, "getsockopt"> | undefined;
  #listeners: StreamListener[] = [];
  #datagrams: DatagramListener | undefined;
  #health: SidecarHealth | undefined;
  #relay: KmsRelay | undefined;
  #hooks: Promise<readonly HookStatus[]> | undefined;
  #isReading = false;
  #messages = 0;
  #heldBytes = 0;

  constructor(options: ApplicationsOptions) {
    this.#options = options;
    this.#refusals = createRefusals(options);
    this.#pending = new PendingLines({
      ring: this.#ring,
      onFull: () => this.#setReading(),
      onRoom: () => this.#setReading(),
    });
    this.#intake = this.#createIntake();
    this.ingest = createIngest({
      intake: this.#intake,
      bytesMax: this.#bytesMax,
      senderOf: ({ socket }) => this.#senderOf(addressPeer(socket)),
      isPaused: () => this.#isPaused(),
      durable: (position) => this.#released.reach(position),
      clock: options.clock,
    });
  }

  get port(): number | undefined {
    return this.#listeners.find((each) => each.protocol === "messages" && each.port !== undefined)
      ?.port;
  }

  get syslogPort(): number | undefined {
    return this.#listeners.find(({ protocol }) => protocol === "syslog")?.port;
  }

  get healthPort(): number | undefined {
    return this.#health?.port;
  }

  async probe(): Promise<SourceStatus> {
    this.#hooks ??= this.#listen();
    const hooks = await this.#hooks;
    const on = hooks.filter(({ state }) => state === "on").map(({ name }) => name);
    const off = hooks.find((hook) => hook.state === "off");
    if (on.length === 0 && off?.state === "off") {
      const remedy = "name another address in [applications], or end what has this one";
      return { state: "off", reason: off.reason, remedy };
    }
    return { state: "on", how: sayHooks(hooks), hooks };
  }

  async *start(signal: AbortSignal): AsyncIterable<SourceChunk> {
    this.#isReading = true;
    this.#setReading();
    try {
      while (!signal.aborted) {
        await this.#pending.ready(signal);
        yield* this.#taken();
      }
    } finally {
      this.#isReading = false;
      this.#setReading();
    }
    yield* this.#taken();
  }

  *#taken(): Iterable<SourceChunk> {
    for (let chunk = this.#pending.take(); chunk !== undefined; chunk = this.#pending.take()) {
      yield chunk;
      this.#pending.makeRoom();
    }
  }

  release({ ring, position }: RingPosition): void {
    if (ring !== this.#ring) return;
    this.#released.advance(position);
    for (const { connections } of this.#listeners) {
      for (const connection of connections) connection.release(position);
    }
  }

  losses() {
    return this.#refusals.losses();
  }

  counters(): SourceCounters {
    const { lost } = this.#refusals;
    const none = { ringFull: 0, filtered: 0, throttled: 0, truncated: 0 };
    return {
      ...none,
      attempted: this.#messages + lost,
      submitted: this.#messages,
      readFault: lost,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const listener of this.#listeners.splice(0)) await listener[Symbol.asyncDispose]();
    await this.#datagrams?.[Symbol.asyncDispose]();
    await this.#health?.[Symbol.asyncDispose]();
    await this.#relay?.[Symbol.asyncDispose]();
  }

  get #bytesMax(): number {
    return this.#options.settings.messageBytesMax ?? MESSAGE_BYTES_DEFAULT;
  }

  async #listen(): Promise<readonly HookStatus[]> {
    const { listen, socket, syslog, health, kms } = this.#options.settings;
    const hooks: HookStatus[] = [];
    type Opened = { readonly name: string };
    const open = async (kind: string, opening: () => Opened | Promise<Opened>) => {
      try {
        const { name } = await opening();
        hooks.push({ name: `${kind} ${name}`, state: "on" });
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.#options.log.error("applications cannot connect", { over: kind, reason });
        hooks.push({ name: kind, state: "off", reason });
      }
    };
    // Before anybody connects: what comes is relayed from the first message on.
    if (kms !== undefined) await open("kms", () => this.#openRelay(kms));
    if (listen !== undefined) await open("tcp", () => this.#openStream(listen, "messages"));
    if (socket !== undefined) {
      this.#calls = loadLibc();
      await open("unix", () => this.#openStream({ path: socket }, "messages"));
    }
    if (syslog !== undefined) {
      await open("syslog tcp", () => this.#openStream(syslog, "syslog"));
      await open("syslog udp", () => this.#openDatagrams(syslog));
    }
    if (health !== undefined) {
      const isTaking = () => this.#isReading;
      await open("health", async () => this.#health = await openSidecarHealth(health, isTaking));
    }
    return hooks;
  }

  async #openStream(endpoint: Endpoint, protocol: Protocol): Promise<StreamListener> {
    const listener = await openStreamListener({
      ...{ endpoint, protocol },
      serve: (socket) => {
        const peer = "path" in endpoint ? this.#unixPeer(socket) : addressPeer(socket);
        return serveConnection({
          ...{ socket, protocol, from: peer.from, bytesMax: this.#bytesMax, intake: this.#intake },
          sender: this.#senderOf(peer, protocol),
          uid: peer.uid,
        });
      },
      onTooMany: (name) => this.#refusals.add("connections", name),
      isPaused: () => this.#isPaused(),
    });
    this.#listeners.push(listener);
    return listener;
  }

  #openRelay(settings: KmsSettings): { readonly name: string } {
    const { clock, log, relay, settings: { service = UNNAMED_SERVICE } } = this.#options;
    if (relay === undefined) throw new Error("There is no folder for what it must not forget");
    const onRoom = (): void => this.#setReading();
    this.#relay = openKmsRelay({ ...{ settings, service, clock, log, onRoom }, ...relay });
    return { name: new URL(settings.url).host };
  }

  /** Nobody can make a sender of datagrams wait: what cannot be taken is counted. */
  async #openDatagrams(syslog: ListenAddress): Promise<DatagramListener> {
    // TCP may have got any free port: UDP gets the same.
    const address = { host: syslog.host, port: this.syslogPort ?? syslog.port };
    this.#datagrams = await openDatagramListener(address, (bytes, { host, port }) => {
      if (this.#isPaused()) return this.#refusals.add("datagram", host);
      const columns = `"src_ip":"${jsonInner(host)}","src_port":${port},"protocol":"udp",`;
      const timeUs = this.#intake.nowUs();
      const sender = this.#senderOf({ columns, isKnown: false }, "syslog");
      const lines = createMessageLines(sender, (fields) => this.#intake.add(fields, timeUs));
      lines.begin(timeUs);
      takeSyslog(lines, bytes);
      this.#intake.count();
      this.#intake.settle("not awaited");
    });
    return this.#datagrams;
  }

  /** Of syslog each message says its application: many of them send over one connection. */
  #senderOf(
    { columns, isKnown }: Pick<Peer, "columns" | "isKnown">,
    protocol: Protocol = "messages",
  ): Sender {
    const { service } = this.#options.settings;
    const own = service === undefined ? undefined : topicPart(service);
    return { columns, isKnown, service: own, mayName: own === undefined || protocol === "syslog" };
  }

  #unixPeer(socket: Socket): Peer {
    this.#userNames.refresh();
    return unixPeer(socket, {
      calls: this.#calls,
      processes: this.#options.processes,
      nameOf: (uid) => this.#userNames.nameOf(uid),
    });
  }

  #createIntake(): Intake {
    const { clock } = this.#options;
    const pending = this.#pending;
    const relays = this.#options.settings.kms !== undefined;
    return {
      ...(relays ? { relay: (messages: readonly string[]) => this.#record(messages) } : {}),
      get total() {
        return pending.total;
      },
      add: (fields, timeUs) => pending.add(fields, timeUs),
      settle: (awaited) => pending.settle(awaited),
      nowUs: () => clock.nowUs(),
      count: () => void (this.#messages += 1),
      refuse: (refusal, from, count) => this.#refusals.add(refusal, from, count),
      hold: (moreBytes) => {
        this.#heldBytes += moreBytes;
        if (moreBytes > 0) this.#endHolders();
      },
    };
  }

  /** Those that hold most go first: nobody can have others ended by holding much. */
  #endHolders(): void {
    const { heldBytesMax = HELD_BYTES_MAX } = this.#options;
    while (this.#heldBytes > heldBytesMax) {
      const [most] = this.#listeners.flatMap(({ connections }) => [...connections])
        .toSorted((left, right) => right.heldBytes - left.heldBytes);
      if (most === undefined || most.heldBytes === 0) return;
      most.fail("held");
    }
  }

  #record(messages: readonly string[]): boolean {
    try {
      this.#relay?.record(messages);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.log.error("messages cannot be kept for the KMS", { reason });
      return false;
    }
    if (this.#relay?.isFull === true) this.#setReading();
    return true;
  }

  #isPaused(): boolean {
    return !this.#isReading || this.#pending.isFull || this.#relay?.isFull === true;
  }

  #setReading(): void {
    const isPaused = this.#isPaused();
    for (const { connections } of this.#listeners) {
      for (const connection of connections) {
        if (isPaused) connection.pause();
        else connection.resume();
      }
    }
  }
}

/** Also what could not be had: who looks at no more than the table that `up` shows must not miss it. */
function sayHooks(hooks: readonly HookStatus[]): string {
  const said = hooks.filter(({ state }) => state === "on").map(({ name }) => name);
  const listening = said.filter((name) => !name.startsWith("kms "));
  const relaying = said.filter((name) => name.startsWith("kms "));
  const missing = hooks.flatMap((hook) =>
    hook.state === "off" ? [`${hook.name} (${hook.reason})`] : []
  );
  return [
    ...(listening.length === 0
      ? ["takes POST /v1/ingest"]
      : [`listens on ${listening.join(", ")}`]),
    ...relaying.map((name) => `relays to ${name}`),
    ...(missing.length === 0 ? [] : [`not on ${missing.join(", ")}`]),
  ].join("; ");
}
