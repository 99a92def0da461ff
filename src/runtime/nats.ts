/**
 * The broker as our processes use it: connections that come back by themselves, log streams, key-value buckets.
 * Names of streams, subjects and buckets come in as arguments.
 *
 * Invariant: a stream is never used with other settings than were asked for. Servers drop settings they do not know
 * without a word (2.9), so what they echo is compared.
 */
import {
  DiscardPolicy,
  jetstream,
  JetStreamApiError,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { createUser } from "@nats-io/nkeys";
import {
  connect,
  createInbox,
  errors,
  type MsgHdrs,
  type NatsConnection,
} from "@nats-io/transport-node";
import { parseBrokerTime } from "./broker-time.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { Log } from "./log.ts";
import { readCredentials } from "./nats-credentials.ts";
import { createReconnectPace } from "./reconnect-pace.ts";
import { retry } from "./retry.ts";
import type { StreamMessage } from "./stream-message.ts";

export type { NatsConnection } from "@nats-io/transport-node";

export interface ConnectNatsOptions {
  /** `nats://host:port`, or several joined by commas. */
  readonly url: string;
  /** File with `.creds` text (JWT and seed) or a bare nkey seed, mode 0600. */
  readonly credentialsFile?: string;
  /** Shown in the broker's list of connections. */
  readonly name: string;
  readonly log: Log;
  /** Prefix of reply subjects, for users that may only subscribe to their own. */
  readonly inboxPrefix?: string;
  readonly clock?: Clock;
  /** Ends waiting for the first connection. */
  readonly signal?: AbortSignal;
}

/** A stream as the broker has it now. */
export interface StreamStatus {
  readonly name: string;
  /** When it was created, in the broker's own text: with the name, what tells its incarnations apart. */
  readonly created: string;
  readonly config: StreamConfig;
  /** First and last sequence; 0 and 0 in a stream that never held a message. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly messages: number;
  readonly sizeBytes: number;
}

export interface EnsureStreamOptions {
  readonly name: string;
  readonly subjects: readonly string[];
  /** Largest message with headers, in bytes. */
  readonly messageBytesMax: number;
  /** Limit of the whole stream in bytes; without it only the broker's own. */
  readonly streamBytesMax?: number;
  /** How long message ids are remembered; 2 minutes by default. */
  readonly duplicateWindowMs?: number;
  readonly replicas?: number;
}

/** A bucket of texts by key; nothing here must be the only copy of anything. */
export interface Bucket {
  get(key: string): Promise<string | undefined>;
  put(key: string, text: string): Promise<void>;
  /** A key's text with the revision that wrote it. */
  entry(key: string): Promise<BucketEntry | undefined>;
  /**
   * Writes only if the key's last revision is this one, 0 for a key never written. The new revision, or undefined when
   * another write came first.
   */
  update(key: string, text: string, revision: number): Promise<number | undefined>;
}

export interface BucketEntry {
  /** Undefined when the key was deleted. */
  readonly text: string | undefined;
  readonly revision: number;
}

const REQUEST_TIMEOUT_MS = 5_000;
const PING_INTERVAL_MS = 10_000;
const CLOSE_LIMIT_MS = 2_000;
const DUPLICATE_WINDOW_MS = 120_000;
const STREAM_NOT_FOUND = 10059;
const WRONG_LAST_SEQUENCE = 10071;

/**
 * Connects, and stays connected: a lost connection is made again for ever. Waits for a broker that is not there yet,
 * but refused credentials reject at once. Disposing drains within 2 s, then closes.
 */
export async function connectNats(options: ConnectNatsOptions): Promise<NatsConnection> {
  const { url, credentialsFile, name, log, inboxPrefix, clock = systemClock, signal } = options;
  const authenticator = credentialsFile === undefined
    ? undefined
    : await readCredentials(credentialsFile, log);
  let isSaid = false;
  const connection = await retry(() =>
    connect({
      servers: url.split(","),
      name,
      timeout: REQUEST_TIMEOUT_MS,
      maxReconnectAttempts: -1,
      ...createReconnectPace(clock),
      ignoreAuthErrorAbort: true,
      pingInterval: PING_INTERVAL_MS,
      noAsyncTraces: true,
      ...(authenticator === undefined ? {} : { authenticator }),
      ...(inboxPrefix === undefined ? {} : { inboxPrefix }),
    }), {
    clock,
    ...(signal === undefined ? {} : { signal }),
    isTransient: (error) => !(error instanceof errors.AuthorizationError),
    onFailure: (error, waitMs) => {
      // Once, not for every attempt of an hour.
      (isSaid ? log.debug : log.warn)("broker not reached", { url, waitMs, error: String(error) });
      isSaid = true;
    },
  });
  watchConnection(connection, (event) => {
    if (event === "disconnected") log.warn("broker connection lost", { url });
    else log.info("broker connection is back", { url });
  });
  if (inboxPrefix !== undefined) inboxPrefixes.set(connection, inboxPrefix);
  // The library's own disposal drains, which never ends while the broker is away (3.4).
  Object.defineProperty(connection, Symbol.asyncDispose, {
    value: () => closeConnection(connection),
  });
  return connection;
}

const inboxPrefixes = new WeakMap<NatsConnection, string>();

/** A fresh subject for answers, below the connection's own prefix. */
export function createReplySubject(connection: NatsConnection): string {
  return createInbox(inboxPrefixes.get(connection));
}

/** Drains within 2 s, then closes whatever the state. Closing twice is fine. */
export async function closeConnection(connection: NatsConnection): Promise<void> {
  if (connection.isClosed()) return;
  const limit = new AbortController();
  const drained = connection.isDraining() ? connection.closed() : connection.drain();
  // A connection that cannot drain is closed below all the same.
  await Promise.race([
    Promise.allSettled([drained]),
    Promise.allSettled([systemClock.sleep(CLOSE_LIMIT_MS, limit.signal)]),
  ]);
  limit.abort();
  await connection.close();
}

export type ConnectionEvent = "connected" | "disconnected";

const listeners = new WeakMap<NatsConnection, Set<(event: ConnectionEvent) => void>>();

/** Calls `listener` whenever the connection is lost or made again. Returns a function that ends the calls. */
export function watchConnection(
  connection: NatsConnection,
  listener: (event: ConnectionEvent) => void,
): () => void {
  const known = listeners.get(connection) ?? new Set();
  if (!listeners.has(connection)) {
    listeners.set(connection, known);
    void relayStatus(connection, known);
  }
  known.add(listener);
  return () => known.delete(listener);
}

async function relayStatus(
  connection: NatsConnection,
  known: ReadonlySet<(event: ConnectionEvent) => void>,
): Promise<void> {
  for await (const status of connection.status()) {
    const event = status.type === "disconnect"
      ? "disconnected"
      : status.type === "reconnect"
      ? "connected"
      : undefined;
    if (event !== undefined) { for (const listener of known) listener(event); }
  }
}

/** A new user's key: the public half goes into the broker's configuration, the seed into a credentials file. */
export function createNatsKey(): { readonly publicKey: string; readonly seed: string } {
  const pair = createUser();
  return { publicKey: pair.getPublicKey(), seed: new TextDecoder().decode(pair.getSeed()) };
}

/**
 * The log stream of that name, made or brought to these settings: file storage, limits retention without an age,
 * discard new, no deletion of single messages. Throws when the broker keeps other settings than these.
 */
export async function ensureStream(
  connection: NatsConnection,
  options: EnsureStreamOptions,
): Promise<StreamStatus> {
  const { streams } = await jetstreamManager(connection, { checkAPI: false });
  const wanted = streamConfigOf(options);
  const existing = await openStream(connection, options.name);
  if (existing !== undefined && differencesOf(wanted, existing.config).length === 0) {
    return existing;
  }
  // The client adds `mirror` and `sources` to what it is given.
  const info = existing === undefined
    ? await streams.add({ ...wanted })
    : await streams.update(options.name, { ...wanted });
  const differences = differencesOf(wanted, info.config);
  if (differences.length > 0) {
    throw new Error(
      `Cannot use stream "${options.name}": the broker keeps other settings for ${
        differences.join(", ")
      }`,
    );
  }
  return statusOf(info);
}

/** The stream of that name as it is now, or undefined when there is none. */
export async function openStream(
  connection: NatsConnection,
  name: string,
): Promise<StreamStatus | undefined> {
  const { streams } = await jetstreamManager(connection, { checkAPI: false });
  try {
    return statusOf(await streams.info(name));
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND) return undefined;
    throw error;
  }
}

