/**
 * The live tail with resume: when the stream ends, breaks or falls silent, it is opened again after the last place that
 * was read, so that the caller sees every event once and each gap by name.
 *
 * Invariants: a place counts as read only when its item was given to the caller; waiting for the caller never looks
 * like silence of the service; only a stream that was open before is opened again.
 */
import { UnreachableError } from "./problem.ts";
import { type Condition, type RecordedEvent, recordedEvent, type TailQuery } from "./record.ts";
import {
  createSilenceWatch,
  delayOf,
  GIVE_UP_AFTER_MS,
  isAborted,
  isPassing,
  pause,
  RECONNECT_DELAY_MS,
  SILENCE_MS,
} from "./reconnect.ts";
import { type Connection, factsOf, reading, request, type RequestOptions } from "./request.ts";
import { createSseParser, readSse, type ServerSentEvent } from "./sse.ts";

/** Part of the record that the stream could not give, as the service states it. */
export interface TailGap {
  /** How many events; null when unknowable. */
  readonly count: number | null;
  readonly reason: string | undefined;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** `place` is what {@link TailOptions.after} takes to go on after this item, even in another process. */
export type AuditItem<E = RecordedEvent> =
  | { readonly kind: "event"; readonly event: E; readonly place: string }
  | { readonly kind: "gap"; readonly gap: TailGap; readonly place: string };

/** What is said of a stream itself. */
export type StreamNotice =
  /** The service says, as the stream opens, that it cannot see a part of the record now. */
  | { readonly kind: "incomplete"; readonly missing: string | undefined }
  /** The stream is about to be opened again. */
  | { readonly kind: "reconnecting"; readonly reason: string; readonly delayMs: number };

export type TailItem<E = RecordedEvent> = AuditItem<E> | StreamNotice;

export interface TailOptions extends RequestOptions {
  /** Goes on after the place of an item that was read earlier. */
  readonly after?: string;
  /** First wait before opening again; doubles up to {@link RECONNECT_DELAY_MAX_MS}. */
  readonly reconnectDelayMs?: number;
  /** The service says something at least every 15 s; after this long without a line, the stream is opened again. */
  readonly silenceMs?: number;
  /** After this long without a stream the tail ends with the last error. */
  readonly giveUpAfterMs?: number;
}

/**
 * Follows the record until the signal is aborted, which ends the iteration without an error.
 * Throws {@link UnreachableError} when the first stream cannot be opened, {@link ProblemError} when one is refused.
 */
export function tail(
  connection: Connection,
  query: TailQuery,
  options: TailOptions = {},
): AsyncGenerator<TailItem, void, undefined> {
  return tailOf(connection, query, { ...options, eventOf: recordedEvent });
}

/** The same of events in a form of its own. */
export function tailOf<E>(
  connection: Connection,
  query: TailQuery,
  { eventOf, accept, ...options }: TailOptions & {
    readonly eventOf: (value: unknown) => E;
    readonly accept?: string;
  },
): AsyncGenerator<TailItem<E>, void, undefined> {
  return followStream(connection, {
    path: "v1/tail",
    ...(accept === undefined ? {} : { accept }),
    since: query.since,
    parametersOf: ({ place, since }) => ({ ...query, since: place === "" ? since : undefined }),
    isPassing,
    itemOf: auditItems(eventOf),
  }, options);
}

/** What is followed, and how it is asked for again. */
export interface FollowedStream<T> {
  readonly path: string;
  /** Media type; `text/event-stream` unless told. */
  readonly accept?: string;
  /** Where it begins; without it, the time of the first answer. */
  readonly since: string | undefined;
  readonly parametersOf: (progress: Progress) => Readonly<Record<string, Condition | undefined>>;
  /** Whether trying again may help, so long after the last sign of life. */
  readonly isPassing: (error: unknown, silentMs: number) => error is Error;
  /** What a message stands for; undefined for one that is not known. */
  readonly itemOf: (message: ServerSentEvent) => T | undefined;
}

/** Follows any stream of events as {@link tail} does. */
export async function* followStream<T>(
  connection: Connection,
  stream: FollowedStream<T>,
  options: TailOptions,
): AsyncGenerator<T | StreamNotice, void, undefined> {
  const { signal, giveUpAfterMs = GIVE_UP_AFTER_MS } = options;
  const progress: Progress = {
    place: options.after ?? "",
    since: stream.since,
    retryMs: options.reconnectDelayMs ?? RECONNECT_DELAY_MS,
    failures: 0,
    lastAliveMs: undefined,
  };
  while (!isAborted(signal)) {
    try {
      yield* openOnce(connection, { stream, options, progress });
    } catch (error) {
      if (isAborted(signal)) return;
      if (progress.lastAliveMs === undefined) throw error;
      const silentMs = performance.now() - progress.lastAliveMs;
      if (!stream.isPassing(error, silentMs) || silentMs > giveUpAfterMs) throw error;
      const delayMs = delayOf(progress);
      progress.failures++;
      yield { kind: "reconnecting", reason: error.message, delayMs };
      await pause(delayMs, signal);
    }
  }
}

/** How far the caller has read, and how the connection fares. */
export interface Progress {
  place: string;
  since: string | undefined;
  retryMs: number;
  /** Attempts since the last sign of life. */
  failures: number;
  /** On the monotonic clock; undefined before the first stream. */
  lastAliveMs: number | undefined;
}

interface Attempt<T> {
  readonly stream: FollowedStream<T>;
  readonly options: TailOptions;
  readonly progress: Progress;
}

/** One stream until it breaks: always ends in an error, for a tail has no end of its own. */
async function* openOnce<T>(
  connection: Connection,
  { stream, options, progress }: Attempt<T>,
): AsyncGenerator<T | StreamNotice, void, undefined> {
  const { silenceMs = SILENCE_MS } = options;
  const silence = new AbortController();
  const signal = AbortSignal.any([silence.signal, ...(options.signal ? [options.signal] : [])]);
  const watch = createSilenceWatch(
    silenceMs,
    () =>
      silence.abort(new UnreachableError(`Cannot follow the record: silence for ${silenceMs} ms`)),
  );
  try {
    watch.arm();
    const response = await request(connection, stream.path, {
      parameters: stream.parametersOf(progress),
      headers: {
        accept: stream.accept ?? "text/event-stream",
        ...(progress.place === "" ? {} : { "last-event-id": progress.place }),
      },
      signal,
    });
    // Without a place yet, a second stream must begin where this one did.
    progress.since ??= startOf(response);
    progress.lastAliveMs = performance.now();
    const { isComplete, missing } = factsOf(response);
    watch.disarm();
    if (!isComplete) yield { kind: "incomplete", missing };
    watch.arm();
    const parser = createSseParser();
    const onQuietLine = (): void => {
      progress.failures = 0;
      progress.lastAliveMs = performance.now();
      // All messages before it were given, so an id without a message is a place that was read.
      if (parser.lastId() !== "") progress.place = parser.lastId();
      watch.arm();
    };
    const body = response.body ?? new Blob([]).stream();
    const messages = readSse(body, { parser, onQuietLine });
    for await (const message of reading(messages, response, { signal })) {
      watch.disarm();
      const item = stream.itemOf(message);
      progress.retryMs = parser.retryMs() ?? progress.retryMs;
      if (item !== undefined) yield item;
      if (message.id !== "") progress.place = message.id;
      watch.arm();
    }
  } finally {
    watch.disarm();
  }
  throw new UnreachableError("Cannot follow the record: the service ended the stream");
}

/** Events and gaps of a stream of the record. */
export function auditItems<E>(
  eventOf: (value: unknown) => E,
): (message: ServerSentEvent) => AuditItem<E> | undefined {
  return ({ event, data, id }) => {
    if (event === "audit") return { kind: "event", event: eventOf(JSON.parse(data)), place: id };
    if (event === "gap") return { kind: "gap", gap: gapOf(JSON.parse(data)), place: id };
    return undefined;
  };
}

export function gapOf(value: unknown): TailGap {
  const detail = typeof value === "object" && value !== null ? { ...value } : {};
  const count = "count" in detail && typeof detail.count === "number" ? detail.count : null;
  const reason = "reason" in detail && typeof detail.reason === "string"
    ? detail.reason
    : undefined;
  return { count, reason, detail };
}

/** The service's time at the start of an answer, to the second. */
function startOf({ headers }: Response): string | undefined {
  const date = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(date) ? undefined : new Date(date).toISOString();
}