/** Deletes a stream with all its messages; making it again starts another incarnation. Deleting none is fine. */
export async function deleteStream(connection: NatsConnection, name: string): Promise<void> {
  const { streams } = await jetstreamManager(connection, { checkAPI: false });
  try {
    await streams.delete(name);
  } catch (error) {
    if (!(error instanceof JetStreamApiError && error.code === STREAM_NOT_FOUND)) throw error;
  }
}

/** Removes every message before `sequence`; that one stays. Returns how many went. */
export async function purgeStream(
  connection: NatsConnection,
  options: { readonly stream: string; readonly beforeSequence: number },
): Promise<number> {
  const { streams } = await jetstreamManager(connection, { checkAPI: false });
  // A purge up to 0 would mean all of it.
  if (options.beforeSequence <= 1) return 0;
  const { purged } = await streams.purge(options.stream, { seq: options.beforeSequence });
  return purged;
}

/** The message at a sequence, or undefined when the stream does not hold it. */
export async function readMessage(
  connection: NatsConnection,
  options: { readonly stream: string; readonly sequence: number },
): Promise<StreamMessage | undefined> {
  const { streams } = await jetstreamManager(connection, { checkAPI: false });
  const stored = await streams.getMessage(options.stream, { seq: options.sequence });
  if (stored === null) return undefined;
  return {
    sequence: stored.seq,
    storedAtUs: parseBrokerTime(stored.timestamp),
    subject: stored.subject,
    headers: headersOf(stored.header),
    payload: stored.data,
  };
}

/** Sequence and payload of the newest message of a subject, or undefined when there is none. */
export async function readNewest(
  connection: NatsConnection,
  options: { readonly stream: string; readonly subject: string; readonly timeoutMs: number },
): Promise<{ readonly sequence: number; readonly payload: Uint8Array } | undefined> {
  const { stream, subject, timeoutMs } = options;
  const { direct } = await jetstreamManager(connection, { checkAPI: false, timeout: timeoutMs });
  const newest = await direct.getMessage(stream, { last_by_subj: subject });
  return newest === null ? undefined : { sequence: newest.seq, payload: newest.data };
}

/** The bucket of that name, made with one value per key when there is none. */
export async function ensureBucket(connection: NatsConnection, name: string): Promise<Bucket> {
  const store = await new Kvm(connection).create(name, { history: 1, allow_direct: true });
  return bucketOf(store);
}

/** The bucket of that name, whether it exists yet or not: reading one that does not rejects. */
export async function openBucket(
  connection: NatsConnection,
  name: string,
  options: { readonly timeoutMs?: number } = {},
): Promise<Bucket> {
  // Of a bucket that is not there the server says nothing (2.9): the time-out is the answer.
  const client = jetstream(connection, { timeout: options.timeoutMs ?? REQUEST_TIMEOUT_MS });
  return bucketOf(await new Kvm(client).open(name, { allow_direct: true }));
}

function bucketOf(store: Awaited<ReturnType<Kvm["open"]>>): Bucket {
  return {
    async get(key) {
      const entry = await store.get(key);
      return entry === null || entry.operation !== "PUT" ? undefined : entry.string();
    },
    async put(key, text) {
      await store.put(key, text);
    },
    async entry(key) {
      const entry = await store.get(key);
      if (entry === null) return undefined;
      const text = entry.operation === "PUT" ? entry.string() : undefined;
      return { text, revision: entry.revision };
    },
    async update(key, text, revision) {
      try {
        return await store.put(key, text, { previousSeq: revision });
      } catch (error) {
        if (error instanceof JetStreamApiError && error.code === WRONG_LAST_SEQUENCE) {
          return undefined;
        }
        throw error;
      }
    },
  };
}

/** Headers by name as they were sent; of a name given twice, the first value. */
export function headersOf(headers: MsgHdrs | undefined): ReadonlyMap<string, string> {
  const map = new Map<string, string>();
  for (const [name, [value]] of headers ?? []) map.set(name, value ?? "");
  return map;
}

function streamConfigOf(options: EnsureStreamOptions) {
  const { name, subjects, messageBytesMax, streamBytesMax = -1, replicas = 1 } = options;
  return {
    name,
    subjects: [...subjects],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_age: 0,
    max_bytes: streamBytesMax,
    max_msg_size: messageBytesMax,
    duplicate_window: (options.duplicateWindowMs ?? DUPLICATE_WINDOW_MS) * 1_000_000,
    num_replicas: replicas,
    deny_delete: true,
    deny_purge: false,
    allow_direct: true,
  };
}

function differencesOf(
  wanted: ReturnType<typeof streamConfigOf>,
  echoed: StreamConfig,
): readonly string[] {
  const given: ReadonlyMap<string, unknown> = new Map(Object.entries(echoed));
  return Object.entries(wanted)
    .filter(([key, value]) => JSON.stringify(given.get(key) ?? false) !== JSON.stringify(value))
    .map(([key]) => key);
}

function statusOf(info: {
  readonly created: string;
  readonly config: StreamConfig;
  readonly state: {
    readonly first_seq: number;
    readonly last_seq: number;
    readonly messages: number;
    readonly bytes: number;
  };
}): StreamStatus {
  const { created, config, state } = info;
  return {
    name: config.name,
    created,
    config,
    firstSequence: state.first_seq,
    lastSequence: state.last_seq,
    messages: state.messages,
    sizeBytes: state.bytes,
  };
}
